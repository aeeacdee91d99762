//! The demo of the road: packets from a wire, through XDP and AF_XDP, on microengines, beside the OS stack.
//!
//! ```text
//!   namespace peer                          namespace served
//!   octroi-pktgen, ping, TCP   ── veth ──   octroid: UDP 7 echo, UDP 9 sink; all else is the OS stack's
//! ```
use std::time::Duration;

use anyhow::Result;
use client::control::{
    answer::{DoctorRow, Health},
    status::{Books, Status},
};
use octroi_tests::lab::os;

use super::{
    scene::{INSTANCE, Scene},
    stopped::Stopped,
    traffic,
};
use crate::{
    report::{
        demo::{Check, DemoReport},
        table::{figure, time_ns},
    },
    traffic::size::FrameSize,
};

const ECHO: u16 = 7;
const SINK: u16 = 9;

/// Echo requests of each demo.
const ROUND_TRIPS: u64 = 20_000;
/// How long the sink is flooded at each size.
const FLOOD: Duration = Duration::from_secs(1);
/// Frame sizes as RFC 2544 counts them, with the FCS: 60, 508 and 1514 bytes on a veth.
const SIZES: [u16; 3] = [64, 512, 1518];

const CONFIG: &str = r#"
engine = { layout = "run-to-completion", cores = [0], idle = "adaptive" }

[[interface]]
name = "served0"
mode = "native"
copy = "copy"

[[target]]
kind = "echo"
proto = "udp"
addr = "any"
port = 7

[[target]]
kind = "sink"
proto = "udp"
addr = "any"
port = 9
"#;

/// Runs the demo.
///
/// # Errors
/// The network cannot be made, or the daemon does not start or answer.
pub fn run(hold: Duration, say: &dyn Fn(&str)) -> Result<DemoReport> {
    let stopped = Stopped::watch()?;
    say("two namespaces, a veth pair, octroid on one end");
    let mut scene = Scene::new(CONFIG)?;
    let mut checks = Vec::new();
    say("UDP packets there and back, while ping and TCP use the same address");
    echo(&mut scene, &mut checks)?;
    for size in SIZES {
        say(&format!("as many {size}-byte frames as the kernel can make, into the sink"));
        flood(&mut scene, &mut checks, FrameSize::new(size)?)?;
    }
    say("what octroi says of it");
    checks.extend([doctor(&scene), status(&scene)]);
    if !hold.is_zero() {
        say(&format!(
            "standing for {} s; try `octroi --instance {INSTANCE} status`, `top`, `stats`, `doctor`; Ctrl-C ends it",
            hold.as_secs()
        ));
        stopped.or_after(hold)?;
    }
    let books = scene.at_rest()?;
    checks.push(Check::equal("jump chain never broken", dropped(&books, "xdp.jump_missed"), 0_u64));
    let down = scene.down();
    let found = down.as_ref().map_or_else(|error| format!("{error:#}"), |()| "nothing left".to_owned());
    checks.push(Check::new("octroi down leaves nothing", down.is_ok(), found, "nothing left"));
    Ok(DemoReport::new(checks, books.into()))
}

/// Round trips through Octroi, with the OS stack at work beside them.
fn echo(scene: &mut Scene, checks: &mut Vec<Check>) -> Result<()> {
    let before = scene.at_rest()?;
    let pair = &scene.pair;
    let size = FrameSize::new(64)?;
    let beside = os::beside_legacy(pair, || traffic::echo(pair, ECHO, size, ROUND_TRIPS));
    let ((sent, outcome), exchanges) = match beside {
        Ok(done) => done,
        Err(error) => {
            checks.push(Check::new(
                "OS stack beside it",
                false,
                format!("{error:#}"),
                "every ping and TCP byte",
            ));
            return Ok(());
        }
    };
    let after = scene.at_rest()?;
    checks.push(Check::equal("echo: frames sent", sent.sent, ROUND_TRIPS));
    checks.push(Check::equal("echo: frames lost", outcome.lost, 0_u64));
    checks.push(Check::equal("echo: frames damaged", outcome.tally.corrupt, 0_u64));
    checks.push(Check::equal(
        "echo: sent back, by the daemon's count",
        after.transmitted - before.transmitted,
        ROUND_TRIPS,
    ));
    let latency = outcome.latency;
    for (name, ns) in [
        ("p50", latency.p50_ns),
        ("p99", latency.p99_ns),
        ("p99.9", latency.p99_9_ns),
        ("max", latency.max_ns),
    ] {
        checks.push(Check::shown(format!("echo: round trip {name}"), time_ns(ns)));
    }
    checks.push(Check::at_least(
        "OS stack beside it: pings and TCP exchanges answered",
        exchanges as f64,
        1.0,
    ));
    Ok(())
}

/// The rate that the sink takes when it is offered more, and where the rest went.
///
/// Without legacy traffic beside it: a veth that is flooded loses frames before XDP sees them, whosever they are.
fn flood(scene: &mut Scene, checks: &mut Vec<Check>, size: FrameSize) -> Result<()> {
    let before = scene.at_rest()?;
    let pair = &scene.pair;
    let sent = traffic::flood(pair, SINK, size, FLOOD)?;
    let after = scene.at_rest()?;
    let bytes = size.bytes();
    let delivered = after.delivered - before.delivered;
    let lost_in_rings: u64 = ["xsk_ring_full", "xsk_no_buffer"]
        .iter()
        .map(|reason| dropped(&after, reason) - dropped(&before, reason))
        .sum();
    checks.push(Check::new(
        format!("sink at {bytes} B: packets a second"),
        0 < delivered,
        format!("{} of {} offered", figure(delivered as f64 / sent.duration_s), figure(sent.rate_pps)),
        "> 0",
    ));
    checks.push(Check::new(
        format!("sink at {bytes} B: every frame that reached XDP is accounted for"),
        delivered + lost_in_rings <= sent.sent,
        format!("{delivered} delivered, {lost_in_rings} lost in full rings, {} sent", sent.sent),
        "no more than were sent",
    ));
    Ok(())
}

/// `octroi doctor --json`, run as a user would.
fn doctor(scene: &Scene) -> Check {
    let name = "octroi doctor: nothing fails";
    match scene.ask::<Vec<DoctorRow>>("doctor") {
        Ok(rows) => {
            let failed = rows.iter().filter(|row| row.status == Health::Fail).count();
            Check::new(name, failed == 0, format!("{failed} of {} checks fail", rows.len()), "0")
        }
        Err(error) => Check::new(name, false, format!("{error:#}"), "0"),
    }
}

/// `octroi status --json`, run as a user would.
fn status(scene: &Scene) -> Check {
    let name = "octroi status: served";
    match scene.ask::<Status>("status") {
        Ok(status) => {
            let row = |row: &client::control::status::InterfaceRow| {
                format!("{}, {}, {}", row.state, row.mode, row.copy)
            };
            let found = status.interfaces.iter().map(row).collect::<Vec<_>>().join("; ");
            Check::equal(name, found, "served, native, copy".to_owned())
        }
        Err(error) => Check::new(name, false, format!("{error:#}"), "served, native, copy"),
    }
}

fn dropped(books: &Books, reason: &str) -> u64 {
    books.dropped.get(reason).copied().unwrap_or(0)
}
