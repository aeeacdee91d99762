//! The tasks, one file each.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod ci;
pub(crate) mod demo;
pub(crate) mod fuzz;
pub(crate) mod ids;
pub(crate) mod install_c;
pub(crate) mod lint;
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod pure;
pub(crate) mod setup;
pub(crate) mod test;
pub(crate) mod tidy;
