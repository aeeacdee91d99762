//! What the steps of the registry did: keys in the table, ports, channels. It knows no rules.
use super::*;

/// What steps did: the steering map, the workers' mirror, sockets and channels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct World {
    pub(super) steer: BTreeMap<SteerKey, Target>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) bound: BTreeSet<Socket>,
    pub(super) silent: BTreeSet<Socket>,
    pub(super) lent: BTreeSet<Lent>,
    pub(super) channels: BTreeSet<SessionId>,
    /// After a restart, until all placeholders are bound again or given up, ports are not kept.
    pub(super) restarting: Restarting,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Restarting {
    No,
    Yes,
}

#[derive(Debug, thiserror::Error)]
#[error("step refused")]
pub(super) struct Refused;

impl World {
    pub(super) fn new(registry: &Registry) -> Self {
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
    pub(super) fn act(&mut self, step: &Step) {
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
    pub(super) fn check(&self) {
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
    pub(super) fn carry_out<T>(&mut self, change: Change<'_, T>, fails: Option<usize>) -> Option<T> {
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

pub(super) fn covers(socket: &Socket, key: &SteerKey) -> bool {
    let at = match socket.at {
        SocketAddr::V4(at) => at.ip().to_ipv6_mapped(),
        SocketAddr::V6(at) => *at.ip(),
    };
    let addr = Ipv6Addr::from(key.addr);
    let wild = socket.at.ip().is_unspecified() && socket.at.is_ipv4() == addr.to_ipv4_mapped().is_some();
    let port = socket.at.port().to_be_bytes() == key.port;
    port && socket.proto.number() == key.proto && (wild || at == addr)
}
