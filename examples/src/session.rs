//! A session that outlives its daemon, and the one place where a program sleeps.
//!
//! The library takes a session up again by its lease when a new daemon comes. What it cannot know is whether an
//! application still wants what it wanted when the lease was not honoured, or when the tuple was lost meanwhile: these
//! want it, so they open anew and register again, for as long as it takes. It refuses to go on where somebody decided
//! against it: an administrator who took the tuple, a daemon that was told a lie.
use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use client::{
    control::request::Proto,
    shm::channel::Channel,
    stack::{
        Client, Event, FIRST_PAUSE, LONGEST_PAUSE, Over, Reason, Reserve, Stack, StackOptions, Tuple, TupleId,
    },
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    arguments::{Arguments, Listen},
    stop::Stop,
};

/// One tuple of this application, whatever becomes of the daemon.
#[derive(Debug)]
pub struct Session {
    control: PathBuf,
    options: StackOptions,
    tuple: Tuple,
    /// `None` while there is no session.
    stack: Option<Stack>,
    /// `None` while the tuple is not registered.
    held: Option<TupleId>,
    again: Again,
    stop: Stop,
}

/// When to try again what did not work.
#[derive(Clone, Copy, Debug)]
struct Again {
    at: Instant,
    pause: Duration,
}

/// Why [`Session::sleep`] returned.
#[derive(Debug)]
pub enum Woken {
    /// There may be something in the channels, or the time is over.
    Look,
    /// The daemon is gone, or the session: the channels are dead. Drop them, and go on sleeping.
    Lost,
    /// There is a session again, with these channels.
    Back(Vec<Channel>),
    /// Somebody wants this program to end.
    Stop,
}

impl Again {
    fn soon() -> Self {
        Self { at: Instant::now(), pause: FIRST_PAUSE }
    }

