//! Judges of one frame: the slow twin, the oracle, the XDP object in a test run. They must always agree.
//!
//! A judge says whose a frame is and, if it is redirected, with which metadata; nothing about what a target does.
//!
//! Bulk goes by the chunk: each frame's verdict and bytes are compared with what the others said, the counters once,
//! as the sum over the chunk. A chunk that differs is judged again frame by frame, to name the one.
use std::{cell::RefCell, collections::BTreeMap, fmt::Write as _, os::fd::OwnedFd, time::Duration};

use abi::{
    counter::{Role, XdpCounter},
    fragment::{FragEntry, FragKey, LIFETIME_NS},
    pins::PROG_INGRESS,
    port::{PortConfig, TRANSIT},
    rxmeta::{RxMeta, flag},
    steer::{SteerKey, Target, kind, target_flag},
};
use anyhow::{Context as _, Result, bail, ensure};
use multistack::{
    fragment::Change,
    steer::{Outcome, steer_among},
};
use nix::time::{ClockId, clock_gettime};
use xsk::bpf::{Counters, Counts, Datagrams, Input, Instance, Loaded, Run, Verdict, unbound_socket};
use zerocopy::FromBytes as _;

use crate::{
    corpus::{Sample, layers, matrix::PORTS},
    oracle,
};

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The OS stack's, for this reason.
    Pass(XdpCounter),
    /// A target's, with this metadata.
    Redirect(RxMeta),
}

/// An interface and the tuples that are owned on it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What people call it.
    pub name: &'static str,
    /// The interface.
    pub port: PortConfig,
    /// The tuples.
    pub table: BTreeMap<SteerKey, Target>,
    /// The datagrams of which a first fragment came before. Each frame finds these, whatever came between.
    pub datagrams: BTreeMap<FragKey, FragEntry>,
}

/// When the twin and the oracle judge.
pub const NOW: Duration = Duration::from_secs(100);
/// The end of an entry that nobody sees the end of.
const NEVER_NS: u64 = u64::MAX;
/// The end of an entry that was over when the machine started.
const LONG_AGO_NS: u64 = 1;

impl Setting {
    /// An interface of the corpus with these VLANs.
    #[must_use]
    pub fn new(name: &'static str, vlans: &[u16]) -> Self {
        let mut port = PortConfig { mac: layers::MAC, tags: vlans.len() as u8, ..PortConfig::default() };
        port.vlan[..vlans.len()].copy_from_slice(vlans);
        Self { name, port, table: owned(), datagrams: begun() }
    }

    /// The same, for transit.
    #[must_use]
    pub fn transit(mut self) -> Self {
        self.port.flags = TRANSIT;
        self
    }
}

/// The settings that every frame of the corpus is judged in.
#[must_use]
pub fn settings() -> Vec<Setting> {
    vec![
        Setting::new("untagged", &[]),
        Setting::new("one VLAN", &[100]),
        Setting::new("two VLANs", &[200, 100]),
        Setting::new("transit", &[]).transit(),
        Setting::new("transit in a VLAN", &[100]).transit(),
    ]
}

/// Owned in every setting: one port at both addresses with each protocol, another at `::`. No two targets are alike.
fn owned() -> BTreeMap<SteerKey, Target> {
    let protocols = [6, 17, 33, 132, 136];
    let keys = protocols.into_iter().flat_map(|protocol| {
        [
            SteerKey::v4(protocol, layers::V4, PORTS[0]),
            SteerKey::v6(protocol, layers::V6, PORTS[0]),
            SteerKey::v6(protocol, [0; 16], PORTS[1]),
        ]
    });
    let kinds = [kind::STACK, kind::FASTPATH, kind::ACTIVE, kind::MODULE, kind::BUILTIN];
    let target = |n: u16| Target {
        kind: kinds[usize::from(n) % kinds.len()],
        flags: target_flag::ON_CRASH_PASS | if n.is_multiple_of(2) { target_flag::ICMP } else { 0 },
        id: 0x0100 + n,
        generation: 0xa000 + n,
        aux: 0x5555,
    };
    keys.zip((0..).map(target)).collect()
}

/// The corpus's datagrams of UDP began a moment ago, those of TCP long ago, others never.
fn begun() -> BTreeMap<FragKey, FragEntry> {
    let target = Target { kind: kind::STACK, flags: 0, id: 0x0200, generation: 0xb000, aux: 0x6666 };
    [(17, NEVER_NS), (6, LONG_AGO_NS)]
        .into_iter()
        .flat_map(|(proto, until_ns)| {
            let v4 = FragKey::v4(layers::PEER_V4, layers::V4, layers::ID_V4, proto);
            let v6 = FragKey::v6(layers::PEER_V6, layers::V6, layers::ID_V6, proto);
            [v4, v6].map(|key| (key, FragEntry { key, target, until_ns }))
        })
        .collect()
}

