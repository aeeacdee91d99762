//! The daemon: one thread, one loop over a closed list of events, one place where everything is decided.
//!
//! It waits in poll(2) for whatever comes first, turns it into [`Event`]s, and handles them one after the other. Packets
//! are no business of this thread: engines go on while it is slow, stopped or gone.
//!
//! | file | idea |
//! |---|---|
//! | [`start`] | the order in which an instance comes into being |
//! | [`instance`] | the road, and what the machines of [`crate::supervise`] ask for, done |
//! | [`answers`] | what the control operations answer |
//! | [`sessions`] | which connection has which application's session |
//! | [`capture`] | who sees which packets |
//! | [`filters`] | what is asked of filters |
mod answers;
pub mod capture;
pub mod filters;
pub mod instance;
pub mod sessions;
pub mod start;

use std::{collections::BTreeSet, os::fd::AsFd, time::Duration};

use anyhow::{Context, Result};
use ixp::{clock::Nanos, watchdog::Watchdog};
use multistack::registry::Reason;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signalfd::SignalFd,
};

use self::{capture::Captures, instance::Instance, sessions::Sessions};
use crate::{
    Causes,
    control::listener::{Asked, Id, Listener},
    filters::Workshop,
    metrics::{
        self,
        endpoint::{Endpoint, Scrape},
        prometheus,
    },
    place::Place,
    road::Report,
    supervise::{self, Machine},
};

/// How often queue counts are looked at: the kernel tells nobody when they change.
const TICK: Duration = Duration::from_secs(1);

/// How long an engine, or the daemon itself, may stand still before that is reported.
const STANDSTILL: Duration = Duration::from_secs(3);

/// A running daemon.
pub struct Daemon {
    instance: Instance,
    control: Listener,
    sessions: Sessions,
    captures: Captures,
    workshop: Workshop<filters::Waiting>,
    metrics: Option<Endpoint>,
    signals: SignalFd,
    next_tick: Duration,
    watchdog: Watchdog,
    /// Given up last: until then nobody else may have the instance.
    place: Place,
}

