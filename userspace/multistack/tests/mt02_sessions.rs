//! Sessions against a model: random applications, administrators and restarts, and steps that fail at will.
//!
//! Nothing here looks inside the registry; the model says what the world must be, and the world is what steps did to it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
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

/// What steps did: the steering map, the workers' mirror, sockets and channels.
#[derive(Clone, Debug, PartialEq)]
struct World {
    steer: BTreeMap<SteerKey, Target>,
    mirror: Arc<Mirror>,
    bound: BTreeSet<Socket>,
    silent: BTreeSet<Socket>,
    lent: BTreeSet<Lent>,
    channels: BTreeSet<SessionId>,
    /// After a restart, until all placeholders are bound again or given up, ports are not kept.
    restarting: Restarting,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Restarting {
    No,
    Yes,
}

#[derive(Debug, thiserror::Error)]
#[error("step refused")]
struct Refused;

impl World {
    fn new(registry: &Registry) -> Self {
        Self {
            steer: BTreeMap::new(),
            mirror: Arc::clone(registry.mirror()),
            bound: BTreeSet::new(),
            silent: BTreeSet::new(),
            lent: BTreeSet::new(),
            channels: BTreeSet::new(),
            restarting: Restarting::No,
        }
    }

    /// Does one step; panics if it does not fit what is there.
    fn act(&mut self, step: &Step) {
        match step {
            Step::PublishMirror(mirror) => self.mirror = Arc::clone(mirror),
            Step::PutSteer { key, target } => {
                assert_eq!(self.steer.insert(*key, *target), None, "{key:?} was there");
            }
            Step::DelSteer { key } => assert!(self.steer.remove(key).is_some(), "{key:?} was not there"),
            Step::Bind(socket) => assert!(self.bound.insert(*socket), "{socket:?} was bound"),
            Step::Silence(socket) => {
                assert!(self.bound.contains(socket) && self.silent.insert(*socket), "{socket:?}");
            }
            Step::Close(socket) => {
                assert!(self.bound.remove(socket), "{socket:?} was not bound");
                self.silent.remove(socket);
            }
            Step::Keep(lent) => assert!(self.lent.insert(*lent), "{lent:?} was kept"),
            Step::Forget(lent) => assert!(self.lent.remove(lent), "{lent:?} was not kept"),
            Step::OpenChannels(session) => assert!(self.channels.insert(*session), "{session} was open"),
            Step::ShutChannels(session) => assert!(self.channels.remove(session), "{session} was shut"),
        }
        self.check();
    }

    /// What XDP redirects the workers know; what they know, no OS socket can have.
    fn check(&self) {
        for (key, target) in &self.steer {
            assert_eq!(self.mirror.get(key), Some(*target), "steered, and the workers do not know");
            assert!(self.mirror.is_current(target));
        }
        if self.restarting == Restarting::Yes {
            return;
        }
        for (key, target) in self.mirror.iter() {
            let Some(Owned { session, tuple }) = Owned::by(target) else { continue };
            let lent = self.lent.contains(&Lent { session, tuple });
            let kept = |socket: &Socket| covers(socket, key);
            let unbound = key.proto == Proto::Dccp.number();
            assert!(lent || unbound || self.bound.iter().any(kept), "{key:?}: the OS could have its port");
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
            Ok(value) => {
                let queues = self.bound.iter().copied().filter(Socket::queues).collect();
                assert_eq!(self.silent, queues, "a placeholder queues, or is silent for nothing");
                Some(value)
            }
            Err(failed) => {
                assert_eq!(failed.stuck, []);
                assert_eq!(*self, before, "undo is not complete");
                None
            }
        }
    }
}

fn covers(socket: &Socket, key: &SteerKey) -> bool {
    let at = match socket.at {
        SocketAddr::V4(at) => at.ip().to_ipv6_mapped(),
        SocketAddr::V6(at) => *at.ip(),
    };
    let addr = Ipv6Addr::from(key.addr);
    let wild = socket.at.ip().is_unspecified() && socket.at.is_ipv4() == addr.to_ipv4_mapped().is_some();
    let port = socket.at.port().to_be_bytes() == key.port;
    port && socket.proto.number() == key.proto && (wild || at == addr)
}

/// A tuple of a session, as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    tuple: Tuple,
    hold: Hold,
    flags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hold {
    Daemon,
    Lent(Cover),
    /// Lent, and the daemon's duplicate is gone.
    Absent(Cover),
    Unbound,
}

#[derive(Clone, Debug, PartialEq)]
struct App {
    uid: u32,
    lease: Lease,
    channels: u16,
    tuples: BTreeMap<u16, Held>,
    until: Option<Duration>,
}

/// The obviously right registry.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    addresses: BTreeSet<IpAddr>,
    apps: BTreeMap<SessionId, App>,
    reserved: BTreeMap<Tuple, u32>,
    ever: BTreeSet<SessionId>,
    now: Duration,
}

