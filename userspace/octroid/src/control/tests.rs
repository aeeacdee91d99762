//! The control socket: a real one, in a directory of its own, with clients that are honest and clients that are not.
use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use client::{
    control::{
        MAX_DATAGRAM,
        connection::{CallError, Connection},
        event::Event,
        refusal::{Code, Limit},
        request::{Down, Op},
    },
    shm::passing,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket},
    },
};
use serde_json::{Value, json};

use super::{
    limits::{MAX_CONNECTIONS_PER_USER, REQUESTS_PER_SECOND},
    listener::{Access, Asked, Listener, NO_DESCRIPTOR, restrict_to},
};

const NOW: Duration = Duration::from_secs(100);

struct Server {
    _dir: tempfile::TempDir,
    path: PathBuf,
    listener: Listener,
    access: Access,
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let (listener, access) = Listener::open(&path).unwrap();
    Server { _dir: dir, path, listener, access }
}

/// A client that writes what it likes.
fn raw(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

fn say(client: &OwnedFd, bytes: &[u8]) {
    send(client.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
}

fn hear(client: &OwnedFd) -> Option<Value> {
    let mut buffer = vec![0; MAX_DATAGRAM + 1];
    match recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(0) => None,
        Ok(length) => Some(serde_json::from_slice(&buffer[..length]).unwrap()),
        Err(error) => panic!("{error}"),
    }
}

const DOWN: &[u8] = br#"{"v":1,"id":3,"op":"down"}"#;

#[test]
fn a_request_has_its_sender_and_gets_its_answer() {
    let mut server = server();
    let client = raw(&server.path);
    say(&client, DOWN);
    let asked = server.listener.turn(NOW).asked;
    let [Asked { from, who, request, lent }] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(lent.is_empty());
    assert_eq!((who.uid, request.id, &request.op), (nix::unistd::getuid().as_raw(), 3, &Op::Down(Down {})));
    assert_eq!(who.pid.cast_unsigned(), std::process::id());
    assert!(who.gids.contains(&nix::unistd::getgid().as_raw()));
    server.listener.answer(*from, 3, Ok(json!({})));
    assert_eq!(hear(&client), Some(json!({"v": 1, "id": 3, "ok": {}})));
    assert!(server.listener.turn(NOW).asked.is_empty());
}

#[test]
fn a_client_that_leaves_is_forgotten_and_told_of_once() {
    let mut server = server();
    let client = raw(&server.path);
    say(&client, DOWN);
    let id = server.listener.turn(NOW).asked[0].from;
    assert_eq!(server.listener.connected(), 1);
    drop(client);
    assert_eq!(server.listener.turn(NOW).gone, [id]);
    assert_eq!((server.listener.connected(), server.listener.turn(NOW).gone), (0, vec![]));
}

#[test]
fn an_event_and_descriptors_reach_the_one_they_are_for() {
    let mut server = server();
    let mut client = Connection::open(&server.path, Duration::from_secs(30)).unwrap();
    let stranger = raw(&server.path);
    // One request a turn: the client's own call waits for its answer, so it asks from a thread.
    let asking = std::thread::spawn(move || {
        let answer = client.call_with(&Down {}, &[]).map(|(_, fds)| fds.len());
        (answer, client)
    });
    let asked = std::iter::repeat_with(|| server.listener.turn(NOW).asked.pop()).flatten().next().unwrap();
    let event = Event::AddressGone { tuple: 4 };
    server.listener.tell(asked.from, &event);
    let (ours, theirs) = nix::unistd::pipe().unwrap();
    server.listener.answer_with(asked.from, asked.request.id, Ok(json!({})), &[ours, theirs]);
    let (fds, mut client) = asking.join().unwrap();
    assert_eq!((fds.unwrap(), client.poll_event().unwrap()), (2, Some(event)));
    drop(stranger);
}

#[test]
fn f13_nonsense_is_answered_and_the_connection_stays() {
    let mut server = server();
    let client = raw(&server.path);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000 / 2), "]".repeat(10_000 / 2));
    let long = vec![b' '; MAX_DATAGRAM + 100];
    for nonsense in
        [&b"\xff\x00"[..], b"{}", deep.as_bytes(), &long, br#"{"v":1,"id":9,"op":"status","x":1}"#]
    {
        say(&client, nonsense);
        assert!(server.listener.turn(NOW).asked.is_empty());
        let reply = hear(&client).unwrap();
        assert_eq!(reply["err"]["code"], "EINVAL", "{reply}");
    }
    say(&client, DOWN);
    assert_eq!(server.listener.turn(NOW).asked.len(), 1);
}

