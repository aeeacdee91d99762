//! The maps: names and shapes from `abi::pins`, which userspace compares before it adopts a pinned one.
//!
//! `STEER`, `FRAGS` and `COUNTERS` belong to the instance, the others to one interface. The loader creates or adopts them
//! and puts them in place of the definitions here, so these say only what the programs may assume.
use abi::{
    fragment::{FRAG_ENTRIES, FragEntry, FragKey},
    pins::{COUNTER_SLOTS, JUMP_SLOTS, MAX_QUEUES},
    port::PortConfig,
    steer::{STEER_ENTRIES, SteerKey, Target},
};
use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, XskMap},
};

/// The steering table of every packet system.
#[map]
pub static STEER: HashMap<SteerKey, Target> = HashMap::with_max_entries(STEER_ENTRIES, 0);

/// What later fragments of an owned datagram follow.
#[map]
pub static FRAGS: LruHashMap<FragKey, FragEntry> = LruHashMap::with_max_entries(FRAG_ENTRIES, 0);

/// One `u64` per `abi::counter::XdpCounter` and CPU.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);

/// The chain: slot 0 the header program, slot 1 `steer`.
#[map]
pub static JUMP: ProgramArray = ProgramArray::with_max_entries(JUMP_SLOTS, 0);

/// Receive queue → AF_XDP socket.
#[map]
pub static XSKS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);

/// What `steer` must know of the interface.
#[map]
pub static PORT: Array<PortConfig> = Array::with_max_entries(1, 0);
