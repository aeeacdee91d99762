//! Plans as text, for people and for golden files: the same plan, the same text.
//!
//! It shows what is done and in which order, never how; there is no way back from the text to a plan.

use std::fmt;

use super::{
    checksum::Transport,
    plan::{ItemId, Kind, Mode, Piece, Plan, What, Write},
};
use crate::resolved::{Label, LabelId};

impl Plan {
    /// Its text; labels as the rule that it was made from names them.
    #[must_use]
    pub fn dump<'a>(&'a self, labels: &'a [Label]) -> impl fmt::Display + 'a {
        Dump { plan: self, labels }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patch => "patch",
            Self::Cut => "cut",
            Self::Rebuild => "rebuild",
        })
    }
}

struct Dump<'a> {
    plan: &'a Plan,
    labels: &'a [Label],
}

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan.kind)?;
        for (number, piece) in self.plan.items.iter().enumerate() {
            write!(f, "  item {number}: ")?;
            self.piece(piece, f)?;
        }
        self.plan.writes.iter().try_for_each(|write| self.write(write, f))
    }
}

impl Dump<'_> {
    fn name(&self, label: LabelId) -> &str {
        self.labels.get(usize::from(label.0)).map_or("?", |label| &label.name)
    }

    fn piece(&self, piece: &Piece, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match piece {
            Piece::Label(label) => writeln!(f, "{}", self.name(*label)),
            Piece::Constant(bytes) => writeln!(f, "{}", Hex(bytes)),
            Piece::Zero(label) => writeln!(f, "zeros for {}", self.name(*label)),
            Piece::Unpad { label, ip } => {
                writeln!(f, "{} within the datagram of {}", self.name(*label), self.name(*ip))
            }
            Piece::Loaded { label, .. } => writeln!(f, "{} anonymised", self.name(*label)),
        }
    }

    fn write(&self, write: &Write, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Write { item, offset_bits, bits, what } = write;
        match (offset_bits % 8, bits % 8) {
            (0, 0) => write!(f, "  set {item} bytes {}..{}: ", offset_bits / 8, (offset_bits + bits) / 8)?,
            _ => write!(f, "  set {item} bits {offset_bits}..{}: ", offset_bits + bits)?,
        }
        match what {
            What::Constant(bytes) => writeln!(f, "{}", Hex(bytes)),
            What::Loaded(slot) => {
                let load = self.plan.loads.iter().find(|load| load.slot == *slot);
                match load.map(|load| &load.what) {
                    Some(super::plan::Loaded::Copy(label)) => writeln!(f, "{}", self.name(*label)),
                    Some(super::plan::Loaded::Anonymised(label)) => {
                        writeln!(f, "{} anonymised", self.name(*label))
                    }
                    _ => writeln!(f, "?"),
                }
            }
            What::Len(items) => {
                f.write_str("length of")?;
                items.iter().try_for_each(|item| write!(f, " {item}"))?;
                writeln!(f)
            }
            What::Ipv4 => writeln!(f, "IPv4 checksum"),
            What::Transport { transport, ip, mode } => {
                let (name, mode) = (name_of(*transport), mode_name(*mode));
                writeln!(f, "{name} checksum above {ip}, {mode}")
            }
        }
    }
}

const fn name_of(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Incremental(_) => "incremental",
        Mode::Full => "full",
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Bytes as Ruler writes them; a run of one byte is short.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [first, rest @ ..] if 4 <= self.0.len() && rest.iter().all(|byte| byte == first) => {
                write!(f, "{first:#04x}#{}", self.0.len())
            }
            bytes => {
                f.write_str("hex\"")?;
                for (at, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte:02x}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("\"")
            }
        }
    }
}
