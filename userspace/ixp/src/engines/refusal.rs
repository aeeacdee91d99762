//! Why engines could not be started, a port not attached, or not detached in time.
use std::{io, time::Duration};

use thiserror::Error;

use super::EngineId;
use crate::{account::OverLimit, port::PortId, ring::RingSize, role::OpenChannelError, spec::SpecError};

/// Why the engines could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The specification asks for something impossible.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The engines would take more memory than they may have.
    #[error(transparent)]
    Memory(#[from] OverLimit),
    /// A scratch ring cannot be made.
    #[error(transparent)]
    Ring(#[from] RingSize),
    /// A thread or its eventfd could not be made.
    #[error("{what} of engine {engine}: {source}")]
    Resource {
        /// Which engine.
        engine: EngineId,
        /// What was to be made.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused to pin a thread.
    #[error("engine {engine} cannot be pinned to core {core}")]
    Pin {
        /// Which engine.
        engine: EngineId,
        /// The core.
        core: usize,
    },
}

/// Why a port could not be attached.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AttachError {
    /// A port with this number is there already.
    #[error("port {port} is attached already")]
    Duplicate {
        /// Its number.
        port: PortId,
    },
    /// The number is beyond [`crate::ledger::MAX_PORTS`].
    #[error("port number {given}, {limit} are possible")]
    PortNumber {
        /// The number.
        given: usize,
        /// [`crate::ledger::MAX_PORTS`].
        limit: usize,
    },
    /// The engine has all the ports it can serve.
    #[error("engine {engine} serves {given} ports, {limit} are possible")]
    EngineFull {
        /// Which engine.
        engine: EngineId,
        /// Ports it serves.
        given: usize,
        /// [`super::MAX_PORTS_PER_ENGINE`].
        limit: usize,
    },
    /// It would take more memory than the engines may have.
    #[error(transparent)]
    Memory(#[from] OverLimit),
    /// There is no such engine, or it does not receive.
    #[error("engine {engine} does not receive")]
    NoSuchEngine {
        /// Which engine.
        engine: EngineId,
    },
}

/// Why a port could not be detached in order.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DetachError {
    /// No such port.
    #[error("port {port} is not attached")]
    NotAttached {
        /// Its number.
        port: PortId,
    },
    /// The engine did not answer in time. The command stays with it and will be obeyed.
    #[error(transparent)]
    Late(#[from] Late),
}

/// An engine that has not done in time what it should.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("engine {engine} did not answer within {waited:?}")]
pub struct Late {
    /// Which engine.
    pub engine: EngineId,
    /// How long was waited.
    pub waited: Duration,
}

/// Why an application's channel is not served.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The engine refused.
    #[error(transparent)]
    Refused(#[from] OpenChannelError),
    /// The engine did not answer.
    #[error(transparent)]
    Late(#[from] Late),
}
