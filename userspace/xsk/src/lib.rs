//! AF_XDP and BPF: the only crate of the daemon that opens packet sockets or calls bpf(2).
//!
//! | module | what it is |
//! |---|---|
//! | [`bpf`] | the XDP programs: loading, attaching, pins, steering table, counters, test runs |

pub mod bpf;
