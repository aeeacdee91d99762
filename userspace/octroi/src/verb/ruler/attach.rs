//! `octroi ruler run --port|--target`: a filter attached to a running daemon, or taken away from it.
//!
//! It compiles nothing: the daemon gets the sources and the key, compiles with the limits of the language, and says what
//! is wrong. What is attached stays until it is replaced or detached, or the daemon goes down.
use std::{os::fd::AsFd, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{
    control::ruler::{
        FilterRow, MAX_ANSWER, RulerAttach, RulerAttached, RulerDetach, Said, Scope, TargetName, Where,
    },
    document,
};
use serde::Serialize;

use super::{key, program::Options};
use crate::{
    cli::Global,
    daemon,
    table::thousands,
    verb::{Form, Outcome},
};

/// How long a large program may take to compile.
const PATIENCE: Duration = Duration::from_secs(120);

/// To what a filter is attached, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Attach {
    /// Attach the filter to this served interface, in place of the one that is there. Root only.
    #[arg(long, value_name = "IF", conflicts_with_all = ["pcap", "target"])]
    port: Option<String>,
    /// Attach it to a target: builtin:TUPLE as `target list` has it, stack:SLOT or stack:SLOT.TUPLE.
    #[arg(long, value_name = "K:ID", conflicts_with = "pcap")]
    target: Option<TargetName>,
    /// Which packets of the interface it judges: steered (those that are claimed) or interface (all; what headers
    /// finally reject is dropped, the OS stack's packets too) [default: steered].
    #[arg(long, value_name = "SCOPE", requires = "port")]
    scope: Option<Scope>,
    /// Give packets that are accepted with one of these codes to the OS stack.
    #[arg(long, value_name = "CODES", requires = "port", value_delimiter = ',')]
    pass: Vec<u16>,
    /// In scope interface: even if the OS stack's neighbours are then not found any more.
    #[arg(long, requires = "port")]
    force: bool,
    /// Take the filter away instead.
    #[arg(long, conflicts_with_all = ["pcap", "file", "key_file", "scope", "pass", "force"])]
    detach: bool,
}

/// What is to be attached.
pub(super) struct Program<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) options: &'a Options,
    pub(super) key_file: Option<&'a Path>,
}

/// What programs read of an attachment.
#[derive(Debug, Serialize)]
struct Attached<'a> {
    #[serde(flatten)]
    answer: RulerAttached,
    #[serde(flatten)]
    said: &'a Said,
}

impl Attach {
    /// To what, if to anything.
    pub(super) fn place(&self) -> Option<Where> {
        let port = self.port.clone().map(Where::Port);
        port.or_else(|| self.target.map(Where::Target))
    }

    /// Asks the daemon.
    ///
    /// # Errors
    /// A file cannot be read, no daemon answers, or it refuses. A program that is wrong is no error.
    pub(super) fn run(
        &self,
        global: &Global,
        at: Where,
        program: &Program<'_>,
        form: Form,
    ) -> Result<Outcome> {
        if self.detach {
            return detach(global, at, form);
        }
        let Some(file) = program.file else { bail!("which program?") };
        let bundle = document::write_json(&program.options.read(file)?)?;
        let key = program.key_file.map(|file| anyhow::Ok(document::write(&key::read(file)?)?)).transpose()?;
        let ask = RulerAttach {
            at,
            scope: self.scope.unwrap_or_default(),
            pass: self.pass.clone(),
            force: self.force,
            filter: program.options.filter.clone(),
            allow_slow: program.options.reading.allow_slow,
        };
        let lent: Vec<_> = [Some(&bundle), key.as_ref()].into_iter().flatten().map(AsFd::as_fd).collect();
        let (answer, fds) = daemon::connect_for(global, PATIENCE)?.call_with(&ask, &lent)?;
        let said: Said = document::read_json(only(fds)?, MAX_ANSWER)?;
        if !form.is_json() {
            eprint!("{}", said.text);
        }
        form.print(&Attached { answer, said: &said }, |attached| text(attached.said))?;
        Ok(if answer.generation.is_some() { Outcome::Well } else { Outcome::Unwell })
    }
}

fn detach(global: &Global, at: Where, form: Form) -> Result<Outcome> {
    let (_, fds) = daemon::connect(global)?.call_with(&RulerDetach { at }, &[])?;
    let row: FilterRow = document::read_json(only(fds)?, MAX_ANSWER)?;
    form.print(&row, |row| format!("{} is detached; it {}\n", named(row), judged(row)))?;
    Ok(Outcome::Well)
}

/// The one document that comes beside an answer.
pub(super) fn only<T>(fds: Vec<T>) -> Result<T> {
    fds.into_iter().next().context("the daemon's answer came without its document")
}

fn text(said: &Said) -> String {
    let Some(attached) = &said.attached else { return String::new() };
    let mut text = format!("{} is attached\n", named(attached));
    if let Some(degraded) = &attached.degraded {
        text += &format!("it runs slowly: {degraded}\n");
    }
    if let Some(old) = &said.replaced {
        text += &format!("it replaces generation {}, which {}\n", old.generation, judged(old));
    }
    text
}

fn named(row: &FilterRow) -> String {
    format!("{} on {} (generation {})", row.filter, row.at, row.generation)
}

fn judged(row: &FilterRow) -> String {
    let matched: u64 = row.rules.iter().map(|rule| rule.matched).sum();
    format!("judged {} packets", thousands(matched + row.unmatched))
}
