//! Ruler's filters on engines: which is attached where, and what each engine needs to run it.
//!
//! A filter is compiled and bound elsewhere, and all its memory is made there: an engine finds it in the tables, takes a
//! seat from it and gives the seat back when another filter takes its place.
mod gate;
mod installed;

use std::sync::Arc;

use crate::port::PortId;

pub use gate::Gate;
pub use installed::{FilterCounts, Installed, RuleCount};

/// Filters that may be attached at once.
pub const MAX_FILTERS: usize = 256;

/// A target that a filter can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetRef {
    /// One of [`abi::steer::kind`].
    pub kind: u8,
    /// Its slot.
    pub id: u16,
    /// Of which holder of the slot.
    pub generation: u16,
    /// Which of an application's tuples, by its number there; all of them, if none is named.
    pub tuple: Option<u16>,
}

/// Which filter of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilterNo(u16);

impl FilterNo {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// More filters than [`MAX_FILTERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_FILTERS} filters are attached already, and that is the limit; detach one")]
pub struct TooManyFilters;

/// Which filters are attached where: part of the tables.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    installed: Vec<Arc<Installed>>,
    by_port: Vec<Option<FilterNo>>,
    /// In order.
    by_target: Vec<(TargetRef, FilterNo)>,
}

impl Filters {
    /// Whether there is none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.installed.is_empty()
    }

    /// Lets a filter judge what comes to applications and other targets by a port.
    ///
    /// # Errors
    /// [`TooManyFilters`].
    pub fn add_port(&mut self, port: PortId, filter: &Arc<Installed>) -> Result<(), TooManyFilters> {
        let number = self.number(filter)?;
        if self.by_port.len() <= port.index() {
            self.by_port.resize(port.index() + 1, None);
        }
        self.by_port[port.index()] = Some(number);
        Ok(())
    }

    /// Lets a filter judge what comes to a target, after that of the port.
    ///
    /// # Errors
    /// [`TooManyFilters`].
    pub fn add_target(&mut self, target: TargetRef, filter: &Arc<Installed>) -> Result<(), TooManyFilters> {
        let number = self.number(filter)?;
        match self.by_target.binary_search_by_key(&target, |(target, _)| *target) {
            Ok(at) => self.by_target[at].1 = number,
            Err(at) => self.by_target.insert(at, (target, number)),
        }
        Ok(())
    }

    fn number(&mut self, filter: &Arc<Installed>) -> Result<FilterNo, TooManyFilters> {
        let known = self.installed.iter().position(|known| Arc::ptr_eq(known, filter));
        let at = known.unwrap_or(self.installed.len());
        if MAX_FILTERS <= at {
            return Err(TooManyFilters);
        }
        if known.is_none() {
            self.installed.push(Arc::clone(filter));
        }
        Ok(FilterNo(u16::try_from(at).unwrap_or(u16::MAX)))
    }

    /// Every attached filter, once.
    #[must_use]
    pub fn installed(&self) -> &[Arc<Installed>] {
        &self.installed
    }

    #[inline]
    pub(crate) fn of_port(&self, port: PortId) -> Option<FilterNo> {
        self.by_port.get(port.index()).copied().flatten()
    }

    /// The filter of a target: that of its very tuple, else that of all.
    #[inline]
    pub(crate) fn of_target(&self, target: TargetRef) -> Option<FilterNo> {
        if self.by_target.is_empty() {
            return None;
        }
        self.exactly(target).or_else(|| self.exactly(TargetRef { tuple: None, ..target }))
    }

    fn exactly(&self, target: TargetRef) -> Option<FilterNo> {
        let at = self.by_target.binary_search_by_key(&target, |(target, _)| *target).ok()?;
        self.by_target.get(at).map(|(_, number)| *number)
    }
}

#[cfg(test)]
pub(crate) mod tests;
