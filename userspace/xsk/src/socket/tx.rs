//! The sending half of an AF_XDP port: transmit ring, completion ring, and a few frames for copies.
//!
//! A frame of this port's own UMEM is sent where it lies. A frame of another UMEM, or one whose data does not begin
//! where frames of this port begin, is copied into a chunk that this half keeps for that; if all of these are on
//! their way, the frame is handed back. A frame longer than a chunk of this port holds is always handed back: it never
//! [`fits`](Transmit::fits).
//!
//! Nothing here waits: what the kernel does not take or give back now is looked at again in the next round.
#![allow(unsafe_code, reason = "xsk-rs leaves to its caller what `ixp::frame` keeps: who owns which chunk")]

use std::{os::fd::AsFd, sync::Arc, time::Instant};

use ixp::{
    frame::{Desc, Frame, Umem, UmemId},
    port::{PortError, PortId, Transmit},
    ring::Producer,
};
use xsk_rs::{CompQueue, FrameDesc, TxQueue};

use super::{
    BURST,
    call::Call,
    handle::SocketHandle,
    later::{Later, judge},
    outgoing::{Outgoing, Silence},
    syscall,
};

/// The sending half of an [`super::XskPort`].
///
/// # Invariants
/// `outgoing` has exactly the chunks that were staged or put on the transmit ring and have not come back.
pub struct XskTransmit {
    // The rings come before the socket: they must be gone when it closes.
    queue: TxQueue,
    completion: CompQueue,
    socket: Arc<SocketHandle>,
    id: PortId,
    memory: xsk_rs::Umem,
    layout: Layout,
    descs: Box<[FrameDesc]>,
    outgoing: Outgoing,
    silence: Silence,
    staged: Vec<FrameDesc>,
    /// Free slots of the transmit ring that `staged` does not need.
    room: usize,
    /// Descriptors on the transmit ring that the kernel had not taken when it was last looked at.
    on_ring: usize,
    copies: Copies,
    returned: Vec<u32>,
    returns: Producer<u32>,
    done: Box<[FrameDesc; BURST]>,
}

/// Where chunks lie, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The receiving half's UMEM: its frames are sent where they lie.
    pub(crate) own: UmemId,
    /// Address of the region's first byte.
    pub(crate) start: usize,
    /// Bytes of a chunk.
    pub(crate) chunk: u32,
    /// Where in its chunk a packet begins.
    pub(crate) data_offset: u32,
    /// Chunks of the receiving half; the copies' come after them.
    pub(crate) frames: u32,
    /// Slots of the transmit ring.
    pub(crate) ring: u32,
    /// Frames that one sending call hands to the device.
    pub(crate) tx_budget: u32,
}

/// What a sending half is made of.
pub(crate) struct Parts {
    pub(crate) queue: TxQueue,
    pub(crate) completion: CompQueue,
    pub(crate) socket: Arc<SocketHandle>,
    pub(crate) id: PortId,
    pub(crate) memory: xsk_rs::Umem,
    pub(crate) descs: Box<[FrameDesc]>,
    pub(crate) copies: Option<Umem>,
    pub(crate) returns: Producer<u32>,
    pub(crate) layout: Layout,
}

/// Chunks for copies.
struct Copies {
    umem: Option<Umem>,
    free: Vec<u32>,
    shift: u32,
    data_offset: u32,
}

