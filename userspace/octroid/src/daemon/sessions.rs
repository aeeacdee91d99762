//! Which connection has which session, what it asks for, and what it is told.
//!
//! A session lives as long as its connection: when that ends, for whatever reason, so does the session. News for a session
//! whose application has not come back yet wait for it.
use std::{collections::BTreeMap, os::fd::OwnedFd, time::Duration};

use client::control::{
    answer::Done,
    event::Event,
    refusal::{Code, Refusal},
    request::Op,
};
use multistack::registry::{self, SessionId};
use serde_json::Value;

use super::{
    answers::{page, value},
    instance::Instance,
};
use crate::{
    control::listener::{Asked, Id},
    road::stacks::{operations::Asker, words},
};

/// Who has what.
#[derive(Debug, Default)]
pub struct Sessions {
    by_connection: BTreeMap<Id, SessionId>,
    waiting: BTreeMap<SessionId, Vec<Event>>,
}

/// An answer, and the descriptors that go with it.
pub(super) type Outcome = Result<(Value, Vec<OwnedFd>), Refusal>;

impl Sessions {
    /// The session of a connection.
    #[must_use]
    pub fn of(&self, connection: Id) -> Option<SessionId> {
        self.by_connection.get(&connection).copied()
    }

    /// A connection has a session now; returns what waited for it.
    fn begin(&mut self, connection: Id, session: SessionId) -> Vec<Event> {
        self.by_connection.insert(connection, session);
        self.waiting.remove(&session).unwrap_or_default()
    }

    /// A connection has ended, and with it its session.
    pub fn end(&mut self, connection: Id) -> Option<SessionId> {
        self.by_connection.remove(&connection)
    }

    /// Whom to tell an event, and how; `None` while nobody is there.
    pub fn address(&mut self, event: &registry::Event) -> Option<(Id, Event)> {
        let said = words::said_event(event);
        let mut all = self.by_connection.iter();
        let Some((&connection, _)) = all.find(|(_, session)| **session == event.session) else {
            self.waiting.entry(event.session).or_default().push(said);
            return None;
        };
        if matches!(event.news, registry::News::SessionRevoked { .. }) {
            self.by_connection.remove(&connection);
        }
        Some((connection, said))
    }

    /// Forgets what waits for sessions that nobody can come back to.
    pub fn keep_waiting(&mut self, exists: impl Fn(SessionId) -> bool) {
        self.waiting.retain(|&session, _| exists(session));
    }
}

/// Whether an operation is one of stacks: asked by a connection, not by whoever looks at the daemon.
pub(super) const fn concerns(op: &Op) -> bool {
    matches!(
        op,
        Op::StackOpen(_)
            | Op::StackAttach(_)
            | Op::StackRegister(_)
            | Op::StackRelease(_)
            | Op::StackList(_)
            | Op::StackStats(_)
    )
}

/// Answers a request of an application, and returns what it is to be told after the answer.
pub(super) fn outcome(
    sessions: &mut Sessions,
    instance: &mut Instance,
    asked: Asked,
    now: Duration,
) -> (Outcome, Vec<Event>) {
    let Asked { from, who, request, lent } = asked;
    let session = sessions.of(from);
    let road = &mut instance.road;
    let asker = Asker { who: &who, session };
    let mut news = Vec::new();
    let one = || match session {
        Some(session) => Err(Code::Ebusy.because(format_args!("this connection has session {session}"))),
        None => Ok(()),
    };
    let outcome = match &request.op {
        Op::StackOpen(open) => {
            one().and_then(|()| road.open_stack(&who, open)).and_then(|(id, opened, fds)| {
                sessions.begin(from, id);
                tracing::info!(session = %id, uid = who.uid, pid = who.pid, name = open.name, "opened");
                Ok((value(&opened)?, fds))
            })
        }
        Op::StackAttach(attach) => {
            one().and_then(|()| road.attach_stack(&who, attach.lease, now)).and_then(|(id, attached, fds)| {
                news = sessions.begin(from, id);
                tracing::info!(session = %id, uid = who.uid, pid = who.pid, "attached");
                Ok((value(&attached)?, fds))
            })
        }
        Op::StackRegister(want) => {
            alone(road.register_tuple(&asker, want, lent.into_iter().next()).and_then(|tuple| value(&tuple)))
        }
        Op::StackRelease(release) => {
            alone(road.release_tuple(&asker, release).and_then(|()| value(&Done {})))
        }
        Op::StackList(list) => alone(road.stack_rows(&who, list).and_then(|rows| page(rows, list.after))),
        Op::StackStats(stats) => {
            alone(road.stack_stats(&who, stats).and_then(|rows| page(rows, stats.after)))
        }
        _ => Err(Code::Eproto.because("not an operation of stacks")),
    };
    (outcome, news)
}

fn alone(outcome: Result<Value, Refusal>) -> Outcome {
    outcome.map(|value| (value, Vec::new()))
}
