//! The application's end against a daemon's end of a few lines, over real memfds, seals and bells.
use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use ::region::{Direction, Region};
use abi::shm::{
    counter::ChannelCounter,
    desc::{Form, RxDesc, TxDesc},
    layout::{HeaderError, PAGE, State, UP_MAGIC},
    memory::Writable,
};
use proptest::prelude::*;
use std::collections::VecDeque;

use super::{
    channel::{Channel, Interest, Ready},
    fake::{FakeSession, SLEEPS},
    region::{RegionError, Regions},
    rx::RxFrame,
    tx::TooLong,
};

/// A guard against hanging, in no assertion.
const GUARD: Option<Duration> = Some(Duration::from_secs(30));

fn ends(channels: u16, features: u32) -> (FakeSession, Vec<Channel>) {
    let (session, regions, bells) = FakeSession::with_regions(channels, features);
    (session, Channel::all(&regions, bells))
}

fn one(features: u32) -> (FakeSession, Channel) {
    let (session, mut channels) = ends(1, features);
    (session, channels.pop().unwrap())
}

fn sent(session: &mut FakeSession) -> Vec<Vec<u8>> {
    session.take(0).into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn a_received_packet_is_read_where_it_lies() {
    let (mut session, mut channel) = one(0);
    assert!(channel.rx(64).is_empty());
    let desc =
        RxDesc { len: 20, tuple: 7, flags: 0x102, l3_off: 14, l4_off: 18, class: 5, ..RxDesc::default() };
    session.put(0, desc, b"ethernet.hdr..packet").unwrap();
    session.put(0, RxDesc { len: 9000, class: u16::MAX, ..desc }, &[3; 2048]).unwrap();
    assert!(channel.rx(64).is_empty(), "not before it is published");
    session.publish(0);
    let burst = channel.rx(64);
    let first =
        RxFrame { bytes: b"ethernet.hdr..packet", tuple: 7, l3: 14, l4: 18, flags: 0x102, class: Some(5) };
    assert_eq!((burst.len(), burst.get(0)), (2, Some(first)));
    assert_eq!(first.packet(), b"packet");
    let second = burst.get(1).unwrap();
    assert_eq!((second.bytes, second.class), (&[3; 2048][..], None), "a slot bounds what a descriptor says");
    assert_eq!(burst.get(2), None);
    drop(burst);
    assert!(channel.rx(64).is_empty(), "given back");
}

#[test]
fn what_is_truncated_or_forgotten_comes_again() {
    let (mut session, mut channel) = one(0);
    for number in 0..3 {
        session.deliver(0, number, &[number as u8; 20]).unwrap();
    }
    let tuples = |channel: &mut Channel| channel.rx(64).iter().map(|frame| frame.tuple).collect::<Vec<_>>();
    let mut burst = channel.rx(64);
    burst.truncate(1);
    drop(burst);
    std::mem::forget(channel.rx(1));
    assert_eq!(channel.rx(1).len(), 1);
    assert_eq!(tuples(&mut channel), [2]);
    assert_eq!(tuples(&mut channel), [0_u16; 0]);
}

#[test]
fn slots_are_given_back_when_the_burst_is_dropped_and_not_before() {
    let (mut session, mut channel) = one(0);
    for number in 0..64 {
        session.deliver(0, number, &[number as u8; 20]).unwrap();
    }
    assert_eq!(session.deliver(0, 64, &[0; 20]), None, "full");
    let burst = channel.rx(1);
    assert_eq!(session.deliver(0, 64, &[0; 20]), None, "the slot is still ours");
    assert_eq!(burst.get(0).unwrap().packet(), [0; 20]);
    drop(burst);
    assert_eq!(session.deliver(0, 64, &[0; 20]), Some(()));
    assert_eq!(session.deliver(0, 65, &[0; 20]), None);
}

#[test]
fn a_packet_goes_out_when_the_burst_is_dropped() {
    let (mut session, mut channel) = one(0);
    let mut burst = channel.tx(8);
    assert_eq!(burst.room(), 8);
    assert_eq!(burst.push(b"first packet", Form::L3), Ok(Some(())));
    burst.next().unwrap().bytes[..5].copy_from_slice(b"third");
    let slot = burst.next().unwrap();
    slot.bytes[..6].copy_from_slice(b"second");
    slot.commit(6, Form::L2).unwrap();
    assert_eq!(burst.room(), 6);
    assert_eq!(session.take(0), [], "not before");
    drop(burst);
    let expected = [
        (TxDesc::new(12, Form::L3), b"first packet".to_vec()),
        (TxDesc::new(6, Form::L2), b"second".to_vec()),
    ];
    assert_eq!(session.take(0), expected);
}

#[test]
fn what_is_too_long_is_refused_and_its_slot_stays_free() {
    let (mut session, mut channel) = one(0);
    let mut burst = channel.tx(1);
    let error = TooLong { given: 2049, limit: 2048 };
    assert_eq!(burst.push(&[0; 2049], Form::L3), Err(error));
    assert_eq!(burst.next().unwrap().commit(2049, Form::L3), Err(error));
    assert_eq!(burst.push(&[7; 2048], Form::L3), Ok(Some(())));
    assert_eq!(burst.push(&[8; 20], Form::L3), Ok(None), "that was the one");
    drop(burst);
    assert_eq!(sent(&mut session), [vec![7; 2048]]);
}

#[test]
fn a_full_tx_ring_has_no_room_until_the_daemon_takes() {
    let (mut session, mut channel) = one(0);
    let mut burst = channel.tx(1000);
    assert_eq!(burst.room(), 64);
    while burst.push(&[1; 20], Form::L3).unwrap().is_some() {}
    drop(burst);
    assert_eq!(channel.tx(1).room(), 0);
    assert_eq!(channel.ready().tx, 0);
    assert_eq!(sent(&mut session).len(), 64);
    assert_eq!(channel.tx(1000).room(), 64);
    assert_eq!(channel.ready().tx, 64);
}

#[test]
fn a_packet_is_answered_while_it_is_read() {
    let (mut session, mut channel) = one(0);
    session.deliver(0, 1, b"ping").unwrap();
    let (rx, tx) = channel.split();
    let (received, mut room) = (rx.burst(64), tx.burst(64));
    for frame in received.iter() {
        room.push(frame.packet(), Form::L3).unwrap().unwrap();
    }
    drop((received, room));
    assert_eq!(sent(&mut session), [b"ping"]);
}

#[test]
fn a_sleeping_worker_is_rung_and_an_awake_one_is_not() {
    let (session, mut channel) = one(SLEEPS);
    channel.tx(1).push(&[0; 20], Form::L3).unwrap().unwrap();
    assert_eq!(session.rung(0), 0);
    session.fall_asleep(0);
    drop(channel.tx(1));
    assert_eq!(session.rung(0), 0, "nothing was sent");
    channel.tx(1).push(&[0; 20], Form::L3).unwrap().unwrap();
    assert_eq!(session.rung(0), 1);
    let (session, mut channel) = one(0);
    session.fall_asleep(0);
    channel.tx(1).push(&[0; 20], Form::L3).unwrap().unwrap();
    assert_eq!(session.rung(0), 0, "its workers never sleep");
}

#[test]
fn waiting_returns_at_once_when_there_is_something() {
    let (mut session, mut channel) = one(0);
    let ready = |rx, tx| Ready { rx, tx, session: State::Live };
    assert_eq!(channel.wait(Interest::Rx, Some(Duration::ZERO)).unwrap(), ready(0, 64));
    assert_eq!(channel.wait(Interest::Tx, None).unwrap(), ready(0, 64));
    assert_eq!(channel.wait(Interest::Both, None).unwrap(), ready(0, 64));
    session.deliver(0, 1, &[0; 20]).unwrap();
    assert_eq!(channel.wait(Interest::Rx, None).unwrap(), ready(1, 64));
    assert_eq!(session.application_armed(0), 0, "it is awake again");
}

/// Hands over once the application sleeps, or is about to.
fn when_armed(session: &FakeSession) {
    while session.application_armed(0) == 0 {
        thread::yield_now();
    }
}

#[test]
fn a_sleeper_is_woken_by_a_packet() {
    let (mut session, mut channel) = one(0);
    let daemon = thread::spawn(move || {
        when_armed(&session);
        session.ring(0);
        when_armed(&session);
        session.deliver(0, 1, &[0; 20]).unwrap();
        session
    });
    let ready = channel.wait(Interest::Rx, GUARD).unwrap();
    assert_eq!(ready, Ready { rx: 1, tx: 64, session: State::Live }, "and not by a bell rung for nothing");
    drop(daemon.join().unwrap());
}

#[test]
fn a_sleeper_is_woken_by_room_by_revocation_and_by_the_daemons_death() {
    let (mut session, mut channel) = one(0);
    let mut burst = channel.tx(64);
    while burst.push(&[1; 20], Form::L3).unwrap().is_some() {}
    drop(burst);
    let daemon = thread::spawn(move || {
        when_armed(&session);
        assert_eq!(sent(&mut session).len(), 64);
        session
    });
    assert_eq!(channel.wait(Interest::Tx, GUARD).unwrap().tx, 64);
    let session = daemon.join().unwrap();
    let daemon = thread::spawn(move || {
        when_armed(&session);
        session.set_state(State::Revoked);
        session.ring(0);
        session
    });
    assert_eq!(channel.wait(Interest::Rx, GUARD).unwrap().session, State::Revoked);
    let session = daemon.join().unwrap();
    session.set_state(State::Live);
    let daemon = thread::spawn(move || {
        when_armed(&session);
        drop(session);
    });
    assert_eq!(channel.wait(Interest::Rx, GUARD).unwrap().session, State::Revoked);
    daemon.join().unwrap();
    assert_eq!(channel.session(), State::Live, "nobody was left to say so");
}

#[test]
fn nonsense_from_the_daemon_looks_revoked() {
    let (session, mut channel) = one(0);
    let at = session.shape.down(0).unwrap();
    session.scribble(at.rx_prod(), 65);
    assert!(channel.rx(64).is_empty());
    let over = Ready { rx: 0, tx: 0, session: State::Revoked };
    assert_eq!((channel.ready(), channel.wait(Interest::Rx, None).unwrap()), (over, over));
    session.scribble(at.rx_prod(), 0);
    session.scribble(at.tx_cons(), 1);
    assert_eq!(channel.tx(64).room(), 64);
    assert_eq!(channel.ready(), over);
}

#[test]
fn channels_are_apart() {
    let (mut session, mut channels) = ends(3, 0);
    assert_eq!(channels.iter().map(Channel::number).collect::<Vec<_>>(), [0, 1, 2]);
    session.deliver(1, 9, &[1; 20]).unwrap();
    channels[2].tx(1).push(&[2; 20], Form::L3).unwrap().unwrap();
    assert_eq!(channels.iter_mut().map(|channel| channel.rx(64).len()).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!([0, 1, 2].map(|channel| session.take(channel).len()), [0, 0, 1]);
    session.scribble(session.shape.down(1).unwrap().counter(ChannelCounter::RxRingFull.index()), 5);
    let counted = |channel: &Channel| channel.counter(ChannelCounter::RxRingFull);
    assert_eq!(channels.iter().map(counted).collect::<Vec<_>>(), [0, 5, 0]);
    assert_eq!((channels[0].mtu(), channels[0].has_partial_checksums()), (1500, false));
}

#[test]
fn a_region_that_is_not_as_promised_is_refused() {
    let (_session, fds) = FakeSession::new(1, 0);
    let [down, up, ..] = &fds[..] else { panic!("two regions") };
    Regions::map(down, up).unwrap();
    let error = Regions::map(up, up).unwrap_err();
    assert!(matches!(error, RegionError::Region(::region::RegionError::Seals { .. })), "{error}");
    let made = |direction, size| Region::create(direction, size).unwrap();
    let (_, short) = made(Direction::Down, PAGE - 1);
    let error = Regions::map(&short, up).unwrap_err();
    assert!(matches!(error, RegionError::TooSmall { given: 4095, need: PAGE }), "{error}");
    let (_, short) = made(Direction::Up, PAGE);
    let error = Regions::map(down, &short).unwrap_err();
    assert!(matches!(error, RegionError::TooSmall { given: PAGE, .. }), "{error}");
    let (other, other_fd) = made(Direction::Down, PAGE);
    other.store_u32(0, UP_MAGIC, Ordering::Release);
    let error = Regions::map(&other_fd, up).unwrap_err();
    assert!(matches!(error, RegionError::Header(HeaderError::Magic { given: UP_MAGIC })), "{error}");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(usize),
    Receive(usize),
    Send(usize),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..2000_usize).prop_map(Step::Deliver),
        (0..70_usize).prop_map(Step::Receive),
        (1..2048_usize).prop_map(Step::Send),
        Just(Step::Take),
    ]
}

