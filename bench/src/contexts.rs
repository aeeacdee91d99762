//! What eight contexts are worth: one program of two dependent memory references, compiled for 1 to 32 lanes.
//!
//! Each packet's header is parsed, its tuple looked up in a 64 MB table, and the flow state that the entry names
//! updated: neither the entry nor the state is in any cache, and the second address is only known once the first
//! line has come. The packets belong to a million flows in random order. Nothing but the number of lanes differs
//! between two runs, so only their ratio means anything.
use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, ensure};
use ixp::{
    clock::Nanos,
    counter::{Counter, Loss},
    frame::{Desc, Frame, Geometry, HeapBacking, Umem},
    ledger::Ledger,
    port::PortId,
    program::{Env, Lockstep, Program, Stage, Verdict},
    tables::{Published, Snapshot, Tables},
};

/// The numbers of lanes that the program is compiled for.
pub const LANES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Flows, and buckets of the table.
const FLOWS: usize = 1 << 20;
/// Packets judged between two looks at the clock: as many as a UMEM has frames.
const FRAMES: u32 = 2048;
/// Packets of one call of the program, as an engine has them.
const BATCH: usize = 64;
/// Where the IPv4 header begins.
const L3: usize = 14;

/// Addresses and ports of a packet: what flows are told apart by.
type Tuple = [u8; 12];

/// One cache line of the table: up to three flows whose hash leads here.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Bucket {
    tuples: [Tuple; 3],
    flows: [u32; 3],
    used: u32,
}

/// One cache line of flow state.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Flow {
    packets: u64,
    bytes: u64,
    last: u64,
}

const _: () = assert!(size_of::<Bucket>() * FLOWS == 64 << 20 && size_of::<Flow>() == 64);

/// What a packet carries from stage to stage.
#[derive(Clone, Copy, Default)]
struct Cursor {
    tuple: Tuple,
    bucket: usize,
    flow: usize,
}

struct Parse;

struct Lookup<'a> {
    table: &'a [Bucket],
}

struct Update<'a> {
    flows: &'a mut [Flow],
}

const MALFORMED: Verdict = Verdict::Drop(Loss::of(Counter::RxUnclaimed));

impl Stage<Cursor> for Parse {
    const FETCHES: bool = true;

    #[inline(always)]
    fn issue(&self, frame: &Frame, _: &Cursor, _: &Env<'_>) -> Option<*const u8> {
        Some(frame.as_ptr())
    }

    #[inline(always)]
    fn step(&mut self, frame: &mut Frame, cursor: &mut Cursor, _: &Env<'_>) -> Verdict {
        let bytes = frame.bytes();
        let (Some(&[0x45]), Some(&tuple)) = (
            bytes.get(L3..).and_then(<[u8]>::first_chunk),
            bytes.get(L3 + 12..).and_then(<[u8]>::first_chunk),
        ) else {
            return MALFORMED;
        };
        (cursor.tuple, cursor.bucket) = (tuple, bucket_of(&tuple));
        Verdict::Next
    }
}

impl Stage<Cursor> for Lookup<'_> {
    const FETCHES: bool = true;

    #[inline(always)]
    fn issue(&self, _: &Frame, cursor: &Cursor, _: &Env<'_>) -> Option<*const u8> {
        self.table.get(cursor.bucket).map(|bucket| std::ptr::from_ref(bucket).cast())
    }

    #[inline(always)]
    fn step(&mut self, _: &mut Frame, cursor: &mut Cursor, _: &Env<'_>) -> Verdict {
        // A bucket that is full passes its flows on to the next.
        loop {
            let Some(bucket) = self.table.get(cursor.bucket) else { return MALFORMED };
            if let Some(at) = bucket.tuples.iter().position(|tuple| *tuple == cursor.tuple) {
                cursor.flow = bucket.flows[at] as usize;
                return Verdict::Next;
            }
            if bucket.used < 3 {
                return MALFORMED;
            }
            cursor.bucket = (cursor.bucket + 1) % FLOWS;
        }
    }
}

impl Stage<Cursor> for Update<'_> {
    const FETCHES: bool = true;

    #[inline(always)]
    fn issue(&self, _: &Frame, cursor: &Cursor, _: &Env<'_>) -> Option<*const u8> {
        self.flows.get(cursor.flow).map(|flow| std::ptr::from_ref(flow).cast())
    }

    #[inline(always)]
    fn step(&mut self, frame: &mut Frame, cursor: &mut Cursor, env: &Env<'_>) -> Verdict {
        let Some(flow) = self.flows.get_mut(cursor.flow) else { return MALFORMED };
        flow.packets += 1;
        flow.bytes += frame.len() as u64;
        flow.last = env.now.get();
        Verdict::Deliver
    }
}

/// The table, the flows and the packets: made once, used for every number of lanes.
pub struct World {
    table: Vec<Bucket>,
    flows: Vec<Flow>,
    tuples: Vec<Tuple>,
    frames: VecDeque<Frame>,
    random: u64,
    ledger: Ledger,
    published: Published,
    /// Frames are parts of it.
    _umem: Umem,
}

