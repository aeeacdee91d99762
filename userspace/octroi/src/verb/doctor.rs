//! `octroi doctor`: what is right and wrong with this machine, each finding with its fix.
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use client::control::{
    answer::{DoctorRow, Health},
    request,
};

use super::{Form, Outcome};
use crate::{cli::Global, daemon, table::Table};

/// Check kernel, privileges, limits and interfaces; every finding has a one-line fix.
///
/// A running daemon is asked; where none runs, `octroid --doctor` looks.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    form: Form,
    /// With no daemon running: look at the interfaces of this configuration too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// With no daemon running: the network namespace in which they are.
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

impl Doctor {
    /// Asks and prints.
    ///
    /// # Errors
    /// If neither a daemon nor `octroid` answers.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let Some(mut connection) = daemon::try_connect(global)? else { return self.without_daemon() };
        let pages = connection.pages::<request::Doctor>()?;
        let rows: Vec<DoctorRow> = pages.into_iter().flat_map(|page| page.rows).collect();
        self.form.print(&rows, |rows| text(rows))?;
        let worst = rows.iter().map(|row| row.status).max();
        Ok(if worst == Some(Health::Fail) { Outcome::Unwell } else { Outcome::Well })
    }

    fn without_daemon(&self) -> Result<Outcome> {
        let mut command = daemon::program()?;
        command.arg("--doctor");
        if self.form.is_json() {
            command.arg("--json");
        }
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(netns) = &self.netns {
            command.arg("--netns").arg(netns);
        }
        let status = command.status().context("octroid --doctor")?;
        Ok(if status.success() { Outcome::Well } else { Outcome::Unwell })
    }
}

fn text(rows: &[DoctorRow]) -> String {
    let mut table = Table::new(["status", "check", "about", "finding"]);
    for row in rows {
        table.row([
            row.status.to_string(),
            row.id.clone(),
            row.subject.clone().unwrap_or_else(|| "-".into()),
            row.fix.as_ref().map_or_else(|| row.detail.clone(), |fix| format!("{}; fix: {fix}", row.detail)),
        ]);
    }
    table.to_string()
}
