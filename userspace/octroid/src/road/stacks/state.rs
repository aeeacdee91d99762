//! What outlives the daemon: `stack.state`, and how the next daemon takes it up.
//!
//! The file says who had which session and which tuples, nothing of what was in the rings. It is replaced as a whole
//! after each change, so that whoever reads it finds one moment or the next. A file that cannot be read as one is put
//! aside with a warning: packets of nobody's sessions are the OS's.
use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use multistack::{
    policy::Credentials,
    registry::{Limits, Owner, Reason, Registry, Saved, Socket},
    step::Step,
};

use super::{super::Road, words};
use crate::Causes;

/// The file's name in the instance's directory.
pub const NAME: &str = "stack.state";

/// Where it lies.
#[derive(Clone, Debug)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// In this directory.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self(dir.join(NAME))
    }

    /// The registry that was saved, or a new one.
    #[must_use]
    pub fn restore(&self, now: Duration, grace: Duration) -> Registry {
        match self.read(now, grace) {
            Ok(Some(registry)) => registry,
            Ok(None) => Registry::new(Limits::default()),
            Err(error) => {
                tracing::warn!(file = %self.0.display(), "sessions are forgotten: {}", Causes(&error));
                Registry::new(Limits::default())
            }
        }
    }

    fn read(&self, now: Duration, grace: Duration) -> Result<Option<Registry>> {
        let text = match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let saved: Saved = serde_json::from_slice(&text).context("not a saved state")?;
        Ok(Some(Registry::restore(Limits::default(), &saved, now, grace)?))
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        let mut file = fs::File::options();
        // Leases are secrets.
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        fs::rename(beside, &self.0)
    }

    /// Removes it: nobody is to take anything up.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Road {
    /// Writes down what is to outlive the daemon. A failure costs a later daemon the sessions, and this one nothing.
    ///
    /// Where nobody ever had a session there is no file.
    pub(in super::super) fn save(&self) {
        let nothing =
            self.registry.sessions().next().is_none() && self.registry.reservations().next().is_none();
        if nothing && !self.stacks.file.0.exists() {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_written_is_read_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::in_dir(dir.path());
        assert!(file.read(Duration::ZERO, Duration::ZERO).unwrap().is_none());
        let registry = Registry::new(Limits::default());
        file.write(&registry.save()).unwrap();
        let again = file.read(Duration::ZERO, Duration::ZERO).unwrap().unwrap();
        assert_eq!(again.save(), registry.save());
        let mode = fs::metadata(&file.0).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode, fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(!file.0.exists());
    }

    #[test]
    fn a_file_of_another_kind_is_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::in_dir(dir.path());
        for text in [
            "",
            "{}",
            "{\"version\":99,\"next\":0,\"slots\":4096,\"addresses\":[],\"sessions\":[],\"reservations\":[]}",
        ] {
            fs::write(&file.0, text).unwrap();
            assert!(file.read(Duration::ZERO, Duration::ZERO).is_err(), "{text}");
            assert_eq!(file.restore(Duration::ZERO, Duration::ZERO).sessions().count(), 0);
        }
    }
}
