//! The engine of layout `run-to-completion`: it receives, judges and sends for the ports it owns, all on one core.
//!
//! It starts no thread and reads no clock: [`crate::engines`] gives it one, tests and offline verbs call
//! [`RunToCompletion::turn`] themselves. A packet that is to leave by a port of another engine is dropped as
//! `tx_port_gone`: engines of this layout share nothing.
use std::sync::Arc;

use abi::shm::desc::Form;
use multistack::{egress::World, neighbour::LinkNo, registry::SessionId};

use crate::{
    capture::{Crossing, Off, Refused, Tap, Taps, Way},
    clock::Nanos,
    counter::{Counter, Loss},
    frame::Frame,
    ledger::Ledger,
    outbox::{Outbox, Sent},
    panel::Panel,
    port::{Port, PortError, PortId, Receive},
    program::{Env, Out, Program, Verdict},
    role::{AlwaysReady, Command, Failure, OpenChannelError, PortReport, PortState, Role, Turn},
    stacks::{Copied, Crossings, Source, StackChannel, StackEvent, Stacks, Wires},
    tables::{Generation, PortConfigs, Published, Reader},
    wakeup::PollSet,
};

/// The limits of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets of one port judged in one round.
    pub batch: usize,
    /// Frames that may wait for one port's transmit ring.
    pub backlog_frames: usize,
    /// Slots of each scratch ring between engines (layout `pipeline`), a power of two.
    pub scratch_slots: usize,
    /// Bytes of ledgers, rings and backlogs of all engines together.
    pub sram_bytes: u64,
    /// Bytes of the packet memory of all ports together.
    pub dram_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch: 64,
            backlog_frames: 512,
            scratch_slots: 1024,
            sram_bytes: 64 << 20,
            dram_bytes: 1 << 30,
        }
    }
}

/// A port's receiving half and what the engine does with it.
pub(crate) struct Inbox<R> {
    pub(crate) rx: R,
    pub(crate) state: PortState,
}

impl<R: Receive> Inbox<R> {
    pub(crate) fn new(rx: R) -> Self {
        Self { rx, state: PortState::Running }
    }

    /// Receives into `frames`; a failure is noted and counts as nothing received.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        frames: &mut Vec<Frame>,
        max: usize,
        failures: &mut Vec<Failure>,
    ) -> usize {
        let max = match self.state {
            PortState::Running => max,
            PortState::Draining { left } => max.min(left),
            PortState::Quiesced | PortState::Failed => return 0,
        };
        let received = self.rx.receive(frames, max).unwrap_or_else(|error| {
            self.fail(error, failures);
            0
        });
        if let PortState::Draining { left } = &mut self.state {
            *left -= received.min(*left);
            if received == 0 || *left == 0 {
                self.state = PortState::Quiesced;
            }
        }
        received
    }

    /// Whether packets of this port are still waited for.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.state, PortState::Running | PortState::Draining { .. })
    }

    /// Publishes what was recycled.
    #[inline]
    pub(crate) fn refill(&mut self, failures: &mut Vec<Failure>) {
        if self.state != PortState::Failed
            && let Err(error) = self.rx.refill()
        {
            self.fail(error, failures);
        }
    }

    /// Receives what is there, as much as all its frames can hold, and then nothing more.
    pub(crate) fn quiesce(&mut self) {
        if self.state == PortState::Running {
            self.state = PortState::Draining { left: self.rx.census().frames as usize };
        }
    }

    pub(crate) fn fail(&mut self, error: PortError, failures: &mut Vec<Failure>) {
        if self.state != PortState::Failed {
            self.state = PortState::Failed;
            failures.push(Failure { port: self.rx.id(), error });
        }
    }

    pub(crate) fn report(&self) -> PortReport {
        PortReport {
            port: self.rx.id(),
            losses: self.rx.losses(),
            census: self.rx.census(),
            state: self.state,
        }
    }
}

struct Socket<P: Port> {
    inbox: Inbox<P::Rx>,
    outbox: Outbox<P::Tx>,
}

