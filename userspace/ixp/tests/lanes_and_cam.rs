//! Eight lanes with a CAM against one lane without: the same verdicts, bytes, order and counters for any traffic.
#![allow(clippy::expect_used, reason = "a test")]
#[path = "../src/fixture.rs"]
mod fixture;

use abi::rxmeta::RxMeta;
use ixp::{
    clock::Nanos,
    counter::Counter,
    engine::{Limits, RunToCompletion},
    frame::Geometry,
    ledger::TargetRow,
    port::{
        PortId,
        memory::{FarEnd, MemoryPort, Options, memory_port},
    },
    program::{Lockstep, Program},
    stage::{builtin::Builtin, steer::Steer},
    tables::{PortConfigs, Published, Tables},
};
use proptest::prelude::*;

use fixture::{ECHO, Host, Packet, SINK, config};

const PORT: PortId = PortId::new(0);

/// A packet of random traffic.
#[derive(Clone, Debug)]
struct Shot {
    to: u16,
    from: u16,
    v6: bool,
    /// Without, with right, or with stale metadata.
    meta: u8,
    damage: Option<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
}

fn shot() -> impl Strategy<Value = Shot> {
    let to = prop_oneof![Just(ECHO), Just(SINK), 100u16..120];
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), 1u8..));
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    (to, 0u16..6, any::<bool>(), 0u8..3, damage, cut).prop_map(|(to, from, v6, meta, damage, cut)| Shot {
        to,
        from,
        v6,
        meta,
        damage,
        cut,
    })
}

impl Shot {
    fn frame(&self, host: &Host) -> (Vec<u8>, Option<RxMeta>) {
        let packet = Packet { src: (Packet::to(0).src.0, self.from * 1000), ..Packet::to(self.to) };
        let mut frame = if self.v6 { packet.v6() } else { packet }.frame();
        let claimed = self.to == ECHO || self.to == SINK;
        let meta = (claimed && self.meta != 0).then(|| host.meta(&frame));
        let meta = meta.map(|m| RxMeta { generation: m.generation ^ (u16::from(self.meta == 2) << 12), ..m });
        if let Some((at, bits)) = &self.damage {
            let at = at.index(frame.len());
            frame[at] ^= bits;
        }
        if let Some(cut) = &self.cut {
            frame.truncate(cut.index(frame.len()));
        }
        (frame, meta)
    }
}

struct Road {
    engine: RunToCompletion<MemoryPort>,
    far: FarEnd,
    published: Published,
}

impl Road {
    fn new(program: Box<dyn Program>, host: &Host) -> Self {
        let published = Published::new(tables(host)).expect("small");
        let mut engine = RunToCompletion::new(program, &published, Limits::default());
        let (port, far) =
            memory_port(Options { geometry: Geometry { chunk: 512, frames: 512 }, ..Options::new(PORT) })
                .expect("small");
        engine.attach(port);
        Self { engine, far, published }
    }

    /// Sends everything through, with new tables half way, and returns all that can be seen of it.
    fn run(mut self, before: &[Shot], after: &[Shot]) -> (Vec<Vec<u8>>, Vec<u64>, Vec<TargetRow>) {
        let mut host = Host::new();
        let (first, mut replies) = (Host::new(), Vec::new());
        for (shots, last) in [(before, false), (after, true)] {
            for shot in shots {
                let (frame, meta) = shot.frame(&first);
                self.far.inject(&frame, meta.as_ref()).expect("room");
            }
            while self.engine.turn(Nanos::new(1)).moved != 0 {
                self.far.collect(usize::MAX, |frame| replies.push(frame.to_vec()));
            }
            if !last {
                host.remove_echo();
                self.published.publish(tables(&host)).expect("small");
            }
        }
        let counters = self.engine.ledger().port(PORT).expect("in range");
        let counters = Counter::ALL.iter().map(|&c| counters.get(c)).collect();
        (replies, counters, self.engine.ledger().targets().collect())
    }
}

fn tables(host: &Host) -> Tables {
    let mut ports = PortConfigs::default();
    ports.set(PORT, config(&[]));
    Tables { mirror: host.mirror(), ports, ..Tables::default() }
}

proptest! {
    #[test]
    fn eight_lanes_with_a_cam_are_one_without(
        before in prop::collection::vec(shot(), 0..150),
        after in prop::collection::vec(shot(), 0..50),
    ) {
        let host = Host::new();
        let fast = Lockstep::<8, _, _>::new((Steer::default(), (Builtin::default(), ())));
        let slow = Lockstep::<1, _, _>::new((Steer::without_memory(), (Builtin::default(), ())));
        let fast = Road::new(Box::new(fast), &host).run(&before, &after);
        let slow = Road::new(Box::new(slow), &host).run(&before, &after);
        prop_assert_eq!(fast, slow);
    }
}
