//! The flows that one worker sent packets of last: what rules 7 to 10 said of one packet, they say of the next.
//!
//! Rules 1 to 6 are about a packet, and are asked of each. Those after them are about whose it is, where it goes to and
//! what the tables say: of an IPv4 packet without options that leaves by a port, nothing else. So the answer is kept, with
//! the Ethernet header that was written, until the tables are others. That a session has no such source is kept as well,
//! so that a lie costs its neighbours no more than a truth. It refuses to remember what goes to this host, and a next hop
//! that has to be asked for: all that, [`check`] judges anew each time.
//!
//! A flow has one place, by its hash. Whoever sends to many destinations takes places from others, who are then judged as
//! if there were no memory, and no slower. Whoever only lies takes no place from anybody.
use wire::{ipv4, udp};

use super::{ROOM, Refused, Sender, Sent, Verdict, World, check};
use crate::mirror::Generation;
use crate::neighbour::LinkNo;
use crate::registry::SessionId;
use abi::shm::counter::ChannelCounter;
use abi::shm::desc::Form;

/// Places, a power of two: 64 bytes each.
const PLACES: usize = 512;

/// The memory of one worker.
#[derive(Debug)]
pub struct Flows {
    places: Box<[Place; PLACES]>,
    generation: Generation,
}

/// What rules 7 to 10 look at, destination port aside: that matters for local destinations alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    /// Source and destination.
    addrs: u64,
    port: u16,
    protocol: u8,
    session: SessionId,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Place {
    flow: Flow,
    link: LinkNo,
    tuple: u16,
    /// The longest packet; [`NO_PACKET`] if the session does not own the source.
    mtu: u16,
    /// Where the Ethernet header begins in `header`, and so in a packet's buffer.
    start: u8,
    header: [u8; ROOM],
}

/// Every packet is longer.
const NO_PACKET: u16 = 0;

/// No session sends packets of protocol 0.
const NOTHING: Place = Place {
    flow: Flow { addrs: 0, port: 0, protocol: 0, session: SessionId { slot: 0, generation: 0 } },
    link: LinkNo(0),
    tuple: 0,
    mtu: NO_PACKET,
    start: 0,
    header: [0; ROOM],
};

const _: () = assert!(size_of::<Place>() == 64 && PLACES.is_power_of_two());

/// Where the header of an interface without tags begins.
const UNTAGGED: usize = ROOM - wire::ethernet::HEADER_LEN;

impl Default for Flows {
    fn default() -> Self {
        Self { places: Box::new([NOTHING; PLACES]), generation: 0 }
    }
}

impl Flow {
    /// The flow and the length of a packet that rules 4 to 6 let pass, if it is one that can be remembered.
    #[inline(always)]
    fn of(packet: &[u8], session: SessionId) -> Option<(Self, usize)> {
        let (header, rest) = packet.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
        let [0x45, _, high, low, _, _, flags, offset, ttl, protocol, _, _, addrs @ ..] = *header else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        // Rule 4; then rule 5, of which bits 14 and 15 (reserved, and "do not fragment") are no part.
        let whole = ipv4::HEADER_LEN + udp::HEADER_LEN <= len && len <= packet.len() && 0 < ttl;
        let unfragmented = (flags & 0x3f) | offset == 0;
        let port = u16::from_be_bytes(*rest.first_chunk()?);
        let flow = Self { addrs: u64::from_ne_bytes(addrs), port, protocol, session };
        (whole && unfragmented).then_some((flow, len))
    }

