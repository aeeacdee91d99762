//! XDP's own steering table, full to its limit: it refuses by name, answers for all it has, and takes no memory for it.
use std::os::fd::{AsFd as _, AsRawFd as _};

use abi::steer::{STEER_ENTRIES, SteerKey, Target, kind};
use anyhow::{Context as _, Result, ensure};
use libbpf_rs::MapHandle;
use octroi_tests::lab::{self, Need, Pins};
use xsk::bpf::{BpfError, Bpffs, Instance};

const NEEDS: [Need; 2] = [Need::Netns, Need::Bpf];

/// As many distinct tuples as one likes: all ports of an address, then of the next.
fn key(n: u32) -> SteerKey {
    SteerKey::v4(17, [192, 0, 2, (n >> 16) as u8], n as u16)
}

fn target(n: u32) -> Target {
    Target { kind: kind::STACK, flags: 0, id: n as u16, generation: (n >> 16) as u16, aux: 0 }
}

/// Memory that the kernel holds for a map, in bytes, and its flags.
fn held(map: &MapHandle) -> Result<(u64, u32)> {
    let path = format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path)?;
    let field = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let flags = field("map_flags:").and_then(|flags| flags.strip_prefix("0x")).context("map_flags")?;
    Ok((field("memlock:").context("memlock")?.parse()?, u32::from_str_radix(flags, 16)?))
}

#[test]
fn b10_the_steering_table_of_xdp_is_full_at_its_limit_and_no_later() -> Result<()> {
    let Some(_lab) = lab::require("b10_the_steering_table_of_xdp_is_full_at_its_limit_and_no_later", &NEEDS)?
    else {
        return Ok(());
    };
    let pins = Pins::new()?;
    let instance = Instance::open(&Bpffs::open()?, &pins.instance().parse()?)?;
    let map = MapHandle::from_pinned_path(pins.path().join(abi::pins::STEER))?;
    let (before, flags) = held(&map)?;
    // Not BPF_F_ZERO_SEED: the kernel draws a seed for its hash, and nobody can choose keys that meet in one bucket. Not
    // BPF_F_NO_PREALLOC: all memory is there from the beginning.
    ensure!(flags == 0, "the map has flags {flags:#x}");
    let mut steering = instance.steering()?;
    (0..STEER_ENTRIES).try_for_each(|n| steering.put(key(n), target(n)))?;
    let refused = steering.put(key(STEER_ENTRIES), target(0));
    ensure!(
        matches!(&refused, Err(error @ BpfError::Map { .. }) if error.to_string().contains(abi::pins::STEER)),
        "{refused:?}"
    );
    ensure!(held(&map)?.0 == before, "it grew");
    for n in 0..STEER_ENTRIES {
        ensure!(steering.get(key(n))? == Some(target(n)), "{n}");
    }
    ensure!(steering.get(key(STEER_ENTRIES))?.is_none());
    // What is there may change its owner; what goes makes room.
    steering.put(key(7), target(9))?;
    steering.delete(key(8))?;
    steering.put(key(STEER_ENTRIES), target(1))?;
    ensure!(steering.get(key(STEER_ENTRIES))? == Some(target(1)) && steering.get(key(8))?.is_none());
    drop((steering, map));
    instance.unpin()?;
    Ok(())
}
