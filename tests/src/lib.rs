//! Tests that need a kernel: the lab they run in, and what they share.
//!
//! The tests themselves are the files of `tests/tests/`, named by the row of the test plan that they prove.
#![deny(unsafe_code)]

pub mod corpus;
pub mod fixture;
pub mod judge;
pub mod lab;
pub mod oracle;
pub mod scale;
