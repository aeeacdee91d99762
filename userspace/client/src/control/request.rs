//! The operations: one struct each, its fields the request's fields, and what each of them answers.
//!
//! Values that cannot be (port 0, an instance's name with a slash) are refused here; whether the caller *may* is for
//! the daemon to say.
use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    VERSION,
    answer::{DoctorRow, StatRow, TargetAdded, TargetRow},
    capture::{CaptureStart, CaptureStop},
    datagram,
    refusal::{Code, Refusal},
    ruler::{RulerAttach, RulerDetach, RulerList},
    stack::{ReserveMode, StackAttach, StackList, StackOpen, StackRegister, StackRelease, StackStats},
    status::StatusPage,
};

/// An operation and the type of its answer.
pub trait Call: Serialize {
    /// The value of `op`.
    const OP: &'static str;
    /// What comes back in `ok`.
    type Answer: DeserializeOwned + Serialize;
}

/// An operation whose answer comes in pages.
pub trait Paged: Call {
    /// The request for the page that begins with row `after`.
    fn page(after: u32) -> Self;
    /// The row from which the next page goes on.
    fn next(answer: &Self::Answer) -> Option<u32>;
}

/// One page of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows, in the order of the whole.
    pub rows: Vec<T>,
    /// Ask with this `after` for more; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

macro_rules! paged {
    ($($(#[doc = $doc:literal])+ $name:ident = $op:literal -> $answer:ty;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Leave out the rows before this one.
            #[serde(default)]
            pub after: u32,
        }

        impl Call for $name {
            const OP: &'static str = $op;
            type Answer = $answer;
        }

        impl Paged for $name {
            fn page(after: u32) -> Self {
                Self { after }
            }
            fn next(answer: &Self::Answer) -> Option<u32> {
                answer.next
            }
        }
    )+};
}

// A macro, because four requests with the one field `after` must not drift apart.
paged! {
    /// `target.list`: the targets that are registered.
    TargetList = "target.list" -> Page<TargetRow>;
    /// `status`: the daemon, its interfaces, queues, engines, targets and books.
    GetStatus = "status" -> StatusPage;
    /// `stats`: every counter there is.
    GetStats = "stats" -> Page<StatRow>;
    /// `doctor`: what is right and wrong with this machine and this configuration.
    Doctor = "doctor" -> Page<DoctorRow>;
}

/// `target.add`: registers a builtin target under a tuple. Root only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetAdd {
    /// Which target.
    pub kind: TargetKind,
    /// Transport protocol.
    pub proto: Proto,
    /// Local address, or any of the served interfaces.
    pub addr: LocalAddr,
    /// Local port, not 0.
    pub port: u16,
    /// What becomes of its packets while no daemon runs.
    #[serde(default)]
    pub on_crash: OnCrash,
}

impl Call for TargetAdd {
    const OP: &'static str = "target.add";
    type Answer = TargetAdded;
}

/// `target.remove`: releases a tuple. Root only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRemove {
    /// The number that `target.add` answered.
    pub tuple: u16,
}

impl Call for TargetRemove {
    const OP: &'static str = "target.remove";
    type Answer = super::answer::Done;
}

/// `down`: stops the daemon in order: nothing stays attached or pinned. Root only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Down {}

impl Call for Down {
    const OP: &'static str = "down";
    type Answer = super::answer::Done;
}

