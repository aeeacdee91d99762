//! Whether an application may send this packet, and where it goes: judged on a copy that nobody else can write.
//!
//! It copies nothing, sends nothing and counts nothing: it answers with the one counter that a packet belongs to.
//!
//! # The rules
//!
//! This table is normative: [`admit`], [`check`] and the slow twin in `tests/` must agree on every packet. Rules are
//! tried in the order of their numbers, and the first that a packet breaks names its counter. *Packet* is what the
//! application wrote; the normal form begins with the IP header, the L2 form with an Ethernet header.
//!
//! | # | what must hold | else |
//! |---|---|---|
//! | 1 | before the copy: bits that must be zero are; L2 form only if the session has it; 20 ≤ length ≤ MTU, for L2 plus the Ethernet header and the interface's tags | [`TxDesc`] |
//! | 2 | L2: the source MAC is a served interface's; the destination is unicast, not zero, and no served interface's | [`TxMac`] |
//! | 3 | L2: the VIDs of the tags are exactly that interface's list, outermost first (PCP, DEI and TPID are free); the EtherType is that of the IP version which follows | [`TxVlan`] |
//! | 4 | IPv4: IHL ≥ 5, IHL·4 + 8 ≤ total length ≤ length; IPv6: 8 ≤ payload length ≤ length − 40; no other version; TTL or hop limit not 0. What follows the IP packet is cut off | [`TxMalformed`] |
//! | 5 | IPv4: offset 0 and MF clear; IPv6: next header is not Fragment | [`TxFragment`] |
//! | 5a | IPv6: next header is no other extension header | [`TxExtHeader`] |
//! | 6 | protocol 6, 17, 33, 132 or 136 | [`TxProtocol`] |
//! | 7 | the mirror says that (source address, source port, protocol) is this session's; an IPv6 source in ::ffff:0:0/96 is nobody's | [`TxNotOwner`] |
//! | 7a | the source address is a served interface's; L2: the one whose MAC and tags the frame has; and the packet is no longer than its MTU | [`TxNoRoute`], [`TxMac`], [`TxVlan`], [`TxDesc`] |
//! | 8 | the destination is not in 0/8, 127/8 or 224/4, nor 255.255.255.255, nor a broadcast address of this host's subnets, nor `::`, `::1`, in ff00::/8 or in ::ffff:0:0/96 | [`TxDestination`] |
//! | 9 | a local destination is a session's: then it is handed over, and the rules end | [`TxLocalOs`] |
//! | 10 | L3: a route through that interface leads to the destination, by the rules and tables for the source address; its next hop is resolved | [`TxNoRoute`], [`TxNoNeighbour`] |
//!
//! # Why
//!
//! - Rules 2 and 3 come before the owner is known, so they ask for *some* served interface; rule 7a then insists on
//!   the right one. With one interface 7a never applies but for the moments in which an address comes or goes.
//! - Mapped addresses are the second spelling of IPv4 ones: as a source they would spell another family's key, as a
//!   destination they would meet another family's owner.
//! - Checksums are not checked: wrong ones hurt only their sender. They must be complete, for nothing fills them in.
//!
//! [`TxDesc`]: ChannelCounter::TxDesc
//! [`TxMac`]: ChannelCounter::TxMac
//! [`TxVlan`]: ChannelCounter::TxVlan
//! [`TxMalformed`]: ChannelCounter::TxMalformed
//! [`TxFragment`]: ChannelCounter::TxFragment
//! [`TxExtHeader`]: ChannelCounter::TxExtHeader
//! [`TxProtocol`]: ChannelCounter::TxProtocol
//! [`TxNotOwner`]: ChannelCounter::TxNotOwner
//! [`TxDestination`]: ChannelCounter::TxDestination
//! [`TxLocalOs`]: ChannelCounter::TxLocalOs
//! [`TxNoRoute`]: ChannelCounter::TxNoRoute
//! [`TxNoNeighbour`]: ChannelCounter::TxNoNeighbour
mod flows;
mod packet;

use std::net::IpAddr;

use abi::rxmeta::{CLASS_NONE, MAGIC, RxMeta, flag};
use abi::shm::counter::ChannelCounter;
use abi::shm::desc::{Form, TxDesc};
use abi::steer::{SteerKey, Target};
use wire::ethernet::{self, EtherType, Frame, Mac};
use wire::vlan::{self, Tci};

use crate::mirror::{Mirror, Owned};
use crate::neighbour::{Link, LinkNo, Local, Miss, Network, NextHop, Source};
use crate::registry::SessionId;
use crate::steer::Table;

pub use flows::Flows;

use packet::{Packet, Tags};

/// Room before a packet of the normal form: for the longest Ethernet header that is ever written.
pub const ROOM: usize = ethernet::HEADER_LEN + abi::port::MAX_TAGS * vlan::TAG_LEN;

/// Shortest IP packet.
const MIN_PACKET: usize = 20;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The session.
    pub session: SessionId,
    /// [`Form::L2`] if it may bring Ethernet headers of its own.
    pub form: Form,
    /// Longest IP packet, as its region says.
    pub mtu: u16,
}

