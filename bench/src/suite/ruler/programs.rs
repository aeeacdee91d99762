//! What a generated header program costs against one that a person wrote for the same filter: R6's three rows.
//!
//! Both are timed by `BPF_PROG_TEST_RUN`'s `repeat`, with the same stub behind them: it takes the metadata off again, so that
//! every repetition is the first. The stub and the way to it are in both figures. Before anything is timed, both must
//! decide the same of every frame.
use std::{net::Ipv4Addr, os::fd::AsFd as _};

use abi::{
    header::HeaderMap,
    pins::{LAB_SIGNATURES, LAB_TUPLES, LAB_WWW},
};
use anyhow::{Context as _, Result, ensure};
use ruler::{
    bundle::Bundle,
    dag::{Dag, Limits},
    ebpf::{Counter, Scope, Settings, limits},
};
use xsk::bpf::{
    ByHand, FlowKey, HeaderCounters, HeaderMaps, HeaderProgram, HeaderRefused, Input, Instance, Verdict,
};

use crate::report::{
    bench::{Better, Row},
    interleave::interleaved,
};

/// The rows.
pub(super) const IDS: [&str; 3] = ["r6_signatures", "r6_www", "r6_tuples"];
/// How many times the nanoseconds of a program by hand a generated one may take.
const LIMIT: f64 = 1.25;
/// Runs on each frame, of which one figure is made.
const REPEAT: u32 = 200_000;
/// Flows of the filter `tuples`.
const FLOWS: u8 = 64;

const SIGNATURES: &str = r#"
    include "layouts.rli"
    filter signatures
      Ethernet_IPv4 IPv4_UDP UDP with [dest=31337~2] hex"ce 63 d1 d2 16 e7 13 cf" * => reject 1;
      Ethernet_IPv4 IPv4_UDP UDP with [dest=1434~2] 4 * hex"dc c9 b0 42" * => reject 2;
      Ethernet_IPv4 IPv4_TCP TCP with [dest=80~2|8080~2] * ("cmd.exe"i | "root.exe"i | "/default.ida?"i) * => reject 3;
      * => accept;
"#;