/// Any request's operation, as the daemon reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op")]
#[allow(missing_docs, reason = "each variant is the struct it carries")]
pub enum Op {
    #[serde(rename = "target.add")]
    TargetAdd(TargetAdd),
    #[serde(rename = "target.remove")]
    TargetRemove(TargetRemove),
    #[serde(rename = "target.list")]
    TargetList(TargetList),
    #[serde(rename = "status")]
    Status(GetStatus),
    #[serde(rename = "stats")]
    Stats(GetStats),
    #[serde(rename = "doctor")]
    Doctor(Doctor),
    #[serde(rename = "down")]
    Down(Down),
    #[serde(rename = "stack.open")]
    StackOpen(StackOpen),
    #[serde(rename = "stack.register")]
    StackRegister(StackRegister),
    #[serde(rename = "stack.release")]
    StackRelease(StackRelease),
    #[serde(rename = "stack.list")]
    StackList(StackList),
    #[serde(rename = "stack.stats")]
    StackStats(StackStats),
    #[serde(rename = "stack.attach")]
    StackAttach(StackAttach),
    #[serde(rename = "capture.start")]
    CaptureStart(CaptureStart),
    #[serde(rename = "capture.stop")]
    CaptureStop(CaptureStop),
    #[serde(rename = "ruler.attach")]
    RulerAttach(RulerAttach),
    #[serde(rename = "ruler.detach")]
    RulerDetach(RulerDetach),
    #[serde(rename = "ruler.list")]
    RulerList(RulerList),
}

/// One request, as the daemon reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Repeated in the reply.
    pub id: u64,
    /// What to do.
    pub op: Op,
}

/// A datagram that is no request: what to reply, and to which `id` (0 where it could not be read).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The request's id, as far as it could be read.
    pub id: u64,
    /// Why.
    pub refusal: Refusal,
}

/// A target that the engines implement themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Sends every packet back to where it came from.
    Echo,
    /// Counts every packet and frees it.
    Sink,
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say all")]
pub enum Proto {
    Tcp,
    Udp,
    Sctp,
    Dccp,
    UdpLite,
}

/// What XDP does with a tuple's packets while no socket serves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCrash {
    /// Drop and count them: the OS never answers in the target's name.
    #[default]
    Drop,
    /// Pass them to the OS stack.
    Pass,
}

/// A local address, or every one of the served interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LocalAddr {
    /// `"any"`.
    Any,
    /// A literal.
    Ip(IpAddr),
}

/// A word that is not one of those allowed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected {expected}")]
pub struct WordError {
    /// What would have been right.
    pub expected: &'static str,
}

impl TargetKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Echo, Self::Sink];
}

impl Proto {
    /// Every protocol.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp, Self::UdpLite];

    /// The protocol's number in an IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Dccp => 33,
            Self::Sctp => 132,
            Self::UdpLite => 136,
        }
    }
}

/// `FromStr` and `Display` for an enum whose words are those of its JSON form.
macro_rules! words {
    ($($name:ty, $expected:literal: $($word:literal = $value:expr),+;)+) => {$(
        impl FromStr for $name {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(WordError { expected: $expected }),
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == $value { return f.pad($word); })+
                Ok(())
            }
        }
    )+};
}

words! {
    TargetKind, "\"echo\" or \"sink\"": "echo" = Self::Echo, "sink" = Self::Sink;
    Proto, "\"tcp\", \"udp\", \"sctp\", \"dccp\" or \"udplite\"":
        "tcp" = Self::Tcp, "udp" = Self::Udp, "sctp" = Self::Sctp, "dccp" = Self::Dccp, "udplite" = Self::UdpLite;
    OnCrash, "\"drop\" or \"pass\"": "drop" = Self::Drop, "pass" = Self::Pass;
}

impl FromStr for LocalAddr {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        if text == "any" {
            return Ok(Self::Any);
        }
        text.parse().map(Self::Ip).map_err(|_| WordError { expected: "\"any\" or an IPv4 or IPv6 address" })
    }
}

impl TryFrom<String> for LocalAddr {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<LocalAddr> for String {
    fn from(addr: LocalAddr) -> Self {
        addr.to_string()
    }
}

impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("any"),
            Self::Ip(addr) => addr.fmt(f),
        }
    }
}

