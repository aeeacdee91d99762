//! The lab: network namespaces joined by a veth pair, the daemon on one end, and the books that must balance after.
//!
//! ```text
//! need      may this test run here?             netns, veth   the wire and its two ends
//! frame     what is sent                        tap, load     sending it, and what became of it
//! ping      the OS's own traffic                pins          pins that no test leaves behind
//! guard     30 s, then it hangs                 sweep         what the dead left
//! ```
//!
//! Nothing here is needed to *clean up*: every type removes what it made when it is dropped, also when a test panics.
//! Names are unique, so labs run beside each other.
pub mod cgroup;
pub mod command;
pub mod device;
pub mod frame;
pub mod guard;
pub mod leak;
pub mod load;
pub mod name;
pub mod need;
pub mod netns;
pub mod ping;
pub mod pins;
mod sweep;
pub mod tap;
pub mod veth;

pub use self::{
    device::Device,
    frame::{Flow, Stamp},
    leak::{Footprint, Objects},
    load::{Load, Tally, WINDOW, until},
    need::{Lab, Need, require},
    netns::Netns,
    ping::Ping,
    pins::Pins,
    tap::Tap,
    veth::{Chatter, End, Mac, Offloads, Pair, PairOptions},
};
