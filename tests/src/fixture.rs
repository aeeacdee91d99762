//! Fixtures: one frame, one named state of the maps, and everything that must come of it.
//!
//! A fixture goes through the real XDP object by `BPF_PROG_TEST_RUN`. It states the verdict, all 16 bytes of metadata
//! and the complete counter change: a counter that moves and is not named is a failure. A frame that passes must come
//! out as it went in, without metadata. The slow twin in `multistack` judges the same frame and must agree.
//!
//! *How a redirect is seen.* Without a socket the map lookup gives the fallback verdict, so a state names the queues
//! that have one. A test run of one frame ends at the verdict and delivers nothing, hence an AF_XDP socket that is
//! bound to nothing is enough, and frames without a device count as received on queue 0. What other queues do is
//! tested on a veth, in `b01_queues`.
use std::{collections::BTreeMap, net::IpAddr, os::fd::OwnedFd, path::Path};

use abi::{
    counter::XdpCounter,
    pins::{PROG_INGRESS, PROG_STEER},
    port::{MAX_TAGS, PortConfig, TRANSIT},
    rxmeta::{MAGIC, RxMeta, flag},
    steer::{SteerKey, Target, kind, target_flag},
};
use anyhow::{Context as _, Result, bail, ensure};
use multistack::steer::Outcome;
use serde::Deserialize;
use xsk::bpf::{Counts, Input, Instance, Loaded, Run, Verdict, unbound_socket};
use zerocopy::IntoBytes as _;

/// One file of fixtures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixtures {
    maps: BTreeMap<String, Maps>,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// A named state of the maps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Maps {
    mac: Bytes,
    #[serde(default)]
    vlan: Vec<u16>,
    #[serde(default)]
    transit: bool,
    #[serde(default)]
    steer: Vec<Entry>,
    #[serde(default = "queue_0")]
    sockets: Vec<u32>,
    #[serde(default)]
    broken_chain: bool,
}

fn queue_0() -> Vec<u32> {
    vec![0]
}

/// One entry of the steering table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    proto: u8,
    addr: IpAddr,
    port: u16,
    kind: Kind,
    id: u16,
    generation: u16,
    #[serde(default)]
    on_crash: OnCrash,
}

/// `abi::steer::kind`, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Stack,
    Fastpath,
    Active,
    Module,
    Builtin,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnCrash {
    #[default]
    Drop,
    Pass,
}

/// One frame and all that must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    maps: String,
    #[serde(default)]
    program: Entrance,
    /// What the programs before `steer` left.
    #[serde(default)]
    metadata: Bytes,
    frame: Bytes,
    expect: Expect,
    counters: BTreeMap<String, u64>,
}

/// Where the frame enters the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entrance {
    #[default]
    Ingress,
    Steer,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", deny_unknown_fields)]
