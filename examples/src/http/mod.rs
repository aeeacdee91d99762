//! HTTP/1.1 for objects whose bytes depend on nothing but their size: one conversation, two servers that hold it.
//!
//! | module | what it is |
//! |---|---|
//! | [`object`] | `/1k`, `/8k` …: the same bytes wherever they are served from |
//! | [`request`] | what a request asks for, and what is wrong with it |
//! | [`conversation`] | bytes in, bytes out: all of HTTP that there is; it knows no socket and no clock |
//! | [`on_smoltcp`] | a pool of smoltcp sockets, for [`crate::user_stack`] |
//! | [`on_os`] | the OS's TCP: one thread, epoll |
//!
//! Both servers hold conversations through the same three calls, so that what is measured between them is the stacks.
use std::time::Duration;

pub mod conversation;
pub mod object;
pub mod on_os;
pub mod on_smoltcp;
pub mod request;

/// Connections at one time; of `on_smoltcp`, on one channel.
pub const MAX_CONNECTIONS: usize = 1024;

/// How long a connection may make no progress.
pub const PATIENCE: Duration = Duration::from_secs(60);
