//! The channel against a queue that is obviously right, at the end of `u32`, and against what an application must
//! not do.
#![cfg(not(loom))]
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::shm::counter::ChannelCounter::{
    self, RxDelivered, RxRingFull, RxTooLong, TxNotOwner, TxRead, TxSent,
};
use abi::shm::desc::{Form, RxDesc, TxDesc};
use abi::shm::layout::{DownHeader, STATE, Session, Shape, SlotSize, Slots, State};
use abi::shm::ring::rx_flags::{WAKE_ON_RX, WAKE_ON_TX_SPACE};
use proptest::prelude::*;
use zerocopy::FromBytes;

use super::application::Application;
use super::*;
use crate::books;

type Words = Box<[AtomicU32]>;

const SLOTS: u32 = 64;

fn shape() -> Shape {
    let slots = Slots::new(SLOTS).unwrap();
    Shape::new(2, slots, slots, SlotSize::new(2048).unwrap()).unwrap()
}

fn regions() -> (Words, Words) {
    let words = |bytes: usize| (0..bytes / 4).map(|_| AtomicU32::new(0)).collect();
    (words(shape().down_size()), words(shape().up_size()))
}

type Ends<'a> = (Channel<&'a [AtomicU32], &'a [AtomicU32]>, Application<&'a [AtomicU32], &'a [AtomicU32]>);

/// Both ends of channel 1, their indices at `start`.
fn ends<'a>((down, up): &'a (Words, Words), start: u32) -> Ends<'a> {
    let app = Application::new(&**down, &**up, &shape(), 1, start);
    for at in [app.down_at.rx_prod(), app.down_at.tx_cons()] {
        down[at / 4].store(start, Ordering::Relaxed);
    }
    for at in [app.up_at.tx_prod(), app.up_at.rx_cons()] {
        up[at / 4].store(start, Ordering::Relaxed);
    }
    let channel = Channel::starting_at(&**down, &**up, &shape(), 1, start).unwrap();
    (channel, app)
}

/// Every counter that is not zero, as the region has them.
fn counted(channel: &mut Channel<&[AtomicU32], &[AtomicU32]>) -> Vec<(ChannelCounter, u64)> {
    let _ = channel.publish();
    let read = |&which| (which, counter_of(channel.down, &channel.down_at, which));
    let all: Vec<_> = ChannelCounter::ALL.iter().map(read).collect();
    for &(which, value) in &all {
        assert_eq!(channel.counter(which), value, "{}", which.name());
    }
    all.into_iter().filter(|&(_, value)| value != 0).collect()
}

fn packet(number: u32, len: usize) -> Vec<u8> {
    number.to_ne_bytes().into_iter().cycle().take(len).collect()
}

fn take_all(
    channel: &mut Channel<&[AtomicU32], &[AtomicU32]>,
    limit: u32,
    into: &mut Vec<Vec<u8>>,
) -> Result<Visit, Violation> {
    channel.visit(limit, |offer| {
        let mut frame = vec![0; 4096];
        let Some(copy) = offer.copy_to(&mut frame) else {
            return Outcome::Taken(ChannelCounter::TxDesc, NO_TUPLE);
        };
        into.push(copy.to_vec());
        Outcome::Taken(TxSent, 1)
    })
}

#[test]
fn a_packet_arrives_with_what_is_known_of_it() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    let head = RxHead { tuple: 7, flags: 0x110, l3_off: 18, l4_off: 58, class: 9 };
    channel.deliver(&head, b"a frame").unwrap();
    assert_eq!(app.receive(), None, "not before it is published");
    assert_eq!((channel.publish(), channel.publish()), (Moved::Yes, Moved::Yes));
    let desc =
        RxDesc { len: 7, tuple: 7, flags: 0x110, l3_off: 18, l4_off: 58, class: 9, ..RxDesc::default() };
    assert_eq!(app.receive(), Some((desc, b"a frame".to_vec())));
    assert_eq!(app.receive(), None);
    assert_eq!(counted(&mut channel), [(RxDelivered, 1)]);
}

