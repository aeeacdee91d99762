//! Loading an object so that its programs use maps that exist already.
//!
//! aya creates every map of an object itself, or opens a pin by path; it cannot be given a map. Instances share maps
//! between interfaces, pinned or not, so the loader lets aya make throwaway maps (one entry each), and then puts the
//! real maps behind the same descriptors, before any program is loaded: the instructions name the descriptor
//! number, and the verifier sees what is behind it. It refuses an object whose maps are not named and shaped like ours.
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use abi::pins::{PROG_INGRESS, PROG_STEER};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map as AyaMap, MapFd},
    programs::{ProgramError, ProgramFd, Xdp},
};

use super::{BpfError, Difference, Object, log::ProgramLog, map::Map};

/// How often the kernel is asked to load one program; libbpf asks as often.
const ATTEMPTS: u32 = 5;

/// The programs of one object, loaded for one interface.
#[derive(Debug)]
pub(super) struct Programs {
    ebpf: Ebpf,
    log: Option<ProgramLog>,
}

impl Programs {
    /// Loads `ingress` and `steer` of `object` onto `maps`, which must be all that the object declares.
    pub(super) fn load(object: &Object, maps: &[&Map]) -> Result<Self, BpfError> {
        let mut loader = EbpfLoader::new();
        // No program of ours reads kernel types, so parsing the kernel's BTF would be wasted milliseconds.
        loader.btf(None);
        for map in maps {
            loader.map_max_entries(map.shape().name, 1);
        }
        let mut ebpf = loader.load(object.bytes()).map_err(|error| BpfError::Load(Box::new(error)))?;
        for map in maps {
            put_in_place(&ebpf, map)?;
        }
        let log = ProgramLog::take(&mut ebpf);
        for name in [PROG_INGRESS, PROG_STEER] {
            load_program(&mut ebpf, name)?;
        }
        Ok(Self { ebpf, log })
    }

    pub(super) fn get(&self, name: &'static str) -> Result<&Xdp, BpfError> {
        let program = self.ebpf.program(name).ok_or(BpfError::Incomplete { name })?;
        program.try_into().map_err(|error| BpfError::program(name, error))
    }

    pub(super) fn drain_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(ProgramLog::drain).unwrap_or_default()
    }

    pub(super) fn fd(&self, name: &'static str) -> Result<&ProgramFd, BpfError> {
        self.get(name)?.fd().map_err(|error| BpfError::program(name, error))
    }
}

/// Loads a program of an object. Where a signal comes while the kernel verifies it, the kernel gives up with EAGAIN
/// (`do_check` in kernel/bpf/verifier.c) and is asked again.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), BpfError> {
    let program = program_mut(ebpf, name)?;
    let mut more = 1..ATTEMPTS;
    loop {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock && more.next().is_some() => {}
            outcome => return outcome.map_err(|error| BpfError::program(name, error)),
        }
    }
}

fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, BpfError> {
    let program = ebpf.program_mut(name).ok_or(BpfError::Incomplete { name })?;
    program.try_into().map_err(|error| BpfError::program(name, error))
}

/// Replaces what is behind the descriptor of aya's throwaway map by `map`.
fn put_in_place(ebpf: &Ebpf, map: &Map) -> Result<(), BpfError> {
    let name = map.shape().name;
    let throwaway = descriptor(ebpf, name)?;
    let declared = throwaway_info(ebpf, name)?;
    // Its entries are 1 by our own doing; all else is what the object declared.
    let shape = super::MapShape { max_entries: 1, ..map.shape() };
    shape.compare(&declared).map_err(|difference: Difference| BpfError::Shape { name, difference })?;
    replace_descriptor(map.fd(), throwaway.as_fd())
}

fn replace_descriptor(with: BorrowedFd<'_>, at: BorrowedFd<'_>) -> Result<(), BpfError> {
    // SAFETY: both descriptors are borrowed, so both are open; `at` stays open and owned by aya's map, which from
    // here on refers to our map. Nothing in aya remembers what was behind the number before.
    let result = unsafe { libc::dup3(with.as_raw_fd(), at.as_raw_fd(), libc::O_CLOEXEC) };
    if result < 0 {
        return Err(BpfError::System { what: "putting a map in place", source: io::Error::last_os_error() });
    }
    Ok(())
}

fn data<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a aya::maps::MapData, BpfError> {
    match ebpf.map(name) {
        Some(
            AyaMap::HashMap(data)
            | AyaMap::LruHashMap(data)
            | AyaMap::Array(data)
            | AyaMap::PerCpuArray(data)
            | AyaMap::ProgramArray(data)
            | AyaMap::XskMap(data),
        ) => Ok(data),
        _ => Err(BpfError::Incomplete { name }),
    }
}

fn descriptor<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapFd, BpfError> {
    Ok(data(ebpf, name)?.fd())
}

fn throwaway_info(ebpf: &Ebpf, name: &'static str) -> Result<aya::maps::MapInfo, BpfError> {
    data(ebpf, name)?.info().map_err(|error| BpfError::map(name, error))
}
