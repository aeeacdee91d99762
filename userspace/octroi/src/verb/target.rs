//! `octroi target`: registers, releases and lists builtin targets of a running daemon.
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use client::control::{
    answer::TargetRow,
    request::{LocalAddr, OnCrash, Proto, TargetAdd, TargetKind, TargetList, TargetRemove},
};

use super::{Form, Outcome, print};
use crate::{cli::Global, daemon, table::Table};

/// Register, release and list builtin targets.
#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Register a target under a tuple.
    Add(Add),
    /// Release a tuple.
    Remove(Remove),
    /// List registered targets.
    List(List),
}

/// Register a target under a tuple.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// echo or sink.
    kind: TargetKind,
    /// tcp, udp, sctp, dccp or udplite.
    proto: Proto,
    /// ADDR:PORT; ADDR is `any` or a local address, IPv6 in brackets.
    #[arg(value_name = "ADDR:PORT", value_parser = endpoint)]
    endpoint: (LocalAddr, u16),
    /// What becomes of its packets while no daemon runs: drop or pass.
    #[arg(long, default_value = "drop", value_name = "VERDICT")]
    on_crash: OnCrash,
    #[command(flatten)]
    form: Form,
}

/// Release a tuple.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The number that `add` printed.
    tuple: u16,
}

/// List registered targets.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    form: Form,
}

impl Target {
    /// Asks the daemon.
    ///
    /// # Errors
    /// If no daemon answers, or it refuses.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let mut daemon = daemon::connect(global)?;
        match self {
            Self::Add(add) => {
                let (addr, port) = add.endpoint;
                let call = TargetAdd { kind: add.kind, proto: add.proto, addr, port, on_crash: add.on_crash };
                add.form.print(&daemon.call(&call)?, |added| format!("tuple {}\n", added.tuple))?;
            }
            Self::Remove(remove) => {
                daemon.call(&TargetRemove { tuple: remove.tuple })?;
                print(&format!("tuple {} is released\n", remove.tuple))?;
            }
            Self::List(list) => {
                let pages = daemon.pages::<TargetList>()?;
                let rows: Vec<TargetRow> = pages.into_iter().flat_map(|page| page.rows).collect();
                list.form.print(&rows, |rows| text(rows))?;
            }
        }
        Ok(Outcome::Well)
    }
}

pub(super) fn endpoint(text: &str) -> Result<(LocalAddr, u16)> {
    let (addr, port) = text.rsplit_once(':').context("expected ADDR:PORT")?;
    let addr = addr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(addr);
    Ok((addr.parse()?, port.parse().context("expected a port from 1 to 65535")?))
}

fn text(rows: &[TargetRow]) -> String {
    let mut table = Table::new(["tuple", "kind", "listens on", "on crash", "addresses"]);
    for row in rows {
        let addrs: Vec<_> = row.addrs.iter().map(ToString::to_string).collect();
        table.row([
            row.tuple.to_string(),
            row.kind.to_string(),
            format!("{} {}:{}", row.proto, row.addr, row.port),
            row.on_crash.to_string(),
            addrs.join(" "),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_both_families() {
        let ip = |text: &str| LocalAddr::Ip(text.parse().expect("an address"));
        assert_eq!(endpoint("any:7").expect("any"), (LocalAddr::Any, 7));
        assert_eq!(endpoint("192.0.2.1:65535").expect("IPv4"), (ip("192.0.2.1"), 65_535));
        assert_eq!(endpoint("[2001:db8::1]:53").expect("IPv6"), (ip("2001:db8::1"), 53));
        for bad in ["7", "any:", "any:65536", "host:7", ":7", "[2001:db8::1:53"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
