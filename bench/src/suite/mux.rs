//! Rows of applications in memory, one core: `mux_64`, `mux_64_stacks`, `egress_64`, `spoof_64`, and the grid of P8.
//!
//! | row | what is timed |
//! |---|---|
//! | `mux_64` | from steering's result into the ring of one application |
//! | `mux_64_stacks` | the same for 64 applications in turns, against one whose ring is as large as theirs together |
//! | `egress_64` | out of the ring of one application: copied, judged, and given to the port |
//! | `spoof_64` | what an honest sender gets beside one that only lies, against what it gets beside another honest one |
//! | `mux_rx_B_N`, `mux_tx_B_N` | N applications and frames of B bytes; 8 and 16 against one, 64 against 8 |
//!
//! Except for `mux_64` and `egress_64`, whose application has the rings that it gets if it asks for no others, all rings
//! of one figure together have the same memory.
use abi::shm::counter::ChannelCounter;
use anyhow::{Context, Result, ensure};

use super::{
    apps::{Apps, Load, Says, Way},
    stage::ENGINE_CORE,
};
use crate::{
    engine::clock::pin,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
        spread::Spread,
    },
};

/// Packets of one run.
const PACKETS: u64 = 4_000_000;
/// Packets of one run of the grid.
const FEWER: u64 = 500_000;
/// Packets a second into one application, and out of it.
const RX_AIM: f64 = 20e6;
const TX_AIM: f64 = 15e6;
/// Share of one application's rate that 64 reach, if they do not stay within [`MORE_NS`].
const SHARE: f64 = 0.9;
/// Nanoseconds that a packet of 64 applications may cost more.
const MORE_NS: f64 = 6.0;
/// Share of its own share that an honest sender keeps beside a liar.
const KEPT: f64 = 0.9;
/// Share of eight applications' rate that 64 reach.
const SHARE_OF_EIGHT: f64 = 0.8;
/// Slots of all rings together.
const SLOTS: u32 = 4096;
const MANY: u16 = 64;
/// Bytes of a frame, FCS included.
const SMALLEST: u16 = 64;
const SIZES: [u16; 4] = [SMALLEST, 128, 256, 512];
/// The rows of the grid.
pub(super) const GRID: [&str; 24] = [
    "mux_rx_64_8",
    "mux_rx_64_16",
    "mux_rx_64_64",
    "mux_rx_128_8",
    "mux_rx_128_16",
    "mux_rx_128_64",
    "mux_rx_256_8",
    "mux_rx_256_16",
    "mux_rx_256_64",
    "mux_rx_512_8",
    "mux_rx_512_16",
    "mux_rx_512_64",
    "mux_tx_64_8",
    "mux_tx_64_16",
    "mux_tx_64_64",
    "mux_tx_128_8",
    "mux_tx_128_16",
    "mux_tx_128_64",
    "mux_tx_256_8",
    "mux_tx_256_16",
    "mux_tx_256_64",
    "mux_tx_512_8",
    "mux_tx_512_16",
    "mux_tx_512_64",
];

/// Measures the rows about the smallest frames.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    pinned(|| {
        rows.extend(one(runs, "mux_64", Way::Rx, RX_AIM)?);
        rows.push(many(runs)?);
        rows.extend(one(runs, "egress_64", Way::Tx, TX_AIM)?);
        rows.extend(spoof(runs)?);
        Ok(())
    })
}

/// Measures the grid.
pub(super) fn grid(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    pinned(|| {
        for (way, name) in [(Way::Rx, "rx"), (Way::Tx, "tx")] {
            for frame in SIZES {
                for (apps, than) in [(8, 1), (16, 1), (MANY, 8)] {
                    let time = |apps| timed(way, together(apps, frame), FEWER);
                    let pairs = interleaved(runs, Better::Lower, || time(apps), || time(than))?;
                    let peer = if than == 1 { "one application" } else { "8 applications" };
                    let row = Row::paired(format!("mux_{name}_{frame}_{apps}"), "ns/packet", peer, &pairs);
                    let row = row.context("no runs")?;
                    rows.push(if apps == MANY { row.with_limit(SHARE_OF_EIGHT) } else { row });
                }
            }
        }
        Ok(())
    })
}

/// On a thread of its own: who is pinned cannot give his children another core.
pub(super) fn pinned(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let worked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                pin(ENGINE_CORE)?;
                work()
            })
            .join()
    });
    worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// So many applications, whose rings together have the memory of one with the most slots.
///
/// However many they are, the port reads as many different packets: one each for most applications, copies for fewer.
/// Else the bench itself would read more memory for many, and that would be counted as the engine's.
fn together(apps: u16, frame: u16) -> Load {
    Load { apps, slots: SLOTS / u32::from(apps), frame, packets: MANY }
}

/// Nanoseconds a packet.
fn timed(way: Way, load: Load, packets: u64) -> Result<f64> {
    let mut apps = match way {
        Way::Rx => Apps::receiving(load)?,
        Way::Tx => Apps::sending(load, &[])?,
    };
    apps.time(way, packets)
}

fn one(runs: u32, id: &str, way: Way, aim: f64) -> Result<Option<Row>> {
    let rate = |_| Ok::<_, anyhow::Error>(1e9 / timed(way, Load::one(SMALLEST), PACKETS)?);
    let rates = (0..runs).map(rate).collect::<Result<Vec<_>>>()?;
    let row = Row::against_aim(id, "packets/s", Better::Higher, &rates, aim);
    Ok(row.map(|row| row.with_limit(1.0)))
}

fn many(runs: u32) -> Result<Row> {
    let time = |apps| timed(Way::Rx, together(apps, SMALLEST), PACKETS);
    let pairs = interleaved(runs, Better::Lower, || time(MANY), || time(1))?;
    // Of each pair, as what slows the machine for a while slows both of it.
    let more = Spread::of(&pairs.differences()).map_or(f64::MAX, |more| more.median);
    let row = Row::paired("mux_64_stacks", "ns/packet", "one application", &pairs).context("no runs")?;
    // Few nanoseconds more are much of little: a faster single application must not make 64 look worse.
    Ok(if more <= MORE_NS { row } else { row.with_limit(SHARE) })
}

fn spoof(runs: u32) -> Result<Option<Row>> {
    let beside = |says| honest([Says::Truth, says]);
    let pairs = interleaved(runs, Better::Higher, || beside(Says::Lies), || beside(Says::Truth))?;
    let row = Row::paired("spoof_64", "packets/s", "beside an honest one", &pairs);
    Ok(row.map(|row| row.with_limit(KEPT)))
}

/// Packets a second that the first of two greedy senders gets out. Of the lies none may get out.
fn honest(says: [Says; 2]) -> Result<f64> {
    let load = Load { apps: 2, ..Load::one(SMALLEST) };
    let mut apps = Apps::sending(load, &says)?;
    let (_, took) = apps.run(Way::Tx, PACKETS)?;
    let mine = apps.counter(0, ChannelCounter::TxSent)?;
    let read = apps.counter(1, ChannelCounter::TxRead)?;
    let refused = apps.counter(1, ChannelCounter::TxNotOwner)?;
    let lies = if says[1] == Says::Lies { read } else { 0 };
    ensure!(0 < read && refused == lies, "of {read} packets of the other {refused} were refused");
    Ok(mine as f64 * 1e9 / took)
}
