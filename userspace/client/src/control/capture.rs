//! Capturing: which packets of the engines a program wants to see, and what it is told about how to read them.
//!
//! The packets do not come this way. With the answer to `capture.start` come two descriptors, the regions that
//! `abi::capture` lays out; a capture lives as long as its connection, or until `capture.stop`.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::request::{Call, LocalAddr, Proto};

/// Captures of one daemon at once.
pub const MAX_CAPTURES: usize = 4;
/// Tuples of one capture.
pub const MAX_TUPLES: usize = 16;

/// Where packets are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Point {
    /// When a worker receives them.
    Rx,
    /// When they leave.
    Tx,
    /// When they are dropped.
    Drop,
}

/// A tuple whose packets are wanted: those that come to it, and those that leave from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuple {
    /// Transport protocol.
    pub proto: Proto,
    /// Local address, or any.
    pub addr: LocalAddr,
    /// Local port, not 0.
    pub port: u16,
}

/// `capture.start`: begins to show packets. Root, or for tuples of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureStart {
    /// Where; at least one point.
    pub at: Vec<Point>,
    /// Of which tuples, at most [`MAX_TUPLES`]; none means every packet, which is for root.
    #[serde(default)]
    pub tuples: Vec<Tuple>,
    /// Most bytes of a packet, not 0.
    #[serde(default = "whole")]
    pub snaplen: u16,
}

/// Answer of `capture.start`; the regions down and up come with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStarted {
    /// The capture's number.
    pub capture: u32,
    /// Names of interfaces, by the number that records have.
    pub interfaces: Vec<String>,
    /// Receive queues, by the number of the port.
    pub queues: Vec<u32>,
    /// Names of the reasons for which packets are dropped, by their number.
    pub reasons: Vec<String>,
}

/// `capture.stop`: nothing more is shown after the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureStop {}

const fn whole() -> u16 {
    abi::capture::MAX_SNAPLEN
}

impl Call for CaptureStart {
    const OP: &'static str = "capture.start";
    type Answer = CaptureStarted;
}

impl Call for CaptureStop {
    const OP: &'static str = "capture.stop";
    type Answer = super::answer::Done;
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 3] = [Self::Rx, Self::Tx, Self::Drop];

    /// As it stands in a record.
    #[must_use]
    pub const fn seen(self) -> abi::capture::Point {
        match self {
            Self::Rx => abi::capture::Point::Rx,
            Self::Tx => abi::capture::Point::Tx,
            Self::Drop => abi::capture::Point::Drop,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proto, addr, port } = self;
        match addr {
            LocalAddr::Ip(addr) if addr.is_ipv6() => write!(f, "{proto} [{addr}]:{port}"),
            _ => write!(f, "{proto} {addr}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        refusal::Code,
        request::{Op, tests::read},
    };

    #[test]
    fn requests_have_their_names_and_defaults() {
        let tuple = Tuple { proto: Proto::Udp, addr: LocalAddr::Any, port: 53 };
        let start = CaptureStart { at: vec![Point::Rx, Point::Drop], tuples: vec![tuple], snaplen: 128 };
        let text = r#""op":"capture.start","at":["rx","drop"],"tuples":[{"proto":"udp","addr":"any","port":53}],"snaplen":128"#;
        assert_eq!(read(text), Ok(Op::CaptureStart(start.clone())));
        let all = CaptureStart { tuples: Vec::new(), snaplen: 65_535, ..start };
        assert_eq!(read(r#""op":"capture.start","at":["rx","drop"]"#), Ok(Op::CaptureStart(all)));
        assert_eq!(read(r#""op":"capture.stop""#), Ok(Op::CaptureStop(CaptureStop {})));
        for bad in [
            r#""op":"capture.start""#,
            r#""op":"capture.start","at":["everywhere"]"#,
            r#""op":"capture.start","at":["rx"],"snaplen":65536"#,
            r#""op":"capture.start","at":["rx"],"uid":0"#,
            r#""op":"capture.start","at":["rx"],"tuples":[{"proto":"icmp","addr":"any","port":1}]"#,
            r#""op":"capture.stop","capture":1"#,
        ] {
            assert_eq!(read(bad), Err(Code::Einval), "{bad}");
        }
    }
}
