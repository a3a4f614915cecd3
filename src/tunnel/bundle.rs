//! Bundles: several IP packets in the place of one.
//!
//! The body of a bundle's frame is 2 to [`MAX_BUNDLED`] whole IP packets, one behind the other, each as long as its header
//! says; a zero, or the end, follows on the last.

use super::IpHeader;
use super::frame::{Frame, FrameKind, HEADER};
use super::queue::Queue;

/// Most IP packets of one bundle: what comes out of it has to find room.
pub const MAX_BUNDLED: usize = 32;

/// Splits what [`Tunnel::receive`](super::Tunnel::receive) wrote into IP packets.
pub fn packets(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = IpHeader::parse(bytes)?;
        let (packet, rest) = bytes.split_at_checked(header.length)?;
        bytes = rest;
        Some(packet)
    })
}

/// Takes packets from the front of `queue` that fit one plaintext of `size` bytes together, and puts the frame of their
/// bundle into `frame`. Returns how many, or `None`, with nothing taken, if they are fewer than two.
pub(super) fn pack(queue: &mut Queue, size: usize, frame: &mut Vec<u8>) -> Option<usize> {
    let count = queue.fitting(size.checked_sub(HEADER)?, MAX_BUNDLED);
    if count < 2 {
        return None;
    }
    frame.clear();
    frame.extend(Frame::header(FrameKind::Bundle, size));
    for _ in 0..count {
        queue.pop_into(frame);
    }
    Some(count)
}

/// Moves the packets of a bundle that `accepts` to the start of `payload`, which holds the bundle's frame. Returns their
/// length together and their number; `None`, with nothing moved, if the body is not a bundle.
pub(super) fn unpack(payload: &mut [u8], mut accepts: impl FnMut(&IpHeader) -> bool) -> Option<(usize, usize)> {
    let body = payload.get(HEADER..)?;
    let (end, count) = packets(body).fold((0, 0), |(end, count), packet| (end + packet.len(), count + 1));
    if !(2..=MAX_BUNDLED).contains(&count) || body.get(end).is_some_and(|&next| next != 0) {
        return None;
    }
    let (mut from, mut to, mut accepted) = (HEADER, 0, 0);
    while from < HEADER + end {
        let header = IpHeader::parse(&payload[from..])?;
        if accepts(&header) {
            payload.copy_within(from..from + header.length, to);
            to += header.length;
            accepted += 1;
        }
        from += header.length;
    }
    Some((to, accepted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ip::tests::ipv4;
    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    fn packet(payload: usize) -> Vec<u8> {
        ipv4(A, B, &vec![payload as u8; payload])
    }

    /// Packs packets with payloads of these lengths, and returns the plaintext.
    fn packed(payloads: &[usize], size: usize) -> Option<(usize, Vec<u8>)> {
        let mut queue = Queue::default();
        payloads
            .iter()
            .for_each(|&payload| queue.push(&packet(payload), std::time::Instant::now()).expect("there is room"));
        let mut frame = Vec::new();
        let count = pack(&mut queue, size, &mut frame)?;
        frame.resize(size, 0);
        Some((count, frame))
    }

    #[test]
    fn what_is_packed_comes_out_whole_and_in_order() {
        let (count, mut frame) = packed(&[12, 0, 32, 1_400, 12], 1_420).unwrap();
        assert_eq!(count, 3, "the next would not fit");
        let (length, accepted) = unpack(&mut frame, |_| true).unwrap();
        assert_eq!(accepted, 3);
        assert!(packets(&frame[..length]).eq([packet(12), packet(0), packet(32)]));
    }

    #[test]
    fn a_plaintext_may_be_full_and_one_packet_is_no_bundle() {
        let (_, mut frame) = packed(&[680, 688], HEADER + 1_408).unwrap();
        assert!(unpack(&mut frame, |_| true).is_some());
        assert!(packed(&[12, 1_400], 1_420).is_none() && packed(&[12], 1_420).is_none());
        assert!(packed(&[12, 12], 3).is_none());
        assert_eq!(packed(&[0; 60], 1_420).unwrap().0, MAX_BUNDLED);
    }

    #[test]
    fn each_packet_is_judged_by_itself() {
        let (_, mut frame) = packed(&[1, 2, 3], 1_420).unwrap();
        let mut judged = 0;
        let accepts = |_: &IpHeader| {
            judged += 1;
            judged != 2
        };
        let (length, accepted) = unpack(&mut frame, accepts).unwrap();
        assert_eq!(accepted, 2);
        assert!(packets(&frame[..length]).eq([packet(1), packet(3)]));
    }

    #[test]
    fn what_is_no_bundle_is_refused_whole() {
        let (_, good) = packed(&[1, 2], 100).unwrap();
        let mut cut = good[..HEADER + 21 + 10].to_vec();
        let mut trailing = good.clone();
        trailing[HEADER + 21 + 22] = 1;
        let mut one = [&good[..HEADER + 21], &[0; 20]].concat();
        let mut none = vec![0; 100];
        let mut many = [&good[..HEADER], &packet(0).repeat(MAX_BUNDLED + 1)].concat();
        for bad in [&mut cut, &mut trailing, &mut one, &mut none, &mut many, &mut vec![0xff]] {
            assert_eq!(unpack(bad, |_| true), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut payload in prop::collection::vec(prop::sample::select(vec![0, 1, 20, 40, 0x45, 0x60, 0xff]), 0..200)) {
            let before = payload.len();
            if let Some((length, accepted)) = unpack(&mut payload, |_| true) {
                prop_assert!(length <= before && (2..=MAX_BUNDLED).contains(&accepted));
                prop_assert_eq!(packets(&payload[..length]).count(), accepted);
            }
        }
    }
}
