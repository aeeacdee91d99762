//! Every rule of steering on the real XDP object: verdict, metadata byte for byte, complete counter change.
//!
//! The fixtures are `testdata/steer/*.toml`; what a fixture is, and how a redirect is seen in a test run, says
//! [`octroi_tests::fixture`].
use std::path::{Path, PathBuf};

use abi::counter::XdpCounter;
use anyhow::{Result, ensure};
use octroi_tests::{
    fixture::Fixtures,
    lab::{self, Need},
};
use xsk::bpf::Counts;

/// The test plan asks for this many.
const MIN_CASES: usize = 200;

const FILES: [&str; 11] = [
    "ethernet",
    "vlan",
    "ipv4",
    "ipv6",
    "extension",
    "fragment",
    "transport",
    "icmp",
    "lookup",
    "transit",
    "chain",
];

/// Counters that no test run can move: `adjust_meta` gives back what it took on every kernel so far, and an LRU map finds
/// something to throw out unless another CPU holds all of it. The counters are there so that the exception is seen. And one
/// that only a generated header program moves: RT5 does.
const UNREACHABLE: [XdpCounter; 3] =
    [XdpCounter::DropMetaStuck, XdpCounter::FragNotKept, XdpCounter::RulerPass];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/steer").join(name).with_extension("toml")
}

#[track_caller]
fn check(id: &'static str, file: &str) -> Result<()> {
    let Some(_lab) = lab::require(id, &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
    let failures = Fixtures::read(&path(file))?.run(&mut Counts::default())?;
    ensure!(failures.is_empty(), "{file}.toml: {} failed\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn b01_mt01_ethernet() -> Result<()> {
    check("b01_mt01_ethernet", "ethernet")
}

#[test]
fn b01_mt01_vlan() -> Result<()> {
    check("b01_mt01_vlan", "vlan")
}

#[test]
fn b01_mt01_ipv4() -> Result<()> {
    check("b01_mt01_ipv4", "ipv4")
}

#[test]
fn b01_mt01_ipv6() -> Result<()> {
    check("b01_mt01_ipv6", "ipv6")
}

#[test]
fn b01_mt01_extension_headers() -> Result<()> {
    check("b01_mt01_extension_headers", "extension")
}

#[test]
fn b01_mt01_fragments() -> Result<()> {
    check("b01_mt01_fragments", "fragment")
}

#[test]
fn b01_mt01_transport() -> Result<()> {
    check("b01_mt01_transport", "transport")
}

#[test]
fn b01_mt01_icmp() -> Result<()> {
    check("b01_mt01_icmp", "icmp")
}

#[test]
fn b01_mt01_lookup() -> Result<()> {
    check("b01_mt01_lookup", "lookup")
}

#[test]
fn b01_mt01_transit() -> Result<()> {
    check("b01_mt01_transit", "transit")
}

#[test]
fn b01_mt01_chain() -> Result<()> {
    check("b01_mt01_chain", "chain")
}

#[test]
fn b01_mt01_the_fixtures_are_many_and_move_every_counter() -> Result<()> {
    let Some(_lab) = lab::require("b01_mt01_every_counter", &[Need::Bpf, Need::AfXdp])? else {
        return Ok(());
    };
    let (mut cases, mut moved) = (0, Counts::default());
    for file in FILES {
        let fixtures = Fixtures::read(&path(file))?;
        fixtures.run(&mut moved)?;
        cases += fixtures.len();
    }
    ensure!(MIN_CASES <= cases, "only {cases} cases");
    let still = |counter: &XdpCounter| moved[*counter as usize] == 0;
    let unmoved: Vec<_> = XdpCounter::ALL.into_iter().filter(still).collect();
    ensure!(unmoved == UNREACHABLE, "no fixture moves {unmoved:?}");
    Ok(())
}

#[test]
fn b01_no_file_of_fixtures_is_forgotten() -> Result<()> {
    let mut there: Vec<_> =
        path("x").parent().into_iter().flat_map(Path::read_dir).flatten().collect::<Result<_, _>>()?;
    there.sort_by_key(std::fs::DirEntry::path);
    let there: Vec<_> =
        there.iter().filter_map(|e| Some(e.path().file_stem()?.to_str()?.to_owned())).collect();
    let mut tested = FILES.to_vec();
    tested.sort_unstable();
    ensure!(there == tested, "there are {there:?}, tested are {tested:?}");
    Ok(())
}
