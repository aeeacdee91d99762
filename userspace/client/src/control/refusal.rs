//! Why the daemon refuses: a closed list of codes, each with the sentence that explains this case.
//!
//! A code is what programs branch on, `detail` is for people. Nobody may branch on `detail`.
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What kind of refusal it is. The names are errno's, as they appear on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Code {
    /// Malformed: not JSON, too deep, an unknown field, a value that cannot be.
    Einval,
    /// A version or an operation that this daemon does not speak.
    Eproto,
    /// Policy: this user may not.
    Eacces,
    /// Nothing such is registered.
    Enoent,
    /// A lease that is unknown or past its grace.
    Estale,
    /// The tuple, or one address of its `any`, belongs to somebody else.
    Ebusy,
    /// A socket of the OS holds the port.
    Eaddrinuse,
    /// The address is on no interface that is served.
    Eaddrnotavail,
    /// The interface is being detached.
    Enetdown,
    /// A limit is reached; the refusal carries it.
    Enospc,
    /// The kernel refused a call that the daemon made on the caller's behalf.
    Eio,
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How much it would have been.
    pub given: u64,
    /// How much may be.
    pub limit: u64,
}

/// A refused request: field `err` of a reply.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// What programs branch on.
    pub code: Code,
    /// What people read.
    pub detail: String,
    /// With [`Code::Enospc`]: the limit.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 11] = [
        Self::Einval,
        Self::Eproto,
        Self::Eacces,
        Self::Enoent,
        Self::Estale,
        Self::Ebusy,
        Self::Eaddrinuse,
        Self::Eaddrnotavail,
        Self::Enetdown,
        Self::Enospc,
        Self::Eio,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Einval => "EINVAL",
            Self::Eproto => "EPROTO",
            Self::Eacces => "EACCES",
            Self::Enoent => "ENOENT",
            Self::Estale => "ESTALE",
            Self::Ebusy => "EBUSY",
            Self::Eaddrinuse => "EADDRINUSE",
            Self::Eaddrnotavail => "EADDRNOTAVAIL",
            Self::Enetdown => "ENETDOWN",
            Self::Enospc => "ENOSPC",
            Self::Eio => "EIO",
        }
    }

    /// Whether the same request may be granted later, with nothing changed by whoever asks: the others say something of
    /// the request, of the user, or of what is gone for good.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Ebusy
            | Self::Eaddrinuse
            | Self::Eaddrnotavail
            | Self::Enetdown
            | Self::Enospc
            | Self::Eio => true,
            Self::Einval | Self::Eproto | Self::Eacces | Self::Enoent | Self::Estale => false,
        }
    }

    /// A refusal with this code.
    pub fn because(self, detail: impl fmt::Display) -> Refusal {
        Refusal { code: self, detail: detail.to_string(), limit: None }
    }
}

impl Refusal {
    /// A limit is reached.
    pub fn limit(what: impl fmt::Display, given: u64, limit: u64) -> Self {
        Self { limit: Some(Limit { given, limit }), ..Code::Enospc.because(what) }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_those_of_display() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
        }
    }

    #[test]
    fn a_limit_travels_beside_the_code() {
        let refusal = Refusal::limit("connections of uid 7", 65, 64);
        let text = serde_json::to_string(&refusal).unwrap();
        assert_eq!(text, r#"{"code":"ENOSPC","detail":"connections of uid 7","given":65,"limit":64}"#);
        assert_eq!(serde_json::from_str::<Refusal>(&text).unwrap(), refusal);
        let plain = Code::Enoent.because("no tuple 9");
        let text = serde_json::to_string(&plain).unwrap();
        assert_eq!(text, r#"{"code":"ENOENT","detail":"no tuple 9"}"#);
        assert_eq!(serde_json::from_str::<Refusal>(&text).unwrap(), plain);
    }
}
