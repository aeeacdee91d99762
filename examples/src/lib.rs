//! What the example applications share; each of them is a short program in `src/bin`.
//!
//! They are meant to be copied, so they show the whole of what an application must do: keep a session through a restart
//! of the daemon, sleep on the bells, end on a signal. They refuse to need a privilege, and to know anything of Octroi
//! but the library `client` and the shapes in `abi` that it hands out.
//!
//! | module | what it is |
//! |---|---|
//! | [`arguments`] | `--control PATH --listen ADDR:PORT` |
//! | [`session`] | a session that outlives its daemon, and the place where a program sleeps |
//! | [`stop`] | SIGTERM and SIGINT, read like any other input |
//! | [`datagram`] | UDP in IP, written into a slot: for those who use raw channels |
//! | [`user_stack`] | smoltcp on every channel of a session |
//! | [`http`] | HTTP/1.1: one conversation, and two servers that hold it: on smoltcp, on the OS's TCP |
//! | [`dns`] | a zone, and the answers to questions about it |
#![deny(unsafe_code)]

pub mod arguments;
pub mod datagram;
pub mod dns;
pub mod http;
pub mod session;
pub mod stop;
pub mod user_stack;
