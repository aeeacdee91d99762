//! The operations of application stacks: open a session, register tuples, list, count, attach again.
//!
//! Whoever asks is known by the kernel's word, never by a field. Descriptors travel beside the JSON: a reply to
//! `stack.open` and `stack.attach` brings the down region, the up region and one bell per channel, in this order; a
//! `stack.register` whose `reserve` is `"fd"` brings the bound socket.
use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    answer::{Done, StatRow},
    refusal::{Code, Refusal},
    request::{Call, LocalAddr, OnCrash, Page, Paged, Proto},
};

pub use abi::shm::MAX_NAME as MAX_STACK_NAME;

/// Most tuples that the answer to `stack.attach` names: it must fit a datagram. `stack.list` has all.
pub const MAX_ATTACHED_TUPLES: usize = 2048;

/// `stack.open`: makes this connection a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackOpen {
    /// What people see in lists: 1 to [`MAX_STACK_NAME`] bytes, no control characters.
    pub name: String,
    /// Slots of each Rx ring: a power of two from 64 to 4096.
    #[serde(default = "default_slots")]
    pub rx_slots: u32,
    /// Slots of each Tx ring: a power of two from 64 to 4096.
    #[serde(default = "default_slots")]
    pub tx_slots: u32,
    /// Frames may bring Ethernet headers of their own.
    #[serde(default)]
    pub l2: bool,
}

/// Answer of `stack.open`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackOpened {
    /// The session's slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u16,
    /// What to attach with after the daemon was restarted. A secret.
    pub lease: Lease,
    /// Channels: one bell each.
    pub channels: u16,
    /// Bytes of a slot.
    pub slot_size: u32,
    /// Longest IP packet.
    pub mtu: u32,
}

/// `stack.register`: takes a tuple.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackRegister {
    /// Transport protocol.
    pub proto: Proto,
    /// Local address, or any of the served interfaces.
    pub addr: LocalAddr,
    /// Local port; 0 lets the daemon choose one.
    pub port: u16,
    /// Who holds the port against the OS stack.
    #[serde(default)]
    pub reserve: ReserveMode,
    /// What becomes of its packets while no daemon runs. Not said, it is what the administrator reserved the tuple with,
    /// else dropped; a reservation that does not say leaves it to the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_crash: Option<OnCrash>,
    /// ICMP errors that quote this tuple are delivered too.
    #[serde(default)]
    pub icmp: bool,
    /// Root, without a session: keep the tuple for applications of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// Answer of `stack.register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRegistered {
    /// The tuple's number within the session.
    pub tuple: u16,
    /// Its port.
    pub port: u16,
    /// The addresses that steer to it now, the first `MAX_LISTED_ADDRS` of them.
    pub addrs: Vec<IpAddr>,
}

/// `stack.release`: gives a tuple back, by its number or by what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackRelease {
    /// Its number within the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuple: Option<u16>,
    /// Its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proto: Option<Proto>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<LocalAddr>,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Root: even if it is another's.
    #[serde(default)]
    pub force: bool,
}

/// What a [`StackRelease`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The tuple with this number.
    Number(u16),
    /// The tuple itself.
    Tuple {
        /// Its protocol.
        proto: Proto,
        /// Its address.
        addr: LocalAddr,
        /// Its port.
        port: u16,
    },
}

/// `stack.attach`: takes a session up again after the daemon was restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackAttach {
    /// What `stack.open` answered.
    pub lease: Lease,
}

/// Answer of `stack.attach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackAttached {
    /// As `stack.open` answers.
    #[serde(flatten)]
    pub opened: StackOpened,
    /// The tuples that the session still has, the first [`MAX_ATTACHED_TUPLES`] of them.
    pub tuples: Vec<u16>,
}

macro_rules! stack_pages {
    ($($(#[doc = $doc:literal])+ $name:ident = $op:literal -> $row:ty;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Root: everybody's.
            #[serde(default)]
            pub all: bool,
            /// Only this session's.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub slot: Option<u16>,
            /// Leave out the rows before this one.
            #[serde(default)]
            pub after: u32,
        }

        impl Call for $name {
            const OP: &'static str = $op;
            type Answer = Page<$row>;
        }

        impl Paged for $name {
            fn page(after: u32) -> Self {
                Self { after, ..Self::default() }
            }
            fn next(answer: &Self::Answer) -> Option<u32> {
                answer.next
            }
        }
    )+};
}

