//! The lab: network namespaces joined by a veth pair, the daemon on one end, and the books that must balance after.
//!
//! ```text
//! may it run    need        capabilities and features, or a skip on record
//!               guard       30 s, then it hangs          sweep    what the dead left
//! the wire      netns       namespaces                   veth     two of them joined by a silent pair
//! traffic       frame       what is sent                 tap      a packet socket on one end
//!               load        closed loop, and its tally   xsk_tap  an AF_XDP socket on one end
//!               ping, os    the kernels' own traffic
//! the daemon    config      as a user would write it     daemon   started, asked, killed, put down
//!               served      a pair and a daemon on it    program  where it is
//! applications  app         processes with stacks of their own
//!               victim      one that must not notice      hostile  one that keeps no rule
//!               protection  what it may try on memory
//!               user        whose programs have no privilege
//!               service     programs that say when they are ready
//!               filter      filters attached to it
//!               known       programs that everybody knows: curl, dig
//!               process     started, while others close what they hold
//!               halted      a thread of one, at a call to the kernel
//! afterwards    books       every packet and frame       leak     BPF objects, descriptors, threads
//!               pins        none is left                 device   as it was found
//! ```
//!
//! Nothing here is needed to *clean up*: every type removes what it made when it is dropped, also when a test panics.
//! Names are unique, so labs run beside each other.
pub mod app;
pub mod books;
pub mod cgroup;
pub mod command;
pub mod config;
pub mod daemon;
pub mod device;
pub mod filter;
pub mod frame;
pub mod guard;
pub mod halted;
pub mod hostile;
pub mod known;
pub mod leak;
pub mod load;
pub mod name;
pub mod need;
pub mod netns;
pub mod os;
pub mod ping;
pub mod pins;
pub mod process;
pub mod program;
pub mod protection;
pub mod served;
pub mod service;
mod sweep;
pub mod tap;
pub mod user;
pub mod veth;
pub mod victim;
pub mod xsk_tap;

pub use self::{
    app::{App, Listens},
    books::{Account, Reading, balance, drain, echoed, sunk},
    config::Config,
    daemon::{Daemon, Home, Started, Wrapper},
    device::Device,
    frame::{Flow, Stamp},
    hostile::Hostile,
    leak::{Footprint, Objects},
    load::{Load, Tally, WINDOW, Wire, until},
    need::{Lab, Need, require},
    netns::Netns,
    ping::Ping,
    pins::Pins,
    served::Served,
    service::Service,
    tap::Tap,
    user::User,
    veth::{Chatter, End, Mac, Offloads, Pair, PairOptions},
    victim::Victim,
    xsk_tap::XskTap,
};
