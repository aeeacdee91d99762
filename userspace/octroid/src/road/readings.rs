//! Every number the dataplane has, read once, so that all who show them show the same.
//!
//! Under traffic the numbers are of slightly different moments; at rest they agree. Reading wakes the engines once to
//! ask where their ports stand, and touches no packet.
use std::collections::BTreeMap;

use client::control::{
    answer::TargetRow,
    request::{LocalAddr, Proto},
    ruler::FilterRow,
};
use ixp::{
    counter::Counter,
    engines::EngineId,
    panel::Pulse,
    port::{Census, PortId, RxLosses},
    spec::Layout,
};
use multistack::{books::Book, registry::SessionId};
use xsk::bpf::Counts;

use super::{Road, ports};

/// One reading.
#[derive(Clone, Debug)]
pub struct Readings {
    /// What XDP counted, over all interfaces and all daemons since the programs were attached.
    pub xdp: Counts,
    /// How much of `xdp.redirect` an earlier daemon was handed.
    pub earlier: u64,
    /// Each port.
    pub ports: Vec<PortReading>,
    /// Each engine.
    pub engines: Vec<EngineReading>,
    /// Each registered target, and what it was handed: packets, bytes.
    pub targets: Vec<(TargetRow, u64, u64)>,
    /// Each application's session.
    pub stacks: Vec<StackReading>,
    /// Each attached filter.
    pub filters: Vec<FilterRow>,
    /// All sessions that are over, together.
    pub ended: Book,
    /// Lines of the log that nobody read in time.
    pub log_lost: u64,
}

/// One application's session.
#[derive(Clone, Debug)]
pub struct StackReading {
    /// Which.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
    /// The process that opened it, unless it is waited for.
    pub pid: Option<u32>,
    /// What became of its packets.
    pub book: Book,
    /// Its tuples.
    pub tuples: Vec<TupleReading>,
}

/// One tuple of a session.
#[derive(Clone, Debug)]
pub struct TupleReading {
    /// Its number within the session.
    pub number: u16,
    /// Its protocol.
    pub proto: Proto,
    /// Its address.
    pub addr: LocalAddr,
    /// Its port.
    pub port: u16,
    /// What became of its packets.
    pub book: Book,
}

/// One port.
#[derive(Clone, Debug)]
pub struct PortReading {
    /// Its number.
    pub port: PortId,
    /// Its interface, by the configured name.
    pub interface: String,
    /// Its queue.
    pub queue: u32,
    /// The engine that receives from it, while it is open.
    pub engine: Option<EngineId>,
    /// What became of its packets, over all engines, in the order of [`Counter::ALL`].
    pub counters: [u64; Counter::ALL.len()],
    /// What was lost before the engines, closed sockets included.
    pub losses: RxLosses,
    /// Where its frames are, while it is open.
    pub census: Census,
}

/// One engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineReading {
    /// Its number.
    pub engine: EngineId,
    /// What it does.
    pub role: &'static str,
    /// Its core.
    pub core: usize,
    /// Its numbers.
    pub pulse: Pulse,
}

impl Road {
    /// Reads everything.
    ///
    /// An engine that does not answer is not waited for long: its ports show what was known of them last.
    ///
    /// # Errors
    /// The kernel refuses to show the counters.
    pub fn read(&mut self) -> anyhow::Result<Readings> {
        // Pulses first: being asked for a report wakes an engine.
        let engines = self.engine_readings();
        for report in self.engines.reports().unwrap_or_default() {
            self.ports.reported(report);
        }
        // Engines before XDP: a packet between the two readings is seen entering and not yet leaving.
        let rows = self.engines.rows();
        let mut handed: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        for (_, row) in self.engines.targets() {
            let sums = handed.entry(row.tuple.raw()).or_default();
            *sums = (sums.0 + row.packets, sums.1 + row.bytes);
        }
        let target = |row: TargetRow| {
            let (packets, bytes) = handed.get(&row.tuple).copied().unwrap_or_default();
            (row, packets, bytes)
        };
        let port = |(id, port): (PortId, &ports::Port)| self.port_reading(id, port, &rows);
        Ok(Readings {
            ports: self.ports.iter().filter_map(port).collect(),
            engines,
            targets: self.targets().into_iter().map(target).collect(),
            stacks: self.stack_readings(),
            filters: self.filter_rows(),
            ended: self.stacks.ended,
            log_lost: crate::log::lost(),
            earlier: self.earlier,
            xdp: self.counters.read()?,
        })
    }

    fn port_reading(
        &self,
        id: PortId,
        port: &ports::Port,
        rows: &[ixp::engines::Row],
    ) -> Option<PortReading> {
        let mut counters = [0; Counter::ALL.len()];
        for row in rows.iter().filter(|row| row.port == id) {
            counters.iter_mut().zip(row.values).for_each(|(sum, value)| *sum += value);
        }
        Some(PortReading {
            port: id,
            interface: self.interfaces.get(port.interface)?.settings.name().to_owned(),
            queue: port.queue,
            engine: self.engines.attached().iter().find(|a| a.port == id).map(|a| a.engine),
            counters,
            losses: ports::sum(port.before, port.now.losses),
            census: port.now.census,
        })
    }

    fn engine_readings(&self) -> Vec<EngineReading> {
        let last = self.spec.cores.len().saturating_sub(1);
        let role = |at: usize| match self.spec.layout {
            Layout::RunToCompletion => "all",
            Layout::Pipeline if at == 0 => "rx",
            Layout::Pipeline if at == last => "tx",
            Layout::Pipeline => "me",
        };
        let pulses = self.engines.pulses().into_iter().zip(&self.spec.cores);
        pulses
            .map(|((engine, pulse), &core)| EngineReading { engine, role: role(engine.index()), core, pulse })
            .collect()
    }
}
