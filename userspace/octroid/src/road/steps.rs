//! The registry's steps, carried out: on the engines, on XDP's table, on sockets and on shared memory.
//!
//! The registry decides which steps there are and in which order, and what undoes each of them. A step that fails here
//! leaves nothing behind; nobody else writes the steering table, binds a placeholder or opens a channel.
use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc};

use ixp::{
    account::OverLimit,
    engines::{Engines, Late},
    filter::Filters,
    tables::{PortConfigs, Tables},
};
use multistack::{
    books::Book,
    mirror::Mirror,
    neighbour::Network,
    registry::{Lent, Registry, SessionId, Socket},
    step::Step,
};
use thiserror::Error;
use xsk::{
    bpf::{BpfError, Steering},
    socket::XskPort,
};

use super::{
    Road,
    stacks::{
        rings::{Handed, Plan, Rings, RingsError},
        sockets::Sockets,
    },
};

/// Why a step could not be done.
#[derive(Debug, Error)]
pub enum StepError {
    /// The kernel refused.
    #[error(transparent)]
    Steering(#[from] BpfError),
    /// The tables would outgrow their memory.
    #[error(transparent)]
    Tables(#[from] OverLimit),
    /// An engine did not answer in time.
    #[error(transparent)]
    Late(#[from] Late),
    /// A placeholder cannot be bound.
    #[error("{} {}: {error}", socket.proto, socket.at)]
    Bind {
        /// Which.
        socket: Socket,
        /// What the kernel said.
        error: io::Error,
    },
    /// A placeholder cannot be silenced.
    #[error("a socket filter: {0}")]
    Silence(#[source] io::Error),
    /// The descriptor that was to be kept is not there.
    #[error("there is no descriptor to be kept")]
    NoDescriptor,
    /// A session's rings cannot be made.
    #[error(transparent)]
    Rings(#[from] RingsError),
    /// Rings that were taken from an application cannot be given back to it.
    #[error("the session's rings are gone")]
    NoPlan,
}

/// What steps are carried out with.
pub(super) struct Hands<'a> {
    engines: &'a Engines<XskPort>,
    configs: &'a PortConfigs,
    /// The filters in force with the next mirror.
    pub(super) filters: &'a Filters,
    network: &'a Arc<Network>,
    steering: &'a mut Steering,
    sockets: &'a mut Sockets,
    rings: &'a mut BTreeMap<SessionId, Rings>,
    ended: &'a mut Book,
    /// The rings that may be opened.
    pub(super) plan: Option<Plan>,
    /// What the application is to be sent.
    pub(super) handed: Handed,
    /// The descriptor that came with the request.
    pub(super) lent: Option<OwnedFd>,
    /// Those that were given up, should it be undone.
    given_up: BTreeMap<Lent, OwnedFd>,
}

impl Road {
    /// The registry, and what its steps are carried out with.
    pub(super) fn split(&mut self) -> (&mut Registry, Hands<'_>) {
        let Self { registry, engines, configs, filters, view, steering, stacks, .. } = self;
        let hands = Hands {
            engines,
            configs,
            filters: filters.tables(),
            network: view.network(),
            steering,
            sockets: &mut stacks.sockets,
            rings: &mut stacks.rings,
            ended: &mut stacks.ended,
            plan: None,
            handed: Handed::new(),
            lent: None,
            given_up: BTreeMap::new(),
        };
        (registry, hands)
    }
}

impl Hands<'_> {
    pub(super) fn act(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::PublishMirror(mirror) => self.publish(mirror),
            Step::PutSteer { key, target } => Ok(self.steering.put(*key, *target)?),
            Step::DelSteer { key } => Ok(self.steering.delete(*key)?),
            Step::Bind(socket) => {
                self.sockets.bind(*socket).map_err(|error| StepError::Bind { socket: *socket, error })
            }
            Step::Silence(socket) => self.sockets.silence(socket).map_err(StepError::Silence),
            Step::Close(socket) => {
                self.sockets.close(socket);
                Ok(())
            }
            Step::Keep(lent) => {
                let fd = self.given_up.remove(lent).or_else(|| self.lent.take());
                self.sockets.keep(*lent, fd.ok_or(StepError::NoDescriptor)?);
                Ok(())
            }
            Step::Forget(lent) => {
                self.given_up.extend(self.sockets.forget(lent).map(|fd| (*lent, fd)));
                Ok(())
            }
            Step::OpenChannels(session) => self.open(*session),
            Step::ShutChannels(session) => self.shut(*session),
        }
    }

    fn publish(&self, mirror: &Arc<Mirror>) -> Result<(), StepError> {
        let (mirror, network) = (Arc::clone(mirror), Arc::clone(self.network));
        let generation = self.engines.publish(Tables {
            mirror,
            ports: self.configs.clone(),
            network,
            filters: self.filters.clone(),
        })?;
        Ok(self.engines.wait_seen(generation)?)
    }

    fn open(&mut self, session: SessionId) -> Result<(), StepError> {
        let plan = self.plan.take().ok_or(StepError::NoPlan)?;
        let (rings, handed) = Rings::open(session, &plan, self.engines)?;
        self.rings.insert(session, rings);
        self.handed = handed;
        Ok(())
    }

    fn shut(&mut self, session: SessionId) -> Result<(), StepError> {
        if let Some(rings) = self.rings.get(&session) {
            rings.close(self.engines)?;
            self.ended.add(&rings.book());
            self.rings.remove(&session);
        }
        self.handed.clear();
        Ok(())
    }
}
