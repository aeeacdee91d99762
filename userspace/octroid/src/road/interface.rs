//! One interface on the road: its programs, its sockets, and what was changed on the device.
//!
//! Serving goes all the way or leaves nothing behind that was not there before; closing keeps the programs attached, so
//! that owned tuples follow their crash policy; forgetting is for a device that is gone.
use abi::port::{MAX_TAGS, PortConfig, TRANSIT};
use anyhow::{Context, Result, bail};
use ixp::{engines::Engines, panel::Activity, port::PortId};
use xsk::{
    bpf::{AttachSpec, Attached, BpfError, HeaderSlot, Instance, Object, QueueSockets},
    socket::{InterfaceName, QueueConfig, XskPort},
};

use super::{pins::Pins, ports::Ports};
use crate::{
    config::{file::Queues, settings},
    supervise::Facts,
};

/// A configured interface and what there is of it.
#[derive(Debug)]
pub struct Interface {
    /// What was asked for.
    pub settings: settings::Interface,
    held: Option<Held>,
    open: Vec<PortId>,
    /// Of the device, when it was served last.
    mtu: Option<u32>,
    /// How often programs were attached: the number of the last chain.
    chains: u64,
}

/// Programs that are attached.
#[derive(Debug)]
struct Held {
    programs: Attached,
    /// The device.
    index: u32,
    /// Its active receive queues when the programs were installed.
    queues: u32,
    origin: Origin,
}

/// Whose the attached programs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Attached by this daemon: detached again if it fails.
    Fresh,
    /// Left by an earlier daemon: they hold its tuples, and stay if this one cannot take over.
    Adopted,
}

impl Interface {
    /// Nothing of it yet.
    #[must_use]
    pub fn new(settings: settings::Interface) -> Self {
        Self { settings, held: None, open: Vec::new(), mtu: None, chains: 0 }
    }

    /// The ports that are open.
    #[must_use]
    pub fn open(&self) -> &[PortId] {
        &self.open
    }

    /// The MTU of the device, as it was served last; `None` if it never was.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        self.mtu
    }

    /// Whose the attached programs are, if any are.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.held.as_ref().map(|held| held.origin)
    }

    /// What an earlier daemon left attached is this one's from now on.
    pub fn take_over(&mut self) {
        if let Some(held) = &mut self.held {
            held.origin = Origin::Fresh;
        }
    }

    /// The index of the device, and the id of the program attached to it.
    #[must_use]
    pub fn program(&self) -> Option<(u32, u32)> {
        let held = self.held.as_ref()?;
        Some((held.index, held.programs.ids().ok()?.program))
    }

    /// What the attached programs said since the last call: nothing, unless something is broken.
    pub fn log_of_programs(&mut self) -> Vec<String> {
        self.held.as_mut().map(|held| held.programs.drain_log()).unwrap_or_default()
    }

    /// What `steer` must know of the device.
    #[must_use]
    pub fn port_config(&self, mac: [u8; 6]) -> PortConfig {
        let mut vlan = [0; MAX_TAGS];
        vlan.iter_mut().zip(&self.settings.vlan).for_each(|(to, from)| *to = *from);
        let flags = if self.settings.transit { TRANSIT } else { 0 };
        PortConfig { mac, tags: self.settings.vlan.len() as u8, flags, vlan }
    }

    /// Refuses a device that cannot be served as configured.
    ///
    /// # Errors
    /// What does not fit, and what would change it.
    pub fn check(&self, facts: &Facts) -> Result<()> {
        let Facts { link, queues } = facts;
        let (name, active) = (&link.name, *queues);
        if let Queues::Exactly(wanted) = self.settings.queues
            && wanted != active
        {
            bail!(
                "{active} receive queues are active, the configuration says {wanted}: try `ethtool -L {name} rx {wanted} tx {wanted}` (or combined {wanted})"
            );
        }
        if abi::pins::MAX_QUEUES < active {
            let most = abi::pins::MAX_QUEUES;
            bail!(
                "{active} receive queues are active, {most} can be served: try `ethtool -L {name} combined {most}`"
            );
        }
        Ok(xsk::socket::mtu::check(&self.settings.queue, link.mtu)?)
    }

    /// Attaches the programs behind the header program that `head` puts into their slot, or adopts those that an earlier
    /// daemon left, with `head`'s in the place of its header program: that knows generations which this daemon gives to
    /// other filters, and no socket is open meanwhile.
    ///
    /// What is attached already is only configured, unless there are more queues now: veth runs a native program on those
    /// alone that were active when it was installed (measured on Linux 6.18), and installing the same one again is nothing
    /// to the kernel, so it is replaced by its like.
    ///
    /// # Errors
    /// The hook is occupied, a pin does not fit, or the kernel refuses.
    pub fn attach(
        &mut self,
        bpf: &Instance,
        pins: &Pins,
        facts: &Facts,
        head: impl FnOnce(&HeaderSlot) -> Result<(), BpfError>,
    ) -> Result<()> {
        self.mtu = Some(facts.link.mtu);
        if let Some(held) = &mut self.held {
            if held.queues < facts.queues {
                held.programs.replace(&Object::embedded()?)?;
            }
            held.queues = facts.queues;
            return self.configure(facts);
        }
        let ifname = self.settings.name();
        let origin = if pins.is_attached(ifname) { Origin::Adopted } else { Origin::Fresh };
        let spec = AttachSpec {
            ifname: ifname.to_owned(),
            ifindex: facts.link.index,
            mode: self.settings.mode,
            config: self.port_config(facts.link.mac),
        };
        self.chains += 1;
        let programs = bpf.attach_behind(&spec, head).map_err(explain)?;
        self.held = Some(Held { programs, index: facts.link.index, queues: facts.queues, origin });
        Ok(())
    }

    /// The slot of a header program, and the number of the chain that has it; `None` while nothing is attached.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn header_slot(&self) -> Result<Option<(HeaderSlot, u64)>, BpfError> {
        let slot = self.held.as_ref().map(|held| held.programs.header_slot()).transpose()?;
        Ok(slot.map(|slot| (slot, self.chains)))
    }

    /// Tells the attached programs that the device has changed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn configure(&self, facts: &Facts) -> Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        Ok(held.programs.port()?.set(self.port_config(facts.link.mac))?)
    }

    /// Opens a socket for each queue and gives it to an engine.
    ///
    /// # Errors
    /// A queue cannot be had; those opened before it are closed again.
    pub fn open_queues(
        &mut self,
        number: usize,
        facts: &Facts,
        engines: &mut Engines<XskPort>,
        ports: &mut Ports,
    ) -> Result<()> {
        let mut sockets = self.sockets()?;
        for queue in 0..facts.queues {
            let opened = self.open_queue(number, queue, facts, engines, ports, &mut sockets);
            if let Err(error) = opened {
                self.close(engines, ports);
                return Err(error.context(format!("queue {queue}")));
            }
        }
        Ok(())
    }

    fn open_queue(
        &mut self,
        number: usize,
        queue: u32,
        facts: &Facts,
        engines: &mut Engines<XskPort>,
        ports: &mut Ports,
        sockets: &mut QueueSockets,
    ) -> Result<()> {
        let Some(id) = ports.number(number, queue) else {
            bail!("{} queues are served already, the most there can be", ixp::ledger::MAX_PORTS);
        };
        let interface = InterfaceName::new(&facts.link.name)?;
        let config = QueueConfig { interface, queue, port: id, ..self.settings.queue };
        let port = XskPort::open(&config)?;
        ports.opened(id, port.last_statistics());
        // The engine has it before XDP does: the first redirected frame finds somebody who reads.
        let fd = nix::unistd::dup(port.xsk_fd()).context("cannot copy the socket's descriptor")?;
        engines.attach(port)?;
        self.open.push(id);
        sockets.set(queue, fd)?;
        Ok(())
    }

    /// Takes the sockets out of XDP's map, lets the engines read what is in their rings, and closes them.
    pub fn close(&mut self, engines: &mut Engines<XskPort>, ports: &mut Ports) {
        let sockets = self.sockets();
        if let Ok(mut sockets) = sockets {
            for port in self.open.iter().filter_map(|&port| ports.get(port)) {
                if let Err(error) = sockets.clear(port.queue) {
                    tracing::warn!(interface = self.settings.name(), queue = port.queue, %error, "socket stays in the map");
                }
            }
        }
        drain(engines, &self.open);
        for port in self.open.drain(..) {
            let report = engines.detach(port);
            match report {
                Ok(report) => ports.reported(report),
                Err(error) => {
                    tracing::warn!(interface = self.settings.name(), %port, %error, "port did not close in order");
                }
            }
            ports.closed(port);
        }
    }

    /// Detaches the programs and removes their pins. The sockets must be closed.
    ///
    /// # Errors
    /// bpffs refuses.
    pub fn detach(&mut self) -> Result<()> {
        Ok(self.held.take().map_or(Ok(()), |held| held.programs.detach_and_unpin())?)
    }

    fn sockets(&self) -> Result<QueueSockets> {
        let held = self.held.as_ref().context("no program is attached")?;
        Ok(held.programs.xsks()?)
    }
}

