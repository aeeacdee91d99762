//! Another's XDP program on our interface, before us or after us: named, refused, untouched. (The loader's side of it;
//! the daemon's is in `tests/daemon`.)
use abi::{
    pins::{LAB_PASS, PROG_INGRESS},
    port::PortConfig,
};
use anyhow::{Context as _, Result, bail, ensure};
use libbpf_rs::{Xdp, XdpFlags};
use octroi_tests::lab::{self, Need, Pair, PairOptions, Pins};
use std::os::fd::AsFd as _;
use xsk::bpf::{AttachSpec, BpfError, Bpffs, Instance, Lab, XdpMode, occupant};

const NEEDS: [Need; 2] = [Need::Netns, Need::Bpf];

fn spec(pair: &Pair, mode: XdpMode) -> Result<AttachSpec> {
    let config = PortConfig { mac: pair.served.mac.0, ..PortConfig::default() };
    Ok(AttachSpec { ifname: pair.served.ifname.clone(), ifindex: pair.served.ifindex()?, mode, config })
}

fn open(pins: &Pins) -> Result<Instance> {
    Ok(Instance::open(&Bpffs::open()?, &pins.instance().parse()?)?)
}

#[test]
fn f15_a_foreign_program_is_named_and_left_alone() -> Result<()> {
    let Some(_lab) = lab::require("f15_foreign_first", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    for (theirs, ours) in [
        (XdpMode::Native, XdpMode::Native),
        (XdpMode::Generic, XdpMode::Generic),
        (XdpMode::Generic, XdpMode::Native),
        (XdpMode::Native, XdpMode::Generic),
    ] {
        let spec = spec(&pair, ours)?;
        pair.served.netns.enter(|| -> Result<()> {
            let foreign = Lab::load()?;
            let _link = foreign.attach(LAB_PASS, spec.ifindex, theirs)?;
            let before = occupant(spec.ifindex)?.context("the foreign program is not attached")?;
            ensure!(before.name == LAB_PASS && before.mode == theirs, "{before:?}");
            for instance in [open(&pins)?, Instance::unpinned()?] {
                let Err(BpfError::Occupied { ifname, occupant: named }) = instance.attach(&spec) else {
                    bail!("not refused: {theirs} there, {ours} asked for");
                };
                ensure!(ifname == spec.ifname && named == before, "{named:?} was named");
                ensure!(occupant(spec.ifindex)? == Some(before.clone()), "the foreign program was touched");
            }
            Ok(())
        })??;
        ensure!(
            pins.list()? == ["COUNTERS", "FRAGS", "LAYOUT", "STEER"],
            "something of the interface is pinned"
        );
    }
    Ok(())
}

#[test]
fn f15_the_refusal_says_which_program_it_is() -> Result<()> {
    let Some(_lab) = lab::require("f15_foreign_named", &NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let spec = spec(&pair, XdpMode::Native)?;
    pair.served.netns.enter(|| -> Result<()> {
        let foreign = Lab::load()?;
        let _link = foreign.attach(LAB_PASS, spec.ifindex, XdpMode::Native)?;
        let id = occupant(spec.ifindex)?.context("nothing is attached")?.id;
        let refusal = Instance::unpinned()?.attach(&spec).err().context("not refused")?.to_string();
        let wanted = format!(
            "interface served0 already has an XDP program: pass, id {id}, native mode; it was not touched, remove it first"
        );
        ensure!(refusal == wanted, "{refusal}");
        Ok(())
    })?
}

#[test]
fn f15_a_foreign_program_that_comes_later_is_refused_by_the_kernel_and_ours_stays() -> Result<()> {
    let Some(_lab) = lab::require("f15_foreign_later", &NEEDS)? else { return Ok(()) };
    let (pair, pins) = (Pair::new(PairOptions::default())?, Pins::new()?);
    let spec = spec(&pair, XdpMode::Native)?;
    pair.served.netns.enter(|| -> Result<()> {
        let instance = open(&pins)?;
        let attached = instance.attach(&spec)?;
        let before = (attached.ids()?, occupant(spec.ifindex)?);
        ensure!(before.1.as_ref().is_some_and(|o| o.name == PROG_INGRESS && o.id == before.0.program));
        let foreign = Lab::load()?;
        for mode in [XdpMode::Native, XdpMode::Generic] {
            ensure!(
                foreign.attach(LAB_PASS, spec.ifindex, mode).is_err(),
                "a link in {mode} mode came through"
            );
        }
        let program = foreign.program(LAB_PASS)?.fd()?.as_fd();
        let by_netlink = Xdp::new(program).attach(i32::try_from(spec.ifindex)?, XdpFlags::NONE);
        ensure!(by_netlink.is_err(), "an attachment by netlink came through");
        ensure!((attached.ids()?, occupant(spec.ifindex)?) == before, "ours was touched");
        attached.detach_and_unpin()?;
        ensure!(occupant(spec.ifindex)?.is_none(), "ours is still attached");
        foreign.attach(LAB_PASS, spec.ifindex, XdpMode::Native)?;
        instance.unpin()?;
        Ok(())
    })??;
    ensure!(pins.list()?.is_empty() && !pins.path().exists(), "pins are left: {:?}", pins.list()?);
    Ok(())
}
