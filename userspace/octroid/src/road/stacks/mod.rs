//! Application stacks: sessions, their tuples, the ports kept for them, the memory they share with the engines.
//!
//! The registry says who may have what, and in which order it comes and goes; this carries it out and answers in the words
//! of the control protocol. It knows no connection: whose a session is, the daemon's loop knows.
//!
//! | file | idea |
//! |---|---|
//! | [`operations`] | what applications and the administrator ask for |
//! | [`rows`] | what people are shown |
//! | [`rings`] | regions and bells of one session |
//! | [`sockets`] | placeholders and lent sockets |
//! | [`state`] | what outlives the daemon: written down, and taken up again |
//! | [`state_file`] | the file of it: its formats |
//! | [`words`] | the control protocol's words and the registry's |
pub mod operations;
pub mod rings;
pub mod rows;
pub mod sockets;
pub mod state;
pub mod state_file;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
};

use abi::shm::layout::{SlotSize, feature};
use anyhow::{Context, Result};
use ixp::spec::{Idle, Layout};
use multistack::{
    books::Book,
    policy::Policy,
    registry::{Event, SessionId},
};
use nix::unistd::Group;
use xsk::socket::CopyMode;

use self::{rings::Rings, sockets::Sockets, state_file::StateFile};
use crate::{config::settings::Settings, control::listener::GROUP};

/// Application stacks.
#[derive(Debug)]
pub struct Stacks {
    pub(super) sockets: Sockets,
    pub(super) rings: BTreeMap<SessionId, Rings>,
    /// The same that the registry has: asked for the share of a session that is being opened.
    policy: Policy,
    /// What applications are to be told.
    news: Vec<Event>,
    /// Sessions whose end failed half way: an engine did not answer.
    ending: BTreeSet<SessionId>,
    file: StateFile,
    layout: Layout,
    slot_size: SlotSize,
    features: u32,
    /// What became of the packets of sessions that are over.
    pub(super) ended: Book,
}

impl Stacks {
    /// No session yet.
    ///
    /// # Errors
    /// The kernel refuses a socket, or a chunk is no slot.
    pub fn new(settings: &Settings, file: StateFile) -> Result<Self> {
        let chunks = settings.interfaces.iter().map(|interface| interface.queue.chunk);
        let slot_size = SlotSize::new(chunks.max().unwrap_or(2048)).map_err(|e| anyhow::anyhow!("{e}"))?;
        // In copy mode a frame may come from a sender on this host, by veth or virtio, that left its checksums to a card.
        let copied = settings.interfaces.iter().any(|interface| interface.queue.mode == CopyMode::Copy);
        let partial = if copied { feature::RX_CSUM_PARTIAL } else { 0 };
        let sleep = if settings.engine.idle == Idle::Busy { 0 } else { feature::WORKERS_SLEEP };
        Ok(Self {
            sockets: Sockets::new().context("a socket of this network namespace")?,
            rings: BTreeMap::new(),
            policy: policy(settings),
            news: Vec::new(),
            ending: BTreeSet::new(),
            file,
            layout: settings.engine.layout,
            slot_size,
            features: partial | sleep,
            ended: Book::default(),
        })
    }

    /// Who may do what.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Something that applications are to be told.
    pub fn tell(&mut self, news: impl IntoIterator<Item = Event>) {
        self.news.extend(news);
    }

    /// What applications are to be told, since the last call.
    pub fn take_news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.news)
    }
}

fn policy(settings: &Settings) -> Policy {
    let group = Group::from_name(GROUP).ok().flatten();
    Policy::new(settings.stack.rules.clone(), group.map(|group| group.gid.as_raw()))
}

/// Bits that nobody can guess.
///
/// # Errors
/// The kernel has none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bits = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(bits)
}