const WWW: &str = r#"
    include "layouts.rli"
    filter www
      eh:Ethernet_IPv4 ih:IPv4_TCP th:TCP with [dest=80~2] p:*
      => eh with [e_dest=0#6,e_src=0#6] ih with [src=0~4,dest=0~4] th p;
"#;

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let signatures = [
        udp(0, 31337, &[0xce, 0x63, 0xd1, 0xd2, 0x16, 0xe7, 0x13, 0xcf, 1, 2]),
        udp(0, 31337, &[7; 18]),
        udp(0, 1434, &[4; 18]),
        udp(0, 53, &[7; 18]),
        tcp(0, 80, 0),
        tcp(0, 8080, 12),
        tcp(0, 443, 0),
        other(),
    ];
    let www = [tcp(0, 80, 0), tcp(0, 80, 12), tcp(0, 443, 0), udp(0, 80, &[7; 18]), other()];
    let tuples = [flow(0), flow(21), flow(42), flow(63), tcp(64, 80, 0), udp(65, 53, &[7; 18]), other()];
    let sets: [(&str, &'static str, String, &[Vec<u8>]); 3] = [
        ("r6_signatures", LAB_SIGNATURES, SIGNATURES.to_owned(), &signatures),
        ("r6_www", LAB_WWW, WWW.to_owned(), &www),
        ("r6_tuples", LAB_TUPLES, tuples_source(), &tuples),
    ];
    for (id, by_hand, source, frames) in sets {
        let (ours, peer) = (Generated::load(&source)?, by_hand);
        rows.extend(ours.against(id, peer, frames, runs)?);
    }
    Ok(())
}

/// A filter's program, chained to the stub of those by hand.
struct Generated {
    hand: ByHand,
    program: HeaderProgram,
    rules: HeaderCounters,
}

impl Generated {
    fn load(source: &str) -> Result<Self> {
        let (filters, found) = ruler::resolve(&Bundle::new("bench.rl", source));
        let filter = filters.first().with_context(|| format!("{found:?}"))?;
        let dag = Dag::build(filter, &Limits::default());
        let mut hand = ByHand::load()?;
        hand.set_flows((0..FLOWS).map(|number| (flow_key(number), u32::from(number))))?;
        let rules = HeaderCounters::create(Counter::entries(u16::try_from(filter.rules.len())?))?;
        let (jump, counters) = (hand.jump()?, Instance::unpinned()?.counters()?);
        let maps = HeaderMaps::by_map(|map| match map {
            HeaderMap::Jump => jump,
            HeaderMap::Rules => rules.as_fd(),
            HeaderMap::Counters => counters.as_fd(),
        });
        let settings = Settings { scope: Scope::Steered, pass: &[], class_gen: 1 };
        let (_, loaded) = limits::fit(filter, &dag, &settings, |program| {
            let program = HeaderProgram::load(&program.words(), maps)?;
            let verified = program.verified_instructions();
            Ok::<_, HeaderRefused>(limits::Loaded { program, verified })
        })?;
        Ok(Self { hand, program: loaded.program, rules })
    }

    fn against(&self, id: &str, peer: &'static str, frames: &[Vec<u8>], runs: u32) -> Result<Option<Row>> {
        let by_hand = self.hand.program(peer)?;
        for frame in frames {
            self.agrees(peer, frame).with_context(|| format!("{id}: {frame:x?}"))?;
        }
        let mean = |time: &dyn Fn(&Input<'_>) -> Result<f64>| {
            let times = frames.iter().map(|frame| time(&Input::new(frame)));
            Ok::<_, anyhow::Error>(times.sum::<Result<f64>>()? / frames.len() as f64)
        };
        let pairs = interleaved(
            runs,
            Better::Lower,
            || mean(&|input| Ok(input.time_header(&self.program, REPEAT)?.as_nanos() as f64)),
            || mean(&|input| Ok(input.time(by_hand, REPEAT)?.as_nanos() as f64)),
        )?;
        let row = Row::paired(id, "ns/packet", "by hand", &pairs);
        Ok(row.map(|row| row.with_limit(1.0 / LIMIT)))
    }

    /// Both leave the frame as it came, and count the same decision.
    fn agrees(&self, peer: &'static str, frame: &[u8]) -> Result<()> {
        let input = Input::new(frame);
        let before = (self.rules.read()?, self.hand.counts()?);
        let (ours, theirs) = (input.run_header(&self.program)?, input.run(self.hand.program(peer)?)?);
        let after = (self.rules.read()?, self.hand.counts()?);
        ensure!(
            ours == theirs && ours.verdict == Verdict::Pass && ours.bytes == frame,
            "{ours:?} {theirs:?}"
        );
        let moved = |before: &[u64], after: &[u64]| before.iter().zip(after).position(|(b, a)| b != a);
        let (ours, theirs) = (moved(&before.0, &after.0), moved(&before.1, &after.1));
        ensure!(ours.is_some() && ours == theirs, "decided {ours:?}, by hand {theirs:?}");
        Ok(())
    }
}

fn tuples_source() -> String {
    let rule = |number| {
        let [from, to] = addresses(number).map(Ipv4Addr::from);
        let [source, dest] = ports(number);
        let protocol = if is_tcp(number) { "TCP" } else { "UDP" };
        format!(
            "Ethernet_IPv4 IPv4_{protocol} with [src={from}, dst={to}] \
             {protocol} with [src={source}~2, dest={dest}~2] * => accept {number};\n"
        )
    };
    format!("include \"layouts.rli\"\nfilter tuples\n{}", (0..FLOWS).map(rule).collect::<String>())
}

/// Every other flow is TCP.
const fn is_tcp(number: u8) -> bool {
    number % 2 == 1
}

const fn addresses(number: u8) -> [[u8; 4]; 2] {
    [[10, number, 3, 1], [10, 200, number, 2]]
}

const fn ports(number: u8) -> [u16; 2] {
    [20_000 + 7 * number as u16, 443 + (number / 8) as u16]
}

fn flow_key(number: u8) -> FlowKey {
    let [from, to] = addresses(number).map(u32::from_ne_bytes);
    let [[s0, s1], [d0, d1]] = ports(number).map(u16::to_be_bytes);
    [from, to, u32::from_ne_bytes([s0, s1, d0, d1]), if is_tcp(number) { 6 } else { 17 }]
}

/// A frame of a flow.
fn flow(number: u8) -> Vec<u8> {
    let [_, dest] = ports(number);
    if is_tcp(number) { tcp(number, dest, 0) } else { udp(number, dest, &[7; 18]) }
}

/// Ethernet and IPv4 headers of flow `number`, and both ports.
fn headers(number: u8, protocol: u8, dest: u16) -> Vec<u8> {
    let [from, to] = addresses(number);
    let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..]].concat();
    frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
    frame.extend([from, to].concat());
    frame.extend(ports(number)[0].to_be_bytes());
    frame.extend(dest.to_be_bytes());
    frame
}

fn udp(number: u8, dest: u16, payload: &[u8]) -> Vec<u8> {
    [&headers(number, 17, dest)[..], &[0; 4], payload].concat()
}

/// With so many bytes of options, and a payload.
fn tcp(number: u8, dest: u16, options: u8) -> Vec<u8> {
    let mut frame = headers(number, 6, dest);
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, (5 + options / 4) << 4, 0x10, 0, 0, 0, 0, 0, 0]);
    frame.resize(frame.len() + usize::from(options), 1);
    frame.extend(b"GET / HTTP/1.1\r\n");
    frame
}

/// No IP at all.
fn other() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6];
    frame.resize(60, 0);
    frame
}
