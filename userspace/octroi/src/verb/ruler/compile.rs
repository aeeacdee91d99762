//! `octroi ruler compile`: what a program becomes, as files.
//!
//! There is no loadable table format: whoever runs a filter compiles it, from a bundle that includes nothing.
use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use ruler::{
    diagnostic::{self, Diagnostic},
    filter::Filter,
    resolve::canonical,
};

use super::{
    header::Header,
    program::{Compiled, Options},
};
use crate::verb::{Form, Outcome};

/// Write what a program becomes: a report, all its files as one source, the instructions of its header programs.
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
    header: Header,
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
    /// FILE.FILTER.ebpf for each filter: its header program's instructions of eight bytes, as this machine's kernel reads them;
    /// and FILE.FILTER.ebpf.txt: the same as text.
    Ebpf,
}

impl Compile {
    /// Compiles and writes.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let has_programs = self.emit.contains(&Emit::Ebpf);
        ensure!(
            has_programs || self.header.is_default(),
            "--scope, --pass: only --emit ebpf depends on them"
        );
        let compiled = self.options.compile(&self.file)?;
        eprint!("{}", diagnostic::text(&compiled.bundle, &compiled.diagnostics));
        if compiled.diagnostics.iter().any(Diagnostic::is_error) {
            return Ok(Outcome::Unwell);
        }
        let mut emit = self.emit.clone();
        emit.sort_unstable();
        emit.dedup();
        let made: Vec<_> = emit.into_iter().map(|kind| self.made(kind, &compiled)).collect::<Result<_>>()?;
        fs::create_dir_all(&self.output).with_context(|| self.output.display().to_string())?;
        let mut written = Vec::new();
        for (path, content) in made.into_iter().flatten() {
            fs::write(&path, content).with_context(|| path.display().to_string())?;
            written.push(path);
        }
        self.form.print(&written, |written| {
            written.iter().map(|path| format!("{}\n", path.display())).collect()
        })?;
        Ok(Outcome::Well)
    }

    /// Files of one kind, and what is in them.
    fn made(&self, kind: Emit, compiled: &Compiled) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let Compiled { bundle, filters, diagnostics } = compiled;
        Ok(match kind {
            Emit::Report => {
                let reports: Vec<_> = filters.iter().map(Filter::report).collect();
                let report = serde_json::json!({
                    "file": bundle.root(),
                    "diagnostics": diagnostics,
                    "filters": reports,
                });
                let text = serde_json::to_string_pretty(&report)? + "\n";
                vec![(self.path("report.json"), text.into_bytes())]
            }
            Emit::Bundle => vec![(self.path("bundle.rl"), canonical(bundle).into_bytes())],
            Emit::Ebpf => {
                let mut files = Vec::new();
                for filter in filters {
                    let name = filter.name();
                    let program = filter
                        .untried_program(&self.header.settings())
                        .with_context(|| format!("filter `{name}` has no header program"))?;
                    let raw = program.words().into_iter().flat_map(u64::to_ne_bytes).collect();
                    files.push((self.path(&format!("{name}.ebpf")), raw));
                    files.push((self.path(&format!("{name}.ebpf.txt")), program.to_string().into_bytes()));
                }
                files
            }
        })
    }

    /// A file named after the program.
    fn path(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.file_stem().unwrap_or_default().to_owned();
        name.push(".");
        name.push(suffix);
        self.output.join(name)
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
    fn a_header_program_is_written_as_instructions_and_as_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("a.rl"), "filter f 1 * => reject; * => accept; filter g * => accept;").unwrap();
        let compile = |more: &[&str]| {
            let (file, out) = (path("a.rl"), path("out"));
            let words = ["compile", &file, "-o", &out].into_iter().chain(more.iter().copied());
            Line::parse_from(words).compile.run()
        };
        assert_eq!(compile(&["--emit", "ebpf"]).unwrap(), Outcome::Well);
        for name in ["f", "g"] {
            let raw = fs::read(path(&format!("out/a.{name}.ebpf"))).unwrap();
            let text = fs::read_to_string(path(&format!("out/a.{name}.ebpf.txt"))).unwrap();
            let lines = text.lines().filter(|line| line.starts_with(' ')).count();
            assert_eq!(raw.len(), 8 * lines, "{name}");
            // The last is `exit`.
            assert_eq!((raw[raw.len() - 8], text.ends_with(": exit\n")), (0x95, true), "{name}");
        }
        let steered = fs::read(path("out/a.f.ebpf")).unwrap();
        assert_eq!(compile(&["--emit", "ebpf", "--scope", "interface"]).unwrap(), Outcome::Well);
        assert_ne!(fs::read(path("out/a.f.ebpf")).unwrap(), steered);
        let error = compile(&["--emit", "report", "--pass", "1"]).unwrap_err().to_string();
        assert!(error.contains("only --emit ebpf depends on them"), "{error}");
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
