//! AF_XDP sockets on an interface, behind the program that picks out our frames.
//!
//! All others stay the OS stack's: a ping on the same interface goes on. Every active queue is opened, for nobody
//! knows on which one a reply comes back. Everything is looked up in the network namespace of the calling thread.
use std::os::fd::AsFd;

use abi::pins::MAX_QUEUES;
use anyhow::{Context, Result};
use ixp::port::{Port, PortId};
use nix::{ifaddrs::getifaddrs, net::if_::if_nametoindex};
use xsk::{
    bpf::{Generator, LabLink, QueueSockets, XdpMode},
    socket::{InterfaceName, OpenError, QueueConfig, XskPort, XskReceive, XskTransmit},
};

use super::{
    Inlet, Left, Outlet,
    clock::Clock,
    ports::{PlannedPorts, Ports},
};
use crate::traffic::{plan::Plan, profile::Mac};

/// An interface as the generator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    name: InterfaceName,
    index: u32,
    mac: Mac,
}

/// Receives our frames on every queue of an interface, and passes all others to the OS stack.
pub struct Collector {
    // The program leaves its device before the sockets that its map names are closed.
    _picker: Picker,
    ports: Ports<XskReceive, XskTransmit>,
}

/// Sends by queue 0 of an interface and receives on all.
pub struct XskEngine {
    _picker: Option<Picker>,
    ports: PlannedPorts<XskReceive, XskTransmit>,
}

/// The attached program and what it works by.
struct Picker {
    _link: LabLink,
    _sockets: QueueSockets,
    _programs: Generator,
}

impl Interface {
    /// Finds an interface in the calling thread's network namespace.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn open(name: &str) -> Result<Self> {
        let index = if_nametoindex(name).context("there is no such interface in this network namespace")?;
        let link = getifaddrs()?
            .filter(|a| a.interface_name == name)
            .find_map(|a| a.address?.as_link_addr()?.addr());
        let mac = Mac(link.context("the interface has no Ethernet address")?);
        Ok(Self { name: InterfaceName::new(name)?, index, mac })
    }

    /// Its number.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Its Ethernet address.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    fn port(&self, queue: u32) -> Result<XskPort, OpenError> {
        let mut config = QueueConfig::new(self.name, queue, PortId::new(queue as u16));
        config.vlan_tags = abi::port::MAX_TAGS as u32;
        XskPort::open(&config)
    }

    /// Opens every queue and puts the picking program before them.
    fn receive(&self, plan: &Plan) -> Result<(Picker, Ports<XskReceive, XskTransmit>)> {
        // Who only receives needs no flow's headers.
        let mut programs = Generator::load(plan.config(), &plan.flows()[..1])?;
        let mut sockets = programs.take_sockets()?;
        let mut halves = Vec::new();
        for queue in 0..MAX_QUEUES {
            let port = match self.port(queue) {
                Err(OpenError::QueueInactive { .. }) if 0 < queue => break,
                port => port?,
            };
            sockets.set(queue, port.xsk_fd().as_fd())?;
            halves.push(port.split());
        }
        let link = programs.collect_at(self.index, XdpMode::Native).with_context(|| {
            format!("{}: the receiving program cannot be attached in native mode", self.name)
        })?;
        Ok((Picker { _link: link, _sockets: sockets, _programs: programs }, Ports::new(halves)))
    }
}

impl Collector {
    /// Receives the frames of `plan`, or replies to them, on `interface`.
    ///
    /// # Errors
    /// A queue is taken, the hook is occupied, or a privilege is missing.
    pub fn open(interface: &Interface, plan: &Plan) -> Result<Self> {
        let (picker, ports) = interface.receive(plan)?;
        Ok(Self { _picker: picker, ports })
    }
}

impl XskEngine {
    /// Sends the frames of `plan` and receives nothing; the interface's XDP hook stays free.
    ///
    /// # Errors
    /// The queue is taken, or a privilege is missing.
    pub fn sending(interface: &Interface, plan: Plan) -> Result<Self> {
        let ports = Ports::new(vec![interface.port(0)?.split()]);
        Ok(Self { _picker: None, ports: PlannedPorts::new(ports, plan) })
    }

    /// Sends the frames of `plan` and receives the replies.
    ///
    /// # Errors
    /// As [`Collector::open`].
    pub fn both_ways(interface: &Interface, plan: Plan) -> Result<Self> {
        let (picker, ports) = interface.receive(&plan)?;
        Ok(Self { _picker: Some(picker), ports: PlannedPorts::new(ports, plan) })
    }
}

impl Inlet for Collector {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        self.ports.collect(clock, each)
    }

    fn wait(&mut self, ns: u64) -> Result<()> {
        self.ports.wait(ns)
    }

    fn losses(&self) -> u64 {
        self.ports.losses()
    }
}

impl Outlet for XskEngine {
    fn restart(&mut self, start_ns: u64, interval_q: u64) {
        self.ports.restart(start_ns, interval_q);
    }

    fn offer(&mut self, max: u64, now_ns: u64) -> Result<Left> {
        self.ports.offer(max, now_ns)
    }
}

impl Inlet for XskEngine {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        self.ports.collect(clock, each)
    }

    fn wait(&mut self, ns: u64) -> Result<()> {
        self.ports.wait(ns)
    }

    fn losses(&self) -> u64 {
        self.ports.losses()
    }
}
