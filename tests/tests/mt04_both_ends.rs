//! An application's end of a channel against the daemon's, each as it is shipped, over one sealed memory that both have
//! mapped. No daemon, no privilege: what they put in comes out, in order, and their books agree.
#![deny(unsafe_code)]
use std::{
    collections::VecDeque,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::Ordering,
    thread,
};

use abi::shm::{
    counter::ChannelCounter,
    desc::Form,
    layout::{Session, Shape, SlotSize, Slots, feature},
    memory::Writable as _,
};
use anyhow::{Context as _, Result, bail, ensure};
use client::shm::{
    channel::{Channel as Application, Interest},
    region::Regions,
};
use ixp::region::{Direction, Region};
use multistack::channel::{Channel, Outcome, Ring, RxHead, RxRefusal, lay_out};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use octroi_tests::{
    corpus::rng::Rng,
    lab::guard::Guard,
    scale::{self, Seed},
};

const SLOT: usize = 2048;

/// Indices at which rings begin: fresh, and where they soon run over the end of `u32`.
const STARTS: [u32; 3] = [0, u32::MAX - 1000, u32::MAX - 3];

/// Both ends of the only channel of a session, and the daemon's half of its bell.
struct Ends {
    daemon: Channel<Region, Region>,
    application: Application,
    bell: OwnedFd,
}

