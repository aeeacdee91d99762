//! ICMP errors of both versions: each kind, about each protocol and port, and quotes with one thing wrong.
//!
//! Checksums are 0: steering looks at none.
use super::{
    Sample,
    layers::{Ext, IPV4, IPV6, Ip4, Ip6, PEER_V4, PEER_V6, V4, V6, frame},
    matrix::{PORTS, PROTOCOLS},
};

/// Types of message: errors and others, of either version.
const TYPES: [u8; 14] = [0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 100, 127, 128, 255];

/// What the quoted packet says of its fragments, its version and header length, and its source's last byte.
type Quote = (u8, u16, u8, u8);

/// An ICMP error of this type that quotes these bytes.
fn error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0], quoted].concat()
}

/// The first bytes of a transport header from this port.
fn from_port(port: u16) -> Vec<u8> {
    [&port.to_be_bytes()[..], &[0xc0, 1, 0, 8, 0, 0]].concat()
}

/// A packet that the owned address sent, as a router quotes it.
fn quoted_v4(protocol: u8, port: u16, options: usize) -> Vec<u8> {
    let sent = Ip4 { src: V4, dst: PEER_V4, ttl: 0, options: vec![1; options], ..Ip4::new(protocol) };
    // Its own length is beyond what is quoted.
    let mut quoted = sent.packet(&from_port(port));
    quoted[2] = 4;
    quoted
}

fn quoted_v6(protocol: u8, port: u16, chain: &[Ext]) -> Vec<u8> {
    let sent = Ip6 { src: V6, dst: PEER_V6, hop_limit: 0, ..Ip6::new(protocol) }.behind(chain);
    let mut quoted = sent.packet(&from_port(port));
    quoted[4] = 4;
    quoted
}

fn over_v4(name: String, kind: u8, quoted: &[u8]) -> Sample {
    Sample::new(name, frame(&[], IPV4, &Ip4::new(1).packet(&error(kind, quoted))))
}

fn over_v6(name: String, kind: u8, quoted: &[u8]) -> Sample {
    Sample::new(name, frame(&[], IPV6, &Ip6::new(58).packet(&error(kind, quoted))))
}

/// All of them.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let (v4, v6) = (quoted_v4(6, PORTS[0], 0), quoted_v6(17, PORTS[0], &[]));
    let mut samples = Vec::new();
    for kind in TYPES {
        samples.push(over_v4(format!("ICMP {kind}"), kind, &v4));
        samples.push(over_v6(format!("ICMPv6 {kind}"), kind, &v6));
    }
    for protocol in PROTOCOLS {
        for port in PORTS {
            let what = format!("about {protocol} from {port}");
            samples.push(over_v4(format!("ICMP {what}"), 3, &quoted_v4(protocol, port, 0)));
            samples.push(over_v6(format!("ICMPv6 {what}"), 2, &quoted_v6(protocol, port, &[])));
        }
    }
    samples.extend(odd_quotes(&v4));
    samples.push(over_v4("ICMP, 40 option bytes quoted".into(), 11, &quoted_v4(6, PORTS[0], 40)));
    samples.push(over_v6("ICMPv6, a chain quoted".into(), 1, &quoted_v6(17, PORTS[0], &[Ext::new(60, 8)])));
    samples.push(over_v6("ICMPv6, IPv4 quoted".into(), 1, &v4));
    samples.push(over_v4("ICMP, IPv6 quoted".into(), 3, &v6));
    for len in 0..v4.len() {
        samples.push(over_v4(format!("ICMP, {len} bytes quoted"), 3, &v4[..len]));
    }
    for len in 0..v6.len() {
        samples.push(over_v6(format!("ICMPv6, {len} bytes quoted"), 1, &v6[..len]));
    }
    samples.extend(odd_errors(&v4, &v6));
    samples
}

/// Errors about packets that the owned address cannot have sent so.
fn odd_quotes(v4: &[u8]) -> Vec<Sample> {
    let first = 0x2000;
    let quotes: [Quote; 6] = [
        (0x45, first, 1, 6),
        (0x45, 1, 1, 6),
        (0x44, 0, 1, 6),
        (0x4f, 0, 1, 6),
        (0x65, 0, 1, 6),
        (0x45, 0, 2, 6),
    ];
    let sample = |(version_ihl, fragment, last, protocol): Quote| {
        let mut quoted = v4.to_vec();
        (quoted[0], quoted[9], quoted[15]) = (version_ihl, protocol, last);
        quoted[6..8].copy_from_slice(&fragment.to_be_bytes());
        over_v4(format!("ICMP about {version_ihl:#x} {fragment:#x} from .{last}"), 3, &quoted)
    };
    quotes.map(sample).to_vec()
}

/// Good quotes in errors that are not so good.
fn odd_errors(v4: &[u8], v6: &[u8]) -> Vec<Sample> {
    let (icmp, icmpv6) = (error(3, v4), error(1, v6));
    let v4 = [
        ("ICMP error in fragments", Ip4 { fragment: 0x2000, ..Ip4::new(1) }),
        ("ICMP error behind options", Ip4 { options: vec![1; 8], ..Ip4::new(1) }),
        ("ICMP error to another address", Ip4 { dst: [192, 0, 2, 77], ..Ip4::new(1) }),
        ("ICMP error said to be ICMPv6", Ip4::new(58)),
    ]
    .map(|(name, ip)| Sample::new(name, frame(&[], IPV4, &ip.packet(&icmp))));
    let v6 = [
        ("ICMPv6 error in fragments", Ip6::new(58).behind(&[Ext::fragment(1)])),
        ("ICMPv6 error behind a chain", Ip6::new(58).behind(&[Ext::new(0, 8), Ext::fragment(0)])),
        ("ICMPv6 error to another address", Ip6 { dst: [0x3f; 16], ..Ip6::new(58) }),
        ("ICMPv6 error said to be ICMP", Ip6::new(1)),
    ]
    .map(|(name, ip)| Sample::new(name, frame(&[], IPV6, &ip.packet(&icmpv6))));
    let tagged = frame(&[(0x88a8, 200), (0x8100, 100)], IPV4, &Ip4::new(1).packet(&icmp));
    [&v4[..], &v6[..], &[Sample::new("ICMP error behind two tags", tagged)]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_byte_by_byte() {
        let error = over_v4(String::new(), 3, &quoted_v4(17, 7, 0)).frame;
        assert_eq!(error[14..18], [0x45, 0, 0, 56]);
        assert_eq!((error[23], &error[26..34]), (1, &[198, 51, 100, 7, 192, 0, 2, 1][..]));
        assert_eq!(error[34..42], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(error[42..46], [0x45, 0, 4, 28]);
        assert_eq!(error[54..62], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(error[62..], [0, 7, 0xc0, 1, 0, 8, 0, 0]);
    }
}
