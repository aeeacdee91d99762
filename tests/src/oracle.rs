//! The oracle: steering once more, on etherparse, sharing nothing with `wire`, `multistack` or the XDP program
//! but the words of `abi` and the name of what changes.
//!
//! It knows the numbered rules of `multistack::steer` and how etherparse reads headers, and nothing else. It is written to be compared with the rules, not to be fast.
use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use abi::{
    counter::XdpCounter,
    fragment::{FragEntry, FragKey},
    port::PortConfig,
    rxmeta::RxMeta,
    steer::{SteerKey, Target},
};
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, UdpHeaderSlice,
};

use multistack::fragment::Change;

use crate::judge::Judgement;

/// What the oracle has found so far.
#[derive(Debug, Default)]
struct Sheet {
    l3_off: usize,
    l4_off: usize,
    /// Where the IP packet ends.
    end: usize,
    v6: bool,
    stepped_over: usize,
    src: [u8; 16],
    dst: [u8; 16],
    protocol: u8,
    part: Part,
}

/// Which part of which datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Whole,
    First(FragKey),
    Later(FragKey),
}

/// A rule applies: this is why the frame passes.
type Rule<T = ()> = ControlFlow<XdpCounter, T>;

/// What must come of a frame, and what it must change.
#[must_use]
pub fn steer(
    frame: &[u8],
    port: &PortConfig,
    table: &BTreeMap<SteerKey, Target>,
    datagrams: &BTreeMap<FragKey, FragEntry>,
    now: Duration,
) -> (Judgement, Change) {
    let mut sheet = Sheet::default();
    let found = owner(frame, port, table, datagrams, now, &mut sheet);
    let change = match (sheet.part, found) {
        (Part::First(key), ControlFlow::Continue((target, _))) => {
            let until_ns = (now + Duration::from_secs(30)).as_nanos() as u64;
            Change::Enter(FragEntry { key, target, until_ns })
        }
        (Part::First(key), ControlFlow::Break(_)) => Change::Forget(key),
        (Part::Whole | Part::Later(_), _) => Change::None,
    };
    let judgement = match found {
        ControlFlow::Break(reason) => Judgement::Pass(reason),
        ControlFlow::Continue((target, by)) => Judgement::Redirect(meta(frame, port, &sheet, &target, by)),
    };
    (judgement, change)
}

/// How an owner was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Ports,
    Datagram,
    Quote,
}

fn owner(
    frame: &[u8],
    port: &PortConfig,
    table: &BTreeMap<SteerKey, Target>,
    datagrams: &BTreeMap<FragKey, FragEntry>,
    now: Duration,
    sheet: &mut Sheet,
) -> Rule<(Target, By)> {
    match link(frame, port, sheet)? {
        EtherType::IPV4 => network_v4(frame, sheet)?,
        EtherType::IPV6 => network_v6(frame, sheet)?,
        _ => return ControlFlow::Break(XdpCounter::PassEthertype),
    }
    if let Part::Later(key) = sheet.part {
        // 20
        let Some(entry) = datagrams.get(&key) else { return ControlFlow::Break(XdpCounter::PassFragment) };
        pass_if(Duration::from_nanos(entry.until_ns) <= now, XdpCounter::PassFragExpired)?;
        return ControlFlow::Continue((entry.target, By::Datagram));
    }
    // 13. Every transport begins with the eight bytes that UDP is made of.
    let segment = &frame[sheet.l4_off..sheet.end];
    let Ok(ports) = UdpHeaderSlice::from_slice(segment) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    match sheet.protocol {
        // 14
        1 | 58 => match quoted(segment, sheet).and_then(|key| table.get(&key)) {
            Some(target) if target.flags & 0b10 != 0 => ControlFlow::Continue((*target, By::Quote)),
            _ => ControlFlow::Break(XdpCounter::PassIcmp),
        },
        6 | 17 | 33 | 132 | 136 => match lookup(port, table, sheet, ports.destination_port()) {
            Some(target) => ControlFlow::Continue((target, By::Ports)),
            None => ControlFlow::Break(XdpCounter::PassMiss),
        },
        _ => ControlFlow::Break(XdpCounter::PassProtocol),
    }
}

