//! The lab object's programs: pass-all, the live-frame generator, and the floor under `steer`.
//!
//! They are for benches and tests; nothing is pinned, and what is attached goes when its value does.
use std::os::fd::AsFd;

use abi::{
    pins::{LAB_FLOOR, LAB_OUT, LAB_PASS, LAB_TRANSMIT, LAB_XSKS},
    pktgen::MAP_FLOWS,
};
use aya::{Ebpf, EbpfLoader, maps::DevMap, programs::Xdp};

use super::{BpfError, LabObject, QueueSockets, XdpMode, link::XdpLink, load::load_program};

/// The loaded lab object.
#[derive(Debug)]
pub struct Lab {
    ebpf: Ebpf,
}

/// A lab program on an interface; dropping it detaches it.
#[derive(Debug)]
pub struct LabLink(XdpLink);

impl LabLink {
    /// Puts `program` in the place of the one it holds; each packet meets the one or the other.
    ///
    /// # Errors
    /// The program is not loaded, or the kernel refuses.
    pub fn put(&self, program: &Xdp) -> Result<(), BpfError> {
        let program = program.fd().map_err(|error| BpfError::program("lab", error))?;
        self.0
            .update(program.as_fd())
            .map_err(|source| BpfError::System { what: "replacing a lab program", source })
    }
}

impl Lab {
    /// Loads all its programs.
    ///
    /// # Errors
    /// The object was not built, or the kernel refuses it.
    pub fn load() -> Result<Self, BpfError> {
        Self::with(&[LAB_PASS, LAB_TRANSMIT, LAB_FLOOR], 1)
    }

    /// Loads `programs`, with room for the headers of `flows` flows.
    pub(super) fn with(programs: &[&'static str], flows: u32) -> Result<Self, BpfError> {
        let mut loader = EbpfLoader::new();
        loader.btf(None).map_max_entries(MAP_FLOWS, flows);
        let object = LabObject::embedded()?;
        let mut ebpf = loader.load(object.bytes()).map_err(|error| BpfError::Load(Box::new(error)))?;
        for &name in programs {
            load_program(&mut ebpf, name)?;
        }
        Ok(Self { ebpf })
    }

    /// The map named `name`.
    pub(super) fn map(&self, name: &'static str) -> Result<&aya::maps::Map, BpfError> {
        self.ebpf.map(name).ok_or(BpfError::Incomplete { name })
    }

    /// The same, to change it.
    pub(super) fn map_mut(&mut self, name: &'static str) -> Result<&mut aya::maps::Map, BpfError> {
        self.ebpf.map_mut(name).ok_or(BpfError::Incomplete { name })
    }

    /// The program named `name` (`abi::pins::LAB_*`).
    ///
    /// # Errors
    /// There is none.
    pub fn program(&self, name: &'static str) -> Result<&Xdp, BpfError> {
        let program = self.ebpf.program(name).ok_or(BpfError::Incomplete { name })?;
        program.try_into().map_err(|error| BpfError::program(name, error))
    }

    /// Attaches the program named `name`.
    ///
    /// # Errors
    /// The interface is occupied, or does not support the mode.
    pub fn attach(&self, name: &'static str, ifindex: u32, mode: XdpMode) -> Result<LabLink, BpfError> {
        let program = self.program(name)?.fd().map_err(|error| BpfError::program(name, error))?;
        let link = XdpLink::attach(program.as_fd(), ifindex, mode)
            .map_err(|source| BpfError::System { what: "attaching a lab program", source })?;
        Ok(LabLink(link))
    }

    /// Lets `transmit` send by the interface with index `ifindex`.
    ///
    /// On a veth the other end needs an XDP program, if only `pass`: without one every frame is dropped.
    ///
    /// # Errors
    /// There is no such interface in the calling thread's network namespace, or it cannot send XDP frames.
    pub fn set_out(&mut self, ifindex: u32) -> Result<(), BpfError> {
        let map = self.map_mut(LAB_OUT)?;
        let mut map = DevMap::try_from(map).map_err(|error| BpfError::map(LAB_OUT, error))?;
        map.set(0, ifindex, None, 0).map_err(|error| {
            let error = match error {
                aya::maps::xdp::XdpMapError::MapError(error) => error,
                aya::maps::xdp::XdpMapError::ChainedProgramNotSupported => {
                    unreachable!("no chained program was given")
                }
            };
            BpfError::map(LAB_OUT, error)
        })
    }

    /// The sockets that `floor` redirects to. They can be taken once.
    ///
    /// # Errors
    /// They were taken before.
    pub fn take_floor_sockets(&mut self) -> Result<QueueSockets, BpfError> {
        let map = self.ebpf.take_map(LAB_XSKS).ok_or(BpfError::Incomplete { name: LAB_XSKS })?;
        QueueSockets::from_aya(map)
    }
}
