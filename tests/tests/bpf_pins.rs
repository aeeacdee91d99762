//! What a daemon finds that others left in bpffs: adopted if it is exactly ours, else refused before anything is touched.
use abi::{
    fragment::{FRAG_ENTRIES, FragEntry, FragKey},
    port::PortConfig,
    steer::{SteerKey, Target, kind},
};
use anyhow::{Context as _, Result, bail, ensure};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType, libbpf_sys};
use octroi_tests::lab::{self, Need, Pair, PairOptions, Pins};
use xsk::bpf::{
    AttachSpec, Attached, BpfError, Bpffs, Difference, Input, Instance, Verdict, XdpMode, occupant,
};

const NEEDS: [Need; 2] = [Need::Netns, Need::Bpf];

const KEY: SteerKey = SteerKey::v4(17, [192, 0, 2, 1], 7);
const TARGET: Target = Target { kind: kind::STACK, flags: 0, id: 3, generation: 9, aux: 0 };

const DATAGRAM: FragEntry = FragEntry {
    key: FragKey::v4([198, 51, 100, 1], [192, 0, 2, 1], 5, 17),
    target: TARGET,
    until_ns: u64::MAX,
};

/// Everything that one interface pins.
const INTERFACE: [&str; 4] = ["served0/JUMP", "served0/LINK", "served0/PORT", "served0/XSKS"];
/// Everything that an instance pins.
const INSTANCE: [&str; 4] = ["COUNTERS", "FRAGS", "LAYOUT", "STEER"];

fn all() -> Vec<&'static str> {
    [&INSTANCE[..], &INTERFACE[..]].concat()
}

fn spec(pair: &Pair) -> Result<AttachSpec> {
    let config = PortConfig { mac: pair.served.mac.0, ..PortConfig::default() };
    let (ifname, ifindex) = (pair.served.ifname.clone(), pair.served.ifindex()?);
    Ok(AttachSpec { ifname, ifindex, mode: XdpMode::Native, config })
}

fn open(pins: &Pins) -> Result<Instance, BpfError> {
    let bpffs = Bpffs::open()?;
    Instance::open(&bpffs, &pins.instance().parse()?)
}

fn put_down(attached: Attached, instance: Instance, pins: &Pins) -> Result<()> {
    attached.detach_and_unpin()?;
    instance.unpin()?;
    ensure!(!pins.path().exists(), "left: {:?}", pins.list()?);
    Ok(())
}

#[test]
fn pins_stay_after_a_crash_and_the_next_daemon_adopts_them() -> Result<()> {
    let Some(_lab) = lab::require("pins_adopt", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    let spec = spec(&pair)?;
    pair.served.netns.enter(|| -> Result<()> {
        let instance = open(&pins)?;
        let attached = instance.attach(&spec)?;
        instance.steering()?.put(KEY, TARGET)?;
        instance.datagrams()?.put(DATAGRAM)?;
        let before = attached.ids()?;
        drop((attached, instance));
        ensure!(occupant(spec.ifindex)?.is_some_and(|o| o.id == before.program), "a crash detached it");
        ensure!(pins.list()? == all(), "pinned is {:?}", pins.list()?);

        let instance = open(&pins)?;
        ensure!(instance.steering()?.list()? == [(KEY, TARGET)], "the steering table was not adopted");
        ensure!(instance.datagrams()?.list()? == [DATAGRAM], "the fragment map was not adopted");
        let attached = instance.attach(&spec)?;
        let after = attached.ids()?;
        ensure!(after.link == before.link, "another link: {before:?}, {after:?}");
        ensure!(after.program != before.program, "the old program: {before:?}, {after:?}");
        ensure!(occupant(spec.ifindex)?.is_some_and(|o| o.id == after.program));
        put_down(attached, instance, &pins)
    })?
}

#[test]
fn pins_are_not_needed() -> Result<()> {
    let Some(_lab) = lab::require("pins_none", &NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let spec = spec(&pair)?;
    pair.served.netns.enter(|| -> Result<()> {
        let instance = Instance::unpinned()?;
        let attached = instance.attach(&spec)?;
        ensure!(occupant(spec.ifindex)?.is_some());
        drop(attached);
        // A child that another test starts at this moment holds the descriptor until it calls exec.
        lab::until("without pins the link ends with its value", || Ok(occupant(spec.ifindex)?.is_none()))
    })?
}

#[test]
fn pins_of_two_interfaces_share_one_steering_table_and_one_set_of_counters() -> Result<()> {
    let Some(_lab) = lab::require("pins_shared", &NEEDS)? else { return Ok(()) };
    let (one, two) = (Pair::new(PairOptions::default())?, Pair::new(PairOptions::default())?);
    let instance = Instance::unpinned()?;
    let attach = |pair: &Pair| -> Result<Attached> {
        let spec = spec(pair)?;
        Ok(pair.served.netns.enter(|| instance.attach(&spec))??)
    };
    let (one, two) = (attach(&one)?, attach(&two)?);
    instance.steering()?.put(SteerKey::v4(17, [192, 0, 2, 1], 7), TARGET)?;
    let mut frame = vec![2, 0, 0, 0, 0x77, 2, 2, 0, 0, 0, 0x77, 1, 8, 0];
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1]);
    frame.extend([0x12, 0x34, 0, 7, 0, 8, 0, 0]);
    for attached in [&one, &two] {
        let run = Input::new(&frame).run(attached.program(abi::pins::PROG_INGRESS)?)?;
        ensure!(run.verdict == Verdict::Drop, "{run:?}: the tuple is owned, and there is no socket");
    }
    ensure!(instance.counters()?.read_one(abi::counter::XdpCounter::DropNoSocket)? == 2);
    Ok(())
}