impl Request {
    /// Reads a request as the daemon does.
    ///
    /// # Errors
    /// [`Malformed`], ready to be replied.
    pub fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut fields = datagram::object(datagram)
            .map_err(|error| Malformed { id: 0, refusal: Code::Einval.because(error) })?;
        let id = fields.remove("id").as_ref().and_then(Value::as_u64);
        let op = Self::check_envelope(&mut fields, id).and_then(|()| {
            serde_json::from_value(Value::Object(fields)).map_err(|error| Code::Einval.because(error))
        });
        match op {
            Ok(op) => Ok(Self { id: id.unwrap_or(0), op }),
            Err(refusal) => Err(Malformed { id: id.unwrap_or(0), refusal }),
        }
    }

    /// Takes `v` away and looks at `op`, so that what is unknown is told apart from what is wrong.
    fn check_envelope(fields: &mut Map<String, Value>, id: Option<u64>) -> Result<(), Refusal> {
        match fields.remove("v").as_ref().map(Value::as_u64) {
            Some(Some(VERSION)) => {}
            Some(Some(other)) => {
                return Err(
                    Code::Eproto.because(format_args!("version {other}, this daemon speaks {VERSION}"))
                );
            }
            _ => return Err(Code::Einval.because("field v: expected the protocol's version")),
        }
        if id.is_none() {
            return Err(Code::Einval.because("field id: expected a number"));
        }
        match fields.get("op").and_then(Value::as_str) {
            Some(op) if Op::NAMES.contains(&op) => Ok(()),
            Some(op) => Err(Code::Eproto.because(format_args!("unknown operation {op:?}"))),
            None => Err(Code::Einval.because("field op: expected the name of an operation")),
        }
    }

    /// Writes a request as the client does.
    ///
    /// # Errors
    /// [`datagram::DatagramError`] if it does not fit.
    pub fn write<C: Call>(id: u64, call: &C) -> Result<Vec<u8>, datagram::DatagramError> {
        #[derive(Serialize)]
        struct Envelope<'a, C> {
            v: u64,
            id: u64,
            op: &'static str,
            #[serde(flatten)]
            call: &'a C,
        }
        datagram::write(&Envelope { v: VERSION, id, op: C::OP, call })
    }
}

impl Op {
    /// Every operation's name.
    pub const NAMES: [&str; 18] = [
        TargetAdd::OP,
        TargetRemove::OP,
        TargetList::OP,
        GetStatus::OP,
        GetStats::OP,
        Doctor::OP,
        Down::OP,
        StackOpen::OP,
        StackRegister::OP,
        StackRelease::OP,
        StackList::OP,
        StackStats::OP,
        StackAttach::OP,
        CaptureStart::OP,
        CaptureStop::OP,
        RulerAttach::OP,
        RulerDetach::OP,
        RulerList::OP,
    ];

    /// How many descriptors come with it at most. Whoever serves it closes any other at once: what nobody asked for is
    /// not kept, not even until the answer.
    #[must_use]
    pub const fn brings(&self) -> usize {
        match self {
            // Sources, and a key.
            Self::RulerAttach(_) => 2,
            // The socket that holds the port.
            Self::StackRegister(StackRegister { reserve: ReserveMode::Fd, .. }) => 1,
            Self::StackRegister(_)
            | Self::TargetAdd(_)
            | Self::TargetRemove(_)
            | Self::TargetList(_)
            | Self::Status(_)
            | Self::Stats(_)
            | Self::Doctor(_)
            | Self::Down(_)
            | Self::StackOpen(_)
            | Self::StackRelease(_)
            | Self::StackList(_)
            | Self::StackStats(_)
            | Self::StackAttach(_)
            | Self::CaptureStart(_)
            | Self::CaptureStop(_)
            | Self::RulerDetach(_)
            | Self::RulerList(_) => 0,
        }
    }

    /// Whether it is an operation of application stacks, for which policy decides and descriptors travel.
    #[must_use]
    pub const fn is_of_stacks(&self) -> bool {
        matches!(
            self,
            Self::StackOpen(_)
                | Self::StackRegister(_)
                | Self::StackRelease(_)
                | Self::StackList(_)
                | Self::StackStats(_)
                | Self::StackAttach(_)
        )
    }

    /// Whether it changes the daemon itself: what only root may. What a stack may is policy's to say.
    #[must_use]
    pub const fn changes(&self) -> bool {
        matches!(
            self,
            Self::TargetAdd(_)
                | Self::TargetRemove(_)
                | Self::Down(_)
                | Self::RulerAttach(_)
                | Self::RulerDetach(_)
        )
    }
}

#[cfg(test)]
pub(super) mod tests;
