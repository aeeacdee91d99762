//! What plans the outputs of known programs get, and their packets judged by a parser that is not ours.
//!
//! The programs themselves are not read: their outputs are written by hand, over the pattern of [`crate::rule`].

use std::fmt::Write as _;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use ruler::{
    resolved::{Item, Part, Value},
    rewrite::{Plan, anonymise::Cache},
};

use crate::{
    ANONYMISER, OFFLINE, by_dice, rewritten,
    rule::{self, With as _, constant, id, item, label},
    shape,
    traffic::{self, Ip, Transport},
};

fn zeros(len: usize) -> Value {
    Value::Constant(vec![0; len])
}

fn sum(transport: Transport) -> Value {
    match transport {
        Transport::Tcp => Value::TcpCsum(id(rule::I)),
        Transport::Udp => Value::UdpCsum(id(rule::I)),
    }
}

/// `e with [dst=0#6, src=0#6] i with [src=prefix_anon(i.src), …] t with [csum=…_csum(i)] zero(p)`.
fn anonymise(version: u8, transport: Transport) -> Vec<Item> {
    let [src, dst] = [rule::I_SRC, rule::I_DST].map(|it| Value::PrefixAnon(id(it)));
    let ip = match version {
        4 => label(rule::I).with(12, 4, src).with(16, 4, dst).with(10, 2, Value::Ipv4Csum),
        _ => label(rule::I).with(8, 16, src).with(24, 16, dst),
    };
    vec![
        label(rule::E).with(0, 6, zeros(6)).with(6, 6, zeros(6)),
        ip,
        label(rule::X),
        label(rule::T).with(transport.field(), 2, sum(transport)),
        item(Part::Zero(id(rule::HEAD))),
        item(Part::Zero(id(rule::TAIL))),
    ]
}

/// `e i with [len=len(i, t, req), csum=ipv4_csum()] t with [csum=tcp_csum(i)] req`: the payload's tail is dropped.
fn http_only() -> Vec<Item> {
    let len = Value::Len([rule::I, rule::T, rule::HEAD].map(id).into());
    vec![
        label(rule::E),
        label(rule::I).with(2, 2, len).with(10, 2, Value::Ipv4Csum),
        label(rule::X),
        label(rule::T).with(16, 2, sum(Transport::Tcp)),
        label(rule::HEAD),
    ]
}

#[test]
fn plans_of_known_outputs() {
    let all = [rule::E, rule::I, rule::X, rule::T, rule::HEAD, rule::TAIL].map(label);
    let with = |at: usize, change: fn(Item) -> Item| {
        let mut items = all.to_vec();
        items[at] = change(items[at].clone());
        items
    };
    let summed = |at: usize, change: fn(Item) -> Item| {
        let mut items = with(at, change);
        items[3] = items[3].clone().with(6, 2, Value::UdpCsum(id(rule::I)));
        items
    };
    let mut text = String::new();
    let mut plan = |what: &str, version: u8, items: Vec<Item>| {
        let rule = rule::rule(version, items);
        let plan = Plan::of(&rule).unwrap();
        writeln!(text, "# {what}\n{}", plan.dump(&rule.labels)).unwrap();
    };
    plan("nothing changes", 4, all.to_vec());
    plan("anonymise, IPv4, TCP", 4, anonymise(4, Transport::Tcp));
    plan("anonymise, IPv6, UDP", 6, anonymise(6, Transport::Udp));
    plan("http_only", 4, http_only());
    plan("one item", 4, vec![label(rule::T)]);
    plan("constants in the place of what is left out", 4, {
        let mut items = all.to_vec();
        items[0] = constant(&[0; 14]);
        items[4] = constant(b"abc");
        items
    });
    plan(
        "constants before and behind what is kept",
        4,
        vec![
            constant(&[0xff; 12]),
            constant(&[8, 0]),
            label(rule::I),
            label(rule::X),
            label(rule::T),
            constant(&[1]),
        ],
    );
    plan("a constant that is longer than what is left out", 4, {
        let mut items = all.to_vec();
        items[0] = constant(&[0; 15]);
        items
    });
    plan("another order", 4, vec![label(rule::E_SRC), label(rule::E_DST)]);
    plan("twice the same", 4, vec![label(rule::TAIL), label(rule::TAIL)]);
    plan("nothing but constants", 4, vec![constant(b"hello")]);
    plan("what is in an arm of the pattern", 4, vec![label(rule::T), label(rule::MAYBE), label(rule::TAIL)]);
    plan("unpad at the end", 4, {
        let mut items = all[..4].to_vec();
        items.extend([label(rule::HEAD), item(Part::Unpad(id(rule::TAIL), id(rule::I)))]);
        items
    });
    plan("unpad before the end", 4, vec![item(Part::Unpad(id(rule::HEAD), id(rule::I))), label(rule::TAIL)]);
    plan(
        "unpad of what begins before the datagram",
        4,
        vec![constant(b"x"), item(Part::Unpad(id(rule::E), id(rule::I)))],
    );
    plan(
        "unpad of what begins before the datagram, at the end",
        4,
        vec![label(rule::E_DST), item(Part::Unpad(id(rule::E_SRC), id(rule::I)))],
    );
    plan("a sum at an odd place", 4, with(3, |udp| udp.with(7, 2, Value::UdpCsum(id(rule::I)))));
    plan(
        "bits",
        6,
        with(1, |ip| {
            ip.with_bits(4, 8, Value::Constant(vec![0xb8])).with_bits(12, 20, Value::Constant(vec![0, 0, 0]))
        }),
    );
    plan("sums above the same bytes", 4, summed(1, |ip| ip.with(12, 4, zeros(4))));
    plan("sums above other bytes", 4, summed(4, |head| head.with(0, 1, zeros(1))));
    plan("the length of IPv4 is set", 4, summed(1, |ip| ip.with(2, 2, Value::Len(vec![id(rule::I)]))));
    plan("the identification of IPv4 is set", 4, summed(1, |ip| ip.with(4, 2, zeros(2))));
    plan("the length of IPv6 is set", 6, summed(1, |ip| ip.with(4, 2, zeros(2))));
    plan("sums of what ends earlier", 4, summed(5, |_| constant(&[])));
    plan("sums without padding", 4, summed(5, |_| item(Part::Unpad(id(rule::TAIL), id(rule::I)))));
    insta::assert_snapshot!(text);
}

