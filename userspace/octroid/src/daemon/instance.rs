//! One instance: its road, and the machines that say when an interface is served.
//!
//! What the kernel says goes to the machines, what the machines ask for is done on the road. The local addresses of served
//! interfaces follow the same look at the kernel: an `any` target answers for a new address as soon as the kernel has it.
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use client::control::ruler::Where;
use ixp::engines::EngineId;
use multistack::neighbour::NextHop;

use crate::{
    Causes,
    build::Build,
    config::settings::{Settings, Target},
    doctor::softirq::Softirqs,
    filters::configured,
    netlink::{
        route::{Link, Route},
        rule::Rule,
        socket::Listener as LinkEvents,
    },
    road::{
        Road,
        addresses::Addresses,
        network::{self, Seen, Served},
        ways::{self, Departure},
    },
    supervise::{Action, Event, Facts, Level, Machine, State},
};

/// One instance.
pub struct Instance {
    /// What it runs by.
    pub settings: Settings,
    /// Which build of the daemon runs it.
    pub build: Build,
    /// Its dataplane.
    pub road: Road,
    /// One for each configured interface.
    pub machines: Vec<Machine>,
    /// Hears that links or addresses changed.
    pub link_events: LinkEvents,
    /// Hears that routes or neighbours changed.
    pub way_events: LinkEvents,
    /// Engines that stand still.
    pub stuck: BTreeSet<EngineId>,
    /// What stacks do not follow of the kernel's routing.
    pub departures: Vec<Departure>,
    /// NET_RX softirqs on the cores of spinning engines.
    pub softirqs: Softirqs,
    /// The local addresses that tuples are at.
    addresses: Addresses,
    route: Route,
    start: Instant,
    phase: Phase,
    network: Freshness,
}

/// Whether what engines know of the network is what the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Freshness {
    state: Fresh,
    /// When it may be read again: neighbours come and go by the hundred.
    next: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fresh {
    Yes,
    No,
}

/// How often the network is read at most.
const NETWORK_PAUSE: Duration = Duration::from_millis(20);

/// Who hears of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Whoever started this: a failure ends it.
    Starting,
    /// The log: a failure is met again.
    Running,
}

impl Instance {
    /// Nothing is served yet.
    ///
    /// # Errors
    /// The kernel refuses to tell of links.
    pub fn new(settings: Settings, build: Build, road: Road, start: Instant) -> Result<Self> {
        Ok(Self {
            machines: settings.interfaces.iter().map(|i| Machine::new(i.name())).collect(),
            // Heard before the first look: what changes in between is looked at once more.
            link_events: Route::listen().context("cannot hear of link changes")?,
            way_events: Route::listen_to_ways().context("cannot hear of route changes")?,
            route: Route::open().context("cannot ask about links")?,
            stuck: BTreeSet::new(),
            departures: Vec::new(),
            softirqs: Softirqs::of(&settings.engine),
            addresses: Addresses::default(),
            settings,
            build,
            road,
            start,
            phase: Phase::Starting,
            network: Freshness { state: Fresh::No, next: Duration::ZERO },
        })
    }

    /// Time since it began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Puts the configured filters in force, registers the configured targets, then serves every interface for the first
    /// time.
    ///
    /// In this order, because with an earlier daemon's programs attached the first frame of a target may come as soon as
    /// there is a socket. An interface that is down is waited for, and so is a target's tuple that a saved session or a
    /// reservation has; anything else that is in the way ends the start.
    ///
    /// # Errors
    /// What is in the way.
    pub fn bring_up(&mut self) -> Result<()> {
        let links = self.route.links()?;
        let missing = self.machines.iter().find(|machine| machine.choose(&links).is_none());
        if let Some(machine) = missing {
            bail!("{}: there is no such interface in this network namespace", machine.name());
        }
        self.take_addresses(&links)?;
        self.road.reclaim();
        self.install_filters()?;
        for Target { add, filter } in &self.settings.targets {
            let named = || format!("target {} {} {}:{}", add.kind, add.proto, add.addr, add.port);
            let site = self.road.target_site();
            let make = |filter| configured::of_target(filter, site, self.road.number_filter());
            let ready = filter.as_ref().map(make).transpose();
            let ready = ready.with_context(|| format!("{}: filter", named()))?;
            self.road.add_configured(add, ready).map_err(|refusal| anyhow!("{}: {refusal}", named()))?;
        }
        self.try_look()?;
        for machine in &self.machines {
            if let State::Waiting { reason: Some(reason), .. } = machine.state() {
                bail!("{}: {reason}", machine.name());
            }
        }
        self.road.check_headers()?;
        self.road.take_over()?;
        self.look_at_network();
        self.phase = Phase::Running;
        Ok(())
    }

    fn install_filters(&mut self) -> Result<()> {
        for interface in &self.settings.interfaces {
            let Some(filter) = &interface.filter else { continue };
            let site = self.road.filter_site(&Where::Port(interface.name().to_owned()));
            let site = site.map_err(|refusal| anyhow!("{}: {refusal}", interface.name()))?;
            let number = self.road.number_filter();
            let ready = configured::of_interface(filter, interface.name(), site, number);
            let ready = ready.with_context(|| format!("{}: filter", interface.name()))?;
            let installed = self.road.install_filter(ready);
            installed.map_err(|refusal| anyhow!("{}: filter: {refusal}", interface.name()))?;
        }
        Ok(())
    }

