//! Clients of many users that connect and say nothing: who is there stays there, and root gets in all the same.
use anyhow::{Result, ensure};
use octroi_tests::lab::{self, Footprint, PairOptions, Served, Service};

use crate::{
    NEEDS,
    f14_privileges::{as_user, lab},
};

/// The first of the users; none of them has a name.
const FIRST_USER: u32 = 55_000;

/// Users, one more than have room together.
const USERS: u32 = 17;

/// Connections that each of them makes: as many as one user may have.
const EACH: usize = 64;

/// Connections that all users but root may have together.
const ROOM: usize = 1024;

#[test]
fn f13_a_thousand_idle_clients_of_many_users_leave_room_for_root() -> Result<()> {
    let id = "f13_a_thousand_idle_clients_of_many_users_leave_room_for_root";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = lab(PairOptions::default())?;
    let before = Footprint::of(served.daemon.pid())?;
    let idle = (0..USERS).map(|n| idle(&served, FIRST_USER + n)).collect::<Result<Vec<_>>>()?;
    let all = before.descriptors + ROOM;
    lab::until("every place but root's is taken", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors == all)
    })?;
    // Nobody else gets in; who asks as root is answered, over connections that it makes now.
    let other = as_user(FIRST_USER + USERS);
    let output = lab::process::output(&mut served.daemon.home().command(&other, "octroi", &["status"])?)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // The refusal was sent before it spoke: whether it is read is a race of the kernel's.
    let turned_away =
        ["connections of all users", "closed the connection"].iter().any(|why| said.contains(why));
    ensure!(!output.status.success() && turned_away, "{said}");
    for words in [&["status"][..], &["stats"], &["stack", "list"]] {
        served.daemon.home().octroi(words)?;
    }
    ensure!(Footprint::of(served.daemon.pid())?.descriptors >= all, "somebody lost a place to root");
    lab::balance(&mut served.daemon, &served.pair.served)?;
    served.daemon.note_objects()?;
    let Served { daemon, pair } = served;
    daemon.home().octroi(&["down"])?;
    let (status, mut home) = daemon.wait()?;
    ensure!(status.success(), "octroid ended with {status}");
    drop(idle);
    home.check_nothing_left(&pair.served)
}

/// A program of this user's that holds connections.
fn idle(served: &Served, user: u32) -> Result<Service> {
    let mut command = as_user(user).command("octroi-lab-idle")?;
    command.arg(served.daemon.home().socket()).arg(EACH.to_string());
    Service::start(&served.pair.served, &mut command)
}
