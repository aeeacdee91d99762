//! The only way to skip a test: where a privilege or a kernel feature is really missing.
//!
//! A privilege is read from the capability set, a feature is probed by using it. A probe that fails on a kernel new
//! enough to have the feature is a failure of the test, never a skip. A skip is written to the file that
//! `OCTROI_SKIPS` names, for `cargo xtask test` to print last; with `OCTROI_CAPS=1`, as in CI, it is a failure.
use std::{fmt, fs, io::Write as _};

use anyhow::{Context as _, Result, bail, ensure};
use libbpf_rs::{MapHandle, MapType, libbpf_sys};
use nix::sched::{CloneFlags, unshare};

use super::guard::Guard;

/// What a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To make and enter network namespaces.
    Netns,
    /// Packet sockets, to send and see frames as they are.
    RawSockets,
    /// To load BPF programs and maps, and to attach them.
    Bpf,
    /// AF_XDP sockets and memory locked for them.
    AfXdp,
    /// A memory cgroup of one's own, to run into its limit.
    MemoryCgroup,
}

/// A capability by its number in `linux/capability.h`.
#[derive(Clone, Copy)]
struct Capability(&'static str, u32);

const NET_ADMIN: Capability = Capability("CAP_NET_ADMIN", 12);
const NET_RAW: Capability = Capability("CAP_NET_RAW", 13);
const IPC_LOCK: Capability = Capability("CAP_IPC_LOCK", 14);
const SYS_ADMIN: Capability = Capability("CAP_SYS_ADMIN", 21);
const BPF: Capability = Capability("CAP_BPF", 39);

/// `major.minor` of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kernel(u32, u32);

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Need {
    const fn capabilities(self) -> &'static [Capability] {
        match self {
            Self::Netns => &[SYS_ADMIN, NET_ADMIN],
            Self::RawSockets => &[NET_RAW],
            // CAP_SYS_ADMIN: object ids are turned into descriptors, and bpffs is mounted.
            Self::Bpf => &[BPF, NET_ADMIN, SYS_ADMIN],
            Self::AfXdp => &[NET_RAW, IPC_LOCK],
            Self::MemoryCgroup => &[SYS_ADMIN],
        }
    }

    /// The first kernel that has all we use of it. 5.15 is the oldest that Octroi supports at all.
    const fn since(self) -> Kernel {
        Kernel(5, 15)
    }

    fn probe(self) -> Result<()> {
        match self {
            Self::Netns => std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
                .join()
                .map_err(|_| anyhow::anyhow!("the probe panicked"))?
                .context("unshare(CLONE_NEWNET)"),
            Self::RawSockets => super::tap::probe(),
            Self::Bpf => create_map(MapType::Hash),
            Self::AfXdp => create_map(MapType::Xskmap),
            Self::MemoryCgroup => super::cgroup::MemoryCgroup::new("probe").map(drop),
        }
    }
}

/// A test that may run: it has what it needs, and is watched.
///
/// Dropping it ends the watch.
#[derive(Debug)]
pub struct Lab {
    id: &'static str,
    _guard: Guard,
}

impl Lab {
    /// The test's id.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.id
    }
}

/// Lets the test `id` run if all of `needs` are there; `None` if it must be skipped, which is on record then.
///
/// ```no_run
/// # use octroi_tests::lab::{self, Need};
/// fn f16_down_leaves_nothing() -> anyhow::Result<()> {
///     let Some(lab) = lab::require("f16_down_leaves_nothing", &[Need::Netns, Need::Bpf])? else { return Ok(()) };
///     // …
///     # drop(lab);
///     Ok(())
/// }
/// ```
///
/// # Errors
/// A feature is missing that this kernel must have, or anything is missing under `OCTROI_CAPS=1`.
pub fn require(id: &'static str, needs: &[Need]) -> Result<Option<Lab>> {
    super::sweep::once();
    for &need in needs {
        if let Some(reason) = missing(need)? {
            ensure!(
                std::env::var_os("OCTROI_CAPS").is_none_or(|v| v != "1"),
                "{id} may not be skipped: {reason}"
            );
            record_skip(id, &reason)?;
            return Ok(None);
        }
    }
    Ok(Some(Lab { id, _guard: Guard::start(id) }))
}

