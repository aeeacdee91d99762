//! Binding a filter to where it runs: the key, and how long its packets may become.

use std::sync::Arc;

use super::{Deed, Filter, Rule, Scratch};
use crate::{
    diagnostic::{Code, Diagnostic},
    rewrite::{Bounds, Plan, anonymise::Anonymiser, key::Key},
};

/// Where a filter runs.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// How long an output may be.
    pub bounds: Bounds,
    /// By what addresses are anonymised; never part of a program, and there is no default.
    pub key: Option<Key>,
}

/// A filter cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct BindError(Box<Diagnostic>);

impl BindError {
    /// What is wrong, and where.
    #[must_use]
    pub fn diagnostic(&self) -> &Diagnostic {
        &self.0
    }
}

/// A filter that is ready to judge; threads share it, each with a [`Scratch`] of its own.
#[derive(Debug)]
pub struct Bound {
    pub(super) filter: Arc<Filter>,
    bounds: Bounds,
    anonymiser: Option<Arc<Anonymiser>>,
}

impl Filter {
    /// Binds it.
    ///
    /// # Errors
    /// RL404: a rule anonymises addresses, and there is no key.
    pub fn bind(self, params: &Params) -> Result<Bound, BindError> {
        let needs_key = |rule: &&Rule| matches!(&rule.deed, Deed::Rewrite(plan, _) if plan.needs_key());
        if let (None, Some(rule)) = (params.key, self.rules.iter().find(needs_key)) {
            let message = "this rule anonymises addresses, and no key was given";
            let found = Diagnostic::new(Code::KeyMissing, rule.span, message).file(&self.file);
            return Err(BindError(Box::new(found.help("give a key of 32 bytes: `--key-file FILE`"))));
        }
        let anonymiser = params.key.as_ref().map(|key| Arc::new(Anonymiser::new(key)));
        Ok(Bound { filter: Arc::new(self), bounds: params.bounds, anonymiser })
    }
}

impl Bound {
    /// What it was made from.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How long an output may be.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The same filter where outputs may be otherwise long.
    #[must_use]
    pub fn within(&self, bounds: Bounds) -> Self {
        Self { filter: Arc::clone(&self.filter), bounds, anonymiser: self.anonymiser.clone() }
    }

    /// The memory that one thread needs to judge with it.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        Scratch::new(&self.filter, self.bounds, self.anonymiser.clone())
    }
}

impl Filter {
    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.rules.iter().filter_map(|rule| match &rule.deed {
            Deed::Rewrite(plan, _) => Some(&**plan),
            Deed::Accept(_) | Deed::Reject(_) => None,
        })
    }
}
