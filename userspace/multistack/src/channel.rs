//! The daemon's end of one channel: the ring pair between a session and one worker.
//!
//! It refuses to trust anything that the application can write. A shared word is read once per visit into a local, a
//! descriptor once per offer; bytes are copied first and looked at afterwards, by whoever took the copy. An index that cannot be is a [`Violation`]: the channel is over from then on, and its session with
//! it. Nothing here waits: a full ring drops the packet, before the copy, and counts it.
//!
//! One burst of a worker, over all the channels that it touches:
//!
//! ```text
//! for each packet    reserve (prefetch the next slot), fill (copy)
//! for each channel   visit (at most 64 descriptors, each offered to the egress checks)
//! for each touched   show (indices)
//! once               Fenced::by(memory)
//! for each touched   rings → send one byte to the application's bell
//! now and then       enter (counters)
//! ```
//!
//! Falling asleep is the mirror image: [`Channel::arm`] all, one fence, [`Channel::last_look`] at all, block,
//! [`Channel::disarm`] all.
use abi::rxmeta::CLASS_NONE;
use abi::shm::counter::ChannelCounter;
use abi::shm::desc::{RxDesc, TxDesc};
use abi::shm::layout::{DownChannel, Shape, UpChannel};
use abi::shm::memory::{Memory, Writable};
use abi::shm::ring::{self, Consumer, Fenced, Moved, Producer, rx_flags, tx_flags};

use crate::books::{Counts, NO_TUPLE, Pages};

#[cfg(test)]
mod application;
#[cfg(test)]
mod interleavings;
mod offer;
mod session;
#[cfg(test)]
mod tests;

pub use abi::shm::ring::Violation;
pub use offer::{Offer, Outcome};
pub use session::{lay_out, set_state};

/// Most packets that one visit takes, whatever the application's index says.
pub const MAX_VISIT: u32 = 64;

/// Descriptors whose buffers are prefetched before the first of them is used.
const LANES: usize = 8;

/// The daemon's end.
///
/// What a packet needs comes first: one cache line, behind the eight bytes that a worker puts before it and with the first
/// two words of a region, its address and its size. What showing it needs is in the next. A worker with many channels
/// has a packet or two for each, and waits for its lines.
///
/// # Invariants
/// Both regions hold the whole shape (checked in [`Channel::new`]), so that no offset computed from it leaves them.
/// The indices of `rx` and `tx` are the truth; what lies in the regions is a copy of them.
#[derive(Debug)]
#[repr(C)]
pub struct Channel<D, U> {
    rx: Producer,
    down_at: DownChannel,
    /// The tuple whose packets are counted now.
    about: u16,
    /// The application's Rx index was read since the last publication: a flood costs one look a burst.
    rx_looked: Looked,
    state: State,
    /// Packets of `about` that were delivered and are not in `counters` yet.
    delivered: u32,
    /// What was published and nobody was rung for yet.
    owed: u32,
    down: D,
    tx: Consumer,
    up_at: UpChannel,
    up: U,
    /// One bit for each counter that the region does not have yet.
    dirty: u64,
    counters: Counts,
    books: Option<Pages<D>>,
    number: u16,
    /// How the rules were broken, once the channel is over.
    broken: Violation,
}

/// One line and two, with regions of three words and behind eight bytes.
const _: () =
    assert!(8 + core::mem::offset_of!(Channel<[u64; 3], [u64; 3]>, down) + 2 * size_of::<u64>() == 64);
const _: () = assert!(8 + core::mem::offset_of!(Channel<[u64; 3], [u64; 3]>, dirty) == 128);

/// Why there is no channel.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChannelError {
    /// The shape has no such channel.
    #[error("channel {given} of {limit}")]
    Number {
        /// What was asked for.
        given: u16,
        /// Channels of the shape.
        limit: u16,
    },
    /// A region is smaller than its shape.
    #[error("the region has {given} bytes, its shape needs {need}")]
    TooSmall {
        /// Bytes in the region.
        given: usize,
        /// Bytes needed.
        need: usize,
    },
}

/// What the application is told of a packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxHead {
    /// The tuple's number within the session, or [`NO_TUPLE`].
    pub tuple: u16,
    /// Bits of `abi::rxmeta::flag` and `abi::shm::desc::rx_flag`.
    pub flags: u16,
    /// Offset of the network header.
    pub l3_off: u8,
    /// Offset of the transport header; 0 in a later fragment.
    pub l4_off: u16,
    /// Ruler's class, [`CLASS_NONE`] if none.
    pub class: u16,
}

