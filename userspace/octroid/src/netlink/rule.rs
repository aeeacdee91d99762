//! The routing rules of this network namespace, in the order in which the kernel asks them.
//!
//! A rule is read as far as it can be decided for a whole source address; one that looks into each packet, or at who sends
//! it, is read as that, by name: nobody must take it for one that is not there.
use std::{fmt, io, net::IpAddr};

use nix::libc;

use super::{
    fib::address,
    message::{Attributes, Builder, Message, find, text, u32_at},
    route::Route,
};

/// Which addresses a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its family.
    pub family: Family,
    /// Its place: the smallest is asked first.
    pub priority: u32,
    /// Its sources: first address and length of their prefix.
    pub from: Option<(IpAddr, u8)>,
    /// Its destinations.
    pub to: Option<(IpAddr, u8)>,
    /// The device that its packets came in by; `lo` means this host itself.
    pub iif: Option<String>,
    /// The device that their socket is bound to.
    pub oif: Option<String>,
    /// Whether packets without a mark can be its.
    pub unmarked: Marked,
    /// Whether it is for the packets that are so, or for all others.
    pub sense: Sense,
    /// What it looks at that no picture of the network can know.
    pub beyond: Option<Beyond>,
    /// What it does.
    pub action: Action,
}

/// Whether a rule can be for packets without a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It asks for none, or for none of the bits that it looks at.
    Fits,
    /// It asks for a mark.
    Never,
}

/// Which packets a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// Those that are as it says.
    These,
    /// All but those (`not`).
    Others,
}

/// What a rule looks at beyond addresses and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beyond {
    /// The type of service.
    Tos,
    /// Who sends.
    Uid,
    /// The protocol.
    Protocol,
    /// A port.
    Port,
    /// The VRF of a device (`l3mdev`).
    Vrf,
    /// The group of the device that was found.
    Group,
    /// It leads to another rule (`goto`).
    Goto,
    /// Something that is newer than this program.
    Unknown,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Asks this table; routes with prefixes of so many bits, or fewer, do not count.
    Look {
        /// Which.
        table: u32,
        /// `suppress_prefixlength`.
        longer_than: Option<u8>,
    },
    /// Nothing: the next one is asked.
    Nothing,
    /// Blackhole, unreachable, prohibit.
    Nowhere,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tos => "the type of service",
            Self::Uid => "the user who sends",
            Self::Protocol => "the protocol",
            Self::Port => "ports",
            Self::Vrf => "a VRF",
            Self::Group => "the group of a device",
            Self::Goto => "another rule (goto)",
            Self::Unknown => "something that this octroid does not know",
        })
    }
}

/// Bytes of `struct fib_rule_hdr`.
const HEADER: usize = 12;
/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;
/// No limit, of a suppressor.
const NO_LIMIT: u32 = u32::MAX;

/// Actions, `linux/fib_rules.h`.
mod action {
    pub(super) const TO_TBL: u8 = 1;
    pub(super) const GOTO: u8 = 2;
    pub(super) const NOP: u8 = 3;
    pub(super) const BLACKHOLE: u8 = 6;
    pub(super) const UNREACHABLE: u8 = 7;
    pub(super) const PROHIBIT: u8 = 8;
}

/// Attributes, `linux/fib_rules.h`.
mod attribute {
    pub(super) const DST: u16 = 1;
    pub(super) const SRC: u16 = 2;
    pub(super) const IIFNAME: u16 = 3;
    pub(super) const GOTO: u16 = 4;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const FWMARK: u16 = 10;
    pub(super) const FLOW: u16 = 11;
    pub(super) const TUN_ID: u16 = 12;
    pub(super) const SUPPRESS_IFGROUP: u16 = 13;
    pub(super) const SUPPRESS_PREFIXLEN: u16 = 14;
    pub(super) const TABLE: u16 = 15;
    pub(super) const FWMASK: u16 = 16;
    pub(super) const OIFNAME: u16 = 17;
    pub(super) const PAD: u16 = 18;
    pub(super) const L3MDEV: u16 = 19;
    pub(super) const UID_RANGE: u16 = 20;
    pub(super) const PROTOCOL: u16 = 21;
    pub(super) const IP_PROTO: u16 = 22;
    pub(super) const SPORT_RANGE: u16 = 23;
    pub(super) const DPORT_RANGE: u16 = 24;
    pub(super) const DSCP: u16 = 25;
}

impl Route {
    /// Every rule of both families.
    ///
    /// # Errors
    /// The kernel refuses or is silent.
    pub fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut rules = Vec::new();
        let body = |b: Builder| b.raw(&[0; HEADER]);
        let asked =
            self.0.ask(libc::RTM_GETRULE, libc::NLM_F_DUMP, body, |message| rules.extend(rule(message)));
        match asked {
            // A kernel without policy routing has the rules that it cannot say.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Ok([Family::V4, Family::V6].map(Rule::main).into())
            }
            other => other.map(|()| rules),
        }
    }
}

