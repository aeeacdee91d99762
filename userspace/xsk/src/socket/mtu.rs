//! Whether every packet of a device fits one chunk.
//!
//! A packet that does not fit cannot be cut: the kernel drops it. A device whose MTU lets such packets in is
//! therefore refused at start, with the numbers. Packets in several chunks (multi-buffer) are a later step.
use thiserror::Error;

use super::config::QueueConfig;

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// Bytes of one VLAN tag.
const TAG: u32 = 4;

/// The device's MTU needs more than a chunk has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "MTU {mtu} + 14 + 4 x {tags} VLAN tags = {need} bytes, but a chunk of {chunk} holds {capacity} \
     (256 bytes and {headroom} of headroom go off): lower the MTU to {largest}{chunk_hint}",
    chunk_hint = if *.chunk < 4096 { " or set chunk = 4096" } else { "" }
)]
pub struct MtuError {
    /// The device's MTU.
    pub mtu: u32,
    /// VLAN tags a frame may carry.
    pub tags: u32,
    /// Bytes of the longest frame.
    pub need: u32,
    /// Bytes of a chunk.
    pub chunk: u32,
    /// Bytes before the packet, beyond the kernel's.
    pub headroom: u32,
    /// Bytes of a packet that fit.
    pub capacity: u32,
    /// The largest MTU that fits.
    pub largest: u32,
}

/// Judges a device's MTU.
///
/// # Errors
/// [`MtuError`] if a frame of that MTU does not fit one chunk.
pub fn check(config: &QueueConfig, mtu: u32) -> Result<(), MtuError> {
    let tags = config.vlan_tags;
    let extra = TAG.saturating_mul(tags).saturating_add(ETHERNET);
    let need = mtu.saturating_add(extra);
    let capacity = config.capacity();
    if need <= capacity {
        return Ok(());
    }
    let QueueConfig { chunk, headroom, .. } = *config;
    Err(MtuError { mtu, tags, need, chunk, headroom, capacity, largest: capacity.saturating_sub(extra) })
}

#[cfg(test)]
mod tests {
    use ixp::port::PortId;

    use super::*;
    use crate::socket::InterfaceName;

    fn config(chunk: u32, vlan_tags: u32) -> QueueConfig {
        let name = InterfaceName::new("veth0").expect("a name");
        QueueConfig { chunk, vlan_tags, ..QueueConfig::new(name, 0, PortId::new(0)) }
    }

    #[test]
    fn b08_the_largest_mtu_fits_and_one_more_does_not() {
        for (chunk, tags, largest) in [(2048, 0, 1762), (2048, 2, 1754), (4096, 0, 3810), (4096, 2, 3802)] {
            assert_eq!(check(&config(chunk, tags), largest), Ok(()));
            let error = check(&config(chunk, tags), largest + 1).expect_err("one byte too long");
            assert_eq!((error.need, error.capacity, error.largest), (chunk - 272 + 1, chunk - 272, largest));
        }
    }

    #[test]
    fn b08_the_refusal_says_what_to_do() {
        let error = check(&config(2048, 1), 3000).expect_err("3000 in 2048");
        assert_eq!(
            error.to_string(),
            "MTU 3000 + 14 + 4 x 1 VLAN tags = 3018 bytes, but a chunk of 2048 holds 1776 (256 bytes and 16 of \
             headroom go off): lower the MTU to 1758 or set chunk = 4096"
        );
        assert!(check(&config(4096, 0), 9000).expect_err("9000 in 4096").to_string().ends_with("to 3810"));
        assert!(check(&config(4096, u32::MAX), u32::MAX).is_err());
    }
}
