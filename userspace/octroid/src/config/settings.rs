//! What the daemon runs by: the file's words resolved, every default filled in, every contradiction refused.
//!
//! It looks at no machine: whether an interface exists or a core may be used is found out when they are.
use std::fmt;

use abi::port::MAX_TAGS;
use client::control::{
    instance::InstanceName,
    request::{LocalAddr, Proto, TargetAdd},
};
use ixp::spec::{EngineSpec, Idle, Layout, Limits, SpecError};
use multistack::tuple::{Address, Tuple};

use super::file::{self, File, Listen};

/// Most interfaces of one daemon.
pub const MAX_INTERFACES: usize = 64;

/// Frames a UMEM may have.
pub const FRAMES: std::ops::RangeInclusive<u32> = 64..=65_536;

/// Entries a ring may have.
pub const RINGS: std::ops::RangeInclusive<u32> = 64..=32_768;

/// Most bytes of headroom beyond the kernel's own.
pub const MAX_HEADROOM: u32 = 256;

/// What the command line says over the file's head.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--instance`.
    pub instance: Option<InstanceName>,
    /// `--iface`.
    pub iface: Option<String>,
}

/// What the daemon runs by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon's name.
    pub instance: InstanceName,
    /// The engines.
    pub engine: EngineSpec,
    /// Interfaces to be served, at least one, no two of one name.
    pub interfaces: Vec<Interface>,
    /// Targets from the start on, no two of one tuple.
    pub targets: Vec<TargetAdd>,
    /// The Prometheus endpoint.
    pub metrics: Option<Listen>,
}

/// One interface to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The device's name.
    pub name: String,
    /// Where XDP runs.
    pub mode: file::Mode,
    /// How frames reach the socket.
    pub copy: file::Copy,
    /// How many receive queues it must have.
    pub queues: file::Queues,
    /// Tags of claimed frames, at most [`MAX_TAGS`].
    pub vlan: Vec<u16>,
    /// Whether transit traffic is served.
    pub transit: bool,
    /// Packet memory of each queue.
    pub umem: Umem,
    /// Entries of each ring.
    pub rings: u32,
}

/// Packet memory of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umem {
    /// Bytes of one chunk.
    pub chunk: u32,
    /// How many.
    pub frames: u32,
    /// Bytes before each packet beyond the kernel's own.
    pub headroom: u32,
}

/// A value that cannot be, and the path of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Keys from the top of the file.
    pub path: Vec<Key>,
    /// What was expected, and what was found.
    pub message: String,
}

/// One step of a key's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of a table.
    Name(String),
    /// An element of an array.
    Index(usize),
}

/// Resolves a parsed file.
///
/// # Errors
/// The first [`Problem`].
pub fn resolve(file: File, overrides: &Overrides) -> Result<Settings, Problem> {
    Ok(Settings {
        instance: overrides.instance.clone().or(file.instance).unwrap_or_default(),
        engine: engine(&file.engine)?,
        interfaces: interfaces(file.interface, overrides.iface.as_deref())?,
        targets: targets(file.target)?,
        metrics: file.metrics.map(|m| m.listen),
    })
}

impl Interface {
    /// The largest MTU whose frames fit a chunk: MTU + Ethernet header + tags ≤ chunk − 256 − headroom.
    #[must_use]
    pub fn max_mtu(&self) -> u32 {
        /// What the kernel keeps before every packet (`XDP_PACKET_HEADROOM`).
        const KERNEL_HEADROOM: u32 = 256;
        const ETHERNET: u32 = 14;
        let room = self.umem.chunk.saturating_sub(KERNEL_HEADROOM + self.umem.headroom);
        room.saturating_sub(ETHERNET + 4 * self.vlan.len() as u32)
    }
}

/// The registry's tuple of a target.
///
/// # Errors
/// The registry's refusal.
pub fn tuple_of(target: &TargetAdd) -> Result<Tuple, multistack::refusal::Refusal> {
    let proto = match target.proto {
        Proto::Tcp => multistack::tuple::Proto::Tcp,
        Proto::Udp => multistack::tuple::Proto::Udp,
        Proto::Sctp => multistack::tuple::Proto::Sctp,
        Proto::Dccp => multistack::tuple::Proto::Dccp,
        Proto::UdpLite => multistack::tuple::Proto::UdpLite,
    };
    let addr = match target.addr {
        LocalAddr::Any => Address::Any,
        LocalAddr::Ip(addr) => Address::Is(addr),
    };
    Tuple::new(proto, addr, target.port)
}

fn engine(table: &file::Engine) -> Result<EngineSpec, Problem> {
    let mut limits = Limits::default();
    limits.batch = table.batch.unwrap_or(limits.batch);
    limits.backlog_frames = table.backlog.unwrap_or(limits.backlog_frames);
    let spec = EngineSpec {
        layout: match table.layout {
            file::Layout::RunToCompletion => Layout::RunToCompletion,
            file::Layout::Pipeline => Layout::Pipeline,
        },
        cores: table.cores.clone(),
        idle: match table.idle {
            file::Idle::Busy => Idle::Busy,
            file::Idle::Adaptive => Idle::Adaptive,
            file::Idle::Sleep => Idle::Sleep,
        },
        limits,
    };
    let (least, most) = (spec.layout.min_cores(), ixp::spec::MAX_ENGINES);
    if !(least..=most).contains(&spec.cores.len()) {
        let message = format!("expected {least} to {most} cores for this layout, found {}", spec.cores.len());
        return Err(Problem::at(["engine", "cores"], message));
    }
    limits.check().map_err(|error| match error {
        SpecError::Limit { what: "batch", .. } => Problem::at(["engine", "batch"], error),
        _ => Problem::at(["engine", "backlog"], error),
    })?;
    Ok(spec)
}

