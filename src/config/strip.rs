//! What `wg setconf` takes of a wg-quick file.

use zeroize::Zeroizing;

use super::key::{Key, Reader};
use super::marker;

/// Returns what `wg-quick strip` prints, byte for byte, of a file without our keys; those are taken out too, in whatever
/// form. The text is wiped when dropped.
pub fn strip(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut stripped = Zeroizing::new(Vec::with_capacity(text.len() + 2));
    let mut is_interface = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        // What `read` takes off, and what bash has no place for.
        let (line, is_ended) = line.strip_suffix(b"\n").map_or((line, false), |line| (line, true));
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\0');
        let start = line.iter().take_while(is_blank).count();
        let end = line.len() - line[start..].iter().rev().take_while(is_blank).count();
        let line = &line[start..end];
        if line.is_empty() && !is_ended {
            break;
        }
        let key = key_of(line);
        if key.starts_with(b"[") {
            is_interface = key.eq_ignore_ascii_case(b"[Interface]");
        }
        let found = |key| Key::find(str::from_utf8(key).ok()?);
        let is_wg_quicks = is_interface && found(key).is_some_and(|key| key.about().reader == Reader::WgQuick);
        let key = marker::marked(line).map_or(key, key_of);
        let is_ours = found(key).is_some_and(|key| key.about().reader == Reader::Ours);
        if !is_wg_quicks && !is_ours {
            stripped.extend(line.iter().filter(|byte| **byte != 0));
            stripped.push(b'\n');
        }
    }
    stripped.push(b'\n');
    stripped
}

/// Returns what stands before a `=`, as `wg-quick` finds it.
fn key_of(line: &[u8]) -> &[u8] {
    let content = line.split(|byte| *byte == b'#').next().unwrap_or_default();
    trimmed(content.split(|byte| *byte == b'=').next().unwrap_or_default())
}

/// Takes off what bash's `[[:space:]]` is.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &&u8| byte.is_ascii_whitespace() || **byte == 0x0b;
    let start = bytes.iter().take_while(is_space).count();
    let end = bytes.len() - bytes[start..].iter().rev().take_while(is_space).count();
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wg_quick_and_we_read_is_taken_out_and_the_rest_stays() {
        let text = b"# all\n[interface]\n  Address = 10.0.0.1/24\nprivatekey = x # why\r\nPostUp=a\n\
            #maybetun: KillSwitch = on\nMaxPaddingRate = 1\n\n[Peer]\nMTU = 7\ndefense=front\n\
            # maybetun : DefenseRole = relay\n# maybe\n\tEndpoint = a:1";
        let expected = b"# all\n[interface]\nprivatekey = x # why\r\n\n[Peer]\nMTU = 7\n# maybe\nEndpoint = a:1\n\n";
        assert_eq!(String::from_utf8_lossy(&strip(text)), String::from_utf8_lossy(expected));
        assert_eq!(*strip(b""), b"\n");
    }
}
