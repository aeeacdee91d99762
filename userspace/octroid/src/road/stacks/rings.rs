//! One session's memory: two regions that it shares, a bell for each worker, and the books of its tuples, which it does not.
//!
//! It keeps no copy of what the application is sent: once the answer is out, its descriptors are the application's alone,
//! and the daemon's mappings and its ends of the bells go with the session.
use std::os::fd::OwnedFd;

use abi::shm::{
    counter::ChannelCounter,
    desc::Form,
    layout::{Session, Shape, State, feature},
};
use ixp::{
    doorbell::Doorbell,
    engines::{ChannelError, EngineId, Engines, Late},
    region::{Direction, Region, RegionError},
    stacks::StackChannel,
};
use multistack::{
    books::{self, Book},
    channel::{self, Channel},
    drr::Weight,
    egress::Sender,
    registry::SessionId,
};
use nix::errno::Errno;
use thiserror::Error;
use xsk::socket::XskPort;

/// What rings are made by.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where everything lies.
    pub shape: Shape,
    /// Whether the session may bring Ethernet headers.
    pub form: Form,
    /// Its share of sending.
    pub weight: Weight,
    /// Longest IP packet.
    pub mtu: u16,
    /// Bits of [`feature`], but for L2.
    pub features: u32,
}

/// The rings of a session, as long as workers serve them.
#[derive(Debug)]
pub struct Rings {
    session: SessionId,
    down: Region,
    books: Region,
    shape: Shape,
}

/// What the application is sent: down, up, one bell for each channel.
pub type Handed = Vec<OwnedFd>;

/// Why there are no rings.
#[derive(Debug, Error)]
pub enum RingsError {
    /// No memory, or no descriptor.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// No descriptor for a bell.
    #[error("a bell: {0}")]
    Bell(#[from] Errno),
    /// A region and its shape disagree.
    #[error(transparent)]
    Shape(#[from] channel::ChannelError),
    /// A worker does not take the channel.
    #[error(transparent)]
    Worker(#[from] ChannelError),
}

impl Plan {
    fn features(&self) -> u32 {
        match self.form {
            Form::L2 => self.features | feature::L2,
            Form::L3 => self.features,
        }
    }
}

impl Rings {
    /// Makes the rings and gives each receiving engine its channel.
    ///
    /// # Errors
    /// [`RingsError`]; no engine has a channel then.
    pub fn open(
        session: SessionId,
        plan: &Plan,
        engines: &Engines<XskPort>,
    ) -> Result<(Self, Handed), RingsError> {
        let SessionId { slot, generation } = session;
        // Sessions that are served in turns are neighbours by their slots.
        let shape = plan.shape.coloured(slot);
        let (down, down_fd) = Region::create(Direction::Down, shape.down_size())?;
        let (up, up_fd) = Region::create(Direction::Up, shape.up_size())?;
        // Nobody is sent the descriptor of this one.
        let (books, _) = Region::create(Direction::Down, books::size(shape.channels()))?;
        let head = Session { slot, generation, mtu: plan.mtu.into(), features: plan.features() };
        channel::lay_out(&down, &shape, head);
        let rings = Self { session, down, books, shape };
        let mut handed = vec![down_fd, up_fd];
        for (number, engine) in (0..shape.channels()).zip(engines.receivers()) {
            match rings.channel(&up, number, plan).and_then(|(channel, bell)| {
                engines.open_channel(engine, channel)?;
                Ok(bell)
            }) {
                Ok(bell) => handed.push(bell),
                Err(error) => {
                    if let Err(late) = rings.leave(engines) {
                        tracing::warn!(%session, "{late}");
                    }
                    return Err(error);
                }
            }
        }
        Ok((rings, handed))
    }

    fn channel(&self, up: &Region, number: u16, plan: &Plan) -> Result<(StackChannel, OwnedFd), RingsError> {
        let channel = Channel::new(self.down.clone(), up.clone(), &self.shape, number)?;
        let channel = channel.with_books(self.books.clone())?;
        let (bell, theirs) = Doorbell::pair()?;
        let sender = Sender { session: self.session, form: plan.form, mtu: plan.mtu };
        Ok((StackChannel { session: self.session, channel, bell, sender, weight: plan.weight }, theirs))
    }

    /// Takes the channels back from the engines, and tells the application that it is over.
    ///
    /// # Errors
    /// An engine does not answer. It may still touch the memory, which therefore stays: [`Region`]s are shared.
    pub fn close(&self, engines: &Engines<XskPort>) -> Result<(), Late> {
        self.leave(engines)?;
        channel::set_state(&self.down, State::Revoked);
        Ok(())
    }

    fn leave(&self, engines: &Engines<XskPort>) -> Result<(), Late> {
        let engines_of = |engine: EngineId| engines.close_channel(engine, self.session).map(drop);
        engines.receivers().try_for_each(engines_of)
    }

    /// What became of the session's packets, over all channels.
    #[must_use]
    pub fn book(&self) -> Book {
        let mut book = Book::default();
        for at in (0..self.shape.channels()).filter_map(|number| self.shape.down(number)) {
            let counts = ChannelCounter::ALL.iter().map(|&c| channel::counter_of(&self.down, &at, c));
            book.add(&Book::from_counts(counts));
        }
        book
    }

    /// What became of the packets of one of its tuples, over all channels.
    #[must_use]
    pub fn book_of(&self, tuple: u16) -> Book {
        let mut book = Book::default();
        for number in 0..self.shape.channels() {
            book.add(&books::book_of(&self.books, number, tuple));
        }
        book
    }

    /// A tuple is released: whoever gets its number has a book of its own.
    pub fn forget(&self, tuple: u16) {
        (0..self.shape.channels()).for_each(|number| books::forget(&self.books, number, tuple));
    }
}
