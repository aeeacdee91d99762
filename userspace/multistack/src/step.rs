//! What a change of the registry asks of the daemon: single steps, in an order that loses no packet to a stranger.
//!
//! Registering publishes the mirror first and steers afterwards; releasing stops steering first and unpublishes
//! afterwards. So whatever XDP redirects, the workers know. This file orders steps; it carries out none.
use std::sync::Arc;

use abi::steer::{SteerKey, Target};

use crate::mirror::Mirror;

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

/// The steps that lead from one picture of the registry to another.
///
/// Keys are added before keys are removed, so that an address that is replaced is never without its entry
/// because of one that goes.
pub(crate) fn plan(old: &Arc<Mirror>, new: &Arc<Mirror>) -> Vec<Planned> {
    let puts = missing(new, old);
    let dels = missing(old, new);
    let between = if puts.is_empty() || dels.is_empty() { None } else { Some(Arc::new(old.union(new))) };
    let first = match (&between, dels.is_empty()) {
        (Some(union), _) => Some(union),
        (None, true) => Some(new),
        (None, false) => None,
    };
    let mut steps = Vec::new();
    if let Some(mirror) = first {
        steps.extend(publish(old, mirror));
    }
    steps.extend(puts.iter().map(|&(key, target)| Planned { step: put(key, target), undo: del(key) }));
    steps.extend(dels.iter().map(|&(key, target)| Planned { step: del(key), undo: put(key, target) }));
    steps.extend(publish(first.unwrap_or(old), new));
    steps
}

/// Entries of `a` that `b` lacks, in the order of their keys: the same change always has the same steps.
fn missing(a: &Mirror, b: &Mirror) -> Vec<(SteerKey, Target)> {
    use crate::steer::Table;
    let mut found: Vec<_> = a.iter().filter(|(key, _)| b.get(key).is_none()).map(|(k, t)| (*k, *t)).collect();
    found.sort_unstable_by_key(|(key, _)| *key);
    found
}

fn publish(from: &Arc<Mirror>, to: &Arc<Mirror>) -> Option<Planned> {
    let planned =
        || Planned { step: Step::PublishMirror(Arc::clone(to)), undo: Step::PublishMirror(Arc::clone(from)) };
    (from != to).then(planned)
}

const fn put(key: SteerKey, target: Target) -> Step {
    Step::PutSteer { key, target }
}

const fn del(key: SteerKey) -> Step {
    Step::DelSteer { key }
}
