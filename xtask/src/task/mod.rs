//! The tasks, one file each.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod demo;
pub(crate) mod load;
pub(crate) mod setup;