    fn later(&mut self) {
        self.at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Session {
    /// Opens a session called `options.name` and registers the tuple; says on standard output that it is ready.
    ///
    /// # Errors
    /// No daemon answers, or it refuses.
    pub fn open(arguments: &Arguments, options: &StackOptions, proto: Proto) -> Result<(Self, Vec<Channel>)> {
        let stop = Stop::on_signals().context("cannot wait for signals")?;
        let Listen { addr, port } = arguments.listen;
        let mut session = Self {
            control: arguments.control.clone(),
            options: options.clone(),
            tuple: Tuple::new(proto, addr, port),
            stack: None,
            held: None,
            again: Again::soon(),
            stop,
        };
        let channels = session.begin()?;
        let listen = Listen { port: session.tuple.port, ..arguments.listen };
        println!("{}: ready on {proto} {listen}", options.name);
        Ok((session, channels))
    }

    /// The tuple, with the port that it has.
    #[must_use]
    pub const fn tuple(&self) -> &Tuple {
        &self.tuple
    }

    /// Sleeps until one of `bells` rings, the daemon says something, a signal comes or `limit` is over.
    ///
    /// Before this, a channel that is to ring must have been armed (`Channel::arm`), and empty; after it, it must be
    /// drained (`Channel::drain`) before it is looked at.
    ///
    /// # Errors
    /// The session is over for good.
    pub fn sleep<'b>(
        &mut self,
        bells: impl Iterator<Item = BorrowedFd<'b>>,
        limit: Option<Duration>,
    ) -> Result<Woken> {
        let own = self.next_attempt().map(|at| at.saturating_duration_since(Instant::now()));
        let limit = limit.into_iter().chain(own).min();
        let mut fds = vec![readable(self.stop.as_fd())];
        fds.extend(self.stack.as_ref().and_then(Stack::control).map(readable));
        fds.extend(bells.map(|bell| readable(bell)));
        match poll(&mut fds, rounded_up(limit)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        if self.stop.came() {
            return Ok(Woken::Stop);
        }
        self.hear()
    }

    /// When there is something to be tried again.
    fn next_attempt(&self) -> Option<Instant> {
        match (&self.stack, self.held) {
            (Some(stack), held) => stack.next_attempt().or(held.is_none().then_some(self.again.at)),
            (None, _) => Some(self.again.at),
        }
    }

    /// What happened to the session meanwhile.
    fn hear(&mut self) -> Result<Woken> {
        while let Some(stack) = &mut self.stack {
            match stack.poll_event() {
                None => break,
                Some(Event::Disconnected) => {
                    self.say("the daemon is gone; waiting for the next");
                    return Ok(Woken::Lost);
                }
                Some(Event::Reconnected(tuples)) => {
                    let channels = stack.take_channels();
                    self.held = self.held.filter(|held| tuples.contains(held));
                    self.again = Again::soon();
                    self.say("the daemon is back");
                    return Ok(Woken::Back(channels));
                }
                Some(Event::Over(Over::Revoked(reason @ (Reason::Released | Reason::Violation)))) => {
                    bail!("the daemon ended the session: {reason:?}");
                }
                Some(Event::Over(why)) => {
                    self.say(&format!("the session is over ({why:?}); waiting for another"));
                    (self.stack, self.held, self.again) = (None, None, Again::soon());
                    return Ok(Woken::Lost);
                }
                Some(Event::Revoked { reason: Reason::Released, .. }) => bail!("the tuple was taken away"),
                Some(Event::Revoked { reason, .. }) => {
                    (self.held, self.again) = (None, Again::soon());
                    self.say(&format!("the tuple is gone ({reason:?}); asking for it again"));
                }
                Some(Event::AddressGone(_)) => self.say("the address is gone"),
                Some(Event::AddressBack(_)) => self.say("the address is back"),
            }
        }
        self.try_again()
    }

    /// Begins anew, or registers anew, if that is what is missing and its time has come.
    fn try_again(&mut self) -> Result<Woken> {
        let waits_for_us = self.next_attempt().is_some_and(|at| at <= Instant::now());
        if !waits_for_us {
            return Ok(Woken::Look);
        }
        let done = match &self.stack {
            // The library is coming back by itself.
            Some(stack) if stack.next_attempt().is_some() => return Ok(Woken::Look),
            Some(_) => self.register().map(|()| None),
            None => self.begin().map(Some),
        };
        match done {
            Ok(channels) => {
                self.say("registered again");
                Ok(channels.map_or(Woken::Look, Woken::Back))
            }
            // A port that an OS process took meanwhile, a daemon that is not there yet: nothing but time helps.
            Err(why) => {
                if self.again.pause == FIRST_PAUSE {
                    self.say(&format!("{why:#}; trying again"));
                }
                self.again.later();
                Ok(Woken::Look)
            }
        }
    }

    fn begin(&mut self) -> Result<Vec<Channel>> {
        let mut stack = Client::connect(&self.control)
            .with_context(|| self.control.display().to_string())?
            .open(&self.options)?;
        let channels = stack.take_channels();
        self.stack = Some(stack);
        if let Err(refused) = self.register() {
            // Without its tuple the session is of no use, and would have to be looked after.
            self.stack = None;
            return Err(refused);
        }
        Ok(channels)
    }

    fn register(&mut self) -> Result<()> {
        let stack = self.stack.as_mut().context("there is no session")?;
        let id = stack.register(&self.tuple, Reserve::Daemon).with_context(|| {
            format!("{} {}", self.tuple.proto, Listen { addr: self.tuple.addr, port: self.tuple.port })
        })?;
        // A port that the daemon chose is asked for by number from now on.
        if let Some((_, registered)) = stack.tuples().find(|(known, _)| *known == id) {
            self.tuple.port = registered.port;
        }
        (self.held, self.again) = (Some(id), Again::soon());
        Ok(())
    }

    fn say(&self, what: &str) {
        eprintln!("{}: {what}", self.options.name);
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

/// In whole milliseconds, so that the last one is slept and not spun through.
fn rounded_up(limit: Option<Duration>) -> PollTimeout {
    let Some(limit) = limit else { return PollTimeout::NONE };
    let ms = i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
}
