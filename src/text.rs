//! Strict text forms of numbers, addresses and prefixes, shared by configuration files and the configuration socket.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Names longer than this are not repeated in messages.
const LONGEST_NAME_SHOWN: usize = 32;

/// Parses decimal digits, and nothing else: no sign, no space.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Parses a 32-bit number: decimal digits, or hexadecimal ones after `0x`.
pub(crate) fn decimal_or_hex(text: &str) -> Option<u32> {
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        return decimal(text);
    };
    let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// Parses a 32-bit number as strtoul(3) does without a base: hexadecimal after `0x`, octal after `0`, else decimal.
pub(crate) fn any_base(text: &str) -> Option<u32> {
    match text.strip_prefix('0') {
        Some(digits) if digits.starts_with(|first: char| first.is_ascii_digit()) => {
            decimal::<u64>(digits)?;
            u32::from_str_radix(digits, 8).ok()
        }
        Some(_) | None => decimal_or_hex(text),
    }
}

/// Parses `ADDRESS/LENGTH`; host bits are kept.
pub(crate) fn prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, decimal(length)?).ok()
}

/// Parses `ADDRESS/LENGTH` or `ADDRESS`, which stands for the prefix of this one address; host bits are kept.
pub(crate) fn address_or_prefix(text: &str) -> Option<IpNet> {
    if text.contains('/') { prefix(text) } else { text.parse::<IpAddr>().ok().map(IpNet::from) }
}

/// Returns `name` as a message may repeat it. What does not look like a name is held back: it could be a key that was
/// pasted into the wrong place.
pub(crate) fn shown_name(name: &str) -> &str {
    let is_name = (1..=LONGEST_NAME_SHOWN).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte));
    if is_name { name } else { "(not shown)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_takes_digits_only_and_in_range() {
        assert_eq!(decimal::<u16>("0"), Some(0));
        assert_eq!(decimal::<u16>("65535"), Some(65535));
        for text in ["", "65536", "+1", "-1", " 1", "1 ", "0x1", "1.0", "１"] {
            assert_eq!(decimal::<u16>(text), None, "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_needs_its_mark_and_digits() {
        assert_eq!(decimal_or_hex("0xffffffff"), Some(u32::MAX));
        assert_eq!(decimal_or_hex("0Xca6C"), Some(0xca6c));
        assert_eq!(decimal_or_hex("51820"), Some(51820));
        for text in ["", "0x", "0x+1", "0x100000000", "ca6c", "4294967296"] {
            assert_eq!(decimal_or_hex(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_number_of_any_base_says_which_by_how_it_starts() {
        for (text, number) in [("0", 0), ("00", 0), ("017", 15), ("17", 17), ("0x17", 23), ("037777777777", u32::MAX)] {
            assert_eq!(any_base(text), Some(number), "{text}");
        }
        for text in ["", "08", "0x", "040000000000", "+1", "-1", "0-1", "0o7", "1 "] {
            assert_eq!(any_base(text), None, "{text:?}");
        }
    }

    #[test]
    fn prefix_needs_a_length_that_fits_the_family() {
        assert_eq!(prefix("10.1.2.3/8").unwrap().to_string(), "10.1.2.3/8");
        assert_eq!(prefix("::/0").unwrap().to_string(), "::/0");
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "fe80::1%1/64", "/8"]
        {
            assert_eq!(prefix(text), None, "{text:?}");
        }
        assert_eq!(address_or_prefix("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(address_or_prefix("fd00::1").unwrap().to_string(), "fd00::1/128");
    }

    #[test]
    fn what_may_be_a_key_is_not_shown() {
        assert_eq!(shown_name("PrivateKye"), "PrivateKye");
        for text in ["AGxKtVrJ2DhYyFm1wQXv8mWlq0uZ0Yb5Qy2dY9Xn3Uk", &"0".repeat(64), "a=b", "bell\u{7}", ""] {
            assert_eq!(shown_name(text), "(not shown)");
        }
    }
}
