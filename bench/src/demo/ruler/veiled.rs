//! Judges answers of an echo behind the anonymising filter, without its key: by what anonymised packets must be.
//!
//! Pure. Given its addresses, all of such a packet follows, so it is written anew and compared to the byte; of the
//! addresses, two must have as long a prefix in common as those that they stand for.
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use octroi_tests::lab::Flow;

use super::{
    VEILED,
    mixture::{PAYLOAD, SPORT},
};

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Answers that are as they must be, given their addresses, which are the same in each.
    pub(super) right: u64,
    /// Addresses that are still what they were.
    pub(super) unchanged: u64,
    /// Pairs of addresses whose common prefix is as long as before.
    pub(super) pairs_kept: u64,
    /// Pairs of addresses.
    pub(super) pairs: u64,
}

/// The flow from another address of 10.0.0.0/8, another for each `n`.
pub(super) fn from_elsewhere(flow: Flow, n: u16) -> Flow {
    // An odd factor: no two products are equal modulo 2²⁴, and their prefixes are of all lengths.
    let [_, b, c, d] = (u32::from(n) + 1).wrapping_mul(0x009e_3779).to_be_bytes();
    Flow { from: (Ipv4Addr::new(10, b, c, d), flow.from.port()).into(), ..flow }
}

/// Judges the answers to frames of `flows`, of which the `n`-th has source port `SPORT + n`.
///
/// # Errors
/// An answer cannot be written.
pub(super) fn judge<'a>(flows: &[Flow], came: impl IntoIterator<Item = &'a [u8]>) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut names = Names::default();
    for frame in came {
        let Some(Answer { from, to, dport }) = Answer::read(frame) else { continue };
        let Some(asked) = flows.get(usize::from(dport.wrapping_sub(SPORT))) else { continue };
        let answer = Flow { from: (from, VEILED).into(), to: (to, dport).into(), ..asked.reversed() };
        let is_right = answer.udp(&[], &[0; PAYLOAD])? == frame;
        let is_known = names.learn(asked.to.ip(), from) && names.learn(asked.from.ip(), to);
        findings.right += u64::from(is_right && is_known);
    }
    let names: Vec<_> = names.0.into_iter().collect();
    findings.unchanged = names.iter().map(|(was, is)| u64::from(was == is)).sum();
    for (at, (was, is)) in names.iter().enumerate() {
        for (other_was, other_is) in &names[..at] {
            findings.pairs += 1;
            let kept = common_bits(*was, *other_was) == common_bits(*is, *other_is);
            findings.pairs_kept += u64::from(kept);
        }
    }
    Ok(findings)
}

/// From what an address was to what it is.
#[derive(Default)]
struct Names(BTreeMap<Ipv4Addr, Ipv4Addr>);

impl Names {
    /// Whether the address has this name, if it has one already.
    fn learn(&mut self, was: IpAddr, is: Ipv4Addr) -> bool {
        let IpAddr::V4(was) = was else { return false };
        *self.0.entry(was).or_insert(is) == is
    }
}

/// Where an answer says that it is from, and where to.
struct Answer {
    from: Ipv4Addr,
    to: Ipv4Addr,
    dport: u16,
}

impl Answer {
    /// Of a frame with Ethernet, IPv4 without options, and UDP, from the echo that anonymises.
    fn read(frame: &[u8]) -> Option<Self> {
        let addr = |at| frame.get(at..)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
        let port = |at| frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        let answer = Self { from: addr(26)?, to: addr(30)?, dport: port(36)? };
        (port(34)? == VEILED).then_some(answer)
    }
}

fn common_bits(one: Ipv4Addr, other: Ipv4Addr) -> u32 {
    (u32::from(one) ^ u32::from(other)).leading_zeros()
}

#[cfg(test)]
mod tests {
    use octroi_tests::lab::Mac;

    use super::*;

    /// An anonymiser that is none for long, but keeps prefixes: the bits of each address are turned round.
    fn turned(addr: IpAddr) -> Ipv4Addr {
        let IpAddr::V4(addr) = addr else { unreachable!("the flows are IPv4") };
        Ipv4Addr::from(!u32::from(addr))
    }

    fn flows() -> Vec<Flow> {
        let flow = |n: u16| Flow {
            from_mac: Mac([2, 0, 0, 0, 0, 1]),
            to_mac: Mac([2, 0, 0, 0, 0, 2]),
            from: ([10, 77, 0, 101], SPORT + n).into(),
            to: ([10, 77, 0, 2], VEILED).into(),
        };
        (0..100).map(|n| from_elsewhere(flow(n), n)).collect()
    }

    fn answers(flows: &[Flow], name: fn(IpAddr) -> Ipv4Addr) -> Vec<Vec<u8>> {
        let answer = |flow: &Flow| Flow {
            from: (name(flow.to.ip()), flow.to.port()).into(),
            to: (name(flow.from.ip()), flow.from.port()).into(),
            ..flow.reversed()
        };
        flows.iter().map(|flow| answer(flow).udp(&[], &[0; PAYLOAD]).unwrap()).collect()
    }

    fn found(came: &[Vec<u8>]) -> Findings {
        judge(&flows(), came.iter().map(Vec::as_slice)).unwrap()
    }

    #[test]
    fn what_keeps_prefixes_and_nothing_else_is_right() {
        // A hundred askers and one who answers.
        let pairs = 101 * 100 / 2;
        let right = Findings { right: 100, unchanged: 0, pairs_kept: pairs, pairs };
        assert_eq!(found(&answers(&flows(), turned)), right);
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let answers = answers(&flows()[..1], turned);
        for at in 0..answers[0].len() {
            let mut changed = answers.clone();
            changed[0][at] ^= 1;
            assert_eq!(found(&changed).right, 0, "byte {at}");
        }
    }

    #[test]
    fn names_that_stay_or_change_or_lose_their_prefix_are_seen() {
        let same = |addr| if let IpAddr::V4(addr) = addr { addr } else { unreachable!("the flows are IPv4") };
        assert_eq!(found(&answers(&flows(), same)).unchanged, 101);
        let backwards = |addr| Ipv4Addr::from(u32::from(turned(addr)).reverse_bits());
        let findings = found(&answers(&flows(), backwards));
        assert!(findings.pairs_kept < findings.pairs, "{findings:?}");
        let twice = [answers(&flows(), turned), answers(&flows(), backwards)].concat();
        assert_eq!(found(&twice).right, 100);
    }
}
