//! Registry, world and model, moved together and compared after each operation.
use super::*;

/// Registry, world and model, side by side.
pub(super) struct Three {
    pub(super) registry: Registry,
    pub(super) world: World,
    pub(super) model: Model,
}

impl Three {
    pub(super) fn new() -> Self {
        let mut registry = Registry::new(LIMITS);
        registry.set_policy(policy());
        let world = World::new(&registry);
        Self { registry, world, model: Model::default() }
    }

    pub(super) fn nth(&self, app: usize) -> SessionId {
        let nobody = SessionId { slot: u16::MAX, generation: 7 };
        self.model.apps.keys().nth(app).copied().unwrap_or(nobody)
    }

    pub(super) fn nth_tuple(&self, app: usize, tuple: usize) -> (SessionId, u16) {
        let id = self.nth(app);
        let number = self.model.apps.get(&id).and_then(|app| app.tuples.keys().nth(tuple)).copied();
        (id, number.unwrap_or(u16::MAX))
    }

    /// One operation on all three; `fails` names the step that fails.
    pub(super) fn apply(&mut self, op: Op, fails: Option<usize>) {
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

    pub(super) fn open(&mut self, uid: u32, form: Form, channels: u16, lease: u128, fails: Option<usize>) {
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

    pub(super) fn register(&mut self, id: SessionId, want: &Want, random: u64, fails: Option<usize>) {
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

    pub(super) fn force(&mut self, uid: u32, (id, number): (SessionId, u16), fails: Option<usize>) {
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

    pub(super) fn close(&mut self, id: SessionId, fails: Option<usize>) {
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

    pub(super) fn addresses(&mut self, addresses: &[IpAddr], fails: Option<usize>) {
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

    pub(super) fn reserve(&mut self, by: u32, tuple: Tuple, uid: u32, fails: Option<usize>) {
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

    pub(super) fn restart(&mut self, taken: u8) {
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
    pub(super) fn reclaim(&mut self, taken: u8) {
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

    pub(super) fn unreserve(&mut self, tuple: &Tuple) {
        let change = self.registry.unreserve(&caller(0), tuple).unwrap();
        self.world.carry_out(change, None).unwrap();
        self.model.reserved.remove(tuple);
    }

    pub(super) fn attach(&mut self, id: SessionId, uid: Option<u32>, channels: u16, fails: Option<usize>) {
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
    pub(super) fn compare(&self) {
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
