//! The C interface as a program uses and misuses it, against a daemon of a few lines.
use std::{
    ffi::{CString, c_int},
    mem::MaybeUninit,
    net::UdpSocket,
    os::fd::AsRawFd,
    path::Path,
    ptr::{null, null_mut},
    thread,
};

use abi::shm::{
    desc::{Form, TxDesc},
    layout::{State, feature},
};
use nix::{errno::Errno, libc};

use super::*;
use crate::{
    control::{
        answer::Done,
        event::{Event, Reason},
        refusal::Code,
        request::{LocalAddr, OnCrash, Op, Proto},
        stack::{ReserveMode, StackAttached, StackRegister, StackRegistered},
    },
    shm::fake::{Answer, FakeDaemon, FakeSession},
};

/// A port that makes the daemon hang up, and one that it refuses.
const HANGS_UP: u16 = 6;
const TAKEN: u16 = 7;
/// A port beside whose reply the daemon says that the session is over.
const LAST: u16 = 8;

/// A handle, closed when dropped.
struct Handle(*mut octroi_stack);

// SAFETY: a session may be used by many threads (its functions ask for a shared reference alone).
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: opened in `open`, and used no more.
        unsafe { octroi_close(self.0) }
    }
}

fn errno(errno: Errno) -> c_int {
    -(errno as c_int)
}

/// Answers whatever a session of `channels` channels asks.
fn daemon(dir: &Path, channels: u16) -> (FakeDaemon, FakeSession) {
    let (session, fds) = FakeSession::new(channels, feature::RX_CSUM_PARTIAL);
    let (opened, mut fds) = (session.opened(), Some(fds));
    let daemon = FakeDaemon::start(dir, move |op| {
        let registered = StackRegistered { tuple: 4, port: 1, addrs: Vec::new() };
        let refused = |code: Code| Answer { outcome: Err(code.because("x")), ..Answer::of(Done {}) };
        Some(match op {
            Op::StackOpen(_) => Answer { fds: fds.take()?, ..Answer::of(&opened) },
            Op::StackAttach(_) => {
                let attached = StackAttached { opened: opened.clone(), tuples: vec![4] };
                Answer { fds: fds.take()?, ..Answer::of(attached) }
            }
            Op::StackRegister(StackRegister { port: HANGS_UP, .. }) => return None,
            Op::StackRegister(StackRegister { port: TAKEN, .. }) => refused(Code::Eaddrinuse),
            Op::StackRegister(StackRegister { port: LAST, .. }) => {
                let over = Event::Revoked { tuple: None, session: Some(3), reason: Reason::Violation };
                Answer { events: [vec![], vec![over]], ..Answer::of(registered) }
            }
            Op::StackRegister(_) => Answer::of(registered),
            Op::StackRelease(release) if release.tuple == Some(4) => Answer::of(Done {}),
            _ => refused(Code::Enoent),
        })
    });
    (daemon, session)
}

