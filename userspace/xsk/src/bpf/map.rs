//! One map: its shape, and how it comes to be, by creation or by adoption of a pin that has this shape.
//!
//! aya opens an existing pin without comparing it; here a pin is compared in type, key, value, entries and flags
//! before anything else happens.
use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use abi::{
    fragment::{FRAG_ENTRIES, FragEntry, FragKey},
    pins::{self, COUNTER_SLOTS, JUMP_SLOTS, MAX_QUEUES},
    port::PortConfig,
    steer::{STEER_ENTRIES, SteerKey, Target},
};
use aya::maps::{MapData, MapInfo, MapType};
use libbpf_rs::{MapHandle, libbpf_sys::bpf_map_create_opts};

use super::BpfError;

/// What a map looks like to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Its name, in the object, in the kernel and as a pin.
    pub name: &'static str,
    /// Its type; one of `BPF_MAP_TYPE_*`.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
}

/// The types of map that Octroi uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`, preallocated.
    Hash,
    /// `BPF_MAP_TYPE_LRU_HASH`, preallocated, one list for all CPUs.
    LruHash,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray,
    /// `BPF_MAP_TYPE_PROG_ARRAY`.
    ProgArray,
    /// `BPF_MAP_TYPE_XSKMAP`.
    XskMap,
}

impl MapKind {
    fn libbpf(self) -> libbpf_rs::MapType {
        match self {
            Self::Hash => libbpf_rs::MapType::Hash,
            Self::LruHash => libbpf_rs::MapType::LruHash,
            Self::Array => libbpf_rs::MapType::Array,
            Self::PerCpuArray => libbpf_rs::MapType::PercpuArray,
            Self::ProgArray => libbpf_rs::MapType::ProgArray,
            Self::XskMap => libbpf_rs::MapType::Xskmap,
        }
    }

    fn aya(self) -> MapType {
        match self {
            Self::Hash => MapType::Hash,
            Self::LruHash => MapType::LruHash,
            Self::Array => MapType::Array,
            Self::PerCpuArray => MapType::PerCpuArray,
            Self::ProgArray => MapType::ProgramArray,
            Self::XskMap => MapType::XskMap,
        }
    }
}

const WORD: u32 = size_of::<u32>() as u32;

impl MapShape {
    /// The steering table.
    pub const STEER: Self = Self {
        name: pins::STEER,
        kind: MapKind::Hash,
        key_size: size_of::<SteerKey>() as u32,
        value_size: size_of::<Target>() as u32,
        max_entries: STEER_ENTRIES,
    };
    /// The fragment map.
    pub const FRAGS: Self = Self {
        name: pins::FRAGS,
        kind: MapKind::LruHash,
        key_size: size_of::<FragKey>() as u32,
        value_size: size_of::<FragEntry>() as u32,
        max_entries: FRAG_ENTRIES,
    };
    /// The counters.
    pub const COUNTERS: Self = Self {
        name: pins::COUNTERS,
        kind: MapKind::PerCpuArray,
        key_size: WORD,
        value_size: size_of::<u64>() as u32,
        max_entries: COUNTER_SLOTS,
    };
    /// The layout number.
    pub const LAYOUT: Self =
        Self { name: pins::LAYOUT, kind: MapKind::Array, key_size: WORD, value_size: WORD, max_entries: 1 };
    /// The chain of programs.
    pub const JUMP: Self = Self {
        name: pins::JUMP,
        kind: MapKind::ProgArray,
        key_size: WORD,
        value_size: WORD,
        max_entries: JUMP_SLOTS,
    };
    /// The sockets.
    pub const XSKS: Self = Self {
        name: pins::XSKS,
        kind: MapKind::XskMap,
        key_size: WORD,
        value_size: WORD,
        max_entries: MAX_QUEUES,
    };
    /// The interface.
    pub const PORT: Self = Self {
        name: pins::PORT,
        kind: MapKind::Array,
        key_size: WORD,
        value_size: size_of::<PortConfig>() as u32,
        max_entries: 1,
    };

