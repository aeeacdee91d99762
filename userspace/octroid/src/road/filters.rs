//! Filters on the road: which is attached to what, put in force whole or not at all, and taken along by what goes.
//!
//! A filter that replaces another is in force for every engine before the other is let go; if any step fails, the other
//! stays as it was. A target's filter goes with the target. It compiles nothing: [`crate::filters`] does.
use std::sync::Arc;

use abi::steer::{builtin, kind};
use client::control::{
    refusal::{Code, Refusal},
    ruler::{FilterRow, RuleRow, TargetName, TargetSort, Where},
};
use ixp::{
    filter::{Filters, TargetRef, TooManyFilters},
    port::PortId,
};
use multistack::{
    registry::{Builtin, Registry},
    slots::TupleId,
};
use xsk::bpf::{BpfError, Counters, HeaderSlot};

use super::{Road, interface::Interface, ports::Ports};
use crate::{
    Causes,
    filters::{
        Ready,
        header::{Chain, Headed, Header, Without},
        order::{Site, USUAL_MTU, bounds},
    },
};

/// The filters that are attached.
#[derive(Debug, Default)]
pub struct Attachments {
    all: Vec<Attached>,
    /// The number given last.
    last: u64,
    /// All of them as engines see them.
    tables: Filters,
}

/// One of them.
#[derive(Clone, Debug)]
struct Attached {
    place: Place,
    filter: Ready,
    header: Result<Arc<Header>, Without>,
}

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An interface, by its number.
    Interface(usize),
    /// A target.
    Target(TargetRef),
}

impl Attachments {
    /// As engines see them.
    #[must_use]
    pub fn tables(&self) -> &Filters {
        &self.tables
    }

    /// A number that no filter had.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Follows the ports that interfaces have now.
    ///
    /// # Errors
    /// There are more filters than engines can have; nothing has changed.
    pub fn follow(&mut self, ports: &Ports) -> Result<(), TooManyFilters> {
        let mut tables = Filters::default();
        for Attached { place, filter, .. } in &self.all {
            match place {
                Place::Interface(number) => {
                    let own = ports.iter().filter(|(_, port)| port.interface == *number);
                    own.map(|(id, _)| id)
                        .try_for_each(|id: PortId| tables.add_port(id, &filter.installed))?;
                }
                Place::Target(target) => tables.add_target(*target, &filter.installed)?,
            }
        }
        self.tables = tables;
        Ok(())
    }

    /// Makes the header program of an interface's filter for a chain that is new, and puts it into its slot; without one the
    /// slot is left empty.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn head(
        &mut self,
        number: usize,
        slot: &HeaderSlot,
        counters: &Counters,
    ) -> Result<(), BpfError> {
        let Some(at) = self.find(Place::Interface(number)) else { return slot.clear() };
        let Attached { filter, header, .. } = &mut self.all[at];
        *header = Header::load(filter, slot, counters).map(Arc::new);
        match header {
            Ok(header) => header.put(slot),
            Err(Without { why, .. }) => {
                tracing::warn!(filter = filter.report.filter, "no header program: {why}");
                slot.clear()
            }
        }
    }

    /// The filter of a target that has come into being with it: engines have `tables` already.
    pub(super) fn came_with(&mut self, target: TargetRef, filter: Ready, tables: Filters) {
        let attached = Attached { place: Place::Target(target), filter, header: Err(behind_the_port()) };
        attached.say_configured();
        self.all.push(attached);
        self.tables = tables;
    }

    fn find(&self, place: Place) -> Option<usize> {
        self.all.iter().position(|attached| attached.place == place)
    }
}

impl Road {
    /// What a filter must know that is to be attached there.
    ///
    /// # Errors
    /// There is no such thing.
    pub fn filter_site(&self, at: &Where) -> Result<Site, Refusal> {
        let engines = self.engines.count();
        Ok(match self.place(at)? {
            Place::Interface(number) => {
                Site { mtu: self.mtu_of(number), tags: self.tags_of(number), engines }
            }
            Place::Target(_) => self.target_site(),
        })
    }

    /// The same for a target, whichever it is.
    #[must_use]
    pub fn target_site(&self) -> Site {
        Site { mtu: self.least_mtu(), tags: 0, engines: self.engines.count() }
    }

