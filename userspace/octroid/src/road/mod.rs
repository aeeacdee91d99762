//! The dataplane as the daemon holds it: XDP programs and maps, AF_XDP sockets, engines, and the registry of targets.
//!
//! It decides nothing by itself: [`crate::supervise`] says when an interface is served, the registry says in which order
//! a tuple appears and goes. What it does is done whole or undone.
//!
//! | file | idea |
//! |---|---|
//! | [`filters`] | Ruler's filters, and what they are attached to |
//! | [`interface`] | one interface: attach, open, close, forget |
//! | [`offload`] | device features that are switched off meanwhile |
//! | [`pins`] | what is in bpffs, seen from outside |
//! | [`ports`] | numbers of ports, and losses that outlive their sockets |
//! | [`targets`] | what the engines answer themselves |
//! | [`addresses`] | the local addresses that all tuples have |
//! | [`stacks`] | application stacks |
//! | [`steps`] | the registry's steps, carried out |
//! | [`network`] | where packets of applications may go |
//! | [`ways`] | by which rules and tables, and which are not followed |
//! | [`readings`] | every number there is, read once |
pub mod addresses;
pub mod filters;
pub mod interface;
pub mod network;
pub mod offload;
pub mod pins;
pub mod ports;
pub mod readings;
pub mod stacks;
pub mod steps;
pub mod targets;
pub mod ways;

use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use abi::{counter::XdpCounter, port::PortConfig};
use anyhow::{Context, Result};
use ixp::{
    clock::Monotonic,
    engines::{Engines, Event as EngineEvent},
    program::Program,
    spec::{EngineSpec, Layout},
    stacks::StackEvent,
    tables::{PortConfigs, Published, Tables},
};
use multistack::{
    neighbour::{Facts as NetworkFacts, LinkNo, NextHop},
    registry::{Registry, SessionId},
};
use xsk::{
    bpf::{Counters, HeaderSlot, Instance, Steering},
    socket::XskPort,
};

use self::{
    filters::Attachments,
    interface::{Interface, Origin},
    network::View,
    offload::Offloads,
    pins::Pins,
    ports::Ports,
    stacks::{Stacks, state_file::StateFile},
    targets::Waiting,
};
use crate::{Causes, build::Build, config::settings::Settings, netlink::ethtool::Ethtool, supervise::Facts};

/// The dataplane.
pub struct Road {
    bpf: Instance,
    steering: Steering,
    counters: Counters,
    /// What XDP had redirected before this daemon: handed to an earlier one.
    earlier: u64,
    spec: EngineSpec,
    engines: Engines<XskPort>,
    registry: Registry,
    stacks: Stacks,
    waiting: Vec<Waiting>,
    configs: PortConfigs,
    filters: Attachments,
    view: View,
    interfaces: Vec<Interface>,
    ports: Ports,
    offloads: Offloads,
    ethtool: Ethtool,
    pins: Pins,
}

/// What engines report by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// An interface lost a port, and why.
    PortLost(usize, String),
    /// An application broke the rules of its rings.
    Violation(SessionId),
    /// Packets wait for this next hop.
    Unresolved(NextHop),
}

impl Road {
    /// Starts the engines. Nothing is attached yet.
    ///
    /// # Errors
    /// The engines cannot run as configured, a newer daemon's sessions were saved, or the kernel refuses.
    pub fn start(
        settings: &Settings,
        build: Build,
        bpf: Instance,
        pins: Pins,
        dir: &Path,
        now: Duration,
    ) -> Result<Self> {
        let file = StateFile::in_dir(dir, build);
        let stacks = Stacks::new(settings, file.clone())?;
        // A seed that nobody knows: who may choose ports chooses keys, and must not choose where they meet.
        let seed = u64::from_ne_bytes(stacks::random()?);
        let mut registry = file.restore(now, settings.stack.grace)?.seeded(seed);
        registry.set_policy(stacks.policy().clone());
        let tables = Tables { mirror: Arc::clone(registry.mirror()), ..Tables::default() };
        let published = Arc::new(Published::new(tables)?);
        let clock = Arc::new(Monotonic::start());
        // Made beforehand, for an engine's start cannot fail for want of a program.
        let programs = RefCell::new(programs(&settings.engine).context("an engine's program")?);
        let program = |_| programs.borrow_mut().pop().unwrap_or_else(ixp::stage::builtin_program);
        let engines = Engines::start(&settings.engine, published, clock, &program)
            .context("engine: cannot start as configured")?;
        let counters = bpf.counters()?;
        Ok(Self {
            steering: bpf.steering()?,
            earlier: counters.read_one(XdpCounter::Redirect)?,
            counters,
            bpf,
            spec: settings.engine.clone(),
            engines,
            registry,
            stacks,
            waiting: Vec::new(),
            configs: PortConfigs::default(),
            filters: Attachments::default(),
            view: View::new(u64::from_ne_bytes(stacks::random()?)),
            interfaces: settings.interfaces.iter().cloned().map(Interface::new).collect(),
            ports: Ports::default(),
            offloads: Offloads::open(dir),
            pins,
            ethtool: Ethtool::open().context("the kernel has no ethtool netlink (5.6 or newer is needed)")?,
        })
    }

