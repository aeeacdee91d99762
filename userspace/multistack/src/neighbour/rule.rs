//! Policy routing: which tables are asked for the packets of one local address, one after the other, and for which
//! destinations.
//!
//! It knows rules that can be decided when the picture is made: by source, destination and outgoing interface. Whoever makes
//! the picture has left out the others, and says so. The lookup is that of a socket bound to the interface which has the
//! source address, in a packet without mark that this host itself sends.
use std::net::IpAddr;

use super::{LinkNo, ranges::Ranges};
use crate::prefix::Prefix;

/// A route table's number, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableNo(pub u32);

impl TableNo {
    /// Where routes are unless somebody says otherwise.
    pub const MAIN: Self = Self(254);
}

/// A rule of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its sources; `None` for all.
    pub from: Option<Prefix>,
    /// Its destinations; `None` for all.
    pub to: Option<Prefix>,
    /// Its outgoing interface; `None` for all.
    pub link: Option<LinkNo>,
    /// Whether it is for the packets that are so, or for all others.
    pub sense: Sense,
    /// What it does.
    pub action: Action,
}

/// Which packets a rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sense {
    /// Those that are as it says.
    #[default]
    These,
    /// All but those.
    Others,
}

/// What a rule does with its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// They go by this table, if it has a route for them; else the next rule is asked.
    Look {
        /// Which.
        table: TableNo,
        /// Routes with prefixes of so many bits, or fewer, do not count.
        longer_than: Option<u8>,
    },
    /// They go nowhere: blackhole, unreachable, prohibit.
    Nowhere,
}

/// The rules of both families, each in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Those of IPv4.
    pub v4: Vec<Rule>,
    /// Those of IPv6.
    pub v6: Vec<Rule>,
}

impl Default for Rules {
    /// Those of a host that nobody has touched, as far as they matter here: the table main.
    fn default() -> Self {
        let main = Rule::look(TableNo::MAIN);
        Self { v4: vec![main], v6: vec![main] }
    }
}

impl Rules {
    /// Those of an address's family.
    pub(super) fn of(&self, addr: IpAddr) -> &[Rule] {
        if addr.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    pub(super) const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

impl Rule {
    /// All packets go by this table.
    #[must_use]
    pub const fn look(table: TableNo) -> Self {
        let action = Action::Look { table, longer_than: None };
        Self { from: None, to: None, link: None, sense: Sense::These, action }
    }

    /// To which destinations it is for packets from this address, which `link` has; `None` if to none.
    pub(super) fn scope(&self, link: LinkNo, source: IpAddr) -> Option<Scope> {
        let from = self.from.is_none_or(|from| from.contains(source));
        let mine = from && self.link.is_none_or(|own| own == link);
        match (self.sense, mine, self.to) {
            (Sense::These, false, _) | (Sense::Others, true, None) => None,
            (Sense::These, true, None) | (Sense::Others, false, _) => Some(Scope::All),
            (Sense::These, true, Some(to)) => Some(Scope::In(to)),
            (Sense::Others, true, Some(to)) => Some(Scope::Outside(to)),
        }
    }
}

/// Some destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Scope {
    All,
    In(Prefix),
    Outside(Prefix),
}

/// Whether an address is in a [`Scope`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Within {
    #[default]
    No,
    Yes,
}

impl Scope {
    /// The same, address by address.
    pub(super) fn ranges(&self, span: impl Fn(&Prefix) -> (u128, u128)) -> Ranges<Within> {
        let all = (0, u128::MAX, Within::Yes);
        let spans = match self {
            Self::All => vec![all],
            Self::In(to) => {
                let (first, last) = span(to);
                vec![(first, last, Within::Yes)]
            }
            Self::Outside(to) => {
                let (first, last) = span(to);
                vec![all, (first, last, Within::No)]
            }
        };
        Ranges::nested(spans)
    }
}
