//! Applications without any privilege, users who may not, and what workers keep of the daemon's own.
use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, App, Config, PairOptions, Served, Tally, Tap, Wrapper, config::Layout};

use crate::{
    NEEDS,
    stacks::{served_on, tuples},
};

/// A user that no policy of the lab names but the one below.
pub(crate) const USER: u32 = 54_321;
/// A user that none does.
const STRANGER: u32 = 54_322;

/// Nothing but the user: no capability, no group of root's, no way to gain any.
pub(crate) fn as_user(uid: u32) -> Wrapper {
    Wrapper::words(&format!(
        "setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs"
    ))
}

/// A daemon that lets that user in.
pub(crate) fn lab(options: PairOptions) -> Result<Served> {
    let policy = format!(
        "\n[[stack.policy]]\nuid = {USER}\nports = [53, \"5000-5010\"]\nmax_tuples = 2\nmax_mib = 4\n"
    );
    let served = served_on(options, &Config { more: policy, ..Config::default() })?;
    let_everybody_ask(&served)?;
    Ok(served)
}

/// Opens the control socket, as it is to members of group octroi, which this machine need not have.
pub(crate) fn let_everybody_ask(served: &Served) -> Result<()> {
    let home = served.daemon.home();
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(home.run(), 0o755)?;
    Ok(open(&home.socket(), 0o666)?)
}

#[test]
fn f14_an_application_without_privileges_works_end_to_end() -> Result<()> {
    let Some(_lab) = lab::require("f14_an_application_without_privileges_works_end_to_end", NEEDS)? else {
        return Ok(());
    };
    let mut served = lab(PairOptions::default())?;
    let mut app = App::start(served.daemon.home(), &served.pair.served, &as_user(USER))?;
    let status = fs::read_to_string(format!("/proc/{}/status", app.pid()))?;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        ensure!(status.contains(line), "{line} is not in {status}");
    }
    // A privileged port, because its policy says so.
    app.udp(53)?;
    let tap = Tap::open(&served.pair.peer)?;
    assert_eq!(served.load(53, 2, 100).echo(&tap, 500)?, Tally::whole(500));
    let rows = tuples(&mut served.daemon)?;
    assert_eq!(rows.iter().map(|row| (row.uid, row.pid)).collect::<Vec<_>>(), [(USER, Some(app.pid()))]);
    drop(app);
    served.finish()
}

#[test]
fn f14_a_user_has_what_its_policy_says_and_a_stranger_nothing() -> Result<()> {
    let Some(_lab) = lab::require("f14_a_user_has_what_its_policy_says_and_a_stranger_nothing", NEEDS)?
    else {
        return Ok(());
    };
    let mut served = lab(PairOptions::default())?;
    let (home, end) = (served.daemon.home(), &served.pair.served);
    ensure!(App::start(home, end, &as_user(STRANGER)).is_err(), "a stranger has a session");
    // Its rings would be larger than its 4 MiB.
    ensure!(App::with_slots(home, end, &as_user(USER), 4096).is_err(), "16 MiB of 4");
    let (mut app, mut root) =
        (App::start(home, end, &as_user(USER))?, App::start(home, end, &Wrapper::default())?);
    let mut code = |tuple: &str| -> Result<String> {
        Ok(app.register(tuple)?.err().map_or("granted".to_owned(), |refused| refused.code))
    };
    assert_eq!(code("udp any 80")?, "EACCES");
    assert_eq!(code("sctp any 5000")?, "EACCES");
    root.udp(5001)?;
    assert_eq!(code("udp any 5001")?, "EBUSY");
    assert_eq!(code("udp any 5002")?, "granted");
    assert_eq!(code("udp any 5003")?, "granted");
    assert_eq!(code("udp any 5004")?, "ENOSPC");
    ensure!(tuples(&mut served.daemon)?.len() == 3);
    drop((app, root));
    served.finish().context("afterwards")
}

/// What the kernel says of a thread.
struct Thread {
    name: String,
    status: String,
}

impl Thread {
    /// Those of a process; whoever answers a scraper may end while this looks.
    fn all_of(pid: u32) -> Result<Vec<Self>> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.collect::<Result<Vec<_>, _>>()?;
        let read = |task: &fs::DirEntry| {
            let read = |file| fs::read_to_string(task.path().join(file)).ok();
            Some(Self { name: read("comm")?.trim().to_owned(), status: read("status")? })
        };
        Ok(tasks.iter().filter_map(read).collect())
    }

    fn says(&self, key: &str) -> Result<&str> {
        let value = self.status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(value.with_context(|| format!("no {key} in {}", self.status))?.trim())
    }
}

#[test]
fn f14_workers_hold_no_capability_cannot_gain_one_and_make_few_calls() -> Result<()> {
    let id = "f14_workers_hold_no_capability_cannot_gain_one_and_make_few_calls";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    const NONE: &str = "0000000000000000";
    for (layout, cores) in [(Layout::RunToCompletion, vec![0, 1]), (Layout::Pipeline, vec![0, 1, 0])] {
        let workers = cores.len();
        let config = Config { layout, cores, ..Config::echo_and_sink() };
        let mut served = Served::new(PairOptions { queues: 2, ..PairOptions::default() }, &config)?;
        served.daemon.home().scrape()?;
        let threads = Thread::all_of(served.daemon.pid())?;
        let mut seen = 0;
        for thread in &threads {
            let worker = ["octroi-me", "octroi-rx", "octroi-tx"]
                .iter()
                .any(|name| thread.name.strip_prefix(name).is_some_and(|rest| rest.parse::<u16>().is_ok()));
            if worker {
                seen += 1;
                for key in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                    assert_eq!(thread.says(key)?, NONE, "{key} of {}", thread.name);
                }
                assert_eq!(
                    (thread.says("NoNewPrivs")?, thread.says("Seccomp")?),
                    ("1", "2"),
                    "{}",
                    thread.name
                );
            } else if thread.name == "octroi-metrics" {
                assert_eq!(thread.says("CapEff")?, NONE, "the metrics endpoint");
            }
        }
        ensure!(
            seen == workers,
            "{seen} workers of {workers}: {:?}",
            threads.iter().map(|t| &t.name).collect::<Vec<_>>()
        );
        // Who attaches programs keeps what that takes.
        let main = threads.iter().find(|thread| thread.name == "octroid").context("no main thread")?;
        ensure!(main.says("CapEff")? != NONE);
        // Confined workers do all that workers do: packets, the closing of ports, and their own end.
        let tap = Tap::open(&served.pair.peer)?;
        let load = served.load(lab::config::ECHO, 4, 200);
        served.echoes(&load, &tap, 0, 500)?;
        served.finish()?;
    }
    Ok(())
}