/// 22: the tuple that an ICMP error quotes as its source.
fn quoted(segment: &[u8], sheet: &Sheet) -> Option<SteerKey> {
    if sheet.part != Part::Whole {
        return None;
    }
    let quote = &segment[8..];
    let (src, protocol, rest) = match (sheet.protocol, sheet.v6, segment[0]) {
        (1, false, 3 | 11 | 12) => {
            let ip = Ipv4HeaderSlice::from_slice(quote).ok()?;
            if ip.fragments_offset().value() != 0 {
                return None;
            }
            (ip.source_addr().to_ipv6_mapped().octets(), ip.protocol().0, &quote[ip.slice().len()..])
        }
        (58, true, 0..=127) => {
            let ip = Ipv6HeaderSlice::from_slice(quote).ok()?;
            (ip.source(), ip.next_header().0, &quote[40..])
        }
        _ => return None,
    };
    let ports = UdpHeaderSlice::from_slice(rest).ok()?;
    let has_ports = matches!(protocol, 6 | 17 | 33 | 132 | 136);
    (src == sheet.dst && has_ports).then(|| SteerKey {
        addr: src,
        port: ports.source_port().to_be_bytes(),
        proto: protocol,
        zero: 0,
    })
}

/// 1 to 3.
fn link(frame: &[u8], port: &PortConfig, sheet: &mut Sheet) -> Rule<EtherType> {
    let Ok(ethernet) = Ethernet2HeaderSlice::from_slice(frame) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    pass_if(0xffff < frame.len(), XdpCounter::PassBadHeader)?;
    pass_if(ethernet.destination() != port.mac, XdpCounter::PassOtherHost)?;
    let (mut ether_type, mut rest, mut ids) = (ethernet.ether_type(), &frame[14..], Vec::new());
    while let EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING = ether_type {
        pass_if(ids.len() == 2, XdpCounter::PassVlan)?;
        let Ok(tag) = SingleVlanHeaderSlice::from_slice(rest) else {
            return ControlFlow::Break(XdpCounter::PassBadHeader);
        };
        ids.push(tag.vlan_identifier().value());
        ether_type = tag.ether_type();
        rest = &rest[4..];
    }
    sheet.l3_off = 14 + 4 * ids.len();
    ids.retain(|&id| id != 0);
    pass_if(ids != port.vlan[..usize::from(port.tags)], XdpCounter::PassVlan)?;
    ControlFlow::Continue(ether_type)
}

/// 5, 7, 9, 12.
fn network_v4(frame: &[u8], sheet: &mut Sheet) -> Rule {
    let Ok(ip) = Ipv4HeaderSlice::from_slice(&frame[sheet.l3_off..]) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    sheet.end = sheet.l3_off + usize::from(ip.total_len());
    sheet.l4_off = sheet.l3_off + ip.slice().len();
    pass_if(sheet.end < sheet.l4_off || frame.len() < sheet.end || ip.ttl() == 0, XdpCounter::PassBadHeader)?;
    let src = ip.source_addr();
    let this_network = src.octets()[0] == 0;
    let beyond_unicast = 0xe000_0000 <= src.to_bits();
    pass_if(this_network || src.is_loopback() || beyond_unicast, XdpCounter::PassMartian)?;
    sheet.stepped_over = ip.options().len();
    sheet.src = src.to_ipv6_mapped().octets();
    sheet.dst = ip.destination_addr().to_ipv6_mapped().octets();
    sheet.protocol = ip.protocol().0;
    let id = u32::from(ip.identification());
    sheet.part = part(sheet, ip.fragments_offset().value(), ip.more_fragments(), id, sheet.protocol);
    ControlFlow::Continue(())
}

/// 6, 8, 10, 11.
fn network_v6(frame: &[u8], sheet: &mut Sheet) -> Rule {
    let Ok(ip) = Ipv6HeaderSlice::from_slice(&frame[sheet.l3_off..]) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    sheet.v6 = true;
    sheet.l4_off = sheet.l3_off + 40;
    sheet.end = sheet.l4_off + usize::from(ip.payload_length());
    let empty = ip.payload_length() == 0;
    pass_if(empty || frame.len() < sheet.end || ip.hop_limit() == 0, XdpCounter::PassBadHeader)?;
    let (src, dst) = (ip.source_addr(), ip.destination_addr());
    let is_mapped = |bits: u128| bits >> 32 == 0xffff;
    let impossible = src.to_bits() <= 1 || src.is_multicast() || is_mapped(src.to_bits());
    pass_if(impossible || dst.to_bits() == 0 || is_mapped(dst.to_bits()), XdpCounter::PassMartian)?;
    (sheet.src, sheet.dst) = (ip.source(), ip.destination());
    sheet.protocol = chain(&frame[..sheet.end], ip.next_header(), sheet)?.0;
    let is_later = matches!(sheet.part, Part::Later(_));
    pass_if(
        !is_later && matches!(sheet.protocol, 50 | 51 | 59 | 135 | 139 | 140 | 253 | 254),
        XdpCounter::PassExtHeader,
    )
}