fn interfaces(tables: Vec<file::Interface>, iface: Option<&str>) -> Result<Vec<Interface>, Problem> {
    let mut tables = tables;
    if let (true, Some(_)) = (tables.is_empty(), iface) {
        tables.push(file::Interface::default());
    }
    if tables.is_empty() {
        return Err(Problem::at(["interface"], "expected at least one [[interface]], or --iface"));
    }
    if MAX_INTERFACES < tables.len() {
        let message = format!("expected at most {MAX_INTERFACES} interfaces, found {}", tables.len());
        return Err(Problem::at(["interface"], message));
    }
    if let Some(name) = iface {
        let [only] = tables.as_mut_slice() else {
            return Err(Problem::at(["interface"], "--iface needs a file with one [[interface]]"));
        };
        only.name = Some(name.to_owned());
    }
    let mut resolved: Vec<Interface> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let interface = interface(at, table)?;
        if resolved.iter().any(|other| other.name == interface.name) {
            let message = format!("expected each interface once, found {:?} again", interface.name);
            return Err(Problem::at(["interface"], message).in_array(at).key("name"));
        }
        resolved.push(interface);
    }
    Ok(resolved)
}

fn interface(at: usize, table: file::Interface) -> Result<Interface, Problem> {
    let problem = |message: String| Problem::at(["interface"], message).in_array(at);
    let Some(name) = table.name else {
        return Err(problem("expected key name, or --iface".to_owned()));
    };
    check_name(&name).map_err(|message| problem(message).key("name"))?;
    if table.queues == file::Queues::Exactly(0) || queue_count(table.queues) > abi::pins::MAX_QUEUES {
        let message = format!("expected \"all\" or 1 to {}", abi::pins::MAX_QUEUES);
        return Err(problem(message).key("queues"));
    }
    if MAX_TAGS < table.vlan.len() {
        let message = format!("expected at most {MAX_TAGS} tags, found {}", table.vlan.len());
        return Err(problem(message).key("vlan"));
    }
    if let Some(tag) = table.vlan.iter().position(|id| !(1..=4094).contains(id)) {
        let message = "expected VLAN ids from 1 to 4094".to_owned();
        return Err(problem(message).key("vlan").in_array(tag));
    }
    let file::Umem { chunk, frames, headroom } = table.umem;
    if chunk != 2048 && chunk != 4096 {
        return Err(problem(format!("expected 2048 or 4096, found {chunk}")).key("umem").key("chunk"));
    }
    if !FRAMES.contains(&frames) || !frames.is_power_of_two() {
        let message = format!("expected a power of two from {} to {}, found {frames}", FRAMES.start(), FRAMES.end());
        return Err(problem(message).key("umem").key("frames"));
    }
    if headroom > MAX_HEADROOM || !headroom.is_multiple_of(8) {
        let message = format!("expected a multiple of 8 up to {MAX_HEADROOM}, found {headroom}");
        return Err(problem(message).key("umem").key("headroom"));
    }
    if !RINGS.contains(&table.rings) || !table.rings.is_power_of_two() || frames < table.rings {
        let message = format!(
            "expected a power of two from {} to {}, not above umem.frames, found {}",
            RINGS.start(),
            RINGS.end(),
            table.rings
        );
        return Err(problem(message).key("rings"));
    }
    Ok(Interface {
        name,
        mode: table.mode,
        copy: table.copy,
        queues: table.queues,
        vlan: table.vlan,
        transit: table.transit,
        umem: Umem { chunk, frames, headroom },
        rings: table.rings,
    })
}

fn queue_count(queues: file::Queues) -> u32 {
    match queues {
        file::Queues::All => 1,
        file::Queues::Exactly(count) => count,
    }
}

/// The kernel's rule for names of network devices (`dev_valid_name`).
fn check_name(name: &str) -> Result<(), String> {
    const MAX: usize = 15;
    let illegal = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.is_empty() || MAX < name.len() || name == "." || name == ".." || name.contains(illegal) {
        return Err(format!("expected the name of a network interface (1 to {MAX} bytes), found {name:?}"));
    }
    Ok(())
}

fn targets(tables: Vec<file::Target>) -> Result<Vec<TargetAdd>, Problem> {
    let mut resolved: Vec<TargetAdd> = Vec::new();
    let mut tuples: Vec<Tuple> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let file::Target { kind, proto, addr, port, on_crash } = table;
        let target = TargetAdd { kind, proto, addr, port, on_crash };
        let problem = |message: &dyn fmt::Display, key| Problem::at(["target"], message).in_array(at).key(key);
        let tuple = tuple_of(&target).map_err(|refusal| match refusal {
            multistack::refusal::Refusal::PortZero => problem(&"expected 1 to 65535, found 0", "port"),
            other => problem(&other, "addr"),
        })?;
        if let Some(other) = tuples.iter().find(|other| other.meets(&tuple)) {
            let message = format!("expected each tuple once, but {tuple} meets {other}");
            return Err(problem(&message, "port"));
        }
        tuples.push(tuple);
        resolved.push(target);
    }
    Ok(resolved)
}

impl Problem {
    fn at<const N: usize>(path: [&str; N], message: impl fmt::Display) -> Self {
        Self {
            path: path.into_iter().map(|name| Key::Name(name.to_owned())).collect(),
            message: message.to_string(),
        }
    }

    fn key(mut self, name: &str) -> Self {
        self.path.push(Key::Name(name.to_owned()));
        self
    }

    fn in_array(mut self, index: usize) -> Self {
        self.path.push(Key::Index(index));
        self
    }
}
