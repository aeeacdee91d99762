//! An application without privileges that sends in everybody's name, and what of it arrives.
use std::{collections::BTreeMap, process::Stdio, time::Instant};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{Tap, User};

use super::household::OTHERS;
use crate::{demo::scene::Scene, report::demo::Check};

/// Packets of each lie.
const EACH: u64 = 1000;

/// Where the lies go: nobody listens there.
const DISCARD: u16 = 9;

/// The reasons for which lies are refused, and how many of `octroi-spoof`'s lies are refused for each.
const REFUSED: [(&str, u64); 7] = [
    ("tx_not_owner", 6),
    ("tx_local_os", 1),
    ("tx_destination", 1),
    ("tx_fragment", 1),
    ("tx_protocol", 1),
    ("tx_malformed", 1),
    ("tx_desc", 1),
];

/// Lets `octroi-spoof` lie, counts at the peer what arrives, and reads in the books why the rest did not.
pub(super) fn lies(scene: &mut Scene, checks: &mut Vec<Check>) -> Result<()> {
    let before = scene.at_rest()?;
    let (own, peer) = (scene.pair.served.v4, scene.pair.peer.v4);
    let user = User::new(OTHERS)?;
    let mut command = user.command("octroi-spoof")?;
    command.arg("--control").arg(&scene.socket);
    command.args(["--listen", &format!("{own}:6000"), "--to", &format!("{peer}:{DISCARD}")]);
    command.args(["--count", &EACH.to_string()]);
    for victim in ["tcp/8080", "tcp/80", "udp/53", "udp/7"] {
        let (proto, port) = victim.split_once('/').context("a victim has a port")?;
        command.args(["--victim", &format!("{proto}/{own}:{port}")]);
    }
    let tap = Tap::open(&scene.pair.peer)?;
    let output = scene.pair.served.netns.spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
    let output = output.wait_with_output()?;
    ensure!(output.status.success(), "octroi-spoof: {}", String::from_utf8_lossy(&output.stderr));
    let after = scene.at_rest()?;

    let (mut true_ones, mut lies) = (0_u64, 0_u64);
    while let Some(frame) = tap.receive(Instant::now())? {
        // IPv4 without options, from the application's own address and port.
        let honest =
            frame.get(26..30) == Some(&own.octets()) && frame.get(34..36) == Some(&6000_u16.to_be_bytes());
        *if honest { &mut true_ones } else { &mut lies } += 1;
    }
    let sent = EACH * REFUSED.iter().map(|(_, lies)| lies).sum::<u64>();
    checks.push(Check::equal(format!("of {sent} spoofed packets, delivered at the peer"), lies, 0_u64));
    checks.push(Check::equal("of 1 true packet of the same application", true_ones, 1_u64));
    let difference = |reason: &str| {
        let at = |books: &BTreeMap<String, u64>| books.get(reason).copied().unwrap_or(0);
        at(&after.dropped) - at(&before.dropped)
    };
    for (reason, lies) in REFUSED {
        checks.push(Check::equal(format!("refused as {reason}"), difference(reason), EACH * lies));
    }
    Ok(())
}
