//! An application that sends to itself: everything that can become of a packet on the way from one ring to the other.
use std::sync::Arc;

use abi::{
    shm::{
        desc::{Form, TxDesc},
        layout::{DownChannel, Shape, SlotSize, Slots, UpChannel},
        memory::Writable as _,
        ring::{Consumer, Producer},
    },
    steer::kind,
};
use ixp::{
    counter::Counter,
    doorbell::Doorbell,
    engine::{Limits, RunToCompletion},
    filter::{Filters, Installed, TargetRef},
    port::{
        PortId,
        source::{Options, SourcePort},
    },
    region::{Direction, Region},
    stacks::StackChannel,
    stage::stack_program,
    tables::{PortConfigs, Published, Tables},
};
use multistack::{
    channel::Channel,
    drr::Weight,
    egress::Sender,
    neighbour::{Facts, Link, LinkNo, Local, Network, Route, Via},
    policy::{Credentials, Kernel},
    prefix::Prefix,
    registry::{IcmpErrors, Lease, Name, OnCrash, Open, Reserve, SessionId, Want},
    tuple::{Address, Proto},
};
use ruler::{
    bundle::Bundle,
    filter::{Limits as FilterLimits, Params, compile},
    rewrite::Bounds,
};

use super::*;

const PORT: PortId = PortId::new(0);
const OWN: u16 = 5000;
/// Packets of one loop: as many as its ring has slots.
const BURST: u32 = 64;
/// One payload for each way that a filter can send a packet.
const SAYS: [&[u8]; 5] = [b"no way", b"cut this", b"short", b"yes indeed", b"what"];
const RULES: &str = "include \"layouts.rli\" filter f Ethernet_IPv4 IPv4_UDP UDP \"no\" * => reject 3; \
    e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"cut\" p:* => e i with [len=len(i, u, p), csum=ipv4_csum()] \
    u with [len=len(u, p), csum=udp_csum(i)] p class 9; \
    e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"short\" p:* => p; \
    Ethernet_IPv4 IPv4_UDP UDP \"yes\" * => accept 5;";

struct App {
    down: Region,
    up: Region,
    down_at: DownChannel,
    up_at: UpChannel,
    rx: Consumer,
    tx: Producer,
}

impl App {
    /// Opens it on the engine, with a UDP port of its own.
    fn open(host: &mut Host, engine: &mut RunToCompletion<SourcePort>) -> (Self, SessionId) {
        let nothing = |_: &_| Ok::<(), std::convert::Infallible>(());
        let slots = Slots::new(BURST).expect("a power of two");
        let shape = Shape::new(1, slots, slots, SlotSize::new(2048).expect("a slot")).expect("small");
        let caller = Credentials { uid: 0, gids: vec![], pid: 1 };
        let (name, form) = (Name::new("test").expect("a name"), Form::L3);
        let open = Open { caller, name, shape, form, lease: Lease::new(7) };
        let session = host.registry.open(open).expect("room").carry_out(nothing).expect("cannot fail");
        let (reserve, on_crash, icmp) = (Reserve::Daemon, OnCrash::Drop, IcmpErrors::Kept);
        let want = Want { proto: Proto::Udp, addr: Address::Any, port: OWN, reserve, on_crash, icmp };
        let kernel =
            Kernel { unprivileged_port_start: 1024, ephemeral: 32_768..=60_999, protocols: vec![Proto::Udp] };
        let change = host.registry.register(session, &want, &kernel, 0).expect("free");
        change.carry_out(nothing).expect("cannot fail");
        let (down, _) = Region::create(Direction::Down, shape.down_size()).expect("memory");
        let (up, _) = Region::create(Direction::Up, shape.up_size()).expect("memory");
        let channel = Channel::new(down.clone(), up.clone(), &shape, 0).expect("the shape fits");
        let (bell, _theirs) = Doorbell::pair().expect("descriptors");
        let sender = Sender { session, form, mtu: 1500 };
        let opened = StackChannel { session, channel, bell, sender, weight: Weight::ONE };
        engine.open_channel(opened).expect("a free seat");
        let (down_at, up_at) = (shape.down(0).expect("channel 0"), shape.up(0).expect("channel 0"));
        let (rx, tx) = (Consumer::new(slots, 0), Producer::new(slots, 0));
        (Self { down, up, down_at, up_at, rx, tx }, session)
    }

