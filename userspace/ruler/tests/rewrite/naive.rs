//! The slow twin of rewriting: the output put together item by item from the rule as it is resolved, sums in full.
//!
//! No plan, no order but that of the specification, nothing in place. Where a rule's text calls for the incremental
//! checksum it takes RFC 1624's equation a word at a time; whether it does is told.

use std::ops::Range;

use ruler::{
    resolved::{Action, Item, LabelId, Part, Rule, Value},
    rewrite::{
        Bounds, Refusal,
        anonymise::{Anonymiser, Cache},
    },
};

use super::traffic::Transport;

/// How a transport's checksum is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Incremental,
    Full,
}

/// The output, and how many checksums could not be made.
pub(crate) fn rewrite(
    rule: &Rule,
    packet: &[u8],
    labels: &[Range<usize>],
    bounds: Bounds,
    anonymiser: &Anonymiser,
    mode: Mode,
) -> Result<(Vec<u8>, u32), Refusal> {
    let Action::Rewrite(items, _) = &rule.action else { panic!("the rule rewrites nothing") };
    let of = |label: LabelId| &packet[labels[usize::from(label.0)].clone()];
    let anonymised = |label: LabelId| {
        let mut address = of(label).to_vec();
        anonymiser.anonymise(&mut address, &mut Cache::default());
        address
    };
    let mut output: Vec<Vec<u8>> = Vec::new();
    for item in items {
        output.push(match &item.part {
            Part::Label(label) => of(*label).to_vec(),
            Part::Constant(bytes) => bytes.clone(),
            Part::Zero(label) => vec![0; of(*label).len()],
            Part::PrefixAnon(label) => anonymised(*label),
            Part::Unpad(label, ip) => {
                let (range, ip) = (&labels[usize::from(label.0)], &labels[usize::from(ip.0)]);
                let datagram = datagram(&packet[ip.clone()]).map(|len| ip.start..ip.start + len);
                range
                    .clone()
                    .filter(|at| datagram.as_ref().is_none_or(|it| it.contains(at)))
                    .map(|at| packet[at])
                    .collect()
            }
        });
    }
    let len = output.iter().map(Vec::len).sum::<usize>();
    if len < bounds.least {
        return Err(Refusal::TooShort);
    }
    if bounds.most < len {
        return Err(Refusal::TooLong);
    }
    for turn in 0..4 {
        // Behind first: what covers others comes after them.
        for at in (0..items.len()).rev() {
            for setting in &items[at].settings {
                let (first, bits) = (setting.offset_bits as usize, setting.bits as usize);
                if turn_of(&setting.value) != turn || output[at].is_empty() {
                    continue;
                }
                let value = match &setting.value {
                    Value::Constant(bytes) => bytes.clone(),
                    Value::Label(label) => exactly(of(*label).to_vec(), bits)?,
                    Value::PrefixAnon(label) => exactly(anonymised(*label), bits)?,
                    Value::Len(labels) => {
                        let sum: usize =
                            labels.iter().map(|label| output[made_from(*label, items)].len()).sum();
                        if bits < 64 && sum >> bits != 0 {
                            return Err(Refusal::Field);
                        }
                        sum.to_be_bytes().to_vec()
                    }
                    Value::Ipv4Csum => {
                        set(&mut output[at], first, 16, &[0, 0])?;
                        checksum(&output[at]).to_be_bytes().to_vec()
                    }
                    Value::TcpCsum(ip) | Value::UdpCsum(ip) => {
                        let is_tcp = matches!(setting.value, Value::TcpCsum(_));
                        let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
                        set(&mut output[at], first, 16, &[0, 0])?;
                        let made = made_from(*ip, items);
                        let sum = match (mode, &items[at].part) {
                            (Mode::Incremental, Part::Label(header)) => {
                                let old = (of(*ip), of(*header));
                                Some(changed(transport, old, (&output[made], &output[at]), first / 8))
                            }
                            _ => whole(transport, &output, made, at),
                        };
                        let Some(sum) = sum else { return last(items, output) };
                        sum.to_be_bytes().to_vec()
                    }
                };
                set(&mut output[at], first, bits, &value)?;
            }
        }
    }
    Ok((output.concat(), 0))
}

/// The checksum of the last turn could not be made; no rule here has two.
fn last(items: &[Item], output: Vec<Vec<u8>>) -> Result<(Vec<u8>, u32), Refusal> {
    let sums = items.iter().flat_map(|item| &item.settings).filter(|it| turn_of(&it.value) == 3);
    assert_eq!(sums.count(), 1);
    Ok((output.concat(), 1))
}

fn turn_of(value: &Value) -> u8 {
    match value {
        Value::Constant(_) | Value::Label(_) | Value::PrefixAnon(_) => 0,
        Value::Len(_) => 1,
        Value::Ipv4Csum => 2,
        Value::TcpCsum(_) | Value::UdpCsum(_) => 3,
    }
}

