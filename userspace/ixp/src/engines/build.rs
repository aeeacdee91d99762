//! Builds the engines of a layout, joins them by scratch rings, and starts their threads.
use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use super::{EngineId, RingLevel, Seat, StartError};
use crate::{
    clock::Clock,
    engine::RunToCompletion,
    ledger::Ledger,
    pipeline::{self, Joint, Leaving, Station},
    port::Port,
    program::Program,
    role::Role,
    spec::{Confine, EngineSpec, Layout},
    tables::Published,
    wakeup::Bell,
    worker::{Alarm, Desk, Worker},
};

/// Bytes of the SRAM account that the engines of a specification take.
pub(super) fn sram_bytes(spec: &EngineSpec) -> u64 {
    let engines = spec.cores.len();
    let slots = match spec.layout {
        Layout::RunToCompletion => 0,
        Layout::Pipeline => pipeline::ring_slots(engines.saturating_sub(2), &spec.limits),
    };
    (engines * Ledger::BYTES + slots * size_of::<Leaving>()) as u64
}

/// How full a ring is.
pub(super) fn level(joint: &Joint) -> RingLevel {
    let (waiting, high_water, capacity) = joint.level.look();
    RingLevel { from: joint.from, to: joint.to, waiting, high_water, capacity }
}

/// What all engines are built from.
pub(super) struct Builder<'a> {
    pub(super) spec: &'a EngineSpec,
    pub(super) published: &'a Published,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) programs: &'a dyn Fn(EngineId) -> Box<dyn Program>,
    pub(super) alarm: Alarm,
}

impl Builder<'_> {
    /// Starts all engines; those already started are stopped by the caller if a later one fails.
    pub(super) fn start<P: Port>(
        &self,
        seats: &mut Vec<Seat<P>>,
        joints: &mut Vec<Joint>,
    ) -> Result<(), StartError> {
        let stations = self.stations()?;
        match (self.spec.layout, &stations[..]) {
            (Layout::Pipeline, [first, between @ .., last]) => {
                let Self { published, programs, .. } = *self;
                let pipeline =
                    pipeline::assemble(first, between, last, published, self.spec.limits, programs)?;
                joints.extend(pipeline.joints);
                seats.push(self.spawn("rx", first, pipeline.rx)?);
                for (station, engine) in between.iter().zip(pipeline.engines) {
                    seats.push(self.spawn("me", station, engine)?);
                }
                seats.push(self.spawn("tx", last, pipeline.tx)?);
            }
            _ => {
                for station in &stations {
                    let program = (self.programs)(station.id);
                    let panel = Arc::clone(&station.panel);
                    let role: RunToCompletion<P> =
                        RunToCompletion::with_panel(program, self.published, self.spec.limits, panel);
                    seats.push(self.spawn("me", station, role)?);
                }
            }
        }
        Ok(())
    }

    fn stations(&self) -> Result<Vec<Station>, StartError> {
        let station = |number| {
            let id = EngineId(number as u16);
            let bell = Bell::new().map_err(|source| StartError::Resource {
                engine: id,
                what: "eventfd",
                source: source.into(),
            })?;
            Ok(Station { id, bell: Arc::new(bell), panel: Arc::default() })
        };
        (0..self.spec.cores.len()).map(station).collect()
    }

    /// Starts an engine's thread and waits until it is pinned and confined.
    fn spawn<P: Port, R: Role<P> + 'static>(
        &self,
        name: &str,
        station: &Station,
        role: R,
    ) -> Result<Seat<P>, StartError> {
        let id = station.id;
        let core = self.spec.cores.get(id.index()).copied().unwrap_or_default();
        let desk = Arc::new(Desk::new(Arc::clone(&station.bell), Arc::clone(&station.panel)));
        let worker = Worker {
            id,
            role,
            desk: Arc::clone(&desk),
            clock: Arc::clone(self.clock),
            idle: self.spec.idle,
            alarm: self.alarm.clone(),
        };
        let (ready, answer) = mpsc::channel();
        let Confine(confine) = self.spec.confine;
        let body = move || {
            let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
            let ended = if pinned { confine().map_err(Some) } else { Err(None) };
            let goes_on = ended.is_ok();
            if ready.send(ended).is_ok() && goes_on {
                worker.run();
            }
        };
        let thread: Result<JoinHandle<()>, _> =
            thread::Builder::new().name(format!("octroi-{name}{id}")).spawn(body);
        let thread = thread.map_err(|source| StartError::Resource { engine: id, what: "thread", source })?;
        match answer.recv() {
            Ok(Ok(())) => Ok(Seat { desk, thread: Some(thread) }),
            Ok(Err(Some(source))) => {
                Err(StartError::Resource { engine: id, what: "giving up the rights", source })
            }
            Ok(Err(None)) | Err(_) => Err(StartError::Pin { engine: id, core }),
        }
    }
}