impl XskTransmit {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { queue, completion, socket, id, memory, descs, copies, returns, layout } = parts;
        Self {
            queue,
            completion,
            socket,
            id,
            memory,
            layout,
            outgoing: Outgoing::new(descs.len(), layout.chunk),
            silence: Silence::default(),
            descs,
            staged: Vec::with_capacity(BURST),
            room: layout.ring as usize,
            on_ring: 0,
            copies: Copies::new(copies, layout),
            returned: Vec::with_capacity(BURST),
            returns,
            done: Box::new([FrameDesc::default(); BURST]),
        }
    }

    /// Frames handed in that have not come back: staged, on a ring, or with the device.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outgoing.count()
    }

    /// Completions that named no frame that was out.
    #[must_use]
    pub fn bad_completions(&self) -> u64 {
        self.outgoing.bad()
    }

    /// Stages a chunk of the region with a packet of `len` bytes in it.
    #[inline]
    fn stage(&mut self, chunk: u32, len: usize) {
        let desc = &mut self.descs[chunk as usize];
        // SAFETY: the chunk's frame was given up by `into_desc`, and nothing is told of the chunk before `produce`:
        // this half alone has it.
        let mut data = unsafe { self.memory.data_mut(desc) };
        data.cursor().set_pos(len);
        self.staged.push(*desc);
        self.outgoing.leave(chunk);
        self.room -= 1;
        if self.staged.len() == BURST {
            self.produce();
        }
    }

    /// Puts what is staged on the transmit ring. `room` says that there is a slot for each.
    #[inline]
    fn produce(&mut self) {
        // SAFETY: the chunks belong to this UMEM, and `stage` took them from whoever had them.
        let produced = unsafe { self.queue.produce(&self.staged) };
        debug_assert_eq!(produced, self.staged.len(), "`room` counts the ring's free slots");
        self.on_ring += produced;
        self.staged.clear();
    }

    /// Looks how many slots of the ring are free now.
    #[inline]
    fn look(&mut self) {
        let free = self.queue.nb_free_exact() as usize;
        self.on_ring = self.layout.ring as usize - free;
        self.room = free - self.staged.len();
    }

    /// The chunk of a frame that can be sent where it lies.
    #[inline]
    fn in_place(&self, frame: &Frame) -> Option<u32> {
        if frame.umem() != self.layout.own {
            return None;
        }
        let offset = frame.as_ptr().addr() - self.layout.start;
        let Layout { chunk, data_offset, .. } = self.layout;
        (offset & (chunk as usize - 1) == data_offset as usize)
            .then_some((offset >> chunk.trailing_zeros()) as u32)
    }

    #[cold]
    fn send_copy(&mut self, frame: Frame) -> Result<(), Frame> {
        let Some(chunk) = self.copies.fill(frame.bytes()) else { return Err(frame) };
        self.stage(self.layout.frames + chunk, frame.len());
        // Dropped, it goes back to the UMEM it came from.
        drop(frame);
        Ok(())
    }

    /// Wakes the kernel until it has taken everything, at most as often as its budget makes necessary.
    fn kick(&mut self) -> Result<Later, PortError> {
        let calls = self.on_ring.div_ceil(self.layout.tx_budget as usize);
        let mut last = Later::Busy;
        for _ in 0..calls {
            if !self.queue.needs_wakeup() {
                break;
            }
            let before = self.on_ring;
            let result = syscall::send(self.socket.as_fd());
            self.look();
            last = match result {
                Ok(()) => break,
                Err(errno) => judge(Call::Send, errno)?,
            };
            // No progress: the device or the send buffer is full, and asking again at once would be spinning.
            if last != Later::Again || self.on_ring == before {
                break;
            }
        }
        Ok(last)
    }

    /// Takes back what the device is done with.
    #[inline]
    fn reap(&mut self) -> usize {
        let mut reaped = 0;
        loop {
            // SAFETY: this queue's descriptors name chunks of its own UMEM. What they say is not relied on:
            // `outgoing` judges each.
            let taken = unsafe { self.completion.consume(&mut self.done[..]) };
            for nth in 0..taken {
                self.take_back(self.done[nth].addr());
            }
            // The ring has a slot for each chunk of the receiving half, and `outgoing` lets each through once.
            self.returns.push_burst(&mut self.returned);
            reaped += taken;
            if taken < BURST {
                return reaped;
            }
        }
    }

    #[inline]
    fn take_back(&mut self, addr: usize) {
        let Some(chunk) = self.outgoing.back(addr) else { return };
        match chunk.checked_sub(self.layout.frames) {
            None => self.returned.push(chunk),
            Some(copy) => self.copies.free.push(copy),
        }
    }

    /// Frames that the device has and gives none of back, for longer than the bound, are lost with the socket.
    #[inline]
    fn watch(&mut self, reaped: usize, later: Later) -> Result<(), PortError> {
        let with_device = self.outgoing.count() - self.staged.len() - self.on_ring;
        if with_device == 0 || reaped != 0 || later == Later::Down {
            self.silence.end();
            return Ok(());
        }
        self.silence.goes_on(Instant::now())
    }
}

impl Transmit for XskTransmit {
    fn id(&self) -> PortId {
        self.id
    }

    #[inline]
    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.room == 0 {
            self.look();
            if self.room == 0 {
                return Err(frame);
            }
        }
        let Some(chunk) = self.in_place(&frame) else { return self.send_copy(frame) };
        let Desc { len, .. } = frame.into_desc();
        self.stage(chunk, len as usize);
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> Result<(), PortError> {
        if self.outgoing.count() == 0 {
            return Ok(());
        }
        if !self.staged.is_empty() {
            self.produce();
        }
        if self.on_ring != 0 {
            self.look();
        }
        let later = if self.on_ring == 0 { Later::Busy } else { self.kick()? };
        let reaped = self.reap();
        self.watch(reaped, later)
    }

    /// Its own frames always; a copy's chunk must be there, and long enough.
    fn fits(&self, frame: &Frame) -> bool {
        self.in_place(frame).is_some() || self.copies.hold(frame.len())
    }

    fn pending(&self) -> usize {
        self.staged.len() + self.on_ring
    }
}

impl Copies {
    fn new(umem: Option<Umem>, layout: Layout) -> Self {
        let chunks = umem.as_ref().map_or(0, |umem| umem.geometry().frames);
        Self {
            umem,
            free: (0..chunks).rev().collect(),
            shift: layout.chunk.trailing_zeros(),
            data_offset: layout.data_offset,
        }
    }

    /// Whether there is a chunk that holds a packet of `len` bytes, be it free now or not.
    fn hold(&self, len: usize) -> bool {
        let room = (1_usize << self.shift) - self.data_offset as usize;
        self.umem.is_some() && len <= room
    }

    /// Copies a packet into a free chunk and returns its number; `None` if there is none, or it is too small.
    fn fill(&mut self, packet: &[u8]) -> Option<u32> {
        let umem = self.umem.as_mut()?;
        let chunk = self.free.last().copied()?;
        let addr = (u64::from(chunk) << self.shift) + u64::from(self.data_offset);
        let mut frame = umem.claim(Desc { addr, len: 0 }).ok()?;
        let fits = frame.set_len(packet.len()).is_ok();
        if fits {
            frame.bytes_mut().copy_from_slice(packet);
            self.free.pop();
        }
        let _ = frame.into_desc();
        fits.then_some(chunk)
    }
}
