//! The rules of egress once more, slowly, and packets to try them on.
use super::*;

/// What the slow checker says: the counter, and of a frame that is sent its interface and next hop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slow {
    pub(super) counter: ChannelCounter,
    pub(super) link: Option<usize>,
    pub(super) mac: Option<[u8; 6]>,
}

impl Slow {
    pub(super) const fn end(counter: ChannelCounter) -> Self {
        Self { counter, link: None, mac: None }
    }
}

/// The rules once more, slowly.
pub(super) fn slow(host: &Host, bytes: &[u8], form: Form) -> Slow {
    let length = bytes.len();
    let fits = match form {
        Form::L3 => (20..=1500).contains(&length),
        Form::L2 => (34..=1500 + 22).contains(&length),
    };
    if !fits {
        return Slow::end(TxDesc);
    }
    let (packet, header) = match form {
        Form::L3 => (bytes, None),
        Form::L2 => match slow_link(host, bytes) {
            Ok((packet, header)) => (packet, Some(header)),
            Err(counter) => return Slow::end(counter),
        },
    };
    let flow = match slow_packet(packet) {
        Ok(flow) => flow,
        Err(counter) => return Slow::end(counter),
    };
    let owner = host.owners.get(&(flow.src, flow.sport, flow.proto)).copied().flatten();
    if owner.is_none_or(|owned| owned.session != host.apps[0]) {
        return Slow::end(TxNotOwner);
    }
    let local = |addr| host.facts.locals.iter().find(|(own, _)| *own == addr).map(|(_, local)| *local);
    let Some(Local::On(link)) = local(flow.src) else { return Slow::end(TxNoRoute) };
    let number = usize::from(link.0);
    if let Some((mac, vids)) = header {
        if mac != OUR_MACS[number] {
            return Slow::end(TxMac);
        }
        if vids != TAGS[number] {
            return Slow::end(TxVlan);
        }
    }
    if usize::from(host.facts.links[number].mtu) < flow.total {
        return Slow::end(TxDesc);
    }
    if nobody(flow.dst) || local(flow.dst) == Some(Local::Broadcast) {
        return Slow::end(TxDestination);
    }
    if local(flow.dst).is_some() {
        let owned = host.owners.get(&(flow.dst, flow.dport, flow.proto)).copied().flatten();
        return Slow::end(if owned.is_some() { TxHairpin } else { TxLocalOs });
    }
    if form == Form::L2 {
        return Slow { counter: TxSent, link: Some(number), mac: bytes[..6].try_into().ok() };
    }
    let covering = host.facts.routes.iter().filter(|r| r.link == link && r.dst.contains(flow.dst));
    let next = match covering.max_by_key(|r| r.dst.bits()).map(|r| r.via) {
        None | Some(Via::Nowhere | Via::Throw) => return Slow::end(TxNoRoute),
        Some(Via::OnLink) => flow.dst,
        Some(Via::Gateway(addr)) => addr,
    };
    match host.facts.neighbours.iter().find(|n| n.link == link && n.addr == next) {
        Some(known) => Slow { counter: TxSent, link: Some(number), mac: Some(known.mac.0) },
        None => Slow::end(TxNoNeighbour),
    }
}

pub(super) type Header = ([u8; 6], Vec<u16>);

pub(super) fn slow_link<'a>(_: &Host, frame: &'a [u8]) -> Result<(&'a [u8], Header), ChannelCounter> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| TxMac)?;
    let (src, dst) = (ethernet.source(), ethernet.destination());
    let good = OUR_MACS.contains(&src) && !OUR_MACS.contains(&dst) && dst != [0; 6] && dst[0] & 1 == 0;
    if !good {
        return Err(TxMac);
    }
    let (mut ethertype, mut rest, mut vids) = (ethernet.ether_type(), &frame[14..], Vec::new());
    while matches!(ethertype, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
        let tag = etherparse::SingleVlanHeaderSlice::from_slice(rest).map_err(|_| TxVlan)?;
        vids.push(tag.vlan_identifier().value());
        (ethertype, rest) = (tag.ether_type(), &rest[4..]);
    }
    let version = rest.first().map_or(0, |first| first >> 4);
    let agree = matches!((ethertype, version), (EtherType::IPV4, 4) | (EtherType::IPV6, 6));
    let known = OUR_MACS.iter().zip(TAGS).any(|(mac, tags)| *mac == src && tags == vids);
    if agree && known { Ok((rest, (src, vids))) } else { Err(TxVlan) }
}

pub(super) struct Flow {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) proto: u8,
    pub(super) sport: u16,
    pub(super) dport: u16,
    pub(super) total: usize,
}

