//! `ids`: which promises of SPECIFICATION.md have a test or a record, and which are pending.
//!
//! A test for row B4 has a name that begins `b04_`, and one for B12 and RT4 begins `b12_rt04_`; a bench row counts once a
//! line of `bench/record/` names it. The status column is never written by hand: `ids --bless` writes it, and tidy fails while it is not the truth.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::repo::Repo;
use crate::task::tidy::Problem;
use crate::task::tidy::law::table;
use crate::task::tidy::tree::{File, Tree};

/// The document, relative to the root.
pub(crate) const SPECIFICATION: &str = "SPECIFICATION.md";
const ROWS_HEADING: &str = "## The rows";

/// What stands behind a row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
    /// Names of its tests.
    Tested(Vec<String>),
    /// Every bench row it names is in `bench/record/`.
    Recorded,
    /// Nothing yet.
    Pending,
}

impl Status {
    fn word(&self) -> &'static str {
        match self {
            Self::Tested(_) => "tested",
            Self::Recorded => "recorded",
            Self::Pending => "*pending*",
        }
    }
}

/// One row of the table: id, promise, shown by, status.
struct Row<'a> {
    cells: Vec<&'a str>,
    status: Status,
}

impl Row<'_> {
    fn id(&self) -> &str {
        self.cells.first().copied().unwrap_or_default()
    }

    fn written(&self) -> &str {
        self.cells.last().copied().unwrap_or_default()
    }
}

/// Prints every row with its status, or rewrites the status column.
///
/// # Errors
/// If the document cannot be read or written.
pub(crate) fn run(repo: &Repo, bless: Bless) -> Result<()> {
    let path = repo.join(SPECIFICATION);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {SPECIFICATION}"))?;
    let tree = Tree::load(repo.root())?;
    let rows = rows(&tree, &text);
    if bless == Bless::Write {
        std::fs::write(&path, blessed(&text, &rows))
            .with_context(|| format!("cannot write {SPECIFICATION}"))?;
    }
    print!("{}", listing(&rows));
    Ok(())
}

/// Whether to rewrite the status column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bless {
    /// Look only.
    Read,
    /// Write it.
    Write,
}

/// What tidy checks: the status column is true, and no promise names a row that does not exist.
pub(crate) fn check(tree: &Tree, text: &str) -> Vec<Problem> {
    let problem = |line, message| Problem { path: SPECIFICATION.to_owned(), line, message };
    let rows = rows(tree, text);
    if rows.is_empty() {
        return vec![problem(1, format!("has no table under `{ROWS_HEADING}`"))];
    }
    let stale = rows.iter().filter(|row| row.written() != row.status.word()).map(|row| {
        let line =
            text.lines().position(|line| line.starts_with(&format!("| {} |", row.id()))).unwrap_or(0) + 1;
        let (written, is) = (row.written(), row.status.word());
        problem(line, format!("row {} says {written} and is {is}: run `cargo xtask ids --bless`", row.id()))
    });
    let unknown = text.lines().enumerate().flat_map(|(line, content)| {
        cited(content).filter(|id| !rows.iter().any(|row| row.id() == *id)).map(move |id| (line + 1, id))
    });
    stale.chain(unknown.map(|(line, id)| problem(line, format!("names {id}, which is no row")))).collect()
}

fn rows<'a>(tree: &Tree, text: &'a str) -> Vec<Row<'a>> {
    let (tests, recorded) = (tests_by_id(tree), recorded_names(tree));
    let with_status = |cells: Vec<&'a str>| {
        let id = cells.first().copied().unwrap_or_default();
        let benches: Vec<_> =
            cells.get(2).copied().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let status = if let Some(names) = tests.get(id) {
            Status::Tested(names.clone())
        } else if id.starts_with('P')
            && !benches.is_empty()
            && benches.iter().all(|bench| recorded.contains(bench))
        {
            Status::Recorded
        } else {
            Status::Pending
        };
        Row { cells, status }
    };
    table(text, ROWS_HEADING).into_iter().map(with_status).collect()
}

/// Every test whose name begins with ids, by each of them.
fn tests_by_id(tree: &Tree) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in tree.rust().flat_map(File::tests) {
        for id in ids_of(name) {
            found.entry(id).or_default().push(name.to_owned());
        }
    }
    found
}

/// `b04_truncation` is a test of row B4, `b12_rt04_engines_agree` one of B12 and of RT4.
fn ids_of(test: &str) -> Vec<String> {
    // The last word is no id: something must say what the test is about.
    let words = test.rsplit_once('_').map_or("", |(words, _)| words);
    words.split('_').map_while(id_of).collect()
}