/// What the slow twin says, and what the frame changes.
#[must_use]
pub fn twin(frame: &[u8], setting: &Setting) -> (Judgement, Change) {
    let (outcome, change) = steer_among(frame, &setting.port, &setting.table, &setting.datagrams, NOW);
    let judgement = match outcome {
        Outcome::Pass(reason) => Judgement::Pass(reason),
        Outcome::Redirect { meta, .. } => Judgement::Redirect(meta),
    };
    (judgement, change)
}

impl Setting {
    /// Checks that a frame changed in the fragment map what the twin says, and makes that undone.
    ///
    /// # Errors
    /// It did not, or the kernel refuses.
    pub fn undo_change(&self, frame: &[u8], map: &mut Datagrams) -> Result<()> {
        let (_, change) = twin(frame, self);
        let key = match change {
            Change::None => return Ok(()),
            Change::Forget(key) => key,
            Change::Enter(entry) => entry.key,
        };
        ensure_changed(&change, map.get(key)?)?;
        match self.datagrams.get(&key) {
            Some(&entry) => map.put(entry)?,
            None => map.delete(key)?,
        }
        Ok(())
    }
}

/// The fragment map has `found` after a frame that changed this, a moment ago.
///
/// # Errors
/// It has something else.
pub fn ensure_changed(change: &Change, found: Option<FragEntry>) -> Result<()> {
    let wanted = match change {
        Change::Enter(entry) => Some(*entry),
        Change::Forget(_) | Change::None => None,
    };
    let of_whom = |entry: &FragEntry| (entry.key, entry.target);
    ensure!(found.as_ref().map(of_whom) == wanted.as_ref().map(of_whom), "{found:?} instead of {wanted:?}");
    if let Some(entry) = found {
        // The kernel's clock is not the twin's: the entry began before now, and a test does not last as long as it.
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?).as_nanos();
        let lives = u128::from(entry.until_ns).checked_sub(now);
        ensure!(lives.is_some_and(|ns| ns <= u128::from(LIFETIME_NS)), "until {} at {now}", entry.until_ns);
    }
    Ok(())
}

/// What the oracle says, after the twin said the same.
///
/// # Errors
/// They differ.
pub fn twin_and_oracle(sample: &Sample, setting: &Setting) -> Result<Judgement> {
    let oracle = oracle::steer(&sample.frame, &setting.port, &setting.table, &setting.datagrams, NOW);
    let twin = twin(&sample.frame, setting);
    ensure!(twin == oracle, "{}twin   {twin:?}\noracle {oracle:?}", describe(sample, setting));
    Ok(oracle.0)
}

/// The XDP object, in one setting.
pub struct Xdp {
    setting: Setting,
    loaded: Loaded,
    counters: Counters,
    datagrams: RefCell<Datagrams>,
    _socket: OwnedFd,
}

impl Xdp {
    /// Longest frame that a test run takes: one page, less what the kernel keeps in it.
    pub const MAX_LEN: usize = 3_000;

    /// Loads the programs for a setting, with a socket on the queue that test runs arrive on.
    ///
    /// # Errors
    /// The object was not built, or the kernel refuses.
    pub fn load(setting: Setting) -> Result<Self> {
        let instance = Instance::unpinned()?;
        let loaded = instance.load(setting.port)?;
        let mut steering = instance.steering()?;
        for (&key, &target) in &setting.table {
            steering.put(key, target)?;
        }
        let mut datagrams = instance.datagrams()?;
        setting.datagrams.values().try_for_each(|&entry| datagrams.put(entry))?;
        let socket = unbound_socket()?;
        loaded.xsks()?.set(0, &socket)?;
        let (counters, datagrams) = (instance.counters()?, RefCell::new(datagrams));
        Ok(Self { setting, loaded, counters, datagrams, _socket: socket })
    }

    /// Whether the kernel runs programs on such a frame.
    #[must_use]
    pub fn takes(frame: &[u8]) -> bool {
        (14..=Self::MAX_LEN).contains(&frame.len())
    }

    /// Agrees with the others on every frame of a chunk; frames that it does not take are left out.
    ///
    /// # Errors
    /// It does not: the first such frame, and what either says.
    pub fn agrees(&self, chunk: &[(Sample, Judgement)]) -> Result<()> {
        let before = self.counters.read()?;
        let mut wanted = Counts::default();
        let mut agreed = true;
        for (sample, judgement) in chunk.iter().filter(|(sample, _)| Self::takes(&sample.frame)) {
            wanted.iter_mut().zip(counts_of(judgement)).for_each(|(sum, one)| *sum += one);
            agreed &= saw(&self.run(&sample.frame)?, &sample.frame).is_ok_and(|seen| seen.of(judgement));
            agreed &= self.undo_change(&sample.frame).is_ok();
        }
        if agreed && self.moved_since(&before)? == wanted {
            return self.has_its_datagrams();
        }
        for (sample, judgement) in chunk.iter().filter(|(sample, _)| Self::takes(&sample.frame)) {
            let xdp = self.judge(&sample.frame).with_context(|| describe(sample, &self.setting))?;
            let what = describe(sample, &self.setting);
            ensure!(xdp == *judgement, "{what}XDP    {xdp:?}\nothers {judgement:?}");
        }
        bail!("a chunk of {} frames moved other counters than its frames one by one", chunk.len())
    }

