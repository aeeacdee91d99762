//! `octroi ruler dump`: one stage of compiling, as text, as JSON or for Graphviz.
//!
//! Texts and structures are those of crate `ruler`, stable for the same source; nothing reads them back.
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use ruler::{
    bundle::Bundle,
    diagnostic::{self, Diagnostic},
    filter::dump::{ClassNumber, Stages},
    resolved,
    syntax::dump,
};
use serde::Serialize;
use serde_json::Value;

use super::{header::Header, program::Options};
use crate::verb::{Outcome, print};

/// Show a program at one stage of compiling.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The program.
    file: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Which stage.
    #[arg(long, value_enum)]
    stage: Stage,
    /// Only this header class, by its number in stage dfa.
    #[arg(long, value_name = "N")]
    class: Option<usize>,
    #[command(flatten)]
    header: Header,
    /// Print a graph for Graphviz: stages dag, dfa and tdfa.
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    /// Print JSON: nodes, states, transitions and instructions, one object for each filter or file.
    #[arg(long)]
    json: bool,
}

/// The stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// What was read, file by file.
    Ast,
    /// Rules as regular expressions over bytes.
    Ir,
    /// Rules as straight ways through headers, and what each leaves.
    Paths,
    /// The graph that decides what headers decide.
    Dag,
    /// Header classes, and the automata of their payload.
    Dfa,
    /// The tagged automata of labels that headers do not tell.
    Tdfa,
    /// What rules do to packets.
    Plan,
    /// The header program: the graph as the kernel's instructions.
    Ebpf,
}

/// One piece of the answer.
#[derive(Debug, Serialize)]
struct Shown {
    stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    #[serde(flatten)]
    body: Body,
}

/// What a stage shows: a text, or an object with its parts.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Body {
    Text(#[serde(skip)] String),
    Structure(Value),
}

impl Dump {
    /// Prints it.
    ///
    /// # Errors
    /// A file cannot be read, or there is no such thing to show.
    pub(crate) fn run(&self) -> Result<Outcome> {
        self.ensure_meant()?;
        let bundle = self.options.read(&self.file)?;
        let (shown, found) =
            if self.stage == Stage::Ast { self.ast(&bundle)? } else { self.filters(&bundle)? };
        eprint!("{}", diagnostic::text(&bundle, &found));
        self.say(&shown)?;
        Ok(if found.iter().any(Diagnostic::is_error) { Outcome::Unwell } else { Outcome::Well })
    }

    /// The stage of each filter.
    fn filters(&self, bundle: &Bundle) -> Result<(Vec<Shown>, Vec<Diagnostic>)> {
        let (filters, mut found) = ruler::resolve(bundle);
        let limits = self.options.limits();
        let mut shown = Vec::new();
        for filter in self.options.chosen(&self.file, &filters, &found)? {
            let (stages, more) = Stages::new(filter, bundle.root(), &limits);
            found.extend(more);
            if let Some(stages) = stages {
                shown.push(self.show(filter, &stages)?);
            }
        }
        Ok((shown, found))
    }

    /// Refuses what a stage has not.
    fn ensure_meant(&self) -> Result<()> {
        let has_classes = matches!(self.stage, Stage::Dfa | Stage::Tdfa);
        ensure!(self.class.is_none() || has_classes, "--class: only stages dfa and tdfa have classes");
        let has_graph = matches!(self.stage, Stage::Dag | Stage::Dfa | Stage::Tdfa);
        ensure!(!self.dot || has_graph, "--dot: only stages dag, dfa and tdfa have graphs");
        let is_program = self.stage == Stage::Ebpf;
        ensure!(is_program || self.header.is_default(), "--scope, --pass: only stage ebpf depends on them");
        Ok(())
    }

    fn show(&self, filter: &resolved::Filter, stages: &Stages<'_>) -> Result<Shown> {
        if let Some(number) = self.class.filter(|number| stages.classes() <= *number) {
            let last = stages.classes().saturating_sub(1);
            bail!("--class {number}: filter `{}` has classes 0 to {last}", filter.name);
        }
        let body = if self.json { self.structure(stages)? } else { self.text(stages)? };
        Ok(Shown {
            stage: self.stage,
            file: None,
            filter: Some(filter.name.clone()),
            class: self.class,
            body,
        })
    }

    fn text(&self, stages: &Stages<'_>) -> Result<Body> {
        let class = self.class.map(ClassNumber);
        Ok(Body::Text(match (self.stage, self.dot) {
            (Stage::Ast, _) => unreachable!("a file has a tree, not a filter"),
            (Stage::Ir, _) => stages.ir(),
            (Stage::Paths, _) => stages.filter().dag().paths_text(),
            (Stage::Dag, false) => stages.filter().dag().text(),
            (Stage::Dag, true) => stages.filter().dag().dot(),
            (Stage::Dfa, false) => stages.dfa(class),
            (Stage::Dfa, true) => stages.dfa_dot(class),
            (Stage::Tdfa, false) => stages.tdfa(class),
            (Stage::Tdfa, true) => stages.tdfa_dot(class),
            (Stage::Plan, _) => stages.plan(),
            (Stage::Ebpf, _) => stages.filter().untried_program(&self.header.settings())?.to_string(),
        }))
    }

    fn structure(&self, stages: &Stages<'_>) -> Result<Body> {
        let class = self.class.map(ClassNumber);
        Ok(Body::Structure(match self.stage {
            Stage::Ast => unreachable!("a file has a tree, not a filter"),
            Stage::Ir => serde_json::to_value(stages.regexes())?,
            Stage::Paths => serde_json::to_value(stages.paths())?,
            Stage::Dag => serde_json::to_value(stages.graph())?,
            Stage::Dfa => serde_json::to_value(stages.automata(class))?,
            Stage::Tdfa => serde_json::to_value(stages.label_automata(class))?,
            Stage::Plan => serde_json::to_value(stages.plans())?,
            Stage::Ebpf => serde_json::to_value(stages.filter().untried_program(&self.header.settings())?)?,
        }))
    }