#[test]
fn a_full_ring_drops_before_the_copy_and_recovers() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    for number in 0..SLOTS {
        channel.deliver(&RxHead::of(1), &packet(number, 60)).unwrap();
    }
    assert_eq!(channel.deliver(&RxHead::of(1), &[0xEE; 60]), Err(RxRefusal::RingFull));
    let _ = channel.publish();
    assert_eq!(app.receive().unwrap().1, packet(0, 60), "nothing was overwritten");
    channel.deliver(&RxHead::of(1), &packet(SLOTS, 60)).unwrap();
    assert_eq!(channel.deliver(&RxHead::of(1), &[0xEE; 60]), Err(RxRefusal::RingFull));
    let _ = channel.publish();
    for number in 1..=SLOTS {
        assert_eq!(app.receive().unwrap().1, packet(number, 60));
    }
    assert_eq!(app.receive(), None);
    assert_eq!(counted(&mut channel), [(RxDelivered, 65), (RxRingFull, 2)]);
}

#[test]
fn a_flood_looks_at_the_applications_index_once_a_burst() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    for _ in 0..SLOTS {
        channel.deliver(&RxHead::of(1), &[1; 60]).unwrap();
    }
    assert_eq!(channel.deliver(&RxHead::of(1), &[1; 60]), Err(RxRefusal::RingFull));
    // Room comes in the middle of the burst: it is seen by the next.
    let at = app.up_at.rx_cons();
    regions.1[at / 4].store(1, Ordering::Relaxed);
    assert_eq!(channel.deliver(&RxHead::of(1), &[1; 60]), Err(RxRefusal::RingFull));
    let _ = channel.publish();
    channel.deliver(&RxHead::of(1), &[1; 60]).unwrap();
    let _ = app.receive();
}

#[test]
fn what_does_not_fit_a_slot_is_dropped_by_name() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    channel.deliver(&RxHead::of(1), &[7; 2048]).unwrap();
    assert_eq!(channel.deliver(&RxHead::of(1), &[7; 2049]), Err(RxRefusal::TooLong));
    assert_eq!(counted(&mut channel), [(RxDelivered, 1), (RxTooLong, 1)]);
    assert_eq!(app.receive().unwrap().1, [7; 2048]);
    assert_eq!(app.receive(), None);
}

#[test]
fn a_visit_takes_in_order_until_the_sink_lets_one_stay() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    for number in 0..20 {
        app.send(&packet(number, 20 + number as usize)).unwrap();
    }
    let mut seen = Vec::new();
    let visit = channel.visit(64, |offer| {
        if seen.len() == 11 {
            return Outcome::Stay;
        }
        assert_eq!(offer.desc().form(), Some(Form::L3));
        assert!(offer.copy_to(&mut [0; 19]).is_none(), "a frame too short is left alone");
        let mut frame = [0; 64];
        seen.push(offer.copy_to(&mut frame).unwrap().to_vec());
        Outcome::Taken(if seen.len() == 1 { TxNotOwner } else { TxSent }, 1)
    });
    assert_eq!(visit, Ok(Visit { taken: 11, left: 9 }));
    let mut rest = Vec::new();
    assert_eq!(take_all(&mut channel, 4, &mut rest), Ok(Visit { taken: 4, left: 5 }));
    assert_eq!(take_all(&mut channel, 64, &mut rest), Ok(Visit { taken: 5, left: 0 }));
    seen.append(&mut rest);
    assert_eq!(seen, (0..20).map(|number| packet(number, 20 + number as usize)).collect::<Vec<_>>());
    assert_eq!(counted(&mut channel), [(TxRead, 20), (TxSent, 19), (TxNotOwner, 1)]);
}

