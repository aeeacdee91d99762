//! A header program between `ingress` and `steer`: both scopes, hits and misses, and whatever may be missing.
use abi::{
    counter::XdpCounter,
    pins::PROG_INGRESS,
    port::PortConfig,
    rxmeta::{MAGIC, RxMeta},
    steer::{SteerKey, Target, kind},
};
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, Need};
use ruler::{
    bundle::Bundle,
    dag::{Dag, Limits},
    ebpf::{
        Counter, Scope, Settings,
        limits::{self, Loaded},
    },
    resolved::Filter,
};
use xsk::bpf::{HeaderCounters, HeaderMaps, HeaderProgram, Input, Instance, Verdict, unbound_socket};
use zerocopy::FromBytes as _;

use crate::case::{CRAMPED, Case, Chain, Expected, GENERATION, entries};

const SOURCE: &str = r#"
    include "layouts.rli"
    filter ports
      Ethernet_IPv4 IPv4_UDP UDP with [dest=7~2] * => accept 5;
      Ethernet_IPv4 IPv4_UDP UDP with [dest=8~2] * => reject 1;
      Ethernet_IPv4 IPv4_UDP UDP with [dest=9~2] * => accept 9;
      Ethernet_IPv4 IPv4_UDP UDP with [dest=11~2] * => accept;
      * => reject 3;
"#;
/// This code is the OS stack's.
const PASS: &[u16] = &[9];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TARGET: Target = Target { kind: kind::STACK, flags: 0, id: 3, generation: 9, aux: 0 };

fn filter() -> Filter {
    let (mut filters, found) = ruler::resolve(&Bundle::new("ports.rl", SOURCE));
    filters.pop().unwrap_or_else(|| panic!("{found:?}"))
}

/// UDP to a port of 192.0.2.1.
fn frame(port: u16) -> Vec<u8> {
    let mut frame = [&MAC[..], &[2, 0, 0, 0, 0, 9], &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1]);
    frame.extend([0x12, 0x34]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 8, 0, 0]);
    frame
}

/// What of the frame to a port must come about.
struct Wanted {
    port: u16,
    verdict: Verdict,
    books: XdpCounter,
    decided: Counter,
}

const fn wanted(port: u16, verdict: Verdict, books: XdpCounter, decided: Counter) -> Wanted {
    Wanted { port, verdict, books, decided }
}

