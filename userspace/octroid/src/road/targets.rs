//! Targets: the registry decides, this carries out: the mirror to the engines, the entries to XDP's table.
//!
//! A step that fails is undone by the registry's own plan. Nobody else writes the steering table.
use std::{net::IpAddr, sync::Arc};

use abi::steer::SteerKey;
use anyhow::Result;
use client::control::{
    answer::{MAX_LISTED_ADDRS, TargetRow},
    refusal::{Code, Refusal},
    request::{LocalAddr, OnCrash, Proto, TargetAdd, TargetKind},
};
use ixp::{
    account::OverLimit,
    engines::{Engines, Late},
    tables::{PortConfigs, Tables},
};
use multistack::{
    mirror::Mirror,
    refusal::Refusal as Registry,
    registry::{self, Builtin, Failed, Registration},
    slots::TupleId,
    steer::Table,
    step::Step,
    tuple::{self, Address},
};
use thiserror::Error;
use xsk::{
    bpf::{BpfError, Steering},
    socket::XskPort,
};

use super::Road;
use crate::config::settings::tuple_of;

/// Why a step could not be done.
#[derive(Debug, Error)]
pub enum StepError {
    /// The kernel refused.
    #[error(transparent)]
    Steering(#[from] BpfError),
    /// The tables would outgrow their memory.
    #[error(transparent)]
    Tables(#[from] OverLimit),
    /// An engine did not take the tables in time.
    #[error(transparent)]
    Late(#[from] Late),
    /// A step that no change of a builtin target has.
    #[error("a builtin target has no such step")]
    NotOfTargets,
}

impl Road {
    /// Registers a target.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn add_target(&mut self, target: &TargetAdd) -> Result<TupleId, Refusal> {
        let tuple = tuple_of(target).map_err(|r| refusal(&r))?;
        let registration = Registration {
            tuple,
            builtin: match target.kind {
                TargetKind::Echo => Builtin::Echo,
                TargetKind::Sink => Builtin::Sink,
            },
            on_crash: match target.on_crash {
                OnCrash::Drop => registry::OnCrash::Drop,
                OnCrash::Pass => registry::OnCrash::Pass,
            },
        };
        let Self { registry, engines, configs, steering, .. } = self;
        let change = registry.add(registration).map_err(|r| refusal(&r))?;
        change.carry_out(|step| act(step, engines, configs, steering)).map_err(failed)
    }

    /// Releases a target.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn remove_target(&mut self, tuple: u16) -> Result<(), Refusal> {
        let Self { registry, engines, configs, steering, .. } = self;
        let change = registry.remove(TupleId::from_raw(tuple)).map_err(|r| refusal(&r))?;
        change.carry_out(|step| act(step, engines, configs, steering)).map(drop).map_err(failed)
    }

    /// Every registered target.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetRow> {
        self.registry.list().map(|(id, registration, addrs)| row(id, registration, addrs)).collect()
    }

    /// Removes entries of the steering table that no registration accounts for: an earlier daemon's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_strangers(&mut self) -> Result<usize> {
        let mirror = Arc::clone(self.registry.mirror());
        let stranger = |key: &SteerKey| mirror.get(key).is_none();
        let strangers: Vec<_> = self.steering.list()?.into_iter().map(|(k, _)| k).filter(stranger).collect();
        for &key in &strangers {
            self.steering.delete(key)?;
        }
        Ok(strangers.len())
    }
}

/// Makes these the local addresses.
pub(super) fn set_addresses(road: &mut Road, addresses: &[IpAddr]) -> Result<()> {
    let Road { registry, engines, configs, steering, .. } = road;
    let change = registry.set_addresses(addresses)?;
    change.carry_out(|step| act(step, engines, configs, steering))?;
    Ok(())
}

fn act(
    step: &Step,
    engines: &Engines<XskPort>,
    configs: &PortConfigs,
    steering: &mut Steering,
) -> Result<(), StepError> {
    match step {
        Step::PublishMirror(mirror) => publish(mirror, engines, configs),
        Step::PutSteer { key, target } => Ok(steering.put(*key, *target)?),
        Step::DelSteer { key } => Ok(steering.delete(*key)?),
        // Builtin targets have neither placeholders nor channels.
        Step::Bind(_)
        | Step::Silence(_)
        | Step::Close(_)
        | Step::Keep(_)
        | Step::Forget(_)
        | Step::OpenChannels(_)
        | Step::ShutChannels(_) => Err(StepError::NotOfTargets),
    }
}

fn publish(mirror: &Arc<Mirror>, engines: &Engines<XskPort>, configs: &PortConfigs) -> Result<(), StepError> {
    let generation = engines.publish(Tables { mirror: Arc::clone(mirror), ports: configs.clone() })?;
    Ok(engines.wait_seen(generation)?)
}

fn row(id: TupleId, registration: &Registration, addrs: Vec<IpAddr>) -> TargetRow {
    let tuple = &registration.tuple;
    TargetRow {
        tuple: id.raw(),
        kind: match registration.builtin {
            Builtin::Echo => TargetKind::Echo,
            Builtin::Sink => TargetKind::Sink,
        },
        proto: match tuple.proto() {
            tuple::Proto::Tcp => Proto::Tcp,
            tuple::Proto::Udp => Proto::Udp,
            tuple::Proto::Sctp => Proto::Sctp,
            tuple::Proto::Dccp => Proto::Dccp,
            tuple::Proto::UdpLite => Proto::UdpLite,
        },
        addr: match tuple.addr() {
            Address::Any => LocalAddr::Any,
            Address::Is(addr) => LocalAddr::Ip(addr),
        },
        port: tuple.port(),
        on_crash: match registration.on_crash {
            registry::OnCrash::Drop => OnCrash::Drop,
            registry::OnCrash::Pass => OnCrash::Pass,
        },
        addrs: addrs.into_iter().take(MAX_LISTED_ADDRS).collect(),
    }
}

/// The registry's refusal in the words of the control protocol.
fn refusal(refusal: &Registry) -> Refusal {
    if let Registry::NoSpace { given, limit, .. } = refusal {
        return Refusal::limit(refusal, *given as u64, *limit as u64);
    }
    let code = Code::ALL.into_iter().find(|code| code.name() == refusal.code());
    code.unwrap_or(Code::Eio).because(refusal)
}

fn failed(failed: Failed<StepError>) -> Refusal {
    if !failed.stuck.is_empty() {
        tracing::warn!(steps = failed.stuck.len(), "a change could not be undone whole");
    }
    match failed.cause {
        StepError::Tables(over) => Refusal::limit(over.to_string(), over.given, over.limit),
        cause => Code::Eio.because(cause),
    }
}
