//! The dataplane as the daemon holds it: XDP programs and maps, AF_XDP sockets, engines, and the registry of targets.
//!
//! It decides nothing by itself: [`crate::supervise`] says when an interface is served, the registry says in which order
//! a tuple appears and goes. What it does is done whole or undone.
//!
//! | file | idea |
//! |---|---|
//! | [`interface`] | one interface: attach, open, close, forget |
//! | [`offload`] | device features that are switched off meanwhile |
//! | [`pins`] | what is in bpffs, seen from outside |
//! | [`ports`] | numbers of ports, and losses that outlive their sockets |
//! | [`targets`] | the registry's steps, carried out |
//! | [`readings`] | every number there is, read once |
pub mod interface;
pub mod offload;
pub mod pins;
pub mod ports;
pub mod readings;
pub mod targets;

use std::{collections::BTreeMap, net::IpAddr, path::Path, sync::Arc};

use abi::counter::XdpCounter;
use anyhow::{Context, Result};
use ixp::{
    clock::Monotonic,
    engines::{Engines, Event},
    spec::EngineSpec,
    tables::{PortConfigs, Published, Tables},
};
use multistack::registry::{Limits, Registry};
use xsk::{
    bpf::{Counters, Instance, Steering},
    socket::XskPort,
};

use self::{
    interface::{Interface, Origin},
    offload::Offloads,
    pins::Pins,
    ports::Ports,
};
use crate::{Causes, config::settings::Settings, netlink::ethtool::Ethtool, supervise::Facts};

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
    configs: PortConfigs,
    interfaces: Vec<Interface>,
    ports: Ports,
    offloads: Offloads,
    ethtool: Ethtool,
    pins: Pins,
}

impl Road {
    /// Starts the engines. Nothing is attached yet.
    ///
    /// # Errors
    /// The engines cannot run as configured, or the kernel refuses.
    pub fn start(settings: &Settings, bpf: Instance, pins: Pins, dir: &Path) -> Result<Self> {
        let published = Arc::new(Published::new(Tables::default())?);
        let clock = Arc::new(Monotonic::start());
        let program = |_| ixp::stage::builtin_program();
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
            registry: Registry::new(Limits::default()),
            configs: PortConfigs::default(),
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

    /// What engines reported since the last call: which interface lost a port, and why.
    pub fn lost_ports(&mut self) -> Vec<(usize, String)> {
        let events: Vec<Event> = self.engines.events().collect();
        let lost = |event| match event {
            Event::PortFailed { port, error, .. } => {
                Some((self.ports.get(port)?.interface, error.to_string()))
            }
        };
        events.into_iter().filter_map(lost).collect()
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
        let Some(interface) = self.interfaces.get_mut(number) else { return Ok(()) };
        self.offloads.switch_off(&mut self.ethtool, &facts.link)?;
        interface.attach(&self.bpf, &self.pins, facts)?;
        // Engines know the interface before its first frame can come.
        let config = interface.port_config(facts.link.mac);
        for queue in 0..facts.queues {
            if let Some(port) = self.ports.number(number, queue) {
                self.configs.set(port, config);
            }
        }
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

    /// The local addresses of served interfaces are these now.
    ///
    /// # Errors
    /// There are too many, or the kernel refuses; the old ones stay in force.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<()> {
        targets::set_addresses(self, addresses)
    }

    /// What an earlier daemon left is this one's from now on; what it served and this one does not is detached.
    ///
    /// # Errors
    /// bpffs refuses.
    pub fn take_over(&mut self) -> Result<()> {
        self.interfaces.iter_mut().for_each(Interface::take_over);
        let strangers = self.forget_strangers()?;
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
        self.engines.stop();
        self.bpf.unpin().context("pins are left")
    }

    /// Publishes the tables in force to every engine.
    fn publish(&self) -> Result<()> {
        let tables = Tables { mirror: Arc::clone(self.registry.mirror()), ports: self.configs.clone() };
        let generation = self.engines.publish(tables)?;
        Ok(self.engines.wait_seen(generation)?)
    }
}
