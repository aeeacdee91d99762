//! Closed-loop load: numbered frames, never more in flight than a ring can hold, and what became of each.
//!
//! A pause of the machine therefore loses nothing, and "0 lost" can be asserted. This measures no rate: open-loop
//! load is `octroi-pktgen`'s.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::frame::{Flow, STAMP, Stamp};

/// Half of the smallest ring that any lab configures: what may be in flight.
pub const WINDOW: u64 = 128;

/// How long an answer may take before it counts as lost: longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a load is sent by, and comes back on.
pub trait Wire {
    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The device is gone.
    fn send(&self, frame: &[u8]) -> Result<()>;

    /// The next frame that arrived, waiting for it until `deadline`.
    ///
    /// # Errors
    /// The device is gone.
    fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>>;
}

/// Sent, came back, and how. [`Tally::whole`] is what a test asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames sent.
    pub sent: u64,
    /// Frames that came back for the first time, as expected to the last byte.
    pub returned: u64,
    /// Frames that came back again.
    pub duplicated: u64,
    /// Frames that came back after a later one of their flow.
    pub reordered: u64,
    /// Frames that came and were none of those expected.
    pub foreign: u64,
}

impl Tally {
    /// All of `count` frames came back once, in order, and nothing else did.
    #[must_use]
    pub fn whole(count: u64) -> Self {
        Self { sent: count, returned: count, ..Self::default() }
    }
}

/// What is sent: UDP flows in turn, each frame stamped with its flow and number.
#[derive(Clone, Debug)]
pub struct Load {
    /// The flows.
    pub flows: Vec<Flow>,
    /// Tags of every frame, outermost first.
    pub vlan: Vec<u16>,
    /// Bytes of UDP payload, at least [`STAMP`].
    pub payload: usize,
}

impl Load {
    /// Untagged frames of `payload` bytes of UDP payload.
    #[must_use]
    pub fn new(flows: Vec<Flow>, payload: usize) -> Self {
        Self { flows, vlan: Vec::new(), payload: payload.max(STAMP) }
    }

    /// The `n`-th frame of all.
    ///
    /// # Errors
    /// There is no flow, or it cannot be written.
    pub fn frame(&self, n: u64) -> Result<Vec<u8>> {
        let stamp = self.stamp(n)?;
        self.flows[stamp.flow as usize].udp(&self.vlan, &stamp.payload(self.payload))
    }

    /// The answer to the `n`-th frame: the same with both ends exchanged, which leaves every checksum as it is.
    ///
    /// # Errors
    /// As [`Load::frame`].
    pub fn answer(&self, n: u64) -> Result<Vec<u8>> {
        let stamp = self.stamp(n)?;
        self.flows[stamp.flow as usize].reversed().udp(&self.vlan, &stamp.payload(self.payload))
    }

    fn stamp(&self, n: u64) -> Result<Stamp> {
        let flows = self.flows.len() as u64;
        ensure!(flows > 0, "a load without flows");
        Ok(Stamp { flow: (n % flows) as u32, sequence: n / flows })
    }

    /// Bytes of the frames `first..first + count` together, from the link up.
    ///
    /// # Errors
    /// As [`Load::frame`].
    pub fn bytes(&self, first: u64, count: u64) -> Result<u64> {
        (first..first + count).map(|n| Ok(self.frame(n)?.len() as u64)).sum()
    }

    /// Sends `count` frames to something that echoes, at most [`WINDOW`] ahead of the answers.
    ///
    /// # Errors
    /// The device is gone. Frames that never come back are no error: the tally shows them.
    pub fn echo(&self, wire: &dyn Wire, count: u64) -> Result<Tally> {
        self.echo_from(wire, 0, count)
    }

    /// As [`Load::echo`], with frames numbered from `first`.
    ///
    /// # Errors
    /// As [`Load::echo`].
    pub fn echo_from(&self, wire: &dyn Wire, first: u64, count: u64) -> Result<Tally> {
        let mut seen = Seen::new(self, first, count);
        while seen.tally.returned < count {
            while seen.tally.sent < count && seen.tally.sent < seen.tally.returned + WINDOW {
                wire.send(&self.frame(first + seen.tally.sent)?)?;
                seen.tally.sent += 1;
            }
            match wire.receive(Instant::now() + PATIENCE)? {
                Some(frame) => seen.take(&frame)?,
                None => break,
            }
        }
        Ok(seen.tally)
    }

    /// Sends `count` frames to something that keeps them; `settled` tells how many of them are accounted for so far.
    ///
    /// # Errors
    /// The device is gone, `settled` fails, or some frames stay unaccounted for.
    pub fn sink(&self, wire: &dyn Wire, count: u64, settled: impl FnMut() -> Result<u64>) -> Result<()> {
        let mut settled = settled;
        let mut sent = 0;
        while sent < count {
            let burst = WINDOW.min(count - sent);
            for n in sent..sent + burst {
                wire.send(&self.frame(n)?)?;
            }
            sent += burst;
            until("every frame sent is accounted for", || Ok(settled()? >= sent))?;
        }
        Ok(())
    }
}

