//! A profile made into tables, and the tables made into frames.
//!
//! The tables are those of `abi::pktgen`, so this is also the plain twin of the XDP generator: both turn the same
//! row and the same stamp into the same bytes. Making a frame copies a header, adds a few numbers and copies filler;
//! it allocates nothing. Every checksum is complete: AF_XDP transmits what it is given.
use std::net::IpAddr;

use abi::pktgen::{
    Config, Cursor, FlowHeader, MAX_FLOWS, MAX_HEADER, MAX_PATTERN, MAX_SIZES, STAMP_LEN, Size, Stamp, fold,
    l3_checksum, shape, tcp_checksum, udp_checksum,
};
use thiserror::Error;
use wire::ethernet::EtherType;

use super::{
    profile::{MAX_TAGS, Order, Profile, Transport},
    seeded::Seeded,
    size::{FCS, FrameSize, LARGEST},
};

const HOP_LIMIT: u8 = 64;
const TCP_ACK: u8 = 0x10;
const TCP_OFFSET: usize = 12;

/// Why a profile cannot be generated.
#[derive(Debug, Error, PartialEq)]
pub enum PlanError {
    /// Source and destination are of different families.
    #[error("source and destination addresses are both IPv4 or both IPv6")]
    Family,
    /// No flow, or more than there are tuples or room.
    #[error("{given} flows asked, the ranges of addresses and ports make 1 to {limit}: widen one of them")]
    Flows {
        /// What was asked for.
        given: u32,
        /// How many there can be.
        limit: u64,
    },
    /// More tags than [`MAX_TAGS`].
    #[error("{given} VLAN tags asked, at most {MAX_TAGS} are possible")]
    Tags {
        /// What was asked for.
        given: usize,
    },
    /// Not a VLAN id.
    #[error("a VLAN id is 1 to 4094, not {given}")]
    Vlan {
        /// What was asked for.
        given: u16,
    },
    /// The headers and the stamp need more than the smallest size.
    #[error("frames of {given} bytes are too small for these headers and the stamp: {need} is the least")]
    TooSmall {
        /// The size, FCS included.
        given: FrameSize,
        /// The least size, FCS included.
        need: usize,
    },
}

/// Tables from which frames are made.
#[derive(Clone, Debug)]
pub struct Plan {
    config: Config,
    flows: Box<[FlowHeader]>,
    filler: Box<[u8]>,
}

impl Plan {
    /// Checks a profile and makes its tables.
    ///
    /// # Errors
    /// [`PlanError`]: the first thing that is wrong with it.
    pub fn new(profile: &Profile) -> Result<Self, PlanError> {
        let shape = shape_of(profile)?;
        let tuples = [profile.dport.count(), profile.dst.count(), profile.sport.count(), profile.src.count()]
            .iter()
            .fold(1_u64, |product, &n| product.saturating_mul(n));
        let limit = tuples.min(u64::from(MAX_FLOWS));
        if profile.flows == 0 || limit < u64::from(profile.flows) {
            return Err(PlanError::Flows { given: profile.flows, limit });
        }
        let filler = filler(profile.seed, usize::from(LARGEST - FCS) - shape::payload_off(shape) - STAMP_LEN);
        let config = config_of(profile, shape, &filler)?;
        let flows = (0..profile.flows).map(|flow| flow_header(profile, shape, u64::from(flow))).collect();
        Ok(Self { config, flows, filler })
    }

    /// The numbers that the XDP generator takes.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// One header a flow.
    #[must_use]
    pub const fn flows(&self) -> &[FlowHeader] {
        &self.flows
    }

    /// The same frames, this far from each other in time ([`super::pace::Rate::interval_q`]); at first, 0.
    pub const fn set_interval(&mut self, interval_q: u64) {
        self.config.interval_q = interval_q;
    }

