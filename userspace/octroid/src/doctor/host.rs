//! The checks of the machine itself: kernel, privileges, limits, memory, bpffs, cores.
use std::{fs, path::Path};

use abi::port::PortConfig;
use client::control::answer::DoctorRow;
use ixp::spec::EngineSpec;
use nix::sys::{
    resource::{Resource, getrlimit},
    statfs::{BPF_FS_MAGIC, statfs},
};
use xsk::bpf::{Instance, unbound_socket};

use super::{Case, fail, ok, softirq, warn};
use crate::config::settings::Settings;

/// Numbers of `linux/capability.h`, and what each is needed for.
const CAPABILITIES: [(&str, &str, u32, &str); 5] = [
    ("priv.cap_bpf", "CAP_BPF", 39, "load programs and maps"),
    ("priv.cap_perfmon", "CAP_PERFMON", 38, "load programs with offsets that depend on the packet"),
    ("priv.cap_net_admin", "CAP_NET_ADMIN", 12, "attach them"),
    ("priv.cap_net_raw", "CAP_NET_RAW", 13, "open AF_XDP sockets"),
    ("priv.cap_ipc_lock", "CAP_IPC_LOCK", 14, "lock packet memory beyond RLIMIT_MEMLOCK"),
];

/// Descriptors the daemon needs beside those of its queues: engines, maps, sockets, clients.
const SPARE_DESCRIPTORS: u64 = 256;
/// Descriptors of one queue: its socket, a copy for the map, libxdp's own.
const DESCRIPTORS_PER_QUEUE: u64 = 4;

pub(super) fn examine(case: &Case<'_>) -> Vec<DoctorRow> {
    let mut rows = vec![version(), af_xdp(), xdp()];
    let held = capabilities();
    rows.extend(CAPABILITIES.map(|(id, name, bit, purpose)| match held {
        Some(set) if set >> bit & 1 == 1 => ok(id, None, format!("{name} is held")),
        _ => fail(
            id,
            None,
            format!("{name} is missing: it is needed to {purpose}"),
            "run as root, or grant the capability",
        ),
    }));
    rows.push(memlock(case.settings, held));
    rows.push(nofile(case.settings));
    rows.push(available(case.settings));
    rows.push(hugepages());
    rows.push(bpffs(case.pins));
    if let Some(settings) = case.settings {
        rows.push(cores(&settings.engine));
        rows.extend(softirq::examine(&settings.engine));
    }
    rows
}

fn version() -> DoctorRow {
    const ID: &str = "kernel.version";
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let text = text.trim();
    match parse_version(text) {
        Some(version) if (6, 17) <= version => ok(ID, None, text),
        Some(version) if (5, 10) <= version => {
            let detail = format!("{text}: 32 frames a sending call in copy mode, 6.17 lets us ask for more");
            warn(ID, None, detail, "Linux 6.17 or newer sends faster in copy mode")
        }
        _ => fail(ID, None, format!("{text} is too old"), "Linux 5.10 or newer is needed"),
    }
}

pub(super) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn af_xdp() -> DoctorRow {
    const ID: &str = "kernel.af_xdp";
    match unbound_socket() {
        Ok(_) => ok(ID, None, "AF_XDP sockets can be opened"),
        Err(error) => fail(
            ID,
            None,
            format!("no AF_XDP socket: {error}"),
            "a kernel with CONFIG_XDP_SOCKETS, and CAP_NET_RAW",
        ),
    }
}

/// Loads both programs for no interface: what the verifier thinks of them is what counts.
fn xdp() -> DoctorRow {
    const ID: &str = "kernel.xdp";
    match Instance::unpinned().and_then(|instance| instance.load(PortConfig::default())) {
        Ok(_) => ok(ID, None, "the XDP programs load"),
        Err(error) => fail(
            ID,
            None,
            format!("the XDP programs do not load: {error}"),
            "`cargo xtask build` makes them; CAP_BPF and CONFIG_BPF_SYSCALL load them",
        ),
    }
}

fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Bytes that all queues will lock, if each interface has one more queue than it must.
fn umem_bytes(settings: Option<&Settings>) -> u64 {
    settings.map_or(0, |s| s.interfaces.iter().map(|i| i.queue.umem_bytes() * u64::from(queues(i))).sum())
}

fn queues(interface: &crate::config::settings::Interface) -> u32 {
    match interface.queues {
        crate::config::file::Queues::All => 1,
        crate::config::file::Queues::Exactly(count) => count,
    }
}

fn memlock(settings: Option<&Settings>, capabilities: Option<u64>) -> DoctorRow {
    const ID: &str = "limit.memlock";
    let Ok((soft, _)) = getrlimit(Resource::RLIMIT_MEMLOCK) else {
        return warn(ID, None, "cannot be read", "none");
    };
    let needed = umem_bytes(settings);
    let exempt = capabilities.is_some_and(|set| set >> 14 & 1 == 1);
    let detail = format!("{} KiB may be locked, packet memory needs {} KiB", soft / 1024, needed / 1024);
    match (exempt, soft < needed) {
        (true, _) => ok(ID, None, "CAP_IPC_LOCK lifts the limit"),
        (false, false) => ok(ID, None, detail),
        (false, true) => {
            fail(ID, None, detail, format!("`ulimit -l {}`, LimitMEMLOCK=, or CAP_IPC_LOCK", needed / 1024))
        }
    }
}

fn nofile(settings: Option<&Settings>) -> DoctorRow {
    const ID: &str = "limit.nofile";
    let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return warn(ID, None, "cannot be read", "none");
    };
    let queues: u64 = settings.map_or(1, |s| s.interfaces.iter().map(|i| u64::from(queues(i))).sum());
    let needed = SPARE_DESCRIPTORS + DESCRIPTORS_PER_QUEUE * queues;
    let detail = format!("{soft} descriptors may be open, {needed} are recommended");
    if needed <= soft {
        ok(ID, None, detail)
    } else {
        warn(ID, None, detail, format!("`ulimit -n {needed}` or LimitNOFILE="))
    }
}

fn available(settings: Option<&Settings>) -> DoctorRow {
    const ID: &str = "mem.available";
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let needed = umem_bytes(settings) / 1024;
    match meminfo(&text, "MemAvailable:") {
        Some(free) if needed < free / 2 => {
            ok(ID, None, format!("{free} KiB are free, packet memory needs {needed} KiB"))
        }
        Some(free) => fail(
            ID,
            None,
            format!("{free} KiB are free, packet memory needs {needed} KiB"),
            "fewer umem.frames, or more memory",
        ),
        None => warn(ID, None, "/proc/meminfo cannot be read", "mount /proc"),
    }
}

fn hugepages() -> DoctorRow {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = meminfo(&text, "HugePages_Free:").unwrap_or(0);
    ok("mem.hugepages", None, format!("{free} free; packet memory uses ordinary pages"))
}

pub(super) fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn bpffs(pins: &Path) -> DoctorRow {
    const ID: &str = "bpffs.mounted";
    let there = pins.ancestors().find(|path| path.exists()).unwrap_or(pins);
    match statfs(there) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => {
            ok(ID, None, format!("{} is a bpffs", there.display()))
        }
        _ => warn(
            ID,
            None,
            format!("{} is no bpffs", pins.display()),
            "`mount -t bpf bpf /sys/fs/bpf`; octroid tries this itself",
        ),
    }
}

fn cores(spec: &EngineSpec) -> DoctorRow {
    const ID: &str = "engine.cores";
    match spec.check() {
        Ok(()) => ok(ID, None, format!("engines run on {:?}", spec.cores)),
        Err(error) => fail(ID, None, error.to_string(), "name cores that exist here in engine.cores"),
    }
}