    /// The chain that a filter's header program is made for there; `None` where there is none now.
    ///
    /// # Errors
    /// There is no such thing, or the process has no descriptor left.
    pub fn chain(&self, at: &Where) -> Result<Option<Chain>, Refusal> {
        let Place::Interface(number) = self.place(at)? else { return Ok(None) };
        let chain = || -> Result<_, BpfError> {
            let slot = self.interfaces.get(number).map(Interface::header_slot).transpose()?.flatten();
            let Some((slot, chain)) = slot else { return Ok(None) };
            Ok(Some(Chain::new(chain, slot, self.bpf.counters()?)))
        };
        chain().map_err(|error| Code::Eio.because(error))
    }

    /// A number for the next filter.
    pub fn number_filter(&mut self) -> u64 {
        self.filters.number()
    }

    /// Puts a filter in force, in place of the one that is there, which is returned as it was last. `headed` is its header
    /// program; one for a chain that is not there any more is made anew.
    ///
    /// # Errors
    /// It cannot be had there; everything is as before.
    pub fn attach_filter(
        &mut self,
        filter: Ready,
        headed: Option<Headed>,
    ) -> Result<(FilterRow, Option<FilterRow>), Refusal> {
        let place = self.place(&filter.at)?;
        let filter = self.fitted(place, filter);
        let header = match (place, self.chain(&filter.at)?) {
            (Place::Target(_), _) => Err(behind_the_port()),
            (Place::Interface(_), None) => Err(not_served()),
            (Place::Interface(_), Some(chain)) => match headed {
                Some(headed) if headed.chain == chain.number() => headed.header,
                _ => chain.head(&filter).header,
            },
        };
        if let (true, Err(without)) = (filter.needs_header(), &header) {
            return Err(Code::Eio.because(headless(without)));
        }
        self.enter(Attached { place, filter, header })
    }

    /// Puts an interface's filter of the configuration in force before the interface is served. Its header program is
    /// loaded when it is, and [`Road::check_headers`] says whether it was.
    ///
    /// # Errors
    /// It cannot be had there.
    pub fn install_filter(&mut self, filter: Ready) -> Result<(), Refusal> {
        let place = self.place(&filter.at)?;
        let filter = self.fitted(place, filter);
        let attached = Attached { place, filter, header: Err(not_served()) };
        self.enter(attached.clone())?;
        attached.say_configured();
        Ok(())
    }

    /// Whether each filter that takes a header program has one, on interfaces that are served.
    ///
    /// # Errors
    /// One has none, and why.
    pub fn check_headers(&self) -> anyhow::Result<()> {
        for Attached { place, filter, header } in &self.filters.all {
            let Place::Interface(number) = place else { continue };
            let is_served = self.interfaces.get(*number).is_some_and(|one| !one.open().is_empty());
            if let (true, true, Err(without)) = (filter.needs_header(), is_served, header) {
                return Err(anyhow::anyhow!("{}: the filter: {}", filter.at, headless(without)));
            }
        }
        Ok(())
    }

    fn enter(&mut self, attached: Attached) -> Result<(FilterRow, Option<FilterRow>), Refusal> {
        let place = attached.place;
        let before = self.filters.all.clone();
        let replaced = match self.filters.find(place) {
            Some(at) => Some(std::mem::replace(&mut self.filters.all[at], attached.clone())),
            None => {
                self.filters.all.push(attached.clone());
                None
            }
        };
        self.put_in_force(before.clone())?;
        // Every engine goes by the new filter now, and ignores classes of the old one.
        if let Err(error) = self.set_slot(place) {
            self.filters.all = before.clone();
            self.put_in_force(before)?;
            return Err(Code::Eio.because(Causes(&error)));
        }
        Ok((attached.row(), replaced.as_ref().map(Attached::row)))
    }

    /// Takes a filter away, and returns it as it was last.
    ///
    /// # Errors
    /// There is none, or it cannot be taken away; everything is as before.
    pub fn detach_filter(&mut self, at: &Where) -> Result<FilterRow, Refusal> {
        let place = self.place(at)?;
        let none = || Code::Enoent.because(format_args!("no filter is attached to {at}"));
        let at = self.filters.find(place).ok_or_else(none)?;
        let before = self.filters.all.clone();
        let gone = self.filters.all.remove(at);
        // First nothing is rejected any more before it is steered, then nothing after.
        self.set_slot(place).map_err(|error| Code::Eio.because(Causes(&error)))?;
        if let Err(refusal) = self.put_in_force(before) {
            self.renew_slot(place);
            return Err(refusal);
        }
        Ok(gone.row())
    }