    /// The engines.
    #[must_use]
    pub fn engines(&self) -> &Engines<XskPort> {
        &self.engines
    }

    /// What engines reported since the last call.
    pub fn reports(&mut self) -> Vec<Report> {
        let events: Vec<EngineEvent> = self.engines.events().collect();
        let report = |event| match event {
            EngineEvent::PortFailed { port, error, .. } => {
                Some(Report::PortLost(self.ports.get(port)?.interface, error.to_string()))
            }
            EngineEvent::Stack { event: StackEvent::Violation(session), .. } => {
                Some(Report::Violation(session))
            }
            EngineEvent::Stack { event: StackEvent::Unresolved(hop), .. } => Some(Report::Unresolved(hop)),
        };
        events.into_iter().filter_map(report).collect()
    }

    /// What XDP and the engines are told of an interface.
    #[must_use]
    pub fn port_config(&self, number: usize, mac: [u8; 6]) -> PortConfig {
        self.interfaces.get(number).map_or_else(PortConfig::default, |interface| interface.port_config(mac))
    }

    /// Whether there is such a session.
    #[must_use]
    pub fn has_stack(&self, session: SessionId) -> bool {
        self.registry.session(session).is_some()
    }

    /// Who owns what.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The receive queue of each port, by the port's number.
    #[must_use]
    pub fn queues(&self) -> Vec<u32> {
        self.ports.iter().map(|(_, port)| port.queue).collect()
    }

    /// Application stacks.
    pub fn stacks(&mut self) -> &mut Stacks {
        &mut self.stacks
    }

    /// Where packets of applications may go.
    pub fn view(&mut self) -> &mut View {
        &mut self.view
    }

    /// Makes this the network that engines know, if it is another one.
    ///
    /// # Errors
    /// There is more of something than they may know; the old network stays.
    pub fn set_network(&mut self, facts: NetworkFacts) -> Result<()> {
        if self.view.take(facts)? { self.publish() } else { Ok(()) }
    }

    /// Passes on what the XDP programs have to say, at debug level. They say a thing once a CPU, and of each interface a
    /// bounded number of lines is read at a time.
    pub fn log_programs(&mut self) {
        for interface in &mut self.interfaces {
            for line in interface.log_of_programs() {
                tracing::debug!(interface = interface.settings.name(), "XDP: {line}");
            }
        }
    }

    /// Active receive queues of a device.
    ///
    /// # Errors
    /// It is gone.
    pub fn rx_queues(&mut self, index: u32) -> std::io::Result<u32> {
        self.ethtool.rx_queues(index)
    }

    /// Serves an interface: checks it, switches tag offloads off, attaches, opens every queue.
    ///
    /// # Errors
    /// What is in the way; no socket is open then.
    pub fn serve(&mut self, number: usize, facts: &Facts) -> Result<()> {
        let interface = self.interfaces.get_mut(number).context("no such interface")?;
        interface.check(facts)?;
        let before = interface.origin();
        let served = self.serve_checked(number, facts);
        if served.is_err() && before.is_none() && !self.is_of_earlier(number) {
            // Also where nothing was attached: the offloads were switched off before.
            self.detach(number, facts.link.index);
        }
        served
    }

    /// Whether an earlier daemon's programs are attached, be they taken over or not.
    fn is_of_earlier(&self, number: usize) -> bool {
        self.interfaces.get(number).is_some_and(|interface| match interface.origin() {
            Some(origin) => origin == Origin::Adopted,
            None => self.pins.is_attached(interface.settings.name()),
        })
    }

    fn serve_checked(&mut self, number: usize, facts: &Facts) -> Result<()> {
        let Self { interfaces, filters, counters, .. } = self;
        let Some(interface) = interfaces.get_mut(number) else { return Ok(()) };
        self.offloads.switch_off(&mut self.ethtool, &facts.link)?;
        // What its filter rejects before it is steered is not steered from the first frame on.
        let head = |slot: &HeaderSlot| filters.head(number, slot, counters);
        interface.attach(&self.bpf, &self.pins, facts, head)?;
        // Engines know the interface before its first frame can come.
        let config = interface.port_config(facts.link.mac);
        for queue in 0..facts.queues {
            if let Some(port) = self.ports.number(number, queue) {
                self.configs.set(port, config);
                self.configs.on_link(port, LinkNo(number as u16));
            }
        }
        self.refit_filters()?;
        self.publish()?;
        let interface = self.interfaces.get_mut(number).context("no such interface")?;
        interface.open_queues(number, facts, &mut self.engines, &mut self.ports)
    }