#[test]
fn h03_a_length_beyond_its_slot_is_never_copied() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    for len in [60, 2048, 2049, u32::MAX, 0, 61] {
        app.put(&[5; 60], TxDesc::new(len, Form::L3)).unwrap();
    }
    let _ = app.publish();
    let mut seen = Vec::new();
    assert_eq!(take_all(&mut channel, 64, &mut seen), Ok(Visit { taken: 6, left: 0 }));
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [60, 2048, 0, 61]);
    assert_eq!(counted(&mut channel), [(TxRead, 6), (TxSent, 4), (ChannelCounter::TxDesc, 2)]);
}

#[test]
fn h02_an_index_beyond_the_ring_ends_the_channel_at_the_visit_that_sees_it() {
    for given in [SLOTS + 1, u32::MAX, 1 << 31] {
        let regions = regions();
        let (mut channel, app) = ends(&regions, 0);
        regions.1[app.up_at.tx_prod() / 4].store(given, Ordering::Relaxed);
        let violation = Violation { given, limit: SLOTS };
        let visit = channel.visit(64, |_| panic!("nothing is offered"));
        assert_eq!(visit, Err(violation));
        regions.1[app.up_at.tx_prod() / 4].store(1, Ordering::Relaxed);
        assert_eq!(channel.visit(64, |_| panic!("nothing is offered")), Err(violation), "for good");
        assert_eq!(channel.deliver(&RxHead::of(1), &[0; 60]), Err(RxRefusal::Violation(violation)));
        assert_eq!(channel.last_look(&Fenced::by(channel.down)), Err(violation));
        assert_eq!(counted(&mut channel), [(ChannelCounter::Violation, 1)]);
    }
}

#[test]
fn h02_giving_back_what_never_came_ends_the_channel() {
    let regions = regions();
    let (mut channel, app) = ends(&regions, 0);
    for _ in 0..SLOTS {
        channel.deliver(&RxHead::of(1), &[0; 60]).unwrap();
    }
    regions.1[app.up_at.rx_cons() / 4].store(SLOTS + 1, Ordering::Relaxed);
    let violation = Violation { given: u32::MAX, limit: SLOTS };
    assert_eq!(channel.deliver(&RxHead::of(1), &[0; 60]), Err(RxRefusal::Violation(violation)));
    assert_eq!(counted(&mut channel), [(RxDelivered, u64::from(SLOTS)), (ChannelCounter::Violation, 1)]);
}

#[test]
fn h01_a_word_that_changes_during_a_visit_is_not_read_again() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    for number in 0..3 {
        app.send(&packet(number, 60)).unwrap();
    }
    let mut offered = 0;
    let visit = channel.visit(64, |_| {
        offered += 1;
        regions.1[app.up_at.tx_prod() / 4].store(u32::MAX, Ordering::Relaxed);
        Outcome::Taken(TxSent, 1)
    });
    assert_eq!((visit, offered), (Ok(Visit { taken: 3, left: 0 }), 3));
}

#[test]
fn h03_a_descriptor_that_changes_after_it_was_judged_is_used_as_judged() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    app.send(&packet(1, 60)).unwrap();
    let at = app.up_at.descriptor(0);
    let visit = channel.visit(64, |offer| {
        regions.1[at / 4].store(u32::MAX, Ordering::Relaxed);
        assert_eq!(offer.copy_to(&mut [0; 2048]).unwrap().len(), 60);
        Outcome::Taken(TxSent, 1)
    });
    assert_eq!(visit, Ok(Visit { taken: 1, left: 0 }));
}

#[test]
fn h04_what_was_copied_is_out_of_the_applications_reach() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    app.send(&packet(1, 60)).unwrap();
    let at = app.up_at.buffer(0);
    let visit = channel.visit(64, |offer| {
        let mut frame = [0; 64];
        let copy = offer.copy_to(&mut frame).unwrap();
        regions.1[at / 4].store(u32::MAX, Ordering::Relaxed);
        assert_eq!(copy, packet(1, 60));
        Outcome::Taken(TxSent, 1)
    });
    assert_eq!(visit, Ok(Visit { taken: 1, left: 0 }));
}

