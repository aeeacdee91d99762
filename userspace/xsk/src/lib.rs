//! AF_XDP and BPF: the only crate of the daemon that opens packet sockets or calls bpf(2).
//!
//! | module | what it is |
//! |---|---|
//! | [`bpf`] | the XDP programs: loading, attaching, pins, steering table, counters, test runs |
//! | [`inet`] | sockets that keep a port from the OS and carry nothing |
//! | [`socket`] | AF_XDP sockets as the engines' ports, and what they need to know of a device |

pub mod bpf;
pub mod inet;
pub mod socket;