/// One engine that does everything for its ports.
pub struct RunToCompletion<P: Port> {
    sockets: Vec<Socket<P>>,
    program: Box<dyn Program>,
    tables: Reader,
    panel: Arc<Panel>,
    limits: Limits,
    frames: Vec<Frame>,
    verdicts: Vec<Verdict>,
    crossings: Crossings,
    failures: Vec<Failure>,
}

impl<P: Port> RunToCompletion<P> {
    /// An engine without ports that runs `program` by the tables in `published`.
    #[must_use]
    pub fn new(program: Box<dyn Program>, published: &Published, limits: Limits) -> Self {
        Self::with_panel(program, published, limits, Arc::default())
    }

    pub(crate) fn with_panel(
        program: Box<dyn Program>,
        published: &Published,
        limits: Limits,
        panel: Arc<Panel>,
    ) -> Self {
        Self {
            sockets: Vec::new(),
            program,
            tables: published.reader(),
            panel,
            limits,
            frames: Vec::with_capacity(limits.batch),
            verdicts: Vec::with_capacity(limits.batch),
            crossings: Crossings::default(),
            failures: Vec::new(),
        }
    }

    /// Serves a port from the next round on.
    pub fn attach(&mut self, port: P) {
        let (rx, tx) = port.split();
        self.add(rx, tx);
    }

    fn add(&mut self, rx: P::Rx, tx: P::Tx) {
        let outbox = Outbox::new(tx, self.limits.backlog_frames);
        self.sockets.push(Socket { inbox: Inbox::new(rx), outbox });
    }

    /// Gives a port up and drops both halves, with a last report; `None` if it is not here.
    pub fn detach(&mut self, port: PortId) -> Option<PortReport> {
        self.give_up(port, &mut Off)
    }

    fn give_up<T: Tap>(&mut self, port: PortId, tap: &mut T) -> Option<PortReport> {
        let at = self.sockets.iter().position(|s| s.inbox.rx.id() == port)?;
        let mut socket = self.sockets.swap_remove(at);
        let Self { sockets, panel, failures, .. } = self;
        let ledger = &panel.ledger;
        let mut left = Vec::new();
        let sent = |home| ledger.add(home, Counter::Transmitted, 1);
        socket.outbox.close(tap, |frame| left.push(frame), sent);
        for other in sockets.iter_mut() {
            other.outbox.purge(port, |frame| left.push(frame));
        }
        for frame in left {
            tap.dropped(&frame, Way::Out, Counter::TxPortGone);
            ledger.add(frame.port(), Counter::TxPortGone, 1);
            socket.inbox.rx.recycle(frame);
        }
        tap.end();
        socket.inbox.refill(failures);
        Some(socket.inbox.report())
    }

    /// Serves an application's channel from the next round on.
    ///
    /// # Errors
    /// [`OpenChannelError`].
    pub fn open_channel(&mut self, channel: StackChannel) -> Result<(), OpenChannelError> {
        let stacks = self.program.stacks().ok_or(OpenChannelError::NoStage)?;
        Ok(stacks.open(channel)?)
    }

    /// One round over all ports, at time `now`.
    pub fn turn(&mut self, now: Nanos) -> Turn {
        self.round(now, &mut Off)
    }

    /// The same, seen by captures.
    pub fn turn_seen(&mut self, now: Nanos, taps: &mut Taps) -> Turn {
        self.round(now, taps)
    }

    fn round<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> Turn {
        if T::ON {
            tap.begin(now, self.tables.newest());
        }
        let mut moved = 0;
        for at in 0..self.sockets.len() {
            moved += self.serve(at, now, tap);
        }
        moved += self.originate(now, moved, tap);
        let ledger = &self.panel.ledger;
        let mut held = 0;
        for Socket { outbox, .. } in &mut self.sockets {
            let taken = |home| {
                moved += 1;
                ledger.add(home, Counter::Transmitted, 1);
            };
            if let Err(error) = outbox.flush(tap, taken) {
                self.failures.push(Failure { port: outbox.id(), error });
            }
            held += outbox.backlog();
        }
        tap.end();
        Turn { moved, held }
    }

