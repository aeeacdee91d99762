//! `mux_64`, `mux_64_stacks`: from steering's result into the rings of applications, in memory, one core.
//!
//! The engine copies each packet into its owner's ring; the applications only say that they have read, which costs them
//! one store a burst. All rings together have the same memory, whether they are one application's or 64's.
use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Instant};

use abi::{
    port::PortConfig,
    shm::{
        desc::Form,
        layout::{DownChannel, Shape, SlotSize, Slots, UpChannel},
        ring::Consumer,
    },
};
use anyhow::{Context, Result, bail, ensure};
use ixp::{
    clock::Nanos,
    counter::Counter,
    doorbell::Doorbell,
    engine::{Limits, RunToCompletion},
    frame::Geometry,
    port::{
        PortId,
        source::{Options, SourcePort, Template},
    },
    region::{Direction, Region},
    stacks::StackChannel,
    stage::stack_program,
    tables::{Published, Tables},
};
use multistack::{
    channel::Channel,
    drr::Weight,
    egress::Sender,
    policy::{Credentials, Kernel},
    registry::{self, IcmpErrors, Lease, Name, OnCrash, Open, Registry, Reserve, Want},
    steer::{Outcome, steer},
    tuple::{Address, Proto},
};

use super::stage::{ENGINE_CORE, first_frame, plan_between};
use crate::{
    engine::clock::pin,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
};

/// Packets of one run.
const PACKETS: u64 = 4_000_000;
/// Packets a second into one application.
const AIM: f64 = 20e6;
/// Share of that which 64 applications reach, if they do not stay within [`MORE_NS`].
const SHARE: f64 = 0.9;
/// Nanoseconds that a packet of 64 applications may cost more.
const MORE_NS: f64 = 6.0;
/// Slots of all rings together.
const SLOTS: u32 = 4096;
const MANY: u16 = 64;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CALLER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 2];
const CALLER_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 1];
const FIRST_PORT: u16 = 5000;

/// Measures both rows, on a thread of their own: who is pinned cannot give his children another core.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let measured = std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(ENGINE_CORE)?;
            interleaved(runs, Better::Lower, || nanoseconds(MANY), || nanoseconds(1))
        });
        pinned.join()
    });
    let pairs = measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let one: Vec<f64> = pairs.peer_runs().into_iter().map(|ns| 1e9 / ns).collect();
    rows.extend(
        Row::against_aim("mux_64", "packets/s", Better::Higher, &one, AIM).map(|row| row.with_limit(1.0)),
    );
    let more = pairs.ours().zip(pairs.peer()).map_or(f64::MAX, |(many, one)| many.median - one.median);
    let row = Row::paired("mux_64_stacks", "ns/packet", "one application", &pairs).context("no runs")?;
    // Few nanoseconds more are much of little: a faster single application must not make 64 look worse.
    rows.push(if more <= MORE_NS { row } else { row.with_limit(SHARE) });
    Ok(())
}

/// The application's end, as far as it reads.
struct Reader {
    down: Region,
    up: Region,
    down_at: DownChannel,
    up_at: UpChannel,
    rx: Consumer,
}

impl Reader {
    /// Says that everything there is was read.
    fn read(&mut self) -> Result<()> {
        let waiting = self.rx.look(&self.down, self.down_at.rx_prod())?;
        self.rx.take(waiting);
        let _ = self.rx.publish(&self.up, self.up_at.rx_cons());
        Ok(())
    }
}

