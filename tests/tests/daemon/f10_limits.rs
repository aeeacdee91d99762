//! Limits of memory, locked memory, maps and descriptors, and a full disk: the error names the limit, nothing is half
//! attached, and packets that nobody claims go on.
use std::io::Write as _;

use anyhow::{Result, ensure};
use client::control::{
    answer::ReplyError,
    connection::CallError,
    refusal::{Code, Limit},
    request::TargetKind,
};
use octroi_tests::lab::{
    self, Config, Daemon, End, Home, Need, Pair, PairOptions, Served, Started, Tally, Tap, Wrapper,
    cgroup::MemoryCgroup,
    config::{ECHO, udp},
    os,
};
use xsk::bpf::occupant;

use crate::NEEDS;

/// Starts a daemon under a limit, beside legacy traffic. Returns what it said, or `None` if it started after all.
fn start_under(pair: &Pair, wrapper: &Wrapper) -> Result<Option<String>> {
    let home = Home::new(&pair.served, &Config::echo_and_sink())?;
    let (started, _pings) = os::beside_legacy(pair, || home.launch(&pair.served, wrapper))?;
    match started {
        Started::Ready(daemon) => {
            daemon.down(&pair.served)?;
            Ok(None)
        }
        Started::Refused(mut refused) => {
            ensure!(!refused.status.success());
            if refused.status.code().is_none() {
                // Killed, it could not clean up; but nothing carries packets yet, and cleaning finds all of it.
                let ifindex = pair.served.ifindex()?;
                ensure!(pair.served.netns.enter(|| occupant(ifindex))??.is_none(), "a program is attached");
                refused.home.octroi(&["down", "--crashed", "--netns", pair.served.netns.name()])?;
            }
            refused.home.check_nothing_left(&pair.served)?;
            Ok(Some(refused.log))
        }
    }
}

