//! Filters on an engine: what they say is done, in the right order, and every packet is in the books.
use std::{collections::BTreeMap, sync::Arc};

use abi::{rxmeta::RxMeta, steer::kind};
use ruler::{
    bundle::Bundle,
    filter::{Limits as FilterLimits, Params, compile},
    rewrite::Bounds,
};

use super::{Filters, Installed, RuleCount, TargetRef};
use crate::{
    books::Books,
    clock::Nanos,
    counter::Counter,
    engine::{Limits, RunToCompletion},
    engines::{EngineId, Row},
    fixture::{ECHO, Host, Packet, SINK, config},
    port::{
        PortId,
        memory::{FarEnd, MemoryPort, Options, memory_port},
    },
    stage::builtin_program,
    tables::{PortConfigs, Published, Tables},
};

const PORT: PortId = PortId::new(4);

/// A filter of these rules, with layouts to name.
pub(crate) fn filter(source: &str, generation: u64) -> Arc<Installed> {
    let source = format!("include \"layouts.rli\"\nfilter f {source}");
    let (mut filters, found) = compile(&Bundle::new("f.rl", source), &FilterLimits::default());
    let filter = filters.pop().unwrap_or_else(|| panic!("{found:?}"));
    let bound = filter.bind(&Params { bounds: Bounds::of_mtu(1500), key: None }).expect("needs no key");
    Installed::new(bound, generation, 1)
}

/// An engine with one port whose packets filters judge.
struct Rig {
    engine: RunToCompletion<MemoryPort>,
    far: FarEnd,
    published: Published,
    host: Host,
}

impl Rig {
    fn new(filters: Filters) -> Self {
        let published = Published::new(Tables::default()).expect("small");
        let mut engine = RunToCompletion::new(builtin_program(), &published, Limits::default());
        let (port, far) = memory_port(Options::new(PORT)).expect("small");
        engine.attach(port);
        let rig = Self { engine, far, published, host: Host::new() };
        rig.publish(filters);
        rig
    }

    fn on_port(filter: &Arc<Installed>) -> Self {
        Self::new(port_filter(filter))
    }

    fn publish(&self, filters: Filters) {
        let mut ports = PortConfigs::default();
        ports.set(PORT, config(&[]));
        let tables = Tables { mirror: self.host.mirror(), ports, filters, ..Tables::default() };
        self.published.publish(tables).expect("small");
    }

    fn row(&self) -> Row {
        let counters = self.engine.ledger().port(PORT).expect("in range");
        let values = std::array::from_fn(|i| counters.get(Counter::ALL[i]));
        Row { engine: EngineId::new(0), port: PORT, values }
    }

    /// Sends frames through as one batch; returns what came back and which counters moved.
    fn send(&mut self, packets: &[(Vec<u8>, Option<RxMeta>)]) -> (Vec<Vec<u8>>, BTreeMap<&'static str, u64>) {
        let before = self.row();
        for (frame, meta) in packets {
            self.far.inject(frame, meta.as_ref()).expect("room");
        }
        self.engine.turn(Nanos::new(1));
        let mut back = Vec::new();
        self.far.collect(1024, |frame| back.push(frame.to_vec()));
        self.engine.turn(Nanos::new(2));
        let after = self.row();
        let moved =
            before.counters().zip(after.counters()).map(|((c, old), (_, new))| (c.desc().name, new - old));
        let mut books = Books::default();
        books.add_engines(std::slice::from_ref(&after));
        assert_eq!(books.close().unaccounted(), 0);
        for report in self.engine.reports() {
            assert_eq!((report.census.missing(), report.census.out), (0, 0));
        }
        (back, moved.filter(|(_, n)| *n != 0).collect())
    }

    fn to(&self, port: u16, payload: &[u8]) -> (Vec<u8>, Option<RxMeta>) {
        let frame = Packet { payload: payload.to_vec(), ..Packet::to(port) }.frame();
        let meta = self.host.meta(&frame);
        (frame, Some(meta))
    }
}

fn port_filter(filter: &Arc<Installed>) -> Filters {
    let mut filters = Filters::default();
    filters.add_port(PORT, filter).expect("few");
    filters
}

fn moved(wanted: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
    wanted.iter().copied().collect()
}

