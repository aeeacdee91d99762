//! The stage that knows whose a packet is: believes XDP's metadata, or parses again where there is none.
//!
//! It decides nothing but "not this": a packet whose target is gone, that nobody claims any more, or whose IPv4
//! header is damaged ends here, under a counter of its own. What a target does with its packets is another stage's.
use std::cell::RefCell;

use abi::{
    rxmeta::{RxMeta, flag},
    steer::{SteerKey, Target, kind},
};
use multistack::{
    books::NO_TUPLE,
    mirror::{Mirror, Owned},
    steer::{Outcome, Table, steer},
};
use wire::checksum::Sum;

use crate::{
    cam::Cam,
    counter::{Counter, Loss},
    frame::Frame,
    port::PortId,
    program::{Env, Stage, Verdict},
    tables::Generation,
};

/// What later stages know of a steered packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steered {
    /// The metadata, XDP's or our own.
    pub meta: RxMeta,
    /// The application that gets it, if its target is one's.
    pub owned: Option<Owned>,
    /// Why that application does not get it after all: a drop that counts in its books.
    pub spoilt: Option<Loss>,
}

/// What packets without metadata were found to be: both "whose" and "nobody's".
type Memory = RefCell<Cam<SteerKey, Option<Target>>>;

/// The steering stage.
#[derive(Debug)]
pub struct Steer {
    cam: Option<Memory>,
}

impl Default for Steer {
    fn default() -> Self {
        Self { cam: Some(Memory::default()) }
    }
}

/// The mirror behind the engine's CAM.
struct Remembered<'a> {
    cam: Option<&'a Memory>,
    mirror: &'a Mirror,
    generation: Generation,
}

impl Table for Remembered<'_> {
    fn get(&self, key: &SteerKey) -> Option<Target> {
        let Some(cam) = self.cam else { return self.mirror.get(key) };
        let mut cam = cam.borrow_mut();
        cam.lookup(self.generation, key).unwrap_or_else(|entry| {
            let target = self.mirror.get(key);
            cam.write(entry, *key, target);
            target
        })
    }
}

impl Steer {
    /// The stage without a CAM: slower, obviously right, and what the other is compared with.
    #[must_use]
    pub const fn without_cam() -> Self {
        Self { cam: None }
    }

    /// The packet's metadata, if there is a target for it.
    #[inline(always)]
    fn meta(&self, frame: &Frame, port: PortId, env: &Env<'_>) -> Option<RxMeta> {
        if let Some(meta) = frame.meta() {
            env.note(port, Counter::FromMeta);
            return Some(meta);
        }
        env.note(port, Counter::Reparsed);
        self.parse_again(frame, port, env)
    }

    /// The application that the metadata names, if it is still there, and the drop if it does not own the packet's tuple
    /// any more.
    #[inline]
    fn owner(&self, frame: &[u8], meta: &RxMeta, env: &Env<'_>) -> Option<(Owned, Option<Loss>)> {
        let mirror = &env.snapshot.tables().mirror;
        let session = mirror.session_of(meta)?;
        let unknown = Owned { session, tuple: NO_TUPLE };
        let Some(key) = key(frame, meta) else { return Some((unknown, None)) };
        let generation = env.snapshot.generation();
        let table = Remembered { cam: self.cam.as_ref(), mirror, generation };
        match table.get(&key).and_then(|target| Owned::by(&target)).filter(|owned| owned.session == session) {
            Some(owned) => Some((owned, None)),
            None => Some((unknown, const { Some(Loss::of(Counter::RxStale)) })),
        }
    }

    #[cold]
    fn parse_again(&self, frame: &Frame, port: PortId, env: &Env<'_>) -> Option<RxMeta> {
        let tables = env.snapshot.tables();
        let config = tables.ports.get(port)?;
        let generation = env.snapshot.generation();
        let table = Remembered { cam: self.cam.as_ref(), mirror: &tables.mirror, generation };
        match steer(frame.bytes(), config, &table) {
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
        let Some(meta) = self.meta(frame, port, env) else {
            return Verdict::Drop(const { Loss::of(Counter::RxUnclaimed) });
        };
        let damaged = || {
            meta.flags & flag::IPV6 == 0 && !ipv4_header_is_intact(frame.bytes(), usize::from(meta.l3_off))
        };
        if meta.kind == kind::STACK {
            let Some((owned, mut spoilt)) = self.owner(frame.bytes(), &meta, env) else {
                return Verdict::Drop(const { Loss::of(Counter::RxStale) });
            };
            if spoilt.is_none() && damaged() {
                spoilt = const { Some(Loss::of(Counter::RxBadIpChecksum)) };
            }
            *context = Steered { meta, owned: Some(owned), spoilt };
            return Verdict::Next;
        }
        let Some(tuple) = env.snapshot.tables().mirror.tuple_of(&meta) else {
            return Verdict::Drop(const { Loss::of(Counter::RxStale) });
        };
        if damaged() {
            return Verdict::Drop(const { Loss::of(Counter::RxBadIpChecksum) });
        }
        env.ledger.target(tuple, frame.len());
        *context = Steered { meta, owned: None, spoilt: None };
        Verdict::Next
    }
}

/// The tuple that a packet was steered by, read at the offsets that the metadata gives; `None` if its bytes do not say.
#[inline]
fn key(frame: &[u8], meta: &RxMeta) -> Option<SteerKey> {
    if meta.flags & (flag::FRAG_LATER | flag::ICMP_ERROR) != 0 {
        return None;
    }
    let (l3, l4) = (usize::from(meta.l3_off), usize::from(meta.l4_off));
    let ip = frame.get(l3..l4)?;
    let port = u16::from_be_bytes(*frame.get(l4 + 2..)?.first_chunk()?);
    if meta.flags & flag::IPV6 == 0 {
        return Some(SteerKey::v4(*ip.get(9)?, *ip.get(16..)?.first_chunk()?, port));
    }
    let (addr, mut proto) = (*ip.get(24..)?.first_chunk()?, *ip.get(6)?);
    // Each extension header begins with the number of the next and its own length, eight bytes less (RFC 8200).
    let mut rest = ip.get(40..)?;
    while let &[next, length, ..] = rest {
        let fragment = proto == 44;
        proto = next;
        rest = rest.get(if fragment { 8 } else { 8 + usize::from(length) * 8 }..)?;
    }
    Some(SteerKey::v6(proto, addr, port))
}

/// Whether the IPv4 header at `at` lies in the frame and its checksum is right.
#[inline(always)]
fn ipv4_header_is_intact(frame: &[u8], at: usize) -> bool {
    let Some(header) = frame.get(at..).and_then(<[u8]>::first_chunk::<20>) else { return false };
    match header[0] & 0x0f {
        // A sum over a length that is known costs half of one that is not.
        5 => Sum::of(header).is_intact(),
        words => with_options_is_intact(frame, at, usize::from(words) * 4),
    }
}

#[cold]
fn with_options_is_intact(frame: &[u8], at: usize, len: usize) -> bool {
    frame.get(at..at + len).is_some_and(|header| 20 < len && Sum::of(header).is_intact())
}
