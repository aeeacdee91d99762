//! What the operations answer, and the reply that carries it.
//!
//! Requests refuse unknown fields; answers do not, so that a program keeps working when its daemon learns to say more.
use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

use super::{
    VERSION,
    datagram::{self, DatagramError},
    refusal::Refusal,
    request::{LocalAddr, OnCrash, Proto, TargetKind},
};

/// A reply as it travels: exactly one of `ok` and `err`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    v: u64,
    id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    err: Option<Refusal>,
}

/// Why a datagram is not the reply that was waited for.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// Not a message at all.
    #[error(transparent)]
    Datagram(#[from] DatagramError),
    /// A message, but not of this shape.
    #[error("not a reply: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another version of the protocol.
    #[error("the daemon speaks version {given}, this program {VERSION}")]
    Version {
        /// The daemon's.
        given: u64,
    },
    /// The reply to another request.
    #[error("a reply to request {given}, not to {expected}")]
    Id {
        /// The reply's.
        given: u64,
        /// The request's.
        expected: u64,
    },
    /// Neither `ok` nor `err`, or both.
    #[error("a reply must have one of ok and err")]
    Neither,
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Nothing more to say: an empty object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Answer of `target.add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetAdded {
    /// The target's number, for `target.remove`.
    pub tuple: u16,
}

/// One registered target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRow {
    /// Its number.
    pub tuple: u16,
    /// What it does.
    pub kind: TargetKind,
    /// Transport protocol.
    pub proto: Proto,
    /// The address it was registered with.
    pub addr: LocalAddr,
    /// The port it was registered with.
    pub port: u16,
    /// What becomes of its packets while no daemon runs.
    pub on_crash: OnCrash,
    /// The addresses that steer to it now, the first [`MAX_LISTED_ADDRS`] of them.
    pub addrs: Vec<IpAddr>,
}

/// Most addresses in a [`TargetRow`]: a host may have thousands, and a row must fit a datagram.
pub const MAX_LISTED_ADDRS: usize = 64;

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatRow {
    /// Registry name, e.g. `xdp.rx`.
    pub name: String,
    /// Which of those with this name.
    pub labels: BTreeMap<String, String>,
    /// Its place in the books.
    pub role: Role,
    /// The value.
    pub value: u64,
}

/// What a counter means in the books; see `abi::counter::Role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Came in.
    Rx,
    /// Handed on inside.
    Forwarded,
    /// Taken from applications and slices.
    Submitted,
    /// Made here.
    Created,
    /// Reached a local consumer.
    Delivered,
    /// Left by a port.
    Transmitted,
    /// Given to the OS stack.
    Passed,
    /// Dropped, for the reason that the name gives.
    Dropped,
    /// Waiting now.
    Held,
    /// A remark, in no sum.
    Note,
}

/// One thing that `doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorRow {
    /// Stable name of the check, e.g. `kernel.xdp`.
    pub id: String,
    /// What it looked at, if there may be several: an interface's name, a core's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The finding.
    pub status: Health,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it, in one line; absent where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The finding of one check, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, but worse than it could.
    Warn,
    /// Does not work.
    Fail,
}

impl Reply {
    /// The datagram that answers request `id`.
    ///
    /// # Errors
    /// [`DatagramError`] if the answer does not fit; whoever can meet that answers in pages.
    pub fn write(id: u64, outcome: Result<Value, Refusal>) -> Result<Vec<u8>, DatagramError> {
        let (ok, err) = match outcome {
            Ok(value) => (Some(value), None),
            Err(refusal) => (None, Some(refusal)),
        };
        datagram::write(&Self { v: VERSION, id, ok, err })
    }

    /// Reads the reply to request `id`.
    ///
    /// # Errors
    /// [`ReplyError`] if it is none, or a refusal.
    pub fn read<A: DeserializeOwned>(datagram: &[u8], id: u64) -> Result<A, ReplyError> {
        let reply: Self = serde_json::from_value(Value::Object(datagram::object(datagram)?))?;
        if reply.v != VERSION {
            return Err(ReplyError::Version { given: reply.v });
        }
        // A datagram so wrong that its id could not be read is answered with id 0.
        if reply.id != id && !(reply.id == 0 && reply.err.is_some()) {
            return Err(ReplyError::Id { given: reply.id, expected: id });
        }
        match (reply.ok, reply.err) {
            (Some(value), None) => Ok(serde_json::from_value(value)?),
            (None, Some(refusal)) => Err(ReplyError::Refused(refusal)),
            _ => Err(ReplyError::Neither),
        }
    }
}

impl From<abi::counter::Role> for Role {
    fn from(role: abi::counter::Role) -> Self {
        use abi::counter::Role as Abi;
        match role {
            Abi::Rx => Self::Rx,
            Abi::Forwarded => Self::Forwarded,
            Abi::Submitted => Self::Submitted,
            Abi::Created => Self::Created,
            Abi::Delivered => Self::Delivered,
            Abi::Transmitted => Self::Transmitted,
            Abi::Passed => Self::Passed,
            Abi::Dropped => Self::Dropped,
            Abi::Held => Self::Held,
            Abi::Note => Self::Note,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rx => "rx",
            Self::Forwarded => "forwarded",
            Self::Submitted => "submitted",
            Self::Created => "created",
            Self::Delivered => "delivered",
            Self::Transmitted => "transmitted",
            Self::Passed => "passed",
            Self::Dropped => "dropped",
            Self::Held => "held",
            Self::Note => "note",
        })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}
