//! Running a loaded program on frames of our own: `BPF_PROG_TEST_RUN`, one frame or live.
//!
//! One frame: the verdict and every byte from the metadata on, nothing is sent. Live frames: the kernel acts on each
//! verdict, so a program that redirects is a packet generator. It refuses frames the kernel refuses (under 14
//! bytes). The kernel does not restore the frame between repeated runs, so only a program that leaves it as it was can
//! be timed by repeating; one that adds metadata ends in its error path.
use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    time::Duration,
};

use abi::rxmeta::RxMeta;
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use zerocopy::IntoBytes;

use super::BpfError;

/// What a program may add before a frame.
pub(super) const ROOM: usize = 256;

/// What an XDP program said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `XDP_ABORTED`, and every number the kernel does not know.
    Aborted,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
    /// `XDP_TX`.
    Tx,
    /// `XDP_REDIRECT`.
    Redirect,
}

impl Verdict {
    pub(super) fn of(number: u32) -> Self {
        match number {
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            _ => Self::Aborted,
        }
    }
}

/// Where a frame is said to have come in. The device must have an XDP program, or its queues are not known to XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// The device, in the calling thread's network namespace; 0: the loopback device of that namespace.
    pub ifindex: u32,
    /// The receive queue.
    pub queue: u32,
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The bytes from the destination MAC on.
    pub frame: &'a [u8],
    /// Metadata that is there before the program runs: empty, or a multiple of four bytes, at most 32.
    pub metadata: &'a [u8],
    /// Where it came in.
    pub ingress: Ingress,
}

impl<'a> Input<'a> {
    /// A frame without metadata on queue 0.
    #[must_use]
    pub fn new(frame: &'a [u8]) -> Self {
        Self { frame, metadata: &[], ingress: Ingress::default() }
    }
}

/// What a program did with one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its verdict.
    pub verdict: Verdict,
    /// Every byte from the metadata on, or from the frame on if there is none.
    pub bytes: Vec<u8>,
}

impl Run {
    /// The metadata and the frame, if exactly an [`RxMeta`]'s bytes stand before a frame of `frame_len` bytes.
    #[must_use]
    pub fn split_meta(&self, frame_len: usize) -> Option<(&[u8], &[u8])> {
        let added = self.bytes.len().checked_sub(frame_len)?;
        (added == RxMeta::SIZE).then(|| self.bytes.split_at(added))
    }
}

/// How many live frames, and in what portions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Frames to send.
    pub frames: u32,
    /// Frames between two flushes: 1 to 256, 0 for the kernel's default of 64.
    pub batch: u32,
    /// Where they are said to have come in.
    pub ingress: Ingress,
}

impl Input<'_> {
    /// Runs `program` on this frame and lets nothing happen.
    ///
    /// # Errors
    /// The kernel refuses the frame (under 14 bytes, or too long for one page), the metadata or the device.
    pub fn run(&self, program: &Xdp) -> Result<Run, BpfError> {
        let data = [self.metadata, self.frame].concat();
        let mut bytes = vec![0; data.len() + ROOM];
        let context = self.context();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&data),
            data_out: Some(&mut bytes),
            ctx_in: Some(context.as_bytes()),
            ..TestRunOptions::default()
        });
        let result = result.map_err(failed)?;
        bytes.truncate(result.data_size_out as usize);
        Ok(Run { verdict: Verdict::of(result.return_value), bytes })
    }

    /// Runs `program` on this frame `repeat` times, and says how long one time took.
    ///
    /// The kernel does not restore the frame in between: only a program that leaves it as it was is timed by this.
    ///
    /// # Errors
    /// As [`Input::run`].
    pub fn time(&self, program: &Xdp, repeat: u32) -> Result<Duration, BpfError> {
        let data = [self.metadata, self.frame].concat();
        let context = self.context();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&data),
            ctx_in: Some(context.as_bytes()),
            repeat,
            ..TestRunOptions::default()
        });
        Ok(result.map_err(failed)?.duration)
    }

    /// Runs `program` on copies of this frame, lets the kernel do what it says, and returns how long one took.
    ///
    /// That time is the kernel's own: without the grace periods before and after a run, which end with a timer's tick.
    ///
    /// Every copy is as fresh as the first only if the program leaves frames as they are: the kernel recycles them
    /// without restoring their bytes.
    ///
    /// # Errors
    /// As [`Input::run`], and if live frames are not supported (Linux 5.18) or the batch is too large.
    pub fn run_live(&self, program: &Xdp, live: Live) -> Result<Duration, BpfError> {
        let data = [self.metadata, self.frame].concat();
        let context = Input { ingress: live.ingress, ..*self }.context();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&data),
            ctx_in: Some(context.as_bytes()),
            repeat: live.frames,
            attrs: TestRunAttrs::new().xdp_live_frames(live.batch),
            ..TestRunOptions::default()
        });
        Ok(result.map_err(failed)?.duration)
    }

    /// `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    pub(super) fn context(&self) -> [u32; 6] {
        let meta = self.metadata.len() as u32;
        [meta, meta + self.frame.len() as u32, 0, self.ingress.ifindex, self.ingress.queue, 0]
    }
}

/// An AF_XDP socket that is bound to nothing: enough for an XSKMAP to have an entry.
///
/// A map without an entry turns every redirect into its fallback verdict. A test run of one frame ends at the verdict
/// and delivers nothing, so the socket behind the entry needs neither a device nor rings.
///
/// # Errors
/// CAP_NET_RAW is missing, or the kernel has no AF_XDP.
pub fn unbound_socket() -> Result<OwnedFd, BpfError> {
    // SAFETY: a plain system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(BpfError::System {
            what: "opening an AF_XDP socket",
            source: io::Error::last_os_error(),
        });
    }
    // SAFETY: the kernel returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn failed(error: ProgramError) -> BpfError {
    BpfError::program("test run", error)
}
