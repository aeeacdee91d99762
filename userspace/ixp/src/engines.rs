//! All engines of a system, and the one who supervises them: starts, attaches, publishes, reads, stops.
//!
//! Everything here happens off the packet path and may block, within bounds. The supervisor never touches a packet
//! and an engine never waits for the supervisor: between them lie a mailbox, a snapshot and numbers to be read.
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use thiserror::Error;

use crate::{
    account::OverLimit,
    clock::Clock,
    counter::Counter,
    engine::RunToCompletion,
    ledger::{MAX_PORTS, TargetRow},
    panel::{Panel, Pulse},
    port::{Port, PortError, PortId, Receive},
    program::Program,
    role::{Command, Role},
    spec::{EngineSpec, Layout, SpecError},
    tables::{Generation, Published, Tables},
    wakeup::Bell,
    worker::{Alarm, Desk, Worker},
};

pub use crate::role::{PortReport, PortState};

/// Most ports that one engine serves.
pub const MAX_PORTS_PER_ENGINE: usize = 64;

/// How long a supervisor waits for an engine before it calls it late.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Number of an engine, in the order of the specification's cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(u16);

impl EngineId {
    /// The engine with number `id`.
    #[must_use]
    pub const fn new(id: u16) -> Self {
        Self(id)
    }

    /// As an index into the engines.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for EngineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What engines report by themselves.
#[derive(Debug)]
pub enum Event {
    /// A port failed: nothing is received or sent there any more, and it waits to be detached.
    PortFailed {
        /// The engine that noticed.
        engine: EngineId,
        /// The port.
        port: PortId,
        /// Why.
        error: PortError,
    },
}

/// Why the engines could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The specification asks for something impossible.
    #[error(transparent)]
    Spec(#[from] SpecError),
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
    /// The number is beyond [`MAX_PORTS`].
    #[error("port number {given}, {limit} are possible")]
    PortNumber {
        /// The number.
        given: usize,
        /// [`MAX_PORTS`].
        limit: usize,
    },
    /// The engine has all the ports it can serve.
    #[error("engine {engine} serves {given} ports, {limit} are possible")]
    EngineFull {
        /// Which engine.
        engine: EngineId,
        /// Ports it serves.
        given: usize,
        /// [`MAX_PORTS_PER_ENGINE`].
        limit: usize,
    },
    /// There is no such engine, or it does not receive.
    #[error("engine {engine} does not receive")]
    NoSuchEngine {
        /// Which engine.
        engine: EngineId,
    },
}

/// Why a port could not be detached in order.
#[derive(Debug, Error, PartialEq, Eq)]
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

/// All counters of one port on one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The engine.
    pub engine: EngineId,
    /// The port.
    pub port: PortId,
    /// Values in the order of [`Counter::ALL`].
    pub values: [u64; Counter::ALL.len()],
}

impl Row {
    /// Each counter with its value.
    pub fn counters(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().copied().zip(self.values.iter().copied())
    }
}

/// Where an attached port is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The port.
    pub port: PortId,
    /// The engine that receives for it.
    pub engine: EngineId,
}

struct Seat<P: Port> {
    desk: Arc<Desk<P>>,
    thread: Option<JoinHandle<()>>,
}

/// The engines of a system.
///
/// Dropping it stops them; the ports' last reports are then lost.
pub struct Engines<P: Port> {
    seats: Vec<Seat<P>>,
    layout: Layout,
    published: Arc<Published>,
    attached: Vec<Attached>,
    /// Ports that were ever attached: their counters are kept.
    known: Vec<PortId>,
    events: Receiver<Event>,
    event_fd: Arc<EventFd>,
}