impl Rule {
    /// The rule that leads to the table main.
    #[must_use]
    pub fn main(family: Family) -> Self {
        Self {
            family,
            priority: 32_766,
            from: None,
            to: None,
            iif: None,
            oif: None,
            unmarked: Marked::Fits,
            sense: Sense::These,
            beyond: None,
            action: Action::Look { table: libc::RT_TABLE_MAIN.into(), longer_than: None },
        }
    }
}

fn rule(message: &Message<'_>) -> Option<Rule> {
    let &[family, dst_len, src_len, tos, table, _, _, action, ..] =
        message.payload.first_chunk::<HEADER>()?;
    let named = match i32::from(family) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        // Those of multicast routing.
        _ => return None,
    };
    if message.kind != libc::RTM_NEWRULE {
        return None;
    }
    let attributes = message.payload.get(HEADER..)?;
    let word = |kind| find(attributes, kind).and_then(|value| u32_at(value, 0));
    let prefix = |kind, len| {
        let addr = find(attributes, kind).and_then(|bytes| address(family, bytes));
        addr.filter(|_| len != 0).map(|addr| (addr, len))
    };
    let limit = |kind| word(kind).filter(|&limit| limit != NO_LIMIT);
    let mark = word(attribute::FWMARK).unwrap_or(0) & word(attribute::FWMASK).unwrap_or(u32::MAX);
    let longer_than = limit(attribute::SUPPRESS_PREFIXLEN).map(|bits| u8::try_from(bits).unwrap_or(u8::MAX));
    let look = Action::Look { table: word(attribute::TABLE).unwrap_or(table.into()), longer_than };
    let unknown_action = (action == action::GOTO).then_some(Beyond::Goto);
    let (acts, newer) = match action {
        action::TO_TBL => (look, None),
        action::NOP | action::GOTO => (Action::Nothing, unknown_action),
        action::BLACKHOLE | action::UNREACHABLE | action::PROHIBIT => (Action::Nowhere, None),
        _ => (Action::Nothing, Some(Beyond::Unknown)),
    };
    let tos = (tos != 0).then_some(Beyond::Tos);
    Some(Rule {
        family: named,
        priority: word(attribute::PRIORITY).unwrap_or(0),
        from: prefix(attribute::SRC, src_len),
        to: prefix(attribute::DST, dst_len),
        iif: find(attributes, attribute::IIFNAME).map(text),
        oif: find(attributes, attribute::OIFNAME).map(text),
        unmarked: if mark == 0 { Marked::Fits } else { Marked::Never },
        sense: if u32_at(message.payload, 8)? & INVERT == 0 { Sense::These } else { Sense::Others },
        beyond: newer
            .or(tos)
            .or_else(|| Attributes(attributes).find_map(|(kind, value)| beyond(kind, value))),
        action: acts,
    })
}

