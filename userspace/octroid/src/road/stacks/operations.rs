//! What applications and the administrator ask for: open, register, release, attach, reserve; and what ends a session.
//!
//! Every one is a change of the registry, carried out whole or undone, and then written down.
use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use abi::shm::{
    desc::Form,
    layout::{Shape, Slots},
};
use client::control::{
    refusal::{Code, Refusal},
    stack::{
        Lease, MAX_ATTACHED_TUPLES, ReserveMode, StackAttached, StackOpen, StackOpened, StackRegister,
        StackRegistered, StackRelease, Which,
    },
};
use ixp::spec::Layout;
use multistack::{
    policy::Credentials,
    refusal::Refusal as Registry,
    registry::{self, IcmpErrors, Name, News, Open, Owner, Reason, Reserve, SessionId, Want, check},
    tuple::Tuple,
};

use super::{
    super::{Road, steps::StepError},
    Stacks, random,
    rings::{Handed, Plan},
    sockets, words,
};

/// How often a port is chosen anew when the OS turns out to have the one that was chosen.
const PORT_TRIES: usize = 16;

/// Who asks, and which session is its connection's.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// By the kernel's word.
    pub who: &'a Credentials,
    /// Its session.
    pub session: Option<SessionId>,
}

impl Asker<'_> {
    fn own(&self) -> Result<SessionId, Refusal> {
        self.session
            .ok_or_else(|| Code::Enoent.because("this connection has no session: stack.open makes one"))
    }
}

impl Stacks {
    fn plan(&self, shape: Shape, form: Form, weight: multistack::drr::Weight, mtu: u16) -> Plan {
        Plan { shape, form, weight, mtu, features: self.features }
    }

    fn serves(&self) -> Result<(), Refusal> {
        match self.layout {
            Layout::RunToCompletion => Ok(()),
            Layout::Pipeline => Err(Code::Eproto.because(
                "layout \"pipeline\" serves no application stacks: engine.layout = \"run-to-completion\" does",
            )),
        }
    }
}

