//! Captures: who may see which packets, and what ends it.
//!
//! A capture is a ring for each engine, which the engines fill and the program that asked empties; the daemon gives it out,
//! takes it back, and never sees a packet of it. Root may capture everything, everybody else the tuples of sessions that
//! their own user has, for as long as they have them.
use std::{net::IpAddr, os::fd::OwnedFd, sync::atomic::Ordering};

use abi::{
    capture::{PAGE, Shape, State, ring::Writer},
    shm::memory::{Memory, Writable},
    steer::Target,
};
use client::control::{
    answer::Done,
    capture::{CaptureStart, CaptureStarted, MAX_CAPTURES, MAX_TUPLES},
    refusal::{Code, Refusal},
    request::{LocalAddr, Op},
};
use ixp::{
    capture::{
        CaptureId, EngineTap,
        filter::{Filter, Points, Wanted},
    },
    counter::Counter,
    engines::EngineId,
    region::{Direction, Region},
};
use multistack::{
    policy::Credentials,
    registry::{Owner, Registry, SessionId},
    tuple::{Address, Tuple},
};
use nix::{
    time::{ClockId, clock_gettime},
    unistd::geteuid,
};

use super::{answers::value, instance::Instance, sessions::Outcome};
use crate::{
    control::listener::{Asked, Id},
    road::{Road, stacks::words},
};

/// Bytes of all rings of one capture, as far as the smallest ring allows.
const CAPTURE_BYTES: u32 = 16 << 20;
/// Most bytes of one ring: some tens of milliseconds of a fast wire.
const RING_BYTES: u32 = 4 << 20;

/// The captures that run.
#[derive(Debug, Default)]
pub struct Captures {
    running: Vec<Running>,
    last: u32,
}

#[derive(Debug)]
struct Running {
    id: CaptureId,
    of: Id,
    /// Where its program reads that it is over.
    down: Region,
    /// Held for its drop: what a worker lets go of last it would have to unmap, while packets wait.
    _up: Region,
    /// What it was allowed for, if not everything.
    owned: Vec<(Tuple, Owner)>,
}

/// Whether an operation is one of captures.
pub(super) const fn concerns(op: &Op) -> bool {
    matches!(op, Op::CaptureStart(_) | Op::CaptureStop(_))
}

/// Answers a request of somebody who captures.
pub(super) fn outcome(captures: &mut Captures, instance: &Instance, asked: &Asked) -> Outcome {
    match &asked.request.op {
        Op::CaptureStart(start) => {
            let (started, fds) = captures.start(instance, asked.from, &asked.who, start)?;
            Ok((value(&started)?, fds))
        }
        Op::CaptureStop(_) => {
            captures.end(&instance.road, asked.from, State::Stopped)?;
            Ok((value(&Done {})?, Vec::new()))
        }
        _ => Err(Code::Eproto.because("not an operation of captures")),
    }
}

impl Captures {
    fn start(
        &mut self,
        instance: &Instance,
        of: Id,
        who: &Credentials,
        start: &CaptureStart,
    ) -> Result<(CaptureStarted, Vec<OwnedFd>), Refusal> {
        if self.running.iter().any(|running| running.of == of) {
            return Err(Code::Ebusy.because("this connection captures already"));
        }
        let given = self.running.len() + 1;
        if MAX_CAPTURES < given {
            return Err(Refusal::limit("captures", given as u64, MAX_CAPTURES as u64));
        }
        let road = &instance.road;
        let (filter, owned) = allowed(road.registry(), who, start)?;
        let id = CaptureId::new(self.last.wrapping_add(1));
        let (down, up, fds) = begin(road, id, &filter)?;
        self.last = self.last.wrapping_add(1);
        self.running.push(Running { id, of, down, _up: up, owned });
        tracing::info!(capture = %id, uid = who.uid, pid = who.pid, "begins");
        let interfaces = instance.settings.interfaces.iter().map(|i| i.name().to_owned()).collect();
        let reasons = Counter::ALL.iter().map(|counter| counter.desc().name.to_owned()).collect();
        Ok((CaptureStarted { capture: self.last, interfaces, queues: road.queues(), reasons }, fds))
    }

    fn end(&mut self, road: &Road, of: Id, why: State) -> Result<(), Refusal> {
        let at = self.running.iter().position(|running| running.of == of);
        let at = at.ok_or_else(|| Code::Enoent.because("this connection captures nothing"))?;
        self.running.swap_remove(at).end(road, why);
        Ok(())
    }

    /// A connection has ended, and with it what it captured.
    pub fn gone(&mut self, road: &Road, of: Id) {
        // Most connections capture nothing.
        let _ = self.end(road, of, State::Stopped);
    }

    /// Ends the captures whose tuples have another owner now, before anything of that owner's can be seen.
    pub fn check(&mut self, road: &Road) {
        let registry = road.registry();
        let lost = |running: &mut Running| {
            running.owned.iter().any(|(tuple, owner)| registry.owner(tuple) != Some(*owner))
        };
        for running in self.running.extract_if(.., lost) {
            running.end(road, State::Released);
        }
    }

    /// The engines have ended: no ring is written any more.
    pub fn down(self) {
        self.running.iter().for_each(|running| State::Down.write(&running.down));
    }
}

impl Running {
    fn end(self, road: &Road, why: State) {
        // An engine that does not answer may go on writing into memory that nobody reads.
        if let Err(late) = road.engines().end_capture(self.id) {
            tracing::warn!(capture = %self.id, "{late}");
        }
        why.write(&self.down);
        tracing::info!(capture = %self.id, "ends: {why:?}");
    }
}