impl<P: Port> Engines<P> {
    /// Starts all engines of `spec`, each with a program of its own from `programs`.
    ///
    /// # Errors
    /// [`StartError`]; nothing is running then.
    pub fn start(
        spec: &EngineSpec,
        published: Arc<Published>,
        clock: Arc<dyn Clock>,
        programs: &dyn Fn(EngineId) -> Box<dyn Program>,
    ) -> Result<Self, StartError> {
        spec.check()?;
        let resource = |source: nix::Error| StartError::Resource {
            engine: EngineId(0),
            what: "eventfd",
            source: source.into(),
        };
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(resource)?;
        let (sender, events) = mpsc::channel();
        let alarm = Alarm { events: sender, fd: Arc::new(fd) };
        let mut engines = Self {
            seats: Vec::new(),
            layout: spec.layout,
            published,
            attached: Vec::new(),
            known: Vec::new(),
            events,
            event_fd: Arc::clone(&alarm.fd),
        };
        for (number, &core) in spec.cores.iter().enumerate() {
            let id = EngineId(number as u16);
            let bell = Arc::new(Bell::new().map_err(resource)?);
            let panel = Arc::<Panel>::default();
            let role = RunToCompletion::with_panel(
                programs(id),
                &engines.published,
                spec.limits,
                Arc::clone(&panel),
            );
            let desk = Arc::new(Desk::new(bell, panel));
            let worker = Worker {
                id,
                role,
                desk: Arc::clone(&desk),
                clock: Arc::clone(&clock),
                idle: spec.idle,
                alarm: alarm.clone(),
            };
            let thread = spawn(id, core, worker)?;
            engines.seats.push(Seat { desk, thread: Some(thread) });
        }
        Ok(engines)
    }

    /// Attaches a port to the receiving engine with the fewest ports.
    ///
    /// # Errors
    /// [`AttachError`]; the port is closed then.
    pub fn attach(&mut self, port: P) -> Result<Attached, AttachError> {
        let load = |engine: &EngineId| self.attached.iter().filter(|a| a.engine == *engine).count();
        let engine = self.receivers().min_by_key(load).unwrap_or(EngineId(0));
        self.attach_to(engine, port)
    }

    /// Attaches a port to one engine.
    ///
    /// # Errors
    /// [`AttachError`]; the port is closed then.
    pub fn attach_to(&mut self, engine: EngineId, port: P) -> Result<Attached, AttachError> {
        let (rx, tx) = port.split();
        let port = rx.id();
        if self.attached.iter().any(|a| a.port == port) {
            return Err(AttachError::Duplicate { port });
        }
        if MAX_PORTS <= port.index() {
            return Err(AttachError::PortNumber { given: port.index(), limit: MAX_PORTS });
        }
        let given = self.attached.iter().filter(|a| a.engine == engine).count();
        if MAX_PORTS_PER_ENGINE <= given {
            return Err(AttachError::EngineFull { engine, given, limit: MAX_PORTS_PER_ENGINE });
        }
        let seat = self.seats.get(engine.index()).ok_or(AttachError::NoSuchEngine { engine })?;
        seat.desk.post(Command::Add { rx: Some(rx), tx: Some(tx) });
        let attached = Attached { port, engine };
        self.attached.push(attached);
        if !self.known.contains(&port) {
            self.known.push(port);
        }
        Ok(attached)
    }

    /// Detaches a port and waits until both halves are closed.
    ///
    /// # Errors
    /// [`DetachError`].
    pub fn detach(&mut self, port: PortId) -> Result<PortReport, DetachError> {
        let at = self.attached.iter().position(|a| a.port == port);
        let at = at.ok_or(DetachError::NotAttached { port })?;
        let engine = self.attached.swap_remove(at).engine;
        self.ask(engine, |answer| Command::Close(port, answer))?.ok_or(DetachError::NotAttached { port })
    }

    /// Stops all engines: detaches every port, ends the threads. Counters stay readable.
    pub fn stop(&mut self) -> Vec<Result<PortReport, DetachError>> {
        let ports: Vec<_> = self.attached.iter().map(|a| a.port).collect();
        let reports = ports.into_iter().map(|port| self.detach(port)).collect();
        self.end_threads();
        reports
    }

    fn end_threads(&mut self) {
        for seat in &self.seats {
            seat.desk.post(Command::Stop);
        }
        for thread in self.seats.iter_mut().filter_map(|s| s.thread.take()) {
            // A panic of the engine was printed by the runtime already.
            let _ = thread.join();
        }
    }

    /// Publishes new tables and wakes every engine to take them.
    ///
    /// # Errors
    /// [`OverLimit`]; the old tables stay in force.
    pub fn publish(&self, tables: Tables) -> Result<Generation, OverLimit> {
        let generation = self.published.publish(tables)?;
        self.wake();
        Ok(generation)
    }

    fn wake(&self) {
        self.seats.iter().for_each(|s| s.desk.bell.ring());
    }

    /// Whether every engine goes by `generation` or newer: no packet is judged by older tables any more.
    #[must_use]
    pub fn seen(&self, generation: Generation) -> bool {
        self.unseen(generation).is_none()
    }