/// 10d, 12.
fn part(sheet: &Sheet, offset: u16, more: bool, id: u32, proto: u8) -> Part {
    let key = FragKey { src: sheet.src, dst: sheet.dst, id: id.to_be_bytes(), proto, zero: [0; 3] };
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First(key),
        _ => Part::Later(key),
    }
}

/// 10: the number of what follows the chain, or of what a later fragment goes on with.
fn chain(packet: &[u8], first: IpNumber, sheet: &mut Sheet) -> Rule<IpNumber> {
    let (begin, mut number) = (sheet.l4_off, first);
    loop {
        let rest = &packet[sheet.l4_off..];
        let next = match number {
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_DESTINATION_OPTIONS
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_FRAGMENTATION_HEADER => {
                // a
                pass_if(sheet.stepped_over == 4, XdpCounter::PassExtHeader)?;
                let misplaced = number == IpNumber::IPV6_HEADER_HOP_BY_HOP && sheet.stepped_over != 0;
                pass_if(misplaced, XdpCounter::PassExtHeader)?;
                let within_a_first = sheet.part != Part::Whole;
                let is_fragment = number == IpNumber::IPV6_FRAGMENTATION_HEADER;
                pass_if(is_fragment && within_a_first, XdpCounter::PassExtHeader)?;
                // b, c
                pass_if(rest.len() < 8, XdpCounter::PassBadHeader)?;
                let on_its_way = number == IpNumber::IPV6_ROUTE_HEADER && rest[3] != 0;
                pass_if(on_its_way, XdpCounter::PassExtHeader)?;
                if is_fragment {
                    fragment(rest, sheet)?
                } else {
                    options_or_routing(rest, sheet.l4_off - begin)?
                }
            }
            _ => return ControlFlow::Continue(number),
        };
        sheet.stepped_over += 1;
        if let Part::Later(_) = sheet.part {
            return ControlFlow::Continue(next.number);
        }
        sheet.l4_off += next.len;
        // e once more: a fragment header can make the chain too long, too.
        pass_if(256 < sheet.l4_off - begin, XdpCounter::PassExtHeader)?;
        number = next.number;
    }
}

/// A header that may be stepped over.
struct Step {
    number: IpNumber,
    len: usize,
}

/// 10 d.
fn fragment(rest: &[u8], sheet: &mut Sheet) -> Rule<Step> {
    let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(rest) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    let (offset, id) = (header.fragment_offset().value(), header.identification());
    sheet.part = part(sheet, offset, header.more_fragments(), id, header.next_header().0);
    ControlFlow::Continue(Step { number: header.next_header(), len: header.slice().len() })
}

/// 10 e, f.
fn options_or_routing(rest: &[u8], before: usize) -> Rule<Step> {
    match Ipv6RawExtHeaderSlice::from_slice(rest) {
        Ok(header) => ControlFlow::Continue(Step { number: header.next_header(), len: header.slice().len() }),
        Err(cut) if 256 < before + cut.required_len => ControlFlow::Break(XdpCounter::PassExtHeader),
        Err(_) => ControlFlow::Break(XdpCounter::PassBadHeader),
    }
}

/// 16 to 18.
fn lookup(
    port: &PortConfig,
    table: &BTreeMap<SteerKey, Target>,
    sheet: &Sheet,
    dst_port: u16,
) -> Option<Target> {
    let exact = SteerKey { addr: sheet.dst, port: dst_port.to_be_bytes(), proto: sheet.protocol, zero: 0 };
    let any = SteerKey { addr: [0; 16], ..exact };
    let transit = port.flags == 1 && sheet.stepped_over == 0 && sheet.part == Part::Whole;
    let second = if transit { table.get(&any) } else { None };
    table.get(&exact).or(second).copied()
}

fn meta(frame: &[u8], port: &PortConfig, sheet: &Sheet, target: &Target, by: By) -> RxMeta {
    let is_first = matches!(sheet.part, Part::First(_));
    let flags =
        [is_first, by == By::Datagram, by == By::Quote, port.tags != 0, sheet.v6, sheet.stepped_over != 0];
    RxMeta {
        magic: 0x4f01,
        kind: target.kind,
        flags: (0..).zip(flags).map(|(bit, is_set)| u8::from(is_set) << bit).sum(),
        id: target.id,
        generation: target.generation,
        class: 0xffff,
        class_gen: 0,
        l3_off: sheet.l3_off as u8,
        l4_off: if by == By::Datagram { 0 } else { sheet.l4_off as u16 },
        frame_len: frame.len() as u16,
    }
}

fn pass_if(applies: bool, reason: XdpCounter) -> Rule {
    if applies { ControlFlow::Break(reason) } else { ControlFlow::Continue(()) }
}
