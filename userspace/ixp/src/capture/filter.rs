//! Which packets a capture wants: at which points, of which tuples, and of whose.
//!
//! A packet that has no ports of its own (a later fragment, an ICMP error) is wanted if it was steered to whoever owned a
//! wanted tuple when the capture began. Nothing is decoded beyond the tuple: that is for those who read the capture.
use std::net::IpAddr;

use abi::{
    capture::Point,
    rxmeta::{RxMeta, flag},
    steer::{SteerKey, Target, mapped},
};
use multistack::registry::SessionId;

/// Most tuples of one capture: each packet is compared with all of them.
pub const MAX_TUPLES: usize = 16;

/// A set of points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points(u8);

/// A tuple that is looked for: at a packet's destination where it comes in, at its source where it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    key: SteerKey,
    every_address: bool,
    /// Who owned it when the capture began.
    target: Option<Target>,
}

/// What a capture wants.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Where.
    pub points: Points,
    /// Which tuples; none means every packet. At most [`MAX_TUPLES`].
    pub wanted: Vec<Wanted>,
    /// Of an application's packets only this session's: who captures may not see another's.
    pub only: Option<SessionId>,
    /// Most bytes of a packet that are kept.
    pub snaplen: u16,
}

impl Points {
    /// With one point more.
    #[must_use]
    pub const fn and(self, point: Point) -> Self {
        Self(self.0 | 1 << point as u8)
    }

    /// Whether the point is among them.
    #[must_use]
    #[inline(always)]
    pub const fn has(self, point: Point) -> bool {
        self.0 & 1 << point as u8 != 0
    }
}

impl Wanted {
    /// This tuple; without an address, at every address.
    #[must_use]
    pub const fn new(proto: u8, addr: Option<IpAddr>, port: u16, target: Option<Target>) -> Self {
        let key = match addr {
            Some(IpAddr::V4(addr)) => SteerKey::v6(proto, mapped(addr.octets()), port),
            Some(IpAddr::V6(addr)) => SteerKey::v6(proto, addr.octets(), port),
            None => SteerKey::v6(proto, [0; 16], port),
        };
        Self { key, every_address: addr.is_none(), target }
    }

    /// Whether this is the tuple.
    #[must_use]
    #[inline]
    pub fn is(&self, key: &SteerKey) -> bool {
        let Self { key: SteerKey { addr, port, proto, .. }, every_address, .. } = self;
        *port == key.port && *proto == key.proto && (*every_address || *addr == key.addr)
    }

    /// Whether a packet without ports was steered to the tuple's owner.
    fn owns(&self, meta: &RxMeta) -> bool {
        meta.flags & (flag::FRAG_LATER | flag::ICMP_ERROR) != 0
            && self.target.is_some_and(|target| {
                (target.kind, target.id, target.generation) == (meta.kind, meta.id, meta.generation)
            })
    }
}

impl Filter {
    /// Whether one of these tuples is wanted, or what steering said of a packet without one.
    #[inline]
    pub(super) fn has(&self, keys: &[Option<SteerKey>; 2], meta: Option<&RxMeta>) -> bool {
        self.wanted.is_empty()
            || self.wanted.iter().any(|wanted| {
                keys.iter().flatten().any(|key| wanted.is(key)) || meta.is_some_and(|meta| wanted.owns(meta))
            })
    }

    /// Whether a packet of this session may be seen; one of none's may.
    #[inline]
    pub(super) fn may_see(&self, session: Option<SessionId>) -> bool {
        match (self.only, session) {
            (Some(only), Some(session)) => only == session,
            _ => true,
        }
    }
}