fn packet(number: u32, len: usize) -> Vec<u8> {
    number.to_ne_bytes().into_iter().cycle().take(len).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever both ends do in whatever order, each packet arrives once, whole and in order.
    #[test]
    fn a_channel_is_two_bounded_queues(steps in prop::collection::vec(step(), 1..300)) {
        let (mut session, mut channel) = one(SLEEPS);
        let (mut rx, mut tx) = (VecDeque::new(), VecDeque::new());
        for (number, step) in (0_u32..).zip(steps) {
            match step {
                Step::Deliver(len) => {
                    let packet = packet(number, len);
                    let room = rx.len() < 64;
                    prop_assert_eq!(session.deliver(0, 1, &packet).is_some(), room);
                    if room {
                        rx.push_back(packet);
                    }
                }
                Step::Receive(max) => {
                    let burst = channel.rx(max);
                    let got: Vec<_> = burst.iter().map(|frame| frame.packet().to_vec()).collect();
                    let count = max.min(rx.len());
                    prop_assert_eq!(got, rx.drain(..count).collect::<Vec<_>>());
                }
                Step::Send(len) => {
                    let packet = packet(number, len);
                    let room = tx.len() < 64;
                    let sent = channel.tx(1).push(&packet, Form::L3).unwrap();
                    prop_assert_eq!(sent.is_some(), room);
                    if room {
                        tx.push_back(packet);
                    }
                }
                Step::Take => prop_assert_eq!(sent(&mut session), tx.drain(..).collect::<Vec<_>>()),
            }
        }
    }
}

