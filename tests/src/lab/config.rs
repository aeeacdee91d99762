//! The daemon's configuration as a test wants it: the defaults, small rings, and what differs.
//!
//! Written as the TOML text that a user would write; nothing of octroid's own reader is used here.
use std::fmt::Write as _;

use client::control::{
    request::{LocalAddr, OnCrash, Proto, TargetAdd, TargetKind},
    stack::StackRegister,
};

/// What stands in the file.
#[derive(Clone, Debug)]
pub struct Config {
    /// `engine.layout`.
    pub layout: Layout,
    /// `engine.cores`.
    pub cores: Vec<usize>,
    /// `interface.mode`.
    pub mode: Mode,
    /// `interface.queues`: `None` for all.
    pub queues: Option<u16>,
    /// `interface.vlan`.
    pub vlan: Vec<u16>,
    /// `interface.rings`.
    pub rings: u32,
    /// `interface.umem.frames`.
    pub frames: u32,
    /// `interface.umem.chunk`.
    pub chunk: u32,
    /// The `[[target]]` tables.
    pub targets: Vec<TargetAdd>,
    /// Tables that follow all others, as they are.
    pub more: String,
}

/// `engine.layout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every core does all.
    RunToCompletion,
    /// Receiving, judging and sending on engines of their own.
    Pipeline,
}

/// `interface.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's stack.
    Generic,
}

impl Default for Config {
    /// One engine, native mode, all queues, rings that hold twice what a lab keeps in flight, no target.
    fn default() -> Self {
        Self {
            layout: Layout::RunToCompletion,
            cores: vec![0],
            mode: Mode::Native,
            queues: None,
            vlan: Vec::new(),
            rings: 2 * super::WINDOW as u32,
            frames: 4 * super::WINDOW as u32,
            chunk: 2048,
            targets: Vec::new(),
            more: String::new(),
        }
    }
}

impl Config {
    /// The defaults with an echo on UDP port [`ECHO`] and a sink on UDP port [`SINK`], at any local address.
    #[must_use]
    pub fn echo_and_sink() -> Self {
        Self { targets: vec![udp(TargetKind::Echo, ECHO), udp(TargetKind::Sink, SINK)], ..Self::default() }
    }

    /// The text, for an interface called `ifname`.
    #[must_use]
    pub fn text(&self, ifname: &str, metrics: &str) -> String {
        let layout = match self.layout {
            Layout::RunToCompletion => "run-to-completion",
            Layout::Pipeline => "pipeline",
        };
        let mode = match self.mode {
            Mode::Native => "native",
            Mode::Generic => "generic",
        };
        let queues = self.queues.map_or_else(|| "\"all\"".to_owned(), |n| n.to_string());
        let mut text = format!(
            r#"engine = {{ layout = "{layout}", cores = {cores:?}, idle = "adaptive" }}

[metrics]
listen = "{metrics}"

[[interface]]
name = "{ifname}"
mode = "{mode}"
copy = "copy"
queues = {queues}
vlan = {vlan:?}
rings = {rings}
umem = {{ chunk = {chunk}, frames = {frames}, headroom = 16 }}
"#,
            cores = self.cores,
            vlan = self.vlan,
            rings = self.rings,
            chunk = self.chunk,
            frames = self.frames,
        );
        for TargetAdd { kind, proto, addr, port, on_crash } in &self.targets {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n[[target]]\nkind = \"{kind}\"\nproto = \"{proto}\"\naddr = \"{addr}\"\nport = {port}\non_crash = \"{on_crash}\"\n"
            );
        }
        text += &self.more;
        text
    }
}

/// UDP port of the echo in [`Config::echo_and_sink`].
pub const ECHO: u16 = 7;

/// UDP port of the sink in [`Config::echo_and_sink`].
pub const SINK: u16 = 9;

/// A target on a UDP port at any local address, dropped by XDP while no daemon runs.
#[must_use]
pub fn udp(kind: TargetKind, port: u16) -> TargetAdd {
    TargetAdd { kind, proto: Proto::Udp, addr: LocalAddr::Any, port, on_crash: OnCrash::Drop }
}

/// A reservation of a target's tuple for a user.
#[must_use]
pub fn reservation(target: &TargetAdd, uid: u32) -> StackRegister {
    let TargetAdd { proto, addr, port, .. } = *target;
    let reserve = Default::default();
    StackRegister { proto, addr, port, reserve, on_crash: None, icmp: false, uid: Some(uid) }
}
