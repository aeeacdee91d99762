//! A session against a fake daemon: opening, registering, what is told, and coming back.
use std::{fs::File, net::Ipv4Addr, thread, time::Duration};

use abi::shm::desc::Form;
use nix::unistd::pipe;

use super::*;
use crate::{
    control::{
        answer::Done,
        refusal::Code,
        request::Op,
        stack::{StackAttached, StackRegistered},
    },
    shm::{
        channel::Interest,
        fake::{Answer, FakeDaemon, FakeSession, LEASE},
    },
};

fn addr() -> LocalAddr {
    LocalAddr::Ip(Ipv4Addr::new(10, 0, 0, 1).into())
}

fn tuple(port: u16) -> Tuple {
    Tuple::new(Proto::Udp, addr(), port)
}

/// Answers `open` with a session, and numbers registrations from 1.
fn open_daemon(dir: &Path) -> (FakeDaemon, FakeSession) {
    let (session, fds) = FakeSession::new(2, 0);
    let opened = session.opened();
    let (mut fds, mut next) = (Some(fds), 0);
    let daemon = FakeDaemon::start(dir, move |op| {
        Some(match op {
            Op::StackOpen(_) => Answer { fds: fds.take().unwrap(), ..Answer::of(&opened) },
            Op::StackRegister(register) if register.port == 22 => {
                Answer { outcome: Err(Code::Eaddrinuse.because("udp 22")), ..Answer::of(Done {}) }
            }
            Op::StackRegister(register) => {
                next += 1;
                let port = if register.port == 0 { 49_152 } else { register.port };
                Answer::of(StackRegistered {
                    tuple: next,
                    port,
                    addrs: vec![Ipv4Addr::new(10, 0, 0, 1).into()],
                })
            }
            Op::StackRelease(_) => Answer::of(Done {}),
            _ => return None,
        })
    });
    (daemon, session)
}

/// Waits for the next event, as a program would that polls the control socket.
fn next_event(stack: &mut Stack) -> Event {
    loop {
        if let Some(event) = stack.poll_event() {
            return event;
        }
        thread::yield_now();
    }
}

#[test]
fn a_session_is_opened_used_and_released_by_dropping_it() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, mut session) = open_daemon(dir.path());
    let options =
        StackOptions { rx_slots: 64, tx_slots: 64, frames: Frames::Ethernet, ..StackOptions::named("t") };
    let mut stack = Client::connect(&daemon.path).unwrap().open(&options).unwrap();
    let open = StackOpen { name: "t".into(), rx_slots: 64, tx_slots: 64, l2: true };
    assert_eq!(daemon.asked.recv().unwrap(), (Op::StackOpen(open), 0));
    assert_eq!((stack.opened().slot, stack.opened().lease), (3, LEASE));
    let id = stack.register(&Tuple { icmp: IcmpErrors::Deliver, ..tuple(0) }, Reserve::Daemon).unwrap();
    let (asked, _) = daemon.asked.recv().unwrap();
    assert!(matches!(
        asked,
        Op::StackRegister(StackRegister { icmp: true, reserve: ReserveMode::Daemon, .. })
    ));
    let registered: Vec<_> = stack.tuples().map(|(id, it)| (id, it.port)).collect();
    assert_eq!(registered, [(id, 49_152)]);
    let mut channels = stack.take_channels();
    assert_eq!((channels.len(), stack.take_channels().len()), (2, 0));
    session.deliver(1, id.0, b"hello").unwrap();
    assert_eq!(channels[1].wait(Interest::Rx, Some(Duration::ZERO)).unwrap().rx, 1);
    assert_eq!(channels[1].rx(1).get(0).unwrap().tuple, id.0);
    channels[0].tx(1).push(b"answer", Form::L3).unwrap().unwrap();
    assert_eq!(session.take(0)[0].1, b"answer");
    stack.release(id).unwrap();
    assert_eq!(daemon.asked.recv().unwrap().0, Op::StackRelease(StackRelease::number(id.0)));
    assert_eq!((stack.tuples().count(), stack.poll_event()), (0, None));
    drop(stack);
    daemon.join();
}

#[test]
fn a_refusal_changes_nothing_and_has_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _session) = open_daemon(dir.path());
    let mut stack = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap();
    let error = stack.register(&tuple(22), Reserve::Daemon).unwrap_err();
    assert_eq!(error.refusal().map(|refusal| refusal.code), Some(Code::Eaddrinuse));
    assert_eq!(stack.tuples().count(), 0);
    assert_eq!(stack.register(&tuple(23), Reserve::Daemon).unwrap(), TupleId(1));
}

