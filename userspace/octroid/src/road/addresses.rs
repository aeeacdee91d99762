//! The local addresses that all tuples have: which there are, which have gone, and which went with their interface.
//!
//! [`Addresses`] is pure: what each interface has goes in, what the registry is to know comes out. An address that is
//! removed from an interface that stays may come back, and its tuples wait for it. One that went with its interface does
//! not wait: the tuples at it are revoked, and nobody registers there until an interface of that name is there again.
use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use multistack::registry::{MAX_ADDRESSES, Reason};

use super::Road;

/// What the registry is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Addresses of interfaces that are there.
    pub here: BTreeSet<IpAddr>,
    /// Addresses of interfaces that are gone, unless another one has them.
    pub gone: BTreeSet<IpAddr>,
}

/// What every configured interface has, and had.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    interfaces: Vec<Seen>,
    standing: Option<Standing>,
}

/// One interface's.
#[derive(Clone, Debug, Default)]
struct Seen {
    now: Option<BTreeSet<IpAddr>>,
    /// All that it had since its device appeared: the kernel takes the addresses of a device that is deleted away one by
    /// one, and whoever looks meanwhile sees a device without them.
    ever: BTreeSet<IpAddr>,
}

impl Addresses {
    /// Takes in the addresses of every configured interface, `None` where there is none, and says how things stand if they
    /// stand otherwise than before.
    pub fn see(&mut self, found: Vec<Option<BTreeSet<IpAddr>>>) -> Option<&Standing> {
        self.interfaces.resize_with(found.len(), Seen::default);
        self.interfaces.iter_mut().zip(found).for_each(|(seen, found)| seen.see(found));
        let here: BTreeSet<IpAddr> = self.interfaces.iter().flat_map(|i| &i.now).flatten().copied().collect();
        let absent = self.interfaces.iter().filter(|seen| seen.now.is_none());
        let gone = absent.flat_map(|seen| &seen.ever).copied().filter(|addr| !here.contains(addr)).collect();
        let standing = Standing { here, gone };
        if self.standing.as_ref() == Some(&standing) {
            return None;
        }
        Some(self.standing.insert(standing))
    }

    /// The registry could not be told: the next look tells it again.
    pub fn not_told(&mut self) {
        self.standing = None;
    }
}

impl Seen {
    fn see(&mut self, found: Option<BTreeSet<IpAddr>>) {
        let stayed = self.now.is_some() && self.ever.len() <= MAX_ADDRESSES;
        if let Some(now) = &found {
            if !stayed {
                self.ever.clear();
            }
            self.ever.extend(now);
        }
        self.now = found;
    }
}

impl Road {
    /// Makes this how the addresses of served interfaces stand, and notes what applications are to be told.
    ///
    /// # Errors
    /// There are too many, or a step fails; tuples whose addresses are gone may have been revoked then.
    pub fn set_addresses(&mut self, standing: &Standing) -> Result<()> {
        self.registry.set_detaching(&standing.gone);
        let told = self.revoke_gone().and_then(|()| {
            let (registry, mut hands) = self.split();
            let change = registry.set_addresses(&standing.here)?;
            Ok(change.carry_out(|step| hands.act(step))?)
        });
        self.save();
        self.stacks.tell(told?);
        Ok(())
    }

    fn revoke_gone(&mut self) -> Result<()> {
        for (session, number) in self.registry.detached() {
            let (registry, mut hands) = self.split();
            let change = registry.revoke(session, number, Reason::InterfaceGone)?;
            let news = change.carry_out(|step| hands.act(step))?;
            self.forget_book(session, number);
            tracing::info!(%session, tuple = number, "revoked: its interface is gone");
            self.stacks.tell([news]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    fn stands(here: &[&str], gone: &[&str]) -> Option<Standing> {
        Some(Standing { here: set(here), gone: set(gone) })
    }

    #[test]
    fn a_removed_address_is_not_gone_with_its_interface() {
        let mut addresses = Addresses::default();
        let mut see = |found: Vec<Option<BTreeSet<IpAddr>>>| addresses.see(found).cloned();
        assert_eq!(see(vec![None]), stands(&[], &[]), "also nothing is news at first");
        assert_eq!(see(vec![Some(set(&["10.0.0.1", "10.0.0.2"]))]), stands(&["10.0.0.1", "10.0.0.2"], &[]));
        assert_eq!(see(vec![Some(set(&["10.0.0.2", "10.0.0.1"]))]), None);
        assert_eq!(see(vec![Some(set(&["10.0.0.2"]))]), stands(&["10.0.0.2"], &[]));
    }

    #[test]
    fn a_device_that_lost_its_addresses_first_takes_them_along_all_the_same() {
        let mut addresses = Addresses::default();
        let mut see = |found: Vec<Option<BTreeSet<IpAddr>>>| addresses.see(found).cloned();
        see(vec![Some(set(&["10.0.0.1"])), Some(set(&["10.0.1.1"]))]);
        assert_eq!(see(vec![Some(set(&[])), Some(set(&["10.0.1.1"]))]), stands(&["10.0.1.1"], &[]));
        let gone = stands(&["10.0.1.1"], &["10.0.0.1"]);
        assert_eq!(see(vec![None, Some(set(&["10.0.1.1"]))]), gone);
        assert_eq!(see(vec![None, Some(set(&["10.0.1.1"]))]), None);
        // The next device of that name has what it has, and nothing of the last one's.
        assert_eq!(see(vec![Some(set(&[])), Some(set(&["10.0.1.1"]))]), stands(&["10.0.1.1"], &[]));
        assert_eq!(see(vec![None, Some(set(&["10.0.1.1"]))]), None);
    }

    #[test]
    fn what_another_interface_has_is_not_gone() {
        let mut addresses = Addresses::default();
        let mut see = |found: Vec<Option<BTreeSet<IpAddr>>>| addresses.see(found).cloned();
        see(vec![Some(set(&["10.0.0.1"])), Some(set(&[]))]);
        assert_eq!(see(vec![None, Some(set(&["10.0.0.1"]))]), None, "it moved to the other one");
        assert_eq!(see(vec![None, Some(set(&[]))]), stands(&[], &["10.0.0.1"]));
        addresses.not_told();
        assert_eq!(addresses.see(vec![None, Some(set(&[]))]).cloned(), stands(&[], &["10.0.0.1"]));
    }
}
