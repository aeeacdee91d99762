//! liboctroi, as a shared and as a static library: what module `capi` of crate `client` exports, and nothing else.
//!
//! It refuses to have code. It is a crate because a crate type cannot be had by a feature: made in `client`, both
//! libraries would be linked wherever a Rust program uses it.
#![deny(unsafe_code)]

// Named, or it would not be linked.
use client as _;