#[test]
fn an_own_socket_travels_along() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, _session) = open_daemon(dir.path());
    let mut stack = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap();
    let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stack.register(&tuple(53), Reserve::Socket(bound.into())).unwrap();
    assert_eq!(daemon.asked.iter().nth(1).map(|(_, fds)| fds), Some(1));
}

#[test]
fn too_few_descriptors_and_foreign_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for keep in [0, 1, 3] {
        let (session, mut fds) = FakeSession::new(2, 0);
        fds.truncate(keep);
        let (opened, mut fds) = (session.opened(), Some(fds));
        let daemon = FakeDaemon::start(dir.path(), move |_| {
            Some(Answer { fds: fds.take().unwrap(), ..Answer::of(&opened) })
        });
        let error = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap_err();
        assert!(matches!(error, OpenError::Descriptors { given, wanted: 4 } if given == keep), "{error}");
    }
    let (session, _) = FakeSession::new(1, 0);
    let opened = session.opened();
    let daemon = FakeDaemon::start(dir.path(), move |_| {
        let fds = (0..3).map(|_| File::open("/dev/null").unwrap().into()).collect();
        Some(Answer { fds, ..Answer::of(&opened) })
    });
    let error = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap_err();
    assert!(matches!(error, OpenError::Regions(_)), "{error}");
}

#[test]
fn events_come_in_order_even_beside_a_reply() {
    let dir = tempfile::tempdir().unwrap();
    let (session, fds) = FakeSession::new(1, 0);
    let (opened, mut fds) = (session.opened(), Some(fds));
    let daemon = FakeDaemon::start(dir.path(), move |op| {
        Some(match op {
            Op::StackOpen(_) => Answer { fds: fds.take().unwrap(), ..Answer::of(&opened) },
            _ => Answer {
                events: [
                    vec![event::Event::AddressGone { tuple: 1 }, event::Event::AddressBack { tuple: 1 }],
                    vec![
                        event::Event::Revoked { tuple: Some(1), session: None, reason: Reason::Released },
                        event::Event::Revoked { tuple: None, session: Some(3), reason: Reason::Shutdown },
                    ],
                ],
                ..Answer::of(StackRegistered { tuple: 1, port: 53, addrs: Vec::new() })
            },
        })
    });
    let mut stack = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap();
    let id = stack.register(&tuple(53), Reserve::Daemon).unwrap();
    assert_eq!(next_event(&mut stack), Event::AddressGone(id));
    assert_eq!(next_event(&mut stack), Event::AddressBack(id));
    assert_eq!(stack.tuples().count(), 1);
    assert_eq!(next_event(&mut stack), Event::Revoked { tuple: id, reason: Reason::Released });
    assert_eq!(stack.tuples().count(), 0);
    assert_eq!(next_event(&mut stack), Event::Over(Over::Revoked(Reason::Shutdown)));
    assert_eq!((stack.poll_event(), stack.next_attempt()), (None, None), "nothing comes after the end");
    assert!(matches!(stack.register(&tuple(1), Reserve::Daemon), Err(RegisterError::Disconnected)));
    assert!(stack.take_channels().is_empty());
}

/// A session whose daemon has just hung up, with tuples 1 and 2.
fn abandoned(dir: &Path) -> (Stack, PathBuf) {
    let (daemon, session) = open_daemon(dir);
    let mut stack = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap();
    for port in [1, 2] {
        stack.register(&tuple(port), Reserve::Daemon).unwrap();
    }
    let mut channel = stack.take_channels().pop().unwrap();
    // An operation that this fake does not know makes it hang up.
    let Link::Up(connection) = &mut stack.link else { panic!("there is a daemon") };
    assert!(matches!(connection.call(&crate::control::request::Down {}), Err(CallError::Closed)));
    let path = daemon.path.clone();
    daemon.join();
    drop(session);
    assert_eq!(channel.wait(Interest::Rx, None).unwrap().session, abi::shm::layout::State::Revoked);
    assert_eq!(next_event(&mut stack), Event::Disconnected);
    assert!(matches!(stack.register(&tuple(3), Reserve::Daemon), Err(RegisterError::Disconnected)));
    (stack, path)
}

#[test]
fn a_session_comes_back_by_its_lease() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stack, _) = abandoned(dir.path());
    assert_eq!(stack.poll_event(), None, "nobody is there yet");
    let first = stack.next_attempt().expect("it tries again");
    let (mut session, fds) = FakeSession::new(2, 0);
    let (opened, mut fds) = (session.opened(), Some(fds));
    let daemon = FakeDaemon::start(dir.path(), move |_| {
        let attached = StackAttached { opened: opened.clone(), tuples: vec![2] };
        Some(Answer { fds: fds.take().unwrap(), ..Answer::of(attached) })
    });
    assert_eq!(next_event(&mut stack), Event::Reconnected(vec![TupleId(2)]));
    assert!(first <= Instant::now());
    assert_eq!(daemon.asked.recv().unwrap().0, Op::StackAttach(StackAttach { lease: LEASE }));
    assert_eq!(stack.tuples().map(|(id, _)| id).collect::<Vec<_>>(), [TupleId(2)]);
    let mut channels = stack.take_channels();
    session.deliver(0, 2, b"again").unwrap();
    assert_eq!(channels[0].rx(1).get(0).unwrap().packet(), b"again");
    drop(stack);
    daemon.join();
}

