//! The lab's header programs that were written by hand, and the stub behind them that takes their metadata off again.
//!
//! Because of the stub a test run can be repeated on one frame, which the kernel does not restore. Generated programs
//! are measured against these, so they may have the same stub behind them. Nothing is attached.
use std::os::fd::{AsFd, BorrowedFd};

use abi::pins::{
    LAB_FLOWS, LAB_JUMP, LAB_RULES, LAB_SIGNATURES, LAB_TUPLES, LAB_UNMAKE, LAB_WWW, SLOT_STEER,
};
use aya::{
    maps::{HashMap, PerCpuArray, ProgramArray},
    programs::Xdp,
};

use super::{BpfError, Lab};

/// The loaded programs.
#[derive(Debug)]
pub struct ByHand {
    lab: Lab,
}

/// A flow as its header has it: source and destination address, both ports, and the protocol as a number.
pub type FlowKey = [u32; 4];

impl ByHand {
    /// Loads them, and puts the stub where `steer` would be.
    ///
    /// # Errors
    /// The object was not built, or the kernel refuses it.
    pub fn load() -> Result<Self, BpfError> {
        let mut lab = Lab::with(&[LAB_UNMAKE, LAB_SIGNATURES, LAB_WWW, LAB_TUPLES], 1)?;
        let stub = lab.program(LAB_UNMAKE)?.fd().map_err(|error| BpfError::program(LAB_UNMAKE, error))?;
        let stub =
            stub.try_clone().map_err(|source| BpfError::System { what: "cloning a program", source })?;
        let error = |error| BpfError::map(LAB_JUMP, error);
        let mut jump = ProgramArray::try_from(lab.map_mut(LAB_JUMP)?).map_err(error)?;
        jump.set(SLOT_STEER, &stub, 0).map_err(error)?;
        Ok(Self { lab })
    }

    /// The flows that are accepted, and the number of each one's rule.
    ///
    /// # Errors
    /// There are more than the map holds.
    pub fn set_flows(&mut self, flows: impl IntoIterator<Item = (FlowKey, u32)>) -> Result<(), BpfError> {
        let error = |error| BpfError::map(LAB_FLOWS, error);
        let mut map = HashMap::<_, FlowKey, u32>::try_from(self.lab.map_mut(LAB_FLOWS)?).map_err(error)?;
        flows.into_iter().try_for_each(|(flow, rule)| map.insert(flow, rule, 0).map_err(error))
    }

    /// The program named `name` (`abi::pins::LAB_*`).
    ///
    /// # Errors
    /// There is none.
    pub fn program(&self, name: &'static str) -> Result<&Xdp, BpfError> {
        self.lab.program(name)
    }

    /// How often each of their decisions was made: no rule, each rule, and "a worker decides" behind a program's last.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn counts(&self) -> Result<Vec<u64>, BpfError> {
        let error = |error| BpfError::map(LAB_RULES, error);
        let map = PerCpuArray::<_, u64>::try_from(self.lab.map(LAB_RULES)?).map_err(error)?;
        map.iter().map(|values| Ok(values.map_err(error)?.iter().sum())).collect()
    }

    /// The program array that has the stub.
    ///
    /// # Errors
    /// The object lacks it.
    pub fn jump(&self) -> Result<BorrowedFd<'_>, BpfError> {
        match self.lab.map(LAB_JUMP)? {
            aya::maps::Map::ProgramArray(data) => Ok(data.fd().as_fd()),
            _ => Err(BpfError::Incomplete { name: LAB_JUMP }),
        }
    }
}
