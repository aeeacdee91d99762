//! Check: everything that is linked in may be used under a licence that `deny.toml` allows.
//!
//! It reads the list of cargo-deny, so that both judge alike, and needs no program that must be installed first.

use anyhow::{Context, Result, ensure};

use super::Problem;
use super::packages::Built;

/// cargo-deny's configuration, relative to the root.
pub(super) const DENY: &str = "deny.toml";

/// What may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Licences of any package.
    licences: Vec<String>,
    /// Licences of one package more, by its name.
    exceptions: Vec<(String, Vec<String>)>,
}

pub(super) fn check(packages: &[Built], allowed: &Allowed) -> Vec<Problem> {
    let refused = packages.iter().filter(|package| {
        let own = allowed.exceptions.iter().filter(|(of, _)| *of == package.name).flat_map(|(_, own)| own);
        let licences: Vec<_> = allowed.licences.iter().chain(own).cloned().collect();
        !permitted(&package.licence, &licences)
    });
    let problem = |package: &Built| Problem {
        path: format!("crate {}", package.name),
        line: 1,
        message: format!("licence \"{}\" is not allowed by {DENY}", package.licence),
    };
    refused.map(problem).collect()
}

/// The list `allow = […]` of `[licenses]`, and its `exceptions`, each `{ crate = "…", allow = […] }` on a line.
///
/// # Errors
/// If nothing is allowed.
pub(super) fn allowed(deny: &str) -> Result<Allowed> {
    let (_, section) = deny.split_once("[licenses]").with_context(|| format!("{DENY} has no [licenses]"))?;
    let section = section.split("\n[").next().unwrap_or_default();
    let licences = list(section).with_context(|| format!("{DENY} allows no licence"))?;
    ensure!(!licences.is_empty(), "{DENY} allows no licence");
    let lines = section.split_once("exceptions = [").map_or("", |(_, rest)| rest).lines();
    let exceptions = lines.filter_map(|line| {
        let (_, name) = line.split_once("crate = \"")?;
        Some((name.split('"').next()?.to_owned(), list(line)?))
    });
    Ok(Allowed { exceptions: exceptions.collect(), licences })
}

/// The words of the first `allow = […]`.
fn list(text: &str) -> Option<Vec<String>> {
    let (list, _) = text.split_once("allow = [")?.1.split_once(']')?;
    Some(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is how `OR` was written once.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let permitted = any_of(&mut words, allowed);
    permitted && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words, allowed: &[String]) -> bool {
    let mut any = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        // Not `||`: the words of the right side must be consumed.
        any |= all_of(words, allowed);
    }
    any
}

fn all_of(words: &mut Words, allowed: &[String]) -> bool {
    let mut all = term(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        all &= term(words, allowed);
    }
    all
}

fn term(words: &mut Words, allowed: &[String]) -> bool {
    let Some(word) = words.next() else { return false };
    if word == "(" {
        let inner = any_of(words, allowed);
        return words.next() == Some(")") && inner;
    }
    let name = match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => format!("{word} WITH {exception}"),
        None => word.to_owned(),
    };
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[licenses]\nconfidence = 0.9\nallow = [\n \"MIT\", # short\n \
        \"Apache-2.0 WITH LLVM-exception\",\n]\nexceptions = [\n \
        { crate = \"odd\", allow = [\"MPL-2.0\"] },\n]\n\n[bans]\nallow = [\"x\"]\n";

    fn known() -> Allowed {
        allowed(TEXT).unwrap()
    }

    #[test]
    fn the_list_is_cargo_denys() {
        assert_eq!(known().licences, ["MIT", "Apache-2.0 WITH LLVM-exception"]);
        assert_eq!(known().exceptions, [("odd".to_owned(), vec!["MPL-2.0".to_owned()])]);
        for text in ["", "[licenses]", "[licenses]\nallow = []"] {
            assert!(allowed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn expressions_are_judged_as_spdx_means_them() {
        for (expression, permits) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("(GPL-3.0 OR MIT) AND MIT", true),
            ("MIT AND (GPL-3.0 OR LGPL-2.1)", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("Apache-2.0", false),
            ("GPL-3.0", false),
            ("(MIT", false),
            ("MIT MIT", false),
            ("", false),
        ] {
            assert_eq!(permitted(expression, &known().licences), permits, "{expression:?}");
        }
    }

    #[test]
    fn a_package_without_a_licence_is_named() {
        let built = |licence: &str| Built { name: "x".into(), licence: licence.into() };
        assert!(check(&[built("MIT")], &known()).is_empty());
        assert_eq!(check(&[built(""), built("GPL-3.0")], &known()).len(), 2);
    }

    #[test]
    fn an_exception_is_for_one_package() {
        let built = |name: &str| Built { name: name.into(), licence: "MPL-2.0".into() };
        let problems = check(&[built("odd"), built("other")], &known());
        assert!(problems.len() == 1 && problems[0].path == "crate other", "{problems:?}");
    }
}
