//! Every interleaving of a channel's two ends falling asleep and waking each other, under loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p multistack --lib --release interleavings`.
#![cfg(loom)]
use std::collections::BTreeMap;

use abi::shm::counter::ChannelCounter;
use abi::shm::layout::{Shape, SlotSize, Slots};
use abi::shm::memory::{Memory, Writable};
use abi::shm::ring::{Fenced, rx_flags};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

use super::application::Application;
use super::*;

/// A region of which only the words that a test touches exist: loom pays for each of them.
struct Sparse {
    size: usize,
    words: BTreeMap<usize, AtomicU32>,
}

#[derive(Clone)]
struct Region(Arc<Sparse>);

impl Region {
    fn new(size: usize, touched: impl IntoIterator<Item = usize>) -> Self {
        let words = touched.into_iter().map(|at| (at, AtomicU32::new(0))).collect();
        Self(Arc::new(Sparse { size, words }))
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        self.0.words.get(&at).unwrap_or_else(|| panic!("word {at} is not part of this model"))
    }
}

impl Memory for Region {
    fn size(&self) -> usize {
        self.0.size
    }
    fn load_u32(&self, at: usize, order: Ordering) -> u32 {
        self.word(at).load(order)
    }
    fn load_u64(&self, at: usize) -> u64 {
        let half = |at| u64::from(self.word(at).load(Ordering::Relaxed));
        half(at) | half(at + 4) << 32
    }
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (index, word) in into.chunks_mut(4).enumerate() {
            word.copy_from_slice(&self.word(at + 4 * index).load(Ordering::Relaxed).to_ne_bytes());
        }
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

impl Writable for Region {
    fn store_u32(&self, at: usize, value: u32, order: Ordering) {
        self.word(at).store(value, order);
    }
    fn store_u64(&self, at: usize, value: u64) {
        // Counters are looked at by nobody here, and loom would explore each of them.
        if let Some(low) = self.0.words.get(&at) {
            low.store(value as u32, Ordering::Relaxed);
            self.word(at + 4).store((value >> 32) as u32, Ordering::Relaxed);
        }
    }
    fn copy_in(&self, at: usize, from: &[u8]) {
        for (index, word) in from.chunks(4).enumerate() {
            let word = word.try_into().expect("whole words");
            self.word(at + 4 * index).store(u32::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
}

/// Five words: the shortest packet that a descriptor may have.
const PACKET: [u8; 20] = *b"octroi: a packet....";

fn ends() -> (Channel<Region, Region>, Application<Region, Region>) {
    let slots = Slots::new(64).expect("a power of two");
    let shape = Shape::new(1, slots, slots, SlotSize::new(2048).expect("legal")).expect("one channel");
    let (d, u) = (shape.down(0).expect("one"), shape.up(0).expect("one"));
    let words = |from: usize, count: usize| (0..count).map(move |word| from + 4 * word);
    let packet = PACKET.len() / 4;
    let down = [d.rx_prod(), d.tx_cons(), d.tx_flags()];
    let down = down.into_iter().chain(words(d.descriptor(0), 4)).chain(words(d.buffer(0), packet));
    let up = [u.tx_prod(), u.rx_cons(), u.rx_flags()];
    let up = up.into_iter().chain(words(u.descriptor(0), 4)).chain(words(u.buffer(0), packet));
    let (down, up) = (Region::new(shape.down_size(), down), Region::new(shape.up_size(), up));
    let channel = Channel::new(down.clone(), up.clone(), &shape, 0).expect("large enough");
    (channel, Application::new(down, up, &shape, 0, 0))
}

/// The application blocks only if, after saying so, it finds nothing. If it blocks, the worker must have rung.
#[test]
fn no_application_sleeps_through_a_packet() {
    loom::model(|| {
        let (mut channel, mut app) = ends();
        let worker = thread::spawn(move || {
            channel.deliver(&RxHead::of(1), &PACKET).expect("room");
            let _ = channel.publish();
            channel.rings(&Fenced::by(&channel.down))
        });
        let _fenced = app.arm(rx_flags::WAKE_ON_RX);
        let got = app.receive();
        let rung = worker.join().expect("no panic");
        assert!(got.is_some() || rung == Ring::Bell, "asleep, a packet waits, and nobody rings");
        if let Some((desc, bytes)) = got {
            assert_eq!((desc.len, bytes.as_slice()), (20, PACKET.as_slice()), "whole, once it is seen");
        }
    });
}

/// The same the other way round: a worker about to sleep, an application that sends.
#[test]
fn no_worker_sleeps_through_a_packet() {
    loom::model(|| {
        let (mut channel, mut app) = ends();
        let sender = thread::spawn(move || {
            app.send(&PACKET).expect("room");
            app.worker_sleeps()
        });
        channel.arm();
        let fenced = Fenced::by(&channel.down);
        let waits = channel.last_look(&fenced).expect("an honest application");
        let rung = sender.join().expect("no panic");
        assert!(waits != 0 || rung, "asleep, a packet waits, and nobody rings");
        if waits != 0 {
            let mut copy = [0; 20];
            let visit = channel.visit(1, |offer| {
                offer.copy_to(&mut copy).expect("room");
                Outcome::Taken(ChannelCounter::TxSent, 1)
            });
            assert_eq!((visit, copy), (Ok(Visit { taken: 1, left: 0 }), PACKET), "whole, once it is seen");
        }
    });
}

/// A sleeper that was rung for one thing and sleeps again at once is rung for the next: clearing its flag never eats
/// one that it has set anew.
#[test]
fn clearing_a_flag_always_comes_with_a_byte() {
    loom::model(|| {
        let (mut channel, mut app) = ends();
        let bytes = Arc::new(AtomicU32::new(0));
        let bell = bytes.clone();
        let worker = thread::spawn(move || {
            channel.deliver(&RxHead::of(1), &PACKET).expect("room");
            let _ = channel.publish();
            if channel.rings(&Fenced::by(&channel.down)) == Ring::Bell {
                bell.fetch_add(1, Ordering::Release);
            }
        });
        // Wakes by itself once, as if by a timeout, and goes back to sleep.
        let _ = app.arm(rx_flags::WAKE_ON_RX);
        app.disarm();
        let _fenced = app.arm(rx_flags::WAKE_ON_RX);
        let got = app.receive();
        worker.join().expect("no panic");
        assert!(got.is_some() || bytes.load(Ordering::Acquire) != 0, "asleep, and nobody rings");
    });
}
