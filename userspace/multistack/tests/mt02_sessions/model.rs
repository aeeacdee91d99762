//! What the world must be: applications, their tuples, and whose each is, said as plainly as possible.
use super::*;

/// A tuple of a session, as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) tuple: Tuple,
    pub(super) hold: Hold,
    pub(super) flags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hold {
    Daemon,
    Lent(Cover),
    /// Lent, and the daemon's duplicate is gone.
    Absent(Cover),
    Unbound,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct App {
    pub(super) uid: u32,
    pub(super) lease: Lease,
    pub(super) channels: u16,
    pub(super) tuples: BTreeMap<u16, Held>,
    pub(super) until: Option<Duration>,
}

/// The obviously right registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) apps: BTreeMap<SessionId, App>,
    pub(super) reserved: BTreeMap<Tuple, u32>,
    pub(super) ever: BTreeSet<SessionId>,
    pub(super) now: Duration,
}

impl Model {
    pub(super) fn held(&self) -> impl Iterator<Item = (SessionId, u16, &Held)> {
        self.apps
            .iter()
            .flat_map(|(&id, app)| app.tuples.iter().map(move |(&number, held)| (id, number, held)))
    }

    pub(super) fn steer(&self) -> BTreeMap<SteerKey, Target> {
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

    pub(super) fn bound(&self) -> BTreeSet<Socket> {
        let waiting = self.reserved.keys().filter(|tuple| self.owner(tuple).is_none());
        let waiting = waiting.map(|tuple| (*tuple, daemon_or_unbound(tuple)));
        let held = self.held().map(|(_, _, held)| (held.tuple, held.hold));
        held.chain(waiting).flat_map(|(tuple, hold)| sockets(&tuple, hold)).collect()
    }

    pub(super) fn lent(&self) -> BTreeSet<Lent> {
        let lent = self.held().filter(|(_, _, held)| matches!(held.hold, Hold::Lent(_)));
        lent.map(|(session, tuple, _)| Lent { session, tuple }).collect()
    }

    pub(super) fn owner(&self, tuple: &Tuple) -> Option<(SessionId, u16)> {
        self.held().find(|(_, _, held)| held.tuple == *tuple).map(|(session, number, _)| (session, number))
    }

    /// Who has the tuple or meets it, the first of several.
    pub(super) fn met(&self, tuple: &Tuple) -> Option<Owner> {
        let apps = self.held().filter(|(_, _, held)| held.tuple.meets(tuple));
        let apps = apps.map(|(session, tuple, _)| Owner::Stack { session, tuple });
        let waiting =
            self.reserved.iter().filter(|(kept, _)| kept.meets(tuple) && self.owner(kept).is_none());
        apps.chain(waiting.map(|(_, &uid)| Owner::Reserved(uid))).min()
    }

    pub(super) fn reachable(&self, tuple: &Tuple) -> Option<Refusal> {
        match tuple.addr() {
            Address::Is(addr) if !self.addresses.contains(&addr) => Some(Refusal::NotLocal),
            _ => None,
        }
    }

    pub(super) fn refusal_to_open(&self, uid: u32, form: Form, channels: u16) -> Option<Refusal> {
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
    pub(super) fn grant(&self, uid: u32, tuple: &Tuple, want: &Want) -> Result<Hold, Refusal> {
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

    pub(super) fn permitted(&self, uid: u32, tuple: &Tuple, lent: bool) -> Result<(), Refusal> {
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

pub(super) fn daemon_or_unbound(tuple: &Tuple) -> Hold {
    if tuple.proto() == Proto::Dccp { Hold::Unbound } else { Hold::Daemon }
}

pub(super) fn sockets(tuple: &Tuple, hold: Hold) -> Vec<Socket> {
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

pub(super) fn is_at(wanted: Address, addr: IpAddr) -> bool {
    wanted == Address::Any || wanted == Address::Is(addr)
}

pub(super) fn key(tuple: &Tuple, addr: IpAddr) -> SteerKey {
    match addr {
        IpAddr::V4(addr) => SteerKey::v4(tuple.proto().number(), addr.octets(), tuple.port()),
        IpAddr::V6(addr) => SteerKey::v6(tuple.proto().number(), addr.octets(), tuple.port()),
    }
}

pub(super) const fn no_space(resource: Resource, given: usize, limit: usize) -> Refusal {
    Refusal::NoSpace { resource, given, limit }
}
