//! The Internet checksum (RFC 1071).

/// Sums `bytes` as big-endian 16-bit words, an odd last byte padded by a zero, without folding.
///
/// The words are added in the machine's byte order, several at once: the sum's byte order follows that of its parts
/// (RFC 1071, section 2). Both halves of a word have a sum of their own, so that nothing carries over, and so that the
/// compiler makes vectors of the loop.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (mut low, mut high) = (0u64, 0u64);
    for word in words {
        let word = u64::from_ne_bytes(*word);
        low += word & 0xffff_ffff;
        high += word >> 32;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = u64::from_ne_bytes(last);
    let total = low + high + (last & 0xffff_ffff) + (last >> 32);
    u64::from(u16::from_be(fold(total)))
}

/// Folds a sum into 16 bits, by adding what carried over.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_words(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        fold(sum)
    }

    #[test]
    fn the_sum_is_that_of_the_words_at_every_length() {
        let bytes: Vec<u8> = (0..2_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in (0..100).chain(1_400..1_500) {
            assert_eq!(fold(sum(&bytes[..length])), by_words(&bytes[..length]), "{length}");
        }
        assert_eq!(fold(sum(&[0xff; 65_535])), by_words(&[0xff; 65_535]));
    }

    #[test]
    fn the_example_of_rfc_1071_holds() {
        assert_eq!(fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }
}
