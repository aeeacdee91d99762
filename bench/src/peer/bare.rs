//! Bare AF_XDP on xsk-rs: a receive-and-refill loop, an L2 swap loop and a sender, one socket, one queue.
//!
//! It refuses everything that Octroi adds: no targets, no books, no checks. It is the upper bound that an AF_XDP
//! program on this device and kernel can be held against.
#![allow(
    unsafe_code,
    reason = "a peer is written as its users would write it, on a library whose calls are unsafe"
)]
use std::{
    io::{self, Write as _},
    num::NonZeroU32,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

/// Frames a visit, as Octroi's engines take them.
const BURST: usize = 64;
/// Empty visits before the loop blocks in poll(2), as Octroi's adaptive mode does.
const EMPTY_VISITS: u64 = 64;
/// How long a sender that may not send waits before it looks again.
const PAUSE: Duration = Duration::from_millis(1);
/// `XDP_MAX_TX_SKB_BUDGET` of linux/if_xdp.h (kernel 6.17): frames one send call may take in copy mode.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// The rings and the memory, sized like the port they are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Chunks in the UMEM.
    pub frames: u32,
    /// Entries of each of the four rings.
    pub ring: u32,
    /// Bytes before the packet, where `RxMeta` lies.
    pub headroom: u32,
}

/// What a loop does while nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Blocks in poll(2) after a few empty visits, as Octroi's adaptive mode does: the sender pays for the wake-up.
    Sleep,
    /// Looks again: no sender ever pays for a wake-up.
    Spin,
}

/// One socket on one queue.
pub struct Bare {
    idle: Idle,
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    comp: CompQueue,
    umem: Umem,
    free: Vec<FrameDesc>,
}