pub(super) fn slow_packet(packet: &[u8]) -> Result<Flow, ChannelCounter> {
    let ported = [IpNumber::TCP, IpNumber::UDP, IpNumber::DCCP, IpNumber::SCTP, IpNumber::UDP_LITE];
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            let ip = Ipv4HeaderSlice::from_slice(packet).map_err(|_| TxMalformed)?;
            let (l4, total) = (ip.slice().len(), usize::from(ip.total_len()));
            if total < l4 + 8 || packet.len() < total || ip.ttl() == 0 {
                return Err(TxMalformed);
            }
            if ip.is_fragmenting_payload() {
                return Err(TxFragment);
            }
            if !ported.contains(&ip.protocol()) {
                return Err(TxProtocol);
            }
            let (src, dst) = (ip.source_addr().into(), ip.destination_addr().into());
            Ok(Flow { src, dst, proto: ip.protocol().0, sport: port(l4), dport: port(l4 + 2), total })
        }
        Some(6) => {
            let ip = Ipv6HeaderSlice::from_slice(packet).map_err(|_| TxMalformed)?;
            let payload = usize::from(ip.payload_length());
            if payload < 8 || packet.len() < 40 + payload || ip.hop_limit() == 0 {
                return Err(TxMalformed);
            }
            match ip.next_header() {
                IpNumber::IPV6_FRAGMENTATION_HEADER => return Err(TxFragment),
                next if next.is_ipv6_ext_header_value() => return Err(TxExtHeader),
                next if !ported.contains(&next) => return Err(TxProtocol),
                _ => {}
            }
            let (src, dst) = (ip.source_addr(), ip.destination_addr());
            let proto = ip.next_header().0;
            let total = 40 + payload;
            Ok(Flow { src: src.into(), dst: dst.into(), proto, sport: port(40), dport: port(42), total })
        }
        _ => Err(TxMalformed),
    }
}

pub(super) fn nobody(dst: IpAddr) -> bool {
    match dst {
        IpAddr::V4(dst) => {
            dst.octets()[0] == 0 || dst.is_loopback() || dst.is_multicast() || dst.is_broadcast()
        }
        IpAddr::V6(dst) => {
            let mapped = dst.octets()[..12] == Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0, 0]).octets()[..12];
            dst.is_unspecified() || dst.is_loopback() || dst.is_multicast() || mapped
        }
    }
}

/// A packet that is nearly right: good parts, then some damage.
pub(super) fn random(rng: &mut Rng) -> (Vec<u8>, Form) {
    let v4 = [
        "10.0.1.1",
        "10.0.2.1",
        "10.0.3.1",
        "10.0.1.2",
        "10.0.1.9",
        "10.0.1.255",
        "172.16.0.1",
        "127.0.0.1",
        "224.0.0.5",
        "198.51.100.1",
        "198.51.100.200",
        "203.0.113.5",
        "192.0.2.1",
        "255.255.255.255",
    ];
    let v6 = [
        "2001:db8:1::1",
        "2001:db8:2::1",
        "2001:db8:3::1",
        "2001:db8:1::2",
        "2001:db8:1::9",
        "2001:db8:f::1",
        "2001:db8:e::1",
        "::1",
        "ff02::1",
        "::ffff:10.0.1.1",
    ];
    let pool: &[&str] = if rng.once_in(2) { &v4 } else { &v6 };
    let own = if rng.once_in(8) { *rng.pick(pool) } else { pool[rng.below(3)] };
    let port = |rng: &mut Rng| *rng.pick(&[MINE, MINE, THEIRS, ECHO, 80]);
    let packet = Packet {
        src: (ip(own), if rng.once_in(6) { port(rng) } else { MINE }),
        dst: (ip(rng.pick::<&str>(pool)), port(rng)),
        proto: if rng.once_in(12) { rng.byte() } else { *rng.pick(&[6, 17, 17, 132]) },
        payload: if rng.once_in(8) { rng.below(1600) } else { rng.below(64) },
    };
    let mut bytes = packet.bytes();
    if rng.once_in(6) {
        let more = 1 + rng.below(40);
        bytes.extend(rng.bytes(more));
    }
    let mut form = Form::L3;
    if rng.once_in(2) {
        form = Form::L2;
        let net = if rng.once_in(8) {
            rng.below(3)
        } else {
            let nets =
                ["10.0.1.1", "2001:db8:1::1", "10.0.2.1", "2001:db8:2::1", "10.0.3.1", "2001:db8:3::1"];
            nets.iter().position(|net| *net == own).map_or(0, |at| at / 2)
        };
        let dst = if rng.once_in(16) { *rng.pick(&[[0; 6], [0xff; 6], OUR_MACS[1], [1; 6]]) } else { ROUTER };
        let src = if rng.once_in(16) { PEER } else { OUR_MACS[net] };
        let tags = if rng.once_in(10) { TAGS[rng.below(3)] } else { TAGS[net] };
        bytes = framed(src, dst, tags, &bytes);
    }
    if rng.once_in(3) {
        for _ in 0..1 + rng.below(3) {
            // Mostly into headers.
            let range = if rng.once_in(4) { bytes.len() } else { bytes.len().min(64) };
            let at = rng.below(range);
            bytes[at] = if rng.once_in(2) { rng.byte() } else { bytes[at] ^ 1 << rng.below(8) };
        }
    }
    if rng.once_in(16) {
        bytes.truncate(rng.below(bytes.len() + 1));
    }
    (bytes, form)
}