    /// Receives one batch from a port and carries it to its end.
    fn serve<T: Tap>(&mut self, at: usize, now: Nanos, tap: &mut T) -> usize {
        let Self { sockets, program, tables, panel, limits, frames, verdicts, failures, .. } = self;
        let Some(socket) = sockets.get_mut(at) else { return 0 };
        let received = socket.inbox.receive(frames, limits.batch, failures);
        if received != 0 {
            let ledger = &panel.ledger;
            ledger.add(socket.inbox.rx.id(), Counter::Rx, received as u64);
            let env = Env { now, snapshot: tables.newest(), ledger };
            if T::ON {
                tap.received(frames, &env);
            }
            program.run(frames, verdicts, &env);
            let id = socket.inbox.rx.id();
            let all_delivered = verdicts.iter().all(|&verdict| verdict == Verdict::Deliver);
            if all_delivered && frames.iter().all(|frame| frame.port() == id) {
                // What becomes of most batches, counted once for all of it.
                ledger.add(id, Counter::Delivered, received as u64);
                socket.inbox.rx.recycle_all(frames);
                verdicts.clear();
            }
            for (frame, verdict) in frames.drain(..).zip(verdicts.drain(..)) {
                settle(sockets, at, (ledger, &mut *tap), frame, verdict);
            }
        }
        if let Some(socket) = self.sockets.get_mut(at) {
            socket.inbox.refill(&mut self.failures);
        }
        received
    }

    /// Shows applications what was received for them, sends what they have, and hands over what that is for others here.
    fn originate<T: Tap>(&mut self, now: Nanos, received: usize, tap: &mut T) -> usize {
        let Self { sockets, program, tables, panel, crossings, .. } = self;
        let Some(stacks) = program.stacks() else { return 0 };
        stacks.show(received);
        let Some(home) = sockets.first().map(|socket| socket.inbox.rx.id()) else {
            stacks.count(received);
            return 0;
        };
        let snapshot = tables.newest();
        let tables = snapshot.tables();
        let tags = tables.ports.get(home).map_or(0, |config| config.tags);
        let mut source = Source {
            wires: Sockets::new(sockets, home, &tables.ports, &panel.ledger, tap),
            crossings,
            world: World { mirror: &tables.mirror, network: &tables.network },
            generation: snapshot.generation().get(),
            header: wire::ethernet::HEADER_LEN + usize::from(tags) * wire::vlan::TAG_LEN,
            now: now.since(Nanos::default()),
        };
        let packets = stacks.turn(received, &mut source).packets as usize;
        if packets == 0 {
            stacks.count(received);
            return 0;
        }
        let Source { mut wires, crossings, .. } = source;
        wires.enter();
        if !crossings.is_empty() {
            program.judge(crossings, &Env { now, snapshot, ledger: &panel.ledger });
        }
        if let Some(stacks) = program.stacks() {
            stacks.hand_over(crossings, &mut wires);
            stacks.show(received);
            stacks.count(received + packets);
        }
        packets
    }

    /// No captures yet, to be given to [`RunToCompletion::turn_seen`].
    #[must_use]
    pub fn taps(&self) -> Taps {
        Taps::on(Arc::clone(&self.panel))
    }

    /// The engine's counters.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.panel.ledger
    }

    /// Where the ports stand.
    #[must_use]
    pub fn reports(&self) -> Vec<PortReport> {
        self.sockets.iter().map(|s| s.inbox.report()).collect()
    }
}

/// The engine's ports, for packets that are made here.
struct Sockets<'a, P: Port, T> {
    sockets: &'a mut [Socket<P>],
    /// The first of them, by whose link most packets leave.
    home: PortId,
    link: LinkNo,
    ports: &'a PortConfigs,
    ledger: &'a Ledger,
    tap: &'a mut T,
    /// Some port has a backlog: within a loop that can only begin.
    blocked: bool,
    /// Frames that ports have, all of the first's UMEM, and the ledger not yet.
    transmitted: u64,
}