/// What an attribute looks at that no picture of the network can know.
fn beyond(kind: u16, value: &[u8]) -> Option<Beyond> {
    let is_set = value.iter().any(|&byte| byte != 0);
    match kind {
        attribute::DST | attribute::SRC | attribute::IIFNAME | attribute::OIFNAME | attribute::GOTO => None,
        attribute::PRIORITY | attribute::TABLE | attribute::FWMARK | attribute::FWMASK => None,
        attribute::FLOW | attribute::PAD | attribute::PROTOCOL | attribute::SUPPRESS_PREFIXLEN => None,
        // No packet of ours came by a tunnel.
        attribute::TUN_ID => is_set.then_some(Beyond::Unknown),
        attribute::SUPPRESS_IFGROUP => (u32_at(value, 0)? != NO_LIMIT).then_some(Beyond::Group),
        attribute::L3MDEV => is_set.then_some(Beyond::Vrf),
        attribute::UID_RANGE => {
            let everybody = u32_at(value, 0)? == 0 && u32_at(value, 4)? == u32::MAX;
            (!everybody).then_some(Beyond::Uid)
        }
        attribute::IP_PROTO => is_set.then_some(Beyond::Protocol),
        attribute::SPORT_RANGE | attribute::DPORT_RANGE => is_set.then_some(Beyond::Port),
        attribute::DSCP => Some(Beyond::Tos),
        _ => Some(Beyond::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::message::messages, *};

    fn read(
        family: i32,
        lens: [u8; 2],
        action: u8,
        flags: u32,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Option<Rule> {
        let mut header = [0; HEADER];
        [header[0], header[1], header[2], header[7]] = [family as u8, lens[0], lens[1], action];
        header[8..].copy_from_slice(&flags.to_ne_bytes());
        let bytes = more(Builder::new(libc::RTM_NEWRULE, 0, 1).raw(&header)).finish();
        messages(&bytes).next().and_then(|message| rule(&message))
    }

    /// `RTNL_FAMILY_IPMR`: multicast routing.
    const IPMR: i32 = 128;

    fn word(b: Builder, kind: u16, value: u32) -> Builder {
        b.attribute(kind, &value.to_ne_bytes())
    }

    #[test]
    fn a_rule_for_a_source_is_read() {
        let found = read(libc::AF_INET, [0, 32], action::TO_TBL, 0, |b| {
            let b = b.attribute(attribute::SRC, &[192, 0, 2, 1]);
            word(
                word(word(b, attribute::PRIORITY, 1000), attribute::TABLE, 300),
                attribute::SUPPRESS_PREFIXLEN,
                NO_LIMIT,
            )
        });
        let action = Action::Look { table: 300, longer_than: None };
        let from = Some(([192, 0, 2, 1].into(), 32));
        assert_eq!(found, Some(Rule { priority: 1000, from, action, ..Rule::main(Family::V4) }));
    }

    #[test]
    fn the_rules_of_a_tunnel_are_read() {
        let not = read(libc::AF_INET6, [0, 0], action::TO_TBL, INVERT, |b| {
            word(
                word(word(b, attribute::FWMARK, 51_820), attribute::FWMASK, u32::MAX),
                attribute::TABLE,
                51_820,
            )
        });
        let not = not.unwrap();
        assert_eq!((not.sense, not.unmarked, not.beyond), (Sense::Others, Marked::Never, None));
        let suppressed = read(libc::AF_INET, [0, 0], action::TO_TBL, 0, |b| {
            word(word(b, attribute::TABLE, 254), attribute::SUPPRESS_PREFIXLEN, 0)
        });
        assert_eq!(suppressed.unwrap().action, Action::Look { table: 254, longer_than: Some(0) });
        let other_bits = read(libc::AF_INET, [0, 0], action::TO_TBL, 0, |b| {
            word(word(b, attribute::FWMARK, 0x100), attribute::FWMASK, 0xff)
        });
        assert_eq!(other_bits.unwrap().unmarked, Marked::Fits);
    }

    #[test]
    fn what_cannot_be_decided_has_a_name() {
        let beyond = |kind: u16, value: &[u8]| {
            read(libc::AF_INET, [0, 0], action::TO_TBL, 0, |b| b.attribute(kind, value)).unwrap().beyond
        };
        let range = |first: u32, last: u32| [first.to_ne_bytes(), last.to_ne_bytes()].concat();
        assert_eq!(beyond(attribute::UID_RANGE, &range(5, 6)), Some(Beyond::Uid));
        assert_eq!(beyond(attribute::UID_RANGE, &range(0, u32::MAX)), None);
        assert_eq!(beyond(attribute::IP_PROTO, &[6]), Some(Beyond::Protocol));
        assert_eq!(beyond(attribute::DPORT_RANGE, &[80, 0, 80, 0]), Some(Beyond::Port));
        assert_eq!(beyond(attribute::L3MDEV, &[1]), Some(Beyond::Vrf));
        assert_eq!(beyond(attribute::SUPPRESS_IFGROUP, &NO_LIMIT.to_ne_bytes()), None);
        assert_eq!(beyond(attribute::SUPPRESS_IFGROUP, &7_u32.to_ne_bytes()), Some(Beyond::Group));
        assert_eq!(beyond(99, &[1]), Some(Beyond::Unknown));
        let goto = read(libc::AF_INET, [0, 0], action::GOTO, 0, |b| word(b, attribute::GOTO, 5));
        assert_eq!(goto.map(|rule| (rule.action, rule.beyond)), Some((Action::Nothing, Some(Beyond::Goto))));
        let prohibit =
            read(libc::AF_INET, [8, 0], action::PROHIBIT, 0, |b| b.attribute(attribute::DST, &[10, 0, 0, 0]));
        assert_eq!(
            prohibit.map(|r| (r.to, r.action)),
            Some((Some(([10, 0, 0, 0].into(), 8)), Action::Nowhere))
        );
        assert_eq!(read(IPMR, [0, 0], action::TO_TBL, 0, |b| b), None);
    }

    #[test]
    fn this_host_has_the_rule_for_main() {
        let rules = Route::open().unwrap().rules().unwrap();
        let to_main = |rule: &&Rule| matches!(rule.action, Action::Look { table: 254, .. });
        assert!(rules.iter().any(|rule| rule.family == Family::V4 && to_main(&rule)), "{rules:?}");
        assert!(rules.windows(2).all(|w| w[0].family != w[1].family || w[0].priority <= w[1].priority));
    }
}