fn text(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn open(daemon: &FakeDaemon) -> Handle {
    let options = octroi_options { name: c"t".as_ptr(), rx_slots: 64, tx_slots: 0, frames: OCTROI_IP };
    let mut stack = null_mut();
    // SAFETY: good pointers.
    assert_eq!(unsafe { octroi_open(text(&daemon.path).as_ptr(), &options, &mut stack) }, 0);
    Handle(stack)
}

fn udp(port: u16) -> octroi_tuple {
    octroi_tuple { protocol: 17, family: OCTROI_ANY, port, ..octroi_tuple::default() }
}

impl Handle {
    fn register(&self, tuple: &octroi_tuple, fd: c_int) -> (c_int, u16) {
        let mut id = 0;
        // SAFETY: good pointers.
        (unsafe { octroi_register(self.0, tuple, fd, &mut id) }, id)
    }

    fn release(&self, id: u16) -> c_int {
        // SAFETY: a good handle.
        unsafe { octroi_release(self.0, id) }
    }

    fn rx_next(&self, c: u32) -> Result<octroi_frame, c_int> {
        let mut frame = MaybeUninit::uninit();
        // SAFETY: good pointers.
        match unsafe { octroi_rx_next(self.0, c, frame.as_mut_ptr()) } {
            // SAFETY: it was written.
            0 => Ok(unsafe { frame.assume_init() }),
            failed => Err(failed),
        }
    }

    fn rx_release(&self, c: u32) -> c_int {
        // SAFETY: a good handle.
        unsafe { octroi_rx_release(self.0, c) }
    }

    fn tx_next(&self, c: u32) -> Result<octroi_slot, c_int> {
        let mut slot = MaybeUninit::uninit();
        // SAFETY: good pointers.
        match unsafe { octroi_tx_next(self.0, c, slot.as_mut_ptr()) } {
            // SAFETY: it was written.
            0 => Ok(unsafe { slot.assume_init() }),
            failed => Err(failed),
        }
    }

    fn tx_commit(&self, c: u32, len: usize, form: u32) -> c_int {
        // SAFETY: a good handle.
        unsafe { octroi_tx_commit(self.0, c, len, form) }
    }

    fn flush(&self, c: u32) -> c_int {
        // SAFETY: a good handle.
        unsafe { octroi_flush(self.0, c) }
    }

    fn wait(&self, c: u32, what: u32, ms: c_int) -> c_int {
        // SAFETY: a good handle.
        unsafe { octroi_wait(self.0, c, what, ms) }
    }

    fn fd(&self, c: u32) -> c_int {
        // SAFETY: a good handle.
        unsafe { octroi_fd(self.0, c) }
    }

    fn event(&self) -> Result<octroi_event, c_int> {
        let mut event = octroi_event::default();
        // SAFETY: good pointers.
        match unsafe { octroi_event(self.0, &mut event) } {
            0 => Ok(event),
            failed => Err(failed),
        }
    }

    /// Waits for the next event, as a program that polls.
    fn next_event(&self) -> octroi_event {
        loop {
            match self.event() {
                Ok(event) => return event,
                Err(failed) => assert_eq!(failed, errno(Errno::EAGAIN)),
            }
            thread::yield_now();
        }
    }

    /// Sends one packet, not flushed.
    fn commit(&self, c: u32, packet: &[u8]) {
        let slot = self.tx_next(c).unwrap();
        assert!(packet.len() <= slot.len);
        // SAFETY: the slot is as long, and lent.
        unsafe { slot.bytes.copy_from_nonoverlapping(packet.as_ptr(), packet.len()) };
        assert_eq!(self.tx_commit(c, packet.len(), OCTROI_IP), 0);
    }
}

/// The packet of a frame that is lent.
fn packet(frame: &octroi_frame) -> Vec<u8> {
    // SAFETY: it is lent: every caller looks before it gives it back.
    let bytes = unsafe { std::slice::from_raw_parts(frame.bytes, frame.len) };
    bytes[usize::from(frame.l3)..].to_vec()
}

#[test]
fn a_session_is_opened_used_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = daemon(dir.path(), 2);
    let stack = open(&daemon);
    // SAFETY: a good handle.
    assert_eq!(unsafe { octroi_channels(stack.0) }, 2);
    let mut tuple = octroi_tuple { flags: OCTROI_ICMP | OCTROI_ON_CRASH_PASS, ..udp(53) };
    tuple.family = libc::AF_INET as u8;
    tuple.address[..4].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(stack.register(&tuple, -1), (0, 4));
    let register = StackRegister {
        proto: Proto::Udp,
        addr: LocalAddr::Ip([10, 0, 0, 1].into()),
        port: 53,
        reserve: ReserveMode::Daemon,
        on_crash: Some(OnCrash::Pass),
        icmp: true,
        uid: None,
    };
    assert_eq!(daemon.asked.iter().nth(1), Some((Op::StackRegister(register), 0)));
    for byte in 1..=3 {
        session.deliver(1, 4, &[byte; 20]).unwrap();
    }
    assert_eq!(stack.wait(1, OCTROI_RX | OCTROI_TX, -1), (OCTROI_RX | OCTROI_TX) as c_int);
    assert_eq!(stack.wait(0, OCTROI_RX, 0), 0);
    // Packets one at a time; all of them can be read until they are given back.
    let frames: Vec<_> = (0..3).map(|_| stack.rx_next(1).unwrap()).collect();
    assert_eq!(stack.rx_next(1), Err(errno(Errno::EAGAIN)));
    assert!(
        frames.iter().all(|frame| (frame.tuple, frame.l3, frame.traffic_class) == (4, 14, OCTROI_CLASS_NONE))
    );
    assert!(frames.iter().all(|frame| frame.flags == OCTROI_FRAME_CSUM_PARTIAL));
    assert_eq!(frames.iter().map(packet).collect::<Vec<_>>(), [[1; 20], [2; 20], [3; 20]]);
    assert_eq!((stack.rx_release(1), stack.rx_release(1)), (0, 0));
    // Sent when flushed and not before.
    stack.commit(0, b"one");
    stack.commit(0, b"two");
    assert_eq!(session.take(0), []);
    assert_eq!((stack.flush(0), stack.flush(0)), (0, 0));
    let sent = |bytes: &[u8]| (TxDesc::new(bytes.len() as u32, Form::L3), bytes.to_vec());
    assert_eq!(session.take(0), [sent(b"one"), sent(b"two")]);
    // Waiting flushes.
    stack.commit(0, b"three");
    assert_eq!(stack.wait(0, OCTROI_TX, 0), OCTROI_TX as c_int);
    assert_eq!(session.take(0), [sent(b"three")]);
    assert_eq!((stack.release(4), stack.release(5)), (0, errno(Errno::ENOENT)));
    drop(stack);
    daemon.join();
}

