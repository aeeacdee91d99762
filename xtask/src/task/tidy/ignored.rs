//! Check: no test is ignored and no code is switched off for ever.

use super::Problem;
use super::source::line_of;
use super::tree::Tree;

/// Attributes that hide code or a test; spaces do not matter.
const HIDING: [&str; 5] = ["#[ignore", "#[cfg(any())]", "#![cfg(any())]", "#[cfg(false)]", "#![cfg(false)]"];

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.rust() {
        for attribute in HIDING {
            problems.extend(file.code.match_indices(attribute).map(|(at, _)| Problem {
                path: file.path.clone(),
                line: line_of(&file.code, at),
                message: format!("`{attribute}`: a test that cannot run says so through `lab::require`"),
            }));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_test_is_named_and_a_mention_is_not() {
        let tree = Tree::sample(&[
            ("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}"),
            ("b.rs", "// #[ignore]\nlet s = \"#[ignore]\";"),
            ("c.rs", "#![cfg(any())]"),
            ("d.rs", "#[cfg(any(unix, windows))]"),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|it| (it.path, it.line)).collect();
        assert_eq!(found, [("a.rs".to_owned(), 2), ("c.rs".to_owned(), 1)]);
    }
}
