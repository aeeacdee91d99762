//! `octroi stack`: what applications with stacks of their own have, and what the administrator keeps for them or takes.
use abi::{counter::Role, shm::counter::ChannelCounter};
use anyhow::Result;
use clap::{Args, Subcommand};
use client::control::{
    answer::StatRow,
    connection::Connection,
    request::{LocalAddr, OnCrash, Proto},
    stack::{StackList, StackRegister, StackRelease, StackRow, StackStats},
};

use super::{Form, Outcome, print, target::endpoint};
use crate::{
    cli::Global,
    daemon,
    table::{Table, thousands},
};

/// Look at application stacks, and keep or take their tuples.
#[derive(Debug, Subcommand)]
pub(crate) enum Stack {
    /// Keep a tuple for the applications of a user: its port is held from now on, also a privileged one.
    Register(Register),
    /// Keep a tuple no longer; with --force, take it from the application that has it.
    Release(Release),
    /// List tuples and who has them.
    List(List),
    /// Show the counters of sessions and of their tuples.
    Stats(Stats),
}

/// Keep a tuple for the applications of a user.
#[derive(Debug, Args)]
pub(crate) struct Register {
    #[command(flatten)]
    tuple: Tuple,
    /// The user whose applications may have it [default: you].
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// What becomes of its packets while no daemon runs: drop or pass [default: what the application asks for].
    #[arg(long, value_name = "VERDICT")]
    on_crash: Option<OnCrash>,
}

/// Keep a tuple no longer.
#[derive(Debug, Args)]
pub(crate) struct Release {
    #[command(flatten)]
    tuple: Tuple,
    /// Even if an application has it: it is told, and the tuple is gone.
    #[arg(long)]
    force: bool,
}

/// List tuples and who has them.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    form: Form,
}

/// Show the counters of sessions.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct Tuple {
    /// tcp, udp, sctp, dccp or udplite.
    proto: Proto,
    /// ADDR:PORT; ADDR is `any` or a local address, IPv6 in brackets.
    #[arg(value_name = "ADDR:PORT", value_parser = endpoint)]
    endpoint: (LocalAddr, u16),
}

#[derive(Debug, Args)]
struct Scope {
    /// Only this session's.
    #[arg(long, value_name = "SLOT")]
    slot: Option<u16>,
}

impl Stack {
    /// Asks the daemon.
    ///
    /// # Errors
    /// If no daemon answers, or it refuses.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let mut daemon = daemon::connect(global)?;
        match self {
            Self::Register(register) => register.ask(&mut daemon)?,
            Self::Release(release) => release.ask(&mut daemon)?,
            Self::List(list) => {
                let page = |after| StackList { all: sees_all(), slot: list.scope.slot, after };
                let pages = daemon.pages_of(page)?;
                let rows: Vec<StackRow> = pages.into_iter().flat_map(|page| page.rows).collect();
                list.form.print(&rows, |rows| tuples(rows).to_string())?;
            }
            Self::Stats(stats) => {
                let page = |after| StackStats { all: sees_all(), slot: stats.scope.slot, after };
                let pages = daemon.pages_of(page)?;
                let rows: Vec<StatRow> = pages.into_iter().flat_map(|page| page.rows).collect();
                stats.form.print(&rows, |rows| counters(rows).to_string())?;
            }
        }
        Ok(Outcome::Well)
    }
}

impl Register {
    fn ask(&self, daemon: &mut Connection) -> Result<()> {
        let (addr, port) = self.tuple.endpoint;
        let uid = self.uid.unwrap_or_else(|| nix::unistd::getuid().as_raw());
        let register = StackRegister {
            proto: self.tuple.proto,
            addr,
            port,
            reserve: Default::default(),
            on_crash: self.on_crash,
            icmp: false,
            uid: Some(uid),
        };
        daemon.call(&register)?;
        print(&format!("{} {addr}:{port} is kept for user {uid}\n", self.tuple.proto))
    }
}

impl Release {
    fn ask(&self, daemon: &mut Connection) -> Result<()> {
        let (addr, port) = self.tuple.endpoint;
        let proto = self.tuple.proto;
        let (tuple, force) = (None, self.force);
        daemon.call(&StackRelease {
            tuple,
            proto: Some(proto),
            addr: Some(addr),
            port: Some(port),
            force,
        })?;
        print(&format!("{proto} {addr}:{port} is released\n"))
    }
}

