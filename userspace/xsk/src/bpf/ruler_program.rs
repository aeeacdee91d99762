//! Ruler's header programs in the kernel: loading the generated instructions, and reading what they count.
//!
//! aya loads objects, not instructions, so this goes through libbpf. It refuses to judge a program: the verifier does,
//! and its log comes with the refusal. Type, attach type and flags are those of `ingress`, or the chain would not take it.
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

use abi::header::HeaderMap;
use aya::maps::{MapData, PerCpuArray};
use libbpf_sys::{
    BPF_PROG_TYPE_XDP, BPF_XDP, bpf_insn, bpf_prog_info, bpf_prog_load_opts, bpf_test_run_opts,
};
use zerocopy::IntoBytes;

use super::{
    BpfError, Counters, HeaderSlot, Input, MapKind, MapShape, Run,
    map::Map,
    test_run::{ROOM, Verdict},
};

/// What the kernel calls it.
const NAME: &CStr = c"ruler_header";
/// The helpers it calls are open to every licence; the log of a refusal shows this.
const LICENSE: &CStr = c"MIT/Apache-2.0";
/// The verifier's log is cut to the last of so many bytes: what it stumbled over stands at the end.
const LOG_BYTES: usize = 1 << 20;

const COUNTERS: &str = "RULES";

/// A loaded header program; the slot that it is put into keeps it, so this may be dropped then.
#[derive(Debug)]
pub struct HeaderProgram {
    fd: OwnedFd,
    verified: u32,
}

/// The maps that a header program names, by [`HeaderMap`].
#[derive(Clone, Copy, Debug)]
pub struct HeaderMaps<'a>([BorrowedFd<'a>; HeaderMap::ALL.len()]);

impl<'a> HeaderMaps<'a> {
    /// An interface's slot, the counters that the program is to have for its own, and the instance's.
    #[must_use]
    pub fn new(slot: &'a HeaderSlot, rules: &'a HeaderCounters, counters: &'a Counters) -> Self {
        Self::by_map(|map| match map {
            HeaderMap::Jump => slot.as_fd(),
            HeaderMap::Rules => rules.as_fd(),
            HeaderMap::Counters => counters.as_fd(),
        })
    }

    /// Whatever maps a test or a bench has in their place.
    #[must_use]
    pub fn by_map(map: impl FnMut(HeaderMap) -> BorrowedFd<'a>) -> Self {
        Self(HeaderMap::ALL.map(map))
    }
}

/// The kernel did not take a header program.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused the header program: {source}\n{log}")]
pub struct HeaderRefused {
    /// What the kernel said.
    pub source: io::Error,
    /// The verifier's log; empty if it was not the verifier.
    pub log: String,
}

impl HeaderProgram {
    /// Loads instructions, each as the eight bytes that the kernel reads.
    ///
    /// # Errors
    /// The verifier refuses them, the chain is of another kind, or a privilege is missing.
    pub fn load(instructions: &[u64], maps: HeaderMaps<'_>) -> Result<Self, HeaderRefused> {
        let fd = load(instructions, maps, &mut []).or_else(|_| {
            let mut log = vec![0; LOG_BYTES];
            load(instructions, maps, &mut log).map_err(|source| HeaderRefused { source, log: text(&log) })
        })?;
        let verified = verified(fd.as_fd()).map_err(|source| HeaderRefused { source, log: String::new() })?;
        Ok(Self { fd, verified })
    }

    /// How many instructions the verifier walked.
    #[must_use]
    pub fn verified_instructions(&self) -> u32 {
        self.verified
    }
}

