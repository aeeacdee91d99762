//! The language's published programs judge packets as they are meant to: the automaton, and the header graph where it
//! decides alone.

#![allow(clippy::unwrap_used, reason = "tests")]

use ruler::bundle::Bundle;
use ruler::dag::{Dag, Decision, Limits as DagLimits, Node};

use ruler::exec::ladder::{Limits, build};
use ruler::ir;
use ruler::resolved::RuleId;

const S1: &str = "filter udp header:(byte#12 0x800~2 byte#9 17 byte#2) address:(192 168 1 byte) tail:* => header 0#4 tail;";
const S2_S3: &str = "pattern Ethernet : (dst:byte#6 src:byte#6 proto:byte#2)\n\
    pattern Ethernet_IPv4 : Ethernet with [proto=0x0800~2] filter ether e:Ethernet_IPv4 t:* => e with [src=0#6] t;";
const S5: &str = "filter byte42 * 42 b:(byte 42) * => b;";
const S6: &str = "include \"layouts.rli\"\nfilter www\n  eh:Ethernet_IPv4 ih:IPv4_TCP th:TCP with [dest=80~2] p:*\n  \
    => eh with [e_dest=0#6,e_src=0#6] ih with [src=0~4,dest=0~4] th p;";

/// Whether the filter's only rule matches each packet.
#[track_caller]
fn check(source: &str, packets: &[(&[u8], bool)]) {
    let (filters, found) = ruler::resolve(&Bundle::new("a.rl", source));
    let [filter] = &filters[..] else { panic!("{found:?}") };
    let [rule] = &filter.rules[..] else { panic!("one rule") };
    let node = ir::lower(&rule.pattern).unwrap();
    let (engine, _) = build(&[(RuleId(0), &node)], &Limits::default()).unwrap();
    let dag = Dag::build(filter, &DagLimits::default());
    let mut scratch = engine.scratch();
    for (packet, matches) in packets {
        let mut verdicts = [None];
        engine.judge(&mut scratch, &[packet], &mut verdicts);
        assert_eq!(verdicts[0].is_some(), *matches, "{packet:02x?}");
        let Node::Leaf(leaf) = dag.node(dag.eval(packet).leaf) else { panic!("a walk ends at a leaf") };
        match dag.decision(leaf) {
            Decision::Rule(..) => assert!(matches, "{packet:02x?}"),
            Decision::NoRule => assert!(!matches, "{packet:02x?}"),
            Decision::Open => {}
        }
    }
}

/// A TCP segment of an IPv4 packet with so many words of options in both headers.
fn tcp(ip_options: u8, tcp_options: u8, to: u16) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend([8, 0, 0x45 + ip_options, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.resize(packet.len() + 4 * usize::from(ip_options), 1);
    packet.extend(40_000_u16.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, (5 + tcp_options) << 4, 0, 0, 0, 0, 0, 0, 0]);
    packet.resize(packet.len() + 4 * usize::from(tcp_options), 1);
    packet
}

#[test]
fn s1_takes_udp_from_its_network_and_no_packet_cut_short() {
    let mut packet = vec![0; 60];
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[23] = 17;
    packet[26..30].copy_from_slice(&[192, 168, 1, 77]);
    let other = |at: usize, byte| {
        let mut other = packet.clone();
        other[at] = byte;
        other
    };
    check(
        S1,
        &[
            (&packet, true),
            (&packet[..30], true),
            (&packet[..29], false),
            (&other(12, 0x86), false),
            (&other(23, 6), false),
            (&other(28, 2), false),
            (&[], false),
        ],
    );
}

#[test]
fn s3_takes_each_frame_of_ipv4_and_no_other() {
    let frame = |kind: [u8; 2]| [&[1; 12][..], &kind, b"whatever"].concat();
    check(S2_S3, &[(&frame([8, 0]), true), (&frame([8, 6]), false), (&frame([8, 0])[..13], false)]);
}

#[test]
fn s5_finds_its_bytes_anywhere() {
    check(
        S5,
        &[
            (&[0x01, 0x2a, 0x07, 0x2a, 0x09], true),
            (&[0x2a, 0x2a, 0x2a], true),
            (&[0x2a, 0x01, 0x02, 0x2a, 0x05, 0x2a], true),
            (&[0x2a, 0x2a], false),
        ],
    );
}

#[test]
fn s6_takes_port_80_behind_any_options() {
    for ip_options in [0, 1, 10] {
        for tcp_options in [0, 3, 10] {
            let (right, wrong) = (tcp(ip_options, tcp_options, 80), tcp(ip_options, tcp_options, 81));
            let short = &right[..right.len() - 1];
            check(
                S6,
                &[(&right, true), (&[&right[..], b"GET /"].concat(), true), (&wrong, false), (short, false)],
            );
        }
    }
}