#[test]
fn h05_sixty_four_a_visit_whatever_is_asked() {
    let slots = Slots::new(256).unwrap();
    let shape = Shape::new(1, slots, slots, SlotSize::new(2048).unwrap()).unwrap();
    let words = |bytes: usize| -> Words { (0..bytes / 4).map(|_| AtomicU32::new(0)).collect() };
    let (down, up) = (words(shape.down_size()), words(shape.up_size()));
    let mut channel = Channel::new(&*down, &*up, &shape, 0).unwrap();
    up[shape.up(0).unwrap().tx_prod() / 4].store(256, Ordering::Relaxed);
    // Descriptors of zeros: all wrong, all charged.
    let visit = channel.visit(u32::MAX, |_| Outcome::Taken(ChannelCounter::TxDesc, NO_TUPLE));
    assert_eq!(visit, Ok(Visit { taken: MAX_VISIT, left: 256 - MAX_VISIT }));
}

#[test]
fn every_packet_is_counted_for_its_tuple_and_for_its_session() {
    let regions = regions();
    let pages: Words = (0..books::size(2) / 4).map(|_| AtomicU32::new(0)).collect();
    let (channel, mut app) = ends(&regions, 0);
    let mut channel = channel.with_books(&*pages).unwrap();
    let book = |tuple| books::book_of(&*pages, 1, tuple);
    for tuple in [4, 4, 5, 4, NO_TUPLE] {
        channel.deliver(&RxHead::of(tuple), &[0; 60]).unwrap();
    }
    assert_eq!(channel.deliver(&RxHead::of(5), &[0; 2049]), Err(RxRefusal::TooLong));
    assert_eq!(book(5).get(RxTooLong), 0, "a burst is entered when it is published, or another's comes");
    let _ = channel.publish();
    assert_eq!([4, 5].map(|tuple| book(tuple).get(RxDelivered)), [3, 1]);
    assert_eq!([4, 5].map(|tuple| book(tuple).get(RxTooLong)), [0, 1]);
    assert_eq!(channel.counter(RxDelivered), 5);
    for _ in 0..3 {
        app.send(&[0; 60]).unwrap();
    }
    let mut ends = [(TxSent, 4), (TxNotOwner, NO_TUPLE), (TxSent, 5)].into_iter();
    let visit = channel.visit(64, |_| ends.next().map_or(Outcome::Stay, |(end, of)| Outcome::Taken(end, of)));
    assert_eq!(visit, Ok(Visit { taken: 3, left: 0 }));
    let _ = channel.publish();
    for tuple in [4, 5] {
        assert_eq!((book(tuple).get(TxRead), book(tuple).get(TxSent)), (1, 1));
        book(tuple).balance().unwrap();
    }
    assert_eq!((channel.counter(TxRead), channel.counter(TxNotOwner)), (3, 1));
    let (given, need) = (books::size(1), books::size(2));
    let small = Channel::new(&*regions.0, &*regions.1, &shape(), 1).unwrap().with_books(&pages[..given / 4]);
    assert_eq!(small.unwrap_err(), ChannelError::TooSmall { given, need });
}

#[test]
fn a_sleeper_is_rung_once_and_only_for_what_it_asked() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    let deliver = |channel: &mut Channel<_, _>| {
        channel.deliver(&RxHead::of(1), &[0; 60]).unwrap();
        let _ = channel.publish();
        channel.rings(&Fenced::by(&*regions.0))
    };
    assert_eq!(deliver(&mut channel), Ring::Nobody, "it is awake");
    app.arm(WAKE_ON_TX_SPACE);
    assert_eq!(deliver(&mut channel), Ring::Nobody, "it waits for something else");
    app.arm(WAKE_ON_RX);
    assert_eq!(deliver(&mut channel), Ring::Bell);
    assert_eq!(deliver(&mut channel), Ring::Nobody, "one byte a sleep");
    app.arm(WAKE_ON_RX | WAKE_ON_TX_SPACE);
    assert_eq!(channel.publish(), Moved::No);
    assert_eq!(channel.rings(&Fenced::by(&*regions.0)), Ring::Nobody, "nothing has happened");
    app.send(&[0; 60]).unwrap();
    assert_eq!(take_all(&mut channel, 1, &mut Vec::new()), Ok(Visit { taken: 1, left: 0 }));
    let _ = channel.publish();
    assert_eq!(channel.rings(&Fenced::by(&*regions.0)), Ring::Bell);
    app.disarm();
}

