//! The two regions of a session, and what the daemon says of it.
//!
//! It refuses regions that do not hold what the daemon's header describes.
use std::os::fd::OwnedFd;

use ::region::{ReadOnly, ReadWrite, Region};
use abi::shm::{
    layout::{DownHeader, HeaderError, PAGE, Session, Shape},
    memory::Memory,
};
use thiserror::Error;

/// The region that the daemon writes.
pub type Down = Region<ReadOnly>;
/// The region that this program writes.
pub type Up = Region<ReadWrite>;

/// Both regions of a session and what the daemon says of it.
#[derive(Clone, Debug)]
pub struct Regions {
    /// From the daemon.
    pub down: Down,
    /// To the daemon.
    pub up: Up,
    /// Where everything lies.
    pub shape: Shape,
    /// What the session is.
    pub session: Session,
}

/// Why the regions cannot be used.
#[derive(Debug, Error)]
pub enum RegionError {
    /// One cannot be mapped, or is not sealed as promised.
    #[error(transparent)]
    Region(#[from] ::region::RegionError),
    /// A region is smaller than what lies in it.
    #[error("the region has {given} bytes, {need} are needed")]
    TooSmall {
        /// Its bytes.
        given: usize,
        /// What is needed.
        need: usize,
    },
    /// The down region's header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Regions {
    /// Maps what came with the answer to `stack.open`.
    ///
    /// # Errors
    /// [`RegionError`].
    pub fn map(down: &OwnedFd, up: &OwnedFd) -> Result<Self, RegionError> {
        let (down, up) = (Down::down(down)?, Up::up(up)?);
        holds(&down, PAGE)?;
        let mut bytes = [0; size_of::<DownHeader>()];
        down.copy_out(0, &mut bytes);
        let header: DownHeader = zerocopy::transmute!(bytes);
        let shape = header.shape()?;
        holds(&down, shape.down_size())?;
        holds(&up, shape.up_size())?;
        Ok(Self { down, up, shape, session: header.session() })
    }
}

fn holds(region: &impl Memory, need: usize) -> Result<(), RegionError> {
    let given = region.size();
    if need <= given { Ok(()) } else { Err(RegionError::TooSmall { given, need }) }
}
