//! What fixtures cannot say: queues of a real device, a header program in slot 0.
use abi::{
    counter::XdpCounter,
    pins::{LAB_PASS, PROG_INGRESS},
    port::PortConfig,
    steer::{SteerKey, Target, kind},
};
use anyhow::{Result, ensure};
use octroi_tests::lab::{self, Need, Pair, PairOptions};
use xsk::bpf::{AttachSpec, Ingress, Input, Instance, Lab, Loaded, Verdict, XdpMode, unbound_socket};

const TARGET: Target = Target { kind: kind::STACK, flags: 0, id: 3, generation: 9, aux: 0 };

/// UDP to port 7 of 192.0.2.1, from and to these MAC addresses.
fn frame(to: [u8; 6]) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9], &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1]);
    frame.extend([0x12, 0x34, 0, 7, 0, 8, 0, 0]);
    frame
}

fn verdict(loaded: &Loaded, frame: &[u8], ingress: Ingress) -> Result<Verdict> {
    let input = Input { ingress, ..Input::new(frame) };
    Ok(input.run(loaded.program(PROG_INGRESS)?)?.verdict)
}

#[test]
fn b01_queues_a_frame_goes_to_the_socket_of_the_queue_it_came_in_on() -> Result<()> {
    let Some(_lab) = lab::require("b01_queues", &[Need::Netns, Need::Bpf, Need::AfXdp])? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions { queues: 3, ..PairOptions::default() })?;
    let (ifindex, mac) = (pair.served.ifindex()?, pair.served.mac.0);
    pair.served.netns.enter(|| -> Result<()> {
        let instance = Instance::unpinned()?;
        let config = PortConfig { mac, ..PortConfig::default() };
        let spec = AttachSpec { ifname: "served0".into(), ifindex, mode: XdpMode::Native, config };
        let attached = instance.attach(&spec)?;
        instance.steering()?.put(SteerKey::v4(17, [192, 0, 2, 1], 7), TARGET)?;
        let socket = unbound_socket()?;
        let mut xsks = attached.xsks()?;
        for with in 0..3 {
            xsks.set(with, &socket)?;
            for queue in 0..3 {
                let got = verdict(&attached, &frame(mac), Ingress { ifindex, queue })?;
                let wanted = if queue == with { Verdict::Redirect } else { Verdict::Drop };
                ensure!(got == wanted, "{got:?} on queue {queue} with a socket on {with}");
            }
            xsks.clear(with)?;
        }
        ensure!(verdict(&attached, &frame(mac), Ingress { ifindex, queue: 0 })? == Verdict::Drop);
        let counters = instance.counters()?;
        ensure!(counters.read_one(XdpCounter::Redirect)? == 3);
        ensure!(counters.read_one(XdpCounter::DropNoSocket)? == 7);
        ensure!(counters.read_one(XdpCounter::Rx)? == 10);
        Ok(())
    })?
}

#[test]
fn b01_queues_an_entry_ends_with_its_socket() -> Result<()> {
    let Some(_lab) = lab::require("b01_socket_closed", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
    let instance = Instance::unpinned()?;
    let mac = [2, 0, 0, 0, 0, 1];
    let loaded = instance.load(PortConfig { mac, ..PortConfig::default() })?;
    instance.steering()?.put(SteerKey::v4(17, [192, 0, 2, 1], 7), TARGET)?;
    let socket = unbound_socket()?;
    loaded.xsks()?.set(0, &socket)?;
    ensure!(verdict(&loaded, &frame(mac), Ingress::default())? == Verdict::Redirect);
    drop(socket);
    ensure!(verdict(&loaded, &frame(mac), Ingress::default())? == Verdict::Drop);
    loaded.xsks()?.clear(0)?;
    ensure!(loaded.xsks()?.set(abi::pins::MAX_QUEUES, unbound_socket()?).is_err(), "beyond the last queue");
    Ok(())
}

/// The lab's `pass` stands in for a header program: it ends the chain in slot 0, so that what it saw can be seen.
#[test]
fn b01_chain_a_header_program_runs_before_steer_on_the_frame_as_it_came() -> Result<()> {
    let Some(_lab) = lab::require("b01_header_slot", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
    let instance = Instance::unpinned()?;
    let mac = [2, 0, 0, 0, 0, 1];
    let loaded = instance.load(PortConfig { mac, ..PortConfig::default() })?;
    instance.steering()?.put(SteerKey::v4(17, [192, 0, 2, 1], 7), TARGET)?;
    let slot = loaded.header_slot()?;
    let header = Lab::load()?;
    slot.set(header.program(LAB_PASS)?.fd()?)?;
    // The slot keeps the program.
    drop(header);
    let frame = frame(mac);
    let run = Input::new(&frame).run(loaded.program(PROG_INGRESS)?)?;
    ensure!(run.verdict == Verdict::Pass && run.bytes == frame, "{run:?}");
    slot.clear()?;
    slot.clear()?;
    ensure!(
        verdict(&loaded, &frame, Ingress::default())? == Verdict::Drop,
        "steer finds it owned, without a socket"
    );
    let counters = instance.counters()?.read()?;
    let moved = XdpCounter::ALL.into_iter().filter(|&c| counters[c as usize] != 0);
    ensure!(moved.eq([XdpCounter::Rx, XdpCounter::DropNoSocket]), "{counters:?}");
    Ok(())
}

#[test]
fn b01_chain_a_broken_one_is_logged_once_and_not_for_each_packet() -> Result<()> {
    let Some(_lab) = lab::require("b01_chain_log", &[Need::Bpf])? else { return Ok(()) };
    let instance = Instance::unpinned()?;
    let mac = [2, 0, 0, 0, 0, 1];
    let mut loaded = instance.load(PortConfig { mac, ..PortConfig::default() })?;
    ensure!(verdict(&loaded, &frame(mac), Ingress::default())? == Verdict::Pass);
    ensure!(loaded.drain_log().is_empty(), "an ordinary frame was logged");
    loaded.break_chain()?;
    // On one CPU: each says it once.
    let cpu = nix::sched::sched_getcpu()?;
    let mut here = nix::sched::CpuSet::new();
    here.set(cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &here)?;
    for _ in 0..3 {
        ensure!(verdict(&loaded, &frame(mac), Ingress::default())? == Verdict::Pass);
    }
    let lines = loaded.drain_log();
    ensure!(lines == ["broken chain: no program judged a frame of interface 1"], "{lines:?}");
    ensure!(instance.counters()?.read_one(XdpCounter::JumpMissed)? == 3);
    Ok(())
}