    fn unseen(&self, generation: Generation) -> Option<EngineId> {
        let at = self.seats.iter().position(|s| !s.desk.panel.has_seen(generation))?;
        Some(EngineId(at as u16))
    }

    /// Waits until [`Engines::seen`], at most [`PATIENCE`].
    ///
    /// # Errors
    /// The first engine that is late.
    pub fn wait_seen(&self, generation: Generation) -> Result<(), Late> {
        let start = Instant::now();
        self.wake();
        while let Some(engine) = self.unseen(generation) {
            if PATIENCE <= start.elapsed() {
                return Err(Late { engine, waited: PATIENCE });
            }
            thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// The tables in force.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Number of engines.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// The engines that ports can be attached to.
    pub fn receivers(&self) -> impl Iterator<Item = EngineId> + use<P> {
        let count = match self.layout {
            Layout::RunToCompletion => self.seats.len(),
            Layout::Pipeline => 1,
        };
        (0..count as u16).map(EngineId)
    }

    /// The ports attached now.
    #[must_use]
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Counters of every engine and every port that was ever attached.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            for &port in &self.known {
                let Some(counters) = seat.desk.panel.ledger.port(port) else { continue };
                let values = std::array::from_fn(|i| counters.get(Counter::ALL[i]));
                rows.push(Row { engine: EngineId(at as u16), port, values });
            }
        }
        rows
    }

    /// What each target was handed, over all engines. Only a row with the live owner's generation counts for it.
    #[must_use]
    pub fn targets(&self) -> Vec<(EngineId, TargetRow)> {
        let rows = |(at, seat): (usize, &Seat<P>)| {
            let id = EngineId(at as u16);
            seat.desk.panel.ledger.targets().map(|row| (id, row)).collect::<Vec<_>>()
        };
        self.seats.iter().enumerate().flat_map(rows).collect()
    }

    /// The state of each engine.
    #[must_use]
    pub fn pulses(&self) -> Vec<(EngineId, Pulse)> {
        let pulse = |(at, seat): (usize, &Seat<P>)| (EngineId(at as u16), seat.desk.panel.pulse());
        self.seats.iter().enumerate().map(pulse).collect()
    }

    /// Packets that wait in rings and backlogs now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.pulses().iter().map(|(_, pulse)| pulse.held).sum()
    }

    /// Asks every engine where its ports stand.
    ///
    /// # Errors
    /// The first engine that does not answer in time.
    pub fn reports(&self) -> Result<Vec<PortReport>, Late> {
        let mut reports = Vec::new();
        for engine in self.receivers() {
            reports.extend(self.ask(engine, Command::Report)?);
        }
        Ok(reports)
    }

    /// Becomes readable when [`Engines::events`] has something.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.event_fd.as_fd()
    }

    /// What engines have reported since the last call.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let _ = self.event_fd.read();
        self.events.try_iter()
    }

    /// Whether mail waits for `engine` that it has not taken.
    pub(crate) fn has_mail(&self, engine: EngineId) -> bool {
        self.seats.get(engine.index()).is_some_and(|s| s.desk.has_mail())
    }

    fn ask<T>(&self, engine: EngineId, question: impl FnOnce(Sender<T>) -> Command<P>) -> Result<T, Late> {
        let late = Late { engine, waited: PATIENCE };
        let seat = self.seats.get(engine.index()).ok_or(late)?;
        let (sender, answer) = mpsc::channel();
        seat.desk.post(question(sender));
        answer.recv_timeout(PATIENCE).map_err(|_| late)
    }
}

impl<P: Port> Drop for Engines<P> {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// Starts an engine's thread and waits until it is pinned.
fn spawn<P: Port, R: Role<P> + 'static>(
    id: EngineId,
    core: usize,
    worker: Worker<P, R>,
) -> Result<JoinHandle<()>, StartError> {
    let (pinned, answer) = mpsc::channel();
    let body = move || {
        let ok = core_affinity::set_for_current(core_affinity::CoreId { id: core });
        if pinned.send(ok).is_ok() && ok {
            worker.run();
        }
    };
    let thread = thread::Builder::new().name(format!("octroi-me{id}")).spawn(body);
    let thread = thread.map_err(|source| StartError::Resource { engine: id, what: "thread", source })?;
    match answer.recv() {
        Ok(true) => Ok(thread),
        _ => Err(StartError::Pin { engine: id, core }),
    }
}
