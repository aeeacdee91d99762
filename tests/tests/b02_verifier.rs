//! How much work the kernel's verifier has with each program: bounded, and no more than when it was last looked at.
//!
//! The counts are the kernel's own, so the snapshot has one table a kernel release; a release without one is held to
//! the bound alone. `OCTROI_BLESS=1` writes the table of the running kernel; a growth needs a reason in its change.
use std::{collections::BTreeMap, env, fs, path::PathBuf};

use abi::{
    pins::{PROG_INGRESS, PROG_STEER},
    port::PortConfig,
};
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, Need};
use xsk::bpf::{Instance, program_sizes};

/// Instructions walked, on any kernel; the kernel's own limit is one million.
const BOUND: u32 = 250_000;

type Table = BTreeMap<String, u32>;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/verifier.toml")
}

/// `major.minor` of the running kernel.
fn release() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.');
    let (major, minor) = (numbers.next().context("no major")?, numbers.next().context("no minor")?);
    Ok(format!("{major}.{minor}"))
}

fn counts() -> Result<Table> {
    let loaded = Instance::unpinned()?.load(PortConfig::default())?;
    let names = [PROG_INGRESS, PROG_STEER];
    let programs =
        names.into_iter().map(|name| Ok((name, loaded.program(name)?))).collect::<Result<Vec<_>>>()?;
    Ok(program_sizes(programs)?.into_iter().map(|size| (size.name.to_owned(), size.verified)).collect())
}

/// Whether `now` is at most a tenth more than `then`.
fn is_within_a_tenth(now: u32, then: u32) -> bool {
    u64::from(now) * 10 <= u64::from(then) * 11
}

#[test]
fn b02_the_verifiers_work_is_bounded_and_does_not_grow() -> Result<()> {
    let Some(_lab) = lab::require("b02_verifier", &[Need::Bpf])? else { return Ok(()) };
    let (release, counts) = (release()?, counts()?);
    for (name, &count) in &counts {
        ensure!(count <= BOUND, "{name}: {count} instructions, at most {BOUND} are allowed");
    }
    let text = fs::read_to_string(path())?;
    let mut snapshot: BTreeMap<String, Table> = toml::from_str(&text)?;
    if env::var_os("OCTROI_BLESS").is_some() {
        let heading: String =
            text.lines().take_while(|l| l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        snapshot.insert(release, counts);
        fs::write(path(), format!("{heading}{}", toml::to_string(&snapshot)?))?;
        return Ok(());
    }
    let Some(then) = snapshot.get(&release) else {
        eprintln!("Linux {release} has no snapshot; OCTROI_BLESS=1 makes one of {counts:?}");
        return Ok(());
    };
    ensure!(
        then.keys().eq(counts.keys()),
        "the snapshot has {:?}, the object {:?}",
        then.keys(),
        counts.keys()
    );
    for (name, &now) in &counts {
        let then = then[name];
        ensure!(is_within_a_tenth(now, then), "{name}: {now} instructions, {then} in {}", path().display());
    }
    Ok(())
}

#[test]
fn b02_a_tenth_more_is_allowed_and_not_one_instruction_beyond() {
    assert!(
        is_within_a_tenth(110, 100) && is_within_a_tenth(1, 100) && is_within_a_tenth(u32::MAX, u32::MAX)
    );
    assert!(!is_within_a_tenth(111, 100) && !is_within_a_tenth(1, 0));
}
