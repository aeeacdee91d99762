//! All engines of a system, and the one who supervises them: starts, attaches, publishes, reads, stops.
//!
//! Everything here happens off the packet path and may block, within bounds. The supervisor never touches a packet
//! and an engine never waits for the supervisor: between them lie a mailbox, a snapshot and numbers to be read.
mod build;
mod refusal;

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use multistack::registry::SessionId;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    account::{Account, Charge, OverLimit, Standing},
    capture::{CaptureId, EngineTap},
    clock::{Clock, Nanos},
    counter::Counter,
    engine::Limits,
    frame::Frame,
    ledger::{MAX_PORTS, TargetRow},
    panel::Pulse,
    pipeline::Joint,
    port::{Port, PortError, PortId, Receive},
    program::Program,
    role::Command,
    spec::{EngineSpec, Layout},
    stacks::{StackChannel, StackEvent},
    tables::{Generation, Published, Tables},
    worker::{Alarm, Desk},
};

pub use crate::role::{OpenChannelError, PortReport, PortState};
use build::Builder;
pub use refusal::{AttachError, ChannelError, DetachError, Late, StartError};

/// Most ports that one engine serves.
pub const MAX_PORTS_PER_ENGINE: usize = 64;

/// How long a supervisor waits for an engine before it calls it late.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a port that is detached may take to send what is under way.
const DRAIN: Duration = Duration::from_millis(100);

/// How often a waiting supervisor looks.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

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
    /// Something about an application that an engine serves.
    Stack {
        /// The engine.
        engine: EngineId,
        /// What.
        event: StackEvent,
    },
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

/// How full a scratch ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLevel {
    /// The engine that fills it.
    pub from: EngineId,
    /// The engine that empties it.
    pub to: EngineId,
    /// Packets or frames waiting now.
    pub waiting: usize,
    /// Most that ever waited.
    pub high_water: usize,
    /// Slots.
    pub capacity: usize,
}

