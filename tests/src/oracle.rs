//! The oracle: steering once more, on etherparse, sharing nothing with `wire`, `multistack` or the XDP program.
//!
//! It knows the numbered rules of `multistack::steer` and how etherparse reads headers, and nothing else; only the
//! words of `abi` are the same. It is written to be compared with the rules, not to be fast.
use std::{collections::BTreeMap, ops::ControlFlow};

use abi::{
    counter::XdpCounter,
    port::PortConfig,
    rxmeta::RxMeta,
    steer::{SteerKey, Target},
};
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, UdpHeaderSlice,
};

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
    dst: [u8; 16],
    protocol: u8,
}

/// A rule applies: this is why the frame passes.
type Rule<T = ()> = ControlFlow<XdpCounter, T>;

/// What must come of a frame.
#[must_use]
pub fn steer(frame: &[u8], port: &PortConfig, table: &BTreeMap<SteerKey, Target>) -> Judgement {
    let mut sheet = Sheet::default();
    match rules_1_to_15(frame, port, &mut sheet) {
        ControlFlow::Break(reason) => Judgement::Pass(reason),
        ControlFlow::Continue(dst_port) => rules_16_to_19(frame, port, table, &sheet, dst_port),
    }
}

fn rules_1_to_15(frame: &[u8], port: &PortConfig, sheet: &mut Sheet) -> Rule<u16> {
    match link(frame, port, sheet)? {
        EtherType::IPV4 => network_v4(frame, sheet)?,
        EtherType::IPV6 => network_v6(frame, sheet)?,
        _ => return ControlFlow::Break(XdpCounter::PassEthertype),
    }
    // 13. Every transport begins with the eight bytes that UDP is made of.
    let segment = &frame[sheet.l4_off..sheet.end];
    let Ok(ports) = UdpHeaderSlice::from_slice(segment) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    match sheet.protocol {
        1 | 58 => ControlFlow::Break(XdpCounter::PassIcmp),
        6 | 17 | 33 | 132 | 136 => ControlFlow::Continue(ports.destination_port()),
        _ => ControlFlow::Break(XdpCounter::PassProtocol),
    }
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
    pass_if(ip.is_fragmenting_payload(), XdpCounter::PassFragment)?;
    sheet.stepped_over = ip.options().len();
    sheet.dst = ip.destination_addr().to_ipv6_mapped().octets();
    sheet.protocol = ip.protocol().0;
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
    sheet.dst = ip.destination();
    sheet.protocol = chain(&frame[..sheet.end], ip.next_header(), sheet)?.0;
    pass_if(matches!(sheet.protocol, 50 | 51 | 59 | 135 | 139 | 140 | 253 | 254), XdpCounter::PassExtHeader)
}

/// 10: the number of what follows the chain.
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
                // b, c
                pass_if(rest.len() < 8, XdpCounter::PassBadHeader)?;
                let on_its_way = number == IpNumber::IPV6_ROUTE_HEADER && rest[3] != 0;
                pass_if(on_its_way, XdpCounter::PassExtHeader)?;
                if number == IpNumber::IPV6_FRAGMENTATION_HEADER {
                    fragment(rest)?
                } else {
                    options_or_routing(rest, sheet.l4_off - begin)?
                }
            }
            _ => return ControlFlow::Continue(number),
        };
        sheet.l4_off += next.len;
        sheet.stepped_over += 1;
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
fn fragment(rest: &[u8]) -> Rule<Step> {
    let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(rest) else {
        return ControlFlow::Break(XdpCounter::PassBadHeader);
    };
    pass_if(header.is_fragmenting_payload(), XdpCounter::PassFragment)?;
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

fn rules_16_to_19(
    frame: &[u8],
    port: &PortConfig,
    table: &BTreeMap<SteerKey, Target>,
    sheet: &Sheet,
    dst_port: u16,
) -> Judgement {
    let exact = SteerKey { addr: sheet.dst, port: dst_port.to_be_bytes(), proto: sheet.protocol, zero: 0 };
    let any = SteerKey { addr: [0; 16], ..exact };
    let transit = port.flags == 1 && sheet.stepped_over == 0;
    let found = match table.get(&exact) {
        None if transit => table.get(&any),
        found => found,
    };
    let Some(target) = found else { return Judgement::Pass(XdpCounter::PassMiss) };
    let tagged = if port.tags == 0 { 0 } else { 0b00_1000 };
    let v6 = if sheet.v6 { 0b01_0000 } else { 0 };
    let options = if sheet.stepped_over == 0 { 0 } else { 0b10_0000 };
    Judgement::Redirect(RxMeta {
        magic: 0x4f01,
        kind: target.kind,
        flags: tagged | v6 | options,
        id: target.id,
        generation: target.generation,
        class: 0xffff,
        class_gen: 0,
        l3_off: sheet.l3_off as u8,
        l4_off: sheet.l4_off as u16,
        frame_len: frame.len() as u16,
    })
}

fn pass_if(applies: bool, reason: XdpCounter) -> Rule {
    if applies { ControlFlow::Break(reason) } else { ControlFlow::Continue(()) }
}
