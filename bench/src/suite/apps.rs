//! Applications in memory: their sessions, their rings and an engine that serves them, without a kernel and a process.
//!
//! They do what costs an engine something, and no more: say that they have read, which is one store a burst, and offer
//! again what lies in their Tx rings. Each owns one UDP port. It refuses to measure: rows do that.
use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use abi::{
    port::PortConfig,
    shm::{
        counter::ChannelCounter,
        desc::{Form, TxDesc},
        layout::{DownChannel, Shape, SlotSize, Slots, UpChannel},
        memory::Writable as _,
        ring::{Consumer, Producer},
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
    books,
    channel::{Channel, counter_of},
    drr::Weight,
    egress::Sender,
    mirror::Mirror,
    neighbour::{Facts, Link, LinkNo, Local, Neighbour, Network, Route, Upkeep, Via},
    policy::{Credentials, Kernel},
    prefix::Prefix,
    registry::{self, IcmpErrors, Lease, Name, OnCrash, Open, Registry, Reserve, Want},
    steer::{Outcome, steer},
    tuple::{Address, Proto},
};
use wire::ethernet::{HEADER_LEN, Mac};

use super::stage::{first_frame, plan_of};
use crate::traffic::size::FrameSize;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CALLER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 2];
const CALLER_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 1];
const FIRST_PORT: u16 = 5000;
/// Where the source port of an IPv4 packet without options lies.
const SOURCE_PORT: usize = 20;
/// A port of the caller.
const THERE: u16 = 4000;
const PORT: PortId = PortId::new(0);
/// The source's packet memory.
const GEOMETRY: Geometry = Geometry { chunk: 2048, frames: 512 };
/// Rounds in which nothing moves before a run counts as stuck.
const PATIENCE: u32 = 1000;

/// How many applications, with what rings, and how long their packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) apps: u16,
    /// Rx and Tx slots of each.
    pub(super) slots: u32,
    /// Bytes of a frame, FCS included.
    pub(super) frame: u16,
    /// Packets that the port receives again and again, for the applications in turn; at least one for each.
    pub(super) packets: u16,
}

/// What an application sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Packets of its own.
    Truth,
    /// Packets from a port that is somebody else's or nobody's.
    Lies,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the port into the rings.
    Rx,
    /// From the rings to the port.
    Tx,
}

/// An application's end of its channel.
struct End {
    down: Region,
    up: Region,
    down_at: DownChannel,
    up_at: UpChannel,
    rx: Consumer,
    tx: Producer,
    half: u32,
}

/// An engine and its applications.
pub(super) struct Apps {
    engine: RunToCompletion<SourcePort>,
    ends: Vec<End>,
    _published: Published,
    rounds: u64,
    /// Rounds between two looks of the applications: each time, half of their rings is theirs.
    every: u64,
}

impl Load {
    /// An application alone with the rings that it gets if it does not ask for others.
    pub(super) fn one(frame: u16) -> Self {
        Self { apps: 1, slots: Slots::default().get(), frame, packets: 1 }
    }

    fn shape(self) -> Result<Shape> {
        let slots = Slots::new(self.slots)?;
        Ok(Shape::new(1, slots, slots, SlotSize::new(2048)?)?)
    }
}

impl Apps {
    /// Applications that receive.
    pub(super) fn receiving(load: Load) -> Result<Self> {
        Self::start(load, Way::Rx, &[])
    }

    /// Applications that send; the first of them as `says` has it, the others the truth.
    pub(super) fn sending(load: Load, says: &[Says]) -> Result<Self> {
        Self::start(load, Way::Tx, says)
    }

