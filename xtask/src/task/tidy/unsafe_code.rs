//! Check: `unsafe` is written only in the places that ARCHITECTURE.md lists, and each listed place exists.

use super::Problem;
use super::law::{ARCHITECTURE, Law};
use super::source::{line_of, words};
use super::tree::Tree;

pub(super) fn check(tree: &Tree, law: &Law) -> Vec<Problem> {
    let allowed = |path: &str| law.unsafe_places.iter().any(|place| covers(place, path));
    let mut problems = Vec::new();
    for file in tree.rust().filter(|file| !allowed(&file.path)) {
        problems.extend(words(&file.code, "unsafe").map(|at| Problem {
            path: file.path.clone(),
            line: line_of(&file.code, at),
            message: format!("`unsafe` outside the places listed in {ARCHITECTURE}"),
        }));
    }
    let stale = law.unsafe_places.iter().filter(|place| !tree.rust().any(|file| covers(place, &file.path)));
    problems.extend(stale.map(|place| Problem {
        path: ARCHITECTURE.to_owned(),
        line: 1,
        message: format!("allows `unsafe` in {place}, which does not exist"),
    }));
    problems
}

/// A place is a file, or a directory with a slash at its end.
fn covers(place: &str, path: &str) -> bool {
    if place.ends_with('/') { path.starts_with(place) } else { path == place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_elsewhere_is_named_with_its_line() {
        let law = Law { unsafe_places: vec!["xsk/src/".into(), "ixp/src/ring.rs".into()], ..Law::default() };
        let tree = Tree::sample(&[
            ("xsk/src/umem.rs", "unsafe { f() }"),
            ("ixp/src/ring.rs", "unsafe impl Send for Ring {}"),
            ("ixp/src/port.rs", "#![deny(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";\nunsafe { g() }"),
            ("abi/src/lib.rs", "#[unsafe(no_mangle)] fn f() {}"),
        ]);
        let found: Vec<_> = check(&tree, &law).into_iter().map(|it| (it.path, it.line)).collect();
        assert_eq!(found, [("ixp/src/port.rs".to_owned(), 4), ("abi/src/lib.rs".to_owned(), 1)]);
    }

    #[test]
    fn a_place_that_is_gone_is_named() {
        let law = Law { unsafe_places: vec!["client/src/shm.rs".into()], ..Law::default() };
        let problems = check(&Tree::default(), &law);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("client/src/shm.rs"));
    }
}