/// Asks `holds` until it says yes. The only way to wait in a test: for a state, with a bound that only a hang meets.
///
/// # Errors
/// `holds` fails, or says no for ten seconds.
pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // The daemon answers a hundred times a second at most: who asks more often is made to wait.
    let mut pause = Duration::from_millis(1);
    while !holds().with_context(|| format!("while waiting until {what}"))? {
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
    Ok(())
}

/// Which answers came, and in which order.
struct Seen<'a> {
    load: &'a Load,
    first: u64,
    returned: Vec<bool>,
    newest: Vec<Option<u64>>,
    tally: Tally,
}

impl<'a> Seen<'a> {
    fn new(load: &'a Load, first: u64, count: u64) -> Self {
        let newest = vec![None; load.flows.len()];
        Self { load, first, returned: vec![false; count as usize], newest, tally: Tally::default() }
    }

    fn take(&mut self, frame: &[u8]) -> Result<()> {
        let Some((n, stamp)) = self.identify(frame)? else {
            self.tally.foreign += 1;
            return Ok(());
        };
        let newest = &mut self.newest[stamp.flow as usize];
        if std::mem::replace(&mut self.returned[(n - self.first) as usize], true) {
            self.tally.duplicated += 1;
            return Ok(());
        }
        self.tally.returned += 1;
        self.tally.reordered += u64::from(newest.is_some_and(|seen| stamp.sequence < seen));
        *newest = (*newest).max(Some(stamp.sequence));
        Ok(())
    }

    /// Which frame this answers, if it is an answer to one of ours that was sent, byte for byte.
    fn identify(&self, frame: &[u8]) -> Result<Option<(u64, Stamp)>> {
        let start = frame.len().saturating_sub(self.load.payload);
        let Some(stamp) = Stamp::read(&frame[start..]) else { return Ok(None) };
        let n = stamp.sequence * self.load.flows.len() as u64 + u64::from(stamp.flow);
        let sent = self.first..self.first + self.tally.sent;
        if !sent.contains(&n) || (stamp.flow as usize) >= self.load.flows.len() {
            return Ok(None);
        }
        Ok((self.load.answer(n)? == frame).then_some((n, stamp)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;
    use crate::lab::{self, Need, Pair, PairOptions, Ping, Tap};

    const NEEDS: &[Need] = &[Need::Netns, Need::RawSockets];

    /// Answers with a packet socket what the other end sends, except for the frames that `spoil` changes or keeps.
    fn echoed(count: u64, spoil: impl Fn(u64, &mut Vec<Vec<u8>>) + Send + Sync) -> Result<Tally> {
        let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
        let flows = (0..3).map(|i| Flow::v4(&pair.peer, 1000 + i, &pair.served, 7)).collect();
        let load = Load::new(flows, 100);
        let (near, far) = (Tap::open(&pair.peer)?, Tap::open(&pair.served)?);
        // The OS of the served end must not answer that nobody listens there.
        pair.served.run("ip addr flush dev served0")?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (answering, done) = (&load, &done);
            let echo = scope.spawn(move || -> Result<()> {
                let mut n = 0;
                while !done.load(Ordering::Relaxed) {
                    if far.receive(Instant::now() + Duration::from_millis(20))?.is_some() {
                        let mut answers = vec![answering.answer(n)?];
                        spoil(n, &mut answers);
                        answers.iter().try_for_each(|a| far.send(a))?;
                        n += 1;
                    }
                }
                Ok(())
            });
            let tally = load.echo(&near, count);
            done.store(true, Ordering::Relaxed);
            echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            tally
        })
    }

    #[test]
    fn lab_a_load_that_is_echoed_is_whole() -> Result<()> {
        let Some(_lab) = lab::require("lab_load_whole", NEEDS)? else { return Ok(()) };
        assert_eq!(echoed(1000, |_, _| {})?, Tally::whole(1000));
        Ok(())
    }

    #[test]
    fn lab_a_load_tells_doubled_and_foreign_frames() -> Result<()> {
        let Some(_lab) = lab::require("lab_load_spoiled", NEEDS)? else { return Ok(()) };
        let tally = echoed(100, |n, answers| {
            let answer = answers[0].clone();
            match n {
                10 => answers.push(answer),
                20 => answers.push(answer[..answer.len() - 1].to_vec()),
                _ => {}
            }
        })?;
        assert_eq!(tally, Tally { duplicated: 1, foreign: 1, ..Tally::whole(100) });
        Ok(())
    }

    #[test]
    fn lab_the_os_stacks_reach_each_other_by_both_families() -> Result<()> {
        let Some(_lab) = lab::require("lab_ping", NEEDS)? else { return Ok(()) };
        let pair = Pair::new(PairOptions::default())?;
        for to in [pair.served.v4.into(), pair.served.v6.into()] {
            Ping::open(&pair.peer.netns, to)?.times(3)?;
        }
        Ok(())
    }
}