    fn start(load: Load, way: Way, says: &[Says]) -> Result<Self> {
        let mut registry = Registry::new(registry::Limits::default());
        let kept = |_: &_| Ok::<(), Infallible>(());
        registry.set_addresses(&[HOST.into()])?.carry_out(kept)?;
        let published = Published::new(Tables::default())?;
        let mut engine = RunToCompletion::new(stack_program()?, &published, Limits::default());
        let mut ends = Vec::new();
        for nth in 0..load.apps {
            let port = FIRST_PORT + nth;
            let (end, channel) = application(&mut registry, &load.shape()?, port)?;
            engine.open_channel(channel)?;
            if way == Way::Tx {
                end.write(load, port, says.get(usize::from(nth)).copied().unwrap_or(Says::Truth))?;
            }
            ends.push(end);
        }
        let config = PortConfig { mac: HOST_MAC, ..PortConfig::default() };
        let mirror = Arc::clone(registry.mirror());
        let templates = match way {
            Way::Rx => {
                let of = |nth: u16| {
                    template(frame(load.frame, way, FIRST_PORT + nth % load.apps)?, &config, &mirror)
                };
                (0..load.packets.max(load.apps)).map(of).collect::<Result<_>>()?
            }
            Way::Tx => Vec::new(),
        };
        let mut tables = Tables { mirror, network: Arc::new(network(config)?), ..Tables::default() };
        tables.ports.set(PORT, config);
        published.publish(tables)?;
        let options = Options { id: PORT, geometry: GEOMETRY, packets: u64::MAX };
        engine.attach(SourcePort::new(options, templates)?);
        let batch = Limits::default().batch as u64;
        let every = (u64::from(load.slots) * u64::from(load.apps) / 2 / batch).max(1);
        Ok(Self { engine, ends, _published: published, rounds: 0, every })
    }

    /// Nanoseconds a packet, over `packets` of them and in this direction. None may be lost.
    pub(super) fn time(&mut self, way: Way, packets: u64) -> Result<f64> {
        let done = match way {
            Way::Rx => Counter::Delivered,
            Way::Tx => Counter::Transmitted,
        };
        // The first packets pay for pages that nobody has touched.
        self.run(way, packets / 8)?;
        let before = self.counted(done);
        let (moved, took) = self.run(way, packets)?;
        let arrived = self.counted(done) - before;
        ensure!(arrived == moved, "{arrived} of {moved} packets arrived");
        Ok(took / moved as f64)
    }

    /// Lets packets go, and returns how many did and how many nanoseconds that took. The clock stands while receivers read:
    /// they have cores of their own. Senders offer in every round, which is one look at an index, and are timed.
    pub(super) fn run(&mut self, way: Way, packets: u64) -> Result<(u64, f64)> {
        let (mut start, mut moved, mut idle) = (Instant::now(), 0, 0);
        let mut took = Duration::ZERO;
        while moved < packets {
            self.rounds += 1;
            let turn = self.engine.turn(Nanos::new(self.rounds));
            idle = if turn.moved == 0 { idle + 1 } else { 0 };
            ensure!(idle < PATIENCE, "the engine stopped after {moved} packets");
            moved += turn.moved as u64;
            match way {
                Way::Rx if self.rounds.is_multiple_of(self.every) => {
                    took += start.elapsed();
                    self.ends.iter_mut().try_for_each(End::read)?;
                    start = Instant::now();
                }
                Way::Rx => {}
                Way::Tx => self.ends.iter_mut().try_for_each(End::offer)?,
            }
        }
        Ok((moved, (took + start.elapsed()).as_nanos() as f64))
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.engine.ledger().port(PORT).map_or(0, |row| row.get(counter))
    }

    /// A counter of one application, as it sees it itself once the engine has had nothing to do.
    pub(super) fn counter(&mut self, app: usize, which: ChannelCounter) -> Result<u64> {
        while self.engine.turn(Nanos::new(self.rounds)).moved != 0 {}
        let end = self.ends.get(app).context("no such application")?;
        Ok(counter_of(&end.down, &end.down_at, which))
    }
}

impl End {
    /// Fills every Tx slot; the ring is shown them later.
    fn write(&self, load: Load, port: u16, says: Says) -> Result<()> {
        let mut packet = frame(load.frame, Way::Tx, THERE)?.split_off(HEADER_LEN);
        let from = match says {
            Says::Truth => port,
            Says::Lies => port ^ 0x4000,
        };
        // Its checksum is wrong then, and nobody's business but the receiver's.
        let claimed = packet.get_mut(SOURCE_PORT..SOURCE_PORT + 2).context("a packet without ports")?;
        claimed.copy_from_slice(&from.to_be_bytes());
        let [first, second] = TxDesc::new(packet.len() as u32, Form::L3).words();
        for slot in 0..load.slots {
            self.up.copy_in(self.up_at.buffer(slot), &packet);
            self.up.store_pair(self.up_at.descriptor(slot), [first, second]);
        }
        Ok(())
    }

