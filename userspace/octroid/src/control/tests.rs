//! The control socket: a real one, in a directory of its own, with clients that are honest and clients that are not.
use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use client::control::{
    MAX_DATAGRAM,
    connection::{CallError, Connection},
    refusal::{Code, Limit},
    request::{Down, Op},
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use serde_json::{Value, json};

use super::{
    limits::{MAX_CONNECTIONS_PER_USER, REQUESTS_PER_SECOND},
    listener::{Asked, Listener},
};

const NOW: Duration = Duration::from_secs(100);

struct Server {
    _dir: tempfile::TempDir,
    path: PathBuf,
    listener: Listener,
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let (listener, _) = Listener::open(&path).unwrap();
    Server { _dir: dir, path, listener }
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
    let asked = server.listener.turn(NOW);
    let [Asked { from, uid, request }] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((*uid, request.id, &request.op), (nix::unistd::getuid().as_raw(), 3, &Op::Down(Down {})));
    server.listener.answer(*from, 3, Ok(json!({})));
    assert_eq!(hear(&client), Some(json!({"v": 1, "id": 3, "ok": {}})));
    assert_eq!(server.listener.turn(NOW), []);
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let mut server = server();
    let client = raw(&server.path);
    server.listener.turn(NOW);
    assert_eq!(server.listener.connected(), 1);
    drop(client);
    server.listener.turn(NOW);
    assert_eq!(server.listener.connected(), 0);
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
        assert_eq!(server.listener.turn(NOW), []);
        let reply = hear(&client).unwrap();
        assert_eq!(reply["err"]["code"], "EINVAL", "{reply}");
    }
    say(&client, DOWN);
    assert_eq!(server.listener.turn(NOW).len(), 1);
}

#[test]
fn f13_a_thousand_idle_clients_leave_room_for_root() {
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
        for asked in server.listener.turn(NOW) {
            server.listener.answer(asked.from, 3, Ok(json!({})));
            hear(&client).unwrap();
            taken += 1;
        }
    }
    assert_eq!(taken, REQUESTS_PER_SECOND);
    assert_eq!(server.listener.waiting(NOW).count(), 1, "the connection is not polled meanwhile");
    let due = server.listener.due(NOW).unwrap();
    assert_eq!(due, NOW + Duration::from_millis(10));
    assert_eq!(server.listener.turn(due).len(), 1);
}

#[test]
fn f13_descriptors_that_come_along_are_closed() {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, sendmsg};
    let mut server = server();
    let client = raw(&server.path);
    let (ours, theirs) = nix::unistd::pipe().unwrap();
    let fds = [theirs.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<UnixAddr>(client.as_raw_fd(), &[IoSlice::new(DOWN)], &rights, MsgFlags::empty(), None).unwrap();
    drop(theirs);
    assert_eq!(server.listener.turn(NOW).len(), 1);
    // With the last writing end closed, the pipe is at its end.
    let mut buffer = [0; 1];
    assert_eq!(nix::unistd::read(&ours, &mut buffer), Ok(0));
}

#[test]
fn f13_a_client_that_does_not_read_loses_its_connection() {
    let mut server = server();
    let deaf = raw(&server.path);
    say(&deaf, DOWN);
    let from = server.listener.turn(NOW)[0].from;
    let large = json!({"text": "x".repeat(MAX_DATAGRAM - 100)});
    let mut answers = 0;
    while server.listener.connected() == 1 {
        server.listener.answer(from, 1, Ok(large.clone()));
        answers += 1;
        assert!(answers < 10_000, "some buffer must be full by now");
    }
}

#[test]
fn the_socket_is_for_root_or_the_group_and_goes_with_the_listener() {
    use std::os::unix::fs::PermissionsExt;
    let server = server();
    let mode = std::fs::metadata(&server.path).unwrap().permissions().mode() & 0o777;
    let group = nix::unistd::Group::from_name(super::listener::GROUP).unwrap();
    assert_eq!(mode, if group.is_some() { 0o660 } else { 0o600 });
    drop(server.listener);
    assert!(!server.path.exists());
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
