//! What ARCHITECTURE.md lays down for tidy: its tables are the rules, so that rule and document cannot differ.
//!
//! Three tables are read, each found by the heading above it. A cell's meaning is its words in backticks; prose is
//! for people.

use anyhow::{Result, ensure};

/// The document, relative to the root.
pub(super) const ARCHITECTURE: &str = "ARCHITECTURE.md";
const UNSAFE_HEADING: &str = "## Where `unsafe` may stand";
const EDGES_HEADING: &str = "## Which crate may depend on which";
const CONFINED_HEADING: &str = "### Crates from outside that stay in one place";
/// In the table of edges: may depend on every crate of ours.
const ALL: &str = "all";

/// The rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Law {
    /// Files, and directories with a slash at the end.
    pub(super) unsafe_places: Vec<String>,
    /// A crate of ours and the crates of ours it may use.
    pub(super) edges: Vec<(String, Vec<String>)>,
    /// Crates from outside, and the only crates of ours that may use them.
    pub(super) confined: Vec<(Vec<String>, Vec<String>)>,
}

impl Law {
    /// Reads the tables.
    ///
    /// # Errors
    /// If a table is missing or empty: a rule must not vanish with its heading.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let table = |heading: &str| {
            let rows = table(text, heading);
            ensure!(!rows.is_empty(), "{ARCHITECTURE} has no table under `{heading}`");
            Ok(rows)
        };
        let unsafe_places = table(UNSAFE_HEADING)?.iter().flat_map(|row| ticked(row, 0)).collect();
        let edge_rows = table(EDGES_HEADING)?;
        let crates: Vec<String> = edge_rows.iter().flat_map(|row| ticked(row, 0)).collect();
        let edges = edge_rows.iter().flat_map(|row| {
            let named = ticked(row, 1);
            let to = if named == [ALL] { crates.clone() } else { named };
            ticked(row, 0).into_iter().map(move |from| (from, to.clone()))
        });
        let confined = table(CONFINED_HEADING)?.iter().map(|row| (ticked(row, 0), ticked(row, 1))).collect();
        Ok(Self { unsafe_places, edges: edges.collect(), confined })
    }
}

/// The rows of the first table under a heading, without its head.
pub(crate) fn table<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let below = text.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let section = below.take_while(|line| !line.starts_with('#'));
    let rows = section.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim().trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The words in backticks of one cell.
fn ticked(row: &[&str], cell: usize) -> Vec<String> {
    let cell = row.get(cell).copied().unwrap_or_default();
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A\n## Where `unsafe` may stand\nProse.\n\n| place | why |\n|---|---|\n\
        | `x/src/` | rings |\n| `i/src/ring.rs`, `i/src/frame.rs` | `n/a` is not read |\n\nMore.\n\
        ## Which crate may depend on which\n| crate | on |\n|---|---|\n| `abi`, `wire` | none |\n\
        | `ixp` | `abi`, `wire` |\n| `bench` | `all` |\n\
        ### Crates from outside that stay in one place\n| crates | only in |\n|---|---|\n| `aya` | `xsk` |\n";

    #[test]
    fn the_tables_are_the_rules() {
        let law = Law::parse(TEXT).unwrap();
        assert_eq!(law.unsafe_places, ["x/src/", "i/src/ring.rs", "i/src/frame.rs"]);
        let edge = |from: &str| law.edges.iter().find(|(it, _)| it == from).unwrap().1.join(" ");
        assert_eq!(
            (edge("wire"), edge("ixp"), edge("bench")),
            ("".into(), "abi wire".into(), "abi wire ixp bench".into())
        );
        assert_eq!(law.confined, [(vec!["aya".to_owned()], vec!["xsk".to_owned()])]);
    }

    #[test]
    fn a_missing_table_is_an_error_and_not_freedom() {
        for heading in [UNSAFE_HEADING, EDGES_HEADING, CONFINED_HEADING] {
            let error = Law::parse(&TEXT.replace(heading, "## Something else")).unwrap_err().to_string();
            assert!(error.contains(heading), "{error}");
        }
    }
}
