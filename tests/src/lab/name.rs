//! Unique names: every namespace, instance and run directory of a lab says which process made it.
//!
//! Two labs never share a name, so tests run beside each other and beside another checkout. The maker's pid in the
//! name is what [`super::sweep`] goes by: what a dead process left behind is removed, what a living one uses is not.
use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

/// What all names of labs begin with.
pub const PREFIX: &str = "lab";

/// A name nobody else has: `lab<pid>-<number>-<role>`.
#[must_use]
pub fn unique(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}-{role}", std::process::id())
}

/// The pid of the process that made `name`, if it is a lab's name.
#[must_use]
pub fn maker(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let (number, _role) = rest.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Whether `name` was left behind by a process that is no more.
#[must_use]
pub fn is_orphan(name: &str) -> bool {
    maker(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_maker_and_foreign_names_have_none() {
        let (one, two) = (unique("peer"), unique("peer"));
        assert_ne!(one, two);
        assert_eq!(maker(&one), Some(std::process::id()));
        assert!(!is_orphan(&one));
        for foreign in ["main", "lab", "lab12", "lab12-x-peer", "labx-1-peer", "octroi-12-1-peer"] {
            assert_eq!(maker(foreign), None, "{foreign}");
        }
    }
}
