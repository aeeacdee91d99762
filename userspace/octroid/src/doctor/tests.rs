//! The checks: what they read, and that every finding that is not well says what to do.
use std::collections::BTreeSet;

use super::*;
use crate::config::{self, mistake::Source, settings::Overrides};

fn settings(text: &str) -> Settings {
    config::parse(&Source { path: Path::new("octroid.toml"), text }, &Overrides::default()).unwrap()
}

#[test]
fn versions_are_read() {
    assert_eq!(host::parse_version("6.18.3-cloud"), Some((6, 18)));
    assert_eq!(host::parse_version("5.4"), Some((5, 4)));
    assert_eq!(host::parse_version("six"), None);
}

#[test]
fn softirqs_are_read() {
    let text = "                    CPU0       CPU1\n          HI:          1          0\n      NET_RX:      12345         67\n";
    assert_eq!(softirq::net_rx(text), [12345, 67]);
    assert_eq!(softirq::net_rx(""), [0_u64; 0]);
}

#[test]
fn memory_is_read() {
    let text = "MemTotal:       100 kB\nMemAvailable:   42 kB\nHugePages_Free:    3\n";
    assert_eq!(host::meminfo(text, "MemAvailable:"), Some(42));
    assert_eq!(host::meminfo(text, "HugePages_Free:"), Some(3));
    assert_eq!(host::meminfo(text, "Swap:"), None);
}

#[test]
fn every_finding_that_is_not_well_has_a_fix() {
    let settings = settings("[[interface]]\nname = \"lo\"\n[[interface]]\nname = \"octroi-none\"\n");
    let rows =
        examine(&Case { settings: Some(&settings), ours: &BTreeMap::new(), pins: Path::new("/nowhere") });
    for row in &rows {
        assert_eq!(row.fix.is_some(), row.status != Health::Ok, "{row:?}");
        assert!(
            !row.detail.contains('\n') && row.fix.as_ref().is_none_or(|fix| !fix.contains('\n')),
            "{row:?}"
        );
    }
    let find =
        |id: &str, subject: &str| rows.iter().find(|r| r.id == id && r.subject.as_deref() == Some(subject));
    assert_eq!(find("iface.exists", "octroi-none").map(|r| r.status), Some(Health::Fail));
    assert_eq!(find("mtu.fits", "lo").map(|r| r.status), Some(Health::Fail), "65536 bytes fit no chunk");
    assert_eq!(find("queues.active", "lo").map(|r| r.status), Some(Health::Ok));
    let unique: BTreeSet<_> = rows.iter().map(|r| (&r.id, &r.subject)).collect();
    assert_eq!(unique.len(), rows.len(), "each check once for each subject");
}

#[test]
fn ids_are_those_of_the_table() {
    let settings = settings("engine = { idle = \"busy\" }\n[[interface]]\nname = \"lo\"\n");
    let rows =
        examine(&Case { settings: Some(&settings), ours: &BTreeMap::new(), pins: Path::new("/sys/fs/bpf") });
    let ids: BTreeSet<_> = rows.iter().map(|row| row.id.as_str()).collect();
    let expected = [
        "bpffs.mounted",
        "engine.cores",
        "hook.occupied",
        "idle.softirq",
        "iface.exists",
        "iface.up",
        "kernel.af_xdp",
        "kernel.version",
        "kernel.xdp",
        "limit.memlock",
        "limit.nofile",
        "mem.available",
        "mem.hugepages",
        "mtu.fits",
        "offload.lro",
        "offload.rxvlan",
        "priv.cap_bpf",
        "priv.cap_ipc_lock",
        "priv.cap_net_admin",
        "priv.cap_net_raw",
        "priv.cap_perfmon",
        "queues.active",
        "route.rules",
    ];
    assert_eq!(ids, BTreeSet::from(expected));
}