    /// Most bytes of a frame.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.config.sizes.iter().map(|s| usize::from(s.frame_len)).max().unwrap_or(0)
    }

    /// Mean bytes of a frame, without FCS.
    #[must_use]
    pub fn mean_len(&self) -> f64 {
        let pattern = &self.config.pattern[..usize::from(self.config.pattern_len)];
        let sum: u64 = pattern.iter().map(|&i| u64::from(self.size(i).frame_len)).sum();
        sum as f64 / pattern.len() as f64
    }

    /// A frame of the longest size with its filler and nothing else: what the XDP generator is run on.
    #[must_use]
    pub fn template(&self) -> Vec<u8> {
        let mut frame = vec![0; self.longest()];
        self.fill(&mut frame);
        frame
    }

    /// Makes the frame of `cursor` in `into` and moves on. Returns its length; 0 if `into` is shorter than
    /// [`Plan::longest`], and then nothing happened.
    pub fn next(&self, cursor: &mut Cursor, now_ns: u64, into: &mut [u8]) -> usize {
        if into.len() < self.longest() {
            return 0;
        }
        let (stamp, at) = cursor.next(&self.config, now_ns);
        self.emit(&stamp, at, into)
    }

    /// The length of the frame that [`Plan::next`] would make.
    #[must_use]
    pub fn next_len(&self, cursor: &Cursor) -> usize {
        usize::from(self.size_at(cursor.at).frame_len)
    }

    fn emit(&self, stamp: &Stamp, at: u32, into: &mut [u8]) -> usize {
        let size = self.size_at(at);
        let len = usize::from(size.frame_len);
        let (Some(frame), Some(flow)) = (into.get_mut(..len), self.flows.get(stamp.flow as usize)) else {
            return 0;
        };
        let shape = self.config.shape;
        let (l3, l4, payload) = (shape::l3_off(shape), shape::l4_off(shape), shape::payload_off(shape));
        frame[..payload].copy_from_slice(&flow.bytes[..payload]);
        let (stamp_bytes, stamp_ones) = stamp.emit(size);
        frame[payload..payload + STAMP_LEN].copy_from_slice(&stamp_bytes);
        self.fill(frame);
        let l4_len = (len - l4) as u16;
        if shape & shape::V6 == 0 {
            let total = (len - l3) as u16;
            put(frame, l3 + 2, total);
            put(frame, l3 + 10, l3_checksum(flow.l3_ones, total));
        } else {
            put(frame, l3 + 4, l4_len);
        }
        let sums = stamp_ones + u32::from(size.ones);
        if shape & shape::TCP == 0 {
            put(frame, l4 + 4, l4_len);
            put(frame, l4 + 6, udp_checksum(flow.l4_ones, l4_len, sums));
        } else {
            put(frame, l4 + 16, tcp_checksum(flow.l4_ones, l4_len, sums));
        }
        len
    }

    fn fill(&self, frame: &mut [u8]) {
        let from = shape::payload_off(self.config.shape) + STAMP_LEN;
        if let Some(rest) = frame.get_mut(from..) {
            let n = rest.len().min(self.filler.len());
            rest[..n].copy_from_slice(&self.filler[..n]);
        }
    }

    fn size_at(&self, at: u32) -> &Size {
        self.size(self.config.pattern[at as usize % MAX_PATTERN])
    }

    fn size(&self, index: u8) -> &Size {
        &self.config.sizes[usize::from(index) % MAX_SIZES]
    }
}

/// The filler's part of the payload check: a sum in which every byte's place counts.
#[must_use]
pub fn filler_sum(filler: &[u8]) -> u64 {
    let (whole, rest) = filler.as_chunks::<8>();
    let weighted = |(weight, word): (u64, u64)| word.wrapping_mul(2 * weight + 1);
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    (0..)
        .zip(whole.iter().chain([&last]).map(|w| u64::from_le_bytes(*w)))
        .map(weighted)
        .fold(0, u64::wrapping_add)
}

/// The one's complement sum of bytes, the last one padded with zero (RFC 1071).
#[must_use]
pub fn ones(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |&b| u32::from(b) << 8);
    fold(pairs.iter().map(|&w| u32::from(u16::from_be_bytes(w))).sum::<u32>() + last)
}

fn filler(seed: u64, len: usize) -> Box<[u8]> {
    let mut seeded = Seeded::new(seed);
    std::iter::repeat_with(|| seeded.next_u64().to_le_bytes()).flatten().take(len).collect()
}

fn shape_of(profile: &Profile) -> Result<u8, PlanError> {
    if profile.src.is_v6() != profile.dst.is_v6() {
        return Err(PlanError::Family);
    }
    if MAX_TAGS < profile.tags.len() {
        return Err(PlanError::Tags { given: profile.tags.len() });
    }
    if let Some(&given) = profile.tags.iter().find(|id| !(1..=4094).contains(*id)) {
        return Err(PlanError::Vlan { given });
    }
    let v6 = if profile.dst.is_v6() { shape::V6 } else { 0 };
    let tcp = if profile.transport == Transport::Tcp { shape::TCP } else { 0 };
    Ok(profile.tags.len() as u8 | v6 | tcp)
}

