//! Applications without any privilege, and users who may not.
use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, App, Config, Served, Tally, Tap, Wrapper};

use crate::{
    NEEDS,
    stacks::{served, tuples},
};

/// A user that no policy of the lab names but the one below.
const USER: u32 = 54_321;
/// A user that none does.
const STRANGER: u32 = 54_322;

/// Nothing but the user: no capability, no group of root's, no way to gain any.
fn as_user(uid: u32) -> Wrapper {
    Wrapper::words(&format!(
        "setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs"
    ))
}

fn lab() -> Result<Served> {
    let policy = format!(
        "\n[[stack.policy]]\nuid = {USER}\nports = [53, \"5000-5010\"]\nmax_tuples = 2\nmax_mib = 4\n"
    );
    let served = served(&Config { more: policy, ..Config::default() })?;
    // As group octroi would be let in, which this machine need not have.
    let home = served.daemon.home();
    let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(home.run(), 0o755)?;
    open(&home.socket(), 0o666)?;
    Ok(served)
}

#[test]
fn f14_an_application_without_privileges_works_end_to_end() -> Result<()> {
    let Some(_lab) = lab::require("f14_an_application_without_privileges_works_end_to_end", NEEDS)? else {
        return Ok(());
    };
    let mut served = lab()?;
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
    let mut served = lab()?;
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