    /// Every filter.
    #[must_use]
    pub fn filter_rows(&self) -> Vec<FilterRow> {
        self.filters.all.iter().map(Attached::row).collect()
    }

    /// Lets go of the filters of targets that are gone.
    pub fn release_filters(&mut self) {
        let gone = |attached: &Attached| match attached.place {
            Place::Interface(_) => false,
            Place::Target(target) => !is_there(&self.registry, target),
        };
        if !self.filters.all.iter().any(gone) {
            return;
        }
        let before = self.filters.all.clone();
        let (released, stay) = before.iter().cloned().partition(gone);
        self.filters.all = stay;
        let released: Vec<Attached> = released;
        // It judges nothing any more, for its target's generation is over: what fails now is tried at the next event.
        if let Err(refusal) = self.put_in_force(before) {
            tracing::warn!(%refusal, "filters of released targets stay");
            return;
        }
        for Attached { filter, .. } in released {
            tracing::info!(filter = filter.report.filter, at = %filter.at, "went with its target");
        }
    }

    /// Fits the filters of an interface, and those of targets, to what the device is like now.
    pub(super) fn refit_filters(&mut self) -> Result<(), TooManyFilters> {
        let all = std::mem::take(&mut self.filters.all);
        let refitted = all.into_iter().map(|Attached { place, filter, header }| {
            let filter = self.fitted(place, filter);
            Attached { place, filter, header }
        });
        self.filters.all = refitted.collect();
        self.filters.follow(&self.ports)
    }

    /// A filter whose outputs are as long as they may be there. It stays the same filter: its header program is the right
    /// one still, for that never asks how long an output is.
    fn fitted(&self, place: Place, filter: Ready) -> Ready {
        match place {
            Place::Interface(number) => self.fitted_to(self.mtu_of(number), filter),
            Place::Target(_) => self.fitted_to_targets(filter),
        }
    }

    /// The same on any target.
    pub(super) fn fitted_to_targets(&self, filter: Ready) -> Ready {
        self.fitted_to(self.least_mtu(), filter)
    }

    fn fitted_to(&self, mtu: u32, filter: Ready) -> Ready {
        if filter.installed.bound().bounds() == bounds(mtu) {
            return filter;
        }
        let installed = filter.installed.within(bounds(mtu), self.engines.count());
        Ready { installed, ..filter }
    }

    /// Puts the header program of an interface's filter before `steer`, or takes away what is there.
    fn set_slot(&self, place: Place) -> anyhow::Result<()> {
        let Place::Interface(number) = place else { return Ok(()) };
        let Some(slot) = self.interfaces.get(number).and_then(|one| one.header_slot().transpose()) else {
            return Ok(());
        };
        let header = self.filters.find(place).and_then(|at| self.filters.all[at].header.as_ref().ok());
        match header {
            Some(header) => header.put(&slot?.0)?,
            None => slot?.0.clear()?,
        }
        Ok(())
    }

    fn renew_slot(&self, place: Place) {
        if let Err(error) = self.set_slot(place) {
            tracing::warn!("the header program is not as it should be: {}", Causes(&error));
        }
    }

    /// Tells the engines, and waits until each knows. If that fails, `before` is in force again.
    fn put_in_force(&mut self, before: Vec<Attached>) -> Result<(), Refusal> {
        let told =
            self.filters.follow(&self.ports).map_err(anyhow::Error::from).and_then(|()| self.publish());
        let Err(error) = told else { return Ok(()) };
        self.filters.all = before;
        let back = self.filters.follow(&self.ports).map_err(anyhow::Error::from);
        if let Err(error) = back.and_then(|()| self.publish()) {
            tracing::warn!("an engine was not told that filters stay: {}", Causes(&error));
        }
        Err(match error.downcast_ref::<TooManyFilters>() {
            Some(TooManyFilters) => too_many_filters(),
            None => Code::Eio.because(Causes(&error)),
        })
    }

