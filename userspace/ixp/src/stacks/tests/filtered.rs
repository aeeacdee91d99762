//! What filters make of packets between applications: those of the target judge them, as they judge what comes by a port.
use abi::{capture::Point, rxmeta::CLASS_NONE, steer::kind};
use multistack::drr::LOOP_MOST;

use super::*;
use crate::{
    capture::tests::{View, all_at, told},
    filter::{Installed, RuleCount, TargetRef, tests::filter},
};

const FROM: u16 = 5000;
const TO: u16 = 6000;

impl Rig {
    /// Attaches a filter to a tuple of an application, or to all of it.
    fn judge(&mut self, app: &App, tuple: Option<u16>, filter: &Arc<Installed>) {
        let SessionId { slot: id, generation } = app.session;
        self.filters.add_target(TargetRef { kind: kind::STACK, id, generation, tuple }, filter).expect("few");
        self.publish();
    }
}

fn saying(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let packet = Packet { src: (HOST.into(), from), dst: (HOST.into(), to), ..Packet::to(0) };
    Packet { payload: payload.to_vec(), ..packet }.frame()[14..].to_vec()
}

/// Class, flags and payload of what came.
fn came(app: &mut App) -> Vec<(u16, u16, Vec<u8>)> {
    let received = app.receive().into_iter();
    received
        .map(|(desc, bytes)| (desc.class, desc.flags, bytes[usize::from(desc.l4_off) + 8..].to_vec()))
        .collect()
}

fn count(matched: u64, refused: u64) -> RuleCount {
    RuleCount { matched, refused }
}

const VERDICTS: &str = "Ethernet_IPv4 IPv4_UDP UDP \"no\" * => reject 3; \
    e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"cut\" p:* => e i with [len=len(i, u, p), csum=ipv4_csum()] \
    u with [len=len(u, p), csum=udp_csum(i)] p class 9; \
    e:Ethernet_IPv4 i:IPv4_UDP u:UDP \"short\" p:* => p; \
    Ethernet_IPv4 IPv4_UDP UDP \"yes\" * => accept 5;";

#[test]
fn each_verdict_of_the_targets_filter_is_carried_out_and_counted() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (rig.app(&[FROM]), rig.app(&[TO - 1, TO]));
    let filter = filter(VERDICTS, 1);
    rig.judge(&two, Some(1), &filter);
    for payload in ["no way", "cut this", "short", "yes indeed", "what"] {
        one.submit(&saying(FROM, TO, payload.as_bytes()));
    }
    // What goes to another tuple of the same application, and to another application, is not judged.
    one.submit(&saying(FROM, TO - 1, b"no"));
    one.submit(&saying(FROM, FROM, b"no"));
    let moved = [
        ("submitted", 7),
        ("delivered", 4),
        ("ruler_reject", 1),
        ("ruler_too_short", 1),
        ("ruler_no_match", 1),
        ("ruler_from_zero", 5),
    ];
    assert_eq!(rig.turn(), BTreeMap::from(moved));
    let hairpin = |class, payload: &[u8]| (class, rx_flag::HAIRPIN, payload.to_vec());
    let unjudged = hairpin(CLASS_NONE, b"no");
    assert_eq!(came(&mut two), [hairpin(9, b" this"), hairpin(5, b"yes indeed"), unjudged.clone()]);
    assert_eq!(came(&mut one), [unjudged]);
    assert_eq!(filter.counts().rules, [count(1, 0), count(1, 0), count(1, 1), count(1, 0)]);
    assert_eq!(filter.counts().unmatched, 1);
    // The sender's books have them as crossed, the receiver's what it got.
    let shown = |app: &App, counter| counter_of(&app.down, &app.down_at, counter);
    assert_eq!(shown(&one, ChannelCounter::TxHairpin), 7);
    assert_eq!(shown(&two, ChannelCounter::RxDelivered), 3);
}

#[test]
fn a_packet_to_itself_is_judged_and_one_without_a_filter_any_more_is_not() {
    let mut rig = Rig::new();
    let mut app = rig.app(&[FROM]);
    let filter = filter("* => accept 8;", 1);
    rig.judge(&app, None, &filter);
    let mut class = |rig: &mut Rig| {
        app.submit(&saying(FROM, FROM, b"to myself"));
        rig.turn();
        came(&mut app).iter().map(|(class, ..)| *class).collect::<Vec<_>>()
    };
    assert_eq!(class(&mut rig), [8]);
    rig.filters = Filters::default();
    rig.publish();
    assert_eq!(class(&mut rig), [CLASS_NONE]);
    assert_eq!(filter.counts().rules, [count(1, 0)]);
}

#[test]
fn the_filter_of_a_port_judges_what_comes_by_it_and_nothing_that_crosses() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (rig.app(&[FROM]), rig.app(&[TO]));
    let of_port = filter("* => reject;", 1);
    rig.filters.add_port(PORT, &of_port).expect("few");
    rig.publish();
    one.submit(&saying(FROM, TO, b"within"));
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("delivered", 1)]));
    assert_eq!(two.receive().len(), 1);
    rig.far.inject(&Packet::to(TO).frame(), None).expect("room");
    let moved = [("rx", 1), ("rx_reparsed", 1), ("ruler_from_zero", 1), ("ruler_reject", 1)];
    assert_eq!(rig.turn(), BTreeMap::from(moved));
    assert_eq!((two.receive().len(), of_port.counts().rules), (0, vec![count(1, 0)]));
}