#[test]
fn a_socket_that_is_lent_stays_the_callers() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _session) = daemon(dir.path(), 1);
    let stack = open(&daemon);
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(stack.register(&udp(53), bound.as_raw_fd()), (0, 4));
    let (asked, fds) = daemon.asked.iter().nth(1).unwrap();
    assert!(matches!(asked, Op::StackRegister(StackRegister { reserve: ReserveMode::Fd, .. })));
    assert_eq!(fds, 1);
    bound.local_addr().expect("it is still open");
    assert_eq!(stack.register(&udp(53), 1_000_000).0, errno(Errno::EBADF));
}

#[test]
fn null_pointers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _session) = daemon(dir.path(), 1);
    let path = text(&daemon.path);
    let options = octroi_options { name: c"t".as_ptr(), rx_slots: 0, tx_slots: 0, frames: 0 };
    let nameless = octroi_options { name: null(), ..options };
    let mut stack = null_mut();
    let (tuple, mut id) = (udp(1), 0_u16);
    let told = |number| assert_eq!(number, errno(Errno::EFAULT));
    // SAFETY: null pointers, which every function checks, and good ones; so in the second block.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one list of calls, one reason")]
    unsafe {
        told(octroi_open(null(), &options, &mut stack));
        told(octroi_open(path.as_ptr(), null(), &mut stack));
        told(octroi_open(path.as_ptr(), &nameless, &mut stack));
        told(octroi_open(path.as_ptr(), &options, null_mut()));
        told(octroi_channels(null_mut()));
        told(octroi_register(null_mut(), &tuple, -1, &mut id));
        told(octroi_release(null_mut(), 1));
        told(octroi_rx_next(null_mut(), 0, MaybeUninit::uninit().as_mut_ptr()));
        told(octroi_rx_release(null_mut(), 0));
        told(octroi_fd(null_mut(), 0));
        told(octroi_fd(null_mut(), OCTROI_CONTROL));
        told(octroi_tx_next(null_mut(), 0, MaybeUninit::uninit().as_mut_ptr()));
        told(octroi_tx_commit(null_mut(), 0, 1, 0));
        told(octroi_flush(null_mut(), 0));
        told(octroi_wait(null_mut(), 0, OCTROI_RX, 0));
        told(octroi_event(null_mut(), &mut octroi_event::default()));
        octroi_close(null_mut());
    }
    let stack = open(&daemon);
    // SAFETY: as above.
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one list of calls, one reason")]
    unsafe {
        told(octroi_register(stack.0, null(), -1, &mut id));
        told(octroi_register(stack.0, &tuple, -1, null_mut()));
        told(octroi_rx_next(stack.0, 0, null_mut()));
        told(octroi_tx_next(stack.0, 0, null_mut()));
        told(octroi_event(stack.0, null_mut()));
    }
    assert_eq!(daemon.asked.iter().take(1).count(), 1, "nothing of it reached the daemon");
}