impl Model {
    fn held(&self) -> impl Iterator<Item = (SessionId, u16, &Held)> {
        self.apps
            .iter()
            .flat_map(|(&id, app)| app.tuples.iter().map(move |(&number, held)| (id, number, held)))
    }

    fn steer(&self) -> BTreeMap<SteerKey, Target> {
        let mut steer = BTreeMap::new();
        for (session, number, held) in self.held() {
            let SessionId { slot, generation } = session;
            let target = Target { kind: kind::STACK, flags: held.flags, id: slot, generation, aux: number };
            for addr in self.addresses.iter().filter(|a| is_at(held.tuple.addr(), **a)) {
                let twice = steer.insert(key(&held.tuple, *addr), target);
                assert_eq!(twice, None, "two owners of {}", held.tuple);
            }
        }
        steer
    }

    fn bound(&self) -> BTreeSet<Socket> {
        let waiting = self.reserved.keys().filter(|tuple| self.owner(tuple).is_none());
        let waiting = waiting.map(|tuple| (*tuple, daemon_or_unbound(tuple)));
        let held = self.held().map(|(_, _, held)| (held.tuple, held.hold));
        held.chain(waiting).flat_map(|(tuple, hold)| sockets(&tuple, hold)).collect()
    }

    fn lent(&self) -> BTreeSet<Lent> {
        let lent = self.held().filter(|(_, _, held)| matches!(held.hold, Hold::Lent(_)));
        lent.map(|(session, tuple, _)| Lent { session, tuple }).collect()
    }

    fn owner(&self, tuple: &Tuple) -> Option<(SessionId, u16)> {
        self.held().find(|(_, _, held)| held.tuple == *tuple).map(|(session, number, _)| (session, number))
    }

    /// Who has the tuple or meets it, the first of several.
    fn met(&self, tuple: &Tuple) -> Option<Owner> {
        let apps = self.held().filter(|(_, _, held)| held.tuple.meets(tuple));
        let apps = apps.map(|(session, tuple, _)| Owner::Stack { session, tuple });
        let waiting =
            self.reserved.iter().filter(|(kept, _)| kept.meets(tuple) && self.owner(kept).is_none());
        apps.chain(waiting.map(|(_, &uid)| Owner::Reserved(uid))).min()
    }

    fn reachable(&self, tuple: &Tuple) -> Option<Refusal> {
        match tuple.addr() {
            Address::Is(addr) if !self.addresses.contains(&addr) => Some(Refusal::NotLocal),
            _ => None,
        }
    }

    fn refusal_to_open(&self, uid: u32, form: Form, channels: u16) -> Option<Refusal> {
        match (uid, form) {
            (2000, _) => return Some(Denied::Stranger.into()),
            (1000, Form::L2) => return Some(Denied::L2.into()),
            _ => {}
        }
        let used: u64 = self.apps.values().filter(|a| a.uid == uid).map(|a| bytes(shape(a.channels))).sum();
        let (given, limit) = (used + bytes(shape(channels)), 2 * bytes(shape(1)));
        if uid == 1001 && limit < given {
            return Some(no_space(Resource::UserMemory, given as usize, limit as usize));
        }
        let full = self.apps.len() == LIMITS.sessions;
        full.then(|| no_space(Resource::Sessions, LIMITS.sessions + 1, LIMITS.sessions))
    }

