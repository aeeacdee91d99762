//! The XDP loader: puts Octroi's programs onto an interface, keeps their maps in bpffs, and takes them off again.
//!
//! It refuses to share a hook: where another XDP program is attached it names that program and touches nothing. It
//! never falls back from native to generic mode, and it never adopts a pin whose shape it does not know.
//!
//! ```text
//! Bpffs::open            a bpffs, mounted if it was missing
//!   └ Instance::open     STEER, FRAGS, COUNTERS, LAYOUT: one set of maps for all interfaces
//!       └ attach         JUMP, XSKS, PORT and the link of one interface, with both programs loaded
//! ```
//!
//! [`Instance::unpinned`] does the same without bpffs: everything then lives as long as its values do. With pins,
//! dropping [`Attached`] or [`Instance`] leaves them, which is the crash policy: the programs stay, unclaimed traffic
//! passes, claimed traffic follows its target's policy. [`Attached::detach_and_unpin`] and [`Instance::unpin`] end that.
//!
//! The network namespace of the calling thread is where an interface index is looked up; bpffs is found by the mount
//! namespace. A daemon therefore opens its [`Bpffs`] first and may call setns(2) for the network afterwards.
mod attach;
mod bpffs;
mod by_hand;
mod counters;
mod datagrams;
mod error;
mod header_slot;
mod ids;
mod instance;
mod lab;
mod link;
mod load;
mod loaded;
mod log;
mod map;
mod object;
mod pins;
mod pktgen;
mod port_config;
mod query;
mod ruler_program;
mod steering;
mod test_run;
mod verifier;
mod xskmap;

pub use attach::{AttachSpec, Attached, Ids};
pub use bpffs::{Bpffs, BpffsError, Mounted};
pub use by_hand::{ByHand, FlowKey};
pub use counters::{Counters, Counts};
pub use datagrams::Datagrams;
pub use error::BpfError;
pub use header_slot::HeaderSlot;
pub use ids::{ObjectKind, ids};
pub use instance::Instance;
pub use lab::{Lab, LabLink};
pub use loaded::Loaded;
pub use map::{Difference, MapKind, MapShape};
pub use object::{LabObject, Object};
pub use pins::{InstanceName, InterfaceDir, NameError};
pub use pktgen::Generator;
pub use port_config::Port;
pub use query::{Occupant, XdpMode, occupant};
pub use ruler_program::{HeaderCounters, HeaderMaps, HeaderProgram, HeaderRefused};
pub use steering::Steering;
pub use test_run::{Ingress, Input, Live, Run, Verdict, unbound_socket};
pub use verifier::{ProgramSize, program_sizes};
pub use xskmap::QueueSockets;
