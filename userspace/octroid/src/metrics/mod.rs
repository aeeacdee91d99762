//! One registry of every counter: what the command line, JSON and Prometheus show are these rows and no others.
//!
//! A row is made from a [`Readings`] and from nothing else, so two views of one reading cannot differ. Names are those
//! that the counters have where they are counted (`abi::counter`, `ixp::counter`); this file adds the few that only
//! the daemon can know, and refuses to make sums: the books are added up by role, by whoever wants them.
pub mod endpoint;
pub mod prometheus;

use std::collections::BTreeMap;

use abi::counter::{Desc, Role, XdpCounter};
use client::control::{
    answer::StatRow,
    ruler::{FilterRow, RuleRow},
};
use ixp::counter::Counter;

use multistack::{books::Book, registry::SessionId};

use crate::road::readings::{PortReading, Readings, StackReading, TupleReading};

/// A counter's row with what only Prometheus shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One line for people.
    pub help: &'static str,
    /// The row.
    pub stat: StatRow,
}

/// Redirected before this daemon came.
const EARLIER: Desc = Desc {
    name: "xdp.redirect_earlier",
    help: "frames handed to an earlier daemon, whose own counters ended with it",
    role: Role::Delivered,
};
/// Kernel loss: the receive ring was full.
const XSK_RING_FULL: Desc = Desc {
    name: "xsk_ring_full",
    help: "dropped by the kernel: the receive ring was full",
    role: Role::Dropped,
};
/// Kernel loss: the fill ring was empty.
const XSK_NO_BUFFER: Desc = Desc {
    name: "xsk_no_buffer",
    help: "dropped by the kernel: the fill ring was empty, or the frame longer than a chunk",
    role: Role::Dropped,
};
/// A descriptor that named no frame.
const XSK_BAD_DESCRIPTOR: Desc = Desc {
    name: "xsk_bad_descriptor",
    help: "descriptors from the kernel that named no frame of ours",
    role: Role::Dropped,
};
/// Waiting in engines.
const HELD: Desc =
    Desc { name: "held", help: "packets waiting in backlogs and rings of engines", role: Role::Held };
/// Handed to a target.
const TARGET_PACKETS: Desc =
    Desc { name: "target.packets", help: "packets handed to a target", role: Role::Note };
/// Bytes handed to a target.
const TARGET_BYTES: Desc = Desc {
    name: "target.bytes",
    help: "bytes handed to a target, link-layer header included",
    role: Role::Note,
};

/// Matched by a rule.
const RULER_MATCHED: Desc = Desc {
    name: "ruler.matched",
    help: "packets that workers found a rule to be the first to match",
    role: Role::Note,
};
/// Matched, and not rewritten.
const RULER_REFUSED: Desc = Desc {
    name: "ruler.refused",
    help: "packets that a rule matched and could not rewrite, dropped",
    role: Role::Note,
};
/// Decided in XDP.
const RULER_HEADER: Desc = Desc {
    name: "ruler.header",
    help: "packets for which a header program decided on a rule, claimed or not",
    role: Role::Note,
};
/// Matched by none.
const RULER_UNMATCHED: Desc =
    Desc { name: "ruler.unmatched", help: "packets that no rule of a filter matched", role: Role::Note };

/// Lines of the log.
const LOG_LOST: Desc =
    Desc { name: "log.lost", help: "lines of the log that could not be written at once", role: Role::Note };

/// Every row of a reading, in an order that does not change.
#[must_use]
pub fn rows(readings: &Readings) -> Vec<Row> {
    let mut rows = Vec::new();
    for counter in XdpCounter::ALL {
        rows.push(row(counter.desc(), [], readings.xdp[counter as usize]));
    }
    rows.push(row(EARLIER, [], readings.earlier));
    for port in &readings.ports {
        rows.extend(port_rows(port));
    }
    for engine in &readings.engines {
        rows.push(row(HELD, [("engine", engine.engine.to_string())], engine.pulse.held));
    }
    for (target, packets, bytes) in &readings.targets {
        let labels = || [("kind", target.kind.to_string()), ("tuple", target.tuple.to_string())];
        rows.push(row(TARGET_PACKETS, labels(), *packets));
        rows.push(row(TARGET_BYTES, labels(), *bytes));
    }
    rows.extend(readings.filters.iter().flat_map(filter_rows));
    rows.push(row(LOG_LOST, [], readings.log_lost));
    rows.extend(readings.stacks.iter().flat_map(stack_rows));
    let ended = [("slot", "-"), ("generation", "-"), ("name", "ended")].map(|(key, v)| (key, v.to_owned()));
    rows.extend(book_rows("stack", &readings.ended, &ended));
    rows
}