/// More than a filter takes at once, for two applications in turns: a loop moves so many if it received a burst.
#[test]
fn a_full_loop_of_crossings_is_judged_packet_by_packet() {
    const BURST: u64 = 64;
    let mut rig = Rig::new();
    let mut senders: Vec<_> = (FROM..FROM + 4).map(|port| rig.app(&[port])).collect();
    let (mut two, mut three) = (rig.app(&[TO]), rig.app(&[TO + 1]));
    let filter = filter("Ethernet_IPv4 IPv4_UDP UDP \"no\" * => reject; * => accept 4;", 1);
    rig.judge(&two, None, &filter);
    rig.judge(&three, None, &filter);
    for nth in 0..u16::try_from(SLOTS).expect("few") {
        for (sender, from) in senders.iter_mut().zip(FROM..) {
            let says: &[u8] = if from % 2 == 0 { b"no" } else { b"yes" };
            sender.submit(&saying(from, TO + nth % 2, says));
        }
    }
    let nobodys = Packet::to(TO + 2).frame();
    for _ in 0..256 / u64::from(LOOP_MOST / 2) {
        (0..BURST).for_each(|_| rig.far.inject(&nobodys, None).expect("room"));
        let moved = [
            ("rx", BURST),
            ("rx_reparsed", BURST),
            ("rx_unclaimed", BURST),
            ("submitted", 128),
            ("delivered", 64),
            ("ruler_reject", 64),
            ("ruler_from_zero", 128),
        ];
        assert_eq!(rig.turn(), BTreeMap::from(moved));
    }
    for app in [&mut two, &mut three] {
        assert_eq!(came(app), vec![(4, rx_flag::HAIRPIN, b"yes".to_vec()); 64]);
    }
    assert_eq!(filter.counts().rules, [count(128, 0), count(128, 0)]);
}

/// The headers of a rewritten packet are found by the interface that its own Ethernet header is of, which no port here serves.
#[test]
fn a_rewritten_packet_with_the_tags_of_another_interface_is_told_where_its_headers_are() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (rig.app(&[FROM]), rig.app(&[TO]));
    let filter = filter("head:byte#66 \"cut\" p:* => head \"CUT\" p class 9;", 1);
    rig.judge(&two, None, &filter);
    let packet = Packet { src: (HOST6.into(), FROM), dst: (HOST6.into(), TO), ..Packet::to(0) };
    one.submit(&Packet { payload: b"cut this".to_vec(), ..packet }.frame()[14..]);
    assert_eq!(rig.turn()["delivered"], 1);
    let got: Vec<_> = two
        .receive()
        .into_iter()
        .map(|(desc, bytes)| (desc.class, desc.l3_off, desc.l4_off, bytes))
        .collect();
    let [(9, 18, 58, bytes)] = &got[..] else { panic!("{got:02x?}") };
    assert_eq!((&bytes[12..18], &bytes[66..]), (&[0x81, 0, 0, 5, 0x86, 0xdd][..], &b"CUT this"[..]));
}

#[test]
fn captures_see_what_was_sent_and_what_a_filter_made_of_it_before_it_was_dropped() {
    let mut rig = Rig::new();
    let (mut one, two) = (rig.app(&[FROM]), rig.app(&[TO]));
    rig.judge(&two, Some(0), &filter(VERDICTS, 1));
    let mut taps = rig.engine.taps();
    let (tap, mut view) = View::open(1, all_at(&Point::ALL));
    taps.add(tap);
    let mut ends = |rig: &mut Rig, payload: &[u8]| {
        one.submit(&saying(FROM, TO, payload));
        rig.now += 1;
        rig.engine.turn_seen(Nanos::new(rig.now), &mut taps);
        rig.balance();
        let seen = view.read();
        let end = |shown| {
            let (point, reason, _, bytes) = told(shown);
            (point, reason, bytes[42..].to_vec())
        };
        seen.iter().map(end).collect::<Vec<_>>()
    };
    let whole = |payload: &[u8]| [Point::Tx, Point::Rx].map(|point| (point, None, payload.to_vec())).to_vec();
    let dropped = |reason, payload: &[u8]| (Point::Drop, Some(reason), payload.to_vec());
    assert_eq!(ends(&mut rig, b"yes"), whole(b"yes"));
    assert_eq!(ends(&mut rig, b"no"), [whole(b"no"), vec![dropped("ruler_reject", b"no")]].concat());
    for _ in 1..SLOTS {
        assert_eq!(ends(&mut rig, b"cut this"), whole(b"cut this"));
    }
    let full = [whole(b"cut this"), vec![dropped("rx_ring_full", b" this")]].concat();
    assert_eq!(ends(&mut rig, b"cut this"), full);
}
