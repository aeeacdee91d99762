//! Programs on disk: the file that was named with all that it includes, compiled as the arguments say.
//!
//! It reads regular files only as far as a source may be long, and prints what is wrong with them to standard error.
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use ruler::{
    bundle::Bundle,
    diagnostic::{self, Diagnostic},
    exec::ladder::{self, Slow},
    filter::{Filter, Limits},
    resolved,
    source::Span,
};

/// How a program is read and compiled.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Reading {
    /// Look for included files in this directory too, after that of the including file. May be repeated.
    #[arg(short = 'I', value_name = "DIR")]
    pub(crate) include: Vec<PathBuf>,
    /// Allow rules that only simulation can judge, which is slow.
    #[arg(long)]
    pub(crate) allow_slow: bool,
}

/// The same, and which of a program's filters are meant.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Only this filter.
    #[arg(long, value_name = "NAME")]
    pub(crate) filter: Option<String>,
}

/// A program that was read and compiled.
pub(crate) struct Compiled {
    /// Its sources.
    pub(crate) bundle: Bundle,
    /// Those of its filters that were asked for; none if the program is wrong.
    pub(crate) filters: Vec<Filter>,
    /// What is to be said of it.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Reading {
    /// Reads a program whose files are opened by `open`.
    ///
    /// # Errors
    /// A file cannot be read. An included one that is not there is a diagnostic instead.
    pub(crate) fn read_by<R: Read>(
        &self,
        file: &str,
        open: impl FnMut(&str) -> io::Result<R>,
    ) -> Result<Bundle> {
        let search = self.include.iter().map(|directory| name(directory)).collect::<Result<Vec<_>>>()?;
        Ok(Bundle::read(file, &search, open)?)
    }

    /// How much its filters may need.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        let slow = if self.allow_slow { Slow::Allowed } else { Slow::Refused };
        Limits { engines: ladder::Limits { slow, ..ladder::Limits::default() }, ..Limits::default() }
    }
}

impl Options {
    /// Reads a program.
    ///
    /// # Errors
    /// As [`Reading::read_by`].
    pub(crate) fn read(&self, file: &Path) -> Result<Bundle> {
        self.reading.read_by(name(file)?, |name| File::open(name))
    }

    /// How much its filters may need.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        self.reading.limits()
    }

    /// Reads and compiles a program.
    ///
    /// # Errors
    /// As [`Options::read`]; or the filter that was asked for is not in it.
    pub(crate) fn compile(&self, file: &Path) -> Result<Compiled> {
        let bundle = self.read(file)?;
        let (mut filters, diagnostics) = ruler::compile(&bundle, &self.limits());
        let is_sound = !diagnostics.iter().any(Diagnostic::is_error);
        if let Some(wanted) = self.filter.as_deref().filter(|_| is_sound) {
            let names = names(filters.iter().map(Filter::name));
            filters.retain(|filter| filter.name() == wanted);
            if filters.is_empty() {
                bail!("{}: no filter `{wanted}`; {names}", file.display());
            }
        }
        Ok(Compiled { bundle, filters, diagnostics })
    }

    /// Those of the resolved filters that are meant.
    ///
    /// # Errors
    /// None of them has the name that was asked for, though the program is sound.
    pub(crate) fn chosen<'f>(
        &self,
        file: &Path,
        filters: &'f [resolved::Filter],
        found: &[Diagnostic],
    ) -> Result<Vec<&'f resolved::Filter>> {
        let Some(wanted) = &self.filter else { return Ok(filters.iter().collect()) };
        let chosen: Vec<_> = filters.iter().filter(|filter| filter.name == *wanted).collect();
        if chosen.is_empty() && !found.iter().any(Diagnostic::is_error) {
            let names = names(filters.iter().map(|filter| &*filter.name));
            bail!("{}: no filter `{wanted}`; {names}", file.display());
        }
        Ok(chosen)
    }

    /// The one filter that is meant, with its sources; `None` if the program is wrong. Diagnostics are printed to
    /// standard error.
    ///
    /// # Errors
    /// As [`Options::compile`]; or it is not said which of several is meant.
    pub(crate) fn one(&self, file: &Path) -> Result<Option<(Bundle, Filter)>> {
        let Compiled { bundle, mut filters, diagnostics } = self.compile(file)?;
        eprint!("{}", diagnostic::text(&bundle, &diagnostics));
        match (filters.pop(), filters.is_empty()) {
            (Some(filter), true) => Ok(Some((bundle, filter))),
            (Some(last), false) => {
                filters.push(last);
                let names = names(filters.iter().map(Filter::name));
                bail!("{}: several filters; say which with --filter: {names}", file.display())
            }
            (None, _) if diagnostics.iter().any(Diagnostic::is_error) => Ok(None),
            (None, _) => bail!("{}: no filter in it", file.display()),
        }
    }
}

/// The line of a place in a file of a bundle, from 1.
#[must_use]
pub(crate) fn line(bundle: &Bundle, file: &str, span: Span) -> usize {
    let source = bundle.source(file).unwrap_or_default();
    1 + source.iter().take(span.start).filter(|byte| **byte == b'\n').count()
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
}

fn name(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: its name is not UTF-8", path.display()))
}
