//! The one form in which every demo and bench reports: a table for people, one JSON object for programs.
//!
//! Pure but for [`machine`] and [`record`], which read the machine's name and append to files. Nothing here
//! measures; [`interleave`] only decides whose turn it is and what the numbers say together.
//!
//! | module | what it is |
//! |---|---|
//! | [`demo`] | checks that hold or do not, and the books |
//! | [`books`] | what became of every packet |
//! | [`bench`] | rows of ours against a peer |
//! | [`interleave`] | A B B A: two measurements taken in turns |
//! | [`spread`] | median, quartiles and ends of a few runs |
//! | [`table`] | aligned text |
//! | [`svg`] | the rows as a chart |
//! | [`record`] | rows appended to `bench/record/<cpu>/<date>.csv` |
//! | [`machine`] | which machine, kernel and commit this was |
use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

pub mod bench;
pub mod books;
pub mod demo;
pub mod interleave;
pub mod machine;
pub mod record;
pub mod spread;
pub mod svg;
pub mod table;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Tables.
    #[default]
    Text,
    /// One JSON object on one line, the last of standard output.
    Json,
}

/// What ends a demo or a bench.
pub trait Report: Serialize {
    /// Whether everything that had to hold did.
    fn ok(&self) -> bool;

    /// The report as tables.
    fn text(&self) -> String;

    /// Writes the report and returns the exit status: failure if something did not hold.
    ///
    /// # Errors
    /// What writing to `out` says.
    fn finish(&self, form: Form, out: &mut impl Write) -> io::Result<ExitCode> {
        match form {
            Form::Text => out.write_all(self.text().as_bytes())?,
            Form::Json => {
                serde_json::to_writer(&mut *out, self)?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()?;
        Ok(if self.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