enum Expect {
    Pass,
    Drop,
    /// With this metadata; `magic` and `frame_len` follow from the frame.
    Redirect {
        kind: Kind,
        id: u16,
        generation: u16,
        class: u16,
        #[serde(default)]
        class_gen: u8,
        #[serde(default)]
        flags: Vec<Flag>,
        l3: u8,
        l4: u16,
    },
    /// Redirected as it came: the driver refused metadata.
    RedirectBare,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Flag {
    Tagged,
    Ipv6,
    Options,
}

/// Bytes written as hexadecimal words; `00*18` repeats a byte. Several strings are one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Lines")]
pub struct Bytes(pub Vec<u8>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<Lines> for Bytes {
    type Error = anyhow::Error;

    fn try_from(lines: Lines) -> Result<Self> {
        let lines = match lines {
            Lines::One(line) => vec![line],
            Lines::Many(lines) => lines,
        };
        let mut bytes = Vec::new();
        for word in lines.iter().flat_map(|line| line.split_whitespace()) {
            let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
            let once = hex(digits).with_context(|| format!("\"{word}\" is not hexadecimal"))?;
            let times = times.parse().with_context(|| format!("\"{word}\" does not say how often"))?;
            bytes.extend(once.repeat(times));
        }
        Ok(Self(bytes))
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok())
        .collect()
}

/// The programs with one state of the maps, and the sockets that it needs open.
pub struct Harness {
    instance: Instance,
    loaded: Loaded,
    table: BTreeMap<SteerKey, Target>,
    port: PortConfig,
    _sockets: Vec<OwnedFd>,
}

impl Harness {
    /// Loads the programs with `table`, for the interface `port`, with sockets on `queues`.
    ///
    /// # Errors
    /// The object was not built, or the kernel refuses.
    pub fn new(port: PortConfig, table: BTreeMap<SteerKey, Target>, queues: &[u32]) -> Result<Self> {
        let instance = Instance::unpinned()?;
        let loaded = instance.load(port)?;
        let mut steering = instance.steering()?;
        for (&key, &target) in &table {
            steering.put(key, target)?;
        }
        let (mut xsks, mut sockets) = (loaded.xsks()?, Vec::new());
        for &queue in queues {
            let socket = unbound_socket()?;
            xsks.set(queue, &socket)?;
            sockets.push(socket);
        }
        Ok(Self { instance, loaded, table, port, _sockets: sockets })
    }

    /// Runs the program named `program` on a frame: what it did, and how far each counter moved.
    ///
    /// # Errors
    /// The kernel refuses the frame.
    pub fn run(&self, program: &'static str, input: &Input<'_>) -> Result<(Run, Counts)> {
        let counters = self.instance.counters()?;
        let before = counters.read()?;
        let run = input.run(self.loaded.program(program)?)?;
        let mut moved = counters.read()?;
        for (after, before) in moved.iter_mut().zip(before) {
            *after -= before;
        }
        Ok((run, moved))
    }

    /// What the slow twin says of the frame.
    #[must_use]
    pub fn twin(&self, frame: &[u8]) -> Outcome {
        multistack::steer::steer(frame, &self.port, &self.table)
    }
}

impl Fixtures {
    /// Reads one file.
    ///
    /// # Errors
    /// It is missing or not of this form.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// How many cases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Runs every case; what failed, one line each. Counters that moved are added to `moved`.
    ///
    /// # Errors
    /// A state cannot be set up.
    pub fn run(&self, moved: &mut Counts) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        for (name, maps) in &self.maps {
            let harness = maps.harness()?;
            for case in self.cases.iter().filter(|case| case.maps == *name) {
                match case.run(&harness) {
                    Ok(delta) => moved.iter_mut().zip(delta).for_each(|(sum, d)| *sum += d),
                    Err(why) => failures.push(format!("{}: {why:#}", case.name)),
                }
            }
        }
        let lost = self.cases.iter().filter(|case| !self.maps.contains_key(&case.maps));
        failures.extend(lost.map(|case| format!("{}: no maps \"{}\"", case.name, case.maps)));
        Ok(failures)
    }
}

impl Maps {
    fn harness(&self) -> Result<Harness> {
        let mut vlan = [0; MAX_TAGS];
        ensure!(self.vlan.len() <= MAX_TAGS, "too many tags");
        vlan[..self.vlan.len()].copy_from_slice(&self.vlan);
        let port = PortConfig {
            mac: self.mac.0.as_slice().try_into().context("a MAC address has 6 bytes")?,
            tags: self.vlan.len() as u8,
            flags: if self.transit { TRANSIT } else { 0 },
            vlan,
        };
        let table = self.steer.iter().map(|entry| (entry.key(), entry.target())).collect();
        let mut harness = Harness::new(port, table, &self.sockets)?;
        if self.broken_chain {
            harness.loaded.break_chain()?;
        }
        Ok(harness)
    }
}

impl Entry {
    fn key(&self) -> SteerKey {
        match self.addr {
            IpAddr::V4(addr) => SteerKey::v4(self.proto, addr.octets(), self.port),
            IpAddr::V6(addr) => SteerKey::v6(self.proto, addr.octets(), self.port),
        }
    }

    fn target(&self) -> Target {
        let flags = match self.on_crash {
            OnCrash::Drop => 0,
            OnCrash::Pass => target_flag::ON_CRASH_PASS,
        };
        Target { kind: self.kind.number(), flags, id: self.id, generation: self.generation, aux: 0 }
    }
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Stack => kind::STACK,
            Self::Fastpath => kind::FASTPATH,
            Self::Active => kind::ACTIVE,
            Self::Module => kind::MODULE,
            Self::Builtin => kind::BUILTIN,
        }
    }
}