    /// What it says of a frame, by all that it did: verdict, bytes, and the complete counter change.
    ///
    /// # Errors
    /// What it did does not make a judgement.
    pub fn judge(&self, frame: &[u8]) -> Result<Judgement> {
        let before = self.counters.read()?;
        let run = self.run(frame)?;
        let judgement = match saw(&run, frame)? {
            Seen::Redirect(meta) => Judgement::Redirect(meta),
            Seen::Pass => Judgement::Pass(reason(&self.moved_since(&before)?)?),
        };
        let moved = self.moved_since(&before)?;
        ensure!(moved == counts_of(&judgement), "counters moved {moved:?} after {judgement:?}");
        self.undo_change(frame)?;
        Ok(judgement)
    }

    fn undo_change(&self, frame: &[u8]) -> Result<()> {
        self.setting.undo_change(frame, &mut self.datagrams.borrow_mut())
    }

    /// No frame changed the fragment map but as it should, or the map is not what it was.
    fn has_its_datagrams(&self) -> Result<()> {
        let mut entries = self.datagrams.borrow().list()?;
        entries.sort_by_key(|entry| entry.key);
        ensure!(entries.iter().eq(self.setting.datagrams.values()), "the fragment map has {entries:?}");
        Ok(())
    }

    fn run(&self, frame: &[u8]) -> Result<Run> {
        Ok(Input::new(frame).run(self.loaded.program(PROG_INGRESS)?)?)
    }

    fn moved_since(&self, before: &Counts) -> Result<Counts> {
        let mut moved = self.counters.read()?;
        moved.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
        Ok(moved)
    }
}

/// What a test run shows without its counters.
enum Seen {
    Pass,
    Redirect(RxMeta),
}

impl Seen {
    fn of(&self, judgement: &Judgement) -> bool {
        match (self, judgement) {
            (Self::Pass, Judgement::Pass(_)) => true,
            (Self::Redirect(meta), Judgement::Redirect(wanted)) => meta == wanted,
            _ => false,
        }
    }
}

fn saw(run: &Run, frame: &[u8]) -> Result<Seen> {
    match run.verdict {
        Verdict::Pass => {
            ensure!(run.bytes == frame, "passed, but not as it came");
            Ok(Seen::Pass)
        }
        Verdict::Redirect => {
            let (meta, rest) = run.split_meta(frame.len()).context("redirected without metadata")?;
            ensure!(rest == frame, "redirected, but the frame was changed");
            Ok(Seen::Redirect(RxMeta::read_from_bytes(meta).map_err(|_| anyhow::anyhow!("not 16 bytes"))?))
        }
        other => bail!("{other:?}"),
    }
}

/// All that one frame moves: `xdp.rx`, its outcome, and notes.
#[must_use]
pub fn counts_of(judgement: &Judgement) -> Counts {
    let mut counts = Counts::default();
    counts[XdpCounter::Rx as usize] = 1;
    counts[counter_of(judgement) as usize] = 1;
    if let Judgement::Redirect(meta) = judgement {
        for (bit, note) in [
            (flag::FRAG_FIRST, XdpCounter::FragFirst),
            (flag::FRAG_LATER, XdpCounter::FragLater),
            (flag::ICMP_ERROR, XdpCounter::IcmpError),
        ] {
            counts[note as usize] = u64::from(meta.flags & bit != 0);
        }
    }
    counts
}

/// The counter that is a frame's outcome.
#[must_use]
pub fn counter_of(judgement: &Judgement) -> XdpCounter {
    match judgement {
        Judgement::Pass(reason) => *reason,
        Judgement::Redirect(_) => XdpCounter::Redirect,
    }
}

/// The outcome that one frame moved.
///
/// # Errors
/// There is none, or more than one.
pub fn reason(moved: &Counts) -> Result<XdpCounter> {
    let is_outcome = |counter: &XdpCounter| !matches!(counter.desc().role, Role::Rx | Role::Note);
    let outcomes = XdpCounter::ALL.into_iter().filter(is_outcome);
    let others: Vec<_> = outcomes.filter(|&counter| moved[counter as usize] != 0).collect();
    match others[..] {
        [one] => Ok(one),
        _ => bail!("{others:?} moved"),
    }
}

/// A frame for people: its name, where it was judged, its bytes.
#[must_use]
pub fn describe(sample: &Sample, setting: &Setting) -> String {
    let mut text = format!("{} ({} bytes), {}:\n", sample.name, sample.frame.len(), setting.name);
    for byte in &sample.frame {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}