/// A hook that another instance of Octroi occupies has a remedy of its own.
fn explain(error: BpfError) -> anyhow::Error {
    match &error {
        BpfError::Occupied { occupant, .. } if occupant.name == abi::pins::PROG_INGRESS => {
            anyhow::Error::new(error).context(
                "it is served by another instance, or was by one that crashed (`octroi down --crashed`)",
            )
        }
        _ => error.into(),
    }
}

/// Waits until engines have read what XDP had already handed to these ports, but not for ever: a stuck engine is not
/// waited for.
///
/// [`Engines::detach`] alone would not do: it stops at the first empty look. A driver that is in the middle of a batch
/// when the sockets leave the map still has frames for them in its hands, and hands them over at the batch's end. Frames
/// that come after the last look die with the socket, and are in nobody's books.
fn drain(engines: &Engines<XskPort>, ports: &[PortId]) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);
    const PAUSE: std::time::Duration = std::time::Duration::from_micros(200);
    if ports.is_empty() {
        return;
    }
    let received = || -> u64 {
        let rows = engines.rows().into_iter().filter(|row| ports.contains(&row.port));
        rows.flat_map(|row| row.counters().collect::<Vec<_>>())
            .filter(|(counter, _)| *counter == ixp::counter::Counter::Rx)
            .map(|(_, value)| value)
            .sum()
    };
    let rounds = || engines.pulses().into_iter().map(|(_, p)| (p.rounds, p.activity)).collect::<Vec<_>>();
    let start = std::time::Instant::now();
    let (mut count, mut seen) = (received(), rounds());
    while start.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
        let (count_now, seen_now) = (received(), rounds());
        if count_now != count {
            (count, seen) = (count_now, seen_now);
            continue;
        }
        // Two whole rounds without a frame, or asleep on empty rings: nothing is left.
        let quiet = |((before, _), (now, activity)): (&(u64, _), &(u64, Activity))| {
            *activity == Activity::Blocked || *activity == Activity::Stopped || before + 2 <= *now
        };
        if seen.iter().zip(&seen_now).all(quiet) {
            return;
        }
    }
}