    /// Looks at what changes without an event: how many receive queues are active.
    pub fn look_at_queues(&mut self) {
        let changed = |road: &mut Road, machine: &Machine| {
            let known = machine.facts().map(|facts| (facts.link.index, facts.queues));
            known.is_some_and(|(index, queues)| road.rx_queues(index).is_ok_and(|now| now != queues))
        };
        if self.machines.iter().any(|machine| changed(&mut self.road, machine)) {
            self.look();
        }
    }

    /// Looks at the kernel's links and addresses, and acts on what changed.
    pub fn look(&mut self) {
        if let Err(error) = self.try_look() {
            tracing::warn!("cannot read links and addresses: {}", Causes(&error));
        }
    }

    fn try_look(&mut self) -> Result<()> {
        let links = self.route.links()?;
        for at in 0..self.machines.len() {
            let facts = self.facts(at, &links);
            self.on(at, Event::Seen(facts));
        }
        self.ways_changed();
        self.take_addresses(&links)
    }

    /// What engines know of the network is old: it is read again soon.
    pub fn ways_changed(&mut self) {
        self.network.state = Fresh::No;
    }

    /// When the network is to be read again, if it is.
    #[must_use]
    pub fn network_due(&self) -> Option<Duration> {
        (self.network.state == Fresh::No).then_some(self.network.next)
    }

    /// Reads the network if it has changed, and tells the engines.
    pub fn look_at_network(&mut self) {
        let now = self.now();
        if self.network.state == Fresh::Yes || now < self.network.next {
            return;
        }
        // Before it is read: what changes meanwhile is read once more.
        self.network = Freshness { state: Fresh::Yes, next: now + NETWORK_PAUSE };
        let read = self.see().and_then(|seen| {
            self.depart(&seen.rules);
            self.road.set_network(network::facts(&seen))
        });
        if let Err(error) = read {
            tracing::warn!("cannot read the network: {}", Causes(&error));
            self.network = Freshness { state: Fresh::No, next: now + Duration::from_secs(1) };
        }
    }

    /// Notes what stacks do not follow of the kernel's routing, and says what is new of it.
    fn depart(&mut self, rules: &[Rule]) {
        let links = self.machines.iter().filter_map(Machine::facts).map(|facts| &facts.link);
        let now = ways::departures(rules, links);
        for departure in now.iter().filter(|departure| !self.departures.contains(departure)) {
            tracing::warn!(id = departure.id(), "{departure}");
        }
        self.departures = now;
    }

    fn see(&mut self) -> Result<Seen> {
        let served = |(number, machine): (usize, &Machine)| {
            let Some(link) = machine.facts().map(|facts| &facts.link) else { return Served::default() };
            let config = self.road.port_config(number, link.mac);
            Served { index: Some(link.index), name: link.name.clone(), config, mtu: link.mtu }
        };
        Ok(Seen {
            served: self.machines.iter().enumerate().map(served).collect(),
            addresses: self.route.addresses()?,
            rules: self.route.rules()?,
            entries: self.route.entries()?,
            neighbours: self.route.neighbours()?,
        })
    }

    /// Has the kernel resolve a next hop that packets wait for, unless it was asked a moment ago.
    pub fn resolve(&mut self, hop: NextHop) {
        let now = self.now();
        let machine = self.machines.get(usize::from(hop.link.0));
        let Some(index) = machine.and_then(Machine::facts).map(|facts| facts.link.index) else { return };
        if self.road.view().ask(hop, now)
            && let Err(error) = self.route.resolve(index, hop.addr)
        {
            tracing::debug!(%error, addr = %hop.addr, "the kernel does not resolve it");
        }
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
                    Err(error) => Event::Failed(Causes(&error).to_string()),
                });
            }
            Action::Close => self.road.close(at),
            Action::Forget => self.road.detach(at, before.unwrap_or(0)),
            Action::Configure(facts) => {
                if let Err(error) = self.road.configure(at, &facts) {
                    tracing::warn!(
                        "cannot tell XDP of the new address of {}: {}",
                        facts.link.name,
                        Causes(&error)
                    );
                }
            }
            Action::Say(level, what) => self.say(at, level, &what),
        }
        None
    }

    fn say(&self, at: usize, level: Level, what: &str) {
        let Some(machine) = self.machines.get(at) else { return };
        let name = machine.facts().map_or_else(|| machine.name(), |facts| &facts.link.name);
        if self.phase == Phase::Starting && level == Level::Warn {
            return;
        }
        match level {
            Level::Info => tracing::info!("{name} {what}"),
            Level::Warn => tracing::warn!("{name} {what}"),
        }
    }

    /// Addresses of interfaces that are configured and there, up or down: an address outlives a link that goes down.
    fn take_addresses(&mut self, links: &[Link]) -> Result<()> {
        let all = self.route.addresses()?;
        let of = |machine: &Machine| {
            let index = machine.choose(links)?.index;
            Some(all.iter().filter(|address| address.index == index).map(|address| address.addr).collect())
        };
        let found = self.machines.iter().map(of).collect();
        let Some(standing) = self.addresses.see(found) else { return Ok(()) };
        let told = self.road.set_addresses(standing).context("cannot take over the local addresses");
        if told.is_err() {
            self.addresses.not_told();
        }
        told
    }
}
