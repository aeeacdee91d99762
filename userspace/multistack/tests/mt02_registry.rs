//! The registry against a model: a plain list of owners, a plain map for the kernel, and steps that fail at will.
//!
//! Nothing here looks inside the registry; the model is what its steps did to the world.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use abi::rxmeta::{MAGIC, RxMeta};
use abi::steer::{SteerKey, Target, kind, mapped, target_flag};
use multistack::mirror::Mirror;
use multistack::refusal::{Refusal, Resource};
use multistack::registry::{Builtin, Change, Limits, MAX_RING_BYTES, OnCrash, Owner, Registration, Registry};
use multistack::slots::TupleId;
use multistack::steer::Table;
use multistack::step::Step;
use multistack::tuple::{Address, Proto, Tuple};
use proptest::prelude::*;

/// Small enough that random operations meet every limit.
const LIMITS: Limits = Limits { slots: 6, tuples: 12, addresses: 4, sessions: 4, ring_bytes: u64::MAX };

/// The steering map and the workers' mirror, changed by steps alone.
#[derive(Clone, Debug, PartialEq)]
struct World {
    steer: BTreeMap<SteerKey, Target>,
    mirror: Arc<Mirror>,
}

#[derive(Debug, thiserror::Error)]
#[error("step refused")]
struct Refused;

impl World {
    fn new(registry: &Registry) -> Self {
        Self { steer: BTreeMap::new(), mirror: Arc::clone(registry.mirror()) }
    }

    /// Does one step; panics if it does not fit what is there, or leaves XDP knowing more than the workers.
    fn act(&mut self, step: &Step) {
        match step {
            Step::PublishMirror(mirror) => self.mirror = Arc::clone(mirror),
            Step::PutSteer { key, target } => {
                assert_eq!(self.steer.insert(*key, *target), None, "{key:?} was there")
            }
            Step::DelSteer { key } => assert!(self.steer.remove(key).is_some(), "{key:?} was not there"),
            other => panic!("{other:?} is no step of a builtin target"),
        }
        for (key, target) in &self.steer {
            assert_eq!(self.mirror.get(key), Some(*target), "steered, and the workers do not know");
            assert!(self.mirror.is_current(target));
        }
    }

    /// Carries a change out and lets the step with this number fail, if there are so many.
    #[track_caller]
    fn carry_out<T>(&mut self, change: Change<'_, T>, fails: Option<usize>) -> Option<T> {
        let before = self.clone();
        let mut countdown = fails;
        let result = change.carry_out(|step| match countdown {
            Some(0) => {
                countdown = None;
                Err(Refused)
            }
            _ => {
                countdown = countdown.map(|n| n - 1);
                self.act(step);
                Ok(())
            }
        });
        match result {
            Ok(value) => Some(value),
            Err(failed) => {
                assert_eq!(failed.stuck, []);
                assert_eq!(*self, before, "undo is not complete");
                None
            }
        }
    }
}

/// The obviously right registry.
#[derive(Clone, Debug, Default)]
struct Model {
    addresses: BTreeSet<IpAddr>,
    owners: BTreeMap<TupleId, Registration>,
    ever: BTreeSet<TupleId>,
}

impl Model {
    fn steer(&self) -> BTreeMap<SteerKey, Target> {
        let mut steer = BTreeMap::new();
        for (id, Registration { tuple, builtin, on_crash }) in &self.owners {
            let flags = if *on_crash == OnCrash::Pass { target_flag::ON_CRASH_PASS } else { 0 };
            let (generation, aux) = (id.raw(), id.slot() as u16);
            let target = Target { kind: kind::BUILTIN, flags, id: builtin.id(), generation, aux };
            for addr in self.addresses.iter().filter(|a| matches_addr(tuple.addr(), **a)) {
                let twice = steer.insert(key(tuple.proto(), *addr, tuple.port()), target);
                assert_eq!(twice, None, "two owners of {tuple}");
            }
        }
        steer
    }

