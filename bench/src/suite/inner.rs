//! Rows without a kernel: `memory_64`, engines on a port of nothing but memory, and `contexts_*`, lanes against one.
use std::{convert::Infallible, net::Ipv4Addr, panic::resume_unwind, sync::Arc, thread, time::Instant};

use abi::port::PortConfig;
use anyhow::{Context, Result, bail, ensure};
use ixp::{
    clock::Nanos,
    counter::Counter,
    engine::{Limits, RunToCompletion},
    frame::Geometry,
    port::{
        PortId,
        source::{Options, SourcePort, Template},
    },
    stage::builtin_program,
    tables::{Published, Tables},
};
use multistack::{
    registry::{self, Builtin, OnCrash, Registration, Registry},
    steer::{Outcome, steer},
    tuple::{Address, Proto, Tuple},
};

use super::stage::{SINK, first_frame, plan_between};
use crate::{
    contexts::{LANES, World},
    engine::clock::pin,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
};

/// Packets of one run.
const PACKETS: u64 = 4_000_000;
/// Packets a second of one core, from steering's result to the target.
const MEMORY_AIM: f64 = 20e6;
/// How much eight contexts must gain over one.
const EIGHT_OVER_ONE: f64 = 1.5;
/// Packets of one run of the contexts' program.
const CONTEXT_PACKETS: usize = 1 << 20;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CALLER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 2];
const CALLER_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 1];

/// Measures all rows, on a thread of their own: who is pinned cannot give his children another core.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let measured = thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(super::stage::ENGINE_CORE)?;
            memory(runs, rows)?;
            contexts(runs, rows)
        });
        pinned.join()
    });
    measured.unwrap_or_else(|panic| resume_unwind(panic))
}

fn memory(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let mut rates = Vec::new();
    for _ in 0..runs {
        rates.push(sunk()?);
    }
    rows.extend(
        Row::against_aim("memory_64", "packets/s", Better::Higher, &rates, MEMORY_AIM)
            .map(|row| row.with_limit(1.0)),
    );
    Ok(())
}

/// Packets a second from a port that always has some, with metadata as XDP leaves it, into a sink.
fn sunk() -> Result<f64> {
    sunk_by(|engine, now| engine.turn(now).moved)
}

/// The same by an engine whose rounds are made so; each says how many packets it moved.
pub(super) fn sunk_by(mut turn: impl FnMut(&mut RunToCompletion<SourcePort>, Nanos) -> usize) -> Result<f64> {
    let mut registry = Registry::new(registry::Limits::default());
    let kept = |_: &_| Ok::<(), Infallible>(());
    registry.set_addresses(&[HOST.into()])?.carry_out(kept)?;
    let tuple = Tuple::new(Proto::Udp, Address::Any, SINK)?;
    let sink = Registration { tuple, builtin: Builtin::Sink, on_crash: OnCrash::Drop };
    registry.add(sink)?.carry_out(kept)?;
    let mirror = Arc::clone(registry.mirror());
    let config = PortConfig { mac: HOST_MAC, ..PortConfig::default() };
    let bytes = first_frame(&plan_between(CALLER_MAC, HOST_MAC, CALLER.into(), HOST.into(), SINK)?);
    let Outcome::Redirect { meta, .. } = steer(&bytes, &config, &*mirror) else {
        bail!("the packet is not steered")
    };
    let mut tables = Tables { mirror, ..Tables::default() };
    let id = PortId::new(0);
    tables.ports.set(id, config);
    let published = Published::new(tables)?;
    let mut engine = RunToCompletion::new(builtin_program(), &published, Limits::default());
    let geometry = Geometry { chunk: 2048, frames: 512 };
    let source = SourcePort::new(
        Options { id, geometry, packets: PACKETS },
        vec![Template { bytes, meta: Some(meta) }],
    )?;
    engine.attach(source);
    let start = Instant::now();
    let mut moved = 0;
    while moved < PACKETS {
        let more = turn(&mut engine, Nanos::new(start.elapsed().as_nanos() as u64));
        ensure!(more != 0, "the engine stopped after {moved} packets");
        moved += more as u64;
    }
    let took = start.elapsed();
    let delivered = engine.ledger().port(id).map_or(0, |row| row.get(Counter::Delivered));
    ensure!(delivered == PACKETS, "{delivered} of {PACKETS} packets were delivered");
    Ok(PACKETS as f64 / took.as_secs_f64())
}

fn contexts(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let world = std::cell::RefCell::new(World::new(1)?);
    let run = |lanes| world.borrow_mut().run(lanes, CONTEXT_PACKETS);
    // The first pass over so much memory pays for its pages.
    run(1)?;
    for lanes in LANES {
        let pairs = interleaved(runs, Better::Lower, || run(lanes), || run(1))?;
        let row = Row::paired(format!("contexts_{lanes}"), "ns/packet", "one context", &pairs)
            .context("no runs")?;
        if lanes == 8 {
            rows.push(Row { id: "contexts_8_vs_1".into(), ..row.clone() }.with_limit(EIGHT_OVER_ONE));
        }
        rows.push(row);
    }
    Ok(())
}