impl Bare {
    /// Binds `queue` of `ifname` in copy mode.
    ///
    /// # Errors
    /// Whatever the kernel says, with the call that said it.
    pub fn open(ifname: &str, queue: u32, shape: Shape, idle: Idle) -> Result<Self> {
        let ring = QueueSize::new(shape.ring)?;
        let umem_config = UmemConfig::builder()
            .frame_size(FrameSize::new(2048)?)
            .frame_headroom(shape.headroom)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()?;
        let frames = NonZeroU32::new(shape.frames).context("a UMEM without frames")?;
        let (umem, mut free) = Umem::new(umem_config, frames, false)?;
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_COPY)
            .build();
        let interface = ifname.parse().with_context(|| format!("{ifname} is no interface name"))?;
        // SAFETY: `umem` is stored beside the queues and dropped after them (field order); one socket uses it.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, queue) }
            .with_context(|| format!("binding queue {queue} of {ifname}"))?;
        let (mut fill, comp) = rings.context("the UMEM's rings belong to another socket")?;
        // At most half of the frames receive, so that the swap loop has some in flight.
        let offered = free.split_off(free.len().saturating_sub(shape.ring as usize));
        // SAFETY: `offered` are frames of this UMEM, in no other ring.
        let given = unsafe { fill.produce(&offered) };
        free.extend_from_slice(offered.get(given..).unwrap_or_default());
        let bare = Self { idle, rx, tx, fill, comp, umem, free };
        bare.raise_tx_budget();
        Ok(bare)
    }

    /// The socket, for the XSKMAP; to be closed once it is there.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        // SAFETY: the queue owns the descriptor and outlives this borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd()) }.try_clone_to_owned()
    }

    fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// Receives until `stop`, reads the first 64 bytes of each frame and refills. Adds to `count` what it received.
    ///
    /// # Errors
    /// An error of poll(2).
    pub fn receive(&mut self, stop: &AtomicBool, count: &AtomicU64) -> Result<()> {
        let mut burst = self.burst()?;
        let mut seen = 0_u8;
        while let Some(n) = self.next(&mut burst, stop)? {
            let got = burst.get(..n).unwrap_or_default();
            for desc in got {
                // SAFETY: the descriptor came from this UMEM's receive ring and is not in the fill ring yet.
                let data = unsafe { self.umem.data(desc) };
                seen ^= data.contents().iter().take(64).fold(0, |a, b| a ^ b);
            }
            self.refill(got);
            count.fetch_add(n as u64, Ordering::Relaxed);
        }
        std::hint::black_box(seen);
        Ok(())
    }

    /// Receives until `stop`, swaps the MAC addresses and sends each frame back. Adds to `count` what it sent.
    ///
    /// # Errors
    /// An error of poll(2) or sendto(2).
    pub fn swap(&mut self, stop: &AtomicBool, count: &AtomicU64) -> Result<()> {
        let mut burst = self.burst()?;
        while let Some(n) = self.next(&mut burst, stop)? {
            let got = burst.get_mut(..n).unwrap_or_default();
            for desc in got.iter_mut() {
                // SAFETY: as in `receive`; nobody else looks at this frame.
                let mut data = unsafe { self.umem.data_mut(desc) };
                if let Some((dst, rest)) = data.contents_mut().split_first_chunk_mut::<6>()
                    && let Some(src) = rest.first_chunk_mut::<6>()
                {
                    std::mem::swap(dst, src);
                }
            }
            let mut sent = 0;
            while sent < n {
                // SAFETY: received frames of this UMEM, in no other ring.
                let taken = unsafe { self.tx.produce(got.get(sent..).unwrap_or_default()) };
                sent += taken;
                self.tx.wakeup()?;
                self.complete();
                if taken == 0 && stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            count.fetch_add(sent as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends `frame` while `on` is set and until `stop` is, written anew each time, as fast as the kernel takes it.
    ///
    /// # Errors
    /// An error of sendto(2); the frame is longer than a chunk.
    pub fn send(&mut self, frame: &[u8], on: &AtomicBool, stop: &AtomicBool) -> Result<()> {
        let mut done = self.burst()?;
        while !stop.load(Ordering::Relaxed) {
            if !on.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSE);
                continue;
            }
            let from = self.free.len().saturating_sub(BURST);
            for desc in self.free.get_mut(from..).unwrap_or_default() {
                // SAFETY: free frames of this UMEM are in no ring.
                let mut data = unsafe { self.umem.data_mut(desc) };
                let mut cursor = data.cursor();
                cursor.set_pos(0);
                cursor.write_all(frame).context("the frame does not fit")?;
            }
            // SAFETY: as above; what is taken leaves the free list.
            let taken = unsafe { self.tx.produce(self.free.get(from..).unwrap_or_default()) };
            self.free.drain(from..from + taken);
            self.tx.wakeup()?;
            // SAFETY: `done` is overwritten with descriptors of this UMEM.
            let back = unsafe { self.comp.consume(&mut done) };
            self.free.extend_from_slice(done.get(..back).unwrap_or_default());
        }
        Ok(())
    }

    /// A burst's worth of descriptors for the receive ring to overwrite.
    fn burst(&self) -> Result<Vec<FrameDesc>> {
        let any = self.free.first().context("no spare frame to shape descriptors after")?;
        Ok(vec![*any; BURST])
    }

    /// Waits for frames; `None` once `stop` is set.
    fn next(&mut self, burst: &mut [FrameDesc], stop: &AtomicBool) -> Result<Option<usize>> {
        let mut empty = 0_u64;
        loop {
            // SAFETY: `burst` is overwritten with descriptors of this UMEM.
            let n = unsafe { self.rx.consume(burst) };
            if 0 < n {
                return Ok(Some(n));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            empty += 1;
            if EMPTY_VISITS <= empty && self.idle == Idle::Sleep {
                match self.rx.poll(100) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("poll"),
                }
            }
        }
    }

    fn refill(&mut self, frames: &[FrameDesc]) {
        let mut given = 0;
        while given < frames.len() {
            // SAFETY: frames just taken from the receive ring, in no other ring. The ring holds all of them: never
            // more than its size was handed to the kernel.
            given += unsafe { self.fill.produce(frames.get(given..).unwrap_or_default()) };
        }
    }

    /// Moves what was sent back to the fill ring.
    fn complete(&mut self) {
        let Some(&any) = self.free.first() else { return };
        let mut done = [any; BURST];
        // SAFETY: `done` is overwritten with descriptors of this UMEM.
        let n = unsafe { self.comp.consume(&mut done) };
        self.refill(done.get(..n).unwrap_or_default());
    }

    fn raise_tx_budget(&self) {
        let budget: libc::c_int = BURST as libc::c_int;
        // SAFETY: a valid descriptor, and a pointer to an int of the length given. Older kernels refuse: then the
        // default of 32 holds, for Octroi too.
        let _ = unsafe {
            libc::setsockopt(
                self.fd(),
                libc::SOL_XDP,
                XDP_MAX_TX_SKB_BUDGET,
                (&raw const budget).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
}