impl Road {
    /// Opens a session, and returns with it what the application is to be sent.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn open_stack(
        &mut self,
        who: &Credentials,
        open: &StackOpen,
    ) -> Result<(SessionId, StackOpened, Handed), Refusal> {
        self.stacks.serves()?;
        let name = Name::new(&open.name).map_err(|r| words::refusal(&r))?;
        let slots = |given| Slots::new(given).map_err(|error| Code::Einval.because(error));
        let shape = self.shape(slots(open.rx_slots)?, slots(open.tx_slots)?)?;
        let form = if open.l2 { Form::L2 } else { Form::L3 };
        let rule = self.stacks.policy().rule_for(who).map_err(|denied| words::refusal(&denied.into()))?;
        let plan = self.stacks.plan(shape, form, rule.weight, self.view.mtu());
        let lease = Lease::from_bits(u128::from_ne_bytes(random().map_err(|e| Code::Eio.because(e))?));
        let (registry, mut hands) = self.split();
        hands.plan = Some(plan);
        let open = Open { caller: who.clone(), name, shape, form, lease: words::lease(lease) };
        let change = registry.open(open).map_err(|r| words::refusal(&r))?;
        let session = change.carry_out(|step| hands.act(step)).map_err(words::failed)?;
        let handed = std::mem::take(&mut hands.handed);
        self.save();
        Ok((session, opened(session, lease, &plan), handed))
    }

    /// Takes a session up again that an earlier daemon served.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn attach_stack(
        &mut self,
        who: &Credentials,
        lease: Lease,
        now: Duration,
    ) -> Result<(SessionId, StackAttached, Handed), Refusal> {
        self.stacks.serves()?;
        let rule = self.stacks.policy().rule_for(who).map_err(|denied| words::refusal(&denied.into()))?;
        let weight = rule.weight;
        let known = self.registry.sessions().find(|session| session.lease == words::lease(lease));
        let known = known.ok_or_else(|| words::refusal(&Registry::Stale))?;
        let (form, shape) = (known.form, self.shape(known.shape.rx_slots(), known.shape.tx_slots())?);
        let plan = self.stacks.plan(shape, form, weight, self.view.mtu());
        let (registry, mut hands) = self.split();
        hands.plan = Some(plan);
        let change =
            registry.attach(words::lease(lease), who, now, |_| shape).map_err(|r| words::refusal(&r))?;
        let attached = change.carry_out(|step| hands.act(step)).map_err(words::failed)?;
        let handed = std::mem::take(&mut hands.handed);
        self.save();
        let numbers = attached.tuples.iter().map(|(number, _)| *number);
        let tuples = numbers.take(MAX_ATTACHED_TUPLES).collect();
        let session = attached.session;
        Ok((session, StackAttached { opened: opened(session, lease, &plan), tuples }, handed))
    }

    /// The rings of a session: one channel for each engine that receives.
    fn shape(&self, rx: Slots, tx: Slots) -> Result<Shape, Refusal> {
        let channels = self.engines.receivers().count() as u16;
        Shape::new(channels, rx, tx, self.stacks.slot_size).map_err(|error| Code::Eio.because(error))
    }

    /// Registers a tuple, or keeps one for the applications of a user.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn register_tuple(
        &mut self,
        asker: &Asker<'_>,
        want: &StackRegister,
        lent: Option<OwnedFd>,
    ) -> Result<StackRegistered, Refusal> {
        if let Some(uid) = want.uid {
            return self.reserve(asker, want, uid);
        }
        let session = asker.own()?;
        let registered = match want.reserve {
            ReserveMode::Daemon => self.register_held(session, want)?,
            ReserveMode::Fd => {
                let lent = lent.ok_or_else(|| Code::Enoent.because("no descriptor came with the request"))?;
                self.register_lent(session, want, lent)?
            }
        };
        self.save();
        let registry::Registered { number, tuple, addrs } = registered;
        Ok(StackRegistered { tuple: number, port: tuple.port(), addrs: words::listed(addrs) })
    }

    fn register_held(
        &mut self,
        session: SessionId,
        want: &StackRegister,
    ) -> Result<registry::Registered, Refusal> {
        let mut last = Code::Eaddrinuse.because("no port is free");
        for _ in 0..PORT_TRIES {
            match self.register_once(session, want, Reserve::Daemon, None) {
                Err(refusal) if want.port == 0 && refusal.code == Code::Eaddrinuse => last = refusal,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    fn register_lent(
        &mut self,
        session: SessionId,
        want: &StackRegister,
        lent: OwnedFd,
    ) -> Result<registry::Registered, Refusal> {
        let facts = sockets::facts(lent.as_fd())
            .map_err(|error| Code::Einval.because(format_args!("the descriptor is no socket: {error}")))?;
        // Port 0 is whichever the application has bound.
        let bound = facts.local.map_or(0, |local| local.port());
        let port = if want.port == 0 { bound } else { want.port };
        let tuple = words::tuple(want.proto, want.addr, port)?;
        let cover =
            check(&facts, &tuple, self.stacks.sockets.netns()).map_err(|e| Code::Einval.because(e))?;
        self.register_once(session, &StackRegister { port, ..want.clone() }, Reserve::Lent(cover), Some(lent))
    }

    fn register_once(
        &mut self,
        session: SessionId,
        want: &StackRegister,
        reserve: Reserve,
        lent: Option<OwnedFd>,
    ) -> Result<registry::Registered, Refusal> {
        let proto = words::proto(want.proto);
        let want = Want {
            proto,
            addr: words::address(want.addr),
            port: want.port,
            reserve,
            on_crash: want.on_crash.map(words::on_crash).unwrap_or_default(),
            icmp: if want.icmp { IcmpErrors::Delivered } else { IcmpErrors::Kept },
        };
        let choice = u64::from_ne_bytes(random().map_err(|error| Code::Eio.because(error))?);
        let (registry, mut hands) = self.split();
        hands.lent = lent;
        let change = registry.register(session, &want, &sockets::kernel(proto), choice);
        change.map_err(|r| words::refusal(&r))?.carry_out(|step| hands.act(step)).map_err(words::failed)
    }

    fn reserve(
        &mut self,
        asker: &Asker<'_>,
        want: &StackRegister,
        uid: u32,
    ) -> Result<StackRegistered, Refusal> {
        let tuple = words::tuple(want.proto, want.addr, want.port)?;
        let on_crash = want.on_crash.map(words::on_crash);
        let kernel = sockets::kernel(tuple.proto());
        let (registry, mut hands) = self.split();
        let change = registry.reserve(asker.who, tuple, uid, on_crash, &kernel);
        change.map_err(|r| words::refusal(&r))?.carry_out(|step| hands.act(step)).map_err(words::failed)?;
        self.save();
        Ok(StackRegistered { tuple: 0, port: tuple.port(), addrs: Vec::new() })
    }

    /// Releases a tuple of the asker's, a reservation, or by force anybody's.
    ///
    /// # Errors
    /// The refusal, ready to be replied.
    pub fn release_tuple(&mut self, asker: &Asker<'_>, release: &StackRelease) -> Result<(), Refusal> {
        match release.which()? {
            Which::Number(number) => self.release_own(asker.own()?, number)?,
            Which::Tuple { proto, addr, port } => {
                let tuple = words::tuple(proto, addr, port)?;
                match self.registry.owner(&tuple) {
                    Some(Owner::Stack { session, tuple: number }) if Some(session) == asker.session => {
                        self.release_own(session, number)?;
                    }
                    Some(Owner::Stack { .. }) if release.force => self.force_release(asker.who, &tuple)?,
                    _ => self.unreserve(asker.who, &tuple)?,
                }
            }
        }
        self.save();
        Ok(())
    }

    fn release_own(&mut self, session: SessionId, number: u16) -> Result<(), Refusal> {
        let (registry, mut hands) = self.split();
        let change = registry.release(session, number).map_err(|r| words::refusal(&r))?;
        change.carry_out(|step| hands.act(step)).map_err(words::failed)?;
        self.forget_book(session, number);
        Ok(())
    }

    pub(in super::super) fn forget_book(&self, session: SessionId, tuple: u16) {
        if let Some(rings) = self.stacks.rings.get(&session) {
            rings.forget(tuple);
        }
    }

    fn force_release(&mut self, who: &Credentials, tuple: &Tuple) -> Result<(), Refusal> {
        let (registry, mut hands) = self.split();
        let change = registry.force_release(who, tuple).map_err(|r| words::refusal(&r))?;
        let news = change.carry_out(|step| hands.act(step)).map_err(words::failed)?;
        if let News::TupleRevoked { tuple, .. } = news.news {
            self.forget_book(news.session, tuple);
        }
        self.stacks.news.push(news);
        Ok(())
    }

    fn unreserve(&mut self, who: &Credentials, tuple: &Tuple) -> Result<(), Refusal> {
        let (registry, mut hands) = self.split();
        let change = registry.unreserve(who, tuple).map_err(|r| words::refusal(&r))?;
        change.carry_out(|step| hands.act(step)).map_err(words::failed)
    }

    /// Ends a session whose process is gone. What cannot be ended now is tried again: see [`Road::look_after_stacks`].
    pub fn close_stack(&mut self, session: SessionId) {
        let (registry, mut hands) = self.split();
        let Ok(change) = registry.close(session) else { return };
        let ended = change.carry_out(|step| hands.act(step));
        self.ended(session, ended);
    }

    /// Ends a session whose process is there, and tells it why.
    pub fn expel_stack(&mut self, session: SessionId, reason: Reason) {
        let (registry, mut hands) = self.split();
        let Ok(change) = registry.expel(session, reason) else { return };
        let ended = change.carry_out(|step| hands.act(step)).map(|news| self.stacks.news.push(news));
        self.ended(session, ended);
    }

    fn ended(&mut self, session: SessionId, ended: Result<(), registry::Failed<StepError>>) {
        match ended {
            Ok(()) => {
                self.stacks.ending.remove(&session);
            }
            Err(failed) => {
                if self.stacks.ending.insert(session) {
                    tracing::warn!(%session, "cannot be ended yet: {}", words::failed(failed));
                }
            }
        }
        self.save();
    }

    /// What is due once a second: orphans whose grace is over, sessions that could not be ended, lent sockets.
    pub fn look_after_stacks(&mut self, now: Duration) {
        for session in self.registry.expired(now) {
            tracing::info!(%session, "nobody took it up again");
            self.close_stack(session);
        }
        for session in self.stacks.ending.clone() {
            self.close_stack(session);
        }
        for (lent, strength) in self.stacks.sockets.strengths() {
            // A tuple that is being released has no strength any more.
            let _ = self.registry.set_strength(lent, strength);
        }
    }

    /// Ends every session, because the daemon ends; nobody will take them up.
    pub fn end_stacks(&mut self) {
        let sessions: Vec<SessionId> = self.registry.sessions().map(|session| session.id).collect();
        for session in sessions {
            self.expel_stack(session, Reason::Shutdown);
        }
        if let Err(error) = self.stacks.file.remove() {
            tracing::warn!(%error, "the state of sessions is left");
        }
    }
}

fn opened(session: SessionId, lease: Lease, plan: &Plan) -> StackOpened {
    StackOpened {
        slot: session.slot,
        generation: session.generation,
        lease,
        channels: plan.shape.channels(),
        slot_size: plan.shape.slot_size().get(),
        mtu: plan.mtu.into(),
    }
}