const VERDICTS: &str = "Ethernet_IPv4 IPv4_UDP UDP \"no\" * => reject 3; \
    e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"cut\" p:* => e i with [len=len(i, u, p), csum=ipv4_csum()] \
    u with [len=len(u, p), csum=udp_csum(i)] p class 9; \
    e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"short\" p:* => p; \
    Ethernet_IPv4 IPv4_UDP UDP with [dest=7~2|9~2] \"yes\" * => accept 5;";

#[test]
fn each_verdict_is_carried_out_and_counted() {
    let filter = filter(VERDICTS, 1);
    let mut rig = Rig::on_port(&filter);
    let payloads: [&[u8]; 6] = [b"no way", b"cut this", b"short", b"yes indeed", b"what", b"yes again"];
    let packets: Vec<_> = payloads
        .iter()
        .enumerate()
        .map(|(at, payload)| rig.to(if at == 5 { SINK } else { ECHO }, payload))
        .collect();
    let (back, counters) = rig.send(&packets);
    let wanted = [
        ("rx", 6),
        ("rx_from_meta", 6),
        ("delivered", 1),
        ("transmitted", 2),
        ("ruler_reject", 1),
        ("ruler_no_match", 1),
        ("ruler_too_short", 1),
        ("ruler_from_zero", 6),
    ];
    assert_eq!(counters, moved(&wanted));
    assert_eq!(back.len(), 2);
    assert!(back[0].ends_with(b" this") && back[0].len() == packets[1].0.len() - 3, "{:02x?}", back[0]);
    assert!(back[1].ends_with(b"yes indeed"));
    let count = |matched, refused| RuleCount { matched, refused };
    assert_eq!(filter.counts().rules, [count(1, 0), count(1, 0), count(1, 1), count(2, 0)]);
    assert_eq!(filter.counts().unmatched, 1);
}

#[test]
fn a_targets_filter_comes_after_the_ports_and_sees_what_that_made() {
    let (first, second) = (
        filter("e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"a\" p:* => e i u \"b\" p; * => accept;", 1),
        filter("Ethernet_IPv4 IPv4_UDP UDP \"b\" * => accept; * => reject;", 2),
    );
    let mut rig = Rig::new(Filters::default());
    let (frame, meta) = rig.to(ECHO, b"a");
    let meta = meta.expect("made above");
    let mut filters = port_filter(&first);
    let target = TargetRef { kind: kind::BUILTIN, id: meta.id, generation: meta.generation, tuple: None };
    filters.add_target(target, &second).expect("few");
    rig.publish(filters);
    let packets = [(frame, Some(meta)), rig.to(ECHO, b"x"), rig.to(SINK, b"x")];
    let (back, counters) = rig.send(&packets);
    assert_eq!(back.len(), 1);
    assert!(back[0].ends_with(b"b"));
    assert_eq!((counters["ruler_reject"], counters["delivered"], counters["ruler_from_zero"]), (1, 1, 5));
    assert_eq!(second.counts().rules.iter().map(|rule| rule.matched).sum::<u64>(), 2, "the sink has none");
}

#[test]
fn a_class_is_believed_only_with_the_filters_own_generation() {
    let filter = filter("Ethernet_IPv4 * => accept 1; * => reject;", 0x105);
    let mut rig = Rig::on_port(&filter);
    let (frame, meta) = rig.to(ECHO, b"payload");
    let leaf = filter.bound().filter().dag().eval(&frame).leaf.0;
    let with = |class, class_gen| Some(RxMeta { class, class_gen, ..meta.expect("made above") });
    let (_, counters) = rig.send(&[(frame.clone(), with(leaf, 5)), (frame.clone(), with(leaf, 4))]);
    assert_eq!((counters["ruler_from_class"], counters["ruler_from_zero"]), (1, 1));
    // A node that is not there, with the right generation.
    let (back, counters) = rig.send(&[(frame, with(0x7ffe, 5))]);
    assert_eq!((back.len(), counters["ruler_from_zero"]), (1, 1));
}

#[test]
fn replaced_and_removed_filters_judge_nothing_any_more() {
    let mut rig = Rig::new(Filters::default());
    let packet = rig.to(ECHO, b"payload");
    let mut old = None;
    for generation in 1..=300 {
        let source = if generation % 2 == 0 { "* => accept;" } else { "* => reject;" };
        let new = filter(source, generation);
        rig.publish(port_filter(&new));
        let (back, _) = rig.send(&[packet.clone(), packet.clone()]);
        assert_eq!(back.len(), if generation % 2 == 0 { 2 } else { 0 });
        assert_eq!(new.counts().rules[0].matched, 2);
        let before = old.replace(Arc::downgrade(&new));
        drop(new);
        // What the engine gave back is freed when the next tables are published, not by the engine.
        rig.publish(rig.published.current().tables().filters.clone());
        assert!(before.is_none_or(|before: std::sync::Weak<Installed>| before.upgrade().is_none()));
    }
    rig.publish(Filters::default());
    let (back, counters) = rig.send(&[packet.clone(), packet]);
    assert_eq!(back.len(), 2);
    assert_eq!(counters.get("ruler_from_zero"), None);
}

