//! Requests: what is read, what is refused and with which code, and that writing and reading agree.
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::control::{
    MAX_DATAGRAM,
    capture::Point,
    refusal::Code,
    ruler::{Scope, Where},
    stack::{Lease, ReserveMode},
};

/// The operation of a request with these fields, or the code that it is refused with.
pub(in crate::control) fn read(fields: &str) -> Result<Op, Code> {
    let text = format!(r#"{{"v":1,"id":1,{fields}}}"#);
    Request::read(text.as_bytes()).map(|request| request.op).map_err(|bad| bad.refusal.code)
}

#[track_caller]
fn refused(datagram: &str, id: u64, code: Code, part_of_detail: &str) {
    let malformed = Request::read(datagram.as_bytes()).expect_err(datagram);
    assert_eq!((malformed.id, malformed.refusal.code), (id, code), "{malformed:?}");
    assert!(malformed.refusal.detail.contains(part_of_detail), "{malformed:?}");
}

#[test]
fn the_wire_form_is_this() {
    let add = TargetAdd {
        kind: TargetKind::Echo,
        proto: Proto::Udp,
        addr: LocalAddr::Any,
        port: 7,
        on_crash: OnCrash::Drop,
    };
    let text = r#"{"v":1,"id":3,"op":"target.add","kind":"echo","proto":"udp","addr":"any","port":7,"on_crash":"drop"}"#;
    assert_eq!(Request::write(3, &add).unwrap(), text.as_bytes());
    assert_eq!(Request::read(text.as_bytes()), Ok(Request { id: 3, op: Op::TargetAdd(add) }));
    let down = r#"{"v":1,"id":4,"op":"down"}"#;
    assert_eq!(Request::write(4, &Down {}).unwrap(), down.as_bytes());
    assert_eq!(Request::read(down.as_bytes()), Ok(Request { id: 4, op: Op::Down(Down {}) }));
}

#[test]
fn what_may_be_left_out() {
    let text = r#"{"v":1,"id":1,"op":"target.add","kind":"sink","proto":"tcp","addr":"192.0.2.1","port":9}"#;
    let addr = LocalAddr::Ip(Ipv4Addr::new(192, 0, 2, 1).into());
    let op = TargetAdd { kind: TargetKind::Sink, proto: Proto::Tcp, addr, port: 9, on_crash: OnCrash::Drop };
    assert_eq!(Request::read(text.as_bytes()), Ok(Request { id: 1, op: Op::TargetAdd(op) }));
    let status = Request::read(br#"{"v":1,"id":2,"op":"status"}"#).unwrap();
    assert_eq!(status.op, Op::Status(GetStatus { after: 0 }));
}

#[test]
fn unknown_is_not_malformed() {
    refused(r#"{"v":2,"id":5,"op":"status"}"#, 5, Code::Eproto, "version 2");
    refused(r#"{"v":1,"id":5,"op":"slice.open"}"#, 5, Code::Eproto, "slice.open");
}

#[test]
fn malformed_is_said_with_the_id_where_there_is_one() {
    refused("", 0, Code::Einval, "JSON");
    refused("[1]", 0, Code::Einval, "JSON");
    refused(r#"{"id":5,"op":"status"}"#, 5, Code::Einval, "field v");
    refused(r#"{"v":"1","id":5,"op":"status"}"#, 5, Code::Einval, "field v");
    refused(r#"{"v":1,"op":"status"}"#, 0, Code::Einval, "field id");
    refused(r#"{"v":1,"id":-1,"op":"status"}"#, 0, Code::Einval, "field id");
    refused(r#"{"v":1,"id":5}"#, 5, Code::Einval, "field op");
    refused(r#"{"v":1,"id":5,"op":["status"]}"#, 5, Code::Einval, "field op");
    refused(r#"{"v":1,"id":5,"op":"status","uid":0}"#, 5, Code::Einval, "uid");
    refused(r#"{"v":1,"id":5,"op":"down","force":true}"#, 5, Code::Einval, "force");
    refused(r#"{"v":1,"id":5,"op":"target.remove"}"#, 5, Code::Einval, "tuple");
    refused(r#"{"v":1,"id":5,"op":"target.remove","tuple":65536}"#, 5, Code::Einval, "65536");
    let add = |kind: &str, proto: &str, addr: &str, port: &str| {
        format!(
            r#"{{"v":1,"id":6,"op":"target.add","kind":"{kind}","proto":"{proto}","addr":"{addr}","port":{port}}}"#
        )
    };
    refused(&add("drop", "udp", "any", "7"), 6, Code::Einval, "drop");
    refused(&add("echo", "icmp", "any", "7"), 6, Code::Einval, "icmp");
    refused(&add("echo", "udp", "localhost", "7"), 6, Code::Einval, "address");
    refused(&add("echo", "udp", "any", "70000"), 6, Code::Einval, "70000");
    refused(&add("echo", "udp", "any", "\"7\""), 6, Code::Einval, "string");
}

#[test]
fn names_are_the_variants() {
    for (name, op) in Op::NAMES.into_iter().zip([
        Op::TargetAdd(add(TargetKind::Echo, Proto::Udp, LocalAddr::Any, 7, OnCrash::Pass)),
        Op::TargetRemove(TargetRemove { tuple: 3 }),
        Op::TargetList(TargetList::page(2)),
        Op::Status(GetStatus::page(0)),
        Op::Stats(GetStats::page(9)),
        Op::Doctor(Doctor::page(1)),
        Op::Down(Down {}),
        Op::StackOpen(StackOpen { name: "web".into(), rx_slots: 64, tx_slots: 64, l2: true }),
        Op::StackRegister(StackRegister {
            proto: Proto::Udp,
            addr: LocalAddr::Any,
            port: 53,
            reserve: ReserveMode::Daemon,
            on_crash: Some(OnCrash::Drop),
            icmp: false,
            uid: None,
        }),
        Op::StackRelease(StackRelease::number(1)),
        Op::StackList(StackList::page(1)),
        Op::StackStats(StackStats::page(1)),
        Op::StackAttach(StackAttach { lease: Lease::from_bits(7) }),
        Op::CaptureStart(CaptureStart { at: vec![Point::Drop], tuples: Vec::new(), snaplen: 60 }),
        Op::CaptureStop(CaptureStop {}),
        Op::RulerAttach(RulerAttach {
            at: Where::Port("eth0".into()),
            scope: Scope::Interface,
            pass: vec![7],
            force: true,
            filter: None,
            allow_slow: false,
        }),
        Op::RulerDetach(RulerDetach { at: Where::Port("eth0".into()) }),
        Op::RulerList(RulerList {}),
    ]) {
        let value = serde_json::to_value(&op).unwrap();
        assert_eq!(value.get("op").and_then(Value::as_str), Some(name));
        assert_eq!(op.is_of_stacks(), name.starts_with("stack."), "{name}");
        let changes = ["target.add", "target.remove", "down", "ruler.attach", "ruler.detach"];
        assert_eq!(op.changes(), changes.contains(&name), "{name}");
    }
}

fn add(kind: TargetKind, proto: Proto, addr: LocalAddr, port: u16, on_crash: OnCrash) -> TargetAdd {
    TargetAdd { kind, proto, addr, port, on_crash }
}

fn any_add() -> impl Strategy<Value = TargetAdd> {
    let addr = prop_oneof![
        Just(LocalAddr::Any),
        any::<u32>().prop_map(|bits| LocalAddr::Ip(Ipv4Addr::from_bits(bits).into())),
        any::<u128>().prop_map(|bits| LocalAddr::Ip(Ipv6Addr::from_bits(bits).into())),
    ];
    let on_crash = prop_oneof![Just(OnCrash::Drop), Just(OnCrash::Pass)];
    let kind = prop::sample::select(&TargetKind::ALL[..]);
    let proto = prop::sample::select(&Proto::ALL[..]);
    (kind, proto, addr, any::<u16>(), on_crash).prop_map(|(k, p, a, port, c)| add(k, p, a, port, c))
}

proptest! {
    #[test]
    fn what_is_written_is_read(id in any::<u64>(), call in any_add()) {
        let datagram = Request::write(id, &call).unwrap();
        prop_assert!(datagram.len() <= MAX_DATAGRAM);
        prop_assert_eq!(Request::read(&datagram), Ok(Request { id, op: Op::TargetAdd(call) }));
    }

    #[test]
    fn a_changed_byte_is_read_or_refused(call in any_add(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut datagram = Request::write(1, &call).unwrap();
        let at = at.index(datagram.len());
        datagram[at] = byte;
        if let Err(malformed) = Request::read(&datagram) {
            prop_assert!(matches!(malformed.refusal.code, Code::Einval | Code::Eproto));
        }
    }

    #[test]
    fn words_are_their_json(kind in prop::sample::select(&TargetKind::ALL[..]), proto in prop::sample::select(&Proto::ALL[..])) {
        prop_assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        prop_assert_eq!(kind.to_string().parse(), Ok(kind));
        prop_assert_eq!(serde_json::to_string(&proto).unwrap(), format!("\"{proto}\""));
        prop_assert_eq!(proto.to_string().parse(), Ok(proto));
    }
}
