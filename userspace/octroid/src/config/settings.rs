//! What the daemon runs by: the file's words resolved, every default filled in, every contradiction refused.
//!
//! It looks at no machine: whether an interface exists or a core may be used is found out when they are.
use std::{
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use abi::port::MAX_TAGS;
use client::control::{instance::InstanceName, request::TargetAdd, ruler::Scope};
use ixp::{
    port::PortId,
    spec::{Confine, EngineSpec, Idle, Layout, Limits, SpecError},
};
use multistack::{
    drr::Weight,
    policy::{Addresses, Permission, Ports, Rule, Who},
    prefix::Prefix,
    tuple::Tuple,
};
use xsk::{
    bpf::XdpMode,
    socket::{BusyPoll, ConfigError, CopyMode, InterfaceName, QueueConfig},
};

use super::file::{self, File, Listen};
use crate::{confine, road::stacks::words};

/// Most interfaces of one daemon.
pub const MAX_INTERFACES: usize = 64;

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
    pub targets: Vec<Target>,
    /// The Prometheus endpoint.
    pub metrics: Option<Listen>,
    /// Application stacks.
    pub stack: Stack,
}

/// Application stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// How long applications have to come back in after a restart.
    pub grace: Duration,
    /// Who may register what, before the rules that always stand.
    pub rules: Vec<Rule>,
}

/// One target from the start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is registered.
    pub add: TargetAdd,
    /// What judges its packets.
    pub filter: Option<file::Filter>,
}

/// One interface to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Where XDP runs.
    pub mode: XdpMode,
    /// How many receive queues it must have.
    pub queues: file::Queues,
    /// Tags of claimed frames, at most [`MAX_TAGS`].
    pub vlan: Vec<u16>,
    /// Whether transit traffic is served.
    pub transit: bool,
    /// What is asked of each queue; number and port are those of the first.
    pub queue: QueueConfig,
    /// What judges its packets; its paths do not depend on where the daemon was started.
    pub filter: Option<file::Filter>,
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

/// Resolves a parsed file; relative paths begin at `directory`.
///
/// # Errors
/// The first [`Problem`].
pub fn resolve(file: File, directory: &Path, overrides: &Overrides) -> Result<Settings, Problem> {
    if file.engine.layout == file::Layout::Pipeline && !file.stack.policy.is_empty() {
        let message = "[[stack.policy]] is for applications, which layout \"pipeline\" does not serve: \
                       expected \"run-to-completion\"";
        return Err(Problem::at(["engine", "layout"], message));
    }
    Ok(Settings {
        instance: overrides.instance.clone().or(file.instance).unwrap_or_default(),
        engine: engine(&file.engine)?,
        interfaces: interfaces(file.interface, directory, overrides.iface.as_deref())?,
        targets: targets(file.target, directory)?,
        metrics: file.metrics.map(|m| m.listen),
        stack: stack(file.stack)?,
    })
}

impl Interface {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.queue.interface.as_str()
    }
}

/// The registry's tuple of a target.
///
/// # Errors
/// The registry's refusal.
pub fn tuple_of(target: &TargetAdd) -> Result<Tuple, multistack::refusal::Refusal> {
    Tuple::new(words::proto(target.proto), words::address(target.addr), target.port)
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
        confine: Confine(confine::worker),
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

fn interfaces(
    tables: Vec<file::Interface>,
    directory: &Path,
    iface: Option<&str>,
) -> Result<Vec<Interface>, Problem> {
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
        let interface = interface(at, table, directory)?;
        if resolved.iter().any(|other| other.name() == interface.name()) {
            let message = format!("expected each interface once, found {:?} again", interface.name());
            return Err(Problem::at(["interface"], message).in_array(at).key("name"));
        }
        resolved.push(interface);
    }
    Ok(resolved)
}

