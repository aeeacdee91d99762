//! What an engine's thread needs of the engine it runs, whatever its place in the layout.
//!
//! The thread ([`crate::worker`]) knows mail, clocks and sleep; a role knows packets. Neither knows the other's.
use std::sync::mpsc::Sender;

use multistack::registry::SessionId;
use thiserror::Error;

use crate::{
    capture::{CaptureId, EngineTap, Tap},
    clock::Nanos,
    port::{Census, Port, PortError, PortId, RxLosses},
    stacks::{StackChannel, StackEvent},
    tables::Generation,
    wakeup::PollSet,
};

/// What one round of an engine did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Packets that the round moved.
    pub moved: usize,
    /// Packets that wait in backlogs now, and in rings this engine reads.
    pub held: usize,
}

/// Where a port stands, as the engine that owns its receiving half knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// The port.
    pub port: PortId,
    /// What was lost before the engine, since the port was made.
    pub losses: RxLosses,
    /// Where its chunks are.
    pub census: Census,
    /// Whether it failed and awaits being detached.
    pub state: PortState,
}

/// What an engine does with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Receives and sends.
    Running,
    /// Receives what is there already, and then nothing more.
    Draining {
        /// Packets that it still receives at most: others may go on sending to it.
        left: usize,
    },
    /// Receives nothing more; what is under way is still sent.
    Quiesced,
    /// Gave an error; nothing is asked of it any more.
    Failed,
}

/// A failure of a port, noticed by an engine.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) port: PortId,
    pub(crate) error: PortError,
}

/// Why an engine does not serve an application.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenChannelError {
    /// Its program has no stage for stacks, or it is an engine that runs none.
    #[error("this engine serves no stacks: layout run-to-completion does")]
    NoStage,
    /// The kernel cannot watch one more bell.
    #[error("watching the application's bell: {0}")]
    Bell(#[from] nix::errno::Errno),
}

/// What the supervisor asks of an engine.
pub(crate) enum Command<P: Port> {
    /// Serve these halves; a role takes those that are its own.
    Add { rx: Option<P::Rx>, tx: Option<P::Tx> },
    /// Receive what is there from this port, and then nothing more.
    Quiesce(PortId),
    /// Drop the halves of this port that are here, then answer with the last report, if the receiving half was.
    Close(PortId, Sender<Option<PortReport>>),
    /// Say where the ports stand whose receiving halves are here.
    Report(Sender<Vec<PortReport>>),
    /// Serve this application.
    Open(Box<StackChannel>, Sender<Result<(), OpenChannelError>>),
    /// Let go of this session's channel; answers whether it was here.
    Shut(SessionId, Sender<bool>),
    /// Show packets to this capture from now on.
    Tap(Box<EngineTap>, Sender<()>),
    /// Show none to that one any more; answers whether it was here.
    Untap(CaptureId, Sender<bool>),
    /// End the thread.
    Stop,
}

/// One engine.
pub(crate) trait Role<P: Port>: Send {
    /// Takes the newest tables and returns their number.
    fn refresh(&mut self) -> Generation;
    /// The number of the newest tables, taken or not.
    fn newest(&self) -> Generation;
    /// One round: everything once, nothing waited for.
    fn turn<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> Turn;
    /// Carries out a command that is not for the thread itself: `Tap`, `Untap` and `Stop` are.
    fn obey(&mut self, command: Command<P>, tap: &mut impl Tap);
    /// Whether rings that others fill have something for it.
    fn work_waits(&self) -> bool;
    /// Whether it must come back soon even if nothing arrives.
    fn is_pending(&self) -> bool;
    /// Adds what it waits for, in the order that [`Role::broken`] counts; `Err` if a port is always ready.
    fn listen<'a>(&'a self, set: &mut PollSet<'a>) -> Result<(), AlwaysReady>;
    /// Says to everybody outside that it is about to block, and whether there is work after all.
    fn arm(&mut self) -> bool {
        false
    }
    /// Says to everybody outside that it is awake.
    fn disarm(&mut self) {}
    /// Hands out what is to be said of applications.
    fn stack_events(&mut self, _each: &mut dyn FnMut(StackEvent)) {}
    /// The `nth` descriptor added by [`Role::listen`] reported an error.
    fn broken(&mut self, nth: usize);
    /// Hands out the failures since the last call.
    fn failures(&mut self, each: &mut dyn FnMut(Failure));
}

/// A port cannot be waited for: the engine must not block.
pub(crate) struct AlwaysReady;
