//! The counters of the XDP programs, summed over CPUs.
//!
//! They are read, never reset: a reader that wants a change subtracts two readings.
use std::os::fd::{AsFd, BorrowedFd};

use abi::counter::XdpCounter;
use aya::maps::{MapData, PerCpuArray};

use super::{BpfError, MapShape, map::Map};

const NAME: &str = MapShape::COUNTERS.name;

/// One reading, indexed by [`XdpCounter`].
pub type Counts = [u64; XdpCounter::COUNT as usize];

/// A handle on an instance's counters.
pub struct Counters {
    map: Map,
    values: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn new(map: &Map) -> Result<Self, BpfError> {
        let values = PerCpuArray::try_from(map.handle()?).map_err(|error| BpfError::map(NAME, error))?;
        Ok(Self { map: map.try_clone()?, values })
    }

    /// Reads every counter. Under traffic the numbers are of slightly different moments.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read(&self) -> Result<Counts, BpfError> {
        let mut counts = [0; XdpCounter::COUNT as usize];
        for counter in XdpCounter::ALL {
            counts[counter as usize] = self.read_one(counter)?;
        }
        Ok(counts)
    }

    /// Reads one counter.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read_one(&self, counter: XdpCounter) -> Result<u64, BpfError> {
        let values = self.values.get(&(counter as u32), 0).map_err(|error| BpfError::map(NAME, error))?;
        Ok(values.iter().sum())
    }
}

/// What a header program counts in whatever ends there.
impl AsFd for Counters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd()
    }
}
