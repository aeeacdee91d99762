//! What the control operations answer.
//!
//! Whoever may connect may look; to change anything takes root, and that is checked before anything is done.
use std::{collections::BTreeMap, path::Path};

use client::control::{
    answer::{DoctorRow, StatRow, TargetAdded},
    refusal::{Code, Refusal},
    request::{Op, Page},
    status::{
        Books, Census, EngineRow, FilterStatus, Head, InterfaceRow, QueueRow, RuleStatus, SessionRow, Status,
        StatusPage, TargetStatus,
    },
};
use ixp::{panel::Activity, spec};
use nix::unistd::geteuid;
use serde::Serialize;
use serde_json::Value;

use super::{Daemon, Next, capture, filters, instance::Instance, sessions};
use crate::{
    Causes,
    control::{
        listener::{Asked, Id},
        pages,
    },
    doctor, metrics,
    road::readings::{EngineReading, PortReading, Readings, StackReading},
    supervise::{Machine, State},
};

impl Daemon {
    /// Answers one request.
    pub(super) fn answer(&mut self, asked: Asked) -> Next {
        let (from, uid, id) = (asked.from, asked.who.uid, asked.request.id);
        // Whoever runs the daemon could stop it anyway.
        if asked.request.op.changes() && uid != 0 && uid != geteuid().as_raw() {
            let refusal = Code::Eacces.because("only root may change anything");
            self.control.answer(from, id, Err(refusal));
            return Next::Go;
        }
        let next = if matches!(asked.request.op, Op::Down(_)) { Next::Stop } else { Next::Go };
        if next == Next::Stop {
            tracing::info!("told to go down");
        }
        if sessions::concerns(&asked.request.op) {
            self.answer_stack(asked);
        } else if filters::concerns(&asked.request.op) {
            self.answer_filter(asked);
        } else if capture::concerns(&asked.request.op) {
            let outcome = capture::outcome(&mut self.captures, &self.instance, &asked);
            self.send(from, id, outcome);
        } else {
            let outcome = self.instance.outcome(asked.request.op);
            self.control.answer(from, id, outcome);
        }
        next
    }

    fn answer_stack(&mut self, asked: Asked) {
        let (from, id, now) = (asked.from, asked.request.id, self.instance.now());
        let (outcome, news) = sessions::outcome(&mut self.sessions, &mut self.instance, asked, now);
        self.send(from, id, outcome);
        news.iter().for_each(|event| self.control.tell(from, event));
    }

    pub(super) fn send(&mut self, to: Id, id: u64, outcome: sessions::Outcome) {
        let (outcome, fds) = match outcome {
            Ok((value, fds)) => (Ok(value), fds),
            Err(refusal) => (Err(refusal), Vec::new()),
        };
        self.control.answer_with(to, id, outcome, &fds);
    }
}

impl Instance {
    fn outcome(&mut self, op: Op) -> Result<Value, Refusal> {
        match op {
            Op::TargetAdd(target) => {
                let tuple = self.road.add_target(&target)?.raw();
                tracing::info!(
                    tuple,
                    "target {} {} {}:{}",
                    target.kind,
                    target.proto,
                    target.addr,
                    target.port
                );
                value(&TargetAdded { tuple })
            }
            Op::TargetRemove(remove) => {
                self.road.remove_target(remove.tuple)?;
                tracing::info!(tuple = remove.tuple, "target removed");
                value(&client::control::answer::Done {})
            }
            Op::TargetList(list) => page(self.road.targets(), list.after),
            Op::Status(status) => self.status(status.after),
            Op::Stats(stats) => page(self.stats()?, stats.after),
            Op::Doctor(doctor) => page(self.examine(), doctor.after),
            Op::Down(_) => value(&client::control::answer::Done {}),
            _ => Err(Code::Eproto.because("an operation of stacks, captures or filters")),
        }
    }

    fn read(&mut self) -> Result<Readings, Refusal> {
        self.road.read().map_err(|error| Code::Eio.because(Causes(&error)))
    }

    fn stats(&mut self) -> Result<Vec<StatRow>, Refusal> {
        Ok(metrics::rows(&self.read()?).into_iter().map(|row| row.stat).collect())
    }

    fn examine(&self) -> Vec<DoctorRow> {
        let ours = self.road.programs();
        let pins = self.road.pins().dir().unwrap_or(Path::new(abi::pins::ROOT));
        let mut rows = doctor::examine(&doctor::Case { settings: Some(&self.settings), ours: &ours, pins });
        rows.extend(doctor::targets(self.road.waiting_targets()));
        rows
    }

    fn status(&mut self, after: u32) -> Result<Value, Refusal> {
        let readings = self.read()?;
        let (head, rows) = self.whole_status(&readings).into_rows();
        let head = (after == 0).then_some(head);
        let used = serde_json::to_vec(&head).map_or(0, |bytes| bytes.len());
        let (rows, next) = pages::cut(rows, after, used)?;
        value(&StatusPage { head, rows, next })
    }