#[test]
fn who_sleeps_for_room_is_rung_once_half_of_the_ring_is_free() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    let mut sent = 0;
    for half in 1..=3 {
        while app.send(&[0; 60]).is_some() {
            sent += 1;
        }
        app.arm(WAKE_ON_TX_SPACE);
        let mut left = SLOTS;
        while SLOTS / 2 < left {
            assert_eq!(channel.rings(&Fenced::by(&*regions.0)), Ring::Nobody, "{left} slots are not free");
            left = take_all(&mut channel, 1, &mut Vec::new()).unwrap().left;
            let _ = channel.publish();
        }
        assert_eq!(channel.rings(&Fenced::by(&*regions.0)), Ring::Bell);
        assert_eq!((sent, left), (SLOTS / 2 * (half + 1), SLOTS / 2));
    }
}

#[test]
fn a_worker_that_sleeps_says_so() {
    let regions = regions();
    let (mut channel, mut app) = ends(&regions, 0);
    assert!(!app.worker_sleeps());
    channel.arm();
    assert_eq!(channel.last_look(&Fenced::by(channel.down)), Ok(0));
    app.send(&[0; 60]).unwrap();
    assert!(app.worker_sleeps());
    assert_eq!(channel.last_look(&Fenced::by(channel.down)), Ok(1));
    channel.disarm();
    assert!(!app.worker_sleeps());
}

#[test]
fn a_region_too_small_is_refused() {
    let (down, up) = regions();
    let need = shape().down_size();
    let short = &down[..need / 4 - 1];
    let error = Channel::new(short, &*up, &shape(), 0).unwrap_err();
    assert_eq!(error, ChannelError::TooSmall { given: need - 4, need });
    let error = Channel::new(&*down, &*up, &shape(), 2).unwrap_err();
    assert_eq!(error, ChannelError::Number { given: 2, limit: 2 });
}

#[test]
fn a_session_is_laid_out_and_ends() {
    let (down, _) = regions();
    let session = Session { slot: 3, generation: 9, mtu: 1500, features: 0 };
    let shape = shape().coloured(3);
    lay_out(&*down, &shape, session);
    let mut bytes = [0; size_of::<DownHeader>()];
    down.copy_out(0, &mut bytes);
    let header = DownHeader::read_from_bytes(&bytes).unwrap();
    assert_eq!((header.shape(), header.session()), (Ok(shape), session));
    let state = || State::from_word(down.load_u32(STATE, Ordering::Acquire));
    assert_eq!(state(), State::Live);
    set_state(&*down, State::Revoked);
    assert_eq!(state(), State::Revoked);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(usize),
    Receive,
    Send(usize),
    Visit(u32),
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2100_usize).prop_map(Step::Deliver),
        3 => Just(Step::Receive),
        4 => (15..1510_usize).prop_map(Step::Send),
        2 => (0..80_u32).prop_map(Step::Visit),
        3 => Just(Step::Publish),
    ]
}

