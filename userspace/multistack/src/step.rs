//! What a change of the registry asks of the daemon: single steps, in an order that loses no packet to a stranger.
//!
//! Registering reserves the port in the OS, then publishes the mirror, then steers; releasing stops steering, then
//! unpublishes, then gives the port back. So whatever XDP redirects the workers know, and as long as they know it no
//! OS socket has the port:
//!
//! ```text
//! register: Bind, Keep ► Silence ► PublishMirror ► PutSteer
//! release:                         DelSteer ► PublishMirror ► Close, Forget
//! ```
//!
//! This file orders steps; it carries out none.
use std::sync::Arc;

use abi::steer::{SteerKey, Target};

use crate::mirror::{Live, Mirror};
use crate::registry::{Lent, SessionId, Socket};
use crate::slots::TupleId;

/// One thing to do, complete in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give all workers this mirror, and return when each has taken it (one epoch).
    PublishMirror(Arc<Mirror>),
    /// Put an entry into the steering map.
    PutSteer {
        /// The tuple; it has no entry yet.
        key: SteerKey,
        /// Where its packets go.
        target: Target,
    },
    /// Delete an entry of the steering map.
    DelSteer {
        /// The tuple; it has an entry.
        key: SteerKey,
    },
    /// Bind a placeholder, with both reuse flags clear from the beginning, and never listen on it.
    Bind(Socket),
    /// Let a bound placeholder queue nothing: a filter that keeps no byte, locked.
    Silence(Socket),
    /// Close a placeholder.
    Close(Socket),
    /// Keep a duplicate of the descriptor that came with the request.
    Keep(Lent),
    /// Close that duplicate.
    Forget(Lent),
    /// Make the session's regions and bells, and give each worker its channel.
    OpenChannels(SessionId),
    /// Take the channels from the workers, return when each has let go (one epoch), and unmap the regions.
    ShutChannels(SessionId),
}

/// A step and the steps that undo it: none where undoing an earlier step does.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) step: Step,
    pub(crate) undo: Vec<Step>,
}

impl Planned {
    pub(crate) fn bind(socket: Socket) -> Self {
        Self { step: Step::Bind(socket), undo: vec![Step::Close(socket)] }
    }

    pub(crate) fn silence(socket: Socket) -> Self {
        Self { step: Step::Silence(socket), undo: Vec::new() }
    }

    pub(crate) fn close(socket: Socket) -> Self {
        let silent = socket.queues().then_some(Step::Silence(socket));
        let undo = [Some(Step::Bind(socket)), silent].into_iter().flatten().collect();
        Self { step: Step::Close(socket), undo }
    }

    pub(crate) fn keep(lent: Lent) -> Self {
        Self { step: Step::Keep(lent), undo: vec![Step::Forget(lent)] }
    }

    pub(crate) fn forget(lent: Lent) -> Self {
        Self { step: Step::Forget(lent), undo: vec![Step::Keep(lent)] }
    }

    pub(crate) fn open(session: SessionId) -> Self {
        Self { step: Step::OpenChannels(session), undo: vec![Step::ShutChannels(session)] }
    }

    pub(crate) fn shut(session: SessionId) -> Self {
        Self { step: Step::ShutChannels(session), undo: vec![Step::OpenChannels(session)] }
    }
}

/// What is other in the next picture of the registry: all that a plan looks at, however large the pictures are.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) comes: Option<Live>,
    pub(crate) goes: Option<TupleId>,
    pub(crate) opens: Option<SessionId>,
    pub(crate) closes: Option<SessionId>,
    /// What is reserved before anything is published.
    pub(crate) before: Vec<Planned>,
    /// What is given back when nothing is published any more.
    pub(crate) after: Vec<Planned>,
    /// Keys that the old picture lacks.
    pub(crate) puts: Vec<(SteerKey, Target)>,
    /// Keys that the new picture lacks, with the targets that they had.
    pub(crate) dels: Vec<(SteerKey, Target)>,
}

impl Delta {
    /// `old` and what is new; `old` itself, if nothing is.
    fn add_to(&self, old: &Arc<Mirror>) -> Arc<Mirror> {
        if self.comes.is_none() && self.opens.is_none() && self.puts.is_empty() {
            return Arc::clone(old);
        }
        let mut mirror = Mirror::clone(old);
        self.comes.into_iter().for_each(|live| mirror.insert(live));
        self.opens.into_iter().for_each(|session| mirror.insert_session(session));
        self.puts.iter().for_each(|&(key, target)| mirror.insert_key(key, target));
        mirror.into()
    }

    /// `full` without what goes; `full` itself, if nothing does.
    fn take_from(&self, full: &Arc<Mirror>) -> Arc<Mirror> {
        if self.goes.is_none() && self.closes.is_none() && self.dels.is_empty() {
            return Arc::clone(full);
        }
        let mut mirror = Mirror::clone(full);
        self.dels.iter().for_each(|(key, _)| mirror.remove_key(key));
        self.goes.into_iter().for_each(|tuple| mirror.remove(tuple));
        self.closes.into_iter().for_each(|session| mirror.remove_session(session));
        mirror.into()
    }
}

/// The picture of the registry that follows `old`, and the steps that lead there.
///
/// Keys are added before keys are removed, so that an address that is replaced is never without its entry
/// because of one that goes. They are in order: the same change always has the same steps.
pub(crate) fn plan(old: &Arc<Mirror>, mut delta: Delta) -> (Arc<Mirror>, Vec<Planned>) {
    delta.puts.sort_unstable_by_key(|(key, _)| *key);
    delta.dels.sort_unstable_by_key(|(key, _)| *key);
    let full = delta.add_to(old);
    let new = delta.take_from(&full);
    let mut steps = std::mem::take(&mut delta.before);
    steps.extend(publish(old, &full));
    steps.extend(delta.puts.iter().map(|&(key, target)| put(key, target)));
    steps.extend(delta.dels.iter().map(|&(key, target)| del(key, target)));
    steps.extend(publish(&full, &new));
    steps.append(&mut delta.after);
    (new, steps)
}

fn publish(from: &Arc<Mirror>, to: &Arc<Mirror>) -> Option<Planned> {
    let planned = || Planned {
        step: Step::PublishMirror(Arc::clone(to)),
        undo: vec![Step::PublishMirror(Arc::clone(from))],
    };
    (!Arc::ptr_eq(from, to)).then(planned)
}

fn put(key: SteerKey, target: Target) -> Planned {
    Planned { step: Step::PutSteer { key, target }, undo: vec![Step::DelSteer { key }] }
}

fn del(key: SteerKey, target: Target) -> Planned {
    Planned { step: Step::DelSteer { key }, undo: vec![Step::PutSteer { key, target }] }
}