#[test]
fn numbers_that_are_not_listed_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _session) = daemon(dir.path(), 1);
    let options = octroi_options { name: c"t".as_ptr(), rx_slots: 64, tx_slots: 64, frames: 2 };
    let unlike = octroi_options { name: c"\xFF".as_ptr(), frames: 0, ..options };
    let mut none = null_mut();
    for options in [options, unlike] {
        // SAFETY: good pointers.
        let number = unsafe { octroi_open(text(&daemon.path).as_ptr(), &options, &mut none) };
        assert_eq!(number, errno(Errno::EINVAL));
    }
    let nobody = text(&dir.path().join("nobody"));
    let known = octroi_options { frames: 0, ..options };
    // SAFETY: good pointers.
    let number = unsafe { octroi_open(nobody.as_ptr(), &known, &mut none) };
    assert_eq!((number, none), (errno(Errno::ECONNREFUSED), null_mut()));
    let stack = open(&daemon);
    let good = udp(53);
    for bad in [
        octroi_tuple { protocol: 1, ..good },
        octroi_tuple { family: 1, ..good },
        octroi_tuple { port: 0, ..good },
        octroi_tuple { flags: 8, ..good },
        octroi_tuple { flags: OCTROI_ON_CRASH_DROP | OCTROI_ON_CRASH_PASS, ..good },
    ] {
        assert_eq!(stack.register(&bad, -1).0, errno(Errno::EINVAL), "{bad:?}");
    }
    for what in [0, OCTROI_ARM, 8, u32::MAX] {
        assert_eq!(stack.wait(0, what, 0), errno(Errno::EINVAL), "{what}");
    }
    for c in [1, 63, 64, OCTROI_CONTROL - 1] {
        let told = [stack.rx_release(c), stack.flush(c), stack.wait(c, OCTROI_RX, -1), stack.fd(c)];
        assert_eq!(told, [errno(Errno::ECHRNG); 4], "{c}");
        assert_eq!(stack.rx_next(c), Err(errno(Errno::ECHRNG)));
        assert_eq!(stack.tx_next(c), Err(errno(Errno::ECHRNG)));
        assert_eq!(stack.tx_commit(c, 1, OCTROI_IP), errno(Errno::ECHRNG));
    }
    assert_eq!(stack.register(&udp(TAKEN), -1).0, errno(Errno::EADDRINUSE));
}