    #[inline(always)]
    const fn place(self) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let ends = self.addrs.wrapping_mul(GOLDEN) ^ (self.port as u64) << 32 ^ (self.protocol as u64) << 48;
        (ends.wrapping_mul(GOLDEN) >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

impl Flows {
    /// What [`check`] says, and does, in the tables of this generation.
    #[inline(always)]
    pub fn check(
        &mut self,
        generation: Generation,
        buffer: &mut [u8],
        form: Form,
        sender: &Sender,
        world: World<'_>,
    ) -> Verdict {
        if self.generation != generation {
            self.forget(generation);
        }
        let packet = if form == Form::L3 { buffer.get(ROOM..) } else { None };
        let Some((flow, len)) = packet.and_then(|packet| Flow::of(packet, sender.session)) else {
            return check(buffer, form, sender, world);
        };
        let place = &mut self.places[flow.place() % PLACES];
        if place.flow != flow || usize::from(place.mtu) < len {
            return judge(place, flow, buffer, sender, world);
        }
        match (usize::from(place.start), buffer.get_mut(UNTAGGED..ROOM)) {
            (UNTAGGED, Some(header)) => header.copy_from_slice(&place.header[UNTAGGED..]),
            _ => place.write(buffer),
        }
        let (link, start, tuple) = (place.link, usize::from(place.start), place.tuple);
        Verdict::Send(Sent { link, start, end: ROOM + len, tuple, ageing: None })
    }

    #[cold]
    fn forget(&mut self, generation: Generation) {
        self.places.fill(NOTHING);
        self.generation = generation;
    }
}

impl Place {
    /// Whether nobody loses anything if this session takes it.
    fn is_free_for(&self, session: SessionId) -> bool {
        self.flow == NOTHING.flow || self.flow.session == session
    }

    #[cold]
    fn write(&self, buffer: &mut [u8]) {
        let start = usize::from(self.start);
        if let (Some(from), Some(to)) = (self.header.get(start..), buffer.get_mut(start..ROOM)) {
            to.copy_from_slice(from);
        }
    }
}

/// What becomes of packets whose source is not their sender's.
const NOT_OWNER: Verdict =
    Verdict::Drop(Refused { counter: ChannelCounter::TxNotOwner, tuple: None, unresolved: None });

/// Judges the packet of a flow that is not known, or not sent, and takes note of it.
#[inline(never)]
fn judge(place: &mut Place, flow: Flow, buffer: &mut [u8], sender: &Sender, world: World<'_>) -> Verdict {
    if place.flow == flow && place.mtu == NO_PACKET {
        return NOT_OWNER;
    }
    let verdict = check(buffer, Form::L3, sender, world);
    match verdict {
        Verdict::Send(Sent { link: number, start, tuple, ageing: None, .. }) => {
            if let (Some(link), Some(header)) = (world.network.link(number), buffer.first_chunk()) {
                *place =
                    Place { flow, link: number, tuple, mtu: link.mtu, start: start as u8, header: *header };
            }
        }
        NOT_OWNER if place.is_free_for(flow.session) => *place = Place { flow, ..NOTHING },
        _ => {}
    }
    verdict
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use abi::port::PortConfig;
    use abi::steer::{SteerKey, Target, kind};
    use wire::ethernet::Mac;

    use super::*;
    use crate::mirror::Mirror;
    use crate::neighbour::{Facts, Link, Local, Neighbour, Network, Route, Upkeep, Via};
    use crate::prefix::Prefix;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const SESSION: SessionId = SessionId { slot: 3, generation: 1 };

    fn network(mac: [u8; 6]) -> Network {
        let (link, dst) = (LinkNo(0), Prefix::new(HERE.into(), 24).unwrap());
        let facts = Facts {
            links: vec![Link { config: PortConfig::default(), mtu: 1500 }],
            locals: vec![(HERE.into(), Local::On(link))],
            routes: vec![Route::new(link, dst, Via::OnLink)],
            neighbours: vec![Neighbour { link, addr: THERE.into(), mac: Mac(mac), upkeep: Upkeep::Kept }],
            ..Facts::default()
        };
        Network::new(&facts, 1).unwrap()
    }

    /// A datagram from port 53 to port 7 as it lies in a buffer.
    fn buffer() -> Vec<u8> {
        let [a, b, c, d] = HERE.octets();
        let [e, f, g, h] = THERE.octets();
        let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, a, b, c, d, e, f, g, h];
        [&[0xee; ROOM][..], &ip, &[0, 53, 0, 7, 0, 8, 0, 0]].concat()
    }

    #[test]
    fn other_tables_other_answers_and_other_sessions_too() {
        let mut mirror = Mirror::empty(1, 1);
        let target = Target { kind: kind::STACK, flags: 0, id: SESSION.slot, generation: 1, aux: 9 };
        mirror.insert_key(SteerKey::v4(17, HERE.octets(), 53), target);
        let (before, after) = (network([2; 6]), network([4; 6]));
        let mut flows = Flows::default();
        let mut send = |generation, network, session| {
            let (sender, mut buffer) = (Sender { session, form: Form::L3, mtu: 1500 }, buffer());
            let world = World { mirror: &mirror, network };
            let verdict = flows.check(generation, &mut buffer, Form::L3, &sender, world);
            matches!(verdict, Verdict::Send(sent) if sent.tuple == 9).then(|| buffer[UNTAGGED])
        };
        assert_eq!((send(1, &before, SESSION), send(1, &before, SESSION)), (Some(2), Some(2)));
        assert_eq!(
            send(1, &after, SESSION),
            Some(2),
            "as long as the tables are called the same, nobody looks"
        );
        assert_eq!(send(2, &after, SESSION), Some(4));
        let other = SessionId { slot: 3, generation: 2 };
        assert_eq!((send(2, &after, other), send(2, &after, other)), (None, None));
        // Nor did the liar take the place of the flow that it pretends to be.
        assert_eq!(send(2, &before, SESSION), Some(4), "still remembered");
    }

    #[test]
    fn a_lie_is_remembered_until_it_may_have_become_true() {
        let mut mirror = Mirror::empty(1, 1);
        let network = network([2; 6]);
        let mut flows = Flows::default();
        let sender = Sender { session: SESSION, form: Form::L3, mtu: 1500 };
        let mut send = |generation, mirror: &Mirror| {
            let world = World { mirror, network: &network };
            flows.check(generation, &mut buffer(), Form::L3, &sender, world)
        };
        assert_eq!((send(1, &mirror), send(1, &mirror)), (NOT_OWNER, NOT_OWNER));
        let target = Target { kind: kind::STACK, flags: 0, id: SESSION.slot, generation: 1, aux: 9 };
        mirror.insert_key(SteerKey::v4(17, HERE.octets(), 53), target);
        assert_eq!(send(1, &mirror), NOT_OWNER, "nobody looks");
        assert!(matches!(send(2, &mirror), Verdict::Send(sent) if sent.tuple == 9));
    }
}