    /// Why `uid` does not get the tuple, and how it is held if it does.
    fn grant(&self, uid: u32, tuple: &Tuple, want: &Want) -> Result<Hold, Refusal> {
        let lent = match want.reserve {
            Reserve::Daemon => None,
            Reserve::Lent(cover) => Some(cover),
        };
        let waiting = self.reserved.get(tuple) == Some(&uid) && self.owner(tuple).is_none();
        let hold = if waiting {
            self.reachable(tuple).map_or(Ok(daemon_or_unbound(tuple)), Err)?
        } else {
            self.permitted(uid, tuple, lent.is_some())?;
            if let Some(owner) = self.met(tuple) {
                return Err(Refusal::Busy(owner));
            }
            self.reachable(tuple).map_or(Ok(()), Err)?;
            lent.map_or_else(|| daemon_or_unbound(tuple), Hold::Lent)
        };
        let given = self.held().filter(|(id, _, _)| self.apps[id].uid == uid).count() + 1;
        let limit = match uid {
            0 => usize::MAX,
            1000 => multistack::policy::GROUP_TUPLES,
            _ => MEMBER_TUPLES,
        };
        if limit < given {
            return Err(no_space(Resource::UserTuples, given, limit));
        }
        let new = self.addresses.iter().filter(|a| is_at(tuple.addr(), **a)).count();
        let given = self.steer().len() + new;
        if LIMITS.tuples < given { Err(no_space(Resource::Tuples, given, LIMITS.tuples)) } else { Ok(hold) }
    }

    fn permitted(&self, uid: u32, tuple: &Tuple, lent: bool) -> Result<(), Refusal> {
        let (proto, port) = (tuple.proto(), tuple.port());
        let first_two = |addr| addr == IpAddr::from([192, 0, 2, 0]) || addr == IpAddr::from([192, 0, 2, 1]);
        let (protocol, address, port) = match uid {
            0 => (true, true, true),
            1000 => (proto != Proto::Dccp, true, 8 <= port || lent),
            _ => {
                let address = matches!(tuple.addr(), Address::Is(addr) if first_two(addr));
                (proto != Proto::Tcp, address, (6..=9).contains(&port))
            }
        };
        let denied = [(protocol, Denied::Protocol), (address, Denied::Address), (port, Denied::Port)];
        denied.into_iter().find(|(ok, _)| !ok).map_or(Ok(()), |(_, why)| Err(why.into()))
    }
}

fn daemon_or_unbound(tuple: &Tuple) -> Hold {
    if tuple.proto() == Proto::Dccp { Hold::Unbound } else { Hold::Daemon }
}

fn sockets(tuple: &Tuple, hold: Hold) -> Vec<Socket> {
    let at = |addr| Socket { proto: tuple.proto(), at: SocketAddr::new(addr, tuple.port()) };
    let (v4, v6) = (at(Ipv4Addr::UNSPECIFIED.into()), at(Ipv6Addr::UNSPECIFIED.into()));
    match (tuple.addr(), hold) {
        (Address::Is(addr), Hold::Daemon) => vec![at(addr)],
        (Address::Any, Hold::Daemon) => vec![v4, v6],
        (Address::Any, Hold::Lent(Cover::V4) | Hold::Absent(Cover::V4)) => vec![v6],
        (Address::Any, Hold::Lent(Cover::V6) | Hold::Absent(Cover::V6)) => vec![v4],
        _ => vec![],
    }
}

fn is_at(wanted: Address, addr: IpAddr) -> bool {
    wanted == Address::Any || wanted == Address::Is(addr)
}

fn key(tuple: &Tuple, addr: IpAddr) -> SteerKey {
    match addr {
        IpAddr::V4(addr) => SteerKey::v4(tuple.proto().number(), addr.octets(), tuple.port()),
        IpAddr::V6(addr) => SteerKey::v6(tuple.proto().number(), addr.octets(), tuple.port()),
    }
}

const fn no_space(resource: Resource, given: usize, limit: usize) -> Refusal {
    Refusal::NoSpace { resource, given, limit }
}

