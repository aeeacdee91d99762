//! What a daemon says of itself: the answer of `status`, in pages on the wire and whole for whoever reads it.
use std::{collections::BTreeMap, fmt};

use abi::shm::counter::ChannelCounter;
use serde::{Deserialize, Serialize};

use super::{
    answer::{Role, StatRow, TargetRow},
    instance::InstanceName,
    ruler::{FilterRow, RuleRow, Scope, Where},
};

/// Everything that `status` tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon as a whole.
    #[serde(flatten)]
    pub head: Head,
    /// Interfaces, in the order of the configuration.
    pub interfaces: Vec<InterfaceRow>,
    /// Served receive queues.
    pub queues: Vec<QueueRow>,
    /// Engines.
    pub engines: Vec<EngineRow>,
    /// Registered targets.
    pub targets: Vec<TargetStatus>,
    /// Applications' sessions.
    #[serde(default)]
    pub sessions: Vec<SessionRow>,
    /// Attached filters.
    #[serde(default)]
    pub filters: Vec<FilterStatus>,
    /// Their rules that have matched.
    #[serde(default)]
    pub rules: Vec<RuleStatus>,
}

/// The daemon as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The instance's name.
    pub instance: InstanceName,
    /// The daemon's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Milliseconds since it was ready.
    pub uptime_ms: u64,
    /// The engines' layout: `run-to-completion` or `pipeline`.
    pub layout: String,
    /// The engines' idle strategy: `busy`, `adaptive` or `sleep`.
    pub idle: String,
    /// Where links and maps are pinned; absent with `--no-pin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<String>,
    /// The accounts of all packets since the daemon started.
    pub books: Books,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

/// One page of a [`Status`]: the first one has the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusPage {
    /// On the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Rows of all kinds.
    pub rows: Vec<StatusRow>,
    /// Ask with this `after` for more; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// A row of any kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each variant is the struct it carries")]
pub enum StatusRow {
    Interface(InterfaceRow),
    Queue(QueueRow),
    Engine(EngineRow),
    Target(TargetStatus),
    Session(SessionRow),
    Filter(FilterStatus),
    Rule(RuleStatus),
}

/// One configured interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// The configured name.
    pub name: String,
    /// The device's name now, where it was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its index, while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// `served`, `down`, `absent` or `retrying`.
    pub state: String,
    /// Why it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where XDP runs: `native` or `generic`.
    pub mode: String,
    /// How frames reach the socket: `copy` or `zero-copy`.
    pub copy: String,
    /// Its MTU, while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its MAC address, while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// VLAN tags that claimed frames carry, outermost first.
    pub vlan: Vec<u16>,
    /// Whether it serves transit traffic.
    pub transit: bool,
}

/// One served receive queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRow {
    /// The interface's name.
    pub interface: String,
    /// The queue's number.
    pub queue: u32,
    /// The port's number in the engines.
    pub port: u16,
    /// The engine that receives from it.
    pub engine: u32,
    /// This queue's counters by registry name.
    pub counters: BTreeMap<String, u64>,
    /// Its packet memory.
    #[serde(default)]
    pub umem: Census,
}

/// One engine: a pinned thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineRow {
    /// Its number.
    pub engine: u32,
    /// What it does: `all`, `rx`, `me` or `tx`.
    pub role: String,
    /// The core it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u32>,
    /// `running`, `asleep`, `stalled` or `stopped`.
    pub state: String,
    /// CPU time it has used, in nanoseconds.
    pub cpu_ns: u64,
    /// Rounds since start.
    #[serde(default)]
    pub rounds: u64,
    /// Rounds that moved packets.
    #[serde(default)]
    pub batches: u64,
    /// Packets that wait in its backlogs and in the rings it reads.
    #[serde(default)]
    pub held: u64,
}

/// Where the frames of one queue's packet memory are: `free + fill + out + tx = frames` at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// All frames.
    pub frames: u32,
    /// In the port's own free list.
    pub free: u32,
    /// With the kernel for receiving.
    pub fill: u32,
    /// Held by engines.
    pub out: u32,
    /// With the kernel for sending, and on the way back.
    pub tx: u32,
}

