//! What is sent through the filters of interface and targets, and what must become of each frame.
//!
//! Frames are written with etherparse, checksums and all, and so are the answers: nothing of Ruler's has a say in what is
//! expected of it.
use anyhow::Result;
use octroi_tests::lab::{Flow, Pair};

use super::{ECHO, OS_CLOSED, SINK, SLAMMED, VEILED, veiled};

/// The least source port. The others follow: the `n`-th frame of a kind has the `n`-th.
pub(super) const SPORT: u16 = 20_000;

/// Bytes of payload where it does not matter.
pub(super) const PAYLOAD: usize = 100;

/// What SQL Slammer's packets have in them.
const SLAMMER: [u8; 4] = [0xdc, 0xc9, 0xb0, 0x42];

/// A kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For a port of the OS stack that the gate closes.
    Closed,
    /// For the sink, by IPv6, which the gate rejects by its headers.
    SinkV6,
    /// For the sink, with what the gate finds in the payload.
    Stealing,
    /// For the sink, without.
    Harmless,
    /// For the echo: two lines, of which the first comes back.
    Lines,
    /// For the echo, by IPv6, which the gate leaves alone.
    EchoV6,
    /// For the sink whose own filter knows old worms: one of them.
    Worm,
    /// For the same sink, and none.
    NoWorm,
    /// For the echo whose own filter anonymises.
    Veiled,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Closed,
        Self::SinkV6,
        Self::Stealing,
        Self::Harmless,
        Self::Lines,
        Self::EchoV6,
        Self::Worm,
        Self::NoWorm,
        Self::Veiled,
    ];

    /// How many are sent: of each kind another number, and no two sums that are checked are equal by chance.
    pub(super) const fn count(self) -> u16 {
        match self {
            Self::Closed => 1010,
            Self::SinkV6 => 920,
            Self::Stealing => 830,
            Self::Harmless => 740,
            Self::Lines => 650,
            Self::EchoV6 => 560,
            Self::Worm => 470,
            Self::NoWorm => 380,
            Self::Veiled => 290,
        }
    }

    /// The number of frames of these kinds.
    pub(super) fn sum(kinds: &[Self]) -> u64 {
        kinds.iter().map(|kind| u64::from(kind.count())).sum()
    }

    /// The flow of the `n`-th frame.
    pub(super) fn flow(self, pair: &Pair, n: u16) -> Flow {
        let (family, port): (fn(_, _, _, _) -> _, _) = match self {
            Self::Closed => (Flow::v4, OS_CLOSED),
            Self::Stealing | Self::Harmless => (Flow::v4, SINK),
            Self::Lines => (Flow::v4, ECHO),
            Self::Worm | Self::NoWorm => (Flow::v4, SLAMMED),
            Self::Veiled => (Flow::v4, VEILED),
            Self::SinkV6 => (Flow::v6, SINK),
            Self::EchoV6 => (Flow::v6, ECHO),
        };
        let flow = family(&pair.peer, SPORT + n, &pair.served, port);
        match self {
            Self::Veiled => veiled::from_elsewhere(flow, n),
            _ => flow,
        }
    }

    /// The `n`-th frame.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn frame(self, pair: &Pair, n: u16) -> Result<Vec<u8>> {
        self.flow(pair, n).udp(&[], &self.payload(n))
    }

    /// What must come back for the `n`-th frame, if it can be told beforehand.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn answer(self, pair: &Pair, n: u16) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Lines => self.flow(pair, n).reversed().udp(&[], first_line(n).as_bytes()).map(Some),
            Self::EchoV6 => self.untouched(pair, n).map(Some),
            _ => Ok(None),
        }
    }

    /// What comes back for the `n`-th frame from an echo that no filter stands before.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn untouched(self, pair: &Pair, n: u16) -> Result<Vec<u8>> {
        self.flow(pair, n).reversed().udp(&[], &self.payload(n))
    }

    fn payload(self, n: u16) -> Vec<u8> {
        match self {
            Self::Stealing => hidden(n, b"GET /../../etc/passwd"),
            Self::Worm => [&[4], &hidden(n, &SLAMMER)[..]].concat(),
            Self::Lines => format!("{}what nobody needs to know\r\n", first_line(n)).into_bytes(),
            _ => hidden(n, &[]),
        }
    }
}

fn first_line(n: u16) -> String {
    format!("line {n} of many\r\n")
}

/// Something at a place that changes from frame to frame, in [`PAYLOAD`] bytes that are none of the marks.
fn hidden(n: u16, what: &[u8]) -> Vec<u8> {
    let mut payload = vec![b'.'; PAYLOAD];
    let at = usize::from(n) % (PAYLOAD - what.len());
    payload[at..at + what.len()].copy_from_slice(what);
    payload
}

/// All frames, kinds by turns.
///
/// # Errors
/// One cannot be written.
pub(super) fn frames(pair: &Pair) -> Result<Vec<Vec<u8>>> {
    turns().map(|(kind, n)| kind.frame(pair, n)).collect()
}

/// All answers that can be told beforehand.
///
/// # Errors
/// One cannot be written.
pub(super) fn answers(pair: &Pair) -> Result<Vec<Vec<u8>>> {
    turns().filter_map(|(kind, n)| kind.answer(pair, n).transpose()).collect()
}

fn turns() -> impl Iterator<Item = (Kind, u16)> {
    let most = Kind::ALL.iter().map(|kind| kind.count()).max().unwrap_or(0);
    (0..most)
        .flat_map(|n| Kind::ALL.into_iter().filter(move |kind| n < kind.count()).map(move |kind| (kind, n)))
}