#[test]
fn a_lease_that_is_stale_is_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stack, _) = abandoned(dir.path());
    let refusal = Code::Estale.because("past its grace");
    let said = refusal.clone();
    let _daemon = FakeDaemon::start(dir.path(), move |_| {
        Some(Answer { outcome: Err(said.clone()), ..Answer::of(Done {}) })
    });
    assert_eq!(next_event(&mut stack), Event::Over(Over::NotTakenBack(refusal)));
    assert_eq!((stack.poll_event(), stack.next_attempt(), stack.tuples().count()), (None, None, 0));
}

#[test]
fn a_refusal_that_may_pass_is_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stack, _) = abandoned(dir.path());
    let (session, fds) = FakeSession::new(2, 0);
    // Too many connections, the old session not ended yet, a kernel without memory; then there is room.
    let mut in_the_way = vec![Code::Eio, Code::Ebusy, Code::Enospc];
    let (opened, mut fds) = (session.opened(), Some(fds));
    let answer = move || match in_the_way.pop() {
        Some(code) => Answer { outcome: Err(code.because("for now")), ..Answer::of(Done {}) },
        None => {
            let attached = StackAttached { opened: opened.clone(), tuples: vec![1, 2] };
            Answer { fds: fds.take().unwrap(), ..Answer::of(attached) }
        }
    };
    let answer = std::sync::Arc::new(std::sync::Mutex::new(answer));
    for attempt in 1..=4 {
        // Each attempt is a connection of its own, and a fake daemon serves one.
        let answer = answer.clone();
        let daemon = FakeDaemon::start(dir.path(), move |_| {
            let mut answer = answer.lock().unwrap();
            Some(answer())
        });
        let Link::Down { pause, .. } = stack.link else { panic!("it is over, or back already") };
        stack.link = Link::Down { next: Instant::now(), pause };
        let event = stack.poll_event();
        assert_eq!(daemon.asked.recv().unwrap().0, Op::StackAttach(StackAttach { lease: LEASE }));
        if attempt < 4 {
            assert_eq!((event, stack.tuples().count()), (None, 2), "attempt {attempt}");
            assert!(stack.next_attempt().is_some(), "it tries again");
            daemon.join();
        } else {
            assert_eq!(event, Some(Event::Reconnected(vec![TupleId(1), TupleId(2)])));
        }
    }
}

#[test]
fn a_user_who_may_not_any_more_is_told_so_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for code in Code::ALL.into_iter().filter(|code| !code.may_pass()) {
        let (mut stack, _) = abandoned(dir.path());
        let refusal = code.because("whatever");
        let said = refusal.clone();
        let _daemon = FakeDaemon::start(dir.path(), move |_| {
            Some(Answer { outcome: Err(said.clone()), ..Answer::of(Done {}) })
        });
        assert_eq!(next_event(&mut stack), Event::Over(Over::NotTakenBack(refusal)));
    }
}

#[test]
fn pauses_between_attempts_double_up_to_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stack, _) = abandoned(dir.path());
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let Link::Down { pause, .. } = stack.link else { panic!("nobody is there") };
        pauses.push(pause.as_millis());
        // As if the pause were over: no test waits for a clock.
        stack.link = Link::Down { next: Instant::now(), pause };
        assert_eq!(stack.poll_event(), None);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
}

#[test]
fn a_reply_with_descriptors_nobody_asked_for_leaks_none() {
    let dir = tempfile::tempdir().unwrap();
    let (session, fds) = FakeSession::new(1, 0);
    let (opened, mut fds) = (session.opened(), Some(fds));
    let (read, write) = pipe().unwrap();
    let mut extra = Some(write);
    let daemon = FakeDaemon::start(dir.path(), move |op| {
        Some(match op {
            Op::StackOpen(_) => Answer { fds: fds.take().unwrap(), ..Answer::of(&opened) },
            _ => Answer { fds: extra.take().into_iter().collect(), ..Answer::of(Done {}) },
        })
    });
    let mut stack = Client::connect(&daemon.path).unwrap().open(&StackOptions::named("t")).unwrap();
    stack.release(TupleId(1)).unwrap();
    // With every copy of the other end closed, reading ends.
    assert_eq!(nix::unistd::read(&read, &mut [0; 1]), Ok(0));
}