/// Through `ingress`, the program and the true `steer`; 7, 8 and 9 are claimed, other ports are the OS stack's.
#[track_caller]
fn check(id: &'static str, scope: Scope, rows: &[Wanted]) -> Result<()> {
    let Some(_lab) = lab::require(id, &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
    let filter = filter();
    let dag = Dag::build(&filter, &Limits::default());
    let instance = Instance::unpinned()?;
    let loaded = instance.load(PortConfig { mac: MAC, ..PortConfig::default() })?;
    for port in [7, 8, 9] {
        instance.steering()?.put(SteerKey::v4(17, [192, 0, 2, 1], port), TARGET)?;
    }
    let socket = unbound_socket()?;
    loaded.xsks()?.set(0, &socket)?;
    let (slot, counters) = (loaded.header_slot()?, instance.counters()?);
    // A second generation takes the place of the first.
    for class_gen in [GENERATION, GENERATION + 1] {
        let rules = HeaderCounters::create(entries(&filter))?;
        let maps = HeaderMaps::new(&slot, &rules, &counters);
        let settings = Settings { scope, pass: PASS, class_gen };
        let (_, header) = limits::fit(&filter, &dag, &settings, |program| {
            let program = HeaderProgram::load(&program.words(), maps)?;
            let verified = program.verified_instructions();
            Ok::<_, xsk::bpf::HeaderRefused>(Loaded { program, verified })
        })?;
        slot.set(header.program)?;
        for row in rows {
            let frame = frame(row.port);
            let before = (counters.read()?, rules.read()?);
            let run = Input::new(&frame).run(loaded.program(PROG_INGRESS)?)?;
            let after = (counters.read()?, rules.read()?);
            let context = || format!("port {}, {scope:?}: {run:x?}", row.port);
            ensure!(run.verdict == row.verdict, context());
            for counter in XdpCounter::ALL {
                let moved = after.0[counter as usize] - before.0[counter as usize];
                let should = counter == XdpCounter::Rx || counter == row.books;
                ensure!(moved == u64::from(should), "{counter:?}: {}", context());
            }
            let decided = usize::try_from(row.decided.index(5))?;
            for (index, (before, after)) in before.1.iter().zip(&after.1).enumerate() {
                ensure!(
                    after - before == u64::from(index == decided),
                    "rules' counter {index}: {}",
                    context()
                );
            }
            match row.verdict {
                Verdict::Redirect => {}
                Verdict::Pass => {
                    ensure!(run.bytes == frame, context());
                    continue;
                }
                // Nobody sees what is left of it.
                _ => continue,
            }
            let (meta, rest) = run.split_meta(frame.len()).with_context(context)?;
            let meta = RxMeta::read_from_bytes(meta).ok().context("metadata")?;
            let class = dag.eval(&frame).leaf.0;
            ensure!(rest == frame && meta.magic == MAGIC && meta.id == TARGET.id, context());
            ensure!(meta.class == class && meta.class_gen == class_gen, "{meta:?}, not class {class}");
        }
    }
    slot.clear()?;
    let frame = frame(7);
    let run = Input::new(&frame).run(loaded.program(PROG_INGRESS)?)?;
    let (meta, _) = run.split_meta(frame.len()).context("metadata")?;
    let meta = RxMeta::read_from_bytes(meta).ok().context("metadata")?;
    ensure!(meta.class().is_none(), "a class without a header program: {meta:?}");
    Ok(())
}

#[test]
fn rt05_scope_steered_judges_only_what_is_claimed() -> Result<()> {
    check(
        "rt05_steered",
        Scope::Steered,
        &[
            wanted(7, Verdict::Redirect, XdpCounter::Redirect, Counter::Rule(0)),
            wanted(8, Verdict::Drop, XdpCounter::RulerReject, Counter::Rule(1)),
            wanted(9, Verdict::Pass, XdpCounter::RulerPass, Counter::Rule(2)),
            wanted(10, Verdict::Pass, XdpCounter::PassMiss, Counter::Rule(4)),
            wanted(11, Verdict::Pass, XdpCounter::PassMiss, Counter::Rule(3)),
        ],
    )
}

#[test]
fn rt05_scope_interface_judges_the_os_stacks_frames_too() -> Result<()> {
    check(
        "rt05_interface",
        Scope::Interface,
        &[
            wanted(7, Verdict::Redirect, XdpCounter::Redirect, Counter::Rule(0)),
            wanted(8, Verdict::Drop, XdpCounter::RulerReject, Counter::Rule(1)),
            wanted(9, Verdict::Pass, XdpCounter::RulerPass, Counter::Rule(2)),
            wanted(10, Verdict::Drop, XdpCounter::RulerReject, Counter::Rule(4)),
            wanted(11, Verdict::Pass, XdpCounter::PassMiss, Counter::Rule(3)),
        ],
    )
}

/// The filter's whole program in a chain, and what is to be of the frame to port 7.
fn with_case(chain: &Chain, each: impl FnOnce(&Case<'_>, Expected) -> Result<()>) -> Result<()> {
    let filter = filter();
    let dag = Dag::build(&filter, &Limits::default());
    let settings = Settings { scope: Scope::Steered, pass: PASS, class_gen: GENERATION };
    let (case, _) = chain.case(&filter, &dag, settings)?;
    let expected = case.expected(dag.eval(&frame(7)).leaf);
    each(&case, expected)
}

#[test]
fn rt05_without_steer_a_frame_passes_as_it_came_and_is_counted() -> Result<()> {
    let Some(_lab) = lab::require("rt05_missed", &[Need::Bpf])? else { return Ok(()) };
    let chain = Chain::broken()?;
    with_case(&chain, |case, expected| {
        let missed =
            Expected { verdict: Verdict::Pass, books: Some(XdpCounter::JumpMissed), class: None, ..expected };
        let frame = frame(7);
        case.moves(&Input::new(&frame), &case.header, missed)?;
        // A driver's metadata are not ours to remove.
        let input = Input { metadata: &[9; 16], ..Input::new(&frame) };
        case.moves(&input, &case.header, missed)
    })
}

#[test]
fn rt05_a_drivers_own_metadata_stay_and_no_class_is_handed_over() -> Result<()> {
    let Some(_lab) = lab::require("rt05_drivers", &[Need::Bpf])? else { return Ok(()) };
    let chain = Chain::new()?;
    with_case(&chain, |case, expected| {
        for length in [4, 16, 32] {
            let metadata = vec![9; length];
            let frame = frame(7);
            let input = Input { metadata: &metadata, ..Input::new(&frame) };
            case.moves(&input, &case.header, Expected { class: None, ..expected })?;
        }
        Ok(())
    })
}

#[test]
fn rt05_where_there_is_no_room_for_metadata_no_class_is_handed_over() -> Result<()> {
    let Some(_lab) = lab::require("rt05_cramped", &[Need::Bpf])? else { return Ok(()) };
    let chain = Chain::new()?;
    with_case(&chain, |case, _| {
        let cramped = chain.cramped(&case.header)?;
        let frame = frame(7);
        let before = case.rules.read()?;
        let run = Input::new(&frame).run_header(&cramped)?;
        ensure!(run.verdict == Verdict::Tx, "{run:x?}");
        ensure!(run.bytes.len() == frame.len() + usize::try_from(CRAMPED)?, "no metadata: {run:x?}");
        ensure!(run.bytes.ends_with(&frame), "{run:x?}");
        let moved: u64 = case.rules.read()?.iter().sum::<u64>() - before.iter().sum::<u64>();
        ensure!(moved == 1, "{moved} decisions counted");
        Ok(())
    })
}
