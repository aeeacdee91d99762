//! What `steer` knows of the interface: its MAC address, VLAN tags, transit.
use abi::port::PortConfig;
use aya::maps::{Array, MapData};
use zerocopy::transmute;

use super::{BpfError, MapShape, map::Map};

const NAME: &str = MapShape::PORT.name;

type Bytes = [u8; size_of::<PortConfig>()];

/// A handle on an interface's only `PortConfig`.
pub struct Port {
    map: Array<MapData, Bytes>,
}

impl Port {
    pub(super) fn new(map: &Map) -> Result<Self, BpfError> {
        let map = Array::try_from(map.handle()?).map_err(|error| BpfError::map(NAME, error))?;
        Ok(Self { map })
    }

    /// Replaces it. A frame that is being steered meanwhile may see a part of each: change it before attaching, or
    /// when the interface itself has changed and frames for the old address come no more.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set(&mut self, config: PortConfig) -> Result<(), BpfError> {
        let bytes: Bytes = transmute!(config);
        self.map.set(0, bytes, 0).map_err(|error| BpfError::map(NAME, error))
    }

    /// Reads it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn get(&self) -> Result<PortConfig, BpfError> {
        let bytes = self.map.get(&0, 0).map_err(|error| BpfError::map(NAME, error))?;
        Ok(transmute!(bytes))
    }
}
