//! The shipped filters can be used as they are, and have what their descriptions promise.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::bundle::Bundle;
use crate::diagnostic::text;
use crate::syntax::tree::{Atom, Definition, Item, Value};

#[test]
fn each_resolves_without_a_word() {
    for Shipped { name, source } in ALL {
        let bundle = Bundle::new(&format!("{name}.rl"), source);
        let (filters, found) = crate::resolve(&bundle);
        assert_eq!(found.len(), 0, "{}", text(&bundle, &found));
        assert_eq!(filters.iter().map(|filter| filter.name.as_str()).collect::<Vec<_>>(), [name]);
        assert!(source.contains("\ninclude \"layouts.rli\"\n"));
        assert_eq!(find(name).map(|shipped| shipped.source), Some(source));
    }
}

#[test]
fn there_are_more_than_a_hundred_signatures() {
    let (tree, _) = crate::read("signatures.rl", find("signatures").unwrap().source.as_bytes());
    let mut literals = Vec::new();
    for definition in &tree.definitions {
        let Definition::Filter(_, rules) = definition else { continue };
        rules.iter().flat_map(|rule| &rule.pattern.arms).for_each(|arm| collect(arm, &mut literals));
    }
    let count = literals.len();
    literals.sort();
    literals.dedup();
    assert!(100 <= literals.len(), "{} different of {count}", literals.len());
}

fn collect(items: &[Item], literals: &mut Vec<String>) {
    for item in items {
        match &item.atom {
            Atom::Value(value @ (Value::Bytes(_) | Value::Caseless(_))) => {
                literals.push(format!("{value:?}"))
            }
            Atom::Group(pattern, _) => pattern.arms.iter().for_each(|arm| collect(arm, literals)),
            _ => {}
        }
    }
}