fn id_of(word: &str) -> Option<String> {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let letters = &word[..word.len() - digits.len()];
    let number: u32 = digits.parse().ok()?;
    (1..=2).contains(&letters.len()).then(|| format!("{}{number}", letters.to_ascii_uppercase()))
}

/// Every field of every committed record.
fn recorded_names(tree: &Tree) -> Vec<&str> {
    let records = tree.files.iter().filter(|file| file.path.starts_with("bench/record/"));
    records.flat_map(|file| file.text.lines().flat_map(|line| line.split(','))).map(str::trim).collect()
}

/// Ids in square brackets, `[F4, F16]`: how a promise names its rows.
fn cited(line: &str) -> impl Iterator<Item = &str> {
    let is_id = |word: &&str| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
        digits.len() < word.len() && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let brackets = line.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside);
    brackets.flat_map(|inside| inside.split(',').map(str::trim)).filter(is_id)
}

fn listing(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let names = match &row.status {
            Status::Tested(names) => names.join(" "),
            Status::Recorded | Status::Pending => row.cells.get(1).copied().unwrap_or_default().to_owned(),
        };
        let _ = writeln!(text, "{:<5} {:<9} {names}", row.id(), row.status.word().trim_matches('*'));
    }
    let pending = rows.iter().filter(|row| row.status == Status::Pending).count();
    let _ = writeln!(text, "{} rows, {pending} pending", rows.len());
    text
}

/// The document with the status column as it is.
fn blessed(text: &str, rows: &[Row]) -> String {
    let line = |line: &str| {
        let row = rows.iter().find(|row| line.starts_with(&format!("| {} |", row.id())));
        match row {
            Some(row) => {
                let kept = &row.cells[..row.cells.len() - 1];
                format!("| {} | {} |\n", kept.join(" | "), row.status.word())
            }
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# S\nFrames are whole. [B4, F1] See [B4](x) and [x].\n## The rows\n\n| id | promise | shown by | status |\n\
        |---|---|---|---|\n| B4 | truncation | wire | tested |\n| F1 | crash | octroid | *pending* |\n\
        | P1 | steering | `steer_hit`, `steer_miss` | *pending* |\n\nEnd.\n";

    fn tree() -> Tree {
        Tree::sample(&[
            (
                "userspace/wire/src/ip.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n#[test]\nfn b04_cut() {} fn f01_helper() {} }",
            ),
            ("bench/record/cpu/1.csv", "commit,bench\nabc,steer_hit\n"),
        ])
    }

    #[test]
    fn a_test_is_of_the_rows_its_name_begins_with() {
        for (name, ids) in [
            ("b04_x", &["B4"][..]),
            ("f16_y", &["F16"]),
            ("mt2_z", &["MT2"]),
            ("b12_rt04_engines_b04", &["B12", "RT4"]),
        ] {
            assert_eq!(ids_of(name), ids, "{name}");
        }
        for name in ["parses_b04", "b04", "ipv4_header", "b_04", "_x"] {
            assert!(ids_of(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_true_table_has_no_problem() {
        assert!(check(&tree(), TEXT).is_empty());
    }

    #[test]
    fn a_row_that_boasts_or_hides_is_named() {
        let boasts = TEXT.replace("octroid | *pending*", "octroid | tested");
        let hides = TEXT.replace("wire | tested", "wire | *pending*");
        for (text, id) in [(boasts, "row F1"), (hides, "row B4")] {
            let problems = check(&tree(), &text);
            assert!(problems.len() == 1 && problems[0].message.starts_with(id), "{problems:?}");
            assert_eq!(blessed(&text, &rows(&tree(), &text)), TEXT);
        }
    }

    #[test]
    fn a_bench_row_is_recorded_when_all_it_names_is() {
        let mut tree = tree();
        assert!(check(&tree, TEXT).is_empty());
        tree.files.push(File::new("bench/record/cpu/2.csv", "abc, steer_miss ,1\n"));
        assert!(check(&tree, TEXT)[0].message.contains("P1 says *pending* and is recorded"));
    }

    #[test]
    fn a_promise_that_names_no_row_is_a_problem() {
        let problems = check(&tree(), &TEXT.replace("[B4, F1]", "[B4, F99]"));
        assert!(
            problems.len() == 1 && problems[0].message.contains("F99") && problems[0].line == 2,
            "{problems:?}"
        );
        assert_eq!(check(&tree(), "nothing").len(), 1);
    }
}
