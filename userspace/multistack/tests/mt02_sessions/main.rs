//! Sessions against a model: random applications, administrators and restarts, and steps that fail at will.
//!
//! Nothing here looks inside the registry; the model says what the world must be, and the world is what steps did to it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
mod model;
mod operations;
mod three;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use abi::shm::desc::Form;
use abi::shm::layout::{Shape, SlotSize, Slots};
use abi::steer::{SteerKey, Target, kind, target_flag};
use multistack::drr::Weight;
use multistack::mirror::{Mirror, Owned};
use multistack::policy::{Addresses, Credentials, Kernel, Permission, Policy, Ports, Rule, Who};
use multistack::refusal::{Denied, Refusal, Resource};
use multistack::registry::{
    Attached, Builtin, Change, Cover, Event, IcmpErrors, Lease, Lent, Limits, Name, News, OnCrash, Open,
    Owner, Reason, Registration, Registry, Reserve, RowState, Saved, SessionId, Socket, Strength, Want,
};
use multistack::steer::Table;
use multistack::step::Step;
use multistack::tuple::{Address, Proto, Tuple};
use proptest::prelude::*;

use model::*;
use operations::*;
use three::*;
use world::*;

const LIMITS: Limits = Limits { slots: 4, tuples: 12, addresses: 4, sessions: 4, ring_bytes: u64::MAX };
const GRACE: Duration = Duration::from_secs(10);
/// Users: root, a member of the group, one with a rule of its own, a stranger.
const UIDS: [u32; 4] = [0, 1000, 1001, 2000];
const GROUP: u32 = 990;
const MEMBER_TUPLES: usize = 3;

fn kernel() -> Kernel {
    // No DCCP: its tuples are unbound or not at all.
    let protocols = vec![Proto::Tcp, Proto::Udp];
    Kernel { unprivileged_port_start: 8, ephemeral: 8..=10, protocols }
}

fn caller(uid: u32) -> Credentials {
    let gids = if uid == 1000 { vec![1000, GROUP] } else { vec![uid] };
    Credentials { uid, gids, pid: 100 + uid as i32 }
}

fn policy() -> Policy {
    let rule = Rule {
        who: Who::Uid(1001),
        protocols: vec![Proto::Udp, Proto::Dccp],
        ports: Ports::In(vec![6..=9]),
        addresses: Addresses::In(vec!["192.0.2.0/31".parse().unwrap()]),
        max_tuples: MEMBER_TUPLES,
        max_bytes: 2 * bytes(shape(1)),
        l2: Permission::Granted,
        unbound: Permission::Granted,
        weight: Weight::new(3).unwrap(),
    };
    Policy::new(vec![rule], Some(GROUP))
}

fn shape(channels: u16) -> Shape {
    let slots = Slots::new(64).unwrap();
    Shape::new(channels, slots, slots, SlotSize::new(2048).unwrap()).unwrap()
}

fn bytes(shape: Shape) -> u64 {
    (shape.down_size() + shape.up_size()) as u64
}

/// A registry with two local addresses, an application of root's, and their world.
fn one_app() -> (Three, SessionId) {
    let mut three = Three::new();
    three.apply(Op::Addresses(vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]), None);
    three.apply(Op::Open { uid: 0, form: Form::L3, channels: 1, lease: 42 }, None);
    let id = three.nth(0);
    (three, id)
}

fn udp(addr: Address, port: u16) -> Want {
    Want {
        proto: Proto::Udp,
        addr,
        port,
        reserve: Reserve::Daemon,
        on_crash: OnCrash::Drop,
        icmp: IcmpErrors::Kept,
    }
}