// A macro, because two requests with the same three fields must not drift apart.
stack_pages! {
    /// `stack.list`: tuples and who has them.
    StackList = "stack.list" -> StackRow;
    /// `stack.stats`: the counters of sessions and tuples.
    StackStats = "stack.stats" -> StatRow;
}

/// One tuple and its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRow {
    /// The session's slot; absent for a reservation nobody has taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u16>,
    /// The session's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tuple's number within the session.
    pub tuple: u16,
    /// Transport protocol.
    pub proto: Proto,
    /// The address it was registered with.
    pub addr: LocalAddr,
    /// Its port.
    pub port: u16,
    /// Whose it is.
    pub uid: u32,
    /// The process that opened the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How it is.
    pub state: TupleState,
    /// What becomes of its packets while no daemon runs.
    pub on_crash: OnCrash,
    /// The addresses that steer to it now, the first `MAX_LISTED_ADDRS` of them.
    pub addrs: Vec<IpAddr>,
    /// Its counters by registry name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}

/// How a tuple is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TupleState {
    /// Kept for a user; no application has it.
    Reserved,
    /// Packets flow.
    Live,
    /// Packets flow, but its owner has weakened the socket that holds the port.
    Weak,
    /// Packets flow, and no socket can hold the port: this kernel does not know the protocol.
    Unreserved,
    /// Its owner has not come back yet after a restart of the daemon.
    Orphan,
    /// Its address is on no served interface now.
    Suspended,
}

/// Who holds a port against the OS stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReserveMode {
    /// The daemon binds a placeholder.
    #[default]
    Daemon,
    /// The application brings a bound socket.
    Fd,
}

/// What proves that a session is one's own: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lease(u128);

/// A text is not a lease.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a lease has 32 hexadecimal digits")]
pub struct LeaseError;

const fn default_slots() -> u32 {
    abi::shm::layout::DEFAULT_SLOTS
}

impl Call for StackOpen {
    const OP: &'static str = "stack.open";
    type Answer = StackOpened;
}

impl Call for StackRegister {
    const OP: &'static str = "stack.register";
    type Answer = StackRegistered;
}

impl Call for StackRelease {
    const OP: &'static str = "stack.release";
    type Answer = Done;
}

impl Call for StackAttach {
    const OP: &'static str = "stack.attach";
    type Answer = StackAttached;
}

impl StackRelease {
    /// The release of the tuple with this number.
    #[must_use]
    pub fn number(tuple: u16) -> Self {
        Self { tuple: Some(tuple), ..Self::default() }
    }

    /// What is to be released.
    ///
    /// # Errors
    /// EINVAL: neither a number alone nor all three fields of a tuple.
    pub fn which(&self) -> Result<Which, Refusal> {
        match (self.tuple, self.proto, self.addr, self.port) {
            (Some(tuple), None, None, None) => Ok(Which::Number(tuple)),
            (None, Some(proto), Some(addr), Some(port)) => Ok(Which::Tuple { proto, addr, port }),
            _ => Err(Code::Einval.because("expected tuple, or proto, addr and port")),
        }
    }
}

impl Lease {
    /// The lease with these bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl FromStr for Lease {
    type Err = LeaseError;

    fn from_str(text: &str) -> Result<Self, LeaseError> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if digits {
            u128::from_str_radix(text, 16).map(Self).map_err(|_| LeaseError)
        } else {
            Err(LeaseError)
        }
    }
}

impl TryFrom<String> for Lease {
    type Error = LeaseError;

    fn try_from(text: String) -> Result<Self, LeaseError> {
        text.parse()
    }
}

impl From<Lease> for String {
    fn from(lease: Lease) -> Self {
        format!("{:032x}", lease.0)
    }
}

/// Not its bits: logs are read by others.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease(…)")
    }
}

