//! Both programs of one interface, loaded onto its maps and chained: everything but the attachment.
//!
//! It refuses to touch an interface. Test runs need no more than this; [`Attached`](super::Attached) adds the link.
use abi::{
    pins::{PROG_STEER, SLOT_STEER},
    port::PortConfig,
};
use aya::{
    maps::ProgramArray,
    programs::{ProgramFd, Xdp},
};

use super::{BpfError, HeaderSlot, MapShape, Object, Port, QueueSockets, load::Programs, map::Map};

/// The programs and maps of one interface.
#[derive(Debug)]
pub struct Loaded {
    maps: Maps,
    shared: Shared,
    programs: Programs,
}

/// The interface's own maps.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) jump: Map,
    pub(super) xsks: Map,
    pub(super) port: Map,
}

/// The instance's maps, or handles on them: what programs are loaded onto, now and at a replacement.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) steer: Map,
    pub(super) frags: Map,
    pub(super) counters: Map,
}

impl Shared {
    /// New maps that nobody else can reach.
    pub(super) fn create() -> Result<Self, BpfError> {
        Ok(Self {
            steer: Map::create(MapShape::STEER)?,
            frags: Map::create(MapShape::FRAGS)?,
            counters: Map::create(MapShape::COUNTERS)?,
        })
    }

    /// More handles on the same maps.
    pub(super) fn try_clone(&self) -> Result<Self, BpfError> {
        Ok(Self {
            steer: self.steer.try_clone()?,
            frags: self.frags.try_clone()?,
            counters: self.counters.try_clone()?,
        })
    }
}

impl Maps {
    /// New maps that nobody else can reach.
    pub(super) fn create() -> Result<Self, BpfError> {
        Ok(Self {
            jump: Map::create(MapShape::JUMP)?,
            xsks: Map::create(MapShape::XSKS)?,
            port: Map::create(MapShape::PORT)?,
        })
    }
}

impl Loaded {
    /// Loads the programs of `object` onto the maps, describes the interface and closes the chain.
    pub(super) fn new(
        object: &Object,
        maps: Maps,
        shared: Shared,
        config: PortConfig,
    ) -> Result<Self, BpfError> {
        Port::new(&maps.port)?.set(config)?;
        let programs = load(object, &maps, &shared)?;
        set_steer(&maps.jump, &programs)?;
        Ok(Self { maps, shared, programs })
    }

    /// A handle on the sockets of the interface's queues.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn xsks(&self) -> Result<QueueSockets, BpfError> {
        QueueSockets::new(&self.maps.xsks)
    }

    /// A handle on the interface's configuration.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn port(&self) -> Result<Port, BpfError> {
        Port::new(&self.maps.port)
    }

    /// A handle on the slot of the header program.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn header_slot(&self) -> Result<HeaderSlot, BpfError> {
        HeaderSlot::new(&self.maps.jump)
    }

    /// The program named `name` (`abi::pins::PROG_*`), for test runs.
    ///
    /// # Errors
    /// There is none.
    pub fn program(&self, name: &'static str) -> Result<&Xdp, BpfError> {
        self.programs.get(name)
    }

    /// What the programs said since the last call, for the log at debug level: nothing, unless something is broken.
    pub fn drain_log(&mut self) -> Vec<String> {
        self.programs.drain_log()
    }

    /// Empties the slot of `steer`, as a broken chain would: for tests of what `ingress` does then.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn break_chain(&mut self) -> Result<(), BpfError> {
        let mut jump = jump_array(&self.maps.jump)?;
        jump.clear_index(&SLOT_STEER).map_err(|error| BpfError::map(MapShape::JUMP.name, error))
    }

    pub(super) fn program_fd(&self, name: &'static str) -> Result<&ProgramFd, BpfError> {
        self.programs.fd(name)
    }

    /// Loads `object` onto the same maps, puts its `steer` into the chain, and calls `switch` with its programs.
    /// If that fails, the old `steer` is put back.
    pub(super) fn replace(
        &mut self,
        object: &Object,
        switch: impl FnOnce(&Programs) -> Result<(), BpfError>,
    ) -> Result<(), BpfError> {
        let programs = load(object, &self.maps, &self.shared)?;
        set_steer(&self.maps.jump, &programs)?;
        if let Err(why) = switch(&programs) {
            set_steer(&self.maps.jump, &self.programs)?;
            return Err(why);
        }
        self.programs = programs;
        Ok(())
    }
}

fn load(object: &Object, maps: &Maps, shared: &Shared) -> Result<Programs, BpfError> {
    let Shared { steer, frags, counters } = shared;
    Programs::load(object, &[steer, frags, counters, &maps.jump, &maps.xsks, &maps.port])
}

/// Puts `steer` into its slot: before `ingress` is attached, and again at each replacement.
fn set_steer(jump: &Map, programs: &Programs) -> Result<(), BpfError> {
    let steer = programs.fd(PROG_STEER)?;
    jump_array(jump)?.set(SLOT_STEER, steer, 0).map_err(|error| BpfError::map(MapShape::JUMP.name, error))
}

fn jump_array(jump: &Map) -> Result<ProgramArray<aya::maps::MapData>, BpfError> {
    ProgramArray::try_from(jump.handle()?).map_err(|error| BpfError::map(MapShape::JUMP.name, error))
}
