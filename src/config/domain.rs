//! Domain names.

/// Longest domain name, in bytes (RFC 1035 §2.3.4, in its text form without the final dot).
const MAX_DOMAIN: usize = 253;

/// Longest label of a domain name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Tells whether `name` can be a domain name: labels of letters, digits, `-` and `_`. The last is not a number, which
/// resolvers would take for (part of) an IPv4 address.
pub(super) fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_number = |label: &str| label.starts_with(|first: char| first.is_ascii_digit()) && text_is_number(label);
    name.len() <= MAX_DOMAIN
        && name.split('.').all(|label| is_label(label, |letter| letter.is_ascii_alphanumeric()))
        && !name.rsplit('.').next().is_some_and(is_number)
}

/// Tells whether `label` can be a part of a domain name that is made of what `is_letter` takes, `-` and `_`.
pub(super) fn is_label(label: &str, is_letter: impl Fn(char) -> bool) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.chars().all(|letter| is_letter(letter) || "-_".contains(letter))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn text_is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