fn interface(at: usize, table: file::Interface, directory: &Path) -> Result<Interface, Problem> {
    let problem = |message: String| Problem::at(["interface"], message).in_array(at);
    let Some(name) = table.name else {
        return Err(problem("expected key name, or --iface".to_owned()));
    };
    let name = InterfaceName::new(&name).map_err(|error| problem(error.to_string()).key("name"))?;
    if let file::Queues::Exactly(count) = table.queues
        && !(1..=abi::pins::MAX_QUEUES).contains(&count)
    {
        let message = format!("expected \"all\" or 1 to {}, found {count}", abi::pins::MAX_QUEUES);
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
    let queue = QueueConfig {
        chunk,
        frames,
        headroom,
        ring: table.rings,
        mode: match table.copy {
            file::Copy::Copy => CopyMode::Copy,
            file::Copy::ZeroCopy => CopyMode::ZeroCopy,
        },
        busy_poll: table.busy_poll.map(|b| BusyPoll { timeout_us: b.timeout_us, budget: b.budget }),
        vlan_tags: table.vlan.len() as u32,
        ..QueueConfig::new(name, 0, PortId::new(0))
    };
    queue.check().map_err(|error| {
        let problem = problem(error.to_string());
        match error {
            ConfigError::Name { .. } => problem.key("name"),
            ConfigError::Chunk { .. } => problem.key("umem").key("chunk"),
            ConfigError::Headroom { .. } => problem.key("umem").key("headroom"),
            ConfigError::TooFewFrames { .. } | ConfigError::TooManyFrames { .. } => {
                problem.key("umem").key("frames")
            }
            ConfigError::Ring { .. } | ConfigError::TxBudget { .. } => problem.key("rings"),
        }
    })?;
    let mode = match table.mode {
        file::Mode::Native => XdpMode::Native,
        file::Mode::Generic => XdpMode::Generic,
    };
    let filter = table.filter.map(|filter| located(filter, directory));
    Ok(Interface { mode, queues: table.queues, vlan: table.vlan, transit: table.transit, queue, filter })
}

fn targets(tables: Vec<file::Target>, directory: &Path) -> Result<Vec<Target>, Problem> {
    let mut resolved: Vec<Target> = Vec::new();
    let mut tuples: Vec<Tuple> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let file::Target { kind, proto, addr, port, on_crash, filter } = table;
        let add = TargetAdd { kind, proto, addr, port, on_crash };
        let problem =
            |message: &dyn fmt::Display, key| Problem::at(["target"], message).in_array(at).key(key);
        let tuple = tuple_of(&add).map_err(|refusal| match refusal {
            multistack::refusal::Refusal::PortZero => problem(&"expected 1 to 65535, found 0", "port"),
            other => problem(&other, "addr"),
        })?;
        if let Some(other) = tuples.iter().find(|other| other.meets(&tuple)) {
            let message = format!("expected each tuple once, but {tuple} meets {other}");
            return Err(problem(&message, "port"));
        }
        tuples.push(tuple);
        if filter.as_ref().is_some_and(is_for_interfaces) {
            let message = "scope, pass and force are for filters of interfaces";
            return Err(problem(&message, "filter"));
        }
        resolved.push(Target { add, filter: filter.map(|filter| located(filter, directory)) });
    }
    Ok(resolved)
}

fn is_for_interfaces(filter: &file::Filter) -> bool {
    filter.scope != Scope::default() || !filter.pass.is_empty() || filter.force
}

fn located(filter: file::Filter, directory: &Path) -> file::Filter {
    let whole = |path: PathBuf| directory.join(path);
    file::Filter {
        file: whole(filter.file),
        include: filter.include.into_iter().map(whole).collect(),
        key_file: filter.key_file.map(whole),
        ..filter
    }
}

fn stack(table: file::Stack) -> Result<Stack, Problem> {
    const MAX_GRACE_S: u32 = 3600;
    if MAX_GRACE_S < table.grace_s {
        let message = format!("expected at most {MAX_GRACE_S} seconds, found {}", table.grace_s);
        return Err(Problem::at(["stack", "grace_s"], message));
    }
    let rules = table.policy.into_iter().enumerate().map(|(at, policy)| rule(at, policy));
    let grace = Duration::from_secs(table.grace_s.into());
    Ok(Stack { grace, rules: rules.collect::<Result<_, _>>()? })
}

fn rule(at: usize, table: file::StackPolicy) -> Result<Rule, Problem> {
    let problem = |message: &dyn fmt::Display| Problem::at(["stack", "policy"], message).in_array(at);
    let who = match (table.uid, table.gid) {
        (Some(uid), None) => Who::Uid(uid),
        (None, Some(gid)) => Who::Gid(gid),
        _ => return Err(problem(&"expected one of uid and gid")),
    };
    let ports = match table.ports {
        None => Ports::Unprivileged,
        Some(listed) => {
            let range = |(n, ports): (usize, &file::Ports)| {
                port_range(ports).ok_or_else(|| {
                    problem(&"expected a port, or a range as in \"8000-8999\"").key("ports").in_array(n)
                })
            };
            Ports::In(listed.iter().enumerate().map(range).collect::<Result<_, _>>()?)
        }
    };
    let addresses = match table.addresses {
        None => Addresses::All,
        Some(listed) => {
            let prefix = |(n, text): (usize, &String)| {
                let refused = |_| problem(&"expected a prefix as in \"192.0.2.0/24\"");
                text.parse::<Prefix>().map_err(|e| refused(e).key("addresses").in_array(n))
            };
            Addresses::In(listed.iter().enumerate().map(prefix).collect::<Result<_, _>>()?)
        }
    };
    let permission = |granted| if granted { Permission::Granted } else { Permission::Denied };
    let weight = Weight::new(table.weight).ok_or_else(|| {
        problem(&format!("expected 1 to {}, found {}", Weight::MAX, table.weight)).key("weight")
    })?;
    Ok(Rule {
        who,
        protocols: table.protocols.into_iter().map(words::proto).collect(),
        ports,
        addresses,
        max_tuples: table.max_tuples,
        max_bytes: table.max_mib.saturating_mul(1 << 20),
        l2: permission(table.l2),
        unbound: permission(table.unbound),
        weight,
    })
}

fn port_range(ports: &file::Ports) -> Option<RangeInclusive<u16>> {
    let (first, last) = match ports {
        file::Ports::One(port) => (*port, *port),
        file::Ports::Range(text) => {
            let (first, last) = text.split_once('-')?;
            (first.trim().parse().ok()?, last.trim().parse().ok()?)
        }
    };
    (0 < first && first <= last).then_some(first..=last)
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