impl<'a, P: Port, T: Tap> Sockets<'a, P, T> {
    fn new(
        sockets: &'a mut [Socket<P>],
        home: PortId,
        ports: &'a PortConfigs,
        ledger: &'a Ledger,
        tap: &'a mut T,
    ) -> Self {
        let blocked = sockets.iter().any(|socket| socket.outbox.backlog() != 0);
        Self { sockets, home, link: ports.link(home), ports, ledger, tap, blocked, transmitted: 0 }
    }

    #[cold]
    fn lose(&mut self, frame: Frame, loss: Loss) {
        let Self { sockets, ledger, tap, .. } = self;
        lose(sockets, 0, (ledger, &mut **tap), frame, loss.counter(), Way::Out);
    }

    /// Enters into the ledger what was sent since.
    fn enter(&mut self) {
        self.ledger.add(self.home, Counter::Transmitted, std::mem::take(&mut self.transmitted));
    }
}

impl<P: Port, T: Tap> Wires for Sockets<'_, P, T> {
    #[inline(always)]
    fn is_blocked(&self) -> bool {
        self.blocked
    }

    fn alloc(&mut self) -> Option<Frame> {
        self.sockets.first_mut()?.inbox.rx.alloc()
    }

    fn recycle(&mut self, frame: Frame) {
        if let Some(socket) = self.sockets.first_mut() {
            socket.inbox.rx.recycle(frame);
        }
    }

    #[inline(always)]
    fn send(&mut self, link: LinkNo, frame: Frame) {
        let Self { sockets, ports, tap, .. } = self;
        let port = if link == self.link {
            sockets.first_mut()
        } else {
            sockets.iter_mut().find(|socket| ports.link(socket.outbox.id()) == link)
        };
        let sent = match port {
            Some(port) => port.outbox.send(frame, &mut **tap),
            // The link may have no port on this engine any more; its packets are then those of a port that is gone.
            None => Err((frame, const { Loss::of(Counter::TxPortGone) })),
        };
        match sent {
            Ok(Sent::Taken) => self.transmitted += 1,
            Ok(Sent::Waits) => self.blocked = true,
            Err((frame, loss)) => self.lose(frame, loss),
        }
    }

    #[inline]
    fn count(&mut self, counter: Counter, packets: u32) {
        self.ledger.add(self.home, counter, packets.into());
    }

    fn refused(&mut self, frame: &mut Frame, copied: Option<Copied>, session: SessionId, reason: Counter) {
        if T::ON {
            let nothing = Copied { form: Form::L3, ahead: 0, room: usize::MAX };
            let Copied { form, ahead, room } = copied.unwrap_or(nothing);
            let packet = frame.with_room_mut(ahead).and_then(|buffer| buffer.get(room..)).unwrap_or_default();
            self.tap.refused(&Refused { packet, form, session, reason }, self.home);
        }
    }

    fn crossing(&mut self, crossing: &Crossing<'_>) {
        self.tap.crossing(crossing);
    }

    fn crossing_dropped(&mut self, crossing: &Crossing<'_>, loss: Loss) {
        self.tap.crossing_dropped(crossing, loss.counter());
    }
}

/// Who is told of a packet's end: the books, and those who capture.
type Told<'a, T> = (&'a Ledger, &'a mut T);

/// Ends a packet's way: exactly one outcome is counted, here or when its backlog moves.
#[inline]
fn settle<P: Port, T: Tap>(
    sockets: &mut [Socket<P>],
    at: usize,
    (ledger, tap): Told<'_, T>,
    frame: Frame,
    verdict: Verdict,
) {
    let home = frame.port();
    match verdict {
        Verdict::Deliver => {
            ledger.add(home, Counter::Delivered, 1);
            recycle(sockets, at, frame);
        }
        Verdict::Drop(loss) => lose(sockets, at, (ledger, tap), frame, loss.counter(), Way::In),
        // A program never ends in it; were it so, this would be its meaning.
        Verdict::Next => lose(sockets, at, (ledger, tap), frame, Counter::RxNoStage, Way::In),
        Verdict::Transmit(out) => {
            let through = match out {
                Out::Back => Some(at),
                Out::Port(port) => sockets.iter().position(|s| s.outbox.id() == port),
            };
            let sent = match through.and_then(|through| sockets.get_mut(through)) {
                Some(socket) => socket.outbox.send(frame, tap),
                None => Err((frame, const { Loss::of(Counter::TxPortGone) })),
            };
            match sent {
                Ok(Sent::Taken) => ledger.add(home, Counter::Transmitted, 1),
                Ok(Sent::Waits) => {}
                Err((frame, loss)) => lose(sockets, at, (ledger, tap), frame, loss.counter(), Way::Out),
            }
        }
    }
}