#[derive(Clone, Debug)]
enum Op {
    Open {
        uid: u32,
        form: Form,
        channels: u16,
        lease: u128,
    },
    Register {
        app: usize,
        want: Want,
        random: u64,
    },
    Release {
        app: usize,
        tuple: usize,
    },
    /// Root's force, or the attempt of somebody else.
    Force {
        uid: u32,
        app: usize,
        tuple: usize,
    },
    Close {
        app: usize,
    },
    Expel {
        app: usize,
    },
    Addresses(Vec<IpAddr>),
    Reserve {
        by: u32,
        tuple: Tuple,
        uid: u32,
    },
    Unreserve(usize),
    /// The daemon dies; what it cannot bind again, the OS has taken: bit n says so of the n-th.
    Restart {
        taken: u8,
    },
    Attach {
        app: usize,
        uid: Option<u32>,
        channels: u16,
    },
    Later {
        seconds: u64,
    },
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0..6u8).prop_map(|n| match n {
        0..4 => IpAddr::from([192, 0, 2, n]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
    })
}

fn parts() -> impl Strategy<Value = (Proto, Address, u16)> {
    let addr = prop_oneof![Just(Address::Any), address().prop_map(Address::Is)];
    let proto = prop_oneof![4 => Just(Proto::Udp), 2 => Just(Proto::Tcp), 1 => Just(Proto::Dccp)];
    (proto, addr, 6..=10u16)
}