/// Two threads, both asleep whenever they can be: twenty thousand packets there and back, none lost.
#[test]
fn nobody_sleeps_through_anything_for_long() {
    const PACKETS: u32 = 20_000;
    let (mut session, mut channel) = one(SLEEPS);
    let back = std::sync::Arc::new(AtomicU32::new(0));
    let done = back.clone();
    let daemon = thread::spawn(move || {
        let mut sent_on = 0;
        while done.load(Ordering::Acquire) < PACKETS {
            while sent_on < PACKETS && session.deliver(0, 1, &packet(sent_on, 20)).is_some() {
                sent_on += 1;
            }
            let count = session.take(0).len() as u32;
            done.fetch_add(count, Ordering::AcqRel);
            thread::yield_now();
        }
    });
    let mut next = 0;
    while next < PACKETS {
        let ready = channel.wait(Interest::Rx, GUARD).unwrap();
        assert!(0 < ready.rx, "asleep, and nobody rang");
        let room = channel.wait(Interest::Tx, GUARD).unwrap().tx as usize;
        let (rx, tx) = channel.split();
        let (received, mut answers) = (rx.burst(room), tx.burst(room));
        for frame in received.iter() {
            assert_eq!(frame.packet(), packet(next, 20));
            answers.push(frame.packet(), Form::L3).unwrap().unwrap();
            next += 1;
        }
    }
    daemon.join().unwrap();
    assert_eq!(back.load(Ordering::Acquire), PACKETS);
}
