//! How fast each engine is when nothing holds it up: measured before anything is measured with it.
//!
//! The far end is the cheapest there is, one that counts and drops. A result above [`SHARE`] of the ceiling says
//! more about the generator than about what was measured, and is marked so.
use anyhow::{Context, Result};
use octroi_tests::lab::{End, Pair, PairOptions};
use serde::Serialize;
use xsk::bpf::{Generator, LabLink, XdpMode};

use super::{
    Inlet, Outlet,
    clock::{Clock, Monotonic, pin},
    drive::{self, Job, Sent},
    interface::{Interface, XskEngine},
    live::LiveSender,
    memory::Reflector,
};
use crate::traffic::{pace::Rate, plan::Plan};

/// The share of the ceiling above which a result is generator-limited.
pub const SHARE: f64 = 0.8;

/// How frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Made inside the kernel and redirected out of the interface.
    Xdp,
    /// AF_XDP.
    Xsk,
    /// A wire of nothing but memory.
    Memory,
}

/// The most that an engine sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Frames a second that left.
    pub rate_pps: f64,
    /// Frames a second that the far end counted.
    pub arrived_pps: f64,
}

impl Ceiling {
    /// Whether a result of so many frames a second may be the generator's instead of its own.
    #[must_use]
    pub fn limits(&self, rate_pps: f64) -> bool {
        SHARE * self.arrived_pps < rate_pps
    }
}

/// Measures the ceiling of `engine` with the frames of `plan`.
///
/// Engines that need an interface get a veth pair of their own, in namespaces of their own.
///
/// # Errors
/// A privilege is missing.
pub fn measure(engine: Engine, plan: &Plan, duration_ns: u64, core: Option<usize>) -> Result<Ceiling> {
    let job = Job::lasting(duration_ns, Rate::UNLIMITED);
    match engine {
        Engine::Memory => in_memory(plan, &job, core),
        Engine::Xdp => on_veth(
            plan,
            |interface| LiveSender::open(interface, plan)?.send(&job, &Monotonic, &mut |_| {}),
            core,
        ),
        Engine::Xsk => on_veth(
            plan,
            |interface| {
                let mut sender = XskEngine::sending(interface, plan.clone())?;
                drive::send(&mut sender, &job, &Monotonic, &mut |_| {})
            },
            core,
        ),
    }
}

fn in_memory(plan: &Plan, job: &Job, core: Option<usize>) -> Result<Ceiling> {
    core.map_or(Ok(()), pin)?;
    let mut wire = Reflector::new(plan.clone())?;
    let start = Monotonic.now_ns();
    wire.restart(start, 0);
    let (mut sent, mut arrived, mut now) = (0, 0, start);
    while now - start < job.duration_ns {
        sent += wire.offer(u64::MAX, now)?.frames;
        arrived += wire.collect(&Monotonic, &mut |frame, _| _ = std::hint::black_box(frame))?;
        now = Monotonic.now_ns();
    }
    let rate = |frames| drive::rate(frames, now - start);
    Ok(Ceiling { rate_pps: rate(sent), arrived_pps: rate(arrived) })
}

fn on_veth(
    plan: &Plan,
    send: impl FnOnce(&Interface) -> Result<Sent> + Send,
    core: Option<usize>,
) -> Result<Ceiling> {
    let pair = Pair::new(PairOptions::default())?;
    let (mut absorber, _link) = absorb(plan, &pair.served)?;
    let sent = pair.peer.netns.enter(|| {
        core.map_or(Ok(()), pin)?;
        send(&Interface::open(&pair.peer.ifname)?)
    })??;
    let arrived = absorber.absorbed()? as f64 / sent.duration_s;
    Ok(Ceiling { rate_pps: sent.rate_pps, arrived_pps: arrived })
}

/// Swallows every frame that reaches `end`.
fn absorb(plan: &Plan, end: &End) -> Result<(Generator, LabLink)> {
    let ifindex = end.ifindex()?;
    let programs = Generator::load(plan.config(), &plan.flows()[..1])?;
    let link = end.netns.enter(|| programs.absorb_at(ifindex, XdpMode::Native))?;
    Ok((programs, link.context("the far end's program cannot be attached")?))
}
