//! `http_{1,8,16,32}k_vs_{ostcp,nginx}`: objects a second over TCP, a connection for each.
//!
//! All three servers are there at once, on one address and one wire: `octroi-http` on smoltcp over Octroi, `octroi-http-os`
//! with the same conversation on the OS's TCP, and nginx. wrk asks from the other end of the wire. There is no limit: the
//! rows say how a stack of one's own compares, not how it should. The wire is as octroid needs it, so that no server has
//! help from segmentation or checksum offloads. What [`SERVER`] and [`ASKER`] say of the kernel's TCP holds whatever the
//! machine's defaults are.
use anyhow::{Result, ensure};
use octroi_tests::lab::Service;

use crate::{
    demo::{
        scene::Scene,
        stacks::{
            CONFIG,
            household::{HTTP, Household, NGINX, SIZES, Server, on_os},
        },
    },
    peer::wrk,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
};

/// The server of the same code on the OS's TCP.
const OS_TCP: Server = Server { name: "octroi-http-os", port: 8081 };

/// Reno, which every kernel has and every namespace may choose: some machines have BBR by default, whose pacing costs a
/// third where a round trip takes microseconds.
const SERVER: [(&str, &str); 1] = [("ipv4/tcp_congestion_control", "reno")];
/// The same, and ports that can be used again: where the asking end closes first, they are kept for a minute, and a run
/// of a few seconds uses up all of them. Then every connection searches in vain for one, and the server waits.
const ASKER: [(&str, &str); 3] =
    [SERVER[0], ("ipv4/tcp_tw_reuse", "1"), ("ipv4/ip_local_port_range", "1024 65535")];

/// One thread, connections in turns, and a new one for each request.
const WRK: [&str; 5] = ["-t1", "-c16", "-d1s", "-H", "Connection: close"];

/// Measures the table.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let servers = Servers::start()?;
    for kib in SIZES {
        let ours = || servers.rate(HTTP, kib);
        for (name, other) in [("ostcp", OS_TCP), ("nginx", NGINX)] {
            let pairs = interleaved(runs, Better::Higher, ours, || servers.rate(other, kib))?;
            rows.extend(Row::paired(format!("http_{kib}k_vs_{name}"), "requests/s", other.name, &pairs));
        }
    }
    servers.end()
}

/// Three servers of the same objects on one address.
struct Servers {
    scene: Scene,
    house: Household,
    os: Service,
}

impl Servers {
    fn start() -> Result<Self> {
        let scene = Scene::new(CONFIG)?;
        scene.let_everybody_in()?;
        // Before the servers: a listener keeps what it was made with.
        for (end, settings) in [(&scene.pair.served, &SERVER[..]), (&scene.pair.peer, &ASKER)] {
            settings.iter().try_for_each(|(name, value)| end.netns.sysctl(name, value))?;
        }
        let house = Household::start(&scene)?;
        let os = on_os(&scene, OS_TCP)?;
        Ok(Self { scene, house, os })
    }

    /// Objects a second in one run, every one of them fetched whole.
    fn rate(&self, server: Server, kib: u16) -> Result<f64> {
        let Scene { pair, .. } = &self.scene;
        let url = format!("http://{}:{}/{kib}k", pair.served.v4, server.port);
        let words: Vec<&str> = WRK.iter().copied().chain([url.as_str()]).collect();
        let said = wrk::run(&pair.peer, &words)?;
        ensure!(said.failures.is_empty(), "{}, {kib} KiB: {}", server.name, said.failures);
        Ok(said.rate)
    }

    fn end(self) -> Result<()> {
        self.os.stop()?;
        self.house.end()?;
        self.scene.down()
    }
}
