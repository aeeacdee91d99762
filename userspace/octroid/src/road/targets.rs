//! Targets that the engines implement: registered, released, listed, waiting for what somebody else still has.
//!
//! The registry decides; [`super::steps`] carries out. A session that an earlier daemon saved keeps its tuples, and so does
//! what the administrator reserved: a target of the configuration that wants one of them waits until it is free.
use std::{fmt, net::IpAddr};

use client::control::{
    answer::TargetRow,
    refusal::Refusal,
    request::{TargetAdd, TargetKind},
};
use ixp::filter::TooManyFilters;
use multistack::{
    refusal::Refusal as Registry,
    registry::{Builtin, Owner, Registration},
    slots::TupleId,
};

use super::{
    Road,
    filters::{builtin_ref, too_many_filters},
    stacks::words,
};
use crate::{config::settings::tuple_of, filters::Ready};

/// A target of the configuration whose tuple somebody else has.
#[derive(Clone, Debug)]
pub struct Waiting {
    target: TargetAdd,
    /// What is to judge its packets.
    filter: Option<Ready>,
    /// What it was refused with last.
    why: String,
}

impl Waiting {
    /// The target.
    #[must_use]
    pub fn name(&self) -> String {
        named(&self.target)
    }

    /// What is the matter with its tuple.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target {} waits: its tuple {}", self.name(), self.why)
    }
}

fn named(TargetAdd { kind, proto, addr, port, .. }: &TargetAdd) -> String {
    format!("{kind} {proto} {addr}:{port}")
}

/// Why a target is not registered.
enum NotNow {
    /// A session or a reservation has its tuple.
    Busy(Owner),
    /// Anything else.
    Refused(Refusal),
}

impl From<Registry> for NotNow {
    fn from(refusal: Registry) -> Self {
        match refusal {
            Registry::Busy(owner @ (Owner::Stack { .. } | Owner::Reserved(_))) => Self::Busy(owner),
            other => Self::Refused(words::refusal(&other)),
        }
    }
}

impl Road {
    /// Registers a target.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn add_target(&mut self, target: &TargetAdd) -> Result<TupleId, Refusal> {
        self.try_target(target, None).map_err(|not_now| match not_now {
            NotNow::Busy(owner) => words::refusal(&Registry::Busy(owner)),
            NotNow::Refused(refusal) => refusal,
        })
    }

    /// Registers a target of the configuration with its filter, now or as soon as whoever has its tuple gives it up.
    ///
    /// # Errors
    /// The refusal, where waiting would not help.
    pub fn add_configured(&mut self, target: &TargetAdd, filter: Option<Ready>) -> Result<(), Refusal> {
        match self.try_target(target, filter.clone()) {
            Ok(_) => Ok(()),
            Err(NotNow::Refused(refusal)) => Err(refusal),
            Err(NotNow::Busy(owner)) => {
                let waiting = Waiting { target: target.clone(), filter, why: owner.to_string() };
                tracing::warn!(id = "target.waiting", "{waiting}");
                self.waiting.push(waiting);
                Ok(())
            }
        }
    }

    /// Registers the targets that waited and whose tuples are free now. A failure is said when it is a new one.
    pub fn take_up_targets(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for Waiting { target, filter, why } in waiting {
            let now = match self.try_target(&target, filter.clone()) {
                Ok(_) => {
                    tracing::info!("target {} has its tuple", named(&target));
                    continue;
                }
                Err(NotNow::Busy(owner)) => owner.to_string(),
                Err(NotNow::Refused(refusal)) => format!("cannot be had: {refusal}"),
            };
            let waiting = Waiting { target, filter, why: now };
            if waiting.why != why {
                tracing::warn!(id = "target.waiting", "{waiting}");
            }
            self.waiting.push(waiting);
        }
    }

    /// Targets of the configuration that wait for their tuples.
    #[must_use]
    pub fn waiting_targets(&self) -> &[Waiting] {
        &self.waiting
    }

    /// Registers a target. Engines know its filter before they know of the target itself, so that its first packet is judged.
    fn try_target(&mut self, target: &TargetAdd, filter: Option<Ready>) -> Result<TupleId, NotNow> {
        let tuple = tuple_of(target)?;
        let registration = Registration {
            tuple,
            builtin: match target.kind {
                TargetKind::Echo => Builtin::Echo,
                TargetKind::Sink => Builtin::Sink,
            },
            on_crash: words::on_crash(target.on_crash),
        };
        let filter = filter.map(|filter| self.fitted_to_targets(filter));
        let mut tables = self.filters.tables().clone();
        let (registry, mut hands) = self.split();
        let change = registry.add(registration)?;
        let id = *change.value();
        if let Some(filter) = &filter {
            let target = builtin_ref(registration.builtin, id);
            tables
                .add_target(target, &filter.installed)
                .map_err(|TooManyFilters| NotNow::Refused(too_many_filters()))?;
            // What engines have of it if a step fails judges nothing: nobody else gets this number soon.
            hands.filters = &tables;
        }
        let done = change.carry_out(|step| hands.act(step));
        let id = done.map_err(|failed| NotNow::Refused(words::failed(failed)))?;
        if let Some(filter) = filter {
            self.filters.came_with(builtin_ref(registration.builtin, id), filter.on(id.raw()), tables);
        }
        Ok(id)
    }

    /// Releases a target.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn remove_target(&mut self, tuple: u16) -> Result<(), Refusal> {
        let (registry, mut hands) = self.split();
        let change = registry.remove(TupleId::from_raw(tuple)).map_err(|r| words::refusal(&r))?;
        change.carry_out(|step| hands.act(step)).map(drop).map_err(words::failed)
    }

    /// Every registered target.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetRow> {
        self.registry.list().map(|(id, registration, addrs)| row(id, registration, addrs)).collect()
    }
}

fn row(id: TupleId, registration: &Registration, addrs: Vec<IpAddr>) -> TargetRow {
    let tuple = &registration.tuple;
    TargetRow {
        tuple: id.raw(),
        kind: match registration.builtin {
            Builtin::Echo => TargetKind::Echo,
            Builtin::Sink => TargetKind::Sink,
        },
        proto: words::said_proto(tuple.proto()),
        addr: words::said_address(tuple.addr()),
        port: tuple.port(),
        on_crash: words::said_on_crash(registration.on_crash),
        addrs: words::listed(addrs),
    }
}
