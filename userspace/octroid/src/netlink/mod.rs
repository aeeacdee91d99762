//! What the kernel says about network devices: links, addresses, receive queues and offloads.
//!
//! Three small conversations do not pay for a netlink framework: this module knows the two or three messages it needs,
//! and refuses everything else by ignoring it. It changes one thing only, a device feature, and can put it back.
//!
//! | file | idea |
//! |---|---|
//! | [`message`] | headers and attributes, read and written |
//! | [`socket`] | a request and its answers; a stream of events |
//! | [`route`] | the links and addresses of this network namespace |
//! | [`ethtool`] | receive queues and offloads of one link |
pub mod ethtool;
pub mod message;
pub mod route;
pub mod socket;
