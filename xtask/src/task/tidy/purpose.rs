//! Check: every Rust file's first line says what the file is, and so does a script's second.

use super::Problem;
use super::tree::{File, Tree};

/// Fewer words than this are a title, not a statement.
const WORDS_MIN: usize = 4;

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let scripts = tree.files.iter().filter(|file| file.path.ends_with(".sh") || file.path == ".ci/run");
    let rust = tree.rust().filter_map(|file| judge(file, 1, "//! "));
    rust.chain(scripts.filter_map(|file| judge(file, 2, "# "))).collect()
}

fn judge(file: &File, line: usize, prefix: &str) -> Option<Problem> {
    let text = file.text.lines().nth(line - 1).unwrap_or_default();
    let words = text.strip_prefix(prefix).map_or(0, |statement| statement.split_whitespace().count());
    (words < WORDS_MIN).then(|| Problem {
        path: file.path.clone(),
        line,
        message: format!(
            "line {line} must state the file's purpose in one sentence, beginning `{}`",
            prefix.trim_end()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_statement_is_named() {
        let tree = Tree::sample(&[
            ("a.rs", "//! The rings between two engines.\n"),
            ("b.rs", "use std::fs;\n"),
            ("c.rs", "//! Placeholder.\n"),
            ("d.rs", ""),
            ("e.rs", "// Not a doc comment at all.\n"),
            ("x.sh", "#!/bin/sh\n# Makes two namespaces and a veth.\n"),
            ("y.sh", "#!/bin/sh\nset -eu\n"),
        ]);
        let named: Vec<_> = check(&tree).into_iter().map(|problem| problem.path).collect();
        assert_eq!(named, ["b.rs", "c.rs", "d.rs", "e.rs", "y.sh"]);
    }
}
