//! The steering table from userspace: put, delete, list.
//!
//! It refuses to decide anything: who may have a tuple, and when its entry may appear, is the registry's business.
use abi::steer::{SteerKey, Target};
use aya::maps::{HashMap, MapData, MapError};
use zerocopy::transmute;

use super::{BpfError, MapShape, map::Map};

const NAME: &str = MapShape::STEER.name;

type Key = [u8; size_of::<SteerKey>()];
type Value = [u8; size_of::<Target>()];

/// A handle on an instance's steering table.
#[derive(Debug)]
pub struct Steering {
    map: HashMap<MapData, Key, Value>,
}

impl Steering {
    pub(super) fn new(map: &Map) -> Result<Self, BpfError> {
        let map = HashMap::try_from(map.handle()?).map_err(|error| BpfError::map(NAME, error))?;
        Ok(Self { map })
    }

    /// Steers `key` to `target` from the next packet on, whatever it was steered to before.
    ///
    /// # Errors
    /// The table is full, or the kernel refuses.
    pub fn put(&mut self, key: SteerKey, target: Target) -> Result<(), BpfError> {
        let (key, value): (Key, Value) = (transmute!(key), transmute!(target));
        self.map.insert(key, value, 0).map_err(|error| BpfError::map(NAME, error))
    }

    /// Gives `key` back to the OS stack. Deleting what is not there is no error: the state asked for is reached.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn delete(&mut self, key: SteerKey) -> Result<(), BpfError> {
        let key: Key = transmute!(key);
        match self.map.remove(&key) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            other => other.map_err(|error| BpfError::map(NAME, error)),
        }
    }

    /// Where `key` goes.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn get(&self, key: SteerKey) -> Result<Option<Target>, BpfError> {
        let key: Key = transmute!(key);
        match self.map.get(&key, 0) {
            Ok(value) => Ok(Some(transmute!(value))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(BpfError::map(NAME, error)),
        }
    }

    /// Every entry, in no order. Entries changed meanwhile may be missing or twice.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn list(&self) -> Result<Vec<(SteerKey, Target)>, BpfError> {
        let entry = |(key, value): (Key, Value)| (transmute!(key), transmute!(value));
        self.map.iter().map(|row| row.map(entry).map_err(|error| BpfError::map(NAME, error))).collect()
    }
}
