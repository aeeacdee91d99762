//! `octroi status`: interfaces, queues, engines, targets and the books of a running daemon.
use anyhow::Result;
use clap::Args;
use client::control::status::{Books, Status};

use super::{Form, Outcome};
use crate::{
    cli::Global,
    daemon,
    table::{Table, thousands},
};

/// Show what a running daemon serves, and its books.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    form: Form,
}

impl Show {
    /// Asks and prints.
    ///
    /// # Errors
    /// If no daemon answers.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let status = daemon::connect(global)?.status()?;
        self.form.print(&status, text)?;
        let served = status.interfaces.iter().all(|row| row.state == "served");
        Ok(if served { Outcome::Well } else { Outcome::Unwell })
    }
}

fn text(status: &Status) -> String {
    let head = &status.head;
    let mut text = format!(
        "instance {}  pid {}  version {}  up {}  layout {}  idle {}\n",
        head.instance,
        head.pid,
        head.version,
        duration(head.uptime_ms),
        head.layout,
        head.idle
    );
    for warning in &head.warnings {
        text += &format!("warning: {warning}\n");
    }
    text += &format!("\ninterfaces\n{}", interfaces(status));
    text += &format!("\nqueues\n{}", queues(status));
    text += &format!("\nengines\n{}", engines(status));
    text += &format!("\ntargets\n{}", targets(status));
    if !status.sessions.is_empty() {
        text += &format!("\napplications\n{}", sessions(status));
    }
    if !status.filters.is_empty() {
        text += &format!("\nfilters\n{}", filters(status));
    }
    text += &format!("\nbooks\n{}", books(&head.books));
    text
}

fn interfaces(status: &Status) -> Table<7> {
    let mut table = Table::new(["interface", "state", "mode", "copy", "mtu", "mac", "vlan"]);
    for row in &status.interfaces {
        let state = match &row.reason {
            Some(reason) => format!("{}: {reason}", row.state),
            None => row.state.clone(),
        };
        let vlan: Vec<_> = row.vlan.iter().map(u16::to_string).collect();
        let name =
            row.device.as_ref().map_or_else(|| row.name.clone(), |device| format!("{} ({device})", row.name));
        table.row([
            name,
            state,
            row.mode.clone(),
            row.copy.clone(),
            row.mtu.map_or_else(|| "-".into(), |mtu| mtu.to_string()),
            row.mac.clone().unwrap_or_else(|| "-".into()),
            if vlan.is_empty() { "-".into() } else { vlan.join(",") },
        ]);
    }
    table
}

fn queues(status: &Status) -> Table<6> {
    let mut table = Table::new(["interface", "queue", "engine", "rx", "delivered", "transmitted"]);
    for row in &status.queues {
        let count = |name: &str| thousands(row.counters.get(name).copied().unwrap_or(0));
        table.row([
            row.interface.clone(),
            row.queue.to_string(),
            row.engine.to_string(),
            count("rx"),
            count("delivered"),
            count("transmitted"),
        ]);
    }
    table
}

fn engines(status: &Status) -> Table<5> {
    let mut table = Table::new(["engine", "role", "core", "state", "cpu"]);
    for row in &status.engines {
        table.row([
            row.engine.to_string(),
            row.role.clone(),
            row.core.map_or_else(|| "-".into(), |core| core.to_string()),
            row.state.clone(),
            duration(row.cpu_ns / 1_000_000),
        ]);
    }
    table
}

fn targets(status: &Status) -> Table<5> {
    let mut table = Table::new(["tuple", "kind", "listens on", "packets", "bytes"]);
    for row in &status.targets {
        let target = &row.target;
        let count = |name: &str| thousands(row.counters.get(name).copied().unwrap_or(0));
        table.row([
            target.tuple.to_string(),
            target.kind.to_string(),
            format!("{} {}:{}", target.proto, target.addr, target.port),
            count("target.packets"),
            count("target.bytes"),
        ]);
    }
    table
}

fn sessions(status: &Status) -> Table<8> {
    let heading = ["slot", "application", "uid", "pid", "tuples", "received", "sent", "dropped"];
    let mut table = Table::new(heading);
    for row in &status.sessions {
        table.row([
            row.slot.to_string(),
            row.name.clone(),
            row.uid.to_string(),
            row.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            row.tuples.to_string(),
            thousands(row.received()),
            thousands(row.sent()),
            thousands(row.dropped()),
        ]);
    }
    table
}

fn filters(status: &Status) -> Table<8> {
    let heading = ["where", "filter", "scope", "generation", "rules", "in XDP", "matched", "no rule"];
    let mut table = Table::new(heading);
    for row in &status.filters {
        table.row([
            row.at.to_string(),
            // A slow one is among the warnings, with the reason.
            if row.degraded.is_some() { format!("{} (slow)", row.filter) } else { row.filter.clone() },
            row.scope.to_string(),
            row.generation.to_string(),
            row.rules.to_string(),
            if row.header { "header".to_owned() } else { "nothing".to_owned() },
            thousands(row.matched),
            thousands(row.unmatched),
        ]);
    }
    table
}

fn books(books: &Books) -> String {
    let mut table = Table::new(["account", "packets"]);
    let accounts = [
        ("rx", books.rx),
        ("submitted", books.submitted),
        ("created", books.created),
        ("delivered", books.delivered),
        ("transmitted", books.transmitted),
        ("passed", books.passed),
        ("held", books.held),
    ];
    for (name, value) in accounts {
        table.row([name.into(), thousands(value)]);
    }
    for (reason, &value) in &books.dropped {
        table.row([format!("dropped: {reason}"), thousands(value)]);
    }
    format!("{table}  {books}\n")
}

fn duration(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        seconds @ 1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_page_of_tables() {
        insta::assert_snapshot!(text(&example()));
    }

    #[test]
    fn durations_have_two_places() {
        let cases = [(7, "7 ms"), (1_250, "1.2 s"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min")];
        cases.into_iter().for_each(|(ms, text)| assert_eq!(duration(ms), text));
    }

    fn example() -> Status {
        serde_json::from_str(include_str!("../../testdata/status.json")).expect("a status")
    }
}
