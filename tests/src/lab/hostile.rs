//! An application without a library's manners: a session whose memory, bell and connection a test uses as it likes.
//!
//! It is honest where it is not told otherwise, and lives in the test's own process: what a process can do by ending or
//! stopping, [`super::App`] shows.
use std::{
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    sync::atomic::Ordering,
    time::Duration,
};

use abi::shm::{
    counter::ChannelCounter,
    desc::{Form, RxDesc, TxDesc},
    layout::{DownChannel, STATE, State, UpChannel},
    memory::{Memory as _, Writable as _},
};
use anyhow::{Context as _, Result, bail, ensure};
use client::{
    control::{
        connection::{CallError, Connection},
        event::{Event, Reason},
        request::{LocalAddr, OnCrash, Proto},
        stack::{ReserveMode, StackOpen, StackOpened, StackRegister, StackRelease},
    },
    shm::region::Regions,
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send},
};

use super::{daemon::Home, until};

/// How long an answer of the daemon may take: longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session with one channel.
#[derive(Debug)]
pub struct Hostile {
    /// Its connection.
    pub control: Connection,
    /// What the daemon said of it.
    pub opened: StackOpened,
    /// The file of the region that the daemon writes.
    pub down: OwnedFd,
    /// The file of the region that the application writes.
    pub up: OwnedFd,
    /// Its end of the bell.
    pub bell: OwnedFd,
    /// Both regions, mapped as an honest library maps them.
    pub regions: Regions,
    down_at: DownChannel,
    up_at: UpChannel,
    tx_prod: u32,
    rx_cons: u32,
}

/// The request for a UDP port at every address.
#[must_use]
pub fn udp(port: u16) -> StackRegister {
    StackRegister {
        proto: Proto::Udp,
        addr: LocalAddr::Any,
        port,
        reserve: ReserveMode::Daemon,
        on_crash: OnCrash::Drop.into(),
        icmp: false,
        uid: None,
    }
}

impl Hostile {
    /// Opens a session with rings of 256 slots.
    ///
    /// # Errors
    /// The daemon refuses.
    pub fn open(home: &Home) -> Result<Self> {
        Self::with_slots(home, 256)
    }

    /// The same with rings of so many slots.
    ///
    /// # Errors
    /// As [`Hostile::open`].
    pub fn with_slots(home: &Home, slots: u32) -> Result<Self> {
        Self::on(Connection::open(&home.socket(), PATIENCE)?, slots)
    }

    /// Opens a session on a connection that has none.
    ///
    /// # Errors
    /// As [`Hostile::open`].
    pub fn on(mut control: Connection, slots: u32) -> Result<Self> {
        let open = StackOpen { name: "hostile".to_owned(), rx_slots: slots, tx_slots: slots, l2: false };
        let (opened, fds) = control.call_with(&open, &[])?;
        let [down, up, bell] = <[OwnedFd; 3]>::try_from(fds).map_err(|fds| anyhow::anyhow!("{fds:?}"))?;
        let regions = Regions::map(&down, &up)?;
        let (down_at, up_at) = (regions.shape.down(0), regions.shape.up(0));
        let (down_at, up_at) = (down_at.context("a channel")?, up_at.context("a channel")?);
        Ok(Self { control, opened, down, up, bell, regions, down_at, up_at, tx_prod: 0, rx_cons: 0 })
    }

    /// Registers a UDP port at every address.
    ///
    /// # Errors
    /// The daemon refuses.
    pub fn udp(&mut self, port: u16) -> Result<u16> {
        Ok(self.control.call(&udp(port))?.tuple)
    }

    /// Releases a tuple.
    ///
    /// # Errors
    /// The daemon refuses.
    pub fn release(&mut self, tuple: u16) -> Result<()> {
        self.control.call(&StackRelease::number(tuple))?;
        Ok(())
    }

