//! A connection against a daemon of a few lines: answers, refusals, pages, silence and nonsense.
use std::thread::{self, JoinHandle};

use nix::sys::socket::{Backlog, accept4, bind, listen, recv, send};
use serde_json::{Value, json};

use super::*;
use crate::control::{
    answer::Done,
    refusal::Code,
    request::{Down, GetStatus, TargetList},
};

/// Answers each request with the next of `replies`, `id` filled in where it says `"id": null`; then hangs up.
fn daemon(dir: &Path, replies: Vec<Value>) -> (PathBuf, JoinHandle<Vec<Value>>) {
    let path = dir.join("control.sock");
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    let answers = thread::spawn(move || {
        let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC).unwrap();
        let mut asked = Vec::new();
        for mut reply in replies {
            let mut buffer = [0; 4096];
            let len = recv(fd, &mut buffer, MsgFlags::empty()).unwrap();
            let request: Value = serde_json::from_slice(&buffer[..len]).unwrap();
            if reply["id"].is_null() {
                reply["id"] = request["id"].clone();
            }
            asked.push(request);
            send(fd, reply.to_string().as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
        }
        nix::unistd::close(fd).unwrap();
        asked
    });
    (path, answers)
}

fn open(path: &Path) -> Connection {
    Connection::open(path, Duration::from_secs(30)).unwrap()
}

#[test]
fn an_answer_and_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let (path, daemon) = daemon(
        dir.path(),
        vec![
            json!({"v": 1, "id": null, "ok": {}}),
            json!({"v": 1, "id": null, "err": {"code": "EACCES", "detail": "only root may"}}),
        ],
    );
    let mut connection = open(&path);
    assert_eq!(connection.call(&Down {}).unwrap(), Done {});
    match connection.call(&Down {}) {
        Err(CallError::Reply(ReplyError::Refused(refusal))) => {
            assert_eq!(refusal, Code::Eacces.because("only root may"));
        }
        other => panic!("{other:?}"),
    }
    connection.wait_for_close().unwrap();
    assert_eq!(
        daemon.join().unwrap(),
        [json!({"v": 1, "id": 1, "op": "down"}), json!({"v": 1, "id": 2, "op": "down"})]
    );
}

#[test]
fn pages_are_followed_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let row = |tuple: u16| json!({"tuple": tuple, "kind": "sink", "proto": "udp", "addr": "any", "port": 9, "on_crash": "drop", "addrs": []});
    let (path, daemon) = daemon(
        dir.path(),
        vec![
            json!({"v": 1, "id": null, "ok": {"rows": [row(1), row(2)], "next": 2}}),
            json!({"v": 1, "id": null, "ok": {"rows": [row(3)]}}),
        ],
    );
    let pages = open(&path).pages::<TargetList>().unwrap();
    let tuples: Vec<_> = pages.iter().flat_map(|p| &p.rows).map(|r| r.tuple).collect();
    assert_eq!(tuples, [1, 2, 3]);
    let after: Vec<_> = daemon.join().unwrap().iter().map(|r| r["after"].clone()).collect();
    assert_eq!(after, [0, 2]);
}

#[test]
fn nonsense_is_an_error() {
    let page = |next: u64| json!({"v": 1, "id": null, "ok": {"rows": [], "next": next}});
    let cases = [
        (vec![json!({"v": 1, "id": 77, "ok": {}})], "a reply to request 77, not to 1"),
        (vec![json!({"v": 9, "id": null, "ok": {}})], "the daemon speaks version 9, this program 1"),
        (vec![json!({"v": 1, "id": null})], "a reply must have one of ok and err"),
        (vec![page(4), page(4)], "the daemon's pages do not make a whole"),
        (vec![json!({"v": 1, "id": null, "ok": {"rows": []}})], "the daemon's pages do not make a whole"),
        (vec![], "the daemon closed the connection"),
    ];
    for (replies, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (path, daemon) = daemon(dir.path(), replies);
        let error = open(&path).status().unwrap_err();
        assert_eq!(error.to_string(), expected);
        drop(daemon);
    }
}

#[test]
fn silence_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    let mut connection = Connection::open(&path, Duration::from_millis(1)).unwrap();
    assert!(matches!(connection.call(&GetStatus::default()), Err(CallError::Timeout)));
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    assert!(matches!(Connection::open(&path, DEFAULT_TIMEOUT), Err(ConnectError::NoDaemon { .. })));
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    drop(listener);
    let error = Connection::open(&path, DEFAULT_TIMEOUT).unwrap_err();
    assert!(matches!(error, ConnectError::NoDaemon { .. }), "a socket that a crash left behind: {error}");
}