/// A slot that is taken and not filled yet. [`Channel::fill`] it before the channel publishes: until then it has what
/// an earlier packet left there.
#[derive(Debug)]
#[must_use = "a slot that is not filled shows an old packet once more"]
pub struct Reserved {
    slot: u32,
    len: usize,
}

/// Why a packet is not delivered. The first two are counted already.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RxRefusal {
    /// `rx_ring_full`.
    #[error("the application's ring is full")]
    RingFull,
    /// `rx_too_long`.
    #[error("the packet is longer than a slot")]
    TooLong,
    /// The session must be revoked.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// What a visit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Descriptors taken.
    pub taken: u32,
    /// Descriptors that were there and are still.
    pub left: u32,
}

/// Whether the application must be rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an application that sleeps has said so, and its flag is cleared now"]
pub enum Ring {
    /// Send one byte to its bell; a bell that is full is rung enough.
    Bell,
    /// It is awake.
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    Already,
    NotYet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Over,
}

impl RxHead {
    /// The head of a packet of `tuple` that nothing else is known of.
    #[must_use]
    pub const fn of(tuple: u16) -> Self {
        Self { tuple, flags: 0, l3_off: 0, l4_off: 0, class: CLASS_NONE }
    }
}

impl<D: Writable, U: Writable> Channel<D, U> {
    /// Channel `number` of a session whose regions are fresh.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn new(down: D, up: U, shape: &Shape, number: u16) -> Result<Self, ChannelError> {
        Self::starting_at(down, up, shape, number, 0)
    }

    /// The same with all indices at `start`: tests let them run over the end of `u32`.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn starting_at(down: D, up: U, shape: &Shape, number: u16, start: u32) -> Result<Self, ChannelError> {
        for (given, need) in [(down.size(), shape.down_size()), (up.size(), shape.up_size())] {
            if given < need {
                return Err(ChannelError::TooSmall { given, need });
            }
        }
        let limit = shape.channels();
        let (Some(down_at), Some(up_at)) = (shape.down(number), shape.up(number)) else {
            return Err(ChannelError::Number { given: number, limit });
        };
        Ok(Self {
            down,
            up,
            down_at,
            up_at,
            rx: Producer::new(shape.rx_slots(), start),
            tx: Consumer::new(shape.tx_slots(), start),
            rx_looked: Looked::NotYet,
            state: State::Live,
            broken: Violation { given: 0, limit: 0 },
            owed: 0,
            number,
            counters: [0; ChannelCounter::COUNT],
            delivered: 0,
            dirty: 0,
            about: NO_TUPLE,
            books: None,
        })
    }

    /// The same, that counts for each tuple too: in this memory, of which nobody else writes this channel's part.
    ///
    /// # Errors
    /// The memory is smaller than [`books::size`](crate::books::size) of its channels.
    pub fn with_books(self, memory: D) -> Result<Self, ChannelError> {
        let given = memory.size();
        let need = crate::books::size(self.number + 1);
        let books = Pages::new(memory, self.number).ok_or(ChannelError::TooSmall { given, need })?;
        Ok(Self { books: Some(books), ..self })
    }

    /// Takes the next Rx slot for a frame of `len` bytes of `tuple`, and starts to fetch where the one after it will lie.
    ///
    /// # Errors
    /// [`RxRefusal`]; the packet is dropped then, and has cost no copy.
    #[inline(always)]
    pub fn reserve(&mut self, tuple: u16, len: usize) -> Result<Reserved, RxRefusal> {
        self.rules_kept()?;
        if self.down_at.slot_size() < len {
            self.count_for(tuple, ChannelCounter::RxTooLong);
            return Err(RxRefusal::TooLong);
        }
        if self.rx.room_known() == 0 && self.rx_looked == Looked::NotYet {
            self.rx_looked = Looked::Already;
            if let Err(violation) = self.rx.look(&self.up, self.up_at.rx_cons()) {
                return Err(self.over(violation).into());
            }
        }
        let Some(slot) = self.rx.take() else {
            self.count_for(tuple, ChannelCounter::RxRingFull);
            return Err(RxRefusal::RingFull);
        };
        // Not this slot, which is written at once: the next, whose turn comes a packet later.
        self.down.prefetch(self.down_at.buffer(self.rx.peek()));
        Ok(Reserved { slot, len })
    }

    /// Copies a frame into its slot: as many bytes as were reserved for, or fewer if the frame is shorter.
    #[inline(always)]
    pub fn fill(&mut self, reserved: Reserved, head: &RxHead, frame: &[u8]) {
        let Reserved { slot, len } = reserved;
        let frame = frame.get(..len).unwrap_or(frame);
        let desc = RxDesc {
            len: frame.len() as u32,
            tuple: head.tuple,
            flags: head.flags,
            l3_off: head.l3_off,
            zero: 0,
            l4_off: head.l4_off,
            class: head.class,
            zero_too: 0,
        };
        self.turn_to(head.tuple);
        self.delivered += 1;
        self.down.store_pair(self.down_at.descriptor(slot), desc.words());
        self.down.copy_in(self.down_at.buffer(slot), frame);
    }

    /// [`Channel::reserve`] and [`Channel::fill`] in one, for a packet that comes alone.
    ///
    /// # Errors
    /// [`RxRefusal`].
    #[inline(always)]
    pub fn deliver(&mut self, head: &RxHead, frame: &[u8]) -> Result<(), RxRefusal> {
        let reserved = self.reserve(head.tuple, frame.len())?;
        self.fill(reserved, head, frame);
        Ok(())
    }

    /// Offers at most `limit` and at most [`MAX_VISIT`] packets to `sink`, in order, until it lets one stay.
    ///
    /// What is taken counts as `tx_read` and under the counter that the sink names, for the tuple that it names.
    ///
    /// # Errors
    /// [`Violation`]: the session must be revoked. Nothing was offered then.
    #[inline]
    pub fn visit<F>(&mut self, limit: u32, mut sink: F) -> Result<Visit, Violation>
    where
        F: FnMut(Offer<'_, U>) -> Outcome,
    {
        self.rules_kept()?;
        let waiting = match self.tx.look(&self.up, self.up_at.tx_prod()) {
            Ok(waiting) => waiting,
            Err(violation) => return Err(self.over(violation)),
        };
        let wanted = waiting.min(limit).min(MAX_VISIT);
        // Most packets are sent and of the tuple before: they are counted together.
        let (mut taken, mut sent) = (0, 0);
        'visit: while taken < wanted {
            let (descs, lanes) = self.read_descriptors(taken, wanted - taken);
            for &desc in &descs[..lanes] {
                let at = self.up_at.buffer(self.tx.peek(taken));
                let offer = Offer::new(&self.up, at, self.up_at.slot_size(), desc);
                let Outcome::Taken(counter, tuple) = sink(offer) else { break 'visit };
                taken += 1;
                if counter == ChannelCounter::TxSent && tuple == self.about {
                    sent += 1;
                } else {
                    self.count_sent(core::mem::take(&mut sent));
                    self.count_for(tuple, ChannelCounter::TxRead);
                    self.count_for(tuple, counter);
                }
            }
        }
        self.count_sent(sent);
        self.tx.take(taken);
        Ok(Visit { taken, left: waiting - taken })
    }

    /// Reads at most [`LANES`] descriptors, `wanted` at most, from the one after the next `taken` on, and starts to fetch
    /// their buffers.
    #[inline]
    fn read_descriptors(&self, taken: u32, wanted: u32) -> ([TxDesc; LANES], usize) {
        let lanes = (wanted as usize).min(LANES);
        let mut descs = [TxDesc::default(); LANES];
        for (ahead, desc) in (taken..).zip(&mut descs[..lanes]) {
            let slot = self.tx.peek(ahead);
            let at = self.up_at.descriptor(slot);
            *desc = TxDesc::from_words(self.up.load_pair(at));
            self.up.prefetch(self.up_at.buffer(slot));
        }
        (descs, lanes)
    }

    /// [`Channel::show`] and [`Channel::enter`] in one.
    #[inline]
    pub fn publish(&mut self) -> Moved {
        self.enter();
        self.show()
    }

    /// Shows the application what was delivered and what was taken.
    #[inline]
    pub fn show(&mut self) -> Moved {
        let rx = self.rx.publish(&self.down, self.down_at.rx_prod());
        let tx = self.tx.publish(&self.down, self.down_at.tx_cons());
        self.rx_looked = Looked::NotYet;
        if rx.is_yes() {
            self.owed |= rx_flags::WAKE_ON_RX;
        }
        // An application that sleeps for room has filled its ring, so that what was seen of it is all there is.
        if tx.is_yes() && self.tx.waiting_known() <= self.tx.slots() / 2 {
            self.owed |= rx_flags::WAKE_ON_TX_SPACE;
        }
        if self.owed == 0 { Moved::No } else { Moved::Yes }
    }

    /// Whether a quarter of the Rx ring or more is filled and not shown: to wait longer would take room from an
    /// application that could give it back.
    #[must_use]
    #[inline]
    pub const fn is_behind(&self) -> bool {
        self.rx.slots() / 4 <= self.rx.unpublished()
    }

    /// Enters what was counted into the region and the books, where everybody sees it.
    pub fn enter(&mut self) {
        self.settle();
        while self.dirty != 0 {
            let index = self.dirty.trailing_zeros() as usize;
            self.dirty &= self.dirty - 1;
            self.down.store_u64(self.down_at.counter(index), self.counters[index]);
        }
    }

    /// The fence between publishing and looking who sleeps; one serves all channels of a worker.
    #[must_use]
    #[inline]
    pub fn fence(&self) -> Fenced {
        Fenced::by(&self.down)
    }

    /// Whether the application sleeps for something published since the last call. Its flag is cleared then, so that
    /// it is rung once per sleep.
    #[inline]
    pub fn rings(&mut self, fenced: &Fenced) -> Ring {
        let flags_at = self.up_at.rx_flags();
        let asked = ring::sleeps_for(&self.up, flags_at, self.owed, fenced);
        self.owed = 0;
        if asked == 0 {
            return Ring::Nobody;
        }
        // Clears the other flag with it: whoever is rung looks at everything, and sets both anew.
        ring::disarm(&self.up, flags_at);
        Ring::Bell
    }

    /// Tells the application that the worker is about to sleep.
    #[inline]
    pub fn arm(&self) {
        ring::arm(&self.down, self.down_at.tx_flags(), tx_flags::NEED_WAKEUP);
    }

    /// Tells the application that the worker is awake.
    #[inline]
    pub fn disarm(&self) {
        ring::disarm(&self.down, self.down_at.tx_flags());
    }

    /// How many descriptors wait now: what a worker that armed all its channels looks at before it sleeps.
    ///
    /// # Errors
    /// [`Violation`]: the session must be revoked.
    #[inline]
    pub fn last_look(&mut self, _: &Fenced) -> Result<u32, Violation> {
        self.backlog()
    }

    /// How many descriptors wait now.
    ///
    /// # Errors
    /// [`Violation`]: the session must be revoked.
    #[inline]
    pub fn backlog(&mut self) -> Result<u32, Violation> {
        self.rules_kept()?;
        self.tx.look(&self.up, self.up_at.tx_prod()).map_err(|violation| self.over(violation))
    }

    /// Adds one to a counter, for a packet of `tuple`; region and books have it after the next [`Channel::enter`].
    #[inline(always)]
    pub fn count_for(&mut self, tuple: u16, which: ChannelCounter) {
        self.turn_to(tuple);
        self.counters[which.index()] += 1;
        self.dirty |= 1 << which.index();
    }

    /// Counts so many packets of the tuple that is counted for as read and sent.
    #[inline(always)]
    fn count_sent(&mut self, packets: u32) {
        if packets != 0 {
            for which in [ChannelCounter::TxRead, ChannelCounter::TxSent] {
                self.counters[which.index()] += u64::from(packets);
                self.dirty |= 1 << which.index();
            }
        }
    }

    /// Counts for this tuple from now on.
    #[inline(always)]
    fn turn_to(&mut self, tuple: u16) {
        if tuple != self.about {
            self.settle();
            self.about = tuple;
        }
    }

    /// Enters into the books what was counted for one tuple.
    #[inline]
    fn settle(&mut self) {
        if self.delivered != 0 {
            self.counters[ChannelCounter::RxDelivered.index()] += u64::from(self.delivered);
            self.dirty |= 1 << ChannelCounter::RxDelivered.index();
            self.delivered = 0;
        }
        if let Some(books) = &mut self.books {
            books.settle(self.about, &self.counters, self.dirty);
        }
    }

    /// A counter's value.
    #[must_use]
    pub fn counter(&self, which: ChannelCounter) -> u64 {
        let pending = if which == ChannelCounter::RxDelivered { self.delivered } else { 0 };
        self.counters[which.index()] + u64::from(pending)
    }

    #[inline(always)]
    const fn rules_kept(&self) -> Result<(), Violation> {
        match self.state {
            State::Live => Ok(()),
            State::Over => Err(self.broken),
        }
    }

    /// The channel is over, for the first time.
    #[cold]
    fn over(&mut self, violation: Violation) -> Violation {
        (self.state, self.broken) = (State::Over, violation);
        self.count_for(NO_TUPLE, ChannelCounter::Violation);
        violation
    }
}

/// A counter of a channel, as whoever has the down region mapped reads it.
#[must_use]
pub fn counter_of(down: &(impl Memory + ?Sized), at: &DownChannel, which: ChannelCounter) -> u64 {
    down.load_u64(at.counter(which.index()))
}