    fn place(&self, at: &Where) -> Result<Place, Refusal> {
        match at {
            Where::Port(name) => {
                let number = self.interfaces.iter().position(|one| one.settings.name() == name);
                let unknown = || Code::Enoent.because(format_args!("no interface {name} is configured"));
                Ok(Place::Interface(number.ok_or_else(unknown)?))
            }
            Where::Target(target) => {
                let unknown = || Code::Enoent.because(format_args!("there is no target {target}"));
                Ok(Place::Target(target_of(&self.registry, *target).ok_or_else(unknown)?))
            }
        }
    }

    fn mtu_of(&self, number: usize) -> u32 {
        self.interfaces.get(number).and_then(|one| one.mtu()).unwrap_or(USUAL_MTU)
    }

    /// A target's packets may come by any interface.
    fn least_mtu(&self) -> u32 {
        self.interfaces.iter().filter_map(|one| one.mtu()).min().unwrap_or(USUAL_MTU)
    }

    fn tags_of(&self, number: usize) -> usize {
        self.interfaces.get(number).map_or(0, |one| one.settings.vlan.len())
    }
}

pub(super) fn too_many_filters() -> Refusal {
    let most = ixp::filter::MAX_FILTERS as u64;
    Refusal::limit("attached filters", most + 1, most)
}

fn not_served() -> Without {
    Without::of("the interface is not served now")
}

fn behind_the_port() -> Without {
    Without::of("a target's filter runs after that of the port")
}

fn headless(Without { why, .. }: &Without) -> String {
    format!("scope `interface` and pass codes take a header program, and there is none: {why}")
}

impl Ready {
    /// Whether it cannot be attached as asked without a header program.
    fn needs_header(&self) -> bool {
        self.scope == client::control::ruler::Scope::Interface || !self.pass.is_empty()
    }
}

impl Attached {
    fn say_configured(&self) {
        let Ready { report, at, installed, .. } = &self.filter;
        tracing::info!(filter = report.filter, generation = installed.generation(), %at, "attached, as configured");
    }

    fn row(&self) -> FilterRow {
        let Ready { at, scope, pass, file, report, rules, degraded, installed } = &self.filter;
        let counts = installed.counts();
        let (rules, header) = ((0..=u16::MAX).zip(rules).zip(&counts.rules), &self.header);
        FilterRow {
            at: at.clone(),
            filter: report.filter.clone(),
            file: file.clone(),
            scope: *scope,
            pass: pass.clone(),
            generation: installed.generation(),
            engines: report.engines.iter().map(|engine| engine.rung.to_owned()).collect(),
            degraded: degraded.clone(),
            header: match header {
                Ok(header) => header.row(),
                Err(without) => without.row(),
            },
            rules: rules
                .map(|((number, rule), count)| RuleRow {
                    matched: count.matched,
                    refused: count.refused,
                    header: header.as_ref().map_or(0, |header| header.decided(number)),
                    ..rule.clone()
                })
                .collect(),
            unmatched: counts.unmatched,
        }
    }
}

/// The target that a request names, as packets name it.
fn target_of(registry: &Registry, TargetName { kind: sort, id, tuple }: TargetName) -> Option<TargetRef> {
    match sort {
        TargetSort::Builtin => {
            let (_, registration, _) = registry.list().find(|(known, ..)| known.raw() == id)?;
            Some(builtin_ref(registration.builtin, TupleId::from_raw(id)))
        }
        TargetSort::Stack => {
            let session = registry.sessions().find(|session| session.id.slot == id)?;
            if tuple.is_some_and(|number| !session.tuples.contains_key(&number)) {
                return None;
            }
            Some(TargetRef { kind: kind::STACK, id, generation: session.id.generation, tuple })
        }
    }
}

/// A builtin target as packets name it: what it does is its id there, and its number its generation.
pub(super) fn builtin_ref(builtin: Builtin, number: TupleId) -> TargetRef {
    let id = match builtin {
        Builtin::Sink => builtin::SINK,
        Builtin::Echo => builtin::ECHO,
    };
    TargetRef { kind: kind::BUILTIN, id, generation: number.raw(), tuple: None }
}

fn is_there(registry: &Registry, target: TargetRef) -> bool {
    if target.kind == kind::BUILTIN {
        return registry.list().any(|(id, ..)| id == TupleId::from_raw(target.generation));
    }
    let name = TargetName { kind: TargetSort::Stack, id: target.id, tuple: target.tuple };
    target_of(registry, name) == Some(target)
}