/// One target and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its registration.
    #[serde(flatten)]
    pub target: TargetRow,
    /// Its counters by registry name.
    pub counters: BTreeMap<String, u64>,
}

/// One application's session and what became of its packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u16,
    /// What it calls itself.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
    /// The process that opened it; absent while it is waited for after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Tuples it has.
    pub tuples: u32,
    /// Its counters by registry name.
    pub counters: BTreeMap<String, u64>,
}

/// One attached filter, without its rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilterStatus {
    /// To what.
    #[serde(rename = "where")]
    pub at: Where,
    /// The name after `filter`.
    pub filter: String,
    /// Which packets it judges.
    pub scope: Scope,
    /// Its number.
    pub generation: u64,
    /// How many rules it has.
    pub rules: u32,
    /// Whether a header program runs in XDP.
    pub header: bool,
    /// Why it is slower than a filter should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// Packets that a rule matched, on workers.
    pub matched: u64,
    /// Packets that no rule matched.
    pub unmatched: u64,
}

/// One rule of an attached filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// To what its filter is attached.
    #[serde(rename = "where")]
    pub at: Where,
    /// Its filter's name.
    pub filter: String,
    /// Its filter's number.
    pub generation: u64,
    /// The rule, and what it did.
    #[serde(flatten)]
    pub rule: RuleRow,
}

/// The accounts of all packets: `rx + submitted + created = delivered + transmitted + passed + Σ dropped + held + unaccounted`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Came in.
    pub rx: u64,
    /// Taken from applications and slices.
    pub submitted: u64,
    /// Made here.
    pub created: u64,
    /// Reached a local consumer.
    pub delivered: u64,
    /// Left by a port.
    pub transmitted: u64,
    /// Given to the OS stack.
    pub passed: u64,
    /// Dropped, by reason; reasons without a packet are left out.
    pub dropped: BTreeMap<String, u64>,
    /// Waiting now.
    pub held: u64,
    /// What is missing; at rest 0. Under load packets between two counters show here for a moment.
    pub unaccounted: i64,
}

impl Status {
    /// Puts pages together; `None` if none of them had the head.
    #[must_use]
    pub fn from_pages(pages: impl IntoIterator<Item = StatusPage>) -> Option<Self> {
        let (mut head, mut rows) = (None, Vec::new());
        for page in pages {
            head = head.or(page.head);
            rows.extend(page.rows);
        }
        let mut status = Self {
            head: head?,
            interfaces: Vec::new(),
            queues: Vec::new(),
            engines: Vec::new(),
            targets: Vec::new(),
            sessions: Vec::new(),
            filters: Vec::new(),
            rules: Vec::new(),
        };
        for row in rows {
            match row {
                StatusRow::Interface(row) => status.interfaces.push(row),
                StatusRow::Queue(row) => status.queues.push(row),
                StatusRow::Engine(row) => status.engines.push(row),
                StatusRow::Target(row) => status.targets.push(row),
                StatusRow::Session(row) => status.sessions.push(row),
                StatusRow::Filter(row) => status.filters.push(row),
                StatusRow::Rule(row) => status.rules.push(row),
            }
        }
        Some(status)
    }

    /// The rows in the order of the whole, as the daemon cuts them into pages.
    #[must_use]
    pub fn into_rows(self) -> (Head, Vec<StatusRow>) {
        let rows = self.interfaces.into_iter().map(StatusRow::Interface);
        let rows = rows.chain(self.queues.into_iter().map(StatusRow::Queue));
        let rows = rows.chain(self.engines.into_iter().map(StatusRow::Engine));
        let rows = rows.chain(self.targets.into_iter().map(StatusRow::Target));
        let rows = rows.chain(self.sessions.into_iter().map(StatusRow::Session));
        let rows = rows.chain(self.filters.into_iter().map(StatusRow::Filter));
        let rows = rows.chain(self.rules.into_iter().map(StatusRow::Rule));
        (self.head, rows.collect())
    }
}

impl FilterStatus {
    /// Of an attached filter.
    #[must_use]
    pub fn of(row: &FilterRow) -> Self {
        Self {
            at: row.at.clone(),
            filter: row.filter.clone(),
            scope: row.scope,
            generation: row.generation,
            rules: u32::try_from(row.rules.len()).unwrap_or(u32::MAX),
            header: row.header.instructions.is_some(),
            degraded: row.degraded.clone(),
            matched: row.rules.iter().map(|rule| rule.matched).sum(),
            unmatched: row.unmatched,
        }
    }
}

