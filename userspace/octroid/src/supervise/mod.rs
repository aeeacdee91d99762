//! What becomes of a configured interface while the world around it changes: a pure state machine for each.
//!
//! ```text
//!             appeared, up                 served
//!  Absent ─────────────────► Waiting ─────────────────► Served ──┐
//!    ▲ ▲    appeared, down      │  ▲ failed: after a pause │      │ queues or port failed: serve again
//!    │ └──────── Down ◄─────────┴──┼──── went down ◄───────┤◄─────┘
//!    └──────────── deleted ────────┴───────────────────────┘
//! ```
//!
//! An interface is found by its configured name and then followed by its index: a renamed one stays served, a deleted
//! one that comes back under its name is a new one. The machine does nothing itself; [`Action`]s say what to do, each
//! of which is said to the log by at most one line. A failure that repeats is logged once.
use std::time::Duration;

use crate::netlink::route::Link;

/// The first pause after a failure; each further one is twice as long.
pub const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between attempts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A point in time: since the daemon's start.
pub type Now = Duration;

/// What is known of a link that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The link.
    pub link: Link,
    /// Its active receive queues.
    pub queues: u32,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    name: String,
    state: State,
    /// The failure said last, so that it is not said again.
    said: Option<String>,
}

/// Where an interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no such device.
    Absent,
    /// It is there, and down.
    Down(Facts),
    /// It is up; serving it is to be tried at `at`.
    Waiting {
        /// The device.
        facts: Facts,
        /// When to try.
        at: Now,
        /// Pause after the next failure.
        pause: Duration,
        /// Why the last attempt failed.
        reason: Option<String>,
    },
    /// It is served.
    Served(Facts),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device is so now, or is not there.
    Seen(Option<Facts>),
    /// [`Action::Serve`] succeeded.
    Started,
    /// [`Action::Serve`] failed; nothing of it is left.
    Failed(String),
    /// One of its ports failed while it was served.
    PortFailed(String),
    /// Time passed.
    Tick,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Attach, open a socket for each queue, give them to engines; then say [`Event::Started`] or [`Event::Failed`].
    Serve(Facts),
    /// Close the sockets; the programs stay attached.
    Close,
    /// Close the sockets and forget what was attached: the device is gone.
    Forget,
    /// The MAC address changed: tell XDP.
    Configure(Facts),
    /// Say this in the log.
    Say(Level, String),
}

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the record.
    Info,
    /// Somebody should look.
    Warn,
}

