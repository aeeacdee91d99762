//! Peers: the plain programs that Octroi is measured against.
//!
//! A peer is what a capable user would write in an afternoon instead of using Octroi. It shares the XDP programs,
//! ring sizes, UMEM and pinning of the run it stands in, and none of Octroi's code.

pub mod bare;
pub mod wrk;
