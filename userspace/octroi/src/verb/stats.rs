//! `octroi stats`: every counter of the registry, by name and labels.
use anyhow::Result;
use clap::Args;
use client::control::{answer::StatRow, request::GetStats};

use super::{Form, Outcome};
use crate::{
    cli::Global,
    daemon,
    table::{Table, thousands},
};

/// Show every counter of a running daemon.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    form: Form,
    /// Leave out what has not moved.
    #[arg(long)]
    moved: bool,
    /// Only names that contain this.
    #[arg(value_name = "PART")]
    part: Option<String>,
}

impl Stats {
    /// Asks and prints.
    ///
    /// # Errors
    /// If no daemon answers.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let pages = daemon::connect(global)?.pages::<GetStats>()?;
        let wanted = |row: &StatRow| {
            (!self.moved || row.value != 0) && self.part.as_deref().is_none_or(|part| row.name.contains(part))
        };
        let rows: Vec<StatRow> = pages.into_iter().flat_map(|page| page.rows).filter(wanted).collect();
        self.form.print(&rows, |rows| text(rows))?;
        Ok(Outcome::Well)
    }
}

fn text(rows: &[StatRow]) -> String {
    let mut table = Table::new(["counter", "labels", "role", "value"]);
    for row in rows {
        let labels: Vec<_> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([row.name.clone(), labels.join(" "), row.role.to_string(), thousands(row.value)]);
    }
    table.to_string()
}
