//! A daemon's end in a few lines, for the tests of this crate: real memfds, seals, bells and sockets, no checks.
use std::{
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
};

use ::region::{Direction, Region};
use abi::shm::{
    desc::{RxDesc, TxDesc},
    layout::{DownHeader, STATE, Session, Shape, SlotSize, Slots, State, feature},
    memory::{Memory, Writable},
    ring::{self, Consumer, Fenced, Producer, rx_flags, tx_flags},
};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, listen, recv, send, socket,
    socketpair,
};
use serde_json::Value;
use zerocopy::IntoBytes;

use super::{
    passing,
    region::{Regions, Up},
};
use crate::control::{
    MAX_DATAGRAM,
    answer::Reply,
    refusal::Refusal,
    request::{Op, Request},
    stack::{Lease, StackOpened},
};

pub(crate) const MTU: u32 = 1500;
pub(crate) const LEASE: Lease = Lease::from_bits(0x0C78_0100);

/// One session as its daemon has it.
#[derive(Debug)]
pub(crate) struct FakeSession {
    pub(crate) shape: Shape,
    down: Up,
    up: Up,
    pub(crate) bells: Vec<OwnedFd>,
    rx: Vec<Producer>,
    tx: Vec<Consumer>,
}

impl FakeSession {
    /// A session of `channels` channels with rings of 64 slots, and the descriptors for the application.
    pub(crate) fn new(channels: u16, features: u32) -> (Self, Vec<OwnedFd>) {
        let slots = Slots::new(64).unwrap();
        let shape = Shape::new(channels, slots, slots, SlotSize::new(2048).unwrap()).unwrap();
        let (down, down_fd) = Region::create(Direction::Down, shape.down_size()).unwrap();
        let (up, up_fd) = Region::create(Direction::Up, shape.up_size()).unwrap();
        let session = Session { slot: 3, generation: 9, mtu: MTU, features };
        down.copy_in(0, DownHeader::new(&shape, session).as_bytes());
        let mut fds = vec![down_fd, up_fd];
        let mut bells = Vec::new();
        for _ in 0..channels {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap();
            bells.push(ours);
            fds.push(theirs);
        }
        let count = usize::from(channels);
        let (rx, tx) = (vec![Producer::new(slots, 0); count], vec![Consumer::new(slots, 0); count]);
        (Self { shape, down, up, bells, rx, tx }, fds)
    }

    /// Both ends, without a control connection.
    pub(crate) fn with_regions(channels: u16, features: u32) -> (Self, Regions, Vec<OwnedFd>) {
        let (session, mut fds) = Self::new(channels, features);
        let bells = fds.split_off(2);
        let regions = Regions::map(&fds[0], &fds[1]).unwrap();
        (session, regions, bells)
    }

    pub(crate) fn opened(&self) -> StackOpened {
        StackOpened {
            slot: 3,
            generation: 9,
            lease: LEASE,
            channels: self.shape.channels(),
            slot_size: self.shape.slot_size().get(),
            mtu: MTU,
        }
    }

    /// Puts a frame into a ring without showing it; whether there was room.
    pub(crate) fn put(&mut self, channel: u16, desc: RxDesc, frame: &[u8]) -> Option<()> {
        let (down, up) = (self.shape.down(channel)?, self.shape.up(channel)?);
        let ring = &mut self.rx[usize::from(channel)];
        ring.look(&self.up, up.rx_cons()).unwrap();
        let slot = ring.take()?;
        self.down.copy_in(down.buffer(slot), frame);
        let [first, second] = desc.words();
        self.down.store_u64(down.descriptor(slot), first);
        self.down.store_u64(down.descriptor(slot) + 8, second);
        Some(())
    }

    /// Delivers an IP packet behind an Ethernet header of zeros.
    pub(crate) fn deliver(&mut self, channel: u16, tuple: u16, packet: &[u8]) -> Option<()> {
        let frame = [&[0; 14], packet].concat();
        let desc =
            RxDesc { len: frame.len() as u32, tuple, l3_off: 14, class: u16::MAX, ..RxDesc::default() };
        self.put(channel, desc, &frame)?;
        self.publish(channel);
        Some(())
    }

    /// Takes every packet that was sent.
    pub(crate) fn take(&mut self, channel: u16) -> Vec<(TxDesc, Vec<u8>)> {
        let at = self.shape.up(channel).unwrap();
        let ring = &mut self.tx[usize::from(channel)];
        let count = ring.look(&self.up, at.tx_prod()).unwrap();
        let taken = (0..count).map(|_| {
            let slot = ring.peek(0);
            let words = [0, 8].map(|half| self.up.load_u64(at.descriptor(slot) + half));
            let desc = TxDesc::from_words(words);
            let mut bytes = vec![0; desc.len as usize];
            self.up.copy_out(at.buffer(slot), &mut bytes);
            ring.take(1);
            (desc, bytes)
        });
        let taken = taken.collect();
        self.publish(channel);
        taken
    }