    fn refusal_of(&self, tuple: &Tuple) -> Option<Refusal> {
        let same = |r: &Registration| r.tuple.proto() == tuple.proto() && r.tuple.port() == tuple.port();
        let overlap = |a, b| a == b || a == Address::Any || b == Address::Any;
        if let Some((id, _)) =
            self.owners.iter().find(|(_, r)| same(r) && overlap(r.tuple.addr(), tuple.addr()))
        {
            return Some(Refusal::Busy(Owner::Builtin(*id)));
        }
        if let Address::Is(addr) = tuple.addr()
            && !self.addresses.contains(&addr)
        {
            return Some(Refusal::NotLocal);
        }
        if self.owners.len() == LIMITS.slots {
            return Some(no_space(Resource::Slots, LIMITS.slots + 1, LIMITS.slots));
        }
        let new = if tuple.addr() == Address::Any { self.addresses.len() } else { 1 };
        let given = self.steer().len() + new;
        (given > LIMITS.tuples).then(|| no_space(Resource::Tuples, given, LIMITS.tuples))
    }
}

fn matches_addr(wanted: Address, addr: IpAddr) -> bool {
    wanted == Address::Any || wanted == Address::Is(addr)
}

fn key(proto: Proto, addr: IpAddr, port: u16) -> SteerKey {
    match addr {
        IpAddr::V4(addr) => SteerKey::v4(proto.number(), addr.octets(), port),
        IpAddr::V6(addr) => SteerKey::v6(proto.number(), addr.octets(), port),
    }
}

const fn no_space(resource: Resource, given: usize, limit: usize) -> Refusal {
    Refusal::NoSpace { resource, given, limit }
}

#[derive(Clone, Debug)]
enum Op {
    Add(Registration),
    /// Removes the n-th registration there is, or a number that names none.
    Remove(usize),
    Addresses(Vec<IpAddr>),
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0..6u8).prop_map(|n| match n {
        0..4 => IpAddr::from([192, 0, 2, n]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
    })
}

