//! The thread of an engine: reads its mail, gives it rounds, and sleeps when the idle strategy says so.
//!
//! Between two rounds without mail it makes no system call, takes no lock and allocates nothing. Its loop is compiled
//! twice, with a capture and without one: which of them runs is decided where mail is read, and nowhere else.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::Duration,
};

use nix::sys::eventfd::EventFd;

use crate::{
    capture::{CaptureId, EngineTap, Off, Tap, Taps},
    clock::Clock,
    engines::{EngineId, Event},
    panel::{Activity, Panel},
    port::Port,
    role::{Command, Role},
    wakeup::{Bell, PollSet},
};

/// Rounds without a packet after which an adaptive engine blocks.
pub(crate) const EMPTY_ROUNDS: u32 = 64;

/// How soon an engine with unsent frames looks again, if nothing else wakes it.
const PENDING_WAIT: Duration = Duration::from_millis(1);

/// What an engine does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Look again at once. The core is fully used; it must not be one that also serves interrupts.
    Busy,
    /// After 64 empty rounds block until a port or another engine has something.
    Adaptive,
    /// Block after every empty round.
    Sleep,
}

impl Idle {
    fn blocks(self, empty_rounds: u32) -> bool {
        match self {
            Self::Busy => false,
            Self::Adaptive => EMPTY_ROUNDS <= empty_rounds,
            Self::Sleep => 0 < empty_rounds,
        }
    }
}

/// Where the supervisor leaves commands for one engine, and what wakes it.
pub(crate) struct Desk<P: Port> {
    waiting: AtomicBool,
    mail: Mutex<Vec<Command<P>>>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) panel: Arc<Panel>,
}

impl<P: Port> Desk<P> {
    pub(crate) fn new(bell: Arc<Bell>, panel: Arc<Panel>) -> Self {
        Self { waiting: AtomicBool::new(false), mail: Mutex::default(), bell, panel }
    }

    /// Leaves a command and wakes the engine.
    pub(crate) fn post(&self, command: Command<P>) {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.waiting.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Whether a command lies here that the engine has not taken.
    pub(crate) fn has_mail(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<Command<P>> {
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where engines report what their supervisor must act on.
#[derive(Clone)]
pub(crate) struct Alarm {
    pub(crate) events: Sender<Event>,
    pub(crate) fd: Arc<EventFd>,
}

impl Alarm {
    pub(crate) fn raise(&self, event: Event) {
        if self.events.send(event).is_ok() {
            // Full means unread alarms already: the supervisor will look.
            let _ = self.fd.write(1);
        }
    }
}

/// Everything that the thread of one engine owns.
pub(crate) struct Worker<P: Port, R> {
    pub(crate) id: EngineId,
    pub(crate) role: R,
    pub(crate) desk: Arc<Desk<P>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) idle: Idle,
    pub(crate) alarm: Alarm,
}

/// Why a loop of rounds ended.
enum Ended {
    /// It was told to stop.
    Stop,
    /// Captures begin or end.
    Change(Vec<Change>),
}

/// A capture begins or ends.
enum Change {
    Add(Box<EngineTap>, Sender<()>),
    Remove(CaptureId, Sender<bool>),
}

impl<P: Port, R: Role<P>> Worker<P, R> {
    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        let thread = nix::unistd::gettid().as_raw();
        self.desk.panel.started(thread.unsigned_abs());
        let mut taps = Taps::on(Arc::clone(&self.desk.panel));
        loop {
            let ended = if taps.is_empty() { self.rounds(&mut Off) } else { self.rounds(&mut taps) };
            let Ended::Change(changes) = ended else { break };
            for change in changes {
                // Whoever asked may have given up waiting; the answer is then nobody's.
                match change {
                    Change::Add(tap, answer) => {
                        taps.add(*tap);
                        let _ = answer.send(());
                    }
                    Change::Remove(id, answer) => _ = answer.send(taps.remove(id)),
                }
            }
        }
        self.desk.panel.set(Activity::Stopped);
    }

    /// Rounds until somebody says stop, or captures begin or end.
    fn rounds<T: Tap>(&mut self, tap: &mut T) -> Ended {
        let mut empty_rounds = 0;
        loop {
            if let Some(ended) = self.read_mail(tap) {
                return ended;
            }
            let now = self.clock.now();
            self.desk.panel.begin(now, self.role.refresh());
            let turn = self.role.turn(now, tap);
            self.desk.panel.end(turn.moved, turn.held);
            self.report_failures();
            empty_rounds = if turn.moved == 0 { u32::saturating_add(empty_rounds, 1) } else { 0 };
            if self.idle.blocks(empty_rounds) {
                self.sleep();
            }
        }
    }

    /// Obeys what lies on the desk, and says if the rounds are over.
    #[inline]
    fn read_mail(&mut self, tap: &mut impl Tap) -> Option<Ended> {
        if !self.desk.has_mail() {
            return None;
        }
        let mut changes = Vec::new();
        for command in self.desk.take() {
            match command {
                Command::Stop => return Some(Ended::Stop),
                Command::Tap(tap, answer) => changes.push(Change::Add(tap, answer)),
                Command::Untap(id, answer) => changes.push(Change::Remove(id, answer)),
                command => self.role.obey(command, tap),
            }
        }
        (!changes.is_empty()).then_some(Ended::Change(changes))
    }

    fn sleep(&mut self) {
        let Self { role, desk, .. } = self;
        if role.arm() {
            return;
        }
        let mut set = PollSet::new(&desk.bell);
        if role.listen(&mut set).is_err() {
            role.disarm();
            return;
        }
        let timeout = role.is_pending().then_some(PENDING_WAIT);
        let seen = desk.panel.seen();
        desk.panel.set(Activity::Blocked);
        desk.bell.sleep(&mut set, timeout, || desk.has_mail() || role.work_waits() || role.newest() != seen);
        desk.panel.set(Activity::Idle);
        let broken = set.broken().next();
        self.role.disarm();
        if let Some(nth) = broken {
            self.role.broken(nth);
            self.report_failures();
        }
    }

    #[inline]
    fn report_failures(&mut self) {
        let Self { role, alarm, id, .. } = self;
        role.failures(&mut |failure| {
            alarm.raise(Event::PortFailed { engine: *id, port: failure.port, error: failure.error });
        });
        role.stack_events(&mut |event| alarm.raise(Event::Stack { engine: *id, event }));
    }
}
