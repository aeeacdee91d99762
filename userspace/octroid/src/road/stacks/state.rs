//! What outlives the daemon: sessions are written down after each change, and taken up again by the next daemon.
//!
//! What is written says who had which session and which tuples, nothing of what was in the rings. Where and in which form,
//! [`StateFile`](super::state_file::StateFile) knows.
use anyhow::Result;
use multistack::{
    policy::Credentials,
    registry::{Owner, Reason, Socket},
    step::Step,
};

use super::{super::Road, words};

impl Road {
    /// Writes down what is to outlive the daemon. A failure costs a later daemon the sessions, and this one nothing.
    ///
    /// Where nobody ever had a session there is no file.
    pub(in super::super) fn save(&self) {
        let nothing =
            self.registry.sessions().next().is_none() && self.registry.reservations().next().is_none();
        if nothing && !self.stacks.file.exists() {
            return;
        }
        if let Err(error) = self.stacks.file.write(&self.registry.save()) {
            tracing::warn!(%error, "sessions would not outlive this daemon");
        }
    }

    /// Binds the placeholders again that an earlier daemon held. What the OS has given to somebody else meanwhile is
    /// lost: its tuple is revoked.
    pub fn reclaim(&mut self) {
        let missing = self.registry.missing();
        for &(socket, owner) in &missing {
            self.reclaim_one(socket, owner);
        }
        if !missing.is_empty() {
            tracing::info!(placeholders = missing.len(), "of an earlier daemon, bound again");
            self.save();
        }
    }

    fn reclaim_one(&mut self, socket: Socket, owner: Owner) {
        let (registry, mut hands) = self.split();
        // Gone with a tuple that was revoked for its other half.
        let Ok(change) = registry.reclaim(socket) else { return };
        let Err(failed) = change.carry_out(|step| hands.act(step)) else { return };
        tracing::warn!(proto = %socket.proto, at = %socket.at, "cannot be held again: {}", words::failed(failed));
        let (registry, mut hands) = self.split();
        let lost = match owner {
            Owner::Stack { session, tuple } => {
                let change = registry.revoke(session, tuple, Reason::PortTaken);
                change.map(|change| change.carry_out(|step| hands.act(step)).map(Some))
            }
            Owner::Reserved(_) => {
                let root = Credentials { uid: 0, gids: Vec::new(), pid: 0 };
                let tuple =
                    registry.reservations().map(|(tuple, _)| *tuple).find(|tuple| holds(tuple, socket));
                let Some(tuple) = tuple else { return };
                registry
                    .unreserve(&root, &tuple)
                    .map(|change| change.carry_out(|step| hands.act(step)).map(|()| None))
            }
            Owner::Builtin(_) => return,
        };
        match lost {
            Ok(Ok(news)) => self.stacks.news.extend(news),
            Ok(Err(failed)) => tracing::warn!("and cannot be given up: {}", words::failed(failed)),
            Err(refused) => tracing::warn!("and cannot be given up: {refused}"),
        }
    }

    /// Makes XDP's table what the registry says: an earlier daemon's entries that nobody accounts for are removed.
    /// Returns how many.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(in super::super) fn reconcile(&mut self) -> Result<usize> {
        let found = self.steering.list()?;
        let steps = self.registry.reconcile(found);
        let (_, mut hands) = self.split();
        for step in &steps {
            hands.act(step)?;
        }
        Ok(steps.iter().filter(|step| matches!(step, Step::DelSteer { .. })).count())
    }
}

/// Whether a reservation of this tuple keeps its port by this socket.
fn holds(tuple: &multistack::tuple::Tuple, socket: Socket) -> bool {
    use multistack::tuple::Address;
    let at = match tuple.addr() {
        Address::Any => socket.at.ip().is_unspecified(),
        Address::Is(addr) => socket.at.ip() == addr,
    };
    at && tuple.proto() == socket.proto && tuple.port() == socket.at.port()
}