/// The rows of one filter and of its rules: notes, for what became of the packets is in the books of ports.
fn filter_rows(filter: &FilterRow) -> Vec<Row> {
    let whose = || {
        [
            ("where", filter.at.to_string()),
            ("filter", filter.filter.clone()),
            // Each filter counts from 0, also the next version of the same.
            ("generation", filter.generation.to_string()),
        ]
    };
    let mut rows = vec![row(RULER_UNMATCHED, whose(), filter.unmatched)];
    for RuleRow { rule, line, action, code, matched, refused, header } in &filter.rules {
        let [at, name, generation] = whose();
        let labels = [
            at,
            name,
            generation,
            ("rule", rule.to_string()),
            ("line", line.to_string()),
            ("action", action.clone()),
            ("code", code.to_string()),
        ];
        let counts = [(RULER_MATCHED, *matched), (RULER_REFUSED, *refused), (RULER_HEADER, *header)];
        // A filter may have thousands of rules, most of which never match.
        let moved = counts.into_iter().filter(|(_, value)| *value != 0);
        rows.extend(moved.map(|(desc, value)| row(desc, labels.clone(), value)));
    }
    rows
}

/// The rows of one session and of its tuples.
///
/// They are notes: each is an engine's counter once more, by whose packets they are.
#[must_use]
pub fn stack_rows(stack: &StackReading) -> Vec<Row> {
    let SessionId { slot, generation } = stack.session;
    let whose =
        [("slot", slot.to_string()), ("generation", generation.to_string()), ("name", stack.name.clone())];
    let mut rows: Vec<_> = book_rows("stack", &stack.book, &whose).collect();
    for TupleReading { number, proto, addr, port, book } in &stack.tuples {
        let what = [
            ("tuple", number.to_string()),
            ("proto", proto.to_string()),
            ("addr", addr.to_string()),
            ("port", port.to_string()),
        ];
        let labels: Vec<_> = whose.iter().chain(&what).cloned().collect();
        // A session may have thousands, most of whose counters never move.
        rows.extend(book_rows("tuple", book, &labels).filter(|row| row.stat.value != 0));
    }
    rows
}

fn book_rows<'a>(of: &str, book: &'a Book, labels: &[(&str, String)]) -> impl Iterator<Item = Row> + use<'a> {
    let labels: BTreeMap<_, _> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let of = of.to_owned();
    book.rows().map(move |(counter, value)| Row {
        help: counter.help().trim_ascii(),
        stat: StatRow {
            name: format!("{of}.{}", counter.name()),
            labels: labels.clone(),
            role: Role::Note.into(),
            value,
        },
    })
}

/// The rows of one port.
pub fn port_rows(port: &PortReading) -> impl Iterator<Item = Row> + '_ {
    let labels = || [("interface", port.interface.clone()), ("queue", port.queue.to_string())];
    let losses = [
        (XSK_RING_FULL, port.losses.ring_full),
        (XSK_NO_BUFFER, port.losses.no_buffer),
        (XSK_BAD_DESCRIPTOR, port.losses.bad_descriptor),
    ];
    let engines = Counter::ALL.iter().map(|counter| desc_of(*counter)).zip(port.counters);
    losses.into_iter().chain(engines).map(move |(desc, value)| row(desc, labels(), value))
}

/// What an engine takes from a port came in by XDP already: on the whole road it is handed on, not a beginning.
fn desc_of(counter: Counter) -> Desc {
    let desc = counter.desc();
    if desc.role == Role::Rx { Desc { role: Role::Forwarded, ..desc } } else { desc }
}

fn row<const N: usize>(desc: Desc, labels: [(&str, String); N], value: u64) -> Row {
    let labels: BTreeMap<_, _> = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Row {
        help: desc.help,
        stat: StatRow { name: desc.name.to_owned(), labels, role: desc.role.into(), value },
    }
}

#[cfg(test)]
pub(crate) mod tests;