impl AsFd for HeaderProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Input<'_> {
    /// Runs a header program on this frame and lets nothing happen.
    ///
    /// # Errors
    /// As [`Input::run`].
    pub fn run_header(&self, program: &HeaderProgram) -> Result<Run, BpfError> {
        let mut bytes = vec![0; self.metadata.len() + self.frame.len() + ROOM];
        let run = self.test_run(program, &mut bytes, 1)?;
        bytes.truncate(run.data_size_out as usize);
        Ok(Run { verdict: Verdict::of(run.retval), bytes })
    }

    /// Runs a header program on this frame `repeat` times, and says how long one time took; as [`Input::time`].
    ///
    /// # Errors
    /// As [`Input::run`].
    pub fn time_header(&self, program: &HeaderProgram, repeat: u32) -> Result<Duration, BpfError> {
        let run = self.test_run(program, &mut [], repeat)?;
        Ok(Duration::from_nanos(u64::from(run.duration)))
    }

    fn test_run(
        &self,
        program: &HeaderProgram,
        bytes: &mut [u8],
        repeat: u32,
    ) -> Result<bpf_test_run_opts, BpfError> {
        let data = [self.metadata, self.frame].concat();
        let context = self.context();
        let context = context.as_bytes();
        let mut opts = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as _,
            data_in: data.as_ptr().cast(),
            data_size_in: data.len() as u32,
            data_out: if bytes.is_empty() { ptr::null_mut() } else { bytes.as_mut_ptr().cast() },
            data_size_out: bytes.len() as u32,
            ctx_in: context.as_ptr().cast(),
            ctx_size_in: context.len() as u32,
            repeat: repeat.cast_signed(),
            ..Default::default()
        };
        // SAFETY: every pointer is null or to a buffer above of the size that is given with it, and all outlive the call.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.fd.as_raw_fd(), &raw mut opts) };
        if result < 0 {
            let source = io::Error::from_raw_os_error(-result);
            return Err(BpfError::System { what: "running the header program", source });
        }
        Ok(opts)
    }
}

/// How often one header program decided what: per-CPU counters of its own, by `ruler::ebpf::Counter`.
pub struct HeaderCounters {
    map: Map,
    values: PerCpuArray<MapData, u64>,
    entries: u32,
}

impl HeaderCounters {
    /// So many counters, all 0.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn create(entries: u32) -> Result<Self, BpfError> {
        let shape = MapShape {
            name: COUNTERS,
            kind: MapKind::PerCpuArray,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<u64>() as u32,
            max_entries: entries,
        };
        let map = Map::create(shape)?;
        let values = PerCpuArray::try_from(map.handle()?).map_err(|error| BpfError::map(COUNTERS, error))?;
        Ok(Self { map, values, entries })
    }

    /// Every counter, summed over CPUs. Under traffic the numbers are of slightly different moments.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read(&self) -> Result<Vec<u64>, BpfError> {
        (0..self.entries).map(|index| self.read_one(index)).collect()
    }

    /// One counter.
    ///
    /// # Errors
    /// There is none with this index, or the kernel refuses.
    pub fn read_one(&self, index: u32) -> Result<u64, BpfError> {
        let values = self.values.get(&index, 0).map_err(|error| BpfError::map(COUNTERS, error))?;
        Ok(values.iter().sum())
    }
}

impl std::fmt::Debug for HeaderCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeaderCounters").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl AsFd for HeaderCounters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd()
    }
}

/// Loads once; the log is written if there is room for one.
fn load(instructions: &[u64], maps: HeaderMaps<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let maps = maps.0.map(|map| map.as_raw_fd());
    let mut opts = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as _,
        expected_attach_type: BPF_XDP,
        fd_array: maps.as_ptr(),
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() { ptr::null_mut() } else { log.as_mut_ptr().cast() },
        ..Default::default()
    };
    let first = instructions.as_ptr().cast::<bpf_insn>();
    // SAFETY: `first` points to as many instructions of eight bytes as are said, more strictly aligned than they need
    // be; both strings end with 0; `opts`, and the maps and the log
    // in it, outlive the call.
    let result = unsafe {
        libbpf_sys::bpf_prog_load(
            BPF_PROG_TYPE_XDP,
            NAME.as_ptr(),
            LICENSE.as_ptr(),
            first,
            instructions.len() as _,
            &raw mut opts,
        )
    };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

fn verified(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = bpf_prog_info::default();
    let mut length = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` has as many bytes as `length` says; all pointers in it are null, with counts of 0.
    let result =
        unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(info.verified_insns) }
}

/// A log up to its 0.
fn text(log: &[u8]) -> String {
    let log = log.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(log).trim_end().to_owned()
}
