//! A capture from the side of whoever reads it: packets of the engines, in the order of their times.
//!
//! It refuses to say what a packet means, and to wait: [`Capture::next`] gives what is there. Who reads too slowly loses
//! packets, and [`Capture::counts`] says how many.
use std::{os::fd::OwnedFd, time::Duration};

use abi::{
    capture::{Counts, Line, MAX_LINKS, Point, Record, RingAt, Shape, ShapeError, State, ring::Reader},
    shm::memory::Memory,
};
use region::{ReadOnly, Region, RegionError};
use thiserror::Error;

use crate::control::{
    capture::{CaptureStart, CaptureStarted, CaptureStop},
    connection::{CallError, Connection},
};

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    connection: Connection,
    started: CaptureStarted,
    down: Region<ReadOnly>,
    up: Region,
    rings: Vec<Ring>,
    epoch_ns: u64,
}

#[derive(Debug)]
struct Ring {
    at: RingAt,
    reader: Reader,
}

/// One packet; its bytes are in the buffer that [`Capture::next`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it was seen.
    pub point: Point,
    /// What is known of it.
    pub record: Record,
    /// When the worker's round began: nanoseconds since 1970.
    pub time_ns: u64,
}

/// Why there is no capture, or none any more.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The daemon refuses, or does not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Two regions were to come.
    #[error("{given} descriptors came with the answer, {wanted} were promised")]
    Descriptors {
        /// How many came.
        given: usize,
        /// How many should have.
        wanted: usize,
    },
    /// A region cannot be mapped, or is not sealed as promised.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// A region is not laid out as promised.
    #[error("the regions are not those of a capture that this program can read: {0:?}")]
    Shape(ShapeError),
    /// A region is too short for what lies in it.
    #[error("a region has {given} bytes, {need} are needed")]
    Size {
        /// Its bytes.
        given: usize,
        /// What is needed.
        need: usize,
    },
    /// A ring makes no sense.
    #[error("the packets that the daemon shows make no sense")]
    Nonsense,
}

impl Capture {
    /// Begins.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn start(mut connection: Connection, start: &CaptureStart) -> Result<Self, CaptureError> {
        let (started, fds) = connection.call_with(start, &[])?;
        let given = fds.len();
        let [down, up] =
            <[OwnedFd; 2]>::try_from(fds).map_err(|_| CaptureError::Descriptors { given, wanted: 2 })?;
        let (down, up) = (Region::down(&down)?, Region::up(&up)?);
        let (shape, header) = Shape::read(&down).map_err(CaptureError::Shape)?;
        for (given, need) in [(down.size(), shape.down_size()), (up.size(), shape.up_size())] {
            if given < need {
                return Err(CaptureError::Size { given, need });
            }
        }
        let rings = (0..shape.rings()).filter_map(|number| shape.ring(number));
        let rings = rings.map(|at| Ring { at, reader: Reader::new(at) }).collect();
        Ok(Self { connection, started, down, up, rings, epoch_ns: header.epoch_ns })
    }

    /// What the daemon said of it.
    #[must_use]
    pub fn started(&self) -> &CaptureStarted {
        &self.started
    }

    /// The next packet that is there; its bytes go into `into`, as many as there is room for.
    ///
    /// Packets of one engine come in their order, those of several by their times, as far as they are there.
    ///
    /// # Errors
    /// [`CaptureError::Nonsense`].
    pub fn next(&mut self, into: &mut [u8]) -> Result<Option<Shown>, CaptureError> {
        let mut first: Option<(usize, Record)> = None;
        for (at, ring) in self.rings.iter_mut().enumerate() {
            let record = ring.reader.peek(&self.down).map_err(|_| CaptureError::Nonsense)?;
            if let Some(record) = record
                && first.is_none_or(|(_, earliest)| record.time_ns < earliest.time_ns)
            {
                first = Some((at, record));
            }
        }
        let Some((at, record)) = first else { return Ok(None) };
        let point = Point::from_number(record.point).ok_or(CaptureError::Nonsense)?;
        if let Some(ring) = self.rings.get_mut(at) {
            ring.reader.take(&self.down, &record, into);
        }
        Ok(Some(Shown { point, record, time_ns: self.epoch_ns.wrapping_add(record.time_ns) }))
    }

    /// Gives the room of everything that was read back to the engines.
    pub fn give_back(&mut self) {
        self.rings.iter().for_each(|ring| ring.reader.publish(&self.up));
    }

    /// Whether the daemon still shows packets; those that it has shown may be read in any case.
    #[must_use]
    pub fn state(&self) -> State {
        State::read(&self.down)
    }

    /// What became of the packets of one interface at one point, over all engines.
    #[must_use]
    pub fn counts(&self, point: Point, link: u16) -> Counts {
        let line = Line::of(point, link);
        let counts = self.rings.iter().map(|ring| ring.at.read_counts(&self.down, line));
        counts.fold(Counts::default(), |sum, one| Counts {
            taken: sum.taken + one.taken,
            lost: sum.lost + one.lost,
        })
    }

    /// The same over all points and interfaces.
    #[must_use]
    pub fn total(&self) -> Counts {
        let lines = Point::ALL.into_iter().flat_map(|point| (0..MAX_LINKS).map(move |link| (point, link)));
        lines.map(|(point, link)| self.counts(point, link)).fold(Counts::default(), |sum, one| Counts {
            taken: sum.taken + one.taken,
            lost: sum.lost + one.lost,
        })
    }

    /// Has the daemon end it: what was shown until then is there to be read, and nothing more comes.
    ///
    /// # Errors
    /// The daemon is gone, which ends it as well.
    pub fn stop(&mut self) -> Result<(), CaptureError> {
        self.connection.call(&CaptureStop {})?;
        Ok(())
    }

    /// The control connection: readable once the daemon is gone.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// How long whoever finds nothing looks away: shorter than the smallest ring takes to fill on a fast wire.
pub const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of a buffer that every packet fits.
pub const LONGEST: usize = abi::capture::MAX_SNAPLEN as usize;
