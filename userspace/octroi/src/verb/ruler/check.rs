//! `octroi ruler check`: what is wrong with programs, and what their filters become.
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use ruler::{
    bundle::Bundle,
    diagnostic::{self, Diagnostic},
    filter::{EngineReport, Report},
};
use serde::Serialize;

use super::program::{self, Compiled, Options};
use crate::{
    table::{Table, thousands},
    verb::{Form, Outcome},
};

/// Say what is wrong with programs, and what their filters become: classes, engines, tables, plans.
///
/// The exit status is 0 if there is no error, 1 if there is one, 2 if the command line is wrong.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The programs.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Warnings make the exit status 1 too.
    #[arg(long)]
    deny_warnings: bool,
    #[command(flatten)]
    form: Form,
}

/// What is said of one program.
#[derive(Debug, Serialize)]
struct Judged {
    file: String,
    diagnostics: Vec<Diagnostic>,
    filters: Vec<Report>,
    #[serde(skip)]
    bundle: Bundle,
}

impl Check {
    /// Checks and prints.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let judged = self.files.iter().map(|file| self.judge(file)).collect::<Result<Vec<_>>>()?;
        let is_bad = |found: &Diagnostic| self.deny_warnings || found.is_error();
        let is_unwell = judged.iter().flat_map(|program| &program.diagnostics).any(is_bad);
        self.form.print(&judged, |judged| judged.iter().map(text).collect())?;
        Ok(if is_unwell { Outcome::Unwell } else { Outcome::Well })
    }

    fn judge(&self, file: &Path) -> Result<Judged> {
        let Compiled { bundle, filters, diagnostics } = self.options.compile(file)?;
        let filters = filters.iter().map(ruler::filter::Filter::report).collect();
        Ok(Judged { file: bundle.root().to_owned(), diagnostics, filters, bundle })
    }
}

fn text(judged: &Judged) -> String {
    let mut text = diagnostic::text(&judged.bundle, &judged.diagnostics);
    if judged.filters.is_empty() && !judged.diagnostics.iter().any(Diagnostic::is_error) {
        let _ = writeln!(text, "{}: no filters in it", judged.file);
    }
    for report in &judged.filters {
        let Report { filter, nodes, classes, decided, table_bytes, .. } = report;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: filter {filter}: {nodes} header nodes, {classes} classes, {decided} of them decided by headers; {} \
             bytes of tables",
            judged.file,
            thousands(*table_bytes as u64)
        );
        let _ = write!(text, "{}", rules(&judged.bundle, report));
        if !report.engines.is_empty() {
            let _ = write!(text, "\n{}", engines(report));
        }
    }
    text
}

fn rules(bundle: &Bundle, report: &Report) -> Table<6> {
    let mut table = Table::new(["rule", "line", "action", "code", "plan", "labels"]);
    for rule in &report.rules {
        table.row([
            rule.number.to_string(),
            program::line(bundle, bundle.root(), rule.span).to_string(),
            rule.action.to_owned(),
            rule.code.to_string(),
            rule.plan.unwrap_or("-").to_owned(),
            rule.labels.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn engines(report: &Report) -> Table<8> {
    let heading = ["engine", "kind", "rules", "states", "byte classes", "cells", "bytes", "because"];
    let mut table = Table::new(heading);
    for (number, engine) in report.engines.iter().enumerate() {
        let EngineReport { rung, tables, given_up } = engine;
        let because = given_up.clone().unwrap_or_else(|| "-".to_owned());
        let number = (number + 1).to_string();
        if tables.is_empty() {
            let none = || "-".to_owned();
            table.row([number, (*rung).to_owned(), none(), none(), none(), none(), none(), because]);
            continue;
        }
        for size in tables {
            table.row([
                number.clone(),
                (*rung).to_owned(),
                size.rules.to_string(),
                thousands(size.states as u64),
                size.classes.to_string(),
                thousands(size.cells as u64),
                thousands(size.bytes as u64),
                because.clone(),
            ]);
        }
    }
    table
}
