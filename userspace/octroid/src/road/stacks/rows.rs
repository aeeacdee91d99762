//! What people are shown of sessions and tuples, and who may see it: one's own user's, and for root everybody's.
use client::control::{
    answer::StatRow,
    refusal::{Code, Refusal},
    stack::{StackList, StackRow, StackStats},
};
use multistack::{
    books::Book,
    policy::Credentials,
    registry::{Owner, Presence, Row, Session, StackTuple},
};

use super::{super::Road, words};
use crate::{
    metrics,
    road::readings::{StackReading, TupleReading},
};

/// Whose rows are asked for.
#[derive(Clone, Copy, Debug)]
struct Scope<'a> {
    who: &'a Credentials,
    all: bool,
    slot: Option<u16>,
}

impl Scope<'_> {
    fn check(&self) -> Result<(), Refusal> {
        if self.all && !self.who.is_root() {
            return Err(Code::Eacces.because("only root may see everybody's"));
        }
        Ok(())
    }

    fn has(&self, uid: u32, slot: Option<u16>) -> bool {
        (self.all || uid == self.who.uid) && self.slot.is_none_or(|wanted| slot == Some(wanted))
    }
}

impl Road {
    /// Tuples and reservations.
    ///
    /// # Errors
    /// Not everybody may see everybody's.
    pub fn stack_rows(&self, who: &Credentials, list: &StackList) -> Result<Vec<StackRow>, Refusal> {
        let scope = Scope { who, all: list.all, slot: list.slot };
        scope.check()?;
        let rows = self.registry.rows().filter(|row| scope.has(row.uid, slot_of(row)));
        Ok(rows.map(|row| self.stack_row(row)).collect())
    }

    fn stack_row(&self, row: Row<'_>) -> StackRow {
        let (slot, number, on_crash) = match row.owner {
            Owner::Stack { session, tuple } => {
                let held = self.registry.session(session).and_then(|session| session.tuples.get(&tuple));
                (Some(session.slot), tuple, held.map(|held| held.on_crash))
            }
            Owner::Builtin(_) | Owner::Reserved(_) => {
                let mut kept = self.registry.reservations();
                (None, 0, kept.find(|(tuple, _)| **tuple == row.tuple).and_then(|(_, kept)| kept.on_crash))
            }
        };
        let rings = match row.owner {
            Owner::Stack { session, .. } => self.stacks.rings.get(&session),
            Owner::Builtin(_) | Owner::Reserved(_) => None,
        };
        let counters = rings.map(|rings| rings.book_of(number));
        let counters = counters.iter().flat_map(Book::rows).map(|(c, n)| (c.name().to_owned(), n)).collect();
        StackRow {
            slot,
            name: row.name.map(str::to_owned),
            tuple: number,
            proto: words::said_proto(row.tuple.proto()),
            addr: words::said_address(row.tuple.addr()),
            port: row.tuple.port(),
            uid: row.uid,
            pid: row.pid.and_then(|pid| u32::try_from(pid).ok()),
            state: words::said_state(row.state),
            on_crash: words::said_on_crash(on_crash.unwrap_or_default()),
            addrs: words::listed(row.addrs),
            counters,
        }
    }

    /// Every counter of every session, and of its tuples.
    ///
    /// # Errors
    /// Not everybody may see everybody's.
    pub fn stack_stats(&self, who: &Credentials, stats: &StackStats) -> Result<Vec<StatRow>, Refusal> {
        let scope = Scope { who, all: stats.all, slot: stats.slot };
        scope.check()?;
        let seen = |reading: &StackReading| scope.has(reading.uid, Some(reading.session.slot));
        let readings = self.stack_readings().into_iter().filter(seen);
        Ok(readings.flat_map(|reading| metrics::stack_rows(&reading)).map(|row| row.stat).collect())
    }

    /// What became of every session's packets.
    #[must_use]
    pub fn stack_readings(&self) -> Vec<StackReading> {
        self.registry.sessions().filter_map(|session| self.stack_reading(session)).collect()
    }

    fn stack_reading(&self, session: &Session) -> Option<StackReading> {
        let rings = self.stacks.rings.get(&session.id)?;
        let tuple = |(&number, held): (&u16, &StackTuple)| TupleReading {
            number,
            proto: words::said_proto(held.tuple.proto()),
            addr: words::said_address(held.tuple.addr()),
            port: held.tuple.port(),
            book: rings.book_of(number),
        };
        Some(StackReading {
            session: session.id,
            name: session.name.as_str().to_owned(),
            uid: session.presence.uid(),
            pid: match &session.presence {
                Presence::Live(who) => u32::try_from(who.pid).ok(),
                Presence::Orphan { .. } => None,
            },
            // Tuples first: a packet between the two readings is the session's and not yet a tuple's.
            tuples: session.tuples.iter().map(tuple).collect(),
            book: rings.book(),
        })
    }
}

fn slot_of(row: &Row<'_>) -> Option<u16> {
    match row.owner {
        Owner::Stack { session, .. } => Some(session.slot),
        Owner::Builtin(_) | Owner::Reserved(_) => None,
    }
}
