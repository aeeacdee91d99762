//! The verbs, one file each, and what they have in common: an outcome, and JSON on request.
use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

pub(crate) mod capture;
pub(crate) mod check_config;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod man;
pub(crate) mod ruler;
pub(crate) mod stack;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod top;
pub(crate) mod up;

/// What a verb found: decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, all is well.
    Well,
    /// Done, and what was looked at is not well.
    Unwell,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Form {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Prints `answer` as one line of JSON, or as the text that `people` makes of it.
    ///
    /// # Errors
    /// If standard output does not take it. A reader who has seen enough and closed the pipe is no error.
    pub(crate) fn print<T: Serialize>(self, answer: &T, people: impl FnOnce(&T) -> String) -> Result<()> {
        let text = if self.json { serde_json::to_string(answer)? + "\n" } else { people(answer) };
        print(&text)
    }

    /// Whether programs read the answer.
    #[must_use]
    pub(crate) fn is_json(self) -> bool {
        self.json
    }
}

/// Writes to standard output.
///
/// # Errors
/// As [`Form::print`].
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}
