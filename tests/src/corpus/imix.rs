//! Ordinary traffic: 28 frames of 64 bytes, 16 of 570, 4 of 1518 with their FCS, as RFC 2544 counts them.
//!
//! Written by etherparse with complete checksums, so that everybody on the way may believe them.
use etherparse::PacketBuilder;

use super::{
    Sample,
    layers::{MAC, PEER, V4, V6},
    rng::Rng,
};
use crate::scale::Seed;

/// How many of which size, without the FCS.
const MIXTURE: [(usize, usize); 3] = [(28, 60), (16, 566), (4, 1514)];

/// One mixture each of UDP and TCP, over IPv4 and IPv6, from random ports and with random payloads.
#[must_use]
pub fn samples(seed: Seed) -> Vec<Sample> {
    let mut rng = Rng::new(seed);
    let sizes = MIXTURE.iter().flat_map(|&(count, size)| std::iter::repeat_n(size, count));
    sizes.enumerate().map(|(n, size)| Sample::new(format!("imix {n}"), ordinary(n, size, &mut rng))).collect()
}

fn ordinary(n: usize, size: usize, rng: &mut Rng) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(PEER, MAC);
    let network = match n % 2 {
        0 => link.ipv4([198, 51, 100, rng.byte()], V4, 64),
        _ => link.ipv6([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, rng.byte()], V6, 64),
    };
    let (from, to) = (rng.next_u64() as u16, *rng.pick(&super::matrix::PORTS));
    let mut frame = Vec::with_capacity(size);
    let written = match n % 4 {
        0 | 1 => {
            let builder = network.udp(from, to);
            let payload = rng.bytes(size.saturating_sub(builder.size(0)));
            builder.write(&mut frame, &payload)
        }
        _ => {
            let builder = network.tcp(from, to, rng.next_u64() as u32, 0x2000);
            let payload = rng.bytes(size.saturating_sub(builder.size(0)));
            builder.write(&mut frame, &payload)
        }
    };
    debug_assert!(written.is_ok(), "a Vec takes everything");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_mixture() {
        let sizes: Vec<usize> = samples(Seed(0)).iter().map(|sample| sample.frame.len()).collect();
        assert_eq!(sizes.len(), 48);
        // IPv6 and TCP headers alone have 74 bytes.
        assert!(sizes[..28].iter().all(|&len| (60..=74).contains(&len)), "{sizes:?}");
        assert!(sizes[28..44].iter().all(|&len| len == 566) && sizes[44..].iter().all(|&len| len == 1514));
    }
}
