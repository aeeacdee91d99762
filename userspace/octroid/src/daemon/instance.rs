//! One instance: its road, and the machines that say when an interface is served.
//!
//! What the kernel says goes to the machines, what the machines ask for is done on the road. The local addresses of served
//! interfaces follow the same look at the kernel: an `any` target answers for a new address as soon as the kernel has it.
use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    config::settings::Settings,
    netlink::{
        route::{Address, Link, Route},
        socket::Listener as LinkEvents,
    },
    road::Road,
    supervise::{Action, Event, Facts, Level, Machine, State},
};

/// One instance.
pub struct Instance {
    /// What it runs by.
    pub settings: Settings,
    /// Where its pins are; `None` without.
    pub pins: Option<PathBuf>,
    /// Its dataplane.
    pub road: Road,
    /// One for each configured interface.
    pub machines: Vec<Machine>,
    /// Asks about links and addresses.
    pub route: Route,
    /// Hears that they changed.
    pub link_events: LinkEvents,
    /// When it began.
    pub start: Instant,
}

impl Instance {
    /// Time since it began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Serves every interface for the first time, then registers the configured targets.
    ///
    /// An interface that is down is waited for; anything else that is in the way ends the start.
    ///
    /// # Errors
    /// What is in the way.
    pub fn bring_up(&mut self) -> Result<()> {
        self.try_look()?;
        for machine in &self.machines {
            match machine.state() {
                State::Absent => {
                    bail!("{}: there is no such interface in this network namespace", machine.name())
                }
                State::Waiting { reason: Some(reason), .. } => bail!("{}: {reason}", machine.name()),
                State::Down(_) | State::Waiting { .. } | State::Served(_) => {}
            }
        }
        for target in self.settings.targets.clone() {
            let added = self.road.add_target(&target);
            added.map_err(|r| {
                anyhow::anyhow!(
                    "target {} {} {}:{}: {r}",
                    target.kind,
                    target.proto,
                    target.addr,
                    target.port
                )
            })?;
        }
        let strangers = self.road.forget_strangers()?;
        if strangers != 0 {
            tracing::info!(entries = strangers, "steering entries of an earlier daemon removed");
        }
        self.road.take_over();
        Ok(())
    }

    /// Looks at the kernel's links and addresses, and acts on what changed.
    pub fn look(&mut self) {
        if let Err(error) = self.try_look() {
            tracing::warn!("cannot read links and addresses: {error:#}");
        }
    }

    fn try_look(&mut self) -> Result<()> {
        let links = self.route.links()?;
        for at in 0..self.machines.len() {
            let facts = self.facts(at, &links);
            self.on(at, Event::Seen(facts));
        }
        let addresses = self.route.addresses()?;
        self.take_addresses(&addresses);
        Ok(())
    }

    fn facts(&mut self, at: usize, links: &[Link]) -> Option<Facts> {
        let link = self.machines.get(at)?.choose(links)?.clone();
        // A device that vanishes between the two questions is gone: the next look says the same.
        let queues = self.road.rx_queues(link.index).ok()?;
        Some(Facts { link, queues })
    }

    /// Gives an event to a machine, and does what it asks for until it asks for nothing.
    pub fn on(&mut self, at: usize, event: Event) {
        let mut event = Some(event);
        while let Some(next) = event.take() {
            let now = self.now();
            let Some(machine) = self.machines.get_mut(at) else { return };
            let before = machine.facts().map(|facts| facts.link.index);
            let actions = machine.on(next, now);
            for action in actions {
                event = self.act(at, before, action).or(event);
            }
        }
    }

    fn act(&mut self, at: usize, before: Option<u32>, action: Action) -> Option<Event> {
        match action {
            Action::Serve(facts) => {
                let served = self.road.serve(at, &facts);
                return Some(match served {
                    Ok(()) => Event::Started,
                    Err(error) => Event::Failed(format!("{error:#}")),
                });
            }
            Action::Close => self.road.close(at),
            Action::Forget => self.road.detach(at, before.unwrap_or(0)),
            Action::Configure(facts) => {
                if let Err(error) = self.road.configure(at, &facts) {
                    tracing::warn!("cannot tell XDP of the new address of {}: {error:#}", facts.link.name);
                }
            }
            Action::Say(level, what) => self.say(at, level, &what),
        }
        None
    }

    fn say(&self, at: usize, level: Level, what: &str) {
        let Some(machine) = self.machines.get(at) else { return };
        let name = machine.facts().map_or_else(|| machine.name(), |facts| &facts.link.name);
        match level {
            Level::Info => tracing::info!("{name} {what}"),
            Level::Warn => tracing::warn!("{name} {what}"),
        }
    }

    /// Addresses of interfaces that are configured and there, up or down: an address outlives a link that goes down.
    fn take_addresses(&mut self, all: &[Address]) {
        let ours = |address: &&Address| {
            let index = |machine: &Machine| machine.facts().map(|facts| facts.link.index);
            self.machines.iter().any(|machine| index(machine) == Some(address.index))
        };
        let addresses: Vec<IpAddr> = all.iter().filter(ours).map(|address| address.addr).collect();
        if let Err(error) = self.road.set_addresses(&addresses) {
            tracing::warn!("cannot take over the local addresses: {error:#}");
        }
    }
}