    /// Slots of each ring.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.regions.shape.tx_slots().get()
    }

    /// Where its part of the up region has what.
    #[must_use]
    pub fn up_at(&self) -> &UpChannel {
        &self.up_at
    }

    /// Writes a word of the up region.
    pub fn store(&self, at: usize, word: u32) {
        self.regions.up.store_u32(at, word, Ordering::Release);
    }

    /// Writes a Tx descriptor, whatever it says.
    pub fn describe(&self, slot: u32, words: [u64; 2]) {
        let at = self.up_at.descriptor(slot % self.slots());
        self.regions.up.store_u64(at, words[0]);
        self.regions.up.store_u64(at + 8, words[1]);
    }

    /// Writes a packet into a Tx buffer and describes it.
    pub fn put(&self, slot: u32, packet: &[u8]) {
        self.regions.up.copy_in(self.up_at.buffer(slot % self.slots()), packet);
        self.describe(slot, TxDesc::new(packet.len() as u32, Form::L3).words());
    }

    /// Claims to have filled the Tx ring up to here, and rings.
    pub fn claim(&self, tx_prod: u32) {
        self.store(self.up_at.tx_prod(), tx_prod);
        self.ring();
    }

    /// Rings once, whether the bell is full or not.
    pub fn ring(&self) {
        let _ = send(self.bell.as_raw_fd(), &[1], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    /// Bytes that the daemon rang and nobody has taken out.
    ///
    /// # Errors
    /// The bell is gone.
    pub fn rung(&self) -> Result<usize> {
        match recv(self.bell.as_raw_fd(), &mut [0; 64 << 10], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) {
            Ok(bytes) => Ok(bytes),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error).context("the bell"),
        }
    }

    /// Sends packets as an honest application does; waits for room.
    ///
    /// # Errors
    /// There is none for ten seconds.
    pub fn send<'a>(&mut self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        for packet in packets {
            until(
                "there is room in the ring",
                || Ok(self.tx_prod.wrapping_sub(self.taken()) < self.slots()),
            )?;
            self.put(self.tx_prod, packet);
            self.tx_prod = self.tx_prod.wrapping_add(1);
            self.claim(self.tx_prod);
        }
        Ok(())
    }

    /// Up to where the daemon has taken packets.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.regions.down.load_u32(self.down_at.tx_cons(), Ordering::Acquire)
    }

    /// Waits until the daemon has taken packets up to here.
    ///
    /// # Errors
    /// It has not after ten seconds.
    pub fn wait_taken(&self, tx_prod: u32) -> Result<()> {
        until("the packets are taken", || Ok(self.taken() == tx_prod))
    }

    /// Up to where the daemon has delivered packets.
    #[must_use]
    pub fn delivered(&self) -> u32 {
        self.regions.down.load_u32(self.down_at.rx_prod(), Ordering::Acquire)
    }

    /// Takes out what was delivered, as an honest application does.
    pub fn receive(&mut self) -> Vec<(RxDesc, Vec<u8>)> {
        let mut packets = Vec::new();
        let end = self.delivered();
        while self.rx_cons != end {
            let slot = self.rx_cons % self.slots();
            let at = self.down_at.descriptor(slot);
            let down = &self.regions.down;
            let desc = RxDesc::from_words([down.load_u64(at), down.load_u64(at + 8)]);
            let mut bytes = vec![0; desc.len as usize];
            down.copy_out(self.down_at.buffer(slot), &mut bytes);
            packets.push((desc, bytes));
            self.rx_cons = self.rx_cons.wrapping_add(1);
        }
        self.store(self.up_at.rx_cons(), self.rx_cons);
        packets
    }

    /// Waits until as many packets were delivered, and takes them out.
    ///
    /// # Errors
    /// They are not after ten seconds.
    pub fn wait_received(&mut self, count: usize) -> Result<Vec<(RxDesc, Vec<u8>)>> {
        let mut packets = Vec::new();
        until("the packets come", || {
            packets.extend(self.receive());
            Ok(count <= packets.len())
        })?;
        ensure!(packets.len() == count, "{} packets came, {count} were to", packets.len());
        Ok(packets)
    }

    /// What the daemon has counted for the channel under this name, as the application itself can read it.
    ///
    /// # Panics
    /// There is no such counter.
    #[must_use]
    pub fn counted(&self, name: &str) -> u64 {
        let counter =
            ChannelCounter::ALL.iter().find(|counter| counter.name() == name).unwrap_or_else(|| {
                panic!("no counter is called {name}");
            });
        self.regions.down.load_u64(self.down_at.counter(counter.index()))
    }

    /// How its session is, by the daemon's word in shared memory.
    #[must_use]
    pub fn state(&self) -> State {
        State::from_word(self.regions.down.load_u32(STATE, Ordering::Acquire))
    }

    /// Waits until it is told that its session was revoked for breaking the rules, in shared memory and by an event.
    ///
    /// # Errors
    /// It is not, or for something else.
    pub fn wait_revoked(&mut self) -> Result<()> {
        let mut told = None;
        until("it is told that it is over", || {
            told = self.control.poll_event()?;
            Ok(told.is_some())
        })?;
        let (session, reason) = (Some(self.opened.slot), Reason::Violation);
        ensure!(told == Some(Event::Revoked { tuple: None, session, reason }), "{told:?}");
        ensure!(self.state() == State::Revoked, "{:?}", self.state());
        Ok(())
    }

    /// Its connection, to open another session on it: what it has of this one stays mapped with the caller.
    #[must_use]
    pub fn into_control(self) -> Connection {
        self.control
    }

    /// Its descriptors: connection, down, up, bell.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn duplicates(&self) -> Result<[OwnedFd; 4]> {
        let control = self.control.as_fd().try_clone_to_owned()?;
        Ok([control, self.down.try_clone()?, self.up.try_clone()?, self.bell.try_clone()?])
    }
}

/// The code with which the daemon refuses a call.
///
/// # Errors
/// It does not refuse, or says nothing.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Result<String> {
    use client::control::answer::ReplyError;
    match outcome {
        Err(CallError::Reply(ReplyError::Refused(refusal))) => Ok(refusal.code.to_string()),
        other => bail!("not refused: {other:?}"),
    }
}
