//! Octroi measured: generated traffic, searches for rates, and the one form in which every demo and bench reports.
#![deny(unsafe_code)]

pub mod contexts;
pub mod demo;
pub mod engine;
pub mod peer;
pub mod report;
pub mod scan;
pub mod search;
pub mod suite;
pub mod traffic;