fn config_of(profile: &Profile, shape: u8, filler: &[u8]) -> Result<Config, PlanError> {
    let headers = shape::payload_off(shape) + STAMP_LEN;
    let mut sizes = [Size::default(); MAX_SIZES];
    for (slot, size) in sizes.iter_mut().zip(profile.mix.sizes()) {
        let need = headers + usize::from(FCS);
        let filler = usize::from(size.frame_len()).checked_sub(headers).and_then(|n| filler.get(..n));
        let Some(filler) = filler else {
            return Err(PlanError::TooSmall { given: size, need });
        };
        *slot = Size { filler: filler_sum(filler), frame_len: size.frame_len(), ones: ones(filler), zero: 0 };
    }
    let order = profile.mix.pattern(profile.seed);
    let mut pattern = [0; MAX_PATTERN];
    pattern[..order.len()].copy_from_slice(&order);
    let (step, turn) = stride(profile);
    Ok(Config {
        sizes,
        pattern,
        interval_q: 0,
        end_ns: 0,
        total: 0,
        flows: profile.flows,
        step,
        turn,
        pattern_len: order.len() as u16,
        shape,
        scheduled: 0,
    })
}

/// From one flow to the next: coprime to their number, so that a round visits each.
fn stride(profile: &Profile) -> (u32, u32) {
    let flows = profile.flows;
    match profile.order {
        _ if flows == 1 => (0, 0),
        Order::RoundRobin => (1, 0),
        Order::Scattered => {
            let mut seeded = Seeded::new(profile.seed);
            let mut draw = || 1 + seeded.below(u64::from(flows) - 1) as u32;
            let turn = draw();
            let step = std::iter::repeat_with(draw).find(|&s| gcd(s, flows) == 1).unwrap_or(1);
            (step, turn)
        }
    }
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn flow_header(profile: &Profile, shape: u8, flow: u64) -> FlowHeader {
    let dport = profile.dport.nth(flow);
    let flow = flow / profile.dport.count();
    let dst = profile.dst.nth(flow);
    let flow = flow / profile.dst.count();
    let sport = profile.sport.nth(flow);
    let src = profile.src.nth(flow / profile.sport.count());

    let mut header = FlowHeader { bytes: [0; MAX_HEADER], l3_ones: 0, l4_ones: 0 };
    let (l3, l4, end) = (shape::l3_off(shape), shape::l4_off(shape), shape::payload_off(shape));
    let bytes = &mut header.bytes;
    put_ethernet(bytes, profile, shape);
    let protocol: u8 = if shape & shape::TCP == 0 { 17 } else { 6 };
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes[l3] = 0x45;
            put(bytes, l3 + 6, 0x4000); // don't fragment
            bytes[l3 + 8] = HOP_LIMIT;
            bytes[l3 + 9] = protocol;
            bytes[l3 + 12..l3 + 16].copy_from_slice(&src.octets());
            bytes[l3 + 16..l3 + 20].copy_from_slice(&dst.octets());
        }
        (src, dst) => {
            bytes[l3] = 0x60;
            bytes[l3 + 6] = protocol;
            bytes[l3 + 7] = HOP_LIMIT;
            bytes[l3 + 8..l3 + 24].copy_from_slice(&to_v6(src));
            bytes[l3 + 24..l3 + 40].copy_from_slice(&to_v6(dst));
        }
    }
    put(bytes, l4, sport);
    put(bytes, l4 + 2, dport);
    if shape & shape::TCP != 0 {
        bytes[l4 + TCP_OFFSET] = 5 << 4;
        bytes[l4 + TCP_OFFSET + 1] = TCP_ACK;
        put(bytes, l4 + TCP_OFFSET + 2, u16::MAX); // window
    }
    let addresses = l4 - if shape & shape::V6 == 0 { 8 } else { 32 };
    header.l3_ones = ones(&header.bytes[l3..l4]);
    header.l4_ones = fold(u32::from(ones(&header.bytes[addresses..end])) + u32::from(protocol));
    header
}

fn put_ethernet(bytes: &mut [u8], profile: &Profile, shape: u8) {
    bytes[..6].copy_from_slice(&profile.dst_mac.0);
    bytes[6..12].copy_from_slice(&profile.src_mac.0);
    let mut at = 12;
    for (i, &id) in profile.tags.iter().enumerate() {
        let outer_of_two = i == 0 && profile.tags.len() == MAX_TAGS;
        put(bytes, at, if outer_of_two { EtherType::SERVICE_VLAN.0 } else { EtherType::VLAN.0 });
        put(bytes, at + 2, id);
        at += 4;
    }
    put(bytes, at, if shape & shape::V6 == 0 { EtherType::IPV4.0 } else { EtherType::IPV6.0 });
}

/// Families agree (`shape_of`), so an IPv4 address never meets this.
fn to_v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests;
