//! A change that the registry grants: carried out as a whole, or not at all.
//!
//! It borrows the registry, so that no second change can begin while one is under way.
use std::sync::Arc;

use super::{Edit, Registry};
use crate::mirror::Mirror;
use crate::slots::TupleId;
use crate::step::{Planned, Step};

/// A change that nobody has carried out yet. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "a change that is not carried out does not happen"]
pub struct Change<'r, T> {
    pub(super) pending: Pending<'r>,
    pub(super) value: T,
}

/// All of a change but its value.
#[derive(Debug)]
pub(super) struct Pending<'r> {
    pub(super) registry: &'r mut Registry,
    pub(super) edit: Edit,
    pub(super) mirror: Arc<Mirror>,
    pub(super) plan: Vec<Planned>,
    pub(super) spent: Spent,
}

/// The numbers that a change uses up: a released registration's, and that of one that failed, because packets may
/// have been steered by it before it was undone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) on_success: Option<TupleId>,
    pub(super) on_failure: Option<TupleId>,
}

/// A step failed; what was done before it has been undone.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failed<E: std::error::Error + 'static> {
    /// What the step said.
    #[source]
    pub cause: E,
    /// Undoing steps that failed too: what they should have undone is still there.
    pub stuck: Vec<Step>,
}

impl<T> Change<'_, T> {
    /// What it will yield, for those who prepare for it.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The steps in their order, for those who only want to look.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.pending.plan.iter().map(|planned| &planned.step)
    }

    /// Has `act` do every step in order; the registry then takes the change over and yields its value.
    ///
    /// # Errors
    /// [`Failed`], after the first step that `act` fails. Such a step must have left nothing behind; `act` is then
    /// called with the steps that undo those before it, last first, and the registry stays as it was.
    pub fn carry_out<E, F>(self, act: F) -> Result<T, Failed<E>>
    where
        E: std::error::Error + 'static,
        F: FnMut(&Step) -> Result<(), E>,
    {
        self.pending.carry_out(act)?;
        Ok(self.value)
    }
}

impl Pending<'_> {
    fn carry_out<E, F>(mut self, mut act: F) -> Result<(), Failed<E>>
    where
        E: std::error::Error + 'static,
        F: FnMut(&Step) -> Result<(), E>,
    {
        for (done, planned) in self.plan.iter().enumerate() {
            if let Err(cause) = act(&planned.step) {
                let undo = self.plan[..done].iter().rev().flat_map(|planned| &planned.undo);
                let stuck = undo.filter(|step| act(step).is_err()).cloned().collect();
                return Err(Failed { cause, stuck });
            }
        }
        self.registry.state.apply(&self.edit);
        std::mem::swap(&mut self.registry.mirror, &mut self.mirror);
        self.spent.on_failure = None;
        self.registry.give_back(self.spent.on_success);
        Ok(())
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.registry.give_back(self.spent.on_failure);
    }
}