    fn submit(&mut self, packet: &[u8]) {
        self.tx.look(&self.down, self.down_at.tx_cons()).expect("an honest daemon");
        let slot = self.tx.take().expect("room");
        self.up.copy_in(self.up_at.buffer(slot), packet);
        let at = self.up_at.descriptor(slot);
        let [first, second] = TxDesc::new(packet.len() as u32, Form::L3).words();
        self.up.store_u64(at, first);
        self.up.store_u64(at + 8, second);
        let _ = self.tx.publish(&self.up, self.up_at.tx_prod());
    }

    /// Takes all that came.
    fn swallow(&mut self) {
        let waiting = self.rx.look(&self.down, self.down_at.rx_prod()).expect("an honest daemon");
        self.rx.take(waiting);
        let _ = self.rx.publish(&self.up, self.up_at.rx_cons());
    }
}

fn tables(host: &Host, filters: Filters) -> Tables {
    let facts = Facts {
        links: vec![Link { config: config(&[]), mtu: 1500 }],
        locals: vec![(fixture::HOST.into(), Local::On(LinkNo(0)))],
        routes: vec![Route::new(
            LinkNo(0),
            Prefix::new(fixture::HOST.into(), 24).expect("a prefix"),
            Via::OnLink,
        )],
        ..Facts::default()
    };
    let mut ports = PortConfigs::default();
    ports.set(PORT, config(&[]));
    let network = Arc::new(Network::new(&facts, 1).expect("few"));
    Tables { mirror: host.mirror(), ports, network, filters }
}

fn on(session: SessionId) -> Filters {
    let (mut compiled, found) = compile(&Bundle::new("f.rl", RULES.to_owned()), &FilterLimits::default());
    let filter = compiled.pop().unwrap_or_else(|| panic!("{found:?}"));
    let bound = filter.bind(&Params { bounds: Bounds::of_mtu(1500), key: None }).expect("needs no key");
    let target =
        TargetRef { kind: kind::STACK, id: session.slot, generation: session.generation, tuple: None };
    let mut filters = Filters::default();
    filters.add_target(target, &Installed::new(bound, 1, 1)).expect("one");
    filters
}

#[test]
fn f11_what_crosses_between_applications_is_judged_without_an_allocation() {
    let mut host = Host::new();
    let published = Published::new(Tables::default()).expect("small");
    let program = stack_program().expect("a descriptor");
    let mut engine = RunToCompletion::new(program, &published, Limits::default());
    let geometry = Geometry { chunk: 2048, frames: 512 };
    engine.attach(SourcePort::new(Options { id: PORT, geometry, packets: 0 }, vec![]).expect("small"));
    let (mut app, session) = App::open(&mut host, &mut engine);
    let packets = SAYS.map(|says| {
        let (src, dst) = ((fixture::HOST.into(), OWN), (fixture::HOST.into(), OWN));
        Packet { src, dst, payload: says.to_vec(), ..Packet::to(0) }.frame()[14..].to_vec()
    });
    let mut allocated = |bursts: u64, engine: &mut RunToCompletion<SourcePort>| {
        let mut calls = 0;
        for now in 0..bursts {
            packets.iter().cycle().take(BURST as usize).for_each(|packet| app.submit(packet));
            let before = CALLS.get();
            while engine.turn(Nanos::new(now)).moved != 0 {}
            calls += CALLS.get() - before;
            // Now and then its ring is full.
            if now % 2 == 0 {
                app.swallow();
            }
        }
        calls
    };
    let bursts = scale::F11_PACKETS.count() / u64::from(BURST);
    // Without a filter, and with one: what is made when it comes into force is made at its first loop.
    for filters in [Filters::default(), on(session)] {
        published.publish(tables(&host, filters)).expect("small");
        allocated(10, &mut engine);
        assert_eq!(allocated(bursts, &mut engine), 0, "allocator calls in {bursts} bursts");
    }
    let counters = engine.ledger().port(PORT).expect("in range");
    let ways = [
        Counter::Delivered,
        Counter::RxRingFull,
        Counter::RulerReject,
        Counter::RulerTooShort,
        Counter::RulerNoMatch,
    ];
    for way in ways {
        assert!(counters.get(way) != 0, "{} was not part of it", way.desc().name);
    }
    let known: u64 = ways.iter().map(|&way| counters.get(way)).sum();
    assert_eq!(counters.get(Counter::Submitted), known);
    assert_eq!(known, 2 * (10 + bursts) * u64::from(BURST), "and all that was there was taken");
}
