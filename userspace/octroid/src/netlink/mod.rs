//! What the kernel says about the network: links, addresses, routes, neighbours, receive queues and offloads.
//!
//! A few small conversations do not pay for a netlink framework: this module knows the few messages it needs, and refuses
//! everything else by ignoring it. It changes two things only: a device feature, which it can put back, and that the
//! kernel knows a neighbour.
//!
//! | file | idea |
//! |---|---|
//! | [`message`] | headers and attributes, read and written |
//! | [`socket`] | a request and its answers; a stream of events |
//! | [`route`] | the links and addresses of this network namespace |
//! | [`fib`] | its routes |
//! | [`rule`] | its routing rules |
//! | [`neighbour`] | its neighbours |
//! | [`ethtool`] | receive queues and offloads of one link |
pub mod ethtool;
pub mod fib;
pub mod message;
pub mod neighbour;
pub mod route;
pub mod rule;
pub mod socket;
