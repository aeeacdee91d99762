//! The control protocol: one JSON object per `SOCK_SEQPACKET` datagram, typed on both sides.
//!
//! It refuses whatever it does not know: another version, another operation, an unknown field of a request, a datagram
//! beyond [`MAX_DATAGRAM`] bytes or nested deeper than [`MAX_DEPTH`]. Identity is never a field: the daemon asks the
//! kernel for it (`SO_PEERCRED`).
//!
//! ```text
//! request   {"v":1,"id":7,"op":"target.add","kind":"echo","proto":"udp","addr":"any","port":7}
//! reply     {"v":1,"id":7,"ok":{"tuple":1}}
//! reply     {"v":1,"id":7,"err":{"code":"EBUSY","detail":"udp any:7 belongs to tuple 1"}}
//! ```
//!
//! One request is in flight at a time. Whatever could outgrow a datagram comes in pages: a row number `after`
//! in the request, `rows` and, if there are more, `next` in the answer.
//!
//! | file | idea |
//! |---|---|
//! | [`instance`] | names of instances, and where their files lie |
//! | [`datagram`] | what is checked before JSON is read |
//! | [`request`], [`answer`] | the operations and what they answer |
//! | [`stack`], [`event`] | the operations of application stacks, and what they are told unasked |
//! | [`capture`] | the operations of whoever looks at packets |
//! | [`ruler`] | the operations of filters |
//! | [`status`] | what a daemon says of itself |
//! | [`refusal`] | the closed list of error codes |
//! | [`connection`] | the blocking client |

pub mod answer;
pub mod capture;
pub mod connection;
pub mod datagram;
pub mod event;
pub mod instance;
pub mod refusal;
pub mod request;
pub mod ruler;
pub mod stack;
pub mod status;

/// The protocol's version, field `v`.
pub const VERSION: u64 = 1;

/// Most bytes of one datagram.
pub const MAX_DATAGRAM: usize = 16 * 1024;

/// Most levels of objects and arrays in one datagram.
pub const MAX_DEPTH: usize = 8;