#[test]
fn f10_too_few_descriptors_are_named_wherever_they_end() -> Result<()> {
    let Some(_lab) = lab::require("f10_too_few_descriptors_are_named_wherever_they_end", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let mut refusals = 0;
    // From what a process needs to run at all, upwards until it is enough.
    for limit in 8.. {
        let Some(log) = start_under(&pair, &Wrapper::words(&format!("prlimit --nofile={limit}:{limit}")))?
        else {
            break;
        };
        ensure!(
            log.contains("RLIMIT_NOFILE") || log.contains("Too many open files"),
            "with {limit} descriptors:\n{log}"
        );
        refusals += 1;
    }
    ensure!(3 <= refusals, "the limit was never met");
    // And with no limit of ours it serves.
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    Served { daemon, pair }.finish()
}

#[test]
fn f10_too_little_locked_memory_is_named() -> Result<()> {
    let Some(_lab) = lab::require("f10_too_little_locked_memory_is_named", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let wrapper = Wrapper::words(
        "prlimit --memlock=65536:65536 setpriv --bounding-set=-ipc_lock,-sys_resource --inh-caps=-ipc_lock,-sys_resource",
    );
    let log = start_under(&pair, &wrapper)?;
    let log = log.unwrap_or_default();
    ensure!(
        log.contains("RLIMIT_MEMLOCK") || log.contains("CAP_IPC_LOCK"),
        "it does not name the limit:\n{log}"
    );
    Ok(())
}

#[test]
fn f10_a_memory_limit_leaves_nothing_half_attached() -> Result<()> {
    let id = "f10_a_memory_limit_leaves_nothing_half_attached";
    let Some(_lab) = lab::require(id, &[NEEDS, &[Need::MemoryCgroup]].concat())? else { return Ok(()) };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let group = MemoryCgroup::new("limit")?;
    let wrapper = Wrapper::shell(&format!("echo $$ > {}", group.processes().display()));
    let mut refusals = 0;
    for mib in [2, 4, 6, 8, 12, 16, 24, 32, 64, 128] {
        group.limit(mib << 20)?;
        let Some(log) = start_under(&pair, &wrapper)? else { break };
        // Where the kernel kills instead of refusing there are no last words.
        ensure!(log.is_empty() || log.contains("memory"), "with {mib} MiB:\n{log}");
        refusals += 1;
    }
    ensure!(refusals != 0, "the limit was never met");
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    Served { daemon, pair }.finish()
}

/// Local addresses enough for seventeen targets at any address to be more than the map holds.
const ADDRESSES: u32 = 4000;

#[test]
fn f10_a_full_map_is_named_and_changes_nothing() -> Result<()> {
    let Some(_lab) = lab::require("f10_a_full_map_is_named_and_changes_nothing", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    add_addresses(&pair.served)?;
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    let mut served = Served { daemon, pair };
    let fitting = abi::steer::STEER_ENTRIES / (ADDRESSES + 2);
    // Two stand in the configuration.
    for port in 1002..1000 + fitting as u16 {
        served.daemon.add(&udp(TargetKind::Sink, port))?;
    }
    let one_more = served.daemon.control().call(&udp(TargetKind::Sink, 2000));
    let Err(CallError::Reply(ReplyError::Refused(refusal))) = one_more else {
        anyhow::bail!("not refused: {one_more:?}");
    };
    ensure!(refusal.code == Code::Enospc, "{refusal}");
    let wanted = u64::from((fitting + 1) * (ADDRESSES + 2));
    assert_eq!(refusal.limit, Some(Limit { given: wanted, limit: abi::steer::STEER_ENTRIES.into() }));
    // Those that were there still serve.
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 2, 100);
    served.echoes(&load, &tap, 0, 200)?;
    served.finish()
}

/// Registrations that the registry has numbers for.
const SLOTS: u16 = 4096;

#[test]
fn f10_a_target_too_many_is_named_and_as_many_as_there_can_be_are_served() -> Result<()> {
    let id = "f10_a_target_too_many_is_named_and_as_many_as_there_can_be_are_served";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let mut config = Config::echo_and_sink();
    config.targets.extend((1000..1000 + SLOTS - 1).map(|port| udp(TargetKind::Sink, port)));
    let mut refused =
        Home::new(&pair.served, &config)?.launch(&pair.served, &Wrapper::default())?.refused()?;
    ensure!(refused.log.contains("4097 slots, the limit is 4096"), "{}", refused.log);
    refused.home.check_nothing_left(&pair.served)?;
    config.targets.pop();
    let daemon = Daemon::start(&pair.served, &config)?;
    let served = Served { daemon, pair };
    let load = served.load(ECHO, 2, 100);
    assert_eq!(load.echo(&Tap::open(&served.pair.peer)?, 200)?, Tally::whole(200));
    served.daemon.down(&served.pair.served)
}

fn add_addresses(end: &End) -> Result<()> {
    let line = |n: u32| format!("addr add 10.78.{}.{}/32 dev {}\n", n / 250, 1 + n % 250, end.ifname);
    let mut batch = tempfile::NamedTempFile::new()?;
    batch.write_all((0..ADDRESSES).map(line).collect::<String>().as_bytes())?;
    end.run(&format!("ip -batch {}", batch.path().display())).map(drop)
}

#[test]
fn f10_a_full_disk_is_named() -> Result<()> {
    let Some(_lab) = lab::require("f10_a_full_disk_is_named", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let home = Home::new(&pair.served, &Config::echo_and_sink())?;
    // In a mount namespace of its own, the instance's directory is a disk of one page, and that is taken.
    let directory = home.run().join(home.pins().instance());
    std::fs::create_dir(&directory)?;
    let directory = directory.display();
    let script = format!("mount -t tmpfs -o size=4k none {directory}; printf full > {directory}/taken");
    let wrapper = Wrapper::shell(&script).inside("unshare --mount --propagation private");
    let (started, _pings) = os::beside_legacy(&pair, || home.launch(&pair.served, &wrapper))?;
    let mut refused = started.refused()?;
    ensure!(refused.log.contains("No space left"), "it does not say what is full:\n{}", refused.log);
    refused.home.check_nothing_left(&pair.served)
}

#[test]
fn f10_a_mode_that_is_not_there_is_named_and_nothing_is_half_attached() -> Result<()> {
    let id = "f10_a_mode_that_is_not_there_is_named_and_nothing_is_half_attached";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let served = &pair.served;
    // The loopback device has no native XDP; its packets are made small enough to be no reason of their own.
    served.run("ip link set lo up mtu 1500")?;
    let (copy, zero_copy) = ("copy = \"copy\"", "copy = \"zero-copy\"");
    let (veth, lo) = (format!("name = \"{}\"", served.ifname), "name = \"lo\"".to_owned());
    for (asked, instead, said) in [(copy, zero_copy, "no zero-copy"), (&veth, &lo, "native")] {
        let mut home = Home::new(served, &Config::echo_and_sink())?;
        let text = std::fs::read_to_string(home.config())?;
        ensure!(text.contains(asked), "{text}");
        home.configure(&text.replace(asked, instead))?;
        let (config, netns) = (home.config().display().to_string(), served.netns.name());
        let up = ["up", "--config", &config, "--netns", netns];
        let (refusal, _pings) = os::beside_legacy(&pair, || Ok(home.octroi(&up).err()))?;
        let refusal = refusal.map(|error| error.to_string()).unwrap_or_default();
        ensure!(refusal.contains(said), "{instead}: it does not say so: {refusal:?}");
        ensure!(home.octroi(&["status"]).is_err(), "a daemon is left");
        for link in ["lo", &served.ifname] {
            let shown = served.run(&format!("ip -details link show {link}"))?;
            ensure!(!shown.contains("xdp"), "a program is attached: {shown}");
        }
        home.check_nothing_left(served)?;
    }
    let daemon = Daemon::start(served, &Config::echo_and_sink())?;
    Served { daemon, pair }.finish()
}