/// Why `need` cannot be met; an error if it must be.
fn missing(need: Need) -> Result<Option<String>> {
    let effective = effective_capabilities()?;
    let absent: Vec<_> =
        need.capabilities().iter().filter(|c| effective & (1 << c.1) == 0).map(|c| c.0).collect();
    if !absent.is_empty() {
        return Ok(Some(format!("{need:?} needs {}", absent.join(", "))));
    }
    let kernel = running_kernel()?;
    match need.probe() {
        Ok(()) => Ok(None),
        Err(why) if kernel < need.since() => {
            Ok(Some(format!("{need:?} needs Linux {}, this is {kernel}: {why:#}", need.since())))
        }
        Err(why) => {
            bail!("{need:?} must work on Linux {kernel} with these capabilities, and does not: {why:#}")
        }
    }
}

fn record_skip(id: &str, reason: &str) -> Result<()> {
    eprintln!("SKIPPED {id}: {reason}");
    let Some(path) = std::env::var_os("OCTROI_SKIPS") else { return Ok(()) };
    // One write of one line in append mode: several test programs share the file.
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).context("OCTROI_SKIPS")?;
    file.write_all(format!("{id}\t{reason}\n").as_bytes()).context("OCTROI_SKIPS")
}

fn create_map(kind: MapType) -> Result<()> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    MapHandle::create(kind, Some("lab_probe"), 4, 4, 1, &options)
        .map(drop)
        .with_context(|| format!("cannot create a map of type {kind:?}"))
}

fn effective_capabilities() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let set = status.lines().find_map(|l| l.strip_prefix("CapEff:")).context("no CapEff")?;
    u64::from_str_radix(set.trim(), 16).context("CapEff")
}

fn running_kernel() -> Result<Kernel> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel release")?;
    parse_kernel(&release).with_context(|| format!("kernel release {release}"))
}

fn parse_kernel(release: &str) -> Option<Kernel> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some(Kernel(numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::process;

    #[test]
    fn kernel_releases_compare_by_number() {
        assert_eq!(parse_kernel("6.18.5-amd64\n"), Some(Kernel(6, 18)));
        assert_eq!(parse_kernel("5.4\n"), Some(Kernel(5, 4)));
        assert_eq!(parse_kernel("linux"), None);
        assert!(parse_kernel("6.2") < parse_kernel("6.18"));
    }

    /// Runs one test of this program without any capability, as a user without privilege would.
    fn without_capabilities(skips: &std::path::Path, in_ci: &str) -> Result<std::process::Output> {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(std::env::current_exe()?);
        command.args(["--exact", "lab::veth::tests::lab_a_pair_is_silent_and_has_its_queues_at_both_ends"]);
        Ok(process::output(command.env("OCTROI_SKIPS", skips).env("OCTROI_CAPS", in_ci))?)
    }

    #[test]
    fn lab_without_capabilities_a_test_is_skipped_on_record_and_fails_in_ci() -> Result<()> {
        let Some(_lab) = require("lab_skip", &[Need::Netns])? else { return Ok(()) };
        let directory = tempfile::tempdir()?;
        let skips = directory.path().join("skips");
        let skipped = without_capabilities(&skips, "0")?;
        assert!(skipped.status.success(), "{}", String::from_utf8_lossy(&skipped.stdout));
        let record = fs::read_to_string(&skips)?;
        assert_eq!(record, "lab_pair\tNetns needs CAP_SYS_ADMIN, CAP_NET_ADMIN\n");
        let failed = without_capabilities(&skips, "1")?;
        let said = String::from_utf8_lossy(&failed.stdout).into_owned();
        assert!(!failed.status.success() && said.contains("lab_pair may not be skipped"), "{said}");
        assert_eq!(fs::read_to_string(&skips)?, record, "a failure is no skip");
        Ok(())
    }
}