impl RuleStatus {
    /// Of the rules of an attached filter: those that have matched.
    pub fn of(row: &FilterRow) -> impl Iterator<Item = Self> + '_ {
        let moved = row.rules.iter().filter(|rule| rule.matched != 0 || rule.header != 0);
        moved.map(|rule| Self {
            at: row.at.clone(),
            filter: row.filter.clone(),
            generation: row.generation,
            rule: rule.clone(),
        })
    }
}

impl SessionRow {
    /// Packets that lie or lay in its rings.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.sum(&[ChannelCounter::RxDelivered])
    }

    /// Packets that it sent, by a wire or to another application.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sum(&[ChannelCounter::TxSent, ChannelCounter::TxHairpin])
    }

    /// Packets to it or from it that were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let drops = ChannelCounter::ALL.iter().filter(|c| c.role() == abi::counter::Role::Dropped);
        drops.map(|counter| self.sum(&[*counter])).sum()
    }

    fn sum(&self, counters: &[ChannelCounter]) -> u64 {
        counters.iter().filter_map(|counter| self.counters.get(counter.name())).sum()
    }
}

impl Books {
    /// Adds counters up by their roles.
    #[must_use]
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a StatRow>) -> Self {
        let mut books = Self::default();
        for row in rows {
            match row.role {
                Role::Rx => books.rx += row.value,
                Role::Submitted => books.submitted += row.value,
                Role::Created => books.created += row.value,
                Role::Delivered => books.delivered += row.value,
                Role::Transmitted => books.transmitted += row.value,
                Role::Passed => books.passed += row.value,
                Role::Dropped if row.value != 0 => {
                    *books.dropped.entry(row.name.clone()).or_default() += row.value
                }
                Role::Held => books.held += row.value,
                Role::Dropped | Role::Forwarded | Role::Note => {}
            }
        }
        books.unaccounted = books.difference();
        books
    }

    /// Left side minus right side.
    #[must_use]
    pub fn difference(&self) -> i64 {
        let came = self.rx + self.submitted + self.created;
        let dropped: u64 = self.dropped.values().sum();
        let went = self.delivered + self.transmitted + self.passed + dropped + self.held;
        came.wrapping_sub(went).cast_signed()
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped: u64 = self.dropped.values().sum();
        write!(
            f,
            "rx {} + submitted {} + created {} = delivered {} + transmitted {} + passed {} + dropped {dropped} + held {}",
            self.rx, self.submitted, self.created, self.delivered, self.transmitted, self.passed, self.held
        )?;
        if self.unaccounted == 0 { Ok(()) } else { write!(f, "  (unaccounted {})", self.unaccounted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, role: Role, value: u64) -> StatRow {
        StatRow { name: name.to_owned(), labels: BTreeMap::new(), role, value }
    }

    #[test]
    fn books_add_up_by_role() {
        let rows = [
            row("xdp.rx", Role::Rx, 100),
            row("xdp.redirect", Role::Forwarded, 60),
            row("xdp.pass_miss", Role::Passed, 39),
            row("xdp.drop_no_socket", Role::Dropped, 1),
            row("delivered", Role::Delivered, 20),
            row("transmitted", Role::Transmitted, 30),
            row("rx_stale", Role::Dropped, 3),
            row("rx_stale", Role::Dropped, 4),
            row("rx_unclaimed", Role::Dropped, 0),
            row("held", Role::Held, 2),
        ];
        let books = Books::of(&rows);
        let dropped = BTreeMap::from([("xdp.drop_no_socket".to_owned(), 1), ("rx_stale".to_owned(), 7)]);
        let expected = Books {
            rx: 100,
            delivered: 20,
            transmitted: 30,
            passed: 39,
            dropped,
            held: 2,
            unaccounted: 1,
            ..Books::default()
        };
        assert_eq!(books, expected);
    }

    #[test]
    fn more_out_than_in_is_negative() {
        assert_eq!(Books::of(&[row("delivered", Role::Delivered, 3)]).unaccounted, -3);
    }
}