    /// Shows the application what was done, and rings it if it sleeps.
    pub(crate) fn publish(&mut self, channel: u16) {
        let number = usize::from(channel);
        let (down, up) = (self.shape.down(channel).unwrap(), self.shape.up(channel).unwrap());
        let mut wanted = 0;
        if self.rx[number].publish(&self.down, down.rx_prod()).is_yes() {
            wanted |= rx_flags::WAKE_ON_RX;
        }
        if self.tx[number].publish(&self.down, down.tx_cons()).is_yes() {
            wanted |= rx_flags::WAKE_ON_TX_SPACE;
        }
        let fenced = Fenced::by(&self.down);
        if ring::sleeps_for(&self.up, up.rx_flags(), wanted, &fenced) != 0 {
            ring::disarm(&self.up, up.rx_flags());
            self.ring(channel);
        }
    }

    pub(crate) fn ring(&self, channel: u16) {
        let bell = self.bells[usize::from(channel)].as_raw_fd();
        let _ = send(bell, &[1], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    /// Bytes that the application has rung.
    pub(crate) fn rung(&self, channel: u16) -> usize {
        recv(self.bells[usize::from(channel)].as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).unwrap_or(0)
    }

    pub(crate) fn fall_asleep(&self, channel: u16) {
        let at = self.shape.down(channel).unwrap().tx_flags();
        ring::arm(&self.down, at, tx_flags::NEED_WAKEUP);
    }

    pub(crate) fn set_state(&self, state: State) {
        self.down.store_u32(STATE, state as u32, Ordering::Release);
    }

    /// Writes any word of the down region.
    pub(crate) fn scribble(&self, at: usize, value: u32) {
        self.down.store_u32(at, value, Ordering::Release);
    }

    pub(crate) fn application_armed(&self, channel: u16) -> u32 {
        self.up.load_u32(self.shape.up(channel).unwrap().rx_flags(), Ordering::Acquire)
    }
}

/// What a fake daemon does with a request.
pub(crate) struct Answer {
    pub(crate) outcome: Result<Value, Refusal>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Said before the reply, and after it.
    pub(crate) events: [Vec<crate::control::event::Event>; 2],
}

impl Answer {
    pub(crate) fn of(value: impl serde::Serialize) -> Self {
        let outcome = Ok(serde_json::to_value(value).unwrap());
        Self { outcome, fds: Vec::new(), events: [Vec::new(), Vec::new()] }
    }
}

/// A control socket that serves one connection, until it or the application hangs up.
pub(crate) struct FakeDaemon {
    pub(crate) path: PathBuf,
    /// What was asked, and the descriptors that came along.
    pub(crate) asked: Receiver<(Op, usize)>,
    thread: JoinHandle<()>,
}

impl FakeDaemon {
    /// Answers each request by `answers`, and hangs up when it says `None`.
    pub(crate) fn start<F>(dir: &Path, mut answers: F) -> Self
    where
        F: FnMut(&Op) -> Option<Answer> + Send + 'static,
    {
        let path = dir.join("control.sock");
        let _ = std::fs::remove_file(&path);
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(4).unwrap()).unwrap();
        let (tell, asked) = channel();
        let thread = std::thread::spawn(move || {
            let (peer, _) = UnixListener::from(listener).accept().unwrap();
            let peer = OwnedFd::from(peer);
            let mut buffer = vec![0; MAX_DATAGRAM];
            let say = |bytes: &[u8], fds: &[OwnedFd]| {
                let _ = passing::send(peer.as_fd(), bytes, &passing::borrow(fds), MsgFlags::empty());
            };
            loop {
                let Ok(received) = passing::receive(peer.as_fd(), &mut buffer, MsgFlags::empty()) else {
                    return;
                };
                if received.len == 0 {
                    return;
                }
                let request = Request::read(&buffer[..received.len]).unwrap();
                let Some(answer) = answers(&request.op) else { return };
                tell.send((request.op, received.fds.len())).unwrap();
                let [before, after] = answer.events;
                before.iter().for_each(|event| say(&event.write().unwrap(), &[]));
                say(&Reply::write(request.id, answer.outcome).unwrap(), &answer.fds);
                after.iter().for_each(|event| say(&event.write().unwrap(), &[]));
            }
        });
        Self { path, asked, thread }
    }

    /// Waits until the connection is over.
    pub(crate) fn join(self) {
        self.thread.join().unwrap();
    }
}

pub(crate) const SLEEPS: u32 = feature::WORKERS_SLEEP;
