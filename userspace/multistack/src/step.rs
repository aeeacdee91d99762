//! What a change of the registry asks of the daemon: single steps, in an order that loses no packet to a stranger.
//!
//! Registering publishes the mirror first and steers afterwards; releasing stops steering first and unpublishes
//! afterwards. So whatever XDP redirects, the workers know. This file orders steps; it carries out none.
use std::sync::Arc;

use abi::steer::{SteerKey, Target};

use crate::mirror::{Live, Mirror};
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
}

/// A step and the step that undoes it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) step: Step,
    pub(crate) undo: Step,
}

/// What is other in the next picture of the registry: all that a plan looks at, however large the pictures are.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) comes: Option<Live>,
    pub(crate) goes: Option<TupleId>,
    /// Keys that the old picture lacks.
    pub(crate) puts: Vec<(SteerKey, Target)>,
    /// Keys that the new picture lacks, with the targets that they had.
    pub(crate) dels: Vec<(SteerKey, Target)>,
}

impl Delta {
    /// `old` and what is new; `old` itself, if nothing is.
    fn add_to(&self, old: &Arc<Mirror>) -> Arc<Mirror> {
        if self.comes.is_none() && self.puts.is_empty() {
            return Arc::clone(old);
        }
        let mut mirror = Mirror::clone(old);
        self.comes.into_iter().for_each(|live| mirror.insert(live));
        self.puts.iter().for_each(|&(key, target)| mirror.insert_key(key, target));
        mirror.into()
    }

    /// `full` without what goes; `full` itself, if nothing does.
    fn take_from(&self, full: &Arc<Mirror>) -> Arc<Mirror> {
        if self.goes.is_none() && self.dels.is_empty() {
            return Arc::clone(full);
        }
        let mut mirror = Mirror::clone(full);
        self.dels.iter().for_each(|(key, _)| mirror.remove_key(key));
        self.goes.into_iter().for_each(|tuple| mirror.remove(tuple));
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
    let mut steps = Vec::with_capacity(2 + delta.puts.len() + delta.dels.len());
    steps.extend(publish(old, &full));
    steps.extend(delta.puts.iter().map(|&(key, target)| Planned { step: put(key, target), undo: del(key) }));
    steps.extend(delta.dels.iter().map(|&(key, target)| Planned { step: del(key), undo: put(key, target) }));
    steps.extend(publish(&full, &new));
    (new, steps)
}

fn publish(from: &Arc<Mirror>, to: &Arc<Mirror>) -> Option<Planned> {
    let planned =
        || Planned { step: Step::PublishMirror(Arc::clone(to)), undo: Step::PublishMirror(Arc::clone(from)) };
    (!Arc::ptr_eq(from, to)).then(planned)
}

const fn put(key: SteerKey, target: Target) -> Step {
    Step::PutSteer { key, target }
}

const fn del(key: SteerKey) -> Step {
    Step::DelSteer { key }
}
