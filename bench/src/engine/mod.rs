//! The generator's edges: what takes planned frames to a wire, and what brings frames back from one.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | the monotonic clock, and a place to run: core and namespace |
//! | [`drive`] | the loops: send, collect, echo |
//! | [`ports`] | AF_XDP and memory ports as both ends of a wire |
//! | [`interface`] | AF_XDP sockets on an interface, behind the program that picks out our frames |
//! | [`memory`] | a wire of nothing but memory, with a reflector at its end |
//! | [`live`] | frames made inside the kernel: the fastest sender, which only sends |
//! | [`ceiling`] | how fast each engine is when nothing holds it up |
use anyhow::Result;

use self::clock::Clock;

pub mod ceiling;
pub mod clock;
pub mod drive;
pub mod interface;
pub mod live;
pub mod memory;
pub mod ports;

/// Something that planned frames leave by.
pub trait Outlet {
    /// Lets the plan start anew, with the first frame due at `start_ns` and the others `interval_q` apart
    /// ([`crate::traffic::pace::Rate::interval_q`]).
    fn restart(&mut self, start_ns: u64, interval_q: u64);

    /// Sends the next frames, at most `max`; fewer if there is no room. Returns how many frames and bytes left.
    ///
    /// # Errors
    /// The wire is gone.
    fn offer(&mut self, max: u64, now_ns: u64) -> Result<Left>;
}

/// Something that frames arrive by.
pub trait Inlet {
    /// Hands every frame that has arrived to `each`, with the time at which its burst was taken in; returns how many,
    /// of whomever.
    ///
    /// # Errors
    /// The wire is gone.
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64>;

    /// Sleeps until a frame arrives, for `ns` at most.
    ///
    /// # Errors
    /// The wire is gone.
    fn wait(&mut self, ns: u64) -> Result<()>;

    /// Frames that were lost before anybody could collect them: full rings, missing buffers.
    fn losses(&self) -> u64;
}

/// What left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Frames.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
}
