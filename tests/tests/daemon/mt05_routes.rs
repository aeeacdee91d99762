//! Packets of applications on the kernel's ways: rules, tables, several hops, and routes that lead nowhere.
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use client::control::{
    answer::{DoctorRow, Health},
    request::Doctor,
};
use octroi_tests::lab::{self, App, Config, Flow, Mac, Reading, Served, Tap};

use crate::{
    NEEDS,
    stacks::{app, served},
};

const PORT: u16 = 5001;

/// Routers on the wire, by their MAC addresses: which of them gets a packet says which way it went.
const ROUTERS: [(&str, Mac); 3] = [
    ("10.77.0.201", Mac([2, 0, 0, 0, 1, 1])),
    ("10.77.0.202", Mac([2, 0, 0, 0, 1, 2])),
    ("fd77::203", Mac([2, 0, 0, 0, 1, 3])),
];

/// A second address of the served end.
const OTHER: &str = "10.77.0.22";

struct Lab {
    served: Served,
    app: App,
    tap: Tap,
    sent: u64,
}

impl Lab {
    fn new() -> Result<Self> {
        let served = served(&Config::default())?;
        let end = &served.pair.served;
        end.run(&format!("ip addr add {OTHER}/24 dev {}", end.ifname))?;
        for (addr, mac) in ROUTERS {
            end.run(&format!("ip neigh replace {addr} lladdr {mac} dev {} nud permanent", end.ifname))?;
        }
        let mut app = app(&served)?;
        app.udp(PORT)?;
        let tap = Tap::open(&served.pair.peer)?;
        Ok(Self { served, app, tap, sent: 0 })
    }

    fn run(&self, line: &str) -> Result<()> {
        let line = line.replace("DEV", &self.served.pair.served.ifname);
        self.served.pair.served.run(&line).map(drop)
    }

    /// Where a packet from `from` to `to` ends: at a router, by its last number, or under a counter.
    fn way(&mut self, from: &str, to: &str) -> Result<String> {
        let flow = Flow {
            from_mac: self.served.pair.served.mac,
            to_mac: Mac([0; 6]),
            from: (from.parse::<IpAddr>()?, PORT).into(),
            to: (to.parse::<IpAddr>()?, 9).into(),
        };
        self.sent += 1;
        let mark = format!("way {}", self.sent);
        let before = self.served.drain()?;
        self.app.send(&flow.udp(&[], mark.as_bytes())?[14..])?;
        let submitted = before.sum("submitted");
        lab::until("it is judged", || {
            Ok(Reading::of(&mut self.served.daemon)?.sum("submitted") == submitted + 1)
        })?;
        let after = self.served.drain()?;
        let moves = after.moves(&before);
        let lost = moves.keys().find(|name| name.starts_with("tx_"));
        if let Some(lost) = lost {
            return Ok((*lost).to_owned());
        }
        let frame = self.frame_with(mark.as_bytes())?;
        let router = ROUTERS.iter().find(|(_, mac)| frame.starts_with(&mac.0));
        Ok(router.map_or_else(|| format!("{:02x?}", &frame[..6]), |(addr, _)| (*addr).to_owned()))
    }

    fn frame_with(&self, mark: &[u8]) -> Result<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let frame = self.tap.receive(deadline)?.context("it was sent, and is not on the wire")?;
            if frame.ends_with(mark) {
                return Ok(frame);
            }
        }
    }

    /// Waits until packets go this way, as they do a moment after the kernel's routes changed.
    fn until_way(&mut self, from: &str, to: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let met = lab::until("packets go that way", || {
            last = self.way(from, to)?;
            Ok(last == wanted)
        });
        ensure!(met.is_ok(), "from {from} to {to}: wanted {wanted}, went {last}");
        Ok(())
    }

    fn doctor(&mut self) -> Result<Vec<DoctorRow>> {
        let rows = self.served.daemon.control().pages::<Doctor>()?.into_iter().flat_map(|page| page.rows);
        Ok(rows.filter(|row| row.id.starts_with("route.")).collect())
    }

    fn finish(self) -> Result<()> {
        self.run(&format!("ip addr del {OTHER}/24 dev DEV"))?;
        drop(self.app);
        self.served.finish()
    }
}

