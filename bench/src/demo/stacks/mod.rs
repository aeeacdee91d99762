//! The demo of stacks: an OS server and three applications with stacks of their own, on one address.
//!
//! The applications are those of `examples/`, the configuration is `examples/shared-address.toml`, and those who talk to
//! them are curl, dig and wrk. A fourth application lies about who it is, and is not heard.
use std::{net::Ipv4Addr, time::Duration};

use anyhow::Result;
use client::control::stack::StackRow;
use octroi_tests::lab::{os, user::is_powerless};

use super::{
    scene::{INSTANCE, Scene},
    stopped::Stopped,
};
use crate::report::demo::{Check, DemoReport};

mod guests;
pub(crate) mod household;
mod liar;

use household::{Household, SIZES};

/// The very file that a reader would copy.
pub(crate) const CONFIG: &str = include_str!("../../../../examples/shared-address.toml");

/// Runs the demo.
///
/// # Errors
/// The network cannot be made, or a program of it does not start.
pub fn run(hold: Duration, say: &dyn Fn(&str)) -> Result<DemoReport> {
    let stopped = Stopped::watch()?;
    say("two namespaces, a veth pair, octroid on one end");
    let mut scene = Scene::new(CONFIG)?;
    scene.let_everybody_in()?;
    say(&drawing(scene.pair.served.v4));
    let house = Household::start(&scene)?;
    let mut checks = who_is_there(&scene, &house)?;

    say("curl fetches from a user stack and from nginx, dig asks, datagrams go there and back");
    for (kib, server) in
        SIZES.into_iter().flat_map(|kib| [household::HTTP, household::NGINX].map(|server| (kib, server)))
    {
        checks.push(guests::fetch(&scene, &house, "curl", server, kib)?);
    }
    guests::dig(&scene, &mut checks)?;
    guests::echo(&scene, &mut checks)?;

    say("wrk loads the user stack, while ping and TCP of the OS use the same address");
    let beside = os::beside_legacy(&scene.pair, || guests::load(&scene, &mut checks));
    checks.push(match beside {
        Ok(((), exchanges)) => {
            Check::at_least("OS stack beside it: pings and TCP exchanges answered", exchanges as f64, 1.0)
        }
        Err(why) => Check::new("OS stack beside it", false, format!("{why:#}"), "every ping and TCP byte"),
    });

    say("an application without privileges sends in everybody's name");
    liar::lies(&mut scene, &mut checks)?;
    checks.push(guests::fetch(&scene, &house, "after the lies, curl", household::HTTP, SIZES[0])?);

    if !hold.is_zero() {
        say(&advice(&scene, hold));
        stopped.or_after(hold)?;
    }
    checks.push(Check::equal(
        "applications that end cleanly on SIGTERM",
        house.end()?,
        household::APPLICATIONS,
    ));
    let books = scene.at_rest()?;
    let down = scene.down();
    let found = down.as_ref().map_or_else(|error| format!("{error:#}"), |()| "nothing left".to_owned());
    checks.push(Check::new("octroi down leaves nothing", down.is_ok(), found, "nothing left"));
    Ok(DemoReport::new(checks, books.into()))
}

/// Who has which tuple, and that nobody needs a privilege for it.
fn who_is_there(scene: &Scene, house: &Household) -> Result<Vec<Check>> {
    let mut rows = scene.ask_in::<Vec<StackRow>>(&["stack", "list"])?;
    rows.sort_by_key(|row| row.port);
    let rows: Vec<String> = rows.iter().map(|row| format!("{} {}", row.proto, row.port)).collect();
    let mut powerless = 0_u64;
    for application in house.applications() {
        powerless += u64::from(is_powerless(application.pid())?);
    }
    Ok(vec![
        Check::equal("tuples on the address of nginx", rows.join(", "), "udp 7, udp 53, tcp 8080"),
        Check::equal("applications without any capability", powerless, household::APPLICATIONS),
    ])
}

fn drawing(addr: Ipv4Addr) -> String {
    format!(
        "
    namespace peer                       namespace served: {addr}
                                          ┌─ OS stack ─── nginx :80, ping
    curl, dig, wrk, ping ──── veth ── XDP ┤          ┌─ octroi-http :8080   user 60080, smoltcp
                                          └─ octroid ┼─ octroi-dns    :53   user 60053, smoltcp
                                                     └─ octroi-echo    :7   user 60007, raw rings
"
    )
}

fn advice(scene: &Scene, hold: Duration) -> String {
    let (peer, addr) = (scene.pair.peer.netns.name(), scene.pair.served.v4);
    format!(
        "standing for {} s; Ctrl-C ends it. Try
    ip netns exec {peer} curl -s http://{addr}:8080/8k | sha256sum     # and without :8080, from nginx
    ip netns exec {peer} dig @{addr} www.octroi.test
    octroi --instance {INSTANCE} stack list    # or stack stats, status, stats, top",
        hold.as_secs()
    )
}