    fn whole_status(&self, readings: &Readings) -> Status {
        let stats: Vec<StatRow> = metrics::rows(readings).into_iter().map(|row| row.stat).collect();
        Status {
            head: self.head(Books::of(&stats), readings),
            interfaces: self.machines.iter().zip(&self.settings.interfaces).map(interface_row).collect(),
            queues: readings.ports.iter().filter_map(queue_row).collect(),
            engines: readings.engines.iter().map(|engine| self.engine_row(engine)).collect(),
            targets: readings
                .targets
                .iter()
                .map(|(target, packets, bytes)| TargetStatus {
                    target: target.clone(),
                    counters: BTreeMap::from([
                        ("target.packets".to_owned(), *packets),
                        ("target.bytes".to_owned(), *bytes),
                    ]),
                })
                .collect(),
            sessions: readings.stacks.iter().map(session_row).collect(),
            filters: readings.filters.iter().map(FilterStatus::of).collect(),
            rules: readings.filters.iter().flat_map(RuleStatus::of).collect(),
        }
    }

    fn head(&self, books: Books, readings: &Readings) -> Head {
        Head {
            instance: self.settings.instance.clone(),
            pid: std::process::id(),
            version: self.build.version.to_owned(),
            uptime_ms: u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX),
            layout: match self.settings.engine.layout {
                spec::Layout::RunToCompletion => "run-to-completion".to_owned(),
                spec::Layout::Pipeline => "pipeline".to_owned(),
            },
            idle: match self.settings.engine.idle {
                spec::Idle::Busy => "busy".to_owned(),
                spec::Idle::Adaptive => "adaptive".to_owned(),
                spec::Idle::Sleep => "sleep".to_owned(),
            },
            pins: self.road.pins().dir().map(|path| path.display().to_string()),
            books,
            warnings: self.warnings(readings),
        }
    }

    fn engine_row(&self, reading: &EngineReading) -> EngineRow {
        let pulse = &reading.pulse;
        EngineRow {
            engine: reading.engine.index() as u32,
            role: reading.role.to_owned(),
            core: u32::try_from(reading.core).ok(),
            state: match pulse.activity {
                _ if self.stuck.contains(&reading.engine) => "stalled".to_owned(),
                Activity::Busy | Activity::Idle => "running".to_owned(),
                Activity::Blocked => "asleep".to_owned(),
                Activity::Stopped => "stopped".to_owned(),
            },
            cpu_ns: pulse.cpu.map_or(0, |cpu| u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX)),
            rounds: pulse.rounds,
            batches: pulse.batches,
            held: pulse.held,
        }
    }

    /// What somebody should look at.
    fn warnings(&self, readings: &Readings) -> Vec<String> {
        let mut warnings = Vec::new();
        for machine in &self.machines {
            if !matches!(machine.state(), State::Served(_)) {
                warnings.push(format!("{} is {}", machine.name(), machine.state().word()));
            }
        }
        for engine in readings.engines.iter().filter(|engine| engine.pulse.activity == Activity::Stopped) {
            warnings.push(format!("engine {} has stopped", engine.engine));
        }
        for engine in &self.stuck {
            warnings.push(format!("engine {engine} stands still: hung, or starved of its core"));
        }
        warnings.extend(self.departures.iter().map(ToString::to_string));
        warnings.extend(self.road.waiting_targets().iter().map(ToString::to_string));
        let slow = readings.filters.iter().filter_map(|filter| Some((filter, filter.degraded.as_ref()?)));
        warnings.extend(
            slow.map(|(filter, why)| format!("filter {} on {} runs slowly: {why}", filter.filter, filter.at)),
        );
        for core in self.softirqs.starved() {
            warnings.push(format!(
                "core {core} spins and also serves NET_RX: idle = \"adaptive\" would be faster"
            ));
        }
        warnings
    }
}

fn interface_row((machine, settings): (&Machine, &crate::config::settings::Interface)) -> InterfaceRow {
    let link = machine.facts().map(|facts| &facts.link);
    let reason = match machine.state() {
        State::Waiting { reason, .. } => reason.clone(),
        _ => None,
    };
    InterfaceRow {
        name: machine.name().to_owned(),
        device: link.map(|link| &link.name).filter(|name| *name != machine.name()).cloned(),
        index: link.map(|link| link.index),
        state: machine.state().word().to_owned(),
        reason,
        mode: settings.mode.to_string(),
        copy: settings.queue.mode.to_string(),
        mtu: link.map(|link| link.mtu),
        mac: link.map(|link| link.mac.map(|byte| format!("{byte:02x}")).join(":")),
        vlan: settings.vlan.clone(),
        transit: settings.transit,
    }
}

/// A port that is open; one that is not has rows in `stats` only.
fn queue_row(port: &PortReading) -> Option<QueueRow> {
    let census = port.census;
    Some(QueueRow {
        interface: port.interface.clone(),
        queue: port.queue,
        port: port.port.index() as u16,
        engine: port.engine?.index() as u32,
        counters: metrics::port_rows(port).map(|row| (row.stat.name, row.stat.value)).collect(),
        umem: Census {
            frames: census.frames,
            free: census.free,
            fill: census.fill,
            out: census.out,
            tx: census.tx,
        },
    })
}

fn session_row(stack: &StackReading) -> SessionRow {
    SessionRow {
        slot: stack.session.slot,
        generation: stack.session.generation,
        name: stack.name.clone(),
        uid: stack.uid,
        pid: stack.pid,
        tuples: stack.tuples.len() as u32,
        counters: stack.book.rows().map(|(counter, n)| (counter.name().to_owned(), n)).collect(),
    }
}

pub(super) fn page<T: Serialize>(rows: Vec<T>, after: u32) -> Result<Value, Refusal> {
    let (rows, next) = pages::cut(rows, after, 0)?;
    value(&Page { rows, next })
}

pub(super) fn value(answer: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(|error| Code::Eio.because(error))
}