#[test]
fn mt05_rules_lead_each_source_by_its_own_table() -> Result<()> {
    let Some(_lab) = lab::require("mt05_rules_lead_each_source_by_its_own_table", NEEDS)? else {
        return Ok(());
    };
    let mut lab = Lab::new()?;
    let [one, two, six] = ROUTERS.map(|(addr, _)| addr);
    let own = lab.served.pair.served.v4.to_string();
    let own6 = lab.served.pair.served.v6.to_string();
    lab.run(&format!("ip route add default via {one} dev DEV"))?;
    lab.run(&format!("ip -6 route add default via {six} dev DEV"))?;
    lab.until_way(&own, "203.0.113.1", one)?;
    assert_eq!(lab.way(OTHER, "203.0.113.1")?, one);
    assert_eq!(lab.way(&own6, "2001:db8::1")?, six);
    // As a host with two providers has it.
    lab.run(&format!("ip route add default via {two} dev DEV table 300"))?;
    lab.run("ip route add blackhole 203.0.113.64/26 table 300")?;
    lab.run("ip route add throw 203.0.113.128/26 table 300")?;
    lab.run(&format!("ip rule add from {OTHER} lookup 300"))?;
    lab.until_way(OTHER, "203.0.113.1", two)?;
    for (from, to, wanted) in [
        (own.as_str(), "203.0.113.1", one),
        (OTHER, "203.0.113.65", "tx_no_route"),
        (&own, "203.0.113.65", one),
        (OTHER, "203.0.113.129", one),
    ] {
        assert_eq!(lab.way(from, to)?, wanted, "from {from} to {to}");
    }
    let fine = lab.doctor()?;
    ensure!(fine.len() == 1 && fine[0].status == Health::Ok, "{fine:?}");
    // Rules by destination, for packets with a mark, and for those that come in elsewhere.
    lab.run("ip rule add to 198.51.100.0/24 prohibit pref 50")?;
    lab.run("ip rule add fwmark 7 blackhole pref 40")?;
    lab.run("ip rule add iif DEV blackhole pref 41")?;
    lab.until_way(&own, "198.51.100.1", "tx_no_route")?;
    assert_eq!(lab.way(&own, "198.51.101.1")?, one);
    lab.run("ip rule del pref 50")?;
    lab.until_way(&own, "198.51.100.1", one)?;
    lab.finish()
}

#[test]
fn mt05_a_rule_that_is_not_followed_is_said() -> Result<()> {
    let Some(_lab) = lab::require("mt05_a_rule_that_is_not_followed_is_said", NEEDS)? else { return Ok(()) };
    let mut lab = Lab::new()?;
    let [one, ..] = ROUTERS.map(|(addr, _)| addr);
    let own = lab.served.pair.served.v4.to_string();
    lab.run(&format!("ip route add default via {one} dev DEV"))?;
    lab.until_way(&own, "203.0.113.1", one)?;
    lab.run("ip rule add uidrange 0-0 blackhole pref 77")?;
    let line = "stacks do not follow routing rule 77: it looks at the user who sends";
    lab::until("it is said", || Ok(lab.served.daemon.status()?.head.warnings.iter().any(|w| w == line)))?;
    let rows = lab.doctor()?;
    ensure!(
        rows.len() == 1
            && rows[0].id == "route.rules"
            && rows[0].status == Health::Warn
            && rows[0].detail == line,
        "{rows:?}"
    );
    let log = lab.served.daemon.log();
    ensure!(log.lines().filter(|l| l.contains(line) && l.contains("route.rules")).count() == 1, "{log}");
    assert_eq!(lab.way(&own, "203.0.113.1")?, one, "it is passed over");
    lab.run("ip rule del pref 77")?;
    lab::until("all is well", || Ok(lab.served.daemon.status()?.head.warnings.is_empty()))?;
    lab.finish()
}

#[test]
fn mt05_routes_that_lead_nowhere_and_by_several_hops() -> Result<()> {
    let Some(_lab) = lab::require("mt05_routes_that_lead_nowhere_and_by_several_hops", NEEDS)? else {
        return Ok(());
    };
    let mut lab = Lab::new()?;
    let [one, two, six] = ROUTERS.map(|(addr, _)| addr);
    let own = lab.served.pair.served.v4.to_string();
    let own6 = lab.served.pair.served.v6.to_string();
    lab.run(&format!("ip route add default via {one} dev DEV"))?;
    lab.run("ip route add blackhole 203.0.113.0/28")?;
    lab.run("ip route add unreachable 203.0.113.16/28")?;
    lab.run("ip route add prohibit 203.0.113.32/28")?;
    lab.run("ip -6 route add unreachable 2001:db8:1::/48")?;
    // For other sources than ours.
    lab.run(&format!("ip -6 route add 2001:db8:2::/48 from fd99::/64 via {six} dev DEV"))?;
    lab.run("ip -6 route add unreachable 2001:db8:2::/47 metric 1")?;
    lab.run("ip route add local 203.0.113.48/28 dev lo")?;
    // By a device that is not served there is no way for a stack, whatever the metric says.
    lab.run("ip route add 203.0.113.64/28 dev lo metric 1")?;
    lab.run(&format!("ip route add 203.0.113.64/28 via {two} dev DEV metric 2"))?;
    lab.run(&format!("ip route add 198.51.100.0/24 nexthop via {two} dev DEV nexthop via {one} dev DEV"))?;
    lab.until_way(&own, "198.51.100.1", two)?;
    for (to, wanted) in [
        ("203.0.113.1", "tx_no_route"),
        ("203.0.113.17", "tx_no_route"),
        ("203.0.113.33", "tx_no_route"),
        ("203.0.113.49", "tx_no_route"),
        ("203.0.113.65", two),
        ("203.0.113.81", one),
        ("198.51.100.200", two),
    ] {
        assert_eq!(lab.way(&own, to)?, wanted, "to {to}");
    }
    for to in ["2001:db8:1::1", "2001:db8:2::1"] {
        assert_eq!(lab.way(&own6, to)?, "tx_no_route", "to {to}");
    }
    // What goes is gone, and what is made anew counts.
    lab.run("ip route del blackhole 203.0.113.0/28")?;
    lab.until_way(&own, "203.0.113.1", one)?;
    lab.run(&format!("ip route replace 198.51.100.0/24 via {one} dev DEV"))?;
    lab.until_way(&own, "198.51.100.1", one)?;
    lab.finish()
}