impl fmt::Display for TupleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reserved => "reserved",
            Self::Live => "live",
            Self::Weak => "weak",
            Self::Unreserved => "unreserved",
            Self::Orphan => "orphan",
            Self::Suspended => "suspended",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::{Op, tests::read};

    #[test]
    fn requests_have_the_specified_names_and_defaults() {
        let open = StackOpen { name: "web".into(), rx_slots: 256, tx_slots: 256, l2: false };
        assert_eq!(read(r#""op":"stack.open","name":"web""#), Ok(Op::StackOpen(open)));
        let register = StackRegister {
            proto: Proto::Udp,
            addr: LocalAddr::Any,
            port: 53,
            reserve: ReserveMode::Fd,
            on_crash: Some(OnCrash::Pass),
            icmp: true,
            uid: None,
        };
        let text = r#""op":"stack.register","proto":"udp","addr":"any","port":53,"reserve":"fd","on_crash":"pass","icmp":true"#;
        assert_eq!(read(text), Ok(Op::StackRegister(register)));
        let plain = StackRegister {
            proto: Proto::Tcp,
            addr: LocalAddr::Any,
            port: 80,
            reserve: ReserveMode::Daemon,
            on_crash: None,
            icmp: false,
            uid: None,
        };
        assert!(
            !serde_json::to_string(&plain).unwrap().contains("on_crash"),
            "older daemons know their default"
        );
        let text = r#""op":"stack.register","proto":"tcp","addr":"any","port":80"#;
        assert_eq!(read(text), Ok(Op::StackRegister(plain)));
        assert_eq!(read(r#""op":"stack.release","tuple":3"#), Ok(Op::StackRelease(StackRelease::number(3))));
        let list = StackList { all: true, slot: Some(2), after: 9 };
        assert_eq!(read(r#""op":"stack.list","all":true,"slot":2,"after":9"#), Ok(Op::StackList(list)));
        assert_eq!(read(r#""op":"stack.stats""#), Ok(Op::StackStats(StackStats::default())));
        let lease = "0123456789abcdef0123456789abcdef";
        let attach = StackAttach { lease: lease.parse().unwrap() };
        assert_eq!(read(&format!(r#""op":"stack.attach","lease":"{lease}""#)), Ok(Op::StackAttach(attach)));
        assert_eq!(String::from(Lease::from_bits(0xAB)), format!("{:0>32}", "ab"));
    }

    #[test]
    fn what_is_not_known_or_cannot_be_is_refused() {
        for bad in [
            r#""op":"stack.open""#,
            r#""op":"stack.open","name":"x","uid":0"#,
            r#""op":"stack.open","name":"x","rx_slots":-1"#,
            r#""op":"stack.register","proto":"icmp","addr":"any","port":1"#,
            r#""op":"stack.register","proto":"udp","addr":"all","port":1"#,
            r#""op":"stack.register","proto":"udp","addr":"any","port":65536"#,
            r#""op":"stack.register","proto":"udp","addr":"any","port":1,"reserve":"none""#,
            r#""op":"stack.attach","lease":"abc""#,
            r#""op":"stack.attach","lease":"+123456789abcdef0123456789abcdef0""#,
            r#""op":"stack.release","number":1"#,
        ] {
            assert_eq!(read(bad), Err(Code::Einval), "{bad}");
        }
    }

    #[test]
    fn a_release_names_one_thing() {
        let tuple = StackRelease {
            proto: Some(Proto::Tcp),
            addr: Some(LocalAddr::Any),
            port: Some(80),
            ..StackRelease::default()
        };
        let expected = Which::Tuple { proto: Proto::Tcp, addr: LocalAddr::Any, port: 80 };
        assert_eq!(tuple.which(), Ok(expected));
        assert_eq!(StackRelease::number(4).which(), Ok(Which::Number(4)));
        for bad in [StackRelease { tuple: Some(1), ..tuple.clone() }, StackRelease { port: None, ..tuple }] {
            assert_eq!(bad.which().unwrap_err().code, Code::Einval);
        }
        assert_eq!(StackRelease::default().which().unwrap_err().code, Code::Einval);
    }

    #[test]
    fn a_lease_is_not_for_logs() {
        assert_eq!(format!("{:?}", Lease::from_bits(7)), "Lease(…)");
    }
}