/// Nanoseconds a packet, into `apps` applications in turns.
fn nanoseconds(apps: u16) -> Result<f64> {
    let mut registry = Registry::new(registry::Limits::default());
    let kept = |_: &_| Ok::<(), Infallible>(());
    registry.set_addresses(&[HOST.into()])?.carry_out(kept)?;
    let published = Published::new(Tables::default())?;
    let mut engine = RunToCompletion::new(stack_program()?, &published, Limits::default());
    let slots = Slots::new(SLOTS / u32::from(apps))?;
    let shape = Shape::new(1, slots, slots, SlotSize::new(2048)?)?;
    let config = PortConfig { mac: HOST_MAC, ..PortConfig::default() };
    let (mut readers, mut frames) = (Vec::new(), Vec::new());
    for nth in 0..apps {
        let (reader, channel) = application(&mut registry, &shape, FIRST_PORT + nth)?;
        engine.open_channel(channel)?;
        readers.push(reader);
        let plan = plan_between(CALLER_MAC, HOST_MAC, CALLER.into(), HOST.into(), FIRST_PORT + nth)?;
        frames.push(first_frame(&plan));
    }
    let mirror = Arc::clone(registry.mirror());
    let templates = frames.into_iter().map(|bytes| match steer(&bytes, &config, &*mirror) {
        Outcome::Redirect { meta, .. } => Ok(Template { bytes, meta: Some(meta) }),
        Outcome::Pass(reason) => bail!("the packet is not steered: {reason:?}"),
    });
    let templates = templates.collect::<Result<Vec<_>>>()?;
    let id = PortId::new(0);
    let mut tables = Tables { mirror, ..Tables::default() };
    tables.ports.set(id, config);
    published.publish(tables)?;
    let geometry = Geometry { chunk: 2048, frames: 512 };
    engine.attach(SourcePort::new(Options { id, geometry, packets: PACKETS }, templates)?);
    let (start, mut moved) = (Instant::now(), 0);
    while moved < PACKETS {
        let turn = engine.turn(Nanos::new(start.elapsed().as_nanos() as u64));
        ensure!(turn.moved != 0, "the engine stopped after {moved} packets");
        moved += turn.moved as u64;
        for reader in &mut readers {
            reader.read()?;
        }
    }
    let took = start.elapsed();
    let delivered = engine.ledger().port(id).map_or(0, |row| row.get(Counter::Delivered));
    ensure!(delivered == PACKETS, "{delivered} of {PACKETS} packets were delivered");
    Ok(took.as_nanos() as f64 / PACKETS as f64)
}

/// An application that owns one UDP port.
fn application(registry: &mut Registry, shape: &Shape, port: u16) -> Result<(Reader, StackChannel)> {
    let kept = |_: &_| Ok::<(), Infallible>(());
    let caller = Credentials { uid: 0, gids: vec![], pid: 1 };
    let open = Open {
        caller,
        name: Name::new("bench")?,
        shape: *shape,
        form: Form::L3,
        lease: Lease::new(u128::from(port)),
    };
    let session = registry.open(open)?.carry_out(kept)?;
    let want = Want {
        proto: Proto::Udp,
        addr: Address::Any,
        port,
        reserve: Reserve::Daemon,
        on_crash: OnCrash::Drop,
        icmp: IcmpErrors::Kept,
    };
    let kernel =
        Kernel { unprivileged_port_start: 1024, ephemeral: 32_768..=60_999, protocols: vec![Proto::Udp] };
    registry.register(session, &want, &kernel, 0)?.carry_out(kept)?;
    let (down, _) = Region::create(Direction::Down, shape.down_size())?;
    let (up, _) = Region::create(Direction::Up, shape.up_size())?;
    let channel = Channel::new(down.clone(), up.clone(), shape, 0)?;
    // Nobody sleeps, so nobody rings: the other end may close.
    let (bell, _) = Doorbell::pair()?;
    let sender = Sender { session, form: Form::L3, mtu: 1500 };
    let (down_at, up_at) = (shape.down(0).context("channel 0")?, shape.up(0).context("channel 0")?);
    let rx = Consumer::new(shape.rx_slots(), 0);
    let opened = StackChannel { session, channel, bell, sender, weight: Weight::ONE };
    Ok((Reader { down, up, down_at, up_at, rx }, opened))
}