fn registration() -> impl Strategy<Value = Registration> {
    let addr = prop_oneof![Just(Address::Any), address().prop_map(Address::Is)];
    let proto = prop_oneof![Just(Proto::Udp), Just(Proto::Tcp)];
    let builtin = prop_oneof![Just(Builtin::Sink), Just(Builtin::Echo)];
    let on_crash = prop_oneof![Just(OnCrash::Drop), Just(OnCrash::Pass)];
    (proto, addr, 7..10u16, builtin, on_crash).prop_map(|(proto, addr, port, builtin, on_crash)| {
        Registration { tuple: Tuple::new(proto, addr, port).unwrap(), builtin, on_crash }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let special =
        prop_oneof![Just("fe80::1"), Just("127.0.0.1"), Just("224.0.0.1")].prop_map(|a| a.parse().unwrap());
    prop_oneof![
        5 => registration().prop_map(Op::Add),
        3 => (0..8usize).prop_map(Op::Remove),
        2 => prop::collection::vec(prop_oneof![9 => address(), 1 => special], 0..6).prop_map(Op::Addresses),
    ]
}

/// One operation on registry, world and model; `fails` names the step that fails.
fn apply(registry: &mut Registry, world: &mut World, model: &mut Model, op: Op, fails: Option<usize>) {
    match op {
        Op::Add(registration) => match (registry.add(registration), model.refusal_of(&registration.tuple)) {
            (Ok(change), None) => {
                for step in change.steps() {
                    if let Step::PutSteer { target, .. } = step {
                        model.ever.insert(TupleId::from_raw(target.generation));
                    }
                }
                if let Some(id) = world.carry_out(change, fails) {
                    assert_eq!(model.owners.insert(id, registration), None);
                }
            }
            (result, refusal) => assert_eq!(result.err(), refusal),
        },
        Op::Remove(nth) => {
            let id = model.owners.keys().nth(nth).copied();
            let unknown = TupleId::from_raw(u16::MAX);
            match (registry.remove(id.unwrap_or(unknown)), id) {
                (Ok(change), Some(id)) => {
                    if let Some(registration) = world.carry_out(change, fails) {
                        assert_eq!(model.owners.remove(&id), Some(registration));
                    }
                }
                (result, id) => assert_eq!((result.err(), id), (Some(Refusal::NoSuch), None)),
            }
        }
        Op::Addresses(addresses) => {
            let unicast = |a: &IpAddr| {
                !a.is_loopback() && !a.is_multicast() && *a != IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1])
            };
            let mut after = model.clone();
            after.addresses = addresses.iter().copied().filter(unicast).collect();
            let (count, keys) = (after.addresses.len(), after.steer().len());
            let refusal = if count > LIMITS.addresses {
                Some(no_space(Resource::Addresses, count, LIMITS.addresses))
            } else {
                (keys > LIMITS.tuples).then(|| no_space(Resource::Tuples, keys, LIMITS.tuples))
            };
            match (registry.set_addresses(&addresses), refusal) {
                (Ok(change), None) => {
                    if world.carry_out(change, fails).is_some() {
                        *model = after;
                    }
                }
                (result, refusal) => assert_eq!(result.err(), refusal),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mt02_random_operations_never_make_two_owners_and_failures_leave_nothing(
        ops in prop::collection::vec((op(), prop::option::weighted(0.3, 0..6usize)), 1..60)
    ) {
        let mut registry = Registry::new(LIMITS);
        let mut world = World::new(&registry);
        let mut model = Model::default();
        for (op, fails) in ops {
            apply(&mut registry, &mut world, &mut model, op, fails);
            prop_assert_eq!(&world.steer, &model.steer());
            prop_assert_eq!(&world.mirror, registry.mirror());
            prop_assert_eq!(world.mirror.len(), world.steer.len());
            let listed: BTreeMap<_, _> = registry.list().map(|(id, r, _)| (id, *r)).collect();
            prop_assert_eq!(&listed, &model.owners);
            for (id, registration, addresses) in registry.list() {
                prop_assert_eq!(registry.find(&registration.tuple), Some(id));
                let live = model.addresses.iter().filter(|a| matches_addr(registration.tuple.addr(), **a));
                prop_assert!(addresses.iter().eq(live));
            }
        }
    }
}

/// A registry with two local addresses, and its world.
fn two_addresses() -> (Registry, World) {
    let mut registry = Registry::new(Limits::default());
    let mut world = World::new(&registry);
    let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    world.carry_out(registry.set_addresses(&addresses).unwrap(), None).unwrap();
    (registry, world)
}

fn echo(addr: Address) -> Registration {
    let tuple = Tuple::new(Proto::Udp, addr, 7).unwrap();
    Registration { tuple, builtin: Builtin::Echo, on_crash: OnCrash::Drop }
}

fn shapes<T>(change: &Change<'_, T>) -> Vec<&'static str> {
    let shape = |step: &Step| match step {
        Step::PublishMirror(_) => "publish",
        Step::PutSteer { .. } => "put",
        Step::DelSteer { .. } => "del",
        other => panic!("{other:?}"),
    };
    change.steps().map(shape).collect()
}

#[test]
fn mt02_registering_publishes_first_and_releasing_last() {
    let (mut registry, mut world) = two_addresses();
    let change = registry.add(echo(Address::Any)).unwrap();
    assert_eq!(shapes(&change), ["publish", "put", "put"]);
    let id = world.carry_out(change, None).unwrap();
    assert_eq!(world.steer.keys().map(|k| k.addr).next(), Some(mapped([192, 0, 2, 1])));
    let change = registry.set_addresses(&["192.0.2.9".parse().unwrap()]).unwrap();
    assert_eq!(shapes(&change), ["publish", "put", "del", "del", "publish"]);
    world.carry_out(change, None).unwrap();
    let change = registry.remove(id).unwrap();
    assert_eq!(shapes(&change), ["del", "publish"]);
    world.carry_out(change, None).unwrap();
    assert_eq!(world, World::new(&Registry::new(Limits::default())));
}

#[test]
fn mt02_a_packet_of_a_released_tuple_is_stale_for_its_successor() {
    let mut registry = Registry::new(Limits { slots: 1, ..Limits::default() });
    let mut world = World::new(&registry);
    let first = world.carry_out(registry.add(echo(Address::Any)).unwrap(), None).unwrap();
    let steered =
        RxMeta { magic: MAGIC, kind: kind::BUILTIN, id: 1, generation: first.raw(), ..RxMeta::default() };
    assert_eq!(registry.mirror().tuple_of(&steered), Some(first));
    world.carry_out(registry.remove(first).unwrap(), None).unwrap();
    let second = world.carry_out(registry.add(echo(Address::Any)).unwrap(), None).unwrap();
    assert_eq!(second.slot(), first.slot());
    assert_eq!(registry.mirror().tuple_of(&steered), None);
    let current = RxMeta { generation: second.raw(), ..steered };
    assert_eq!(registry.mirror().tuple_of(&current), Some(second));
    for wrong in [
        RxMeta { id: 0, ..current },
        RxMeta { kind: kind::STACK, ..current },
        RxMeta { generation: second.raw() + 1, ..current },
    ] {
        assert_eq!(registry.mirror().tuple_of(&wrong), None, "{wrong:?}");
    }
}

#[test]
fn mt02_a_failed_registration_spends_its_number() {
    let (mut registry, mut world) = two_addresses();
    let tried = |change: &Change<'_, TupleId>| {
        change.steps().find_map(|step| match step {
            Step::PutSteer { target, .. } => Some(target.generation),
            _ => None,
        })
    };
    let mut seen = BTreeSet::new();
    for failing in 0..3 {
        let change = registry.add(echo(Address::Any)).unwrap();
        assert!(seen.insert(tried(&change)), "given twice");
        assert_eq!(world.carry_out(change, Some(failing)), None);
    }
    let change = registry.add(echo(Address::Any)).unwrap();
    assert!(seen.insert(tried(&change)), "given twice");
}

#[test]
fn mt02_an_undo_that_fails_says_what_is_still_there() {
    let (mut registry, _) = two_addresses();
    let change = registry.add(echo(Address::Any)).unwrap();
    let steps: Vec<Step> = change.steps().cloned().collect();
    let mut calls = 0;
    let failed = change
        .carry_out(|_| {
            calls += 1;
            if calls <= 2 { Ok(()) } else { Err(Refused) }
        })
        .unwrap_err();
    let [Step::PublishMirror(_), Step::PutSteer { key, .. }, Step::PutSteer { .. }] = steps[..] else {
        panic!("{steps:?}");
    };
    let empty = Registry::new(Limits::default());
    let old = Step::PublishMirror(Arc::clone(empty.mirror()));
    assert_eq!(failed.stuck, [Step::DelSteer { key }, old]);
    assert_eq!(registry.list().count(), 0);
}

#[test]
fn mt02_limits_are_the_documented_ones_and_a_refusal_names_them() {
    let documented =
        Limits { slots: 4096, tuples: 65_536, addresses: 4096, sessions: 4096, ring_bytes: MAX_RING_BYTES };
    assert_eq!(Limits::default(), documented);
    let (slots, tuples, addresses, sessions) = (usize::MAX, usize::MAX, usize::MAX, usize::MAX);
    let mut registry = Registry::new(Limits { slots, tuples, addresses, sessions, ring_bytes: u64::MAX });
    let local: Vec<IpAddr> = (0..4097u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
    assert_eq!(registry.set_addresses(&local).unwrap_err(), no_space(Resource::Addresses, 4097, 4096));
    registry.set_addresses(&local[1..]).unwrap().carry_out(|_| Ok::<(), Refused>(())).unwrap();
    let at = |port| Registration {
        tuple: Tuple::new(Proto::Udp, Address::Any, port).unwrap(),
        ..echo(Address::Any)
    };
    for port in 1..=16 {
        registry.add(at(port)).unwrap().carry_out(|_| Ok::<(), Refused>(())).unwrap();
    }
    let refusal = registry.add(at(17)).unwrap_err();
    assert_eq!(refusal, no_space(Resource::Tuples, 17 * 4096, 65_536));
    assert_eq!(
        (refusal.code(), refusal.to_string().as_str()),
        ("ENOSPC", "69632 tuples, the limit is 65536")
    );
}
