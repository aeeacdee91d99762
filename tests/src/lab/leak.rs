//! Whether a process left anything in the kernel: its BPF objects are noted by id while it runs, and sought when it is gone.
//!
//! By id, because other tests load programs of their own meanwhile: "as many as before" would prove nothing. The
//! kernel gives an id again only after two thousand million others.
use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use xsk::bpf::{ObjectKind, ids};

use super::until;

/// BPF objects by the kernel's ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links.
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// What the process `pid` has descriptors of. Pins and attachments of octroid are among them while it runs.
    ///
    /// # Errors
    /// There is no such process.
    pub fn held_by(pid: u32) -> Result<Self> {
        let directory = format!("/proc/{pid}/fdinfo");
        let mut held = Self::default();
        for entry in fs::read_dir(&directory).with_context(|| directory.clone())? {
            // A descriptor may be closed between the listing and the reading.
            let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
            let number =
                |key: &str| info.lines().find_map(|l| l.strip_prefix(key)?.trim().parse::<u32>().ok());
            held.programs.extend(number("prog_id:"));
            held.maps.extend(number("map_id:"));
            held.links.extend(number("link_id:"));
        }
        Ok(held)
    }

    /// Those that still exist.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn alive(&self) -> Result<Self> {
        let still = |kind, ours: &BTreeSet<u32>| -> Result<BTreeSet<u32>> {
            Ok(ids(kind)?.into_iter().filter(|id| ours.contains(id)).collect())
        };
        Ok(Self {
            programs: still(ObjectKind::Program, &self.programs)?,
            maps: still(ObjectKind::Map, &self.maps)?,
            links: still(ObjectKind::Link, &self.links)?,
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: Self) {
        self.programs.extend(other.programs);
        self.maps.extend(other.maps);
        self.links.extend(other.links);
    }

    /// Waits until none of them exists: the kernel frees them some time after the last reference went.
    ///
    /// # Errors
    /// Some stay; the error names them.
    pub fn wait_until_gone(&self) -> Result<()> {
        until("its BPF objects are gone", || Ok(self.alive()?.is_empty()))
            .with_context(|| format!("left in the kernel: {:?}", self.alive().ok()))
    }
}

/// What a process has: the figures that must be no greater after than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Memory in use, in KiB.
    pub rss_kib: u64,
}

impl Footprint {
    /// That of the process `pid`.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let count = |what: &str| -> Result<usize> {
            let directory = format!("/proc/{pid}/{what}");
            Ok(fs::read_dir(&directory).with_context(|| directory.clone())?.count())
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            rss_kib: rss.context("no VmRSS")?.trim().parse()?,
        })
    }

    /// Fails unless `later` has no more descriptors or threads, and at most `rss_kib` more memory. Fewer are no leak: what
    /// was noted first may have had a descriptor that was about to be closed.
    ///
    /// # Errors
    /// It has more.
    pub fn covers(&self, later: &Self, rss_kib: u64) -> Result<()> {
        ensure!(later.descriptors <= self.descriptors, "descriptors: {self:?}, then {later:?}");
        ensure!(later.threads <= self.threads, "threads: {self:?}, then {later:?}");
        ensure!(
            later.rss_kib <= self.rss_kib + rss_kib,
            "more than {rss_kib} KiB grown: {self:?}, then {later:?}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use libbpf_rs::{MapCore as _, MapHandle, MapType, libbpf_sys::bpf_map_create_opts};

    use super::*;
    use crate::lab::{self, Need};

    #[test]
    fn lab_a_map_is_found_while_it_is_held_and_missed_when_it_is_gone() -> Result<()> {
        let Some(_lab) = lab::require("lab_leak", &[Need::Bpf])? else { return Ok(()) };
        let options = bpf_map_create_opts { sz: size_of::<bpf_map_create_opts>() as _, ..Default::default() };
        let map = MapHandle::create(MapType::Hash, Some("lab_leak"), 4, 4, 1, &options)?;
        let ours = Objects { maps: BTreeSet::from([map.info()?.info.id]), ..Objects::default() };
        let held = Objects::held_by(std::process::id())?;
        assert!(ours.maps.is_subset(&held.maps), "{held:?}");
        assert_eq!(ours.alive()?, ours);
        drop(map);
        ours.wait_until_gone()
    }
}