impl Case {
    fn run(&self, harness: &Harness) -> Result<Counts> {
        let program = match self.program {
            Entrance::Ingress => PROG_INGRESS,
            Entrance::Steer => PROG_STEER,
        };
        let input = Input { metadata: &self.metadata.0, ..Input::new(&self.frame.0) };
        let (run, moved) = harness.run(program, &input)?;
        self.check_run(&run)?;
        self.check_counters(&moved)?;
        // A broken chain passes what the twin would judge.
        if moved[XdpCounter::JumpMissed as usize] == 0 {
            self.check_twin(&harness.twin(&self.frame.0), &run, &moved)?;
        }
        Ok(moved)
    }

    fn check_run(&self, run: &Run) -> Result<()> {
        let frame = self.frame.0.as_slice();
        let bare = run.bytes == frame;
        match (&self.expect, run.verdict) {
            (Expect::Pass, Verdict::Pass) => ensure!(bare, "passed, but not as it came: {:02x?}", run.bytes),
            (Expect::RedirectBare, Verdict::Redirect) => {
                ensure!(bare, "redirected, but not as it came: {:02x?}", run.bytes);
            }
            (Expect::Drop, Verdict::Drop) => {}
            (Expect::Redirect { .. }, Verdict::Redirect) => {
                let (meta, rest) = run.split_meta(frame.len()).context("no metadata before the frame")?;
                ensure!(rest == frame, "redirected, but the frame was changed: {rest:02x?}");
                let wanted = self.meta().context("unreachable: it is a redirect")?;
                ensure!(meta == wanted.as_bytes(), "metadata {meta:02x?} instead of {wanted:?}");
            }
            (expected, got) => bail!("{got:?} instead of {expected:?}"),
        }
        Ok(())
    }

    fn meta(&self) -> Option<RxMeta> {
        let Expect::Redirect { kind, id, generation, class, class_gen, ref flags, l3, l4 } = self.expect
        else {
            return None;
        };
        let flags = flags.iter().fold(0, |bits, flag| {
            bits | match flag {
                Flag::Tagged => flag::TAGGED,
                Flag::Ipv6 => flag::IPV6,
                Flag::Options => flag::OPTIONS,
            }
        });
        Some(RxMeta {
            magic: MAGIC,
            kind: kind.number(),
            flags,
            id,
            generation,
            class,
            class_gen,
            l3_off: l3,
            l4_off: l4,
            frame_len: self.frame.0.len() as u16,
        })
    }

    fn check_counters(&self, moved: &Counts) -> Result<()> {
        let moved: BTreeMap<String, u64> = XdpCounter::ALL
            .into_iter()
            .map(|counter| (counter.desc().name.to_owned(), moved[counter as usize]))
            .filter(|&(_, by)| by != 0)
            .collect();
        ensure!(moved == self.counters, "counters moved {moved:?} instead of {:?}", self.counters);
        Ok(())
    }

    /// The twin knows the rules up to the hit; what only XDP can see (sockets, classes) it is not asked.
    fn check_twin(&self, twin: &Outcome, run: &Run, moved: &Counts) -> Result<()> {
        match (twin, &self.expect) {
            (Outcome::Pass(reason), Expect::Pass) => {
                ensure!(moved[*reason as usize] == 1, "the twin passes it as {reason:?}");
            }
            (Outcome::Redirect { meta, .. }, Expect::Redirect { .. }) => {
                let (ours, _) = run.split_meta(self.frame.0.len()).context("no metadata")?;
                let twins = match self.metadata.0.is_empty() {
                    true => *meta,
                    // The class is not the twin's to know.
                    false => RxMeta { class: u16_at(ours, 8), class_gen: ours[10], ..*meta },
                };
                ensure!(ours == twins.as_bytes(), "the twin writes {twins:?}");
            }
            (Outcome::Redirect { .. }, Expect::Drop | Expect::RedirectBare) => {}
            (Outcome::Redirect { .. }, Expect::Pass) => {
                ensure!(moved[XdpCounter::PassNoSocket as usize] == 1, "the twin redirects it");
            }
            (Outcome::Pass(reason), _) => bail!("the twin passes it as {reason:?}"),
        }
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() -> Result<()> {
        let many = Lines::Many(vec!["0200 01".into(), "ff*3 aa".into()]);
        assert_eq!(Bytes::try_from(many)?.0, [2, 0, 1, 0xff, 0xff, 0xff, 0xaa]);
        for wrong in ["0", "0g", "00*x", "*3x"] {
            assert!(Bytes::try_from(Lines::One(wrong.into())).is_err(), "{wrong}");
        }
        Ok(())
    }
}