/// An attached port and the memory it is charged with.
struct Place {
    attached: Attached,
    _memory: [Charge; 2],
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
    joints: Vec<Joint>,
    layout: Layout,
    limits: Limits,
    published: Arc<Published>,
    clock: Arc<dyn Clock>,
    sram: Arc<Account>,
    dram: Arc<Account>,
    _memory: Charge,
    attached: Vec<Place>,
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
        let sram = Account::new("sram", spec.limits.sram_bytes);
        let memory = sram.charge(build::sram_bytes(spec))?;
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let fd = fd.map_err(|source| StartError::Resource {
            engine: EngineId(0),
            what: "eventfd",
            source: source.into(),
        })?;
        let (sender, events) = mpsc::channel();
        let alarm = Alarm { events: sender, fd: Arc::new(fd) };
        let mut engines = Self {
            seats: Vec::new(),
            joints: Vec::new(),
            layout: spec.layout,
            limits: spec.limits,
            published: Arc::clone(&published),
            clock: Arc::clone(&clock),
            sram,
            dram: Account::new("dram", spec.limits.dram_bytes),
            _memory: memory,
            attached: Vec::new(),
            known: Vec::new(),
            events,
            event_fd: Arc::clone(&alarm.fd),
        };
        let builder = Builder { spec, published: &published, clock: &clock, programs, alarm };
        builder.start(&mut engines.seats, &mut engines.joints)?;
        Ok(engines)
    }

    /// Attaches a port to the receiving engine with the fewest ports.
    ///
    /// # Errors
    /// [`AttachError`]; the port is closed then.
    pub fn attach(&mut self, port: P) -> Result<Attached, AttachError> {
        let engine = self.receivers().min_by_key(|engine| self.load(*engine)).unwrap_or(EngineId(0));
        self.attach_to(engine, port)
    }

    fn load(&self, engine: EngineId) -> usize {
        self.attached.iter().filter(|place| place.attached.engine == engine).count()
    }

    /// Attaches a port to one engine.
    ///
    /// # Errors
    /// [`AttachError`]; the port is closed then.
    pub fn attach_to(&mut self, engine: EngineId, port: P) -> Result<Attached, AttachError> {
        let (rx, tx) = port.split();
        let port = rx.id();
        if self.attached.iter().any(|place| place.attached.port == port) {
            return Err(AttachError::Duplicate { port });
        }
        if MAX_PORTS <= port.index() {
            return Err(AttachError::PortNumber { given: port.index(), limit: MAX_PORTS });
        }
        let given = self.load(engine);
        if MAX_PORTS_PER_ENGINE <= given {
            return Err(AttachError::EngineFull { engine, given, limit: MAX_PORTS_PER_ENGINE });
        }
        if self.receivers().all(|receiver| receiver != engine) {
            return Err(AttachError::NoSuchEngine { engine });
        }
        let backlog = self.limits.backlog_frames * size_of::<Frame>();
        let memory = [self.dram.charge(rx.memory_bytes())?, self.sram.charge(backlog as u64)?];
        let sender = self.sender(engine);
        if sender == engine {
            self.post(engine, Command::Add { rx: Some(rx), tx: Some(tx) });
        } else {
            // The way out first: the first packet needs it.
            self.post(sender, Command::Add { rx: None, tx: Some(tx) });
            self.post(engine, Command::Add { rx: Some(rx), tx: None });
        }
        let attached = Attached { port, engine };
        self.attached.push(Place { attached, _memory: memory });
        if !self.known.contains(&port) {
            self.known.push(port);
        }
        Ok(attached)
    }

    /// The engine that sends for the ports of a receiving one.
    fn sender(&self, receiver: EngineId) -> EngineId {
        match self.layout {
            Layout::RunToCompletion => receiver,
            Layout::Pipeline => EngineId(self.seats.len().saturating_sub(1) as u16),
        }
    }

    fn post(&self, engine: EngineId, command: Command<P>) {
        if let Some(seat) = self.seats.get(engine.index()) {
            seat.desk.post(command);
        }
    }

    /// Lets an engine serve an application's channel, and waits until it does.
    ///
    /// # Errors
    /// [`OpenChannelError`], or the engine did not answer: then it may come to it later.
    pub fn open_channel(&self, engine: EngineId, channel: StackChannel) -> Result<(), ChannelError> {
        Ok(self.ask(engine, |answer| Command::Open(Box::new(channel), answer))??)
    }

    /// Lets an engine let go of a session's channel, and waits until it has: nothing touches its memory any more.
    /// Returns whether the engine served it.
    ///
    /// # Errors
    /// The engine did not answer.
    pub fn close_channel(&self, engine: EngineId, session: SessionId) -> Result<bool, Late> {
        self.ask(engine, |answer| Command::Shut(session, answer))
    }

    /// Lets a capture see what an engine does, and waits until it does.
    ///
    /// # Errors
    /// The engine did not answer; it may come to it later.
    pub fn begin_capture(&self, engine: EngineId, tap: EngineTap) -> Result<(), Late> {
        self.ask(engine, |answer| Command::Tap(Box::new(tap), answer))
    }

    /// Ends a capture on every engine, and waits until no ring of it is touched any more.
    ///
    /// # Errors
    /// The first engine that did not answer; the others were told.
    pub fn end_capture(&self, id: CaptureId) -> Result<(), Late> {
        let engines = (0..self.seats.len() as u16).map(EngineId);
        engines
            .map(|engine| self.ask(engine, |answer| Command::Untap(id, answer)).map(drop))
            .fold(Ok(()), Result::and)
    }

    /// The engines' clock.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// Detaches a port: lets what has arrived and what is under way come to its end, within bounds, then waits until
    /// both halves are closed.
    ///
    /// Whoever leads packets to the port stops that first; what still comes after the bound is lost with the port.
    ///
    /// # Errors
    /// [`DetachError`]. After [`DetachError::Late`] the port is no longer attached; the engine closes it when it
    /// comes to it.
    pub fn detach(&mut self, port: PortId) -> Result<PortReport, DetachError> {
        let not_attached = DetachError::NotAttached { port };
        let at = self.attached.iter().position(|place| place.attached.port == port);
        let place = self.attached.swap_remove(at.ok_or(not_attached)?);
        let receiver = place.attached.engine;
        let sender = self.sender(receiver);
        self.post(receiver, Command::Quiesce(port));
        self.wait_quiet(receiver, port, DRAIN)?;
        if sender != receiver {
            self.ask(sender, |answer| Command::Close(port, answer))?;
            // What waited for its way out comes back now.
            self.wait_quiet(receiver, port, PATIENCE)?;
        }
        self.ask(receiver, |answer| Command::Close(port, answer))?.ok_or(not_attached)
    }

    /// Waits, at most `bound`, until a port that quiesces has received its last and no engine has a frame of it.
    fn wait_quiet(&self, receiver: EngineId, port: PortId, bound: Duration) -> Result<(), Late> {
        let start = Instant::now();
        loop {
            let reports = self.ask(receiver, Command::Report)?;
            let quiet = |report: &PortReport| {
                matches!(report.state, PortState::Quiesced | PortState::Failed) && report.census.out == 0
            };
            if reports.iter().find(|r| r.port == port).is_none_or(quiet) || bound <= start.elapsed() {
                return Ok(());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Stops all engines: detaches every port, ends the threads. Counters stay readable.
    pub fn stop(&mut self) -> Vec<Result<PortReport, DetachError>> {
        let ports: Vec<_> = self.attached().iter().map(|a| a.port).collect();
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
            thread::sleep(LOOK_AGAIN);
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
    pub fn attached(&self) -> Vec<Attached> {
        self.attached.iter().map(|place| place.attached).collect()
    }

    /// How the memory accounts stand: tables, SRAM, DRAM.
    #[must_use]
    pub fn accounts(&self) -> [Standing; 3] {
        [self.published.standing(), self.sram.standing(), self.dram.standing()]
    }

    /// The scratch rings between engines.
    #[must_use]
    pub fn rings(&self) -> Vec<RingLevel> {
        self.joints.iter().map(build::level).collect()
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
        let pulse = |(at, seat): (usize, &Seat<P>)| {
            (EngineId(at as u16), Pulse { mail_waits: seat.desk.has_mail(), ..seat.desk.panel.pulse() })
        };
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

#[cfg(test)]
mod tests;