fn want() -> impl Strategy<Value = Want> {
    let cover = prop_oneof![Just(Cover::Whole), Just(Cover::V4), Just(Cover::V6)];
    let reserve = prop_oneof![3 => Just(Reserve::Daemon), 1 => cover.prop_map(Reserve::Lent)];
    let on_crash = prop_oneof![Just(OnCrash::Drop), Just(OnCrash::Pass)];
    let icmp = prop_oneof![Just(IcmpErrors::Kept), Just(IcmpErrors::Delivered)];
    (parts(), prop::bool::weighted(0.1), reserve, on_crash, icmp).prop_map(
        |((proto, addr, port), choose, reserve, on_crash, icmp)| {
            let port = if choose && reserve == Reserve::Daemon { 0 } else { port };
            // A literal address is covered as a whole, or the socket is not fit.
            let reserve = match (addr, reserve) {
                (Address::Is(_), Reserve::Lent(_)) => Reserve::Lent(Cover::Whole),
                (_, reserve) => reserve,
            };
            Want { proto, addr, port, reserve, on_crash, icmp }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let uid = || prop::sample::select(&UIDS[..]);
    let form = prop_oneof![3 => Just(Form::L3), 1 => Just(Form::L2)];
    let nth = || 0..4usize;
    let tuple = || parts().prop_map(|(proto, addr, port)| Tuple::new(proto, addr, port).unwrap());
    prop_oneof![
        4 => (uid(), form, 1..3u16, any::<u128>())
            .prop_map(|(uid, form, channels, lease)| Op::Open { uid, form, channels, lease }),
        10 => (nth(), want(), any::<u64>()).prop_map(|(app, want, random)| Op::Register { app, want, random }),
        3 => (nth(), nth()).prop_map(|(app, tuple)| Op::Release { app, tuple }),
        1 => (uid(), nth(), nth()).prop_map(|(uid, app, tuple)| Op::Force { uid, app, tuple }),
        2 => nth().prop_map(|app| Op::Close { app }),
        1 => nth().prop_map(|app| Op::Expel { app }),
        3 => prop::collection::vec(address(), 0..6).prop_map(Op::Addresses),
        2 => (prop_oneof![4 => Just(0u32), 1 => Just(1000)], tuple(), uid())
            .prop_map(|(by, tuple, uid)| Op::Reserve { by, tuple, uid }),
        1 => nth().prop_map(Op::Unreserve),
        1 => any::<u8>().prop_map(|taken| Op::Restart { taken: taken & taken >> 4 }),
        3 => (nth(), prop::option::weighted(0.2, uid()), 1..3u16)
            .prop_map(|(app, uid, channels)| Op::Attach { app, uid, channels }),
        1 => (0..8u64).prop_map(|seconds| Op::Later { seconds }),
    ]
}

/// Registry, world and model, side by side.
struct Three {
    registry: Registry,
    world: World,
    model: Model,
}

impl Three {
    fn new() -> Self {
        let mut registry = Registry::new(LIMITS);
        registry.set_policy(policy());
        let world = World::new(&registry);
        Self { registry, world, model: Model::default() }
    }

    fn nth(&self, app: usize) -> SessionId {
        let nobody = SessionId { slot: u16::MAX, generation: 7 };
        self.model.apps.keys().nth(app).copied().unwrap_or(nobody)
    }

    fn nth_tuple(&self, app: usize, tuple: usize) -> (SessionId, u16) {
        let id = self.nth(app);
        let number = self.model.apps.get(&id).and_then(|app| app.tuples.keys().nth(tuple)).copied();
        (id, number.unwrap_or(u16::MAX))
    }

    /// One operation on all three; `fails` names the step that fails.
    fn apply(&mut self, op: Op, fails: Option<usize>) {
        match op {
            Op::Open { uid, form, channels, lease } => self.open(uid, form, channels, lease, fails),
            Op::Register { app, want, random } => self.register(self.nth(app), &want, random, fails),
            Op::Release { app, tuple } => {
                let (id, number) = self.nth_tuple(app, tuple);
                let known = self.model.apps.get(&id).is_some_and(|app| app.tuples.contains_key(&number));
                match self.registry.release(id, number) {
                    Ok(change) if known => {
                        if self.world.carry_out(change, fails).is_some() {
                            self.model.apps.get_mut(&id).unwrap().tuples.remove(&number);
                        }
                    }
                    result => assert_eq!((result.err(), known), (Some(Refusal::NoSuch), false)),
                }
            }
            Op::Force { uid, app, tuple } => self.force(uid, self.nth_tuple(app, tuple), fails),
            Op::Close { app } => self.close(self.nth(app), fails),
            Op::Expel { app } => {
                let id = self.nth(app);
                match self.registry.expel(id, Reason::Violation) {
                    Ok(change) => {
                        if let Some(event) = self.world.carry_out(change, fails) {
                            let news = News::SessionRevoked { reason: Reason::Violation };
                            assert_eq!(event, Event { session: id, news });
                            assert!(self.model.apps.remove(&id).is_some());
                        }
                    }
                    Err(refusal) => {
                        assert_eq!((refusal, self.model.apps.contains_key(&id)), (Refusal::NoSuch, false))
                    }
                }
            }
            Op::Addresses(addresses) => self.addresses(&addresses, fails),
            Op::Reserve { by, tuple, uid } => self.reserve(by, tuple, uid, fails),
            Op::Unreserve(nth) => {
                let Some(tuple) = self.model.reserved.keys().nth(nth).copied() else { return };
                let change = self.registry.unreserve(&caller(0), &tuple).unwrap();
                if self.world.carry_out(change, fails).is_some() {
                    self.model.reserved.remove(&tuple);
                }
            }
            Op::Restart { taken } => self.restart(taken),
            Op::Attach { app, uid, channels } => self.attach(self.nth(app), uid, channels, fails),
            Op::Later { seconds } => {
                self.model.now += Duration::from_secs(seconds);
                let late = |app: &App| app.until.is_some_and(|until| until <= self.model.now);
                let expired: Vec<_> =
                    self.model.apps.iter().filter(|(_, app)| late(app)).map(|(&id, _)| id).collect();
                assert_eq!(self.registry.expired(self.model.now), expired);
                expired.into_iter().for_each(|id| self.close(id, None));
            }
        }
    }

    fn open(&mut self, uid: u32, form: Form, channels: u16, lease: u128, fails: Option<usize>) {
        let (lease, refusal) = (Lease::new(lease), self.model.refusal_to_open(uid, form, channels));
        let name = Name::new("app").unwrap();
        let open = Open { caller: caller(uid), name, shape: shape(channels), form, lease };
        match (self.registry.open(open), refusal) {
            (Ok(change), None) => {
                let steps: Vec<Step> = change.steps().cloned().collect();
                let [Step::OpenChannels(id), Step::PublishMirror(_)] = steps[..] else { panic!("{steps:?}") };
                assert!(self.model.ever.insert(id), "{id} was given before");
                if let Some(opened) = self.world.carry_out(change, fails) {
                    assert_eq!(opened, id);
                    let app = App { uid, lease, channels, tuples: BTreeMap::new(), until: None };
                    self.model.apps.insert(id, app);
                }
            }
            (result, refusal) => assert_eq!(result.err(), refusal),
        }
    }

    fn register(&mut self, id: SessionId, want: &Want, random: u64, fails: Option<usize>) {
        let live = self.model.apps.get(&id).filter(|app| app.until.is_none());
        let (result, uid) = (self.registry.register(id, want, &kernel(), random), live.map(|app| app.uid));
        let Some(uid) = uid else { return assert_eq!(result.err(), Some(Refusal::NoSuch)) };
        // A port that was chosen is free, and if none was, none is.
        let port = match (&result, want.port) {
            (Ok(change), 0) => change.steps().find_map(|step| match step {
                Step::PutSteer { key, .. } => Some(u16::from_be_bytes(key.port)),
                Step::Bind(socket) => Some(socket.at.port()),
                _ => None,
            }),
            (Err(refusal), 0) => {
                let chosen = |port| {
                    let tuple = Tuple::new(want.proto, want.addr, port).unwrap();
                    self.model.met(&tuple).is_none() && !matches!((uid, port), (1001, 10))
                };
                let none = matches!(refusal, Refusal::NoSpace { resource: Resource::Ports, .. });
                assert_eq!(none, !(8..=10).any(chosen), "{refusal}");
                return;
            }
            (_, port) => Some(port),
        };
        // Neither steered nor bound: nothing that could be compared.
        let Some(port) = port else { return };
        let tuple = Tuple::new(want.proto, want.addr, port).unwrap();
        match (result, self.model.grant(uid, &tuple, want)) {
            (Ok(change), Ok(hold)) => {
                if let Some(registered) = self.world.carry_out(change, fails) {
                    let crash = if want.on_crash == OnCrash::Pass { target_flag::ON_CRASH_PASS } else { 0 };
                    let icmp = if want.icmp == IcmpErrors::Delivered { target_flag::ICMP } else { 0 };
                    let held = Held { tuple, hold, flags: crash | icmp };
                    let app = self.model.apps.get_mut(&id).unwrap();
                    assert_eq!(app.tuples.insert(registered.number, held), None);
                    assert_eq!(registered.tuple, tuple);
                    let at = self.model.addresses.iter().filter(|a| is_at(want.addr, **a));
                    assert!(registered.addrs.iter().eq(at));
                }
            }
            (result, grant) => assert_eq!(result.err(), grant.err()),
        }
    }

    fn force(&mut self, uid: u32, (id, number): (SessionId, u16), fails: Option<usize>) {
        let Some(held) = self.model.apps.get(&id).and_then(|app| app.tuples.get(&number)) else { return };
        match self.registry.force_release(&caller(uid), &held.tuple) {
            Ok(change) => {
                assert_eq!(uid, 0);
                if let Some(event) = self.world.carry_out(change, fails) {
                    let news = News::TupleRevoked { tuple: number, reason: Reason::Released };
                    assert_eq!(event, Event { session: id, news });
                    self.model.apps.get_mut(&id).unwrap().tuples.remove(&number);
                }
            }
            Err(refusal) => assert!(uid != 0 && refusal == Denied::NotRoot.into()),
        }
    }

    fn close(&mut self, id: SessionId, fails: Option<usize>) {
        match self.registry.close(id) {
            Ok(change) => {
                if self.world.carry_out(change, fails).is_some() {
                    assert!(self.model.apps.remove(&id).is_some());
                }
            }
            Err(refusal) => {
                assert_eq!((refusal, self.model.apps.contains_key(&id)), (Refusal::NoSuch, false));
            }
        }
    }

    fn addresses(&mut self, addresses: &[IpAddr], fails: Option<usize>) {
        let mut after = self.model.clone();
        after.addresses = addresses.iter().copied().collect();
        let (count, keys) = (after.addresses.len(), after.steer().len());
        let refusal = if LIMITS.addresses < count {
            Some(no_space(Resource::Addresses, count, LIMITS.addresses))
        } else {
            (LIMITS.tuples < keys).then(|| no_space(Resource::Tuples, keys, LIMITS.tuples))
        };
        match (self.registry.set_addresses(addresses), refusal) {
            (Ok(change), None) => {
                let Some(events) = self.world.carry_out(change, fails) else { return };
                let has = |model: &Model, held: &Held| {
                    model.addresses.iter().any(|addr| is_at(held.tuple.addr(), *addr))
                };
                let expected = self.model.held().filter_map(|(session, tuple, held)| {
                    match (has(&self.model, held), has(&after, held)) {
                        (true, false) => Some(Event { session, news: News::AddressGone { tuple } }),
                        (false, true) => Some(Event { session, news: News::AddressBack { tuple } }),
                        _ => None,
                    }
                });
                assert!(events.into_iter().eq(expected));
                self.model = after;
            }
            (result, refusal) => assert_eq!(result.err(), refusal),
        }
    }

    fn reserve(&mut self, by: u32, tuple: Tuple, uid: u32, fails: Option<usize>) {
        let refusal = if by != 0 {
            Some(Denied::NotRoot.into())
        } else if let Some(owner) = self.model.met(&tuple) {
            Some(Refusal::Busy(owner))
        } else {
            self.model.reachable(&tuple)
        };
        match (self.registry.reserve(&caller(by), tuple, uid, None, &kernel()), refusal) {
            (Ok(change), None) => {
                if self.world.carry_out(change, fails).is_some() {
                    self.model.reserved.insert(tuple, uid);
                }
            }
            (result, refusal) => assert_eq!(result.err(), refusal),
        }
    }

    fn restart(&mut self, taken: u8) {
        let json = serde_json::to_string(&self.registry.save()).unwrap();
        let saved: Saved = serde_json::from_str(&json).unwrap();
        let before = self.registry.mirror().clone();
        self.registry = Registry::restore(LIMITS, &saved, self.model.now, GRACE).unwrap().seeded(9);
        self.registry.set_policy(policy());
        assert_eq!(*self.registry.mirror(), before, "another picture");
        assert_eq!(self.registry.save(), saved);
        assert_eq!(self.registry.reconcile(self.world.steer.clone()), [], "the table is right as it stands");
        self.world.mirror = before;
        self.world.bound.clear();
        self.world.silent.clear();
        self.world.lent.clear();
        self.world.channels.clear();
        self.world.restarting = Restarting::Yes;
        for app in self.model.apps.values_mut() {
            app.until = Some(app.until.unwrap_or(self.model.now + GRACE).max(self.model.now + GRACE));
            for held in app.tuples.values_mut() {
                if let Hold::Lent(cover) = held.hold {
                    held.hold = Hold::Absent(cover);
                }
            }
        }
        self.reclaim(taken);
    }

    /// Binds every placeholder again, but for those that are taken: their tuples go.
    fn reclaim(&mut self, taken: u8) {
        for (nth, (socket, owner)) in self.registry.missing().into_iter().enumerate() {
            // Its other half may have gone with the tuple.
            let Ok(change) = self.registry.reclaim(socket) else { continue };
            if taken & 1 << (nth % 8) == 0 {
                self.world.carry_out(change, None).unwrap();
                continue;
            }
            assert_eq!(self.world.carry_out(change, Some(0)), None);
            match owner {
                Owner::Stack { session, tuple } => {
                    let change = self.registry.revoke(session, tuple, Reason::PortTaken).unwrap();
                    self.world.carry_out(change, None).unwrap();
                    let held = self.model.apps.get_mut(&session).unwrap().tuples.remove(&tuple).unwrap();
                    // Where the administrator keeps the tuple, the placeholder is still wanted.
                    if self.model.reserved.contains_key(&held.tuple) {
                        self.unreserve(&held.tuple);
                    }
                }
                Owner::Reserved(_) => {
                    let at = |tuple: &&Tuple| sockets(tuple, daemon_or_unbound(tuple)).contains(&socket);
                    let tuple = *self.model.reserved.keys().find(at).unwrap();
                    self.unreserve(&tuple);
                }
                Owner::Builtin(id) => panic!("{id} has no placeholder"),
            }
        }
        assert_eq!(self.registry.missing(), []);
        // Until their applications attach, lent sockets are all that keeps these ports.
        let absent = self.model.held().any(|(_, _, held)| matches!(held.hold, Hold::Absent(_)));
        self.world.restarting = if absent { Restarting::Yes } else { Restarting::No };
    }

    fn unreserve(&mut self, tuple: &Tuple) {
        let change = self.registry.unreserve(&caller(0), tuple).unwrap();
        self.world.carry_out(change, None).unwrap();
        self.model.reserved.remove(tuple);
    }

    fn attach(&mut self, id: SessionId, uid: Option<u32>, channels: u16, fails: Option<usize>) {
        let Some(app) = self.model.apps.get(&id).cloned() else { return };
        let uid = uid.unwrap_or(app.uid);
        let used: u64 =
            self.model.apps.values().filter(|a| a.uid == app.uid).map(|a| bytes(shape(a.channels))).sum();
        let (given, limit) =
            (used + bytes(shape(channels)) - bytes(shape(app.channels)), 2 * bytes(shape(1)));
        let refusal = match app.until {
            None => Some(Refusal::InUse),
            Some(_) if uid != app.uid => Some(Denied::NotYours.into()),
            Some(until) if until <= self.model.now => Some(Refusal::Stale),
            Some(_) if uid == 1001 && limit < given => {
                Some(no_space(Resource::UserMemory, given as usize, limit as usize))
            }
            Some(_) => None,
        };
        match (self.registry.attach(app.lease, &caller(uid), self.model.now, |_| shape(channels)), refusal) {
            (Ok(change), None) => {
                if let Some(attached) = self.world.carry_out(change, fails) {
                    let tuples = app.tuples.iter().map(|(&number, held)| (number, held.tuple)).collect();
                    assert_eq!(attached, Attached { session: id, tuples });
                    let app = self.model.apps.get_mut(&id).unwrap();
                    (app.until, app.channels) = (None, channels);
                }
            }
            (result, refusal) => assert_eq!(result.err(), refusal),
        }
    }

    /// The world is what the model says, and nothing is left of what failed.
    fn compare(&self) {
        let Self { registry, world, model } = self;
        assert_eq!(world.steer, model.steer());
        assert_eq!(world.mirror, *registry.mirror());
        assert_eq!(world.mirror.len(), world.steer.len());
        assert_eq!(world.bound, model.bound());
        assert_eq!(world.lent, model.lent());
        let live = model.apps.iter().filter(|(_, app)| app.until.is_none()).map(|(&id, _)| id).collect();
        assert_eq!(world.channels, live);
        for (&id, app) in &model.apps {
            let session = registry.session(id).unwrap();
            let tuples = session.tuples.iter().map(|(&n, stack)| (n, stack.tuple));
            assert!(tuples.eq(app.tuples.iter().map(|(&n, held)| (n, held.tuple))));
            assert!(world.mirror.is_live(id));
        }
        assert_eq!(registry.sessions().count(), model.apps.len());
        let waiting = model.reserved.keys().filter(|t| model.owner(t).is_none()).count();
        assert_eq!(registry.rows().count(), model.held().count() + waiting);
        assert!(registry.reservations().map(|(tuple, r)| (tuple, &r.uid)).eq(&model.reserved));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mt02_random_applications_never_share_a_tuple_and_failures_leave_nothing(
        ops in prop::collection::vec((op(), prop::option::weighted(0.3, 0..8usize)), 1..60)
    ) {
        let mut three = Three::new();
        for (op, fails) in ops {
            three.apply(op, fails);
            three.compare();
        }
    }
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
    refused(|v| v["version"] = 2.into(), "version 2");
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
