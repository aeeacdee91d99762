//! Filters and headers: `r3`, one that looks at nothing else; `p9_class_*`, what it saves to begin where the header program ended.
use anyhow::{Context as _, Result, ensure};

use super::absolute;
use crate::{
    report::bench::{Better, Row},
    scan::{
        contest::{Measure, Scanner as _, alone, contest},
        engines::{Entry, Judging},
        frames::Flow,
        here::Here,
        packets::{Filling, Lengths, Packets},
    },
    suite::mux::pinned,
    traffic::seeded::Seeded,
};

/// The rows.
pub(super) const IDS: [&str; 4] = ["r3", "p9_class_64", "p9_class_1500", "p9_class_imix"];

/// Frames of `r3`.
const FRAMES: usize = 4_096;
/// Flows that they belong to, and how many of those are rejected.
const FLOWS: u16 = 128;
const REJECTED: u16 = 64;
/// Bytes of the smallest frame without its FCS.
const SMALLEST: usize = 60;
/// Bytes of headers.
const HEADERS: usize = 42;
/// Millions of packets a second of one core.
const R3_AIM: f64 = 30.0;

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    pinned(|| {
        rows.push(tuples(runs)?);
        let [_, classes @ ..] = IDS;
        for (id, lengths) in
            classes.into_iter().zip([Lengths::Fixed(SMALLEST), Lengths::Fixed(1_500), Lengths::Imix])
        {
            rows.push(class(runs, id, lengths)?);
        }
        Ok(())
    })
}

/// Five-tuples: half of the flows are rejected, in random order, so that nobody can guess.
fn tuples(runs: u32) -> Result<Row> {
    let mut seeded = Seeded::new(3);
    let frames = (0..FRAMES).map(|_| flow(seeded.below(FLOWS.into()) as u16).udp(&[0; SMALLEST - HEADERS]));
    let packets = Packets::new(frames.collect::<Vec<_>>());
    let mut judging = Here(Judging::new(&tuples_program(), &packets, Entry::Zero)?);
    let hits = judging.round(1)?.hits;
    ensure!((1_500..2_500).contains(&hits), "{hits} of {FRAMES} packets were rejected, not half of them");
    let measure = Measure::packets(packets.count());
    let rates = alone(runs, measure, &mut judging)?;
    absolute(Row::against_aim("r3", measure.unit, Better::Higher, &rates, R3_AIM))
}

fn flow(number: u16) -> Flow {
    let [high, low] = number.to_be_bytes();
    Flow { addresses: [[10, 1, high, low], [10, 77, 0, 2]], ports: [20_000 + number, 53 + number % 3] }
}

fn tuples_program() -> String {
    let rule = |number| {
        let Flow { addresses: [[a, b, c, d], [e, f, g, h]], ports: [from, to] } = flow(number);
        format!(
            "  Ethernet_IPv4 IPv4_UDP with [src={a}.{b}.{c}.{d}, dst={e}.{f}.{g}.{h}] \
             UDP with [sport={from}~2, dport={to}~2] * => reject 1;\n"
        )
    };
    let rules: String = (0..REJECTED).map(rule).collect();
    format!("include \"layouts.rli\"\nfilter tuples\n{rules}  * => accept;\n")
}

/// The shipped signatures on packets for each port that they look at, and one that they do not: with the class and without.
fn class(runs: u32, id: &str, lengths: Lengths) -> Result<Row> {
    let bodies = Packets::random(lengths, Filling::Letters, 5);
    let ports = [31_337, 1_434, 80, 8_080, 443];
    let frames = bodies.slices().into_iter().zip(ports.into_iter().cycle()).map(|(body, port)| {
        let flow = Flow { addresses: [[10, 1, 0, 1], [10, 77, 0, 2]], ports: [20_000, port] };
        let is_tcp = matches!(port, 80 | 8_080 | 443);
        let headers = if is_tcp { HEADERS + 12 } else { HEADERS };
        let payload = body.get(headers..).unwrap_or_default();
        if is_tcp { flow.tcp(payload) } else { flow.udp(payload) }
    });
    let packets = Packets::new(frames.collect::<Vec<_>>());
    let signatures = ruler::shipped::find("signatures").context("signatures are not shipped")?.source;
    let judging = |entry| Ok::<_, anyhow::Error>(Here(Judging::new(signatures, &packets, entry)?));
    let (mut class, mut zero) = (judging(Entry::Class)?, judging(Entry::Zero)?);
    let measure = Measure::packets(packets.count());
    let pairs = contest(runs, measure, &mut class, &mut zero)?;
    let entered = class.0.entries();
    ensure!(entered.from_zero == 0, "{} packets did not begin at their class", entered.from_zero);
    Row::paired(id, measure.unit, "from byte 0", &pairs).context("no runs")
}