#[test]
fn f13_a_user_has_sixty_four_connections_and_is_told_so() {
    let mut server = server();
    let clients: Vec<_> = (0..MAX_CONNECTIONS_PER_USER)
        .map(|_| {
            let client = raw(&server.path);
            server.listener.turn(NOW);
            client
        })
        .collect();
    let late = raw(&server.path);
    server.listener.turn(NOW);
    let reply = hear(&late).unwrap();
    let limit = MAX_CONNECTIONS_PER_USER as u64;
    assert_eq!((&reply["err"]["code"], &reply["err"]["limit"]), (&json!("ENOSPC"), &json!(limit)));
    assert_eq!(hear(&late), None, "and the connection is closed");
    assert_eq!(server.listener.connected(), clients.len());
}

#[test]
fn f13_beyond_its_rate_a_client_waits() {
    let mut server = server();
    let client = raw(&server.path);
    let mut taken = 0;
    for _ in 0..REQUESTS_PER_SECOND + 5 {
        say(&client, DOWN);
        for asked in server.listener.turn(NOW).asked {
            server.listener.answer(asked.from, 3, Ok(json!({})));
            hear(&client).unwrap();
            taken += 1;
        }
    }
    assert_eq!(taken, REQUESTS_PER_SECOND);
    assert_eq!(server.listener.waiting(NOW).count(), 1, "the connection is not polled meanwhile");
    let due = server.listener.due(NOW).unwrap();
    assert_eq!(due, NOW + Duration::from_millis(10));
    assert_eq!(server.listener.turn(due).asked.len(), 1);
}

#[test]
fn f13_of_descriptors_that_come_along_those_are_kept_that_the_operation_is_about() {
    let lent = br#"{"v":1,"id":3,"op":"stack.register","proto":"udp","addr":"any","port":53,"reserve":"fd"}"#;
    let held = br#"{"v":1,"id":3,"op":"stack.register","proto":"udp","addr":"any","port":53}"#;
    let open = br#"{"v":1,"id":3,"op":"stack.open","name":"x"}"#;
    let filter = br#"{"v":1,"id":3,"op":"ruler.attach","where":{"port":"eth0"}}"#;
    for (said, kept) in [(&lent[..], 1), (held, 0), (open, 0), (DOWN, 0), (filter, 2), (b"nonsense", 0)] {
        let mut server = server();
        let client = raw(&server.path);
        let pipes: Vec<_> = (0..4).map(|_| nix::unistd::pipe().unwrap()).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        passing::send(client.as_fd(), said, &passing::borrow(&theirs), MsgFlags::empty()).unwrap();
        drop(theirs);
        let asked = server.listener.turn(NOW).asked;
        let said = String::from_utf8_lossy(said);
        assert_eq!(asked.iter().map(|asked| asked.lent.len()).sum::<usize>(), kept, "{said}");
        // With the last writing end closed, a pipe is at its end.
        let is_closed = |pipe: &OwnedFd| {
            let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
            poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
        };
        let closed: Vec<bool> = ours.iter().map(is_closed).collect();
        assert_eq!(closed, (0..4).map(|n| kept <= n).collect::<Vec<_>>(), "{said}");
        drop(asked);
        assert!(ours.iter().all(is_closed), "{said}");
    }
}