    /// The first difference between this shape and the map that `info` describes.
    pub(super) fn compare(&self, info: &MapInfo) -> Result<(), Difference> {
        if info.map_type().ok() != Some(self.kind.aya()) {
            return Err(Difference {
                what: "type",
                found: info.map_type().map_or(0, |t| t as u32),
                ours: self.kind.aya() as u32,
            });
        }
        let rows = [
            ("key size", info.key_size(), self.key_size),
            ("value size", info.value_size(), self.value_size),
            ("entries", info.max_entries(), self.max_entries),
            ("flags", info.map_flags(), 0),
        ];
        match rows.into_iter().find(|(_, found, ours)| found != ours) {
            Some((what, found, ours)) => Err(Difference { what, found, ours }),
            None => Ok(()),
        }
    }
}

/// In what a map differs from what this version uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The property.
    pub what: &'static str,
    /// Its value there.
    pub found: u32,
    /// Its value here.
    pub ours: u32,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} instead of {}", self.what, self.found, self.ours)
    }
}

/// A map with a known shape.
#[derive(Debug)]
pub(super) struct Map {
    shape: MapShape,
    data: MapData,
}

impl Map {
    /// Creates a map; nobody but the caller can reach it.
    pub(super) fn create(shape: MapShape) -> Result<Self, BpfError> {
        let opts = bpf_map_create_opts { sz: size_of::<bpf_map_create_opts>() as _, ..Default::default() };
        let handle = MapHandle::create(
            shape.kind.libbpf(),
            Some(shape.name),
            shape.key_size,
            shape.value_size,
            shape.max_entries,
            &opts,
        );
        let fd = handle
            .map_err(|error| BpfError::System { what: "creating a map", source: io::Error::other(error) })?;
        Self::from_fd(shape, fd.as_fd())
    }

    /// Opens the pin at `path`, if there is one, and compares it.
    pub(super) fn open(shape: MapShape, path: &Path) -> Result<Option<Self>, BpfError> {
        if !path.try_exists().map_err(|error| BpfError::path(path, error))? {
            return Ok(None);
        }
        let data = MapData::from_pin(path).map_err(|error| BpfError::map(shape.name, error))?;
        let info = data.info().map_err(|error| BpfError::map(shape.name, error))?;
        shape.compare(&info).map_err(|difference| BpfError::Pin { path: path.into(), difference })?;
        Ok(Some(Self { shape, data }))
    }

    /// Another handle on the map behind `fd`.
    fn from_fd(shape: MapShape, fd: BorrowedFd<'_>) -> Result<Self, BpfError> {
        let owned = clone_fd(fd)?;
        let data = MapData::from_fd(owned).map_err(|error| BpfError::map(shape.name, error))?;
        Ok(Self { shape, data })
    }

    /// Pins the map.
    pub(super) fn pin(&self, path: &Path) -> Result<(), BpfError> {
        self.data.pin(path).map_err(|source| BpfError::path(path, io::Error::other(source)))
    }

    /// A handle of its own, for a typed view.
    pub(super) fn handle(&self) -> Result<aya::maps::Map, BpfError> {
        let error = |source| BpfError::map(self.shape.name, source);
        let data = MapData::from_fd(clone_fd(self.fd())?).map_err(error)?;
        aya::maps::Map::from_map_data(data).map_err(error)
    }

    pub(super) fn try_clone(&self) -> Result<Self, BpfError> {
        Self::from_fd(self.shape, self.fd())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }

    pub(super) fn shape(&self) -> MapShape {
        self.shape
    }
}

fn clone_fd(fd: BorrowedFd<'_>) -> Result<OwnedFd, BpfError> {
    fd.try_clone_to_owned().map_err(|source| BpfError::System { what: "duplicating a descriptor", source })
}
