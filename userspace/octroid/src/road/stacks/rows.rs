//! What people are shown of sessions and tuples, and who may see it: one's own user's, and for root everybody's.
use std::collections::BTreeMap;

use client::control::{
    answer::StatRow,
    refusal::{Code, Refusal},
    stack::{StackList, StackRow, StackStats},
};
use multistack::{
    policy::Credentials,
    registry::{Owner, Row, Session, SessionId},
};

use super::{super::Road, words};

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
            counters: BTreeMap::new(),
        }
    }

    /// Every counter of every session.
    ///
    /// # Errors
    /// Not everybody may see everybody's.
    pub fn stack_stats(&self, who: &Credentials, stats: &StackStats) -> Result<Vec<StatRow>, Refusal> {
        let scope = Scope { who, all: stats.all, slot: stats.slot };
        scope.check()?;
        let seen = |session: &&Session| scope.has(session.presence.uid(), Some(session.id.slot));
        Ok(self.registry.sessions().filter(seen).flat_map(|session| self.counters_of(session)).collect())
    }

    fn counters_of(&self, session: &Session) -> Vec<StatRow> {
        let SessionId { slot, generation } = session.id;
        let labels = BTreeMap::from([
            ("slot".to_owned(), slot.to_string()),
            ("generation".to_owned(), generation.to_string()),
            ("name".to_owned(), session.name.as_str().to_owned()),
        ]);
        let Some(rings) = self.stacks.rings.get(&session.id) else { return Vec::new() };
        let row = |(counter, value): (abi::shm::counter::ChannelCounter, u64)| StatRow {
            name: counter.name().to_owned(),
            labels: labels.clone(),
            role: counter.role().into(),
            value,
        };
        rings.counters().map(row).collect()
    }
}

fn slot_of(row: &Row<'_>) -> Option<u16> {
    match row.owner {
        Owner::Stack { session, .. } => Some(session.slot),
        Owner::Builtin(_) | Owner::Reserved(_) => None,
    }
}