    /// The tree of every file that was read, but for the built-in one.
    fn ast(&self, bundle: &Bundle) -> Result<(Vec<Shown>, Vec<Diagnostic>)> {
        let (mut shown, mut all_found) = (Vec::new(), Vec::new());
        for (name, source) in bundle.files() {
            let (tree, found) = ruler::read(name, source);
            all_found.extend(found);
            let body = match self.json {
                true => Body::Structure(serde_json::to_value(&tree)?),
                false => Body::Text(dump::dump(&tree)),
            };
            let (stage, file) = (self.stage, Some(name.to_owned()));
            shown.push(Shown { stage, file, filter: None, class: None, body });
        }
        Ok((shown, all_found))
    }

    fn say(&self, shown: &[Shown]) -> Result<()> {
        if self.json {
            return print(&(serde_json::to_string(shown)? + "\n"));
        }
        let mut text = String::new();
        for one in shown {
            // A graph stands alone; Graphviz reads several in one file.
            if let Some(file) = &one.file {
                text += &format!("file {file}\n");
            } else if let (Some(filter), false) = (&one.filter, self.dot) {
                text += &format!("filter {filter}\n");
            }
            if let Body::Text(body) = &one.body {
                text += body;
            }
        }
        print(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        dump: Dump,
    }

    fn dump(words: &[&str]) -> Result<Outcome> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rl");
        fs::write(&file, "filter f 1 * \"a\" * => accept; * => reject; filter g * => accept;").unwrap();
        let file = file.display().to_string();
        Line::parse_from(["dump", &file].iter().chain(words)).dump.run()
    }

    #[test]
    fn every_stage_is_shown_for_every_filter() {
        for stage in Stage::value_variants() {
            let name = stage.to_possible_value().unwrap();
            assert_eq!(dump(&["--stage", name.get_name()]).unwrap(), Outcome::Well, "{stage:?}");
            assert_eq!(dump(&["--stage", name.get_name(), "--json"]).unwrap(), Outcome::Well, "{stage:?}");
        }
    }

    #[test]
    fn structures_have_parts_under_names_of_their_own() {
        let bundle = Bundle::new("a.rl", "filter f 1 * x:\"a\" * => x; * => reject;");
        let (filters, _) = ruler::resolve(&bundle);
        let limits = Options::default().limits();
        let stages = Stages::new(&filters[0], "a.rl", &limits).0.unwrap();
        for (stage, parts) in [
            (Stage::Ir, &["rules"][..]),
            (Stage::Paths, &["paths"]),
            (Stage::Dag, &["nodes"]),
            (Stage::Dfa, &["classes", "engines"]),
            (Stage::Tdfa, &["classes", "ways"]),
            (Stage::Plan, &["rules"]),
            (Stage::Ebpf, &["depth", "instructions", "parts"]),
        ] {
            let name = stage.to_possible_value().unwrap();
            let line = Line::parse_from(["dump", "a.rl", "--json", "--stage", name.get_name()]);
            let shown = serde_json::to_value(line.dump.show(&filters[0], &stages).unwrap()).unwrap();
            let names: Vec<&String> = shown.as_object().unwrap().keys().collect();
            assert_eq!(
                names.iter().filter(|name| parts.contains(&name.as_str())).count(),
                parts.len(),
                "{shown}"
            );
            assert_eq!((names.len(), &shown["stage"]), (parts.len() + 2, &Value::from(name.get_name())));
        }
    }

    #[test]
    fn the_scope_changes_the_header_program() {
        let bundle = Bundle::new("a.rl", "filter f 1 * => reject; * => accept;");
        let (filters, _) = ruler::resolve(&bundle);
        let limits = Options::default().limits();
        let stages = Stages::new(&filters[0], "a.rl", &limits).0.unwrap();
        let [steered, interface] = ["steered", "interface"].map(|scope| {
            let line = Line::parse_from(["dump", "a.rl", "--stage", "ebpf", "--scope", scope]);
            let Body::Text(text) = line.dump.text(&stages).unwrap() else { panic!("a text was asked for") };
            text
        });
        assert!(steered.starts_with("entry:\n     0: r6 = r1\n"), "{steered}");
        assert_ne!(steered, interface);
    }

    #[test]
    fn what_is_wrong_with_a_program_is_said_at_every_stage() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rl");
        fs::write(&file, "filter f 1 accept;").unwrap();
        let file = file.display().to_string();
        for stage in ["ast", "ir"] {
            let line = Line::parse_from(["dump", &file, "--stage", stage]);
            assert_eq!(line.dump.run().unwrap(), Outcome::Unwell, "{stage}");
        }
    }

    #[test]
    fn what_a_stage_has_not_is_refused() {
        let refused = |words: &[&str]| dump(words).unwrap_err().to_string();
        assert!(refused(&["--stage", "plan", "--dot"]).contains("only stages dag, dfa and tdfa have graphs"));
        assert!(refused(&["--stage", "dag", "--pass", "1"]).contains("only stage ebpf depends on them"));
        assert!(
            refused(&["--stage", "dag", "--class", "0"]).contains("only stages dfa and tdfa have classes")
        );
        assert!(refused(&["--stage", "dfa", "--class", "9"]).contains("filter `f` has classes 0 to 1"));
        assert!(refused(&["--stage", "dfa", "--filter", "h"]).contains("no filter `h`; it has `f`, `g`"));
    }
}