impl Ends {
    fn new(rx: u32, tx: u32, start: u32, features: u32) -> Result<Self> {
        let shape = Shape::new(1, Slots::new(rx)?, Slots::new(tx)?, SlotSize::new(SLOT as u32)?)?;
        let (down, down_fd) = Region::create(Direction::Down, shape.down_size())?;
        let (up, up_fd) = Region::create(Direction::Up, shape.up_size())?;
        lay_out(&down, &shape, Session { slot: 1, generation: 1, mtu: 1500, features });
        let (down_at, up_at) = (shape.down(0).context("a channel")?, shape.up(0).context("a channel")?);
        for (region, at) in [
            (&down, down_at.rx_prod()),
            (&down, down_at.tx_cons()),
            (&up, up_at.tx_prod()),
            (&up, up_at.rx_cons()),
        ] {
            region.store_u32(at, start, Ordering::Release);
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (bell, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        let regions = Regions::map(&down_fd, &up_fd)?;
        let application = Application::over(regions, vec![theirs], start).pop().context("a channel")?;
        Ok(Self { daemon: Channel::starting_at(down, up, &shape, 0, start)?, application, bell })
    }
}

/// A packet that no other number has: so long, and every byte depends on the number.
fn packet(number: u64, len: usize) -> Vec<u8> {
    number.to_ne_bytes().into_iter().cycle().take(len).enumerate().map(|(at, byte)| byte ^ at as u8).collect()
}

fn head(number: u64) -> RxHead {
    RxHead {
        flags: number as u16 & 0x3F,
        l3_off: 14,
        l4_off: 34,
        class: number as u16,
        ..RxHead::of(number as u16)
    }
}

/// What a run offered, and what became of it.
#[derive(Default)]
struct Books {
    delivered: u64,
    ring_full: u64,
    too_long: u64,
    sent: u64,
    refused: u64,
}

#[test]
fn mt04_both_ends_of_a_channel_are_two_queues_whatever_they_do_and_when() -> Result<()> {
    let seed = Seed::get();
    let mut rng = Rng::new(seed);
    for start in STARTS {
        for (rx, tx) in [(64, 64), (64, 4096), (256, 128)] {
            let steps = scale::MT04_STEPS.count();
            random(&mut rng, steps, (rx, tx), start)
                .with_context(|| format!("{rx} and {tx} slots from {start}, {seed}"))?;
        }
    }
    Ok(())
}

/// Random bursts both ways against two queues that are obviously right.
fn random(rng: &mut Rng, steps: u64, (rx, tx): (u32, u32), start: u32) -> Result<()> {
    let Ends { mut daemon, mut application, bell: _bell } = Ends::new(rx, tx, start, 0)?;
    // What lies in each ring: shown to the other end, and not yet.
    let (mut down, mut down_hidden) = (VecDeque::new(), VecDeque::new());
    let (mut up, mut up_hidden) = (VecDeque::new(), VecDeque::new());
    let mut books = Books::default();
    for number in 0..steps {
        let burst = rng.below(96);
        match rng.below(8) {
            0 | 1 => {
                for extra in 0..burst as u64 {
                    let number = number << 16 | extra;
                    let frame = packet(number, 1 + rng.below(SLOT + 8));
                    let room = down.len() + down_hidden.len() < rx as usize;
                    match daemon.deliver(&head(number), &frame) {
                        Ok(()) => {
                            ensure!(room, "delivered into a full ring");
                            books.delivered += 1;
                            down_hidden.push_back((number, frame));
                        }
                        Err(RxRefusal::TooLong) if SLOT < frame.len() => books.too_long += 1,
                        // Until it publishes, it looks at the other's index once: what was given back since is no room.
                        Err(RxRefusal::RingFull) => books.ring_full += 1,
                        Err(other) => bail!("{other}"),
                    }
                }
            }
            2 => {
                let _ = daemon.publish();
                down.append(&mut down_hidden);
            }
            3 | 4 => {
                let mut received = application.rx(burst);
                ensure!(received.len() == burst.min(down.len()), "{} of {}", received.len(), down.len());
                // Some stay, and come again.
                let kept = rng.below(received.len() + 1);
                for (index, (number, bytes)) in down.iter().take(received.len()).enumerate() {
                    let frame = received.get(index).context("a frame")?;
                    ensure!(frame.bytes == &bytes[..], "packet {number:#x} arrived changed");
                    let class = (*number as u16 != u16::MAX).then_some(*number as u16);
                    ensure!(
                        (frame.tuple, frame.l3, frame.l4, frame.class) == (*number as u16, 14, 34, class)
                    );
                }
                received.truncate(kept);
                drop(received);
                down.drain(..kept);
            }
            5 | 6 => {
                let mut sending = application.tx(burst);
                let room = sending.room();
                ensure!(room == burst.min(tx as usize - up.len() - up_hidden.len()), "room for {room}");
                for extra in 0..rng.below(room + 1) as u64 {
                    let bytes = packet(number << 16 | extra, 1 + rng.below(SLOT));
                    let form = if rng.once_in(2) { Form::L3 } else { Form::L2 };
                    sending.push(&bytes, form)?.context("there was room")?;
                    up_hidden.push_back((form, bytes));
                }
                if rng.once_in(2) {
                    sending.hold();
                } else {
                    drop(sending);
                    up.append(&mut up_hidden);
                }
            }
            _ => {
                let until = rng.below(70);
                let mut wrong = None;
                let visit = daemon.visit(burst as u32, |offer| {
                    let Some((form, bytes)) = up.front() else {
                        wrong = Some("a packet that nobody sent");
                        return Outcome::Stay;
                    };
                    let mut copy = [0; SLOT];
                    if offer.desc().form() != Some(*form)
                        || offer.copy_to(&mut copy).as_deref() != Some(&bytes[..])
                    {
                        wrong = Some("a packet arrived changed");
                    }
                    if until <= bytes.len() % 64 {
                        return Outcome::Stay;
                    }
                    let refused = bytes.len().is_multiple_of(3);
                    up.pop_front();
                    if refused {
                        books.refused += 1
                    } else {
                        books.sent += 1
                    };
                    let counter = if refused { ChannelCounter::TxNotOwner } else { ChannelCounter::TxSent };
                    Outcome::Taken(counter, 1)
                })?;
                ensure!(wrong.is_none(), "{wrong:?}");
                ensure!(visit.left as usize == up.len(), "{} left of {}", visit.left, up.len());
                let _ = daemon.publish();
                down.append(&mut down_hidden);
            }
        }
    }
    let expected = [
        (ChannelCounter::RxDelivered, books.delivered),
        (ChannelCounter::RxRingFull, books.ring_full),
        (ChannelCounter::RxTooLong, books.too_long),
        (ChannelCounter::TxRead, books.sent + books.refused),
        (ChannelCounter::TxSent, books.sent),
        (ChannelCounter::TxNotOwner, books.refused),
    ];
    let _ = daemon.publish();
    for &counter in ChannelCounter::ALL {
        let want = expected.iter().find(|(which, _)| *which == counter).map_or(0, |(_, value)| *value);
        let both = (daemon.counter(counter), application.counter(counter));
        ensure!(both == (want, want), "{}: {both:?}, not {want}", counter.name());
    }
    ensure!(expected.iter().all(|(_, value)| 0 < *value), "something never happened: {expected:?}");
    Ok(())
}

#[test]
fn mt04_both_ends_asleep_whenever_they_can_be_lose_nothing_either_way() -> Result<()> {
    let _guard = Guard::start("mt04_both_ends_asleep_whenever_they_can_be_lose_nothing_either_way");
    for start in STARTS {
        asleep(scale::MT04_PACKETS.count(), start).with_context(|| format!("from {start}"))?;
    }
    Ok(())
}

/// The daemon sends numbered packets down and expects each back. Whoever has nothing to do sleeps until it is rung.
fn asleep(packets: u64, start: u32) -> Result<()> {
    let Ends { mut daemon, mut application, bell } = Ends::new(64, 64, start, feature::WORKERS_SLEEP)?;
    let echo = thread::spawn(move || -> Result<Application> {
        let mut next = 0;
        while next < packets {
            application.wait(Interest::Rx, None)?;
            let room = application.wait(Interest::Tx, None)?.tx as usize;
            let (rx, tx) = application.split();
            let mut answers = tx.burst(room);
            // Dropped before the answers: whoever sees one sees room for the next, too.
            let received = rx.burst(room);
            for frame in received.iter() {
                ensure!(
                    frame.bytes == packet(next, 8 + next as usize % 1000),
                    "packet {next} on its way down"
                );
                answers.push(frame.bytes, Form::L3)?.context("there was room")?;
                next += 1;
            }
        }
        Ok(application)
    });
    let (mut sent, mut back) = (0, 0);
    while back < packets {
        while sent < packets && daemon.deliver(&head(sent), &packet(sent, 8 + sent as usize % 1000)).is_ok() {
            sent += 1;
        }
        let mut wrong = None;
        let visit = daemon.visit(64, |offer| {
            let mut copy = [0; SLOT];
            let want = packet(back, 8 + back as usize % 1000);
            if offer.copy_to(&mut copy).as_deref() != Some(&want[..]) {
                wrong = Some(back);
            }
            back += 1;
            Outcome::Taken(ChannelCounter::TxSent, 1)
        })?;
        ensure!(wrong.is_none(), "packet {wrong:?} on its way back");
        let _ = daemon.publish();
        if daemon.rings(&daemon.fence()) == Ring::Bell {
            // A full bell is rung enough.
            let _ = send(bell.as_raw_fd(), &[1], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
        if visit.taken == 0 && back < packets {
            sleep(&mut daemon, &bell)?;
        }
    }
    let application = echo.join().map_err(|_| anyhow::anyhow!("the application panicked"))??;
    for counter in [ChannelCounter::RxDelivered, ChannelCounter::TxRead, ChannelCounter::TxSent] {
        ensure!(
            (daemon.counter(counter), application.counter(counter)) == (packets, packets),
            "{}",
            counter.name()
        );
    }
    Ok(())
}

/// As a worker sleeps: arm, fence, look once more, block. Whatever is under way brings an answer, which rings.
fn sleep(daemon: &mut Channel<Region, Region>, bell: &OwnedFd) -> Result<()> {
    daemon.arm();
    let fenced = daemon.fence();
    if daemon.last_look(&fenced)? == 0 {
        poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        let _ = recv(bell.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT);
    }
    daemon.disarm();
    Ok(())
}