fn shapes<T>(change: &Change<'_, T>) -> Vec<&'static str> {
    let shape = |step: &Step| match step {
        Step::PublishMirror(_) => "publish",
        Step::PutSteer { .. } => "put",
        Step::DelSteer { .. } => "del",
        Step::Bind(_) => "bind",
        Step::Silence(_) => "silence",
        Step::Close(_) => "close",
        Step::Keep(_) => "keep",
        Step::Forget(_) => "forget",
        Step::OpenChannels(_) => "open",
        Step::ShutChannels(_) => "shut",
    };
    change.steps().map(shape).collect()
}

#[test]
fn mt02_steps_come_in_the_order_that_leaves_no_packet_to_a_stranger() {
    let (mut three, id) = one_app();
    let Three { registry, world, .. } = &mut three;
    let change = registry.register(id, &udp(Address::Any, 53), &kernel(), 0).unwrap();
    assert_eq!(shapes(&change), ["bind", "bind", "silence", "silence", "publish", "put", "put"]);
    let any = world.carry_out(change, None).unwrap();
    let lent = Want { reserve: Reserve::Lent(Cover::V4), ..udp(Address::Any, 54) };
    let change = registry.register(id, &lent, &kernel(), 0).unwrap();
    assert_eq!(shapes(&change), ["keep", "bind", "silence", "publish", "put", "put"]);
    world.carry_out(change, None).unwrap();
    let tcp = Want { proto: Proto::Tcp, ..udp(Address::Is("192.0.2.1".parse().unwrap()), 80) };
    let change = registry.register(id, &tcp, &kernel(), 0).unwrap();
    assert_eq!(shapes(&change), ["bind", "publish", "put"]);
    world.carry_out(change, None).unwrap();
    let change = registry.release(id, any.number).unwrap();
    assert_eq!(shapes(&change), ["del", "del", "publish", "close", "close"]);
    drop(change);
    let change = registry.close(id).unwrap();
    let expected = ["del", "del", "del", "del", "del", "publish"];
    let after = ["close", "close", "close", "forget", "close", "shut"];
    assert_eq!(shapes(&change), [&expected[..], &after].concat());
    world.carry_out(change, None).unwrap();
    assert_eq!((world.bound.len(), world.lent.len(), world.channels.len()), (0, 0, 0));
}

#[test]
fn mt02_a_slot_given_again_has_another_generation_and_old_packets_are_stale() {
    let mut three = Three::new();
    let mut seen = Vec::new();
    for lease in 0..9 {
        three.apply(Op::Open { uid: 0, form: Form::L3, channels: 1, lease }, None);
        let id = three.nth(0);
        assert!(!seen.contains(&id));
        seen.push(id);
        three.close(id, None);
    }
    assert_eq!((seen[0].slot, seen[4].slot, seen[8].slot), (0, 0, 0));
    let generations: Vec<_> = [0, 4, 8].map(|n: usize| seen[n].generation).into();
    assert_eq!(generations, [0, 1, 2]);
    // A restart does not begin again.
    let saved = three.registry.save();
    let mut registry = Registry::restore(LIMITS, &saved, Duration::ZERO, GRACE).unwrap();
    registry.set_policy(policy());
    let open = Open {
        caller: caller(0),
        name: Name::new("a").unwrap(),
        shape: shape(1),
        form: Form::L3,
        lease: Lease::new(1),
    };
    let id = registry.open(open).unwrap().carry_out(|_| Ok::<(), Refused>(())).unwrap();
    assert_eq!(id, SessionId { slot: 1, generation: 2 });
    assert!(registry.mirror().is_live(id) && !registry.mirror().is_live(seen[5]));
}

#[test]
fn mt02_a_released_tuple_is_nobodys_while_its_session_lives() {
    let (mut three, id) = one_app();
    three.register(id, &udp(Address::Any, 53), 0, None);
    three.register(id, &udp(Address::Any, 54), 0, None);
    let key = SteerKey::v4(17, [192, 0, 2, 1], 53);
    let owned = three.registry.mirror().owner(&key).unwrap();
    assert_eq!(owned, Owned { session: id, tuple: 0 });
    three.apply(Op::Release { app: 0, tuple: 0 }, None);
    assert!(three.registry.mirror().is_live(id));
    assert_eq!(three.registry.mirror().owner(&key), None);
    // Its number rests: frames in the ring still say it.
    three.register(id, &udp(Address::Any, 53), 0, None);
    assert_eq!(three.registry.mirror().owner(&key).unwrap().tuple, 2);
}

#[test]
fn mt02_builtin_targets_and_applications_share_one_table() {
    let (mut three, id) = one_app();
    let tuple = Tuple::new(Proto::Udp, Address::Any, 7).unwrap();
    let echo = Registration { tuple, builtin: Builtin::Echo, on_crash: OnCrash::Drop };
    let done = |_: &Step| Ok::<(), Refused>(());
    let number = three.registry.add(echo).unwrap().carry_out(done).unwrap();
    let local = Address::Is("192.0.2.1".parse().unwrap());
    let refusal = three.registry.register(id, &udp(local, 7), &kernel(), 0).unwrap_err();
    assert_eq!(refusal, Refusal::Busy(Owner::Builtin(number)));
    three.registry.register(id, &udp(local, 8), &kernel(), 0).unwrap().carry_out(done).unwrap();
    let tuple = Tuple::new(Proto::Udp, Address::Any, 8).unwrap();
    let refusal = three.registry.add(Registration { tuple, ..echo }).unwrap_err();
    assert_eq!(refusal, Refusal::Busy(Owner::Stack { session: id, tuple: 0 }));
    assert_eq!((refusal.code(), refusal.to_string()), ("EBUSY", "belongs to tuple 0 of session 0.0".into()));
}

#[test]
fn mt02_detached_interfaces_take_no_more_tuples() {
    let (mut three, id) = one_app();
    let addr = "192.0.2.1".parse().unwrap();
    three.registry.set_detaching(&[addr]);
    let refusal = three.registry.register(id, &udp(Address::Is(addr), 53), &kernel(), 0).unwrap_err();
    assert_eq!((refusal, refusal.code()), (Refusal::Detaching, "ENETDOWN"));
    three.registry.set_detaching(&[]);
    three.register(id, &udp(Address::Is(addr), 53), 0, None);
    three.compare();
}

#[test]
fn mt02_every_state_of_a_row_is_shown() {
    let (mut three, id) = one_app();
    let addr: IpAddr = "192.0.2.1".parse().unwrap();
    let states = |three: &Three| three.registry.rows().map(|row| row.state.name()).collect::<Vec<_>>();
    three.register(id, &udp(Address::Is(addr), 53), 0, None);
    three.register(id, &Want { reserve: Reserve::Lent(Cover::Whole), ..udp(Address::Any, 54) }, 0, None);
    three.register(id, &Want { proto: Proto::Dccp, ..udp(Address::Any, 55) }, 0, None);
    three.reserve(0, Tuple::new(Proto::Tcp, Address::Any, 80).unwrap(), 1000, None);
    assert_eq!(states(&three), ["live", "live", "unreserved", "reserved"]);
    let lent = Lent { session: id, tuple: 1 };
    three.registry.set_strength(lent, Strength::Weak).unwrap();
    assert_eq!(three.registry.set_strength(Lent { tuple: 0, ..lent }, Strength::Weak), Err(Refusal::NoSuch));
    three.apply(Op::Addresses(vec!["2001:db8::1".parse().unwrap()]), None);
    assert_eq!(states(&three), ["suspended", "weak", "unreserved", "reserved"]);
    three.restart(0);
    assert_eq!(states(&three), ["orphan", "orphan", "orphan", "reserved"]);
    let row = three.registry.rows().next().unwrap();
    assert_eq!((row.state, row.uid, row.pid, row.name), (RowState::Orphan, 0, None, Some("app")));
    three.attach(id, None, 1, None);
    assert_eq!(states(&three), ["suspended", "weak", "unreserved", "reserved"]);
    let row = three.registry.rows().next().unwrap();
    assert_eq!((row.pid, row.addrs), (Some(100), vec![]));
}

#[test]
fn mt02_a_table_found_otherwise_is_put_right() {
    let (mut three, id) = one_app();
    three.register(id, &udp(Address::Any, 53), 0, None);
    let right = three.world.steer.clone();
    let (&first, &target) = right.iter().next().unwrap();
    let stranger = SteerKey::v4(6, [192, 0, 2, 1], 1);
    let wrong = Target { generation: target.generation + 1, ..target };
    let mut found = BTreeMap::from([(first, wrong), (stranger, target)]);
    for step in three.registry.reconcile(found.clone()) {
        match step {
            Step::PutSteer { key, target } => assert_eq!(found.insert(key, target), None),
            Step::DelSteer { key } => assert!(found.remove(&key).is_some()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, right);
}

#[test]
fn mt02_what_was_saved_is_believed_only_as_far_as_it_can_be() {
    let (mut three, id) = one_app();
    three.register(id, &udp(Address::Any, 53), 0, None);
    three.register(id, &udp(Address::Any, 54), 0, None);
    let saved = serde_json::to_value(three.registry.save()).unwrap();
    let restored = |edit: fn(&mut serde_json::Value)| {
        let mut value = saved.clone();
        edit(&mut value);
        let saved: Saved = serde_json::from_value(value).map_err(|e| e.to_string())?;
        let registry = Registry::restore(LIMITS, &saved, Duration::ZERO, GRACE);
        registry.map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(restored(|_| ()), Ok(()));
    let refused = |edit: fn(&mut serde_json::Value), why: &str| {
        let error = restored(edit).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(|v| v["more"] = 1.into(), "unknown field");
    refused(|v| v["sessions"][0]["lease"] = "short".into(), "32 hexadecimal digits");
    refused(|v| v["sessions"][0]["slot"] = 4.into(), "slot 4");
    refused(|v| v["sessions"][0]["rx_slots"] = 100.into(), "100 slots");
    refused(|v| v["sessions"][0]["channels"] = 65.into(), "65 channels");
    refused(|v| v["sessions"][0]["weight"] = 0.into(), "weight 0");
    refused(|v| v["sessions"][0]["tuples"][1]["number"] = 4096.into(), "number 4096");
    refused(|v| v["sessions"][0]["tuples"][1]["port"] = 53.into(), "belongs to");
    refused(|v| v["sessions"][0]["tuples"][1]["port"] = 0.into(), "port 0");
    refused(|v| v["sessions"][0]["name"] = "".into(), "not a name");
    refused(|v| v["addresses"][0] = "127.0.0.1".into(), "loopback");
    refused(
        |v| {
            let twin = v["sessions"][0].clone();
            v["sessions"].as_array_mut().unwrap().push(twin);
        },
        "there twice",
    );
}

#[test]
fn mt02_memory_is_limited_in_total_and_for_each_user() {
    let limits = Limits { ring_bytes: 3 * bytes(shape(1)) - 1, ..LIMITS };
    let mut registry = Registry::new(limits);
    registry.set_policy(policy());
    let open = |uid| Open {
        caller: caller(uid),
        name: Name::new("app").unwrap(),
        shape: shape(1),
        form: Form::L3,
        lease: Lease::new(u128::from(uid)),
    };
    let done = |_: &Step| Ok::<(), Refused>(());
    let first = registry.open(open(1001)).unwrap().carry_out(done).unwrap();
    registry.open(open(1000)).unwrap().carry_out(done).unwrap();
    let (given, limit) = (3 * bytes(shape(1)) as usize, 3 * bytes(shape(1)) as usize - 1);
    let refusal = registry.open(open(1001)).unwrap_err();
    assert_eq!(refusal, no_space(Resource::Memory, given, limit));
    registry.close(first).unwrap().carry_out(done).unwrap();
    registry.open(open(1001)).unwrap().carry_out(done).unwrap();
}
