//! Memory accounts: how much of the IXP's SRAM and DRAM is taken, by whom, and where it ends.
//!
//! SRAM stands for what engines look up and count in (tables, ledgers, scratch rings), DRAM for packet memory. An
//! account moves no memory: who allocates asks first, keeps the [`Charge`] as long as the memory, and gets an error
//! with both numbers when the limit is reached. Nothing on the packet path allocates, so nothing there asks.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use thiserror::Error;

/// An account would be overdrawn.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{account}: {given} bytes would be taken, {limit} are the limit")]
pub struct OverLimit {
    /// Which account.
    pub account: &'static str,
    /// What would be taken in all.
    pub given: u64,
    /// What may be.
    pub limit: u64,
}

/// One account.
#[derive(Debug)]
pub struct Account {
    name: &'static str,
    limit: u64,
    taken: AtomicU64,
    peak: AtomicU64,
}

/// What an account shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub account: &'static str,
    /// Bytes taken now.
    pub taken: u64,
    /// Most that was ever taken.
    pub peak: u64,
    /// Bytes that may be taken.
    pub limit: u64,
}

/// Bytes taken from an account, given back when this is dropped.
#[derive(Debug)]
#[must_use = "a charge that is dropped is given back"]
pub struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Account {
    /// An account called `name` of which `limit` bytes may be taken.
    #[must_use]
    pub fn new(name: &'static str, limit: u64) -> Arc<Self> {
        Arc::new(Self { name, limit, taken: AtomicU64::new(0), peak: AtomicU64::new(0) })
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// [`OverLimit`]; nothing is taken then.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, OverLimit> {
        let more = |taken: u64| taken.checked_add(bytes).filter(|&given| given <= self.limit);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(Charge { account: Arc::clone(self), bytes })
            }
            Err(taken) => {
                let given = taken.saturating_add(bytes);
                Err(OverLimit { account: self.name, given, limit: self.limit })
            }
        }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            account: self.name,
            taken: self.taken.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            limit: self.limit,
        }
    }
}

impl Charge {
    /// How much it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_can_be_reached_and_not_passed() {
        let account = Account::new("sram", 100);
        let most = account.charge(60).expect("within");
        let rest = account.charge(40).expect("exactly the limit");
        let refused = account.charge(1).expect_err("beyond");
        assert_eq!(refused, OverLimit { account: "sram", given: 101, limit: 100 });
        drop(most);
        assert_eq!(account.standing(), Standing { account: "sram", taken: 40, peak: 100, limit: 100 });
        assert_eq!(rest.bytes(), 40);
    }

    #[test]
    fn a_sum_that_does_not_fit_is_refused_too() {
        let account = Account::new("dram", u64::MAX);
        let _held = account.charge(2).expect("within");
        assert!(account.charge(u64::MAX - 1).is_err());
    }
}
