//! The books of a system: everything that came in against everything that became of it.
//!
//! ```text
//! rx + submitted + created = delivered + transmitted + passed + Σ dropped + held
//! ```
//!
//! They are kept by role, from the one registry of counters, so that a new counter is in the books without being
//! named here. Where XDP stands before the engines, `rx` is what XDP saw and the engines' own `rx` is a step on the
//! way; what the kernel lost between the two is a drop with a name. Books are exact only at rest: while packets
//! move, numbers are read one after the other.
use std::collections::BTreeMap;

use abi::counter::{Desc, Role, XdpCounter};

use crate::{engines::Row, port::RxLosses};

/// Books being filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    xdp_rx: Option<u64>,
    engine_rx: u64,
    lost: u64,
    balance: Balance,
}

/// Books closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Packets that came in.
    pub rx: u64,
    /// Packets taken from applications and slices.
    pub submitted: u64,
    /// Copies and replies made here.
    pub created: u64,
    /// Packets that reached a local consumer.
    pub delivered: u64,
    /// Packets that left by a port.
    pub transmitted: u64,
    /// Packets given to the OS stack.
    pub passed: u64,
    /// Packets dropped, by reason; reasons that never occurred are left out.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Packets waiting in a queue.
    pub held: u64,
}

impl Books {
    /// Enters what XDP counted. A system may have several instances; their numbers add up.
    pub fn add_xdp(&mut self, counters: impl IntoIterator<Item = (XdpCounter, u64)>) {
        for (counter, n) in counters {
            match counter.desc().role {
                Role::Rx => self.xdp_rx = Some(self.xdp_rx.unwrap_or(0) + n),
                _ => self.balance.enter(&counter.desc(), n),
            }
        }
    }

    /// Enters what engines counted.
    pub fn add_engines<'a>(&mut self, rows: impl IntoIterator<Item = &'a Row>) {
        for (counter, n) in rows.into_iter().flat_map(Row::counters) {
            match counter.desc().role {
                Role::Rx => self.engine_rx += n,
                _ => self.balance.enter(&counter.desc(), n),
            }
        }
    }

    /// Enters what a port lost before its engine, live or saved when the port was closed.
    pub fn add_losses(&mut self, losses: &RxLosses) {
        let RxLosses { ring_full, no_buffer, bad_descriptor } = *losses;
        let named = [
            ("xsk_ring_full", ring_full),
            ("xsk_no_buffer", no_buffer),
            ("xsk_bad_descriptor", bad_descriptor),
        ];
        for (name, n) in named {
            self.lost += n;
            self.balance.enter(&Desc { name, help: "", role: Role::Dropped }, n);
        }
    }

    /// Enters packets that wait in rings and backlogs.
    pub fn add_held(&mut self, n: u64) {
        self.balance.held += n;
    }

    /// Closes the books.
    #[must_use]
    pub fn close(self) -> Balance {
        Balance { rx: self.xdp_rx.unwrap_or(self.engine_rx + self.lost), ..self.balance }
    }
}

impl Balance {
    fn enter(&mut self, desc: &Desc, n: u64) {
        match desc.role {
            Role::Rx => self.rx += n,
            Role::Submitted => self.submitted += n,
            Role::Created => self.created += n,
            Role::Delivered => self.delivered += n,
            Role::Transmitted => self.transmitted += n,
            Role::Passed => self.passed += n,
            Role::Dropped if n != 0 => *self.dropped.entry(desc.name).or_default() += n,
            Role::Held => self.held += n,
            Role::Dropped | Role::Forwarded | Role::Note => {}
        }
    }

    /// What came in and of which nothing is known: 0, or packets were lost (above) or counted twice (below).
    #[must_use]
    pub fn unaccounted(&self) -> i64 {
        let came = self.rx + self.submitted + self.created;
        let dropped: u64 = self.dropped.values().sum();
        let known = self.delivered + self.transmitted + self.passed + dropped + self.held;
        came.wrapping_sub(known).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{counter::Counter, engines::EngineId, port::PortId};

    fn row(counts: &[(Counter, u64)]) -> Row {
        let mut values = [0; Counter::ALL.len()];
        for &(counter, n) in counts {
            values[counter as usize] = n;
        }
        Row { engine: EngineId::new(0), port: PortId::new(0), values }
    }

    #[test]
    fn xdp_and_engines_are_one_system() {
        let mut books = Books::default();
        let xdp = [(XdpCounter::Rx, 100), (XdpCounter::Redirect, 60), (XdpCounter::PassMiss, 40)];
        books.add_xdp(xdp);
        books.add_engines(&[row(&[
            (Counter::Rx, 57),
            (Counter::FromMeta, 57),
            (Counter::Delivered, 30),
            (Counter::Transmitted, 20),
            (Counter::RxStale, 5),
        ])]);
        books.add_losses(&RxLosses { ring_full: 3, ..RxLosses::default() });
        books.add_held(2);
        let balance = books.close();
        let expected = Balance {
            rx: 100,
            delivered: 30,
            transmitted: 20,
            passed: 40,
            dropped: BTreeMap::from([("rx_stale", 5), ("xsk_ring_full", 3)]),
            held: 2,
            ..Balance::default()
        };
        assert_eq!((balance.unaccounted(), balance), (0, expected));
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_show() {
        let mut books = Books::default();
        books.add_engines(&[row(&[(Counter::Rx, 3), (Counter::Delivered, 2)])]);
        assert_eq!(books.clone().close().unaccounted(), 1);
        books.add_held(2);
        assert_eq!(books.close().unaccounted(), -1);
    }

    #[test]
    fn every_outcome_of_a_packet_is_in_the_books() {
        for &counter in Counter::ALL {
            let mut books = Books::default();
            books.add_engines(&[row(&[(counter, 1)])]);
            let expected = match counter.desc().role {
                Role::Rx | Role::Submitted | Role::Created => 1,
                Role::Note => 0,
                _ => -1,
            };
            assert_eq!(books.close().unaccounted(), expected, "{}", counter.desc().name);
        }
    }
}