/// Ends the way of a packet that nobody gets.
#[inline]
fn lose<P: Port, T: Tap>(
    sockets: &mut [Socket<P>],
    at: usize,
    (ledger, tap): Told<'_, T>,
    frame: Frame,
    reason: Counter,
    way: Way,
) {
    tap.dropped(&frame, way, reason);
    ledger.add(frame.port(), reason, 1);
    recycle(sockets, at, frame);
}

#[inline]
fn recycle<P: Port>(sockets: &mut [Socket<P>], at: usize, frame: Frame) {
    if let Some(socket) = sockets.get_mut(at) {
        socket.inbox.rx.recycle(frame);
    }
}

impl<P: Port> Role<P> for RunToCompletion<P> {
    fn refresh(&mut self) -> Generation {
        self.tables.newest().generation()
    }

    fn newest(&self) -> Generation {
        self.tables.peek()
    }

    fn turn<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> Turn {
        self.round(now, tap)
    }

    fn obey(&mut self, command: Command<P>, tap: &mut impl Tap) {
        match command {
            Command::Add { rx: Some(rx), tx: Some(tx) } => self.add(rx, tx),
            Command::Quiesce(port) => {
                let sockets = self.sockets.iter_mut().filter(|s| s.inbox.rx.id() == port);
                sockets.for_each(|s| s.inbox.quiesce());
            }
            // Whoever asked may have given up waiting; the answer is then nobody's.
            Command::Close(port, answer) => _ = answer.send(self.give_up(port, tap)),
            Command::Report(answer) => _ = answer.send(self.reports()),
            Command::Open(channel, answer) => _ = answer.send(self.open_channel(*channel)),
            Command::Shut(session, answer) => {
                _ = answer.send(self.program.stacks().is_some_and(|stacks| stacks.close(session)));
            }
            Command::Add { .. } | Command::Tap(..) | Command::Untap(..) | Command::Stop => {}
        }
    }

    fn work_waits(&self) -> bool {
        false
    }

    fn is_pending(&self) -> bool {
        self.sockets.iter().any(|s| s.outbox.is_pending())
    }

    fn listen<'a>(&'a self, set: &mut PollSet<'a>) -> Result<(), AlwaysReady> {
        for socket in self.sockets.iter().filter(|s| s.inbox.listens()) {
            set.add(socket.inbox.rx.fd().ok_or(AlwaysReady)?);
        }
        if let Some(bells) = self.program.bells() {
            set.add(bells);
        }
        Ok(())
    }

    fn arm(&mut self) -> bool {
        self.program.stacks().is_some_and(Stacks::arm)
    }

    fn disarm(&mut self) {
        if let Some(stacks) = self.program.stacks() {
            stacks.disarm();
        }
    }

    fn stack_events(&mut self, each: &mut dyn FnMut(StackEvent)) {
        if let Some(stacks) = self.program.stacks() {
            stacks.events(each);
        }
    }

    fn broken(&mut self, nth: usize) {
        let mut running = self.sockets.iter_mut().filter(|s| s.inbox.listens());
        if let Some(socket) = running.nth(nth) {
            socket.inbox.fail(PortError::Gone, &mut self.failures);
            socket.outbox.fail();
        }
    }

    fn failures(&mut self, each: &mut dyn FnMut(Failure)) {
        self.failures.drain(..).for_each(each);
    }
}

#[cfg(test)]
mod tests;
