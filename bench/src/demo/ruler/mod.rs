//! The demo of Ruler: filters on an interface and before targets, replaced while packets flow, beside the OS stack.
//!
//! What is attached are programs in files, by `octroi ruler run`; what they did is what `octroi ruler list` and `octroi
//! stats` say, held against what was sent and what came back.
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{
    scene::{INSTANCE, Scene},
    stopped::Stopped,
};
use crate::report::demo::{Check, DemoReport};

mod counts;
mod filters;
mod judged;
mod marked;
mod mixture;
mod os;
mod plain;
mod replaced;
mod veiled;
mod wire;

use filters::Files;

/// An echo and a sink behind the interface's filter.
const ECHO: u16 = 7;
const SINK: u16 = 9;
/// A sink whose own filter rejects worms: the port that SQL Slammer came to.
const SLAMMED: u16 = 1434;
/// An echo whose own filter anonymises.
const VEILED: u16 = 7007;
/// Ports of the OS stack: one that the interface's filter leaves alone, one that it closes.
const OS_OPEN: u16 = 5000;
const OS_CLOSED: u16 = 5001;

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

[[target]]
kind = "sink"
proto = "udp"
addr = "any"
port = 1434

[[target]]
kind = "echo"
proto = "udp"
addr = "any"
port = 7007
"#;

const DRAWING: &str = "
    namespace peer                namespace served
                                      ┌─ OS stack: ping, TCP, UDP 5000, 5001
    frames, ──── veth ─── XDP: header ┤           ┌─ UDP 7     echo
    OS sockets            program of  └─ octroid: ┼─ UDP 9     sink
                          `gate`         rest of  ┼─ UDP 1434  `signatures`, sink
                                         `gate`   └─ UDP 7007  `veil`, echo
";

/// Runs the demo.
///
/// # Errors
/// The network cannot be made, the daemon does not start or answer, or it refuses a filter.
pub fn run(hold: Duration, say: &dyn Fn(&str)) -> Result<DemoReport> {
    let stopped = Stopped::watch()?;
    say("two namespaces, a veth pair, octroid on one end");
    let mut scene = Scene::new(CONFIG)?;
    let files = Files::write()?;
    say(DRAWING);
    let mut checks = Vec::new();
    say("without a filter");
    plain::run(&mut scene, "without a filter", &mut checks)?;
    say("three filters: rejected in XDP, rejected by a worker, shortened, anonymised");
    judged::run(&mut scene, &files, &mut checks)?;
    say(
        "the interface's filter is replaced a hundred times under load, while ping and TCP of the OS use the same address",
    );
    replaced::run(&mut scene, &files, &mut checks)?;
    say("filters are taken away");
    detach(&scene, &mut checks)?;
    plain::run(&mut scene, "detached", &mut checks)?;
    if !hold.is_zero() {
        files.attach_gate(&scene)?;
        say(&advice(&scene, &files, hold));
        stopped.or_after(hold)?;
    }
    let books = scene.at_rest()?;
    let down = scene.down();
    let found = down.as_ref().map_or_else(|error| format!("{error:#}"), |()| "nothing left".to_owned());
    checks.push(Check::new("octroi down leaves nothing", down.is_ok(), found, "nothing left"));
    Ok(DemoReport::new(checks, books.into()))
}

/// Takes every filter away.
fn detach(scene: &Scene, checks: &mut Vec<Check>) -> Result<()> {
    let (slammed, veiled) = (judged::target(scene, SLAMMED)?, judged::target(scene, VEILED)?);
    for at in [["--port", &scene.pair.served.ifname], ["--target", &slammed], ["--target", &veiled]] {
        filters::detach(scene, at).with_context(|| format!("detaching from {}", at[1]))?;
    }
    let left = filters::list(scene)?.len() as u64;
    checks.push(Check::equal("detached, filters in octroi ruler list", left, 0_u64));
    Ok(())
}

fn advice(scene: &Scene, files: &Files, hold: Duration) -> String {
    let (peer, addr) = (scene.pair.peer.netns.name(), scene.pair.served.v4);
    let gate = files.program(filters::GATE);
    let gate = gate.display();
    format!(
        "standing for {} s, with the interface's filter attached again; Ctrl-C ends it. Try
    octroi --instance {INSTANCE} ruler list
    ip netns exec {peer} bash -c 'echo x > /dev/udp/{addr}/5001'    # rejected in XDP, by rule 1
    octroi --instance {INSTANCE} ruler run {gate} --port served0 --scope interface   # after editing it",
        hold.as_secs()
    )
}