/// What everybody's packets are judged by.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Who owns what.
    pub mirror: &'a Mirror,
    /// Interfaces, addresses and next hops.
    pub network: &'a Network,
}

/// A packet that may be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// How it begins.
    pub form: Form,
    /// Its length.
    pub len: usize,
}

impl Admitted {
    /// How far from the beginning of the buffer it is to be copied.
    #[must_use]
    #[inline]
    pub const fn room(&self) -> usize {
        match self.form {
            Form::L3 => ROOM,
            Form::L2 => 0,
        }
    }
}

/// A packet that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// By which interface.
    pub link: LinkNo,
    /// Where its frame begins in the buffer.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its tuple's number within the session.
    pub tuple: u16,
    /// A next hop to ask for, lest its address be forgotten.
    pub ageing: Option<NextHop>,
}

/// A packet that another session of this host gets, as if it had come from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hairpin {
    /// Where its frame begins in the buffer.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its tuple's number within the sending session.
    pub tuple: u16,
    /// Who gets it.
    pub to: Owned,
    /// Whose Ethernet header it has.
    pub link: LinkNo,
    /// What XDP would say of the frame.
    pub meta: RxMeta,
}

/// A packet that ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Under this counter, whose role is `Dropped`.
    pub counter: ChannelCounter,
    /// Its tuple's number within the session, where that was found.
    pub tuple: Option<u16>,
    /// A next hop to resolve, for the packets that follow.
    pub unresolved: Option<NextHop>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To a port: `tx_sent`.
    Send(Sent),
    /// To a session: `tx_hairpin`.
    Hairpin(Hairpin),
    /// Nowhere.
    Drop(Refused),
}

/// Rule 1: whether a packet is worth copying.
///
/// # Errors
/// [`ChannelCounter::TxDesc`].
#[inline]
pub fn admit(desc: &TxDesc, sender: &Sender, network: &Network) -> Result<Admitted, ChannelCounter> {
    let admitted = || {
        let form = desc.form()?;
        let len = usize::try_from(desc.len).ok()?;
        let headers = || network.links().iter().map(Link::header_len);
        let (shortest, longest) = match form {
            Form::L3 => (0, 0),
            Form::L2 if sender.form == Form::L3 => return None,
            Form::L2 => (headers().min()?, headers().max()?),
        };
        let fits = shortest + MIN_PACKET <= len && len <= longest + usize::from(sender.mtu);
        fits.then_some(Admitted { form, len })
    };
    admitted().ok_or(ChannelCounter::TxDesc)
}

/// Rules 2 to 10. `buffer` has the admitted packet from [`Admitted::room`] on, and ends with it.
///
/// Of a packet that goes on, the Ethernet header has been written; of one that ends here, some of it may have been.
#[inline]
pub fn check(buffer: &mut [u8], form: Form, sender: &Sender, world: World<'_>) -> Verdict {
    match rules(buffer, form, sender, world) {
        Ok(verdict) => verdict,
        Err(refused) => Verdict::Drop(refused),
    }
}

impl From<ChannelCounter> for Refused {
    #[inline]
    fn from(counter: ChannelCounter) -> Self {
        Self { counter, tuple: None, unresolved: None }
    }
}

#[inline]
fn rules(buffer: &mut [u8], form: Form, sender: &Sender, world: World<'_>) -> Result<Verdict, Refused> {
    let tags = match form {
        Form::L3 => None,
        Form::L2 => Some(judge_link(buffer, world.network)?),
    };
    let l3 = tags.as_ref().map_or(ROOM, Tags::header_len);
    let packet = Packet::parse(buffer.get(l3..).unwrap_or_default())?;
    let owned = world.mirror.owner(&packet.source_key()).filter(|owned| owned.session == sender.session);
    let tuple = owned.filter(|_| !packet.source_is_mapped()).ok_or(ChannelCounter::TxNotOwner)?.tuple;
    let refused = |counter| Refused { counter, tuple: Some(tuple), unresolved: None };
    let (source, link) = own_link(&packet, tags.as_ref(), world.network).map_err(refused)?;
    if packet.no_destination() {
        return Err(refused(ChannelCounter::TxDestination));
    }
    let end = l3 + packet.len;
    match world.network.local(packet.dst) {
        Some(Local::Broadcast) => return Err(refused(ChannelCounter::TxDestination)),
        Some(Local::On(_) | Local::Elsewhere) => {
            let target = world.mirror.get(&packet.destination_key());
            let to = target.and_then(|target| Some((Owned::by(&target)?, target)));
            let (to, target) = to.ok_or(refused(ChannelCounter::TxLocalOs))?;
            let start = write_link(buffer, l3, tags.as_ref(), link, (link.mac(), &packet));
            let meta = meta(&packet, &target, link, (start, l3, end));
            return Ok(Verdict::Hairpin(Hairpin { start, end, tuple, to, link: source.link, meta }));
        }
        None => {}
    }
    if tags.is_some() {
        return Ok(Verdict::Send(Sent { link: source.link, start: 0, end, tuple, ageing: None }));
    }
    let reach = world.network.next_hop(source, packet.dst).map_err(|miss| match miss {
        Miss::NoRoute => refused(ChannelCounter::TxNoRoute),
        Miss::Unresolved(hop) => Refused { unresolved: Some(hop), ..refused(ChannelCounter::TxNoNeighbour) },
    })?;
    let start = write_link(buffer, l3, None, link, (reach.mac, &packet));
    Ok(Verdict::Send(Sent { link: source.link, start, end, tuple, ageing: reach.ageing }))
}

