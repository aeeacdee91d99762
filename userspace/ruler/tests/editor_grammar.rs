//! The editors' grammar knows the words that the language knows, and no others.

use std::collections::BTreeSet;

use ruler::syntax::token::Keyword;

const GRAMMAR: &str = include_str!("../../../editors/vscode/syntaxes/ruler.tmLanguage.json");

/// The words of every `\b(a|b|c)` whose scope is this one.
fn words(scope: &str) -> BTreeSet<&'static str> {
    let named = format!("\"name\": \"{scope}\"");
    let lists = GRAMMAR.lines().filter(|line| line.contains(&named));
    let lists = lists.filter_map(|line| line.split_once("\\\\b(")?.1.split_once(')'));
    lists.flat_map(|(list, _)| list.split('|')).collect()
}

#[test]
fn keywords_are_those_of_the_lexer() {
    let mut known = words("keyword.control.ruler");
    known.extend(words("storage.type.ruler"));
    let all = ["accept", "bit", "byte", "class", "filter", "include", "pattern", "reject", "with"];
    assert_eq!(known, BTreeSet::from(all));
    assert!(all.iter().all(|word| Keyword::of(word).is_some()));
}

/// For a function that it does not know the compiler offers all that it knows.
#[test]
fn functions_are_those_of_the_compiler() {
    let bundle = ruler::bundle::Bundle::new("a.rl", "filter f a:byte#20 * => lens(a);");
    let (_, found) = ruler::resolve(&bundle);
    let help = found.iter().find_map(|found| found.help.as_deref()).unwrap_or_default();
    let (_, all) = help.split_once("functions: ").unwrap();
    assert_eq!(words("support.function.ruler"), all.split(' ').collect());
}