#[test]
fn a_slot_is_committed_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = daemon(dir.path(), 1);
    let stack = open(&daemon);
    assert_eq!(stack.tx_commit(0, 1, OCTROI_IP), errno(Errno::EBADSLT), "nothing is lent");
    let slot = stack.tx_next(0).unwrap();
    assert_eq!((slot.len, stack.tx_next(0).unwrap()), (2048, slot), "the same until it is committed");
    assert_eq!(stack.tx_commit(0, 2049, OCTROI_IP), errno(Errno::EMSGSIZE));
    assert_eq!(stack.tx_commit(0, usize::MAX, OCTROI_IP), errno(Errno::EMSGSIZE));
    assert_eq!(stack.tx_commit(0, 20, 2), errno(Errno::EINVAL));
    assert_eq!(stack.tx_commit(0, 2048, OCTROI_ETHERNET), 0, "it was still there");
    assert_eq!(stack.tx_commit(0, 20, OCTROI_IP), errno(Errno::EBADSLT));
    for _ in 1..64 {
        stack.commit(0, b"x");
    }
    assert_eq!(stack.tx_next(0), Err(errno(Errno::EAGAIN)), "full");
    assert_eq!(stack.wait(0, OCTROI_TX, 0), 0);
    let sent = session.take(0);
    assert_eq!((sent.len(), sent[0].0), (64, TxDesc::new(2048, Form::L2)));
    assert_eq!(stack.wait(0, OCTROI_TX, 0), OCTROI_TX as c_int);
    stack.tx_next(0).unwrap();
}

#[test]
fn every_packet_of_a_full_ring_can_be_lent_at_once_and_comes_once() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = daemon(dir.path(), 1);
    let stack = open(&daemon);
    for round in 0..5_u8 {
        (0..64).for_each(|n| session.deliver(0, 1, &[round, n]).unwrap());
        let frames: Vec<_> = std::iter::from_fn(|| stack.rx_next(0).ok()).collect();
        assert_eq!(session.deliver(0, 1, b"no room"), None, "all is lent");
        let expected: Vec<_> = (0..64).map(|n| vec![round, n]).collect();
        assert_eq!(frames.iter().map(packet).collect::<Vec<_>>(), expected);
        assert_eq!(stack.rx_release(0), 0);
        assert_eq!(stack.rx_next(0), Err(errno(Errno::EAGAIN)));
    }
}

#[test]
fn two_threads_in_one_channel_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = daemon(dir.path(), 2);
    let stack = open(&daemon);
    let waits = thread::scope(|scope| {
        let waiter = scope.spawn(|| stack.wait(0, OCTROI_RX, -1));
        while session.application_armed(0) == 0 {
            thread::yield_now();
        }
        assert_eq!(stack.rx_next(0), Err(errno(Errno::EBUSY)));
        assert_eq!(stack.rx_next(1), Err(errno(Errno::EAGAIN)), "another channel is free");
        session.deliver(0, 1, b"wakes").unwrap();
        waiter.join().unwrap()
    });
    assert_eq!(waits, OCTROI_RX as c_int);
    assert_eq!(packet(&stack.rx_next(0).unwrap()), b"wakes");
}

#[test]
fn who_polls_the_bell_is_rung_once_it_is_armed() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = daemon(dir.path(), 1);
    let stack = open(&daemon);
    let readable = || {
        let mut fds = [libc::pollfd { fd: stack.fd(0), events: libc::POLLIN, revents: 0 }];
        // SAFETY: one pollfd.
        (unsafe { libc::poll(fds.as_mut_ptr(), 1, 0) }) == 1
    };
    assert_eq!(stack.wait(0, OCTROI_RX | OCTROI_ARM, 0), 0);
    assert!(!readable());
    session.deliver(0, 1, b"x").unwrap();
    assert!(readable());
    assert_eq!(stack.wait(0, OCTROI_RX | OCTROI_ARM, 0), OCTROI_RX as c_int);
    assert!(!readable(), "what had been rung is taken out");
    drop(session);
    assert!(readable());
    assert_eq!(stack.wait(0, OCTROI_RX | OCTROI_ARM, 0), OCTROI_RX as c_int, "what came can be read first");
    let control = stack.fd(OCTROI_CONTROL);
    assert!(0 <= control && control != stack.fd(0));
}