/// Root is shown everybody's, others their own.
fn sees_all() -> bool {
    nix::unistd::geteuid().is_root()
}

fn tuples(rows: &[StackRow]) -> Table<10> {
    let mut table = Table::new([
        "tuple",
        "state",
        "application",
        "uid",
        "pid",
        "on crash",
        "received",
        "sent",
        "dropped",
        "addresses",
    ]);
    for row in rows {
        let addrs: Vec<_> = row.addrs.iter().map(ToString::to_string).collect();
        let application = match (&row.name, row.slot) {
            (Some(name), Some(slot)) => format!("{name} (slot {slot})"),
            _ => "-".into(),
        };
        // A reservation has no packets, which is not the same as none.
        let packets = |role| row.slot.map_or_else(|| "-".into(), |_| thousands(of_role(row, role)));
        table.row([
            format!("{} {}:{}", row.proto, row.addr, row.port),
            row.state.to_string(),
            application,
            row.uid.to_string(),
            row.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            row.on_crash.to_string(),
            packets(Role::Delivered),
            packets(Role::Forwarded),
            packets(Role::Dropped),
            addrs.join(" "),
        ]);
    }
    table
}

/// How many of a tuple's packets ended so: `octroi stack stats` has each counter by its name.
fn of_role(row: &StackRow, role: Role) -> u64 {
    let counters = ChannelCounter::ALL.iter().filter(|counter| counter.role() == role);
    counters.filter_map(|counter| row.counters.get(counter.name())).sum()
}

/// Those that moved: a session has twenty counters, and most of them are reasons to drop.
fn counters(rows: &[StatRow]) -> Table<5> {
    let mut table = Table::new(["slot", "application", "tuple", "counter", "packets"]);
    for row in rows.iter().filter(|row| row.value != 0) {
        let label = |name: &str| row.labels.get(name).cloned().unwrap_or_default();
        let tuple = match row.labels.get("port") {
            Some(port) => format!("{} {}:{port}", label("proto"), label("addr")),
            None => "all".to_owned(),
        };
        table.row([label("slot"), label("name"), tuple, row.name.clone(), thousands(row.value)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use client::control::{answer, stack::TupleState};

    use super::*;

    #[test]
    fn tuples_and_counters_are_shown() {
        let waiting = StackRow {
            slot: None,
            name: None,
            tuple: 0,
            proto: Proto::Udp,
            addr: LocalAddr::Any,
            port: 53,
            uid: 1000,
            pid: None,
            state: TupleState::Reserved,
            on_crash: OnCrash::Drop,
            addrs: vec![],
            counters: BTreeMap::new(),
        };
        let live = StackRow {
            slot: Some(3),
            name: Some("web".into()),
            proto: Proto::Tcp,
            addr: LocalAddr::Ip("192.0.2.1".parse().expect("an address")),
            port: 8080,
            pid: Some(4711),
            state: TupleState::Live,
            addrs: vec!["192.0.2.1".parse().expect("an address")],
            counters: [
                ("rx_delivered", 12_000),
                ("rx_ring_full", 30),
                ("tx_read", 1_007),
                ("tx_sent", 900),
                ("tx_hairpin", 100),
                ("tx_no_route", 7),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            ..waiting.clone()
        };
        let stat = |name: &str, value| StatRow {
            name: name.to_owned(),
            labels: BTreeMap::from([
                ("slot".to_owned(), "3".to_owned()),
                ("name".to_owned(), "web".to_owned()),
            ]),
            role: answer::Role::Delivered,
            value,
        };
        let mut of_tuple = stat("tuple.rx_delivered", 12_000);
        let tuple = [("tuple", "0"), ("proto", "tcp"), ("addr", "192.0.2.1"), ("port", "8080")];
        of_tuple.labels.extend(tuple.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let stats = [stat("stack.rx_delivered", 12_345), stat("stack.rx_ring_full", 0), of_tuple];
        insta::assert_snapshot!(format!("{}\n{}", tuples(&[live, waiting]), counters(&stats)));
    }
}
