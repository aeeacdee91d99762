//! Check: every counter is moved by code, named in a test and explained in the book; one that is not is dead,
//! untested, or a riddle to whoever reads it.

use super::Problem;
use super::source::{code_only, is_word, line_of, words};
use super::tree::{File, Tree};

/// A registry of counters: an enum whose variants carry names.
struct Registry {
    defined: &'static str,
    type_name: &'static str,
    /// Code that may move them: a mention elsewhere (a twin, a table for people) moves nothing.
    moved_in: &'static [&'static str],
}

const REGISTRIES: [Registry; 2] = [
    Registry {
        defined: "userspace/abi/src/counter.rs",
        type_name: "XdpCounter",
        moved_in: &["xdp-ebpf/", "userspace/ruler/src/ebpf/"],
    },
    Registry {
        defined: "userspace/ixp/src/counter.rs",
        type_name: "Counter",
        moved_in: &["userspace/ixp/", "userspace/xsk/", "userspace/octroid/"],
    },
];

/// Where people look a counter up.
const BOOK: &str = "docs/book/src/counters.md";

/// One counter: variant, registry name, line of the name.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    variant: String,
    name: String,
    line: usize,
}

pub(super) fn check(tree: &Tree) -> Vec<Problem> {
    REGISTRIES.iter().flat_map(|registry| check_registry(tree, registry)).collect()
}

fn check_registry(tree: &Tree, registry: &Registry) -> Vec<Problem> {
    let problem = |line, message| Problem { path: registry.defined.to_owned(), line, message };
    let definition = tree.files.iter().find(|file| file.path == registry.defined);
    let rows = definition.map(rows).unwrap_or_default();
    if rows.is_empty() {
        return vec![problem(1, format!("no counter of `{}` found", registry.type_name))];
    }
    let others = || tree.files.iter().filter(|file| file.path != registry.defined);
    let mut problems = Vec::new();
    for row in rows {
        let path = format!("{}::{}", registry.type_name, row.variant);
        let movers = others().filter(|file| registry.moved_in.iter().any(|dir| file.path.starts_with(dir)));
        if !movers.into_iter().any(|file| words(&file.code[..file.tests_start()], &path).next().is_some()) {
            problems
                .push(problem(row.line, format!("`{path}` is moved by no code in {:?}", registry.moved_in)));
        }
        if !others().any(|file| named_in_tests(file, &path, &row.name)) {
            problems.push(problem(row.line, format!("`{path}` (\"{}\") is named in no test", row.name)));
        }
        let explained = format!("`{}`", row.name);
        if !others().any(|file| file.path == BOOK && file.text.contains(&explained)) {
            problems.push(problem(row.line, format!("\"{}\" is not explained in {BOOK}", row.name)));
        }
    }
    problems
}

/// Test code names a counter by its variant; test data and snapshots by its registry name.
fn named_in_tests(file: &File, path: &str, name: &str) -> bool {
    if !file.is_rust() {
        return file.is_test_file() && words(&file.text, name).next().is_some();
    }
    let start = file.tests_start();
    words(&file.code[start..], path).next().is_some() || file.text[start..].contains(&format!("\"{name}\""))
}

/// The counters of a definition: each string literal that directly belongs to a variant's name, whether written
/// `Self::Rx => ("xdp.rx", …)` or `Rx = "rx", …`.
fn rows(file: &File) -> Vec<Row> {
    let text = &file.text[..file.tests_start()];
    let mut rows = Vec::new();
    let mut at = 0;
    while let Some(quote) = text[at..].find('"').map(|found| at + found) {
        let Some(end) = text[quote + 1..].find('"').map(|found| quote + 1 + found) else { break };
        at = end + 1;
        let before = code_only(&text[..quote]);
        let before = before.trim_end_matches([' ', '\n', '(', '{', '=', '>']);
        let start = before.bytes().rposition(|byte| !is_word(byte)).map_or(0, |found| found + 1);
        let (variant, name) = (&before[start..], &text[quote + 1..end]);
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"_.".contains(&byte) || byte.is_ascii_digit());
        if is_name && variant.starts_with(|first: char| first.is_ascii_uppercase()) {
            rows.push(Row { variant: variant.to_owned(), name: name.to_owned(), line: line_of(text, quote) });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINED: &str = "xdp/counter.rs";
    const TEST_REGISTRY: Registry = Registry { defined: DEFINED, type_name: "C", moved_in: &["xdp/"] };
    const DEFINITION: &str = "//! \"quoted\" prose.\nmatch self {\n  Self::Rx => (\"xdp.rx\", \"frames\", Role::Rx),\n  \
        Self::Miss => {\n    (\"xdp.pass_miss\", \"no tuple\", Role::Passed)\n  }\n}";

    #[test]
    fn both_ways_of_writing_a_registry_are_read() {
        let pairs = |text| {
            rows(&File::new(DEFINED, text)).into_iter().map(|it| (it.variant, it.name)).collect::<Vec<_>>()
        };
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pairs(DEFINITION), [owned("Rx", "xdp.rx"), owned("Miss", "xdp.pass_miss")]);
        assert_eq!(pairs("/// Help.\nRxStale = \"rx_stale\", Dropped;"), [owned("RxStale", "rx_stale")]);
    }

    #[track_caller]
    fn messages(extra: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = [(DEFINED, DEFINITION), (BOOK, "`xdp.rx`, `xdp.pass_miss`")]
            .into_iter()
            .chain(extra.iter().copied())
            .collect();
        check_registry(&Tree::sample(&files), &TEST_REGISTRY).into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn a_counter_that_nothing_moves_or_no_test_names_is_a_problem() {
        let mover = ("xdp/main.rs", "fn f() { count(C::Rx); count(C::Miss); }");
        let test = ("tests/a.rs", "assert_eq!(moved, [(C::Rx, 1)]);");
        let data = ("tests/testdata/a.toml", "counters = { \"xdp.pass_miss\" = 1 }");
        assert!(messages(&[mover, test, data]).is_empty());

        assert_eq!(messages(&[mover, data]), ["`C::Rx` (\"xdp.rx\") is named in no test"]);
        assert_eq!(messages(&[mover, test]), ["`C::Miss` (\"xdp.pass_miss\") is named in no test"]);
        assert_eq!(
            messages(&[("xdp/main.rs", "count(C::Rx); // C::Miss"), test, data]),
            ["`C::Miss` is moved by no code in [\"xdp/\"]"]
        );
    }

    #[test]
    fn a_mention_in_a_twin_or_in_a_test_moves_nothing() {
        let twin = ("other/twin.rs", "C::Rx; C::Miss;");
        let unit = ("xdp/unit.rs", "#[cfg(test)]\nmod tests { use C::Rx; use C::Miss; }");
        assert_eq!(messages(&[twin, unit]).len(), 2);
    }

    #[test]
    fn a_counter_that_the_book_leaves_out_is_a_problem() {
        let code = ("xdp/main.rs", "fn f() { count(C::Rx); count(C::Miss); }");
        let test = ("tests/a.rs", "C::Rx; C::Miss;");
        let tree = Tree::sample(&[(DEFINED, DEFINITION), code, test, (BOOK, "`xdp.rx` is every frame")]);
        let problems = check_registry(&tree, &TEST_REGISTRY);
        assert!(problems.len() == 1 && problems[0].message.starts_with("\"xdp.pass_miss\""), "{problems:?}");
    }

    #[test]
    fn a_registry_that_vanished_is_a_problem() {
        assert_eq!(check_registry(&Tree::default(), &TEST_REGISTRY).len(), 1);
    }
}