/// A packet that grows takes room behind it, and one that has too little is refused.
#[test]
fn a_packet_may_grow_as_far_as_its_port_sends() {
    let filter = filter("e:Ethernet_IPv4 i:IPv4_UDP u:UDP p:* => e i u 0#600 p;", 1);
    let mut rig = Rig::on_port(&filter);
    let packets = [rig.to(ECHO, &[7; 100]), rig.to(ECHO, &[7; 1_000])];
    let (back, counters) = rig.send(&packets);
    assert_eq!(back.iter().map(Vec::len).collect::<Vec<_>>(), [packets[0].0.len() + 600]);
    assert_eq!((counters["ruler_too_long"], counters["transmitted"]), (1, 1));
}

/// Where outputs may be otherwise long it is the same filter: its number, what it counted, and what classes mean stay.
#[test]
fn a_filter_whose_outputs_may_be_otherwise_long_goes_on() {
    let mut filter = filter("e:Ethernet_IPv4 i:IPv4_UDP u:UDP p:* => e i u 0#600 p;", 1);
    let mut rig = Rig::on_port(&filter);
    let (frame, meta) = rig.to(ECHO, &[7; 100]);
    let class = filter.bound().filter().dag().eval(&frame).leaf.0;
    let packet = (frame, meta.map(|meta| RxMeta { class, class_gen: 1, ..meta }));
    for turn in 1..=10 {
        // By turns too short for the output, and just long enough.
        let fits = turn % 2 == 0;
        let mtu = if fits { packet.0.len() + 600 - 22 } else { packet.0.len() + 600 - 23 };
        filter = filter.within(Bounds::of_mtu(mtu.try_into().expect("short")), 1);
        rig.publish(port_filter(&filter));
        let (back, counters) = rig.send(std::slice::from_ref(&packet));
        assert_eq!((back.len(), counters["ruler_from_class"]), (usize::from(fits), 1));
        let rule = RuleCount { matched: turn, refused: turn.div_ceil(2) };
        assert_eq!((filter.generation(), filter.counts().rules), (1, vec![rule]));
        assert!(filter.counting() <= 3, "who has left is remembered one by one");
    }
}

/// The checksum of a fragment's datagram cannot be known here: it becomes 0, and that is counted.
#[test]
fn a_checksum_that_cannot_be_made_is_counted() {
    let filter = filter("e:Ethernet_IPv4 i:IPv4_UDP u:UDP p:* => e i u with [csum=udp_csum(i)] zero(p);", 1);
    let mut rig = Rig::on_port(&filter);
    let (mut frame, meta) = rig.to(SINK, b"the first part");
    let header = &mut frame[14..34];
    header[6] = 0x20;
    header[10..12].fill(0);
    let sum = wire::checksum::Sum::of(header).complement();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let (_, counters) = rig.send(&[(frame, meta)]);
    assert_eq!((counters["ruler_csum_skipped"], counters["delivered"]), (1, 1));
}

#[test]
fn so_many_filters_and_no_more() {
    let mut filters = Filters::default();
    let one = filter("* => accept;", 1);
    for id in 0..2_000 {
        let target = TargetRef { kind: kind::STACK, id, generation: 0, tuple: None };
        filters.add_target(target, &one).expect("it is one filter");
    }
    for _ in 1..super::MAX_FILTERS {
        let another = Installed::new(bound_accepting(), 1, 0);
        filters.add_port(PORT, &another).expect("few");
    }
    assert!(filters.add_port(PORT, &Installed::new(bound_accepting(), 1, 0)).is_err());
}

fn bound_accepting() -> ruler::filter::Bound {
    let (mut filters, _) = compile(&Bundle::new("f.rl", "filter f * => accept;"), &FilterLimits::default());
    let filter = filters.pop().expect("it compiles");
    filter.bind(&Params { bounds: Bounds::of_mtu(1500), key: None }).expect("needs no key")
}