/// Makes the rings, and gives one to each engine.
fn begin(road: &Road, id: CaptureId, filter: &Filter) -> Result<(Region, Region, Vec<OwnedFd>), Refusal> {
    let eio = |error: &dyn std::fmt::Display| Code::Eio.because(error);
    let engines = u16::try_from(road.engines().count()).map_err(|error| eio(&error))?;
    let shape = shape(engines).ok_or_else(|| Code::Eio.because("more engines than a capture has rings"))?;
    let (down, down_fd) = Region::create(Direction::Down, shape.down_size()).map_err(|error| eio(&error))?;
    let (up, up_fd) = Region::create(Direction::Up, shape.up_size()).map_err(|error| eio(&error))?;
    touch(&down);
    shape.lay_out(&down, filter.snaplen, epoch_ns(road)?);
    for number in 0..engines {
        let Some(at) = shape.ring(number) else { break };
        let tap = EngineTap::new(id, filter.clone(), Writer::new(down.clone(), up.clone(), at));
        if let Err(late) = road.engines().begin_capture(EngineId::new(number), tap) {
            let _ = road.engines().end_capture(id);
            return Err(eio(&late));
        }
    }
    Ok((down, up, vec![down_fd, up_fd]))
}

/// Has the kernel find every page now: else a worker would wait for each.
fn touch(region: &Region) {
    (0..region.size()).step_by(PAGE).for_each(|at| region.store_u32(at, 0, Ordering::Relaxed));
}

/// A ring for each engine, all together as large as one capture may be.
fn shape(engines: u16) -> Option<Shape> {
    let each = CAPTURE_BYTES / u32::from(engines.max(1));
    let bytes = (1 << each.ilog2()).clamp(abi::capture::MIN_RING, RING_BYTES);
    Shape::new(engines, bytes).ok()
}

/// When the engines' clock was 0.
fn epoch_ns(road: &Road) -> Result<u64, Refusal> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_err(|error| Code::Eio.because(error))?;
    let now = std::time::Duration::from(now).as_nanos();
    Ok(u64::try_from(now).unwrap_or(u64::MAX).saturating_sub(road.engines().now().get()))
}

/// What is to be shown, and what that is allowed for: nothing, where everything is.
///
/// # Errors
/// It makes no sense, or is not theirs to see.
fn allowed(
    registry: &Registry,
    who: &Credentials,
    start: &CaptureStart,
) -> Result<(Filter, Vec<(Tuple, Owner)>), Refusal> {
    if start.at.is_empty() || start.snaplen == 0 {
        return Err(Code::Einval.because("expected a point and a snaplen"));
    }
    if MAX_TUPLES < start.tuples.len() {
        return Err(Refusal::limit("tuples", start.tuples.len() as u64, MAX_TUPLES as u64));
    }
    // Whoever runs the daemon could read its memory anyway.
    let everything = who.is_root() || who.uid == geteuid().as_raw();
    let tuples = start.tuples.iter().map(|said| words::tuple(said.proto, said.addr, said.port));
    let tuples = tuples.collect::<Result<Vec<Tuple>, Refusal>>()?;
    if !everything && tuples.is_empty() {
        return Err(Code::Eacces.because("only root may capture every packet"));
    }
    let (mut owned, mut only) = (Vec::new(), None);
    if !everything {
        for tuple in &tuples {
            let (as_registered, owner) = owner(registry, tuple).ok_or_else(|| not_yours(tuple))?;
            let session = own_session(registry, who, owner).ok_or_else(|| not_yours(tuple))?;
            if only.replace(session).is_some_and(|other| other != session) {
                return Err(Code::Eacces.because("tuples of one session at a time"));
            }
            owned.push((as_registered, owner));
        }
    }
    let points = start.at.iter().fold(Points::default(), |points, at| points.and(at.seen()));
    let wanted = tuples
        .iter()
        .map(|tuple| Wanted::new(tuple.proto().number(), addr(tuple), tuple.port(), target(registry, tuple)));
    Ok((Filter { points, wanted: wanted.collect(), only, snaplen: start.snaplen }, owned))
}

fn not_yours(tuple: &Tuple) -> Refusal {
    Code::Eacces.because(format_args!("{tuple} is no tuple of yours, and only root may capture others'"))
}

/// Who has a tuple, and as what it is registered: itself, or with any address.
fn owner(registry: &Registry, tuple: &Tuple) -> Option<(Tuple, Owner)> {
    let any = Tuple::new(tuple.proto(), Address::Any, tuple.port()).ok();
    [Some(*tuple), any].into_iter().flatten().find_map(|tuple| Some((tuple, registry.owner(&tuple)?)))
}

fn own_session(registry: &Registry, who: &Credentials, owner: Owner) -> Option<SessionId> {
    let Owner::Stack { session, .. } = owner else { return None };
    (registry.session(session)?.presence.uid() == who.uid).then_some(session)
}

/// Where packets of a tuple are steered to now, if all of them to one target.
fn target(registry: &Registry, tuple: &Tuple) -> Option<Target> {
    let wanted = Wanted::new(tuple.proto().number(), addr(tuple), tuple.port(), None);
    let mut targets = registry.mirror().iter().filter(|(key, _)| wanted.is(key)).map(|(_, target)| *target);
    let first = targets.next()?;
    targets.all(|target| target == first).then_some(first)
}

fn addr(tuple: &Tuple) -> Option<IpAddr> {
    match words::said_address(tuple.addr()) {
        LocalAddr::Any => None,
        LocalAddr::Ip(addr) => Some(addr),
    }
}