impl World {
    /// A million flows, in a table of 64 MB, with state of 64 MB.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(seed: u64) -> anyhow::Result<Self> {
        let mut random = seed | 1;
        let tuples: Vec<Tuple> = (0..FLOWS).map(|_| tuple(&mut random)).collect();
        let mut table = vec![Bucket::default(); FLOWS];
        for (flow, tuple) in tuples.iter().enumerate() {
            let mut at = bucket_of(tuple);
            while table[at].used == 3 {
                at = (at + 1) % FLOWS;
            }
            let Bucket { tuples, flows, used } = &mut table[at];
            (tuples[*used as usize], flows[*used as usize]) = (*tuple, flow as u32);
            *used += 1;
        }
        let geometry = Geometry { chunk: 2048, frames: FRAMES };
        let backing = HeapBacking::new(geometry).context("no memory for frames")?;
        let mut umem = Umem::new(Box::new(backing), geometry, PortId::new(0))?;
        let mut frames = VecDeque::new();
        for chunk in 0..FRAMES {
            let mut frame = umem.claim(Desc { addr: u64::from(chunk) * 2048 + 272, len: 60 })?;
            frame.bytes_mut()[L3] = 0x45;
            frames.push_back(frame);
        }
        Ok(Self {
            table,
            flows: vec![Flow::default(); FLOWS],
            tuples,
            frames,
            random,
            ledger: Ledger::default(),
            published: Published::new(Tables::default())?,
            _umem: umem,
        })
    }

    /// Runs the program, compiled for `lanes`, over at least `packets` packets; returns nanoseconds per packet.
    ///
    /// # Errors
    /// If `lanes` is none of [`LANES`], or a packet did not come to its flow.
    pub fn run(&mut self, lanes: usize, packets: usize) -> anyhow::Result<f64> {
        match lanes {
            1 => self.run_with::<1>(packets),
            2 => self.run_with::<2>(packets),
            4 => self.run_with::<4>(packets),
            8 => self.run_with::<8>(packets),
            16 => self.run_with::<16>(packets),
            32 => self.run_with::<32>(packets),
            _ => anyhow::bail!("{lanes} lanes: the program is compiled for {LANES:?}"),
        }
    }

    fn run_with<const N: usize>(&mut self, packets: usize) -> anyhow::Result<f64> {
        let rounds = packets.div_ceil(FRAMES as usize);
        let snapshot = self.published.current();
        let mut spent = Duration::ZERO;
        for _ in 0..rounds {
            self.shuffle_in();
            spent += self.round::<N>(&snapshot)?;
        }
        Ok(spent.as_nanos() as f64 / (rounds * FRAMES as usize) as f64)
    }

    /// Writes the tuples of random flows into all frames.
    fn shuffle_in(&mut self) {
        for frame in &mut self.frames {
            let flow = next(&mut self.random) as usize % FLOWS;
            frame.bytes_mut()[L3 + 12..L3 + 24].copy_from_slice(&self.tuples[flow]);
        }
    }

    fn round<const N: usize>(&mut self, snapshot: &Snapshot) -> anyhow::Result<Duration> {
        let stages = (Parse, (Lookup { table: &self.table }, (Update { flows: &mut self.flows }, ())));
        let mut program = Lockstep::<N, _, _>::new(stages);
        let env = Env { now: Nanos::new(1), snapshot, ledger: &self.ledger };
        let mut verdicts = Vec::with_capacity(FRAMES as usize);
        let frames = self.frames.make_contiguous();
        let start = cpu_time()?;
        for batch in frames.chunks_mut(BATCH) {
            program.run(batch, &mut verdicts, &env);
        }
        let spent = cpu_time()? - start;
        ensure!(verdicts.iter().all(|v| *v == Verdict::Deliver), "a packet missed its flow");
        Ok(spent)
    }
}

/// Processor time of this thread: what others do on the same core is not the program's.
fn cpu_time() -> anyhow::Result<Duration> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn bucket_of(tuple: &Tuple) -> usize {
    let (words, _) = tuple.as_chunks::<4>();
    let mut hash = 0u64;
    for &word in words {
        hash = (hash ^ u64::from(u32::from_ne_bytes(word))).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    hash as usize % FLOWS
}

fn tuple(random: &mut u64) -> Tuple {
    let mut tuple = [0; 12];
    tuple[..8].copy_from_slice(&next(random).to_ne_bytes());
    tuple[8..].copy_from_slice(&(next(random) as u32).to_ne_bytes());
    tuple
}

/// xorshift64* (Vigna 2016): seeded, and good enough to look random to a cache.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_lanes_does_the_same() {
        let mut world = World::new(7).expect("memory");
        for lanes in LANES {
            world.run(lanes, 5000).expect("every packet comes to its flow");
        }
        let per_run = 5000_u64.div_ceil(u64::from(FRAMES)) * u64::from(FRAMES);
        let packets: u64 = world.flows.iter().map(|flow| flow.packets).sum();
        assert_eq!(packets, per_run * LANES.len() as u64);
        assert!(world.run(3, 1).is_err());
    }
}
