//! The memory that the daemon shares with one application: where each word lies, and how a ring's two ends use it.
//!
//! Two regions per session. **down** is written by the daemon and sealed so that the application can only read it;
//! **up** is written by the application, and whatever stands there is hostile. A channel is the ring pair between
//! the session and one worker:
//!
//! ```text
//!            down (daemon writes)                        up (application writes)
//!  page 0    header, state                               magic; never read by the daemon
//!  channel 0 rx_prod  tx_cons  tx_flags  counters        tx_prod  rx_cons  rx_flags
//!            N Rx descriptors                            M Tx descriptors
//!            N Rx buffers of S bytes                     M Tx buffers of S bytes
//!  channel 1 …                                           …
//! ```
//!
//! **No addresses.** Descriptor `i` owns buffer `i`, and slots are used in order. There is no free list, hence no
//! foreign, duplicate or stale address to check. **Indices** run freely in `u32`: `used = prod − cons`, 0 is empty,
//! N is full, more than N is a [`ring::Violation`]. Each end works on an index of its own and only publishes it.
//!
//! This module holds no pointer and no `unsafe`: all access goes through [`memory::Memory`], which the daemon and
//! the application implement over their mappings, and which any `[AtomicU32]` implements for tests.
//!
//! | module | idea |
//! |---|---|
//! | [`layout`] | region sizes, strides, offsets, the header |
//! | [`desc`] | the 16 bytes of a descriptor |
//! | [`memory`] | loads, stores and copies at offsets |
//! | [`ring`] | free-running indices, and the flags and fences of falling asleep |
//! | [`counter`] | what the daemon counts for each channel |

pub mod counter;
pub mod desc;
pub mod layout;
pub mod memory;
pub mod ring;

/// Most bytes of a session's name: what a client may ask for, and what a daemon takes.
pub const MAX_NAME: usize = 64;