/// Two queues with a limit, and nothing shared: what a channel is.
#[derive(Default)]
struct Twin {
    /// Delivered and not published, published and not received.
    rx: [VecDeque<Vec<u8>>; 2],
    /// Slots that the worker believes in use: it looks again only when they are all, once a burst.
    rx_believed: usize,
    looked: bool,
    tx: VecDeque<Vec<u8>>,
    /// Slots that the application believes in use.
    tx_in_use: usize,
    tx_taken: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever both ends do in whatever order, each packet arrives once, whole and in order, or is refused by name.
    #[test]
    fn a_channel_is_two_bounded_queues(
        start in prop_oneof![Just(0), Just(u32::MAX), Just(u32::MAX - 70), any::<u32>()],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let regions = regions();
        let (mut channel, mut app) = ends(&regions, start);
        let mut twin = Twin::default();
        let cap = SLOTS as usize;
        for (number, step) in (0_u32..).zip(steps) {
            match step {
                Step::Deliver(len) => {
                    let frame = packet(number, len);
                    let outcome = channel.deliver(&RxHead::of(1), &frame);
                    if 2048 < len {
                        prop_assert_eq!(outcome, Err(RxRefusal::TooLong));
                        continue;
                    }
                    if twin.rx_believed == cap && !twin.looked {
                        twin.looked = true;
                        twin.rx_believed = twin.rx[0].len() + twin.rx[1].len();
                    }
                    if twin.rx_believed == cap {
                        prop_assert_eq!(outcome, Err(RxRefusal::RingFull));
                    } else {
                        prop_assert_eq!(outcome, Ok(()));
                        twin.rx_believed += 1;
                        twin.rx[0].push_back(frame);
                    }
                }
                Step::Receive => {
                    let expected = twin.rx[1].pop_front();
                    prop_assert_eq!(app.receive().map(|(_, bytes)| bytes), expected);
                }
                Step::Send(len) => {
                    let frame = packet(number, len);
                    let sent = app.send(&frame);
                    prop_assert_eq!(sent.is_some(), twin.tx_in_use < cap);
                    if sent.is_some() {
                        twin.tx_in_use += 1;
                        twin.tx.push_back(frame);
                    }
                }
                Step::Visit(limit) => {
                    let waiting = twin.tx.len();
                    let count = waiting.min(limit as usize).min(64);
                    let mut got = Vec::new();
                    let visit = take_all(&mut channel, limit, &mut got);
                    let (taken, left) = (count as u32, (waiting - count) as u32);
                    prop_assert_eq!(visit, Ok(Visit { taken, left }));
                    twin.tx_taken += count;
                    let expected: Vec<_> = twin.tx.drain(..count).collect();
                    prop_assert_eq!(got, expected);
                }
                Step::Publish => {
                    let _ = channel.publish();
                    twin.looked = false;
                    let [new, seen] = &mut twin.rx;
                    seen.append(new);
                    twin.tx_in_use -= std::mem::take(&mut twin.tx_taken);
                }
            }
        }
    }

    /// Random words anywhere in `up` end the channel or are taken for packets; nothing panics, and never more than
    /// a visit's worth is taken.
    #[test]
    fn random_words_hurt_nobody(
        writes in prop::collection::vec((0..40_000_usize, any::<u32>()), 1..64),
        control in prop::collection::vec((0..3_usize, 0..200_u32), 0..8),
    ) {
        let regions = regions();
        let (mut channel, app) = ends(&regions, 0);
        for (at, value) in writes {
            if let Some(word) = regions.1.get(at) {
                word.store(value, Ordering::Relaxed);
            }
        }
        let words = [app.up_at.tx_prod(), app.up_at.rx_cons(), app.up_at.rx_flags()];
        for (which, value) in control {
            regions.1[words[which] / 4].store(value, Ordering::Relaxed);
            if let Ok(visit) = take_all(&mut channel, 64, &mut Vec::new()) {
                prop_assert!(visit.taken <= MAX_VISIT && visit.taken + visit.left <= SLOTS);
            }
            let _ = channel.deliver(&RxHead::of(1), &[0; 60]);
            let _ = channel.publish();
            let _ = channel.rings(&Fenced::by(&*regions.0));
        }
        let read = channel.counter(TxRead);
        prop_assert_eq!(read, channel.counter(TxSent) + channel.counter(ChannelCounter::TxDesc));
    }
}