    /// Says that everything there is was read.
    fn read(&mut self) -> Result<()> {
        let waiting = self.rx.look(&self.down, self.down_at.rx_prod())?;
        self.rx.take(waiting);
        let _ = self.rx.publish(&self.up, self.up_at.rx_cons());
        Ok(())
    }

    /// Offers the whole ring again, once half of it was taken.
    fn offer(&mut self) -> Result<()> {
        let room = self.tx.look(&self.down, self.down_at.tx_cons())?;
        if self.half <= room {
            while self.tx.take().is_some() {}
            let _ = self.tx.publish(&self.up, self.up_at.tx_prod());
        }
        Ok(())
    }
}

/// A frame to a port at the other end.
fn frame(len: u16, way: Way, port: u16) -> Result<Vec<u8>> {
    let (caller, host) = ((CALLER_MAC, CALLER.into()), (HOST_MAC, HOST.into()));
    let size = FrameSize::new(len)?;
    let plan = match way {
        Way::Rx => plan_of(caller, host, port, size)?,
        Way::Tx => plan_of(host, caller, port, size)?,
    };
    Ok(first_frame(&plan))
}

fn template(bytes: Vec<u8>, config: &PortConfig, mirror: &Mirror) -> Result<Template> {
    match steer(&bytes, config, mirror) {
        Outcome::Redirect { meta, .. } => Ok(Template { bytes, meta: Some(meta) }),
        Outcome::Pass(reason) => bail!("the packet is not steered: {reason:?}"),
    }
}

/// One interface, whose network the caller is on.
fn network(config: PortConfig) -> Result<Network> {
    let (link, dst) = (LinkNo(0), Prefix::new(HOST.into(), 24)?);
    let caller = Neighbour { link, addr: CALLER.into(), mac: Mac(CALLER_MAC), upkeep: Upkeep::Kept };
    let facts = Facts {
        links: vec![Link { config, mtu: 1500 }],
        locals: vec![(HOST.into(), Local::On(link))],
        routes: vec![Route::new(link, dst, Via::OnLink)],
        neighbours: vec![caller],
        ..Facts::default()
    };
    Ok(Network::new(&facts, 1)?)
}

/// An application that owns one UDP port.
fn application(registry: &mut Registry, shape: &Shape, port: u16) -> Result<(End, StackChannel)> {
    let kept = |_: &_| Ok::<(), Infallible>(());
    let caller = Credentials { uid: 0, gids: vec![], pid: 1 };
    let (name, lease) = (Name::new("bench")?, Lease::new(u128::from(port)));
    let open = Open { caller, name, shape: *shape, form: Form::L3, lease };
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
    let shape = &shape.coloured(session.slot);
    let (down, _) = Region::create(Direction::Down, shape.down_size())?;
    let (up, _) = Region::create(Direction::Up, shape.up_size())?;
    let (pages, _) = Region::create(Direction::Up, books::size(1))?;
    let channel = Channel::new(down.clone(), up.clone(), shape, 0)?.with_books(pages)?;
    // Nobody sleeps, so nobody rings: the other end may close.
    let (bell, _) = Doorbell::pair()?;
    let sender = Sender { session, form: Form::L3, mtu: 1500 };
    let (down_at, up_at) = (shape.down(0).context("channel 0")?, shape.up(0).context("channel 0")?);
    let (rx, tx) = (Consumer::new(shape.rx_slots(), 0), Producer::new(shape.tx_slots(), 0));
    let half = shape.tx_slots().get() / 2;
    let opened = StackChannel { session, channel, bell, sender, weight: Weight::ONE };
    Ok((End { down, up, down_at, up_at, rx, tx, half }, opened))
}
