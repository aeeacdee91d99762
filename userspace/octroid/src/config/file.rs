//! The configuration file as written: every table and key there is, with its default.
//!
//! An unknown key is an error. This file knows words and types; whether they make sense together is decided in
//! [`super::settings`].
use std::{net::SocketAddr, path::PathBuf};

use client::control::{
    instance::InstanceName,
    request::{LocalAddr, OnCrash, Proto, TargetKind},
    ruler::Scope,
};
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// `instance`: the daemon's name among those of this host. Default `"main"`.
    pub instance: Option<InstanceName>,
    /// `engine`: the threads that move packets.
    pub engine: Engine,
    /// `[[interface]]`: what is served; at least one.
    pub interface: Vec<Interface>,
    /// `[[target]]`: what answers, from the start on.
    pub target: Vec<Target>,
    /// `[metrics]`: the Prometheus endpoint. Without it there is none.
    pub metrics: Option<Metrics>,
    /// `[stack]`: application stacks.
    pub stack: Stack,
}

/// Table `engine`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// `layout`: `"run-to-completion"` (every core does all for its queues; default) or `"pipeline"` (the first core
    /// receives, the last sends, those between judge).
    pub layout: Layout,
    /// `cores`: one engine on each. Default `[0]`. A core named twice is shared.
    pub cores: Vec<usize>,
    /// `idle`: `"adaptive"` (default), `"busy"` or `"sleep"`: what an engine does when there is nothing to do.
    pub idle: Idle,
    /// `batch`: packets of one queue judged in one round. Default 64.
    pub batch: Option<usize>,
    /// `backlog`: frames that may wait for one port's transmit ring. Default 512.
    pub backlog: Option<usize>,
}

/// Words of `engine.layout`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Every core does all.
    #[default]
    RunToCompletion,
    /// Receiving, judging and sending on cores of their own.
    Pipeline,
}

/// Words of `engine.idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// Look again at once, always.
    Busy,
    /// Block after 64 empty rounds.
    #[default]
    Adaptive,
    /// Block after every empty round.
    Sleep,
}

/// One `[[interface]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interface {
    /// `name`: the device; `--iface` replaces it.
    pub name: Option<String>,
    /// `mode`: `"native"` (XDP in the driver; default) or `"generic"` (in the kernel's stack, slow). Never a fallback.
    pub mode: Mode,
    /// `copy`: `"copy"` (default) or `"zero-copy"`. Never a fallback.
    pub copy: Copy,
    /// `queues`: `"all"` (default), or how many active receive queues there must be.
    pub queues: Queues,
    /// `vlan`: the tags that claimed frames carry, outermost first. Default `[]`, untagged.
    pub vlan: Vec<u16>,
    /// `transit`: whether services also see packets that this host merely routes. Default `false`.
    pub transit: bool,
    /// `umem`: the packet memory of each queue.
    pub umem: Umem,
    /// `rings`: entries of each of a queue's four rings. Default 1024.
    pub rings: u32,
    /// `busy_poll`: serve the device's interrupts from the engines instead of from softirq. Default: no.
    pub busy_poll: Option<BusyPoll>,
    /// `filter`: the Ruler program that judges its packets, from the first one on. Default: none.
    pub filter: Option<Filter>,
}

/// Words of `interface.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By the driver.
    #[default]
    Native,
    /// By the kernel's stack.
    Generic,
}

/// Words of `interface.copy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copy {
    /// The kernel copies each frame.
    #[default]
    Copy,
    /// The card writes into the packet memory.
    ZeroCopy,
}

/// Values of `interface.queues`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// `"all"`: as many as are active.
    #[default]
    All,
    /// This many, or octroid refuses to start.
    Exactly(u32),
}

/// Table `interface.umem`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Umem {
    /// `chunk`: bytes of one frame, 2048 (default) or 4096.
    pub chunk: u32,
    /// `frames`: frames of each queue. Default 2048.
    pub frames: u32,
    /// `headroom`: bytes before each packet beyond the kernel's 256. Default 16: metadata and the first packet bytes
    /// then share a cache line.
    pub headroom: u32,
}

/// Table `interface.busy_poll`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusyPoll {
    /// `timeout_us`: how long one call may poll the device, in microseconds.
    pub timeout_us: u32,
    /// `budget`: most packets one call takes from the device.
    pub budget: u16,
}

/// One `[[target]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `kind`: `"echo"` or `"sink"`.
    pub kind: TargetKind,
    /// `proto`: `"tcp"`, `"udp"`, `"sctp"`, `"dccp"` or `"udplite"`.
    pub proto: Proto,
    /// `addr`: a local address, or `"any"` (default).
    #[serde(default = "any")]
    pub addr: LocalAddr,
    /// `port`: 1 to 65535.
    pub port: u16,
    /// `on_crash`: `"drop"` (default) or `"pass"`: what becomes of its packets while no daemon runs.
    #[serde(default)]
    pub on_crash: OnCrash,
    /// `filter`: the Ruler program that judges its packets, after that of the interface. Default: none.
    #[serde(default)]
    pub filter: Option<Filter>,
}

