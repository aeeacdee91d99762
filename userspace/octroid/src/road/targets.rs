//! Targets that the engines implement: registered, released, listed; and the local addresses that all tuples have.
//!
//! The registry decides; [`super::steps`] carries out.
use std::net::IpAddr;

use anyhow::Result;
use client::control::{
    answer::TargetRow,
    refusal::Refusal,
    request::{TargetAdd, TargetKind},
};
use multistack::{
    registry::{Builtin, Event, Registration},
    slots::TupleId,
};

use super::{Road, stacks::words};
use crate::config::settings::tuple_of;

impl Road {
    /// Registers a target.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn add_target(&mut self, target: &TargetAdd) -> Result<TupleId, Refusal> {
        let tuple = tuple_of(target).map_err(|r| words::refusal(&r))?;
        let registration = Registration {
            tuple,
            builtin: match target.kind {
                TargetKind::Echo => Builtin::Echo,
                TargetKind::Sink => Builtin::Sink,
            },
            on_crash: words::on_crash(target.on_crash),
        };
        let (registry, mut hands) = self.split();
        let change = registry.add(registration).map_err(|r| words::refusal(&r))?;
        change.carry_out(|step| hands.act(step)).map_err(words::failed)
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

/// Makes these the local addresses, and yields what applications are to be told.
pub(super) fn set_addresses(road: &mut Road, addresses: &[IpAddr]) -> Result<Vec<Event>> {
    let (registry, mut hands) = road.split();
    let change = registry.set_addresses(addresses)?;
    Ok(change.carry_out(|step| hands.act(step))?)
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
