//! `octroi ruler compile`: what a program becomes, as files.
//!
//! There is no loadable table format: whoever runs a filter compiles it, from a bundle that includes nothing.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ruler::{
    diagnostic::{self, Diagnostic},
    filter::Filter,
    resolve::canonical,
};

use super::program::{Compiled, Options};
use crate::verb::{Form, Outcome};

/// Write what a program becomes: a report, and all its files as one source.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// The program.
    file: PathBuf,
    #[command(flatten)]
    options: Options,
    /// What to write.
    #[arg(long, value_enum, required = true, value_delimiter = ',')]
    emit: Vec<Emit>,
    /// The directory to write to; made if missing. Files of the same names are replaced.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    #[command(flatten)]
    form: Form,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Emit {
    /// FILE.report.json: diagnostics, and what each filter became.
    Report,
    /// FILE.bundle.rl: one source with the filters and the templates that they use, and no includes.
    Bundle,
}

impl Compile {
    /// Compiles and writes.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let Compiled { bundle, filters, diagnostics } = self.options.compile(&self.file)?;
        eprint!("{}", diagnostic::text(&bundle, &diagnostics));
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Ok(Outcome::Unwell);
        }
        let mut emit = self.emit.clone();
        emit.sort_unstable();
        emit.dedup();
        fs::create_dir_all(&self.output).with_context(|| self.output.display().to_string())?;
        let mut written = Vec::new();
        for kind in emit {
            let text = match kind {
                Emit::Report => {
                    let reports: Vec<_> = filters.iter().map(Filter::report).collect();
                    let report = serde_json::json!({
                        "file": bundle.root(),
                        "diagnostics": diagnostics,
                        "filters": reports,
                    });
                    serde_json::to_string_pretty(&report)? + "\n"
                }
                Emit::Bundle => canonical(&bundle),
            };
            let path = self.path(kind);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            written.push(path);
        }
        self.form.print(&written, |written| {
            written.iter().map(|path| format!("{}\n", path.display())).collect()
        })?;
        Ok(Outcome::Well)
    }

    fn path(&self, kind: Emit) -> PathBuf {
        let stem = self.file.file_stem().unwrap_or_default();
        let mut name = stem.to_owned();
        name.push(match kind {
            Emit::Report => ".report.json",
            Emit::Bundle => ".bundle.rl",
        });
        self.output.join(Path::new(&name))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        compile: Compile,
    }

    #[test]
    fn a_bundle_compiles_to_the_same_report_as_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(path("lib")).unwrap();
        fs::write(path("lib/mine.rli"), "pattern Mine : 1 m:byte").unwrap();
        let source = "include \"layouts.rli\" include \"mine.rli\"\n\
                      filter f Ethernet_IPv4 i:IPv4 * => accept 1; x:Mine * => x with [m=3]; * => reject;";
        fs::write(path("a.rl"), source).unwrap();
        let compile = |file: &str, output: &str| {
            let words = ["compile", file, "--emit", "bundle,report", "-o", output, "-I"];
            Line::parse_from(words.into_iter().chain([path("lib").as_str()])).compile.run().unwrap()
        };
        assert_eq!(compile(&path("a.rl"), &path("one")), Outcome::Well);
        fs::remove_dir_all(path("lib")).unwrap();
        assert_eq!(compile(&path("one/a.bundle.rl"), &path("two")), Outcome::Well);
        let report = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap()
        };
        let (one, two) = (report("one/a.report.json"), report("two/a.bundle.report.json"));
        for field in ["nodes", "classes", "decided", "engines", "table_bytes"] {
            assert_eq!(one["filters"][0][field], two["filters"][0][field], "{field}");
        }
        assert_eq!(one["filters"][0]["rules"][1]["plan"], "cut");
        assert_eq!(
            fs::read(path("one/a.bundle.rl")).unwrap(),
            fs::read(path("two/a.bundle.bundle.rl")).unwrap()
        );
    }

    #[test]
    fn nothing_is_written_of_a_wrong_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("a.rl"), "filter f 1 => y;").unwrap();
        let words = ["compile", &path("a.rl"), "--emit", "report", "-o", &path("out")];
        assert_eq!(Line::parse_from(words).compile.run().unwrap(), Outcome::Unwell);
        assert!(!dir.path().join("out").exists());
    }
}
