//! The fragment map from userspace: which datagrams are known, and whose they are.
//!
//! The XDP programs enter datagrams and forget them; nobody else has to. This is for looking, and for tests.
use abi::fragment::{FragEntry, FragKey};
use aya::maps::{HashMap, MapData, MapError};
use zerocopy::transmute;

use super::{BpfError, MapShape, map::Map};

const NAME: &str = MapShape::FRAGS.name;

type Key = [u8; size_of::<FragKey>()];
type Value = [u8; size_of::<FragEntry>()];

/// A handle on an instance's fragment map.
#[derive(Debug)]
pub struct Datagrams {
    map: HashMap<MapData, Key, Value>,
}

impl Datagrams {
    pub(super) fn new(map: &Map) -> Result<Self, BpfError> {
        let map = HashMap::try_from(map.handle()?).map_err(|error| BpfError::map(NAME, error))?;
        Ok(Self { map })
    }

    /// Lets the later fragments of the entry's datagram follow it. A full map throws another entry out.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn put(&mut self, entry: FragEntry) -> Result<(), BpfError> {
        let (key, value): (Key, Value) = (transmute!(entry.key), transmute!(entry));
        self.map.insert(key, value, 0).map_err(|error| BpfError::map(NAME, error))
    }

    /// Forgets a datagram. One that is not known is forgotten already.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn delete(&mut self, datagram: FragKey) -> Result<(), BpfError> {
        let key: Key = transmute!(datagram);
        match self.map.remove(&key) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            other => other.map_err(|error| BpfError::map(NAME, error)),
        }
    }

    /// What is known of a datagram.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn get(&self, datagram: FragKey) -> Result<Option<FragEntry>, BpfError> {
        let key: Key = transmute!(datagram);
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
    pub fn list(&self) -> Result<Vec<FragEntry>, BpfError> {
        let entry = |(_, value): (Key, Value)| transmute!(value);
        self.map.iter().map(|row| row.map(entry).map_err(|error| BpfError::map(NAME, error))).collect()
    }
}
