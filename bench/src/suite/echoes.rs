//! Ends that send every frame back, each on a pair of its own: the daemon's echo, bare AF_XDP, and the kernel's forwarding.
//!
//! They have pairs of their own so that a turn costs no set-up. Who is not measured sleeps: the daemon and the bare loop
//! in poll(2), the kernel because nothing comes. Replies are counted by an XDP program at the end that asked, so that
//! the generator's core does not spend itself on receiving them.
use std::{thread, time::Duration};

use abi::pins::LAB_PASS;
use anyhow::Result;
use octroi_tests::lab::{Config, Daemon, Pair};
use xsk::bpf::{Generator, Lab, LabLink, XdpMode};

use super::stage::{BareRun, Before, ECHO, Flood, SHAPE, Work, mixed_plan, pair};
use crate::{
    peer::bare::{Idle, Shape},
    search::{Trial, TrialResult},
    traffic::{
        plan::Plan,
        size::{FrameSize, Mix},
    },
};

/// A receiver that took nothing for so long has emptied its rings.
const SETTLED: Duration = Duration::from_millis(5);
/// A network beyond the peer, which the kernel forwards to.
const BEYOND: [u8; 4] = [198, 18, 0, 1];

/// Who sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The daemon, with the target `echo`.
    Octroi,
    /// Bare AF_XDP behind the same programs, which swaps MAC addresses.
    Bare,
    /// The kernel, which routes every frame back to where it came from.
    Kernel,
}

/// An end at work.
pub(super) struct Echo {
    work: Option<Working>,
    pair: Pair,
    plan: Plan,
}

enum Working {
    Octroi(Box<Daemon>),
    Bare(#[allow(dead_code, reason = "held for its drop")] Box<BareRun>),
    Kernel(#[allow(dead_code, reason = "held for its drop")] (LabLink, Lab)),
}

impl Echo {
    /// Starts it with rings and packet memory of `shape`; frames of `mix` come to it.
    pub(super) fn start(who: Who, mix: Mix, shape: Shape) -> Result<Self> {
        let pair = pair()?;
        let served = pair.served.v4.octets();
        let (work, to) = match who {
            Who::Octroi => {
                let config = Config { rings: shape.ring, frames: shape.frames, ..Config::echo_and_sink() };
                (Working::Octroi(Box::new(Daemon::start(&pair.served, &config)?)), served)
            }
            Who::Bare => {
                let mut run = BareRun::start(&pair, Work::Swap, Idle::Sleep, shape)?;
                run.put(&pair, Before::Steering)?;
                (Working::Bare(Box::new(run)), served)
            }
            Who::Kernel => (Working::Kernel(forward(&pair)?), BEYOND),
        };
        let plan = mixed_plan(&pair, to.into(), ECHO, mix)?;
        Ok(Self { work: Some(work), pair, plan })
    }

    /// The smallest frames alone.
    pub(super) fn smallest(who: Who) -> Result<Self> {
        Self::start(who, Mix::Fixed(FrameSize::new(64)?), SHAPE)
    }

    /// The wire.
    pub(super) const fn pair(&self) -> &Pair {
        &self.pair
    }

    /// What is sent to it.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A generator and a counter of replies at the other end.
    pub(super) fn asker(&self) -> Result<Asker<'_>> {
        let ifindex = self.pair.peer.ifindex()?;
        let counter = Generator::load(self.plan.config(), &self.plan.flows()[..1])?;
        let link = self.pair.peer.netns.enter(|| counter.absorb_at(ifindex, XdpMode::Native))??;
        Ok(Asker { flood: Flood::open(&self.pair, &self.plan)?, counter, _link: link })
    }

    /// Ends it in good order.
    pub(super) fn end(mut self) -> Result<()> {
        match self.work.take() {
            Some(Working::Octroi(daemon)) => daemon.down(&self.pair.served),
            _ => Ok(()),
        }
    }
}

/// Sends, and counts what comes back.
pub(super) struct Asker<'a> {
    flood: Flood<'a>,
    counter: Generator,
    _link: LabLink,
}

impl Asker<'_> {
    /// Replies a second in one run as fast as the kernel makes frames.
    pub(super) fn answered(&mut self) -> Result<f64> {
        let before = self.counter.absorbed()?;
        let sent = self.flood.send()?;
        Ok((self.settled()? - before) as f64 / sent.duration_s)
    }

    /// Frames a second that one run can offer to it: the generator's ceiling, with all that its core does for the wire.
    pub(super) fn ceiling(&mut self) -> Result<f64> {
        let sent = self.flood.send()?;
        self.settled()?;
        Ok(sent.rate_pps)
    }

    /// One trial at a rate; what could not be offered counts as lost (RFC 9971).
    pub(super) fn trial(&mut self, trial: Trial) -> Result<TrialResult> {
        let before = self.counter.absorbed()?;
        let sent = self.flood.at(trial.load.per_second(), Duration::from_secs_f64(trial.duration_s))?;
        let back = self.settled()? - before;
        let due = (sent.sent + sent.unsent).max(1);
        Ok(TrialResult::of(trial, due.saturating_sub(back) as f64 / due as f64))
    }

    /// Sends one burst without a gap, and returns how many of its frames did not come back.
    pub(super) fn burst(&mut self, frames: u32) -> Result<u64> {
        let before = self.counter.absorbed()?;
        self.flood.time(frames)?;
        Ok(u64::from(frames).saturating_sub(self.settled()? - before))
    }

    fn settled(&mut self) -> Result<u64> {
        settled(|| Ok(self.counter.absorbed()?))
    }
}

/// The count once it has stopped moving.
pub(super) fn settled(mut count: impl FnMut() -> Result<u64>) -> Result<u64> {
    let mut last = count()?;
    loop {
        thread::sleep(SETTLED);
        let now = count()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

/// Lets the kernel of the served end forward what is for [`BEYOND`] to the peer, and be silent about it.
///
/// The generator's frames reach a veth only where an XDP program runs: here one that passes all.
fn forward(pair: &Pair) -> Result<(LabLink, Lab)> {
    let (served, peer) = (&pair.served, &pair.peer);
    for name in ["ipv4/ip_forward", "ipv4/conf/all/accept_local"] {
        served.netns.sysctl(name, "1")?;
    }
    for name in ["all", served.ifname.as_str()] {
        for (key, value) in [("send_redirects", "0"), ("rp_filter", "0")] {
            served.netns.sysctl(&format!("ipv4/conf/{name}/{key}"), value)?;
        }
    }
    let [a, b, c, d] = BEYOND;
    served.run(&format!("ip route add {a}.{b}.{c}.{d}/32 via {} dev {}", peer.v4, served.ifname))?;
    let (lab, ifindex) = (Lab::load()?, served.ifindex()?);
    let link = served.netns.enter(|| lab.attach(LAB_PASS, ifindex, XdpMode::Native))??;
    Ok((link, lab))
}