#[test]
fn f13_a_client_that_does_not_read_loses_its_connection() {
    let mut server = server();
    let deaf = raw(&server.path);
    say(&deaf, DOWN);
    let from = server.listener.turn(NOW).asked[0].from;
    let large = json!({"text": "x".repeat(MAX_DATAGRAM - 100)});
    let mut answers = 0;
    while server.listener.connected() == 1 {
        server.listener.answer(from, 1, Ok(large.clone()));
        answers += 1;
        assert!(answers < 10_000, "some buffer must be full by now");
    }
}

/// Set for the child in which a test has the limit of descriptors for itself.
const ALONE: &str = "OCTROI_TEST_ALONE";

#[test]
fn f10_without_descriptors_newcomers_wait_and_nobody_asks_for_them_meanwhile() {
    let name = "control::tests::f10_without_descriptors_newcomers_wait_and_nobody_asks_for_them_meanwhile";
    if std::env::var_os(ALONE).is_none() {
        let own = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(own);
        let ended = child.args(["--exact", name, "--nocapture"]).env(ALONE, "").output().unwrap();
        let said = [&ended.stdout[..], &ended.stderr].map(String::from_utf8_lossy).concat();
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut server = server();
    let inside = raw(&server.path);
    server.listener.turn(NOW);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let polled = |server: &Server, now| server.listener.waiting(now).count();
    let late = raw(&server.path);
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    // Who is in is served, and the socket is left alone until the pause is over, however often that is so.
    let (mut now, mut end) = (NOW, NOW);
    for _ in 0..3 {
        say(&inside, DOWN);
        assert_eq!(server.listener.turn(now).asked.len(), 1);
        end = now + NO_DESCRIPTOR;
        let left = (server.listener.connected(), polled(&server, now), server.listener.due(now));
        assert_eq!(left, (1, 1, Some(end)));
        now = end;
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let before = end - Duration::from_millis(1);
    server.listener.turn(before);
    assert_eq!((server.listener.connected(), polled(&server, before), polled(&server, end)), (1, 1, 2));
    say(&late, DOWN);
    assert_eq!(server.listener.turn(end).asked.len(), 1, "and nobody who waited was turned away");
    assert_eq!((server.listener.connected(), polled(&server, end), server.listener.due(end)), (2, 3, None));
}

#[test]
fn the_socket_is_for_root_or_the_group_and_goes_with_the_listener() {
    let server = server();
    let group = nix::unistd::Group::from_name(super::listener::GROUP).unwrap();
    let access = if group.is_some() { Access::Group } else { Access::RootOnly };
    assert_eq!((server.access, mode(&server.path)), (access, if group.is_some() { 0o660 } else { 0o600 }));
    drop(server.listener);
    assert!(!server.path.exists());
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_sockets_mode_is_the_groups_where_there_is_one_and_roots_alone_where_there_is_none() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    std::fs::write(&path, "").unwrap();
    // A group that every process may give its own files: the one it has.
    let own = nix::unistd::getgid();
    assert_eq!(restrict_to(&path, Some(own)).unwrap(), Access::Group);
    assert_eq!((mode(&path), std::fs::metadata(&path).unwrap().gid()), (0o660, own.as_raw()));
    assert_eq!(restrict_to(&path, None).unwrap(), Access::RootOnly);
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn the_client_library_sees_the_limit() {
    let mut server = server();
    let held: Vec<_> = (0..MAX_CONNECTIONS_PER_USER).map(|_| raw(&server.path)).collect();
    server.listener.turn(NOW);
    let mut late = Connection::open(&server.path, Duration::from_secs(30)).unwrap();
    server.listener.turn(NOW);
    drop(server);
    match late.call(&Down {}) {
        // The refusal was sent before the client spoke; whether the call can still be sent is a race of the kernel's.
        Err(CallError::Reply(client::control::answer::ReplyError::Refused(refusal))) => {
            let limit = MAX_CONNECTIONS_PER_USER as u64;
            assert_eq!(
                (refusal.code, refusal.limit),
                (Code::Enospc, Some(Limit { given: limit + 1, limit }))
            );
        }
        Err(CallError::Closed) => {}
        other => panic!("{other:?}"),
    }
    drop(held);
}