#[test]
fn pins_of_a_device_that_is_gone_are_taken_over_by_the_one_made_anew() -> Result<()> {
    let Some(_lab) = lab::require("pins_device_gone", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    let first = spec(&pair)?;
    let before = pair.served.netns.enter(|| -> Result<_> { Ok(open(&pins)?.attach(&first)?.ids()?) })??;
    pair.unplug()?;
    ensure!(pins.list()? == all(), "pins are gone with the device: {:?}", pins.list()?);
    pair.plug()?;
    let second = spec(&pair)?;
    pair.served.netns.enter(|| -> Result<()> {
        let instance = open(&pins)?;
        let attached = instance.attach(&second)?;
        ensure!(attached.ids()?.link != before.link, "the dead link was adopted");
        ensure!(occupant(second.ifindex)?.is_some());
        put_down(attached, instance, &pins)
    })?
}

#[test]
fn pins_of_another_namespaces_device_are_refused() -> Result<()> {
    let Some(_lab) = lab::require("pins_other_namespace", &NEEDS)? else { return Ok(()) };
    let (one, two, pins) =
        (Pair::new(PairOptions::default())?, Pair::new(PairOptions::default())?, Pins::new()?);
    let (here, there) = (spec(&one)?, spec(&two)?);
    ensure!(here.ifname == there.ifname, "the point is that the names are equal");
    let attached = one.served.netns.enter(|| -> Result<_> { Ok(open(&pins)?.attach(&here)?) })??;
    two.served.netns.enter(|| -> Result<()> {
        match open(&pins)?.attach(&there) {
            Err(BpfError::ForeignLink { ifindex, .. }) => ensure!(ifindex == here.ifindex),
            other => bail!("not refused: {other:?}"),
        }
        ensure!(occupant(there.ifindex)?.is_none());
        Ok(())
    })??;
    ensure!(pins.list()? == all(), "pins were touched: {:?}", pins.list()?);
    one.served.netns.enter(|| put_down(attached, open(&pins)?, &pins))?
}

#[test]
fn pins_in_another_mode_are_refused() -> Result<()> {
    let Some(_lab) = lab::require("pins_other_mode", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    let spec = spec(&pair)?;
    pair.served.netns.enter(|| -> Result<()> {
        let instance = open(&pins)?;
        let attached = instance.attach(&AttachSpec { mode: XdpMode::Generic, ..spec.clone() })?;
        let before = occupant(spec.ifindex)?.context("nothing attached")?;
        ensure!(before.mode == XdpMode::Generic);
        match instance.attach(&spec) {
            Err(BpfError::Mode { attached: XdpMode::Generic, wanted: XdpMode::Native, .. }) => {}
            other => bail!("not refused: {other:?}"),
        }
        ensure!(occupant(spec.ifindex)? == Some(before), "the program was touched");
        put_down(attached, instance, &pins)
    })?
}

#[test]
fn pins_are_undone_when_attaching_fails() -> Result<()> {
    let Some(_lab) = lab::require("pins_undone", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    pair.served.netns.enter(|| -> Result<()> {
        let instance = open(&pins)?;
        let ifindex = nix::net::if_::if_nametoindex("lo")?;
        let spec =
            AttachSpec { ifname: "lo".into(), ifindex, mode: XdpMode::Native, config: PortConfig::default() };
        match instance.attach(&spec) {
            Err(BpfError::Attach { mode: XdpMode::Native, .. }) => {}
            other => bail!("the loopback device has no native mode, but: {other:?}"),
        }
        ensure!(pins.list()? == INSTANCE, "left: {:?}", pins.list()?);
        ensure!(occupant(ifindex)?.is_none(), "fell back to another mode");
        let gone = AttachSpec { ifname: "gone0".into(), ifindex: 4_000_000, ..spec };
        ensure!(instance.attach(&gone).is_err());
        ensure!(pins.list()? == INSTANCE, "left: {:?}", pins.list()?);
        Ok(instance.unpin()?)
    })?
}

#[test]
fn pins_of_an_interface_with_a_dot_in_its_name() -> Result<()> {
    let Some(_lab) = lab::require("pins_dot", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    pair.served.run("ip link set served0 down")?;
    pair.served.run("ip link set served0 name served0.100")?;
    let config = PortConfig { mac: pair.served.mac.0, ..PortConfig::default() };
    pair.served.netns.enter(|| -> Result<()> {
        let ifindex = nix::net::if_::if_nametoindex("served0.100")?;
        let spec = AttachSpec { ifname: "served0.100".into(), ifindex, mode: XdpMode::Native, config };
        let instance = open(&pins)?;
        let attached = instance.attach(&spec)?;
        ensure!(pins.list()?.contains(&"served0:100/LINK".to_owned()), "{:?}", pins.list()?);
        put_down(attached, instance, &pins)
    })?
}

/// A map that another release might have pinned.
fn pin_other(pins: &Pins, name: &str, shape: (MapType, u32, u32, u32), first: Option<u32>) -> Result<()> {
    std::fs::create_dir_all(pins.path())?;
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let (kind, key, value, entries) = shape;
    let mut map = MapHandle::create(kind, Some(name), key, value, entries, &options)?;
    if let Some(first) = first {
        map.update(&0_u32.to_ne_bytes(), &first.to_ne_bytes(), MapFlags::ANY)?;
    }
    Ok(map.pin(pins.path().join(name))?)
}

#[test]
fn pins_of_another_layout_are_refused_before_anything_is_touched() -> Result<()> {
    let Some(_lab) = lab::require("pins_layout", &NEEDS)? else { return Ok(()) };
    let pins = Pins::new()?;
    pin_other(&pins, "LAYOUT", (MapType::Array, 4, 4, 1), Some(abi::LAYOUT + 1))?;
    match open(&pins) {
        Err(BpfError::Layout { found: Some(found), ours: abi::LAYOUT, .. }) => {
            ensure!(found == abi::LAYOUT + 1)
        }
        other => bail!("not refused: {other:?}"),
    }
    ensure!(pins.list()? == ["LAYOUT"], "touched: {:?}", pins.list()?);
    Ok(())
}

#[test]
fn pins_without_a_layout_are_refused_before_anything_is_touched() -> Result<()> {
    let Some(_lab) = lab::require("pins_no_layout", &NEEDS)? else { return Ok(()) };
    let pins = Pins::new()?;
    pin_other(&pins, "STEER", (MapType::Hash, 20, 8, abi::steer::STEER_ENTRIES), None)?;
    match open(&pins) {
        Err(BpfError::Layout { found: None, .. }) => {}
        other => bail!("not refused: {other:?}"),
    }
    ensure!(pins.list()? == ["STEER"], "touched: {:?}", pins.list()?);
    Ok(())
}

#[test]
fn pins_of_another_shape_are_refused_before_anything_is_touched() -> Result<()> {
    let Some(_lab) = lab::require("pins_shape", &NEEDS)? else { return Ok(()) };
    let (steer, frags) = (abi::steer::STEER_ENTRIES, FRAG_ENTRIES);
    for (name, shape, what, found) in [
        ("STEER", (MapType::LruHash, 20, 8, steer), "type", MapType::LruHash as u32),
        ("STEER", (MapType::Hash, 24, 8, steer), "key size", 24),
        ("STEER", (MapType::Hash, 20, 16, steer), "value size", 16),
        ("STEER", (MapType::Hash, 20, 8, steer / 2), "entries", steer / 2),
        ("FRAGS", (MapType::Hash, 40, 56, frags), "type", MapType::Hash as u32),
        ("FRAGS", (MapType::LruHash, 36, 56, frags), "key size", 36),
        ("FRAGS", (MapType::LruHash, 40, 16, frags), "value size", 16),
        ("FRAGS", (MapType::LruHash, 40, 56, frags * 2), "entries", frags * 2),
    ] {
        let pins = Pins::new()?;
        pin_other(&pins, "LAYOUT", (MapType::Array, 4, 4, 1), Some(abi::LAYOUT))?;
        pin_other(&pins, name, shape, None)?;
        match open(&pins) {
            Err(BpfError::Pin { path, difference: Difference { what: w, found: f, .. } }) => {
                let path = path.as_path();
                ensure!(path == pins.path().join(name) && w == what && f == found, "{w} {f} at {path:?}");
            }
            other => bail!("{what} not refused: {other:?}"),
        }
        let mut there = ["LAYOUT", name];
        there.sort_unstable();
        ensure!(pins.list()? == there, "touched: {:?}", pins.list()?);
    }
    Ok(())
}