/// Everything that can happen.
#[derive(Debug)]
enum Event {
    /// A signal to stop.
    Stop(&'static str),
    /// The terminal that this was started from is gone.
    Hangup,
    /// Links or addresses changed.
    Links,
    /// Routes or neighbours changed.
    Ways,
    /// An engine reports something.
    Report(Report),
    /// A client's connection ended.
    Gone(Id),
    /// A filter may be ready.
    Filter,
    /// A client asked.
    Asked(Asked),
    /// A scraper asked.
    Scrape(Scrape),
    /// Something may be due.
    Tick,
    /// A second is over, and so much more.
    Second(Duration),
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl Daemon {
    fn new(
        instance: Instance,
        control: Listener,
        metrics: Option<Endpoint>,
        workshop: Workshop<filters::Waiting>,
        signals: SignalFd,
        place: Place,
    ) -> Self {
        let next_tick = instance.now();
        let (sessions, captures) = (Sessions::default(), Captures::default());
        let watchdog = Watchdog::new(STANDSTILL);
        Self { instance, control, sessions, captures, workshop, metrics, signals, next_tick, watchdog, place }
    }

    /// Runs until told to stop, then takes everything down.
    ///
    /// # Errors
    /// Something could not be taken down; everything else was.
    pub fn run(mut self) -> Result<()> {
        loop {
            for event in self.wait()? {
                if self.handle(event) == Next::Stop {
                    return self.stop();
                }
                // After each event: what one of them releases the next may give to somebody else.
                self.captures.check(&self.instance.road);
                self.instance.road.release_filters();
                self.tell_news();
            }
        }
    }

    /// Waits for the first event, and takes all that are there.
    fn wait(&mut self) -> Result<Vec<Event>> {
        let now = self.instance.now();
        {
            let mut fds: Vec<PollFd<'_>> = Vec::new();
            let mut add = |fd| fds.push(PollFd::new(fd, PollFlags::POLLIN));
            add(self.signals.as_fd());
            add(self.instance.link_events.as_fd());
            add(self.instance.way_events.as_fd());
            add(self.instance.road.engines().event_fd());
            add(self.workshop.event_fd());
            self.metrics.iter().for_each(|endpoint| add(endpoint.as_fd()));
            self.control.waiting(now).for_each(add);
            match poll(&mut fds, self.timeout(now)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
        }
        self.collect()
    }

    fn timeout(&self, now: Duration) -> PollTimeout {
        let machines = self.instance.machines.iter().filter_map(Machine::due);
        let due = machines
            .chain(self.control.due(now))
            .chain(self.instance.network_due())
            .chain([self.next_tick])
            .min();
        let wait = due.unwrap_or(now).saturating_sub(now);
        // Rounded up: waking a moment too early would mean waking twice.
        PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    }

    fn collect(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Ok(Some(signal)) = self.signals.read_signal() {
            events.push(match start::signal_name(signal.ssi_signo) {
                "SIGHUP" => Event::Hangup,
                name => Event::Stop(name),
            });
        }
        if self.instance.link_events.drain().context("link events")? {
            events.push(Event::Links);
        }
        if self.instance.way_events.drain().context("route events")? {
            events.push(Event::Ways);
        }
        events.extend(self.instance.road.reports().into_iter().map(Event::Report));
        if let Some(endpoint) = &self.metrics {
            events.extend(endpoint.scrapes().map(Event::Scrape));
        }
        events.push(Event::Filter);
        let now = self.instance.now();
        let turn = self.control.turn(now);
        // Before requests: what a process that is gone had may be what the next one asks for.
        events.extend(turn.gone.into_iter().map(Event::Gone));
        events.extend(turn.asked.into_iter().map(Event::Asked));
        if self.next_tick <= now {
            events.push(Event::Second(now - self.next_tick));
            self.next_tick = now + TICK;
        }
        events.push(Event::Tick);
        Ok(events)
    }

    fn handle(&mut self, event: Event) -> Next {
        match event {
            Event::Stop(signal) => {
                tracing::info!(signal, "stopping");
                return Next::Stop;
            }
            Event::Hangup => tracing::info!("SIGHUP changes nothing: a new configuration takes a restart"),
            Event::Links => self.instance.look(),
            Event::Second(late) => {
                if STANDSTILL <= late {
                    self.stood_still(late);
                }
                self.instance.look_at_queues();
                self.instance.softirqs.look();
                self.instance.road.log_programs();
                let now = self.instance.now();
                self.instance.road.look_after_stacks(now);
                self.instance.road.take_up_targets();
                self.sessions.keep_waiting(|session| self.instance.road.has_stack(session));
                self.watch();
            }
            Event::Ways => self.instance.ways_changed(),
            Event::Report(report) => self.reported(report),
            Event::Gone(connection) => {
                self.captures.gone(&self.instance.road, connection);
                self.workshop.forget(|waiting| waiting.of == connection);
                if let Some(session) = self.sessions.end(connection) {
                    tracing::info!(%session, "its connection ended");
                    self.instance.road.close_stack(session);
                }
            }
            Event::Filter => self.take_filters(),
            Event::Asked(asked) => return self.answer(asked),
            Event::Scrape(scrape) => scrape.answer(self.page()),
            Event::Tick => {
                (0..self.instance.machines.len()).for_each(|at| self.instance.on(at, supervise::Event::Tick));
                self.instance.look_at_network();
            }
        }
        Next::Go
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::PortLost(interface, why) => {
                self.instance.on(interface, supervise::Event::PortFailed(why))
            }
            Report::Violation(session) => {
                tracing::warn!(%session, "broke the rules of its rings");
                self.instance.road.expel_stack(session, Reason::Violation);
            }
            Report::Unresolved(hop) => self.instance.resolve(hop),
        }
    }

    /// Tells applications what has become of what is theirs.
    fn tell_news(&mut self) {
        for event in self.instance.road.stacks().take_news() {
            if let Some((connection, said)) = self.sessions.address(&event) {
                self.control.tell(connection, &said);
            }
        }
    }

    /// Reports that this process itself did nothing. Who else stood still meanwhile cannot be told: the watchdog begins
    /// anew.
    fn stood_still(&mut self, late: Duration) {
        let seconds = late.as_secs_f32();
        tracing::warn!(
            "stood still for {seconds:.1} s: stopped, starved of its cores, or waiting for the kernel"
        );
        self.watchdog = Watchdog::new(STANDSTILL);
    }

    /// Reports engines that stand still, once when it begins and once when it ends.
    fn watch(&mut self) {
        let now = Nanos::default() + self.instance.now();
        let stuck = self.watchdog.look(&self.instance.road.engines().pulses(), now);
        let stuck: BTreeSet<_> = stuck.into_iter().map(|stuck| stuck.engine).collect();
        for engine in stuck.difference(&self.instance.stuck) {
            tracing::warn!(%engine, "stands still: hung, or starved of its core");
        }
        for engine in self.instance.stuck.difference(&stuck) {
            tracing::info!(%engine, "goes on");
        }
        self.instance.stuck = stuck;
    }

    fn page(&mut self) -> String {
        let rows = self.instance.road.read().map(|readings| metrics::rows(&readings));
        rows.and_then(|rows| Ok(prometheus::text(rows)?)).unwrap_or_else(|error| {
            tracing::warn!("cannot read the counters: {}", Causes(&error));
            String::new()
        })
    }

    /// Takes everything down. Clients hear of it by their connections closing, last of all.
    fn stop(self) -> Result<()> {
        let mut this = self;
        this.instance.road.end_stacks();
        this.tell_news();
        let Self { instance, control, captures, metrics, place, .. } = this;
        drop(metrics);
        let stopped = instance.road.stop();
        captures.down();
        if stopped.is_ok() {
            tracing::info!("down");
        }
        drop(control);
        drop(place);
        stopped
    }
}
