//! The stage that knows whose a packet is: believes XDP's metadata, or parses again where there is none.
//!
//! It decides nothing but "not this": a packet whose target is gone, that nobody claims any more, or whose IPv4
//! header is damaged ends here, under a counter of its own. What a target does with its packets is another stage's.
use std::cell::RefCell;

use abi::{
    fragment::FragKey,
    rxmeta::{CLASS_NONE, RxMeta, flag},
    steer::{SteerKey, Target, kind},
};
use multistack::{
    books::NO_TUPLE,
    mirror::{Mirror, Owned, Recent},
    registry::SessionId,
    steer::{Outcome, Subject, Table, parse, steer},
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steered {
    /// The metadata, XDP's or our own; its class is what the header program found.
    pub meta: RxMeta,
    /// The class that a filter here gave, [`CLASS_NONE`] if none did.
    pub class: u16,
    /// If its target is an application: the number that the packet's tuple has there.
    pub tuple: u16,
    /// Why that application does not get it after all: a drop that counts in its books.
    pub spoilt: Option<Loss>,
}

impl Default for Steered {
    /// Nothing is known.
    #[inline(always)]
    fn default() -> Self {
        let meta = RxMeta { class: CLASS_NONE, ..RxMeta::default() };
        Self { meta, class: CLASS_NONE, tuple: NO_TUPLE, spoilt: None }
    }
}

impl Steered {
    /// The application that the metadata names, and the tuple.
    #[must_use]
    #[inline(always)]
    pub const fn owned(&self) -> Owned {
        let session = SessionId { slot: self.meta.id, generation: self.meta.generation };
        Owned { session, tuple: self.tuple }
    }
}

/// What packets without metadata were found to be: both "whose" and "nobody's".
type Memory = RefCell<Cam<SteerKey, Option<Target>>>;

/// Whose the first fragments of datagrams were, and the tuples that they named: later ones name none.
type Datagrams = RefCell<Cam<FragKey, (SessionId, SteerKey)>>;

/// Parts of datagrams and errors about packets: what has its tuple elsewhere than where other packets have it.
const UNCOMMON: u8 = flag::FRAG_FIRST | flag::FRAG_LATER | flag::ICMP_ERROR;

/// The steering stage.
#[derive(Debug)]
pub struct Steer {
    cam: Option<Memory>,
    recent: Option<Recent>,
    datagrams: Datagrams,
}

impl Default for Steer {
    fn default() -> Self {
        let (cam, recent) = (Some(Memory::default()), Some(Recent::default()));
        Self { cam, recent, datagrams: Datagrams::default() }
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
    /// The stage that remembers nothing but datagrams: slower, obviously right, and what the other is compared with.
    #[must_use]
    pub fn without_memory() -> Self {
        Self { cam: None, recent: None, datagrams: Datagrams::default() }
    }

    /// A packet without metadata: parsed here, if anybody wants it.
    #[cold]
    #[inline(never)]
    fn without_meta(&self, frame: &Frame, context: &mut Steered, env: &Env<'_>) -> Verdict {
        env.note(frame.port(), Counter::Reparsed);
        match self.parse_again(frame, frame.port(), env) {
            Some(meta) => {
                context.meta = meta;
                self.judge(frame, context, env)
            }
            None => Verdict::Drop(const { Loss::of(Counter::RxUnclaimed) }),
        }
    }

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

    /// Judges a packet by the metadata in its context.
    #[inline(always)]
    fn judge(&self, frame: &Frame, context: &mut Steered, env: &Env<'_>) -> Verdict {
        if context.meta.kind == kind::STACK {
            return self.of_application(frame, context, env);
        }
        let Some(tuple) = env.snapshot.tables().mirror.tuple_of(&context.meta) else {
            return Verdict::Drop(const { Loss::of(Counter::RxStale) });
        };
        let RxMeta { flags, l3_off, .. } = context.meta;
        if flags & flag::IPV6 == 0 && !ipv4_header_is_intact(frame.bytes(), usize::from(l3_off)) {
            return Verdict::Drop(const { Loss::of(Counter::RxBadIpChecksum) });
        }
        env.ledger.target(tuple, frame.len());
        Verdict::Next
    }

    /// Whether the application that the metadata names gets the packet.
    ///
    /// Whoever owns the packet's tuple is there, so that a session is asked for itself only where no tuple can be read.
    #[inline(always)]
    fn of_application(&self, frame: &Frame, context: &mut Steered, env: &Env<'_>) -> Verdict {
        let (meta, bytes) = (&context.meta, frame.bytes());
        let l3 = usize::from(meta.l3_off);
        let (tuple, intact) = match plain_v4(bytes, meta) {
            Some((header, port)) => {
                let [.., a, b, c, d] = *header;
                let key = SteerKey::v4(header[9], [a, b, c, d], port);
                (self.tuple(key, meta, env), header_is_intact(header, bytes, l3))
            }
            None => self.not_plain(frame, meta, env),
        };
        let Some(tuple) = tuple else { return released(&env.snapshot.tables().mirror, context) };
        context.tuple = tuple;
        if !intact {
            context.spoilt = const { Some(Loss::of(Counter::RxBadIpChecksum)) };
        }
        Verdict::Next
    }

    /// The tuple of an IPv6 packet, or of one whose bytes do not say it, and whether its IPv4 header, if it has one, is
    /// intact.
    #[inline(never)]
    fn not_plain(&self, frame: &Frame, meta: &RxMeta, env: &Env<'_>) -> (Option<u16>, bool) {
        let v6 = meta.flags & flag::IPV6 != 0;
        let key = match meta.flags & UNCOMMON {
            0 if v6 => key_v6(frame.bytes(), meta),
            0 => None,
            _ => self.named(frame, meta, env),
        };
        let untold = || env.snapshot.tables().mirror.session_of(meta).map(|_| NO_TUPLE);
        let tuple = key.map_or_else(untold, |key| self.tuple(key, meta, env));
        (tuple, v6 || ipv4_header_is_intact(frame.bytes(), usize::from(meta.l3_off)))
    }

    /// The tuple that a fragment or an error names, if only by the datagram that it is of.
    ///
    /// `None` for a fragment whose first did not come to this engine, or did so too long ago: sixteen datagrams are
    /// remembered. Nor does it count if the first was another application's, for then XDP knows better.
    fn named(&self, frame: &Frame, meta: &RxMeta, env: &Env<'_>) -> Option<SteerKey> {
        const EVER: Generation = Generation::from_raw(0);
        let session = SessionId { slot: meta.id, generation: meta.generation };
        match parse(frame.bytes(), env.snapshot.tables().ports.get(frame.port())?).ok()?.subject {
            Subject::Whole(key) | Subject::Error(key) => Some(key),
            Subject::First(key, datagram) => {
                self.datagrams.borrow_mut().put(EVER, datagram, (session, key));
                Some(key)
            }
            Subject::Later(datagram) => {
                let first = self.datagrams.borrow_mut().lookup(EVER, &datagram).ok();
                first.filter(|(of, _)| *of == session).map(|(_, key)| key)
            }
        }
    }

    /// The number of a tuple, if it is that application's which the metadata names.
    #[inline(always)]
    fn tuple(&self, key: SteerKey, meta: &RxMeta, env: &Env<'_>) -> Option<u16> {
        let mirror = &env.snapshot.tables().mirror;
        let session = SessionId { slot: meta.id, generation: meta.generation };
        match &self.recent {
            Some(recent) => recent.tuple(env.snapshot.generation().get(), mirror, key, session),
            None => Recent::unremembered(mirror, key, session),
        }
    }
}

/// A packet whose tuple its application does not own any more is stale; there may be such an application still.
#[cold]
fn released(mirror: &Mirror, context: &mut Steered) -> Verdict {
    const STALE: Loss = Loss::of(Counter::RxStale);
    if mirror.session_of(&context.meta).is_none() {
        return Verdict::Drop(STALE);
    }
    context.tuple = NO_TUPLE;
    context.spoilt = Some(STALE);
    Verdict::Next
}

impl Stage<Steered> for Steer {
    const FETCHES: bool = true;

    #[inline(always)]
    fn issue(&self, frame: &Frame, _: &Steered, _: &Env<'_>) -> Option<*const u8> {
        // The metadata and the start of the packet: one line with the default headroom.
        Some(frame.as_ptr().wrapping_sub(RxMeta::SIZE))
    }

    #[inline(always)]
    fn step(&mut self, frame: &mut Frame, context: &mut Steered, env: &Env<'_>) -> Verdict {
        let Some(meta) = frame.meta() else { return self.without_meta(frame, context, env) };
        env.note(frame.port(), Counter::FromMeta);
        context.meta = meta;
        self.judge(frame, context, env)
    }
}

/// The fixed part of the header and the destination port of an IPv4 packet that has ports.
#[inline(always)]
fn plain_v4<'a>(frame: &'a [u8], meta: &RxMeta) -> Option<(&'a [u8; 20], u16)> {
    if meta.flags & (flag::IPV6 | UNCOMMON) != 0 {
        return None;
    }
    let header = frame.get(usize::from(meta.l3_off)..)?.first_chunk()?;
    let port = frame.get(usize::from(meta.l4_off) + 2..)?.first_chunk()?;
    Some((header, u16::from_be_bytes(*port)))
}

/// The tuple of an IPv6 packet that has ports.
#[inline]
fn key_v6(frame: &[u8], meta: &RxMeta) -> Option<SteerKey> {
    let l4 = usize::from(meta.l4_off);
    let ip = frame.get(usize::from(meta.l3_off)..l4)?;
    let port = u16::from_be_bytes(*frame.get(l4 + 2..)?.first_chunk()?);
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
    let header = frame.get(at..).and_then(<[u8]>::first_chunk);
    header.is_some_and(|header| header_is_intact(header, frame, at))
}

/// The same, where the header's fixed part is at hand.
#[inline(always)]
fn header_is_intact(header: &[u8; 20], frame: &[u8], at: usize) -> bool {
    match header[0] & 0x0f {
        5 => is_all_ones(header),
        words => with_options_is_intact(frame, at, usize::from(words) * 4),
    }
}

/// Whether the sum of a header's words, with all carries added to it, is all ones, as that of an intact one is.
///
/// That does not depend on the byte order of the words, nor on how many of them are added at once: eight bytes are four
/// words in a row (RFC 1071, section 2). A sum that is not zero is all ones if 0xffff divides it, and a number is
/// divided by an odd one if its product with that one's inverse is small (Granlund and Montgomery, PLDI 1994, section 9).
#[inline(always)]
fn is_all_ones(header: &[u8; 20]) -> bool {
    const ONES: u64 = 0xffff;
    /// ONES × INVERSE = 65534 × 2^64 + 1.
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const _: () = assert!(ONES.wrapping_mul(INVERSE) == 1);
    let (eights, _) = header.as_chunks::<8>();
    let (fours, _) = header.as_chunks::<4>();
    let &[first, second] = eights else { return false };
    let &[.., last] = fours else { return false };
    // A wrapped sum is at most 2^64 − 2, so that adding its carry makes no other.
    let (sum, carry) = u64::from_ne_bytes(first).overflowing_add(u64::from_ne_bytes(second));
    let (sum, carry) = (sum + u64::from(carry)).overflowing_add(u64::from(u32::from_ne_bytes(last)));
    (sum + u64::from(carry)).wrapping_mul(INVERSE) <= u64::MAX / ONES
}

#[cold]
fn with_options_is_intact(frame: &[u8], at: usize, len: usize) -> bool {
    frame.get(at..at + len).is_some_and(|header| 20 < len && Sum::of(header).is_intact())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The slow twin is the sum of the crate `wire`.
        #[test]
        fn a_header_is_intact_if_its_sum_is(mut header in any::<[u8; 20]>(), repaired in any::<bool>()) {
            header[0] = 0x45;
            if repaired {
                [header[10], header[11]] = [0; 2];
                [header[10], header[11]] = Sum::of(&header).complement().to_be_bytes();
            }
            prop_assert_eq!(ipv4_header_is_intact(&header, 0), Sum::of(&header).is_intact());
            prop_assert!(!repaired || ipv4_header_is_intact(&header, 0));
        }
    }
}