/// Rules 2 and 3.
fn judge_link(frame: &[u8], network: &Network) -> Result<Tags, ChannelCounter> {
    let header = Frame::new_checked(frame).map_err(|_| ChannelCounter::TxMac)?;
    let (src, dst) = (header.src(), header.dst());
    let ours = |mac: Mac| network.links().iter().any(|link| link.mac() == mac);
    if !ours(src) || ours(dst) || dst.is_group() || dst == Mac::default() {
        return Err(ChannelCounter::TxMac);
    }
    let tags = Tags::parse(frame).ok_or(ChannelCounter::TxVlan)?;
    let fits = |link: &Link| link.mac() == src && link.vlan() == tags.vids();
    let version = frame.get(tags.header_len()).map_or(0, |first| first >> 4);
    let agree = matches!((tags.ethertype, version), (EtherType::IPV4, 4) | (EtherType::IPV6, 6));
    if agree && network.links().iter().any(fits) { Ok(tags) } else { Err(ChannelCounter::TxVlan) }
}

/// Rule 7a.
#[inline]
fn own_link<'a>(
    packet: &Packet,
    tags: Option<&Tags>,
    network: &'a Network,
) -> Result<(Source, &'a Link), ChannelCounter> {
    let source = network.source(packet.src).ok_or(ChannelCounter::TxNoRoute)?;
    let link = network.link(source.link).ok_or(ChannelCounter::TxNoRoute)?;
    if let Some(tags) = tags {
        if tags.src != link.mac() {
            return Err(ChannelCounter::TxMac);
        }
        if tags.vids() != link.vlan() {
            return Err(ChannelCounter::TxVlan);
        }
    }
    if packet.len <= usize::from(link.mtu) { Ok((source, link)) } else { Err(ChannelCounter::TxDesc) }
}

/// Writes the Ethernet header that ends at `l3`, or the addresses of the one that is there; returns where it begins.
#[inline]
fn write_link(
    buffer: &mut [u8],
    l3: usize,
    tags: Option<&Tags>,
    link: &Link,
    (dst, packet): (Mac, &Packet),
) -> usize {
    let start = if tags.is_some() { 0 } else { l3 - link.header_len() };
    let mut frame = Frame::new_unchecked(&mut buffer[start..]);
    frame.set_dst(dst);
    frame.set_src(link.mac());
    if tags.is_some() {
        return start;
    }
    let ethertype = if packet.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 };
    let vlan = link.vlan();
    // The outer of two tags is the service tag (IEEE 802.1ad), a single one the customer's.
    let tpid = |at| if at + 1 < vlan.len() { EtherType::SERVICE_VLAN } else { EtherType::VLAN };
    let follows = |at| if at < vlan.len() { tpid(at) } else { ethertype };
    frame.set_ethertype(follows(0));
    for (at, &vid) in vlan.iter().enumerate() {
        let mut tag =
            vlan::Packet::new_unchecked(&mut buffer[start + ethernet::HEADER_LEN + at * vlan::TAG_LEN..]);
        tag.set_tci(Tci(vid));
        tag.set_ethertype(follows(at + 1));
    }
    start
}

/// What XDP would say of a frame that came from the wire.
fn meta(packet: &Packet, target: &Target, link: &Link, (start, l3, end): (usize, usize, usize)) -> RxMeta {
    let tagged = if link.vlan().is_empty() { 0 } else { flag::TAGGED };
    let ipv6 = if packet.is_ipv6() { flag::IPV6 } else { 0 };
    let options = if packet.has_options() { flag::OPTIONS } else { 0 };
    RxMeta {
        magic: MAGIC,
        kind: target.kind,
        flags: tagged | ipv6 | options,
        id: target.id,
        generation: target.generation,
        class: CLASS_NONE,
        class_gen: 0,
        l3_off: (l3 - start) as u8,
        l4_off: (l3 - start + packet.l4) as u16,
        frame_len: (end - start) as u16,
    }
}

/// The steering key of an address, port and protocol.
#[inline]
const fn key(addr: IpAddr, port: u16, proto: u8) -> SteerKey {
    match addr {
        IpAddr::V4(addr) => SteerKey::v4(proto, addr.octets(), port),
        IpAddr::V6(addr) => SteerKey::v6(proto, addr.octets(), port),
    }
}
