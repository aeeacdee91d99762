//! How much a system can carry: the search of RFC 9971 (MLRsearch) for the highest loads that meet loss goals.
//!
//! A state machine without clock, thread or traffic: [`Search::step`] names the next trial, somebody measures it,
//! [`Search::record`] takes the result in. Two searches can therefore take turns, trial by trial.
//!
//! | module | what it is |
//! |---|---|
//! | [`goal`] | what is searched for: NDR, PDR, RFC 2544's throughput |
//! | [`trial`] | one measurement at one load |
//! | [`classify`] | what the trials at one load say about it (RFC 9971, appendices A and B) |
//! | [`controller`] | which load is measured next, and when it is enough |
//! | [`burst`] | the longest burst that loses nothing (RFC 9004) |
pub mod burst;
pub mod classify;
pub mod controller;
pub mod goal;
pub mod trial;

pub use controller::{GoalResult, Search, SearchError, Step, in_turns};
pub use goal::Goal;
pub use trial::{Load, Trial, TrialResult};