#[test]
fn after_a_revocation_everything_says_so_and_goes_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = daemon(dir.path(), 1);
    let stack = open(&daemon);
    session.deliver(0, 1, b"last").unwrap();
    stack.tx_next(0).unwrap();
    session.set_state(State::Revoked);
    let over = errno(Errno::ESHUTDOWN);
    assert_eq!(packet(&stack.rx_next(0).unwrap()), b"last", "what came before can be read");
    assert_eq!((stack.rx_next(0), stack.tx_next(0)), (Err(over), Err(over)));
    assert_eq!([stack.tx_commit(0, 1, OCTROI_IP), stack.flush(0), stack.wait(0, OCTROI_RX, -1)], [over; 3]);
    // The reply still comes; what the daemon says after it is the end.
    assert_eq!(stack.register(&udp(LAST), -1), (0, 4));
    let event = stack.next_event();
    assert_eq!((event.kind, event.reason), (OCTROI_EVENT_OVER, OCTROI_REASON_VIOLATION));
    assert_eq!((stack.event(), stack.rx_next(0), stack.tx_next(0)), (Err(over), Err(over), Err(over)));
    let told = [stack.rx_release(0), stack.flush(0), stack.fd(0), stack.fd(OCTROI_CONTROL), stack.release(4)];
    assert_eq!(told, [over; 5]);
    assert_eq!([stack.wait(0, OCTROI_RX, -1), stack.register(&udp(1), -1).0], [over; 2]);
}

#[test]
fn a_session_outlives_its_daemon_and_each_channel_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut old) = daemon(dir.path(), 2);
    let stack = open(&first);
    let away = errno(Errno::ENOTCONN);
    old.deliver(0, 1, b"lost").unwrap();
    stack.tx_next(0).unwrap();
    assert_eq!(stack.register(&udp(HANGS_UP), -1).0, away);
    first.join();
    drop(old);
    assert_eq!(stack.next_event().kind, OCTROI_EVENT_DISCONNECTED);
    // Whatever a channel had lent is gone with the call that says so.
    assert_eq!((stack.rx_next(0), stack.rx_next(0), stack.tx_next(0)), (Err(away), Err(away), Err(away)));
    assert_eq!(
        [stack.tx_commit(0, 1, OCTROI_IP), stack.rx_release(0), stack.flush(0), stack.fd(0)],
        [away; 4]
    );
    assert_eq!([stack.wait(0, OCTROI_RX, -1), stack.wait(0, OCTROI_RX | OCTROI_ARM, 0)], [away; 2]);
    assert_eq!([stack.fd(OCTROI_CONTROL), stack.release(4)], [away; 2]);
    // The next daemon has more channels.
    let (_second, mut new) = daemon(dir.path(), 3);
    assert_eq!(stack.next_event().kind, OCTROI_EVENT_RECONNECTED);
    // SAFETY: a good handle.
    assert_eq!(unsafe { octroi_channels(stack.0) }, 3);
    for c in 0..3_u16 {
        new.deliver(c, 4, b"again").unwrap();
    }
    assert_eq!(packet(&stack.rx_next(0).unwrap()), b"again", "it was told before");
    assert_eq!(stack.rx_next(1), Err(away), "this one was not");
    assert_eq!(packet(&stack.rx_next(1).unwrap()), b"again");
    assert_eq!(packet(&stack.rx_next(2).unwrap()), b"again", "this one is new");
    stack.commit(1, b"out");
    assert_eq!(stack.flush(1), 0);
    assert_eq!(new.take(1).len(), 1);
}

#[test]
fn a_daemon_that_dies_wakes_whoever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, session) = daemon(dir.path(), 1);
    let stack = open(&daemon);
    let told = thread::scope(|scope| {
        let waiter = scope.spawn(|| stack.wait(0, OCTROI_RX, -1));
        while session.application_armed(0) == 0 {
            thread::yield_now();
        }
        drop(session);
        waiter.join().unwrap()
    });
    assert_eq!(told, errno(Errno::ENOTCONN));
    assert_eq!(stack.rx_next(0), Err(errno(Errno::ENOTCONN)));
}