impl Machine {
    /// An interface that nobody has looked at.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: State::Absent, said: None }
    }

    /// The configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Which of these links this interface is: the one it followed, else the one with its name.
    #[must_use]
    pub fn choose<'l>(&self, links: &'l [Link]) -> Option<&'l Link> {
        let followed = self.facts().and_then(|facts| links.iter().find(|l| l.index == facts.link.index));
        followed.or_else(|| links.iter().find(|link| link.name == self.name))
    }

    /// When something is due without an event.
    #[must_use]
    pub fn due(&self) -> Option<Now> {
        match self.state {
            State::Waiting { at, .. } => Some(at),
            _ => None,
        }
    }

    /// What is known of the device.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        match &self.state {
            State::Absent => None,
            State::Down(facts) | State::Waiting { facts, .. } | State::Served(facts) => Some(facts),
        }
    }

    /// Takes an event in, and says what to do.
    pub fn on(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        let state = std::mem::replace(&mut self.state, State::Absent);
        self.state = match event {
            Event::Seen(None) => self.gone(state, &mut actions),
            Event::Seen(Some(facts)) => self.seen(state, facts, now, &mut actions),
            Event::Started => self.started(state, &mut actions),
            Event::Failed(reason) => self.failed(state, reason, now, &mut actions),
            Event::PortFailed(reason) => self.port_failed(state, reason, now, &mut actions),
            Event::Tick => state,
        };
        // No pause is that long: the clock was stepped back, and the rest of the step is not waited for.
        let stepped_back = |at: Now| now + LONGEST_PAUSE < at;
        if let State::Waiting { facts, at, .. } = &self.state
            && (*at <= now || stepped_back(*at))
        {
            actions.push(Action::Serve(facts.clone()));
        }
        actions
    }

    fn gone(&mut self, state: State, actions: &mut Vec<Action>) -> State {
        if !matches!(state, State::Absent) {
            actions.push(Action::Forget);
            self.say(actions, Level::Warn, "is gone".to_owned());
        }
        State::Absent
    }

    fn seen(&mut self, state: State, facts: Facts, now: Now, actions: &mut Vec<Action>) -> State {
        let before = match &state {
            State::Absent => None,
            State::Down(f) | State::Waiting { facts: f, .. } | State::Served(f) => Some(f.clone()),
        };
        if before.as_ref() == Some(&facts) {
            return state;
        }
        if let Some(before) = &before
            && before.link.index != facts.link.index
        {
            actions.push(Action::Forget);
            self.say(actions, Level::Warn, format!("is another device now, index {}", facts.link.index));
            return self.fresh(facts, now, actions);
        }
        if let Some(before) = &before
            && before.link.name != facts.link.name
        {
            self.say(actions, Level::Info, format!("was called {} before", before.link.name));
        }
        match state {
            State::Served(before) => self.changed_while_served(&before, facts, now, actions),
            _ => self.fresh(facts, now, actions),
        }
    }

    /// A device that is not served: serve it if it is up.
    fn fresh(&mut self, facts: Facts, now: Now, actions: &mut Vec<Action>) -> State {
        if facts.link.up {
            return waiting(facts, now);
        }
        self.say(actions, Level::Info, "is down".to_owned());
        State::Down(facts)
    }

    fn changed_while_served(
        &mut self,
        before: &Facts,
        facts: Facts,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> State {
        if !facts.link.up {
            actions.push(Action::Close);
            self.say(actions, Level::Info, "went down".to_owned());
            return State::Down(facts);
        }
        if before.queues != facts.queues {
            actions.push(Action::Close);
            self.say(
                actions,
                Level::Info,
                format!("has {} receive queues now, {} before", facts.queues, before.queues),
            );
            return waiting(facts, now);
        }
        if before.link.mtu != facts.link.mtu {
            // Serving again is what judges the new MTU.
            actions.push(Action::Close);
            self.say(
                actions,
                Level::Info,
                format!("has MTU {} now, {} before", facts.link.mtu, before.link.mtu),
            );
            return waiting(facts, now);
        }
        if before.link.mac != facts.link.mac {
            actions.push(Action::Configure(facts.clone()));
        }
        State::Served(facts)
    }

    fn started(&mut self, state: State, actions: &mut Vec<Action>) -> State {
        let State::Waiting { facts, .. } = state else { return state };
        self.said = None;
        let queues = facts.queues;
        self.say(
            actions,
            Level::Info,
            format!("is served, {queues} receive queue{}", if queues == 1 { "" } else { "s" }),
        );
        State::Served(facts)
    }

    fn failed(&mut self, state: State, reason: String, now: Now, actions: &mut Vec<Action>) -> State {
        let State::Waiting { facts, pause, .. } = state else { return state };
        self.say(actions, Level::Warn, format!("cannot be served: {reason}"));
        let next = pause.saturating_mul(2).min(LONGEST_PAUSE);
        State::Waiting { facts, at: now + pause, pause: next, reason: Some(reason) }
    }

    fn port_failed(&mut self, state: State, reason: String, now: Now, actions: &mut Vec<Action>) -> State {
        let State::Served(facts) = state else { return state };
        actions.push(Action::Close);
        self.say(actions, Level::Warn, format!("lost a port: {reason}"));
        // Not at once: a port fails most often because its device is on its way out, and that is the next event.
        State::Waiting { facts, at: now + FIRST_PAUSE, pause: FIRST_PAUSE * 2, reason: Some(reason) }
    }

    fn say(&mut self, actions: &mut Vec<Action>, level: Level, what: String) {
        if self.said.as_ref() != Some(&what) {
            actions.push(Action::Say(level, what.clone()));
        }
        self.said = Some(what);
    }
}

impl State {
    /// The word for it in `status`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Down(_) => "down",
            Self::Waiting { .. } => "retrying",
            Self::Served(_) => "served",
        }
    }
}

fn waiting(facts: Facts, now: Now) -> State {
    State::Waiting { facts, at: now, pause: FIRST_PAUSE, reason: None }
}

#[cfg(test)]
mod tests;
