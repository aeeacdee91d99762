//! What a capture sees of packets between applications, and of those that an application may not send.
use abi::capture::{Point, flag};

use super::*;
use crate::capture::{
    filter::{Filter, Wanted},
    tests::{UDP, View, all_at, told},
};

impl Rig {
    /// A round that this capture sees, and what it saw.
    fn seen(
        &mut self,
        filter: Filter,
        view: &mut Option<View>,
        taps: &mut crate::capture::Taps,
    ) -> Vec<Told> {
        let view = view.get_or_insert_with(|| {
            let (tap, view) = View::open(1, filter);
            taps.add(tap);
            view
        });
        self.now += 1;
        self.engine.turn_seen(Nanos::new(self.now), taps);
        self.balance();
        view.read()
            .iter()
            .map(|shown| {
                let (point, reason, out, bytes) = told(shown);
                (point, reason, out, shown.record.flags & !flag::OUTBOUND, bytes.to_vec())
            })
            .collect()
    }
}

/// Point, reason, whether it went out, other flags, bytes.
type Told = (Point, Option<&'static str>, bool, u8, Vec<u8>);

fn from_to(from: u16, to: u16) -> Vec<u8> {
    datagram(from, (HOST.into(), to))
}

#[test]
fn a_hairpin_leaves_and_comes_and_a_full_ring_drops_it() {
    let mut rig = Rig::new();
    let (mut one, _two) = (rig.app(&[5000]), rig.app(&[6000]));
    let (mut view, mut taps) = (None, rig.engine.taps());
    one.submit(&from_to(5000, 6000));
    let seen = rig.seen(all_at(&Point::ALL), &mut view, &mut taps);
    let crossing = |point, out| (point, None, out, flag::HAIRPIN, seen[0].4.clone());
    assert_eq!(seen, [crossing(Point::Tx, true), crossing(Point::Rx, false)]);
    assert_eq!(seen[0].4[14..], from_to(5000, 6000));
    // One of its slots is taken.
    let mut dropped = Vec::new();
    for _ in 0..SLOTS {
        one.submit(&from_to(5000, 6000));
        let seen = rig.seen(all_at(&Point::ALL), &mut view, &mut taps);
        dropped.extend(seen.into_iter().filter(|told| told.0 == Point::Drop));
    }
    assert_eq!(
        dropped.iter().map(|told| (told.1, told.2, told.3)).collect::<Vec<_>>(),
        [(Some("rx_ring_full"), false, flag::HAIRPIN)]
    );
}

#[test]
fn what_may_not_be_sent_is_shown_as_far_as_it_was_copied() {
    let mut rig = Rig::new();
    let (mut app, mut link) = (rig.app(&[5000]), rig.app_of(Form::L2, &[6000]));
    let (mut view, mut taps) = (None, rig.engine.taps());
    let foreign = from_to(5001, 4000);
    app.submit(&foreign);
    // Its descriptor says fewer bytes than a packet has.
    app.submit(&[0x45; 8]);
    let frame = Packet { src: (HOST.into(), 6000), ..Packet::to(9) }.frame();
    link.submit_as(Form::L2, &frame);
    let seen = rig.seen(all_at(&Point::ALL), &mut view, &mut taps);
    assert_eq!(
        seen,
        [
            (Point::Drop, Some("tx_not_owner"), true, flag::BARE, foreign),
            (Point::Drop, Some("tx_desc"), true, flag::BARE, Vec::new()),
            (Point::Drop, Some("tx_mac"), true, 0, frame),
        ]
    );
}

#[test]
fn who_may_see_one_session_sees_no_other_in_its_name() {
    let mut rig = Rig::new();
    let (mut owner, mut liar) = (rig.app(&[5000]), rig.app(&[6000]));
    let filter = Filter {
        wanted: vec![Wanted::new(UDP, None, 5000, None)],
        only: Some(owner.session),
        ..all_at(&Point::ALL)
    };
    let (mut view, mut taps) = (None, rig.engine.taps());
    // The same packet, from him whose tuple it has and from another; and one of his own that leads nowhere.
    let packet = datagram(5000, (CALLER.into(), 4000));
    liar.submit(&packet);
    owner.submit(&packet);
    owner.submit(&datagram(5000, (std::net::Ipv4Addr::BROADCAST.into(), 4000)));
    let seen = rig.seen(filter, &mut view, &mut taps);
    let ends: Vec<_> = seen.iter().map(|told| (told.0, told.1)).collect();
    assert_eq!(ends, [(Point::Tx, None), (Point::Drop, Some("tx_destination"))]);
}
