//! A tree as indented text, each rule and item with its place: what was understood, line by line.
//!
//! Only groups are taken apart; everything smaller stands as [`super::print`] writes it.

use std::fmt::Write as _;

use super::tree::{Action, Atom, Definition, Item, Pattern, Program, Rule};

/// The tree of one source.
#[must_use]
pub fn dump(program: &Program) -> String {
    let mut text = String::new();
    for definition in &program.definitions {
        // Writing to a string cannot fail.
        let _ = match definition {
            Definition::Include(_, span) => writeln!(text, "{} {span:?}", definition.to_string().trim_end()),
            Definition::Template(name, body) => {
                let _ = writeln!(text, "pattern {name} {:?}", name.span);
                pattern(&mut text, body, 1);
                Ok(())
            }
            Definition::Filter(name, rules) => {
                let _ = writeln!(text, "filter {name} {:?}", name.span);
                rules.iter().enumerate().for_each(|(number, rule)| self::rule(&mut text, number, rule));
                Ok(())
            }
        };
    }
    text
}

fn rule(text: &mut String, number: usize, rule: &Rule) {
    let _ = writeln!(text, "  rule {} {:?}", number + 1, rule.span);
    pattern(text, &rule.pattern, 2);
    match &rule.action {
        Action::Accept(_) | Action::Reject(_) => {
            let _ = writeln!(text, "    => {}", rule.action);
        }
        Action::Rewrite(outputs, code) => {
            let code = code.map_or(0, |code| code.value);
            let _ = writeln!(text, "    => class {code}");
            for output in outputs {
                let _ = writeln!(text, "      {output}");
            }
        }
    }
}

fn pattern(text: &mut String, pattern: &Pattern, depth: usize) {
    let indent = 2 * depth;
    match &pattern.arms[..] {
        [only] => only.iter().for_each(|item| self::item(text, item, depth)),
        arms => {
            for (number, arm) in arms.iter().enumerate() {
                let _ = writeln!(text, "{:indent$}arm {}", "", number + 1);
                arm.iter().for_each(|item| self::item(text, item, depth + 1));
            }
        }
    }
}

fn item(text: &mut String, item: &Item, depth: usize) {
    let indent = 2 * depth;
    let Atom::Group(body, restrictions) = &item.atom else {
        let _ = writeln!(text, "{:indent$}{item} {:?}", "", item.span);
        return;
    };
    let label = item.label.as_ref().map_or(String::new(), |label| format!("{label}:"));
    let count = item.count.as_ref().map_or(String::new(), |count| format!("#{count}"));
    let _ = writeln!(text, "{:indent$}{label}group{count} {:?}", "", item.span);
    for restriction in restrictions {
        let _ = writeln!(text, "{:indent$}  with {restriction}", "");
    }
    pattern(text, body, depth + 1);
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_taken_apart() {
        let source = "filter f 1 x:(a:2 | byte (3)#2) with [a=2] * => x 0 class 5; * => accept;";
        let text = super::dump(&crate::read("a.rl", source.as_bytes()).0);
        let wanted = "filter f @7..8\n  \
                        rule 1 @9..60\n    \
                          1 @9..10\n    \
                          x:group @11..42\n      \
                            with a=2\n      \
                            arm 1\n        \
                              a:2 @14..17\n      \
                            arm 2\n        \
                              byte @20..24\n        \
                              group#2 @25..30\n          \
                                3 @26..27\n    \
                          * @43..44\n    \
                          => class 5\n      \
                            x\n      \
                            0\n  \
                        rule 2 @61..73\n    \
                          * @61..62\n    \
                          => accept\n";
        assert_eq!(text, wanted);
    }
}