    /// Closes the sockets of an interface; its programs stay attached.
    pub fn close(&mut self, number: usize) {
        if let Some(interface) = self.interfaces.get_mut(number) {
            interface.close(&mut self.engines, &mut self.ports);
        }
    }

    /// Closes the sockets of an interface, detaches its programs and puts the device's offloads back.
    pub fn detach(&mut self, number: usize, index: u32) {
        self.close(number);
        let Some(interface) = self.interfaces.get_mut(number) else { return };
        if let Err(error) = interface.detach() {
            tracing::warn!(interface = interface.settings.name(), "cannot unpin: {}", Causes(&error));
        }
        if let Err(error) = self.offloads.restore(&mut self.ethtool, index) {
            tracing::warn!(interface = interface.settings.name(), %error, "offloads are not as before");
        }
    }

    /// Tells XDP and the engines of a device's new MAC address.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn configure(&mut self, number: usize, facts: &Facts) -> Result<()> {
        let interface = self.interfaces.get(number).context("no such interface")?;
        interface.configure(facts)?;
        let config = interface.port_config(facts.link.mac);
        for port in interface.open() {
            self.configs.set(*port, config);
        }
        self.publish()
    }

    /// What an earlier daemon left is this one's from now on; what it served and this one does not is detached.
    ///
    /// # Errors
    /// bpffs refuses.
    pub fn take_over(&mut self) -> Result<()> {
        self.interfaces.iter_mut().for_each(Interface::take_over);
        let strangers = self.reconcile()?;
        let names: Vec<_> = self.interfaces.iter().map(|i| i.settings.name()).collect();
        let others = self.pins.remove_others(&names).context("cannot remove an earlier daemon's pins")?;
        let served: Vec<u32> = self.programs().into_keys().collect();
        for index in self.offloads.devices().into_iter().filter(|index| !served.contains(index)) {
            self.offloads.restore(&mut self.ethtool, index).context("cannot put offloads back")?;
        }
        if strangers != 0 || !others.is_empty() {
            tracing::info!(entries = strangers, interfaces = ?others, "of an earlier daemon, removed");
        }
        Ok(())
    }

    /// Where the pins are.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The attached programs of this daemon, by the index of the device.
    #[must_use]
    pub fn programs(&self) -> BTreeMap<u32, u32> {
        self.interfaces.iter().filter_map(Interface::program).collect()
    }

    /// Ends a start that failed: takes down what this daemon attached, and leaves attached what it found.
    pub fn give_up(mut self) {
        for number in 0..self.interfaces.len() {
            self.close(number);
            let fresh = self.interfaces.get(number).filter(|i| i.origin() == Some(Origin::Fresh));
            if let Some((index, _)) = fresh.and_then(Interface::program) {
                self.detach(number, index);
            }
        }
    }

    /// Takes everything down: sockets, programs, pins, offloads, engines.
    ///
    /// # Errors
    /// The instance's pins could not all be removed.
    pub fn stop(mut self) -> Result<()> {
        for number in 0..self.interfaces.len() {
            self.close(number);
            if let Some(interface) = self.interfaces.get_mut(number)
                && let Err(error) = interface.detach()
            {
                tracing::warn!(interface = interface.settings.name(), "cannot unpin: {}", Causes(&error));
            }
        }
        for index in self.offloads.devices() {
            if let Err(error) = self.offloads.restore(&mut self.ethtool, index) {
                tracing::warn!(index, %error, "offloads are not as before");
            }
        }
        if let Err(error) = self.offloads.forget() {
            tracing::warn!(%error, "the note of offloads is left");
        }
        self.engines.stop();
        self.bpf.unpin().context("pins are left")
    }

    /// Publishes the tables in force to every engine.
    fn publish(&self) -> Result<()> {
        let tables = Tables {
            mirror: Arc::clone(self.registry.mirror()),
            ports: self.configs.clone(),
            network: Arc::clone(self.view.network()),
            filters: self.filters.tables().clone(),
        };
        let generation = self.engines.publish(tables)?;
        Ok(self.engines.wait_seen(generation)?)
    }
}

/// One program for each engine that serves application stacks. Others get one that does not.
fn programs(spec: &EngineSpec) -> nix::Result<Vec<Box<dyn Program>>> {
    match spec.layout {
        Layout::RunToCompletion => spec.cores.iter().map(|_| ixp::stage::stack_program()).collect(),
        Layout::Pipeline => Ok(Vec::new()),
    }
}
