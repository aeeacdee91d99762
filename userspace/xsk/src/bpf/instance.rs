//! One instance: the maps that all its interfaces share, pinned or held only by their descriptors.
//!
//! It refuses to adopt pins of another layout, and opens and compares all of them before it makes or changes one.
use abi::{LAYOUT, port::PortConfig};
use aya::maps::Array;

use super::{
    AttachSpec, Attached, BpfError, Bpffs, Counters, Datagrams, HeaderSlot, InstanceName, Loaded, MapShape,
    Object, Steering,
    loaded::{Maps, Shared},
    map::Map,
    pins::InstanceDir,
};

/// The maps of one instance.
#[derive(Debug)]
pub struct Instance {
    dir: Option<InstanceDir>,
    maps: Shared,
}

impl Instance {
    /// Opens an instance's pins, or makes them.
    ///
    /// # Errors
    /// What is pinned there has another layout or shape ([`BpfError::Layout`], [`BpfError::Pin`]); then nothing was touched.
    pub fn open(bpffs: &Bpffs, name: &InstanceName) -> Result<Self, BpfError> {
        let dir = InstanceDir::of(bpffs, name);
        let found = Found::read(&dir)?;
        dir.create()?;
        // The layout number goes first: whatever is found beside it was made under it.
        if !found.layout {
            pin_layout(&dir)?;
        }
        let maps = Shared {
            steer: adopt_or_pin(&dir, MapShape::STEER, found.steer)?,
            frags: adopt_or_pin(&dir, MapShape::FRAGS, found.frags)?,
            counters: adopt_or_pin(&dir, MapShape::COUNTERS, found.counters)?,
        };
        Ok(Self { dir: Some(dir), maps })
    }

    /// An instance without pins: it ends with its values, and a crash detaches everything.
    ///
    /// # Errors
    /// The kernel refuses the maps.
    pub fn unpinned() -> Result<Self, BpfError> {
        Ok(Self { dir: None, maps: Shared::create()? })
    }

    /// A handle on the steering table.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn steering(&self) -> Result<Steering, BpfError> {
        Steering::new(&self.maps.steer)
    }

    /// A handle on the fragment map.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn datagrams(&self) -> Result<Datagrams, BpfError> {
        Datagrams::new(&self.maps.frags)
    }

    /// A handle on the counters of all interfaces.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn counters(&self) -> Result<Counters, BpfError> {
        Counters::new(&self.maps.counters)
    }

    /// Attaches the embedded object to an interface, or adopts what an earlier daemon left attached there, and its header
    /// program with it.
    ///
    /// # Errors
    /// See [`Attached`]; whatever was made on the way is undone.
    pub fn attach(&self, spec: &AttachSpec) -> Result<Attached, BpfError> {
        self.attach_object(spec, &Object::embedded()?)
    }

    /// The same, behind a header program: `head` puts one into the slot, or leaves it empty. A chain that is new has no
    /// frame before that; in one that is adopted the header program that was there runs until then.
    ///
    /// # Errors
    /// As [`Instance::attach`], or those of `head`.
    pub fn attach_behind(
        &self,
        spec: &AttachSpec,
        head: impl FnOnce(&HeaderSlot) -> Result<(), BpfError>,
    ) -> Result<Attached, BpfError> {
        self.attach_chain(spec, &Object::embedded()?, head)
    }

    /// The same with another object.
    ///
    /// # Errors
    /// As [`Instance::attach`].
    pub fn attach_object(&self, spec: &AttachSpec, object: &Object) -> Result<Attached, BpfError> {
        self.attach_chain(spec, object, |_| Ok(()))
    }

    fn attach_chain(
        &self,
        spec: &AttachSpec,
        object: &Object,
        head: impl FnOnce(&HeaderSlot) -> Result<(), BpfError>,
    ) -> Result<Attached, BpfError> {
        let dir = self.dir.as_ref().map(|dir| dir.interface(&spec.ifname)).transpose()?;
        Attached::new(spec, object, dir, self.maps.try_clone()?, head)
    }

    /// Loads the embedded object for no interface, on maps of its own beside the instance's: for test runs.
    ///
    /// # Errors
    /// The object was not built, or the kernel refuses it.
    pub fn load(&self, config: PortConfig) -> Result<Loaded, BpfError> {
        self.load_object(config, &Object::embedded()?)
    }

    /// The same with another object.
    ///
    /// # Errors
    /// As [`Instance::load`].
    pub fn load_object(&self, config: PortConfig, object: &Object) -> Result<Loaded, BpfError> {
        Loaded::new(object, Maps::create()?, self.maps.try_clone()?, config)
    }

    /// Removes the instance's pins. Every interface must have been detached.
    ///
    /// # Errors
    /// An interface's directory is left, or bpffs refuses.
    pub fn unpin(self) -> Result<(), BpfError> {
        self.dir.map_or(Ok(()), |dir| dir.remove())
    }
}

/// What is pinned and passed every comparison.
struct Found {
    layout: bool,
    steer: Option<Map>,
    frags: Option<Map>,
    counters: Option<Map>,
}

impl Found {
    fn read(dir: &InstanceDir) -> Result<Self, BpfError> {
        let layout = Map::open(MapShape::LAYOUT, &dir.pin(MapShape::LAYOUT.name))?;
        let number = layout.as_ref().map(read_layout).transpose()?;
        let refused = || BpfError::Layout { path: dir.path().into(), found: number, ours: LAYOUT };
        if number.is_some_and(|found| found != LAYOUT) {
            return Err(refused());
        }
        let steer = Map::open(MapShape::STEER, &dir.pin(MapShape::STEER.name))?;
        let frags = Map::open(MapShape::FRAGS, &dir.pin(MapShape::FRAGS.name))?;
        let counters = Map::open(MapShape::COUNTERS, &dir.pin(MapShape::COUNTERS.name))?;
        if layout.is_none() && (steer.is_some() || frags.is_some() || counters.is_some()) {
            return Err(refused());
        }
        Ok(Self { layout: layout.is_some(), steer, frags, counters })
    }
}

fn read_layout(map: &Map) -> Result<u32, BpfError> {
    let error = |source| BpfError::map(MapShape::LAYOUT.name, source);
    let array = Array::<_, u32>::try_from(map.handle()?).map_err(error)?;
    array.get(&0, 0).map_err(error)
}

fn pin_layout(dir: &InstanceDir) -> Result<(), BpfError> {
    let error = |source| BpfError::map(MapShape::LAYOUT.name, source);
    let map = Map::create(MapShape::LAYOUT)?;
    let mut array = Array::<_, u32>::try_from(map.handle()?).map_err(error)?;
    array.set(0, LAYOUT, 0).map_err(error)?;
    map.pin(&dir.pin(MapShape::LAYOUT.name))
}

fn adopt_or_pin(dir: &InstanceDir, shape: MapShape, found: Option<Map>) -> Result<Map, BpfError> {
    if let Some(map) = found {
        return Ok(map);
    }
    let map = Map::create(shape)?;
    map.pin(&dir.pin(shape.name))?;
    Ok(map)
}