/// Both checksums of an output are what another implementation computes.
fn judge(output: &[u8]) -> Result<(), TestCaseError> {
    let sliced = SlicedPacket::from_ethernet(output).unwrap();
    match (sliced.net.unwrap(), sliced.transport.unwrap()) {
        (NetSlice::Ipv4(ip), TransportSlice::Tcp(tcp)) => {
            let header = ip.header().to_header();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload());
            prop_assert_eq!(tcp.checksum(), sum.unwrap());
        }
        (NetSlice::Ipv4(ip), TransportSlice::Udp(udp)) => {
            let header = ip.header().to_header();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
            prop_assert_eq!(udp.checksum(), sum.unwrap());
        }
        (NetSlice::Ipv6(ip), TransportSlice::Tcp(tcp)) => {
            let sum = tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), tcp.payload());
            prop_assert_eq!(tcp.checksum(), sum.unwrap());
        }
        (NetSlice::Ipv6(ip), TransportSlice::Udp(udp)) => {
            let sum = udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload());
            prop_assert_eq!(udp.checksum(), sum.unwrap());
        }
        _ => prop_assert!(false, "neither TCP nor UDP"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::scale::RT08_REWRITES.cases())]

    #[test]
    fn rt08_an_anonymised_packet_is_right_and_shows_no_address(mut shape in by_dice(shape::whole)) {
        // Addresses of bytes that nothing else in the output has, so that they can be looked for.
        shape.addresses.iter_mut().for_each(|byte| *byte |= 0x80);
        let version = if matches!(shape.ip, Ip::V4 { .. }) { 4 } else { 6 };
        let rule = rule::rule(version, anonymise(version, shape.transport));
        let packet = traffic::packet(&shape);
        let plan = Plan::of(&rule).unwrap();
        let (output, skipped) = rewritten(&plan, &packet.bytes, &packet.labels, (0, 0), OFFLINE).unwrap();
        prop_assert_eq!(skipped, 0);
        judge(&output)?;
        prop_assert_eq!(output.len(), packet.bytes.len());
        let mut elsewhere = output.clone();
        for label in [rule::I_SRC, rule::I_DST] {
            let at = packet.labels[label].clone();
            let mut address = packet.bytes[at.clone()].to_vec();
            ANONYMISER.anonymise(&mut address, &mut Cache::default());
            prop_assert_eq!(&output[at.clone()], &address);
            elsewhere[at].fill(0);
        }
        for label in [rule::I_SRC, rule::I_DST, rule::E_SRC, rule::E_DST] {
            let address = &packet.bytes[packet.labels[label].clone()];
            prop_assert!(!elsewhere.windows(address.len()).any(|bytes| bytes == address));
        }
        prop_assert!(output[packet.labels[rule::T].end..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn rt08_a_request_line_alone_is_a_right_packet(mut shape in by_dice(shape::whole)) {
        shape.transport = Transport::Tcp;
        let Ip::V4 { .. } = shape.ip else { return Ok(()) };
        let rule = rule::rule(4, http_only());
        let packet = traffic::packet(&shape);
        let plan = Plan::of(&rule).unwrap();
        let (output, _) = rewritten(&plan, &packet.bytes, &packet.labels, (0, 0), OFFLINE).unwrap();
        judge(&output)?;
        prop_assert_eq!(output.len(), packet.labels[rule::HEAD].end);
    }
}