/// Table `filter` of an interface or a target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// `file`: where the program is; a relative path begins at the directory of the configuration file.
    pub file: PathBuf,
    /// `include`: more directories that included files may be in. Default `[]`.
    #[serde(default)]
    pub include: Vec<PathBuf>,
    /// `key_file`: where the key is by which addresses are anonymised. Default: none.
    pub key_file: Option<PathBuf>,
    /// `name`: which filter of the program, where it has several.
    pub name: Option<String>,
    /// `allow_slow`: even if some rules can only be judged by simulation. Default `false`.
    #[serde(default)]
    pub allow_slow: bool,
    /// `scope`: of an interface: `"steered"` (default; packets that are claimed) or `"interface"` (all of them).
    #[serde(default)]
    pub scope: Scope,
    /// `pass`: of an interface: accepted with one of these codes, a packet is the OS stack's. Default `[]`.
    #[serde(default)]
    pub pass: Vec<u16>,
    /// `force`: in scope `"interface"`: even if neighbours are then not found any more. Default `false`.
    #[serde(default)]
    pub force: bool,
}

/// Table `metrics`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// `listen`: `"unix:PATH"`, or an address of this host alone as in `"127.0.0.1:9400"`.
    pub listen: Listen,
}

/// Table `stack`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stack {
    /// `grace_s`: seconds that applications have to come back in after the daemon was restarted. Default 10.
    pub grace_s: u32,
    /// `[[stack.policy]]`: who may register what. The first that names the caller decides; after the last come root,
    /// who may everything, and group `octroi`, which may take unprivileged TCP and UDP ports.
    pub policy: Vec<StackPolicy>,
}

/// One `[[stack.policy]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StackPolicy {
    /// `uid`: the user that this is about, or
    pub uid: Option<u32>,
    /// `gid`: the group.
    pub gid: Option<u32>,
    /// `protocols`: of tuples. Default `["tcp", "udp"]`.
    pub protocols: Vec<Proto>,
    /// `ports`: numbers, and ranges as in `"8000-8999"`; privileged ones too. Default: those that the kernel lets
    /// everybody bind.
    pub ports: Option<Vec<Ports>>,
    /// `addresses`: prefixes of local addresses, and then not `"any"`. Default: every address, and `"any"`.
    pub addresses: Option<Vec<String>>,
    /// `max_tuples`: of one user. Default 64.
    pub max_tuples: usize,
    /// `max_mib`: MiB of rings of one user. Default 64.
    pub max_mib: u64,
    /// `l2`: whether applications may bring Ethernet headers. Default `false`.
    pub l2: bool,
    /// `unbound`: whether a protocol that the kernel does not know may be had without a placeholder. Default `false`.
    pub unbound: bool,
    /// `weight`: share of sending when applications compete, 1 to 16. Default 1.
    pub weight: u8,
}

/// A port, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Ports {
    /// One.
    One(u16),
    /// `"first-last"`.
    Range(String),
}

/// Values of `metrics.listen`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// A unix socket.
    Unix(std::path::PathBuf),
    /// A loopback address.
    Tcp(SocketAddr),
}

impl Default for Engine {
    fn default() -> Self {
        Self { layout: Layout::default(), cores: vec![0], idle: Idle::default(), batch: None, backlog: None }
    }
}

impl Default for Interface {
    fn default() -> Self {
        Self {
            name: None,
            mode: Mode::default(),
            copy: Copy::default(),
            queues: Queues::default(),
            vlan: Vec::new(),
            transit: false,
            umem: Umem::default(),
            rings: 1024,
            busy_poll: None,
            filter: None,
        }
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self { grace_s: 10, policy: Vec::new() }
    }
}

impl Default for StackPolicy {
    fn default() -> Self {
        Self {
            uid: None,
            gid: None,
            protocols: vec![Proto::Tcp, Proto::Udp],
            ports: None,
            addresses: None,
            max_tuples: multistack::policy::GROUP_TUPLES,
            max_mib: multistack::policy::GROUP_BYTES >> 20,
            l2: false,
            unbound: false,
            weight: 1,
        }
    }
}

impl Default for Umem {
    fn default() -> Self {
        Self { chunk: 2048, frames: 2048, headroom: 16 }
    }
}

fn any() -> LocalAddr {
    LocalAddr::Any
}

impl<'de> Deserialize<'de> for Queues {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Queues;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"all\" or a number of queues")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Queues, E> {
                match word {
                    "all" => Ok(Queues::All),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Queues, E> {
                u32::try_from(number)
                    .map(Queues::Exactly)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl TryFrom<String> for Listen {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str =
            "expected \"unix:/PATH\" or a loopback address and port, as in \"127.0.0.1:9400\"";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(EXPECTED) };
        }
        match text.parse::<SocketAddr>() {
            Ok(addr) if addr.ip().is_loopback() => Ok(Self::Tcp(addr)),
            _ => Err(EXPECTED),
        }
    }
}
