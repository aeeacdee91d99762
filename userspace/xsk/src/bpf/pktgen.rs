//! octroi-pktgen's programs: `generate` inside the kernel, `collect` and `absorb` at the other end.
//!
//! What a frame looks like is decided by the tables of `abi::pktgen`; they are taken as they come and not checked
//! here. One generator sends by one interface and has one run at a time, which its `&mut self` sees to.
use std::time::Duration;

use abi::pktgen::{
    Config, Cursor, FlowHeader, MAP_ABSORBED, MAP_CONFIG, MAP_CURSOR, MAP_FLOWS, PROG_ABSORB, PROG_COLLECT,
    PROG_GENERATE,
};
use aya::maps::{Array, MapData, PerCpuArray};
use zerocopy::{FromBytes, IntoBytes};

use super::{BpfError, Input, Lab, LabLink, Live, QueueSockets, Run, XdpMode};

/// The bytes of a map's value: neither our types nor aya's trait for values are this crate's.
type Bytes<T, const N: usize> = Array<T, [u8; N]>;

/// The loaded programs and the tables they work by.
#[derive(Debug)]
pub struct Generator {
    lab: Lab,
}

impl Generator {
    /// Loads the programs and writes the tables; the cursor stands at the first frame.
    ///
    /// # Errors
    /// The object was not built, or the kernel refuses it or the memory for its tables.
    pub fn load(config: &Config, flows: &[FlowHeader]) -> Result<Self, BpfError> {
        let count = u32::try_from(flows.len()).unwrap_or(u32::MAX);
        let lab = Lab::with(&[PROG_GENERATE, PROG_COLLECT, PROG_ABSORB], count)?;
        let mut generator = Self { lab };
        let mut table = generator.array::<{ size_of::<FlowHeader>() }>(MAP_FLOWS)?;
        for (index, flow) in (0..count).zip(flows) {
            table.set(index, bytes(flow), 0).map_err(|error| BpfError::map(MAP_FLOWS, error))?;
        }
        generator.set_config(config)?;
        Ok(generator)
    }

    /// Writes another plan for the same flows.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_config(&mut self, config: &Config) -> Result<(), BpfError> {
        let mut map = self.array::<{ size_of::<Config>() }>(MAP_CONFIG)?;
        map.set(0, bytes(config), 0).map_err(|error| BpfError::map(MAP_CONFIG, error))
    }

    /// Says which frame is next.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_cursor(&mut self, cursor: &Cursor) -> Result<(), BpfError> {
        let mut map = self.array::<{ size_of::<Cursor>() }>(MAP_CURSOR)?;
        map.set(0, bytes(cursor), 0).map_err(|error| BpfError::map(MAP_CURSOR, error))
    }

    /// Which frame is next.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cursor(&mut self) -> Result<Cursor, BpfError> {
        let map = self.array::<{ size_of::<Cursor>() }>(MAP_CURSOR)?;
        let value = map.get(&0, 0).map_err(|error| BpfError::map(MAP_CURSOR, error))?;
        Cursor::read_from_bytes(&value).map_err(|_| BpfError::Incomplete { name: MAP_CURSOR })
    }

    /// Lets frames leave by the interface with index `ifindex` (see [`Lab::set_out`]).
    ///
    /// # Errors
    /// There is no such interface in the calling thread's network namespace, or it cannot send XDP frames.
    pub fn set_out(&mut self, ifindex: u32) -> Result<(), BpfError> {
        self.lab.set_out(ifindex)
    }

    /// Sends the next `frames` frames in the kernel's portions of `batch`; returns when they have left, and how long one
    /// took ([`Input::run_live`]).
    ///
    /// `template` is a frame of the longest size with the plan's filler. Frames leave by the queue of the CPU that
    /// this thread runs on.
    ///
    /// # Errors
    /// The kernel refuses live frames (before Linux 5.18), the template or the batch.
    pub fn send(&mut self, template: &[u8], frames: u32, batch: u32) -> Result<Duration, BpfError> {
        let live = Live { frames, batch, ingress: super::Ingress::default() };
        Input::new(template).run_live(self.lab.program(PROG_GENERATE)?, live)
    }

    /// Makes the next frame and lets nothing happen: for comparison with the plan's own frames.
    ///
    /// # Errors
    /// As [`Generator::send`].
    pub fn make(&mut self, template: &[u8]) -> Result<Run, BpfError> {
        Input::new(template).run(self.lab.program(PROG_GENERATE)?)
    }

    /// Attaches `collect`: generated frames go to [`Generator::take_sockets`], all others to the OS stack.
    ///
    /// # Errors
    /// The interface is occupied, or does not support the mode.
    pub fn collect_at(&self, ifindex: u32, mode: XdpMode) -> Result<LabLink, BpfError> {
        self.lab.attach(PROG_COLLECT, ifindex, mode)
    }

    /// Attaches `absorb`: every frame is counted and dropped.
    ///
    /// # Errors
    /// The interface is occupied, or does not support the mode.
    pub fn absorb_at(&self, ifindex: u32, mode: XdpMode) -> Result<LabLink, BpfError> {
        self.lab.attach(PROG_ABSORB, ifindex, mode)
    }

    /// The sockets that `collect` redirects to. They can be taken once.
    ///
    /// # Errors
    /// They were taken before.
    pub fn take_sockets(&mut self) -> Result<QueueSockets, BpfError> {
        self.lab.take_floor_sockets()
    }

    /// Frames that `absorb` swallowed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn absorbed(&mut self) -> Result<u64, BpfError> {
        let map = PerCpuArray::<_, u64>::try_from(self.lab.map_mut(MAP_ABSORBED)?);
        let values =
            map.and_then(|map| map.get(&0, 0)).map_err(|error| BpfError::map(MAP_ABSORBED, error))?;
        Ok(values.iter().sum())
    }

    fn array<const N: usize>(&mut self, name: &'static str) -> Result<Bytes<&mut MapData, N>, BpfError> {
        Array::try_from(self.lab.map_mut(name)?).map_err(|error| BpfError::map(name, error))
    }
}

fn bytes<T: IntoBytes + zerocopy::Immutable, const N: usize>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N) };
    let mut bytes = [0; N];
    bytes.copy_from_slice(value.as_bytes());
    bytes
}