fn made_from(label: LabelId, items: &[Item]) -> usize {
    let is_made = |item: &Item| matches!(item.part, Part::Label(it) | Part::Zero(it) | Part::Unpad(it, _) if it == label);
    items.iter().position(is_made).unwrap()
}

fn exactly(value: Vec<u8>, bits: usize) -> Result<Vec<u8>, Refusal> {
    if 8 * value.len() == bits { Ok(value) } else { Err(Refusal::Field) }
}

/// Sets bits, the last first.
fn set(item: &mut [u8], first: usize, bits: usize, value: &[u8]) -> Result<(), Refusal> {
    if 8 * item.len() < first + bits {
        return Err(Refusal::Field);
    }
    for bit in 0..bits {
        let is_set = bit / 8 < value.len() && value[value.len() - 1 - bit / 8] >> (bit % 8) & 1 == 1;
        let at = first + bits - 1 - bit;
        item[at / 8] = item[at / 8] & !(0x80 >> (at % 8)) | if is_set { 0x80 >> (at % 8) } else { 0 };
    }
    Ok(())
}

/// The length that an IP header says.
fn datagram(ip: &[u8]) -> Option<usize> {
    let word = |at: usize| usize::from(ip[at]) << 8 | usize::from(ip[at + 1]);
    match ip.first()? >> 4 {
        4 if 20 <= ip.len() => Some(word(2)),
        6 if 40 <= ip.len() => Some(40 + word(4)),
        _ => None,
    }
}

/// RFC 1071: words added, carries folded, complemented.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Over the pseudo header of an IP header and a segment.
pub(crate) fn transport_sum(protocol: u8, ip: &[u8], segment: &[u8]) -> u16 {
    let len = u32::try_from(segment.len()).unwrap().to_be_bytes();
    let mut bytes = if ip[0] >> 4 == 4 { ip[12..20].to_vec() } else { ip[8..40].to_vec() };
    bytes.extend(len);
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend_from_slice(segment);
    match checksum(&bytes) {
        0 if protocol == 17 => 0xffff,
        sum => sum,
    }
}

/// In full, if it can be made: the datagram is whole, here, and its headers lead to a transport.
fn whole(transport: Transport, output: &[Vec<u8>], ip: usize, header: usize) -> Option<u16> {
    let begin = |item: usize| output[..item].iter().map(Vec::len).sum::<usize>();
    let packet = output.concat();
    let header_end = begin(header + 1);
    let (header, ip_item, below) = (begin(header), &output[ip], &packet[begin(ip)..]);
    let end = datagram(ip_item)?;
    if below.len() < end {
        return None;
    }
    let leads_there = match ip_item[0] >> 4 {
        4 => {
            let len = usize::from(ip_item[0] & 15) * 4;
            20 <= len && len <= end && u16::from_be_bytes([ip_item[6], ip_item[7]]) & 0x3fff == 0
        }
        _ => {
            // The same judge of chains as everywhere; it has a twin of its own.
            let way = wire::ipv6_walk::walk(wire::ip::Protocol(ip_item[6]), &below[40..end]);
            way.fragment.is_none() && way.end.is_ok()
        }
    };
    let end = begin(ip) + end;
    (leads_there && header_end <= end)
        .then(|| transport_sum(transport.number(), ip_item, &packet[header..end]))
}

/// RFC 1624, equation 3, a word at a time: `HC' = ~(~HC + ~m + m')`.
fn changed(transport: Transport, old: (&[u8], &[u8]), new: (&[u8], &[u8]), field: usize) -> u16 {
    let words = |(ip, header): (&[u8], &[u8])| {
        let addresses = match ip.first().map(|byte| byte >> 4) {
            Some(4) if 20 <= ip.len() => 12..20,
            Some(6) if 40 <= ip.len() => 8..40,
            _ => 0..0,
        };
        let mut header = header.to_vec();
        header[field..field + 2].fill(0);
        let word = |pair: &[u8]| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        [&ip[addresses], &header].into_iter().flat_map(|part| part.chunks(2)).map(word).collect::<Vec<_>>()
    };
    let plus = |one: u16, other: u16| match one.overflowing_add(other) {
        (sum, true) => sum + 1,
        (sum, false) => sum,
    };
    let before = u16::from_be_bytes([old.1[field], old.1[field + 1]]);
    if transport == Transport::Udp && before == 0 {
        return 0;
    }
    let mut sum = !before;
    for (one, other) in words(old).into_iter().zip(words(new)) {
        sum = plus(plus(sum, !one), other);
    }
    match !sum {
        0 if transport == Transport::Udp => 0xffff,
        sum => sum,
    }
}
