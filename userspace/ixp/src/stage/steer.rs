//! The stage that knows whose a packet is: believes XDP's metadata, or parses again where there is none.
//!
//! It decides nothing but "not this": a packet whose target is gone, that nobody claims any more, or whose IPv4
//! header is damaged ends here, under a counter of its own. What a target does with its packets is another stage's.
use abi::rxmeta::{RxMeta, flag};
use multistack::steer::{Outcome, steer};

use crate::{
    counter::{Counter, Loss},
    frame::Frame,
    port::PortId,
    program::{Env, Stage, Verdict},
};

/// What later stages know of a steered packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steered {
    /// The metadata, XDP's or our own.
    pub meta: RxMeta,
}

/// The steering stage.
#[derive(Debug, Default)]
pub struct Steer {}

impl Steer {
    fn parse_again(&self, frame: &Frame, port: PortId, env: &Env<'_>) -> Option<RxMeta> {
        let tables = env.snapshot.tables();
        let config = tables.ports.get(port)?;
        match steer(frame.bytes(), config, &*tables.mirror) {
            Outcome::Redirect { meta, .. } => Some(meta),
            Outcome::Pass(_) => None,
        }
    }
}

impl Stage<Steered> for Steer {
    #[inline(always)]
    fn issue(&self, frame: &Frame, _: &Steered, _: &Env<'_>) -> Option<*const u8> {
        // The metadata and the start of the packet: one line with the default headroom.
        Some(frame.as_ptr().wrapping_sub(RxMeta::SIZE))
    }

    #[inline(always)]
    fn step(&mut self, frame: &mut Frame, context: &mut Steered, env: &Env<'_>) -> Verdict {
        let port = frame.port();
        let meta = match frame.meta() {
            Some(meta) => {
                env.note(port, Counter::FromMeta);
                meta
            }
            None => {
                env.note(port, Counter::Reparsed);
                match self.parse_again(frame, port, env) {
                    Some(meta) => meta,
                    None => return Verdict::Drop(const { Loss::of(Counter::RxUnclaimed) }),
                }
            }
        };
        let Some(tuple) = env.snapshot.tables().mirror.tuple_of(&meta) else {
            return Verdict::Drop(const { Loss::of(Counter::RxStale) });
        };
        if meta.flags & flag::IPV6 == 0 && !ipv4_header_is_whole(frame.bytes(), usize::from(meta.l3_off)) {
            return Verdict::Drop(const { Loss::of(Counter::RxBadIpChecksum) });
        }
        env.ledger.target(tuple, frame.len());
        *context = Steered { meta };
        Verdict::Next
    }
}

/// Whether the IPv4 header at `at` lies in the frame and its checksum is right (RFC 791, RFC 1071).
fn ipv4_header_is_whole(frame: &[u8], at: usize) -> bool {
    let Some(&version_ihl) = frame.get(at) else { return false };
    let len = usize::from(version_ihl & 0x0f) * 4;
    let Some(header) = frame.get(at..at + len).filter(|h| 20 <= h.len()) else { return false };
    let (words, _) = header.as_chunks::<4>();
    // Native order: the sum's byte order does not matter for comparing it with 0xffff (RFC 1071 section 2 B).
    let sum: u64 = words.iter().map(|&w| u64::from(u32::from_ne_bytes(w))).sum();
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum >> 16) + (sum & 0xffff) == 0xffff
}
