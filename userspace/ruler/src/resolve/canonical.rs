//! All files of a program as one source: its filters, and the templates that they use, under names of their own.
//!
//! The source includes nothing, says what the files say, and depends on nothing but that: neither on where they lay nor on
//! how they were written. Where two files have templates of the same name, one is called `name_2`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    files::{self, File, FileId},
    findings::Findings,
    templates::{TemplateId, Templates},
};
use crate::{
    bundle::Bundle,
    syntax::tree::{Atom, Definition, Item, Name, Pattern, Rule},
};

/// The source. The bundle must be sound: what is wrong with it is not said here, and may be missing.
#[must_use]
pub fn canonical(bundle: &Bundle) -> String {
    let mut findings = Findings::default();
    let files = files::read(bundle, &mut findings);
    let templates = Templates::gather(&files, &mut findings);
    let mut writer =
        Writer { files: &files, templates: &templates, names: BTreeMap::new(), order: Vec::new() };
    writer.write()
}

struct Writer<'a> {
    files: &'a [File],
    templates: &'a Templates<'a>,
    /// By index of the template: what it is called.
    names: BTreeMap<usize, String>,
    /// Those that are used, each behind those that it uses.
    order: Vec<TemplateId>,
}

impl Writer<'_> {
    fn write(&mut self) -> String {
        let filters = filters(self.files);
        for pattern in filters.iter().flat_map(|(_, rules)| rules.iter()).map(|rule| &rule.pattern) {
            self.meet(FileId(0), pattern);
        }
        self.name();
        let mut text = String::new();
        for id in &self.order {
            let template = &self.templates.all[id.0];
            let body = self.renamed(template.file, template.body);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "pattern {}: {body};", self.names[&id.0]);
        }
        for (name, rules) in filters {
            let renamed = |rule: &Rule| Rule {
                pattern: self.renamed(FileId(0), &rule.pattern),
                action: rule.action.clone(),
                span: rule.span,
            };
            let rules = rules.iter().map(renamed).collect();
            let _ = write!(text, "{}", Definition::Filter(name.clone(), rules));
        }
        text
    }

    /// Takes up the templates that a pattern uses. Sound programs have no recursion.
    fn meet(&mut self, file: FileId, pattern: &Pattern) {
        let mut used = Vec::new();
        each_template(pattern, &mut |name| used.extend(self.templates.find(file, name)));
        for id in used {
            if self.names.contains_key(&id.0) {
                continue;
            }
            let template = &self.templates.all[id.0];
            self.names.insert(id.0, template.name.text.clone());
            self.meet(template.file, template.body);
            self.order.push(id);
        }
    }

    /// Gives each its own name, in the order of the source.
    fn name(&mut self) {
        let mut taken: BTreeSet<String> = self.names.values().cloned().collect();
        let mut seen = BTreeSet::new();
        for id in &self.order {
            let name = &self.templates.all[id.0].name.text;
            if seen.insert(name.as_str()) {
                continue;
            }
            let free = (2_usize..).map(|number| format!("{name}_{number}")).find(|new| !taken.contains(new));
            let new = free.unwrap_or_else(|| unreachable!("there are more numbers than templates"));
            taken.insert(new.clone());
            self.names.insert(id.0, new);
        }
    }

    fn renamed(&self, file: FileId, pattern: &Pattern) -> Pattern {
        let item = |item: &Item| {
            let atom = match &item.atom {
                Atom::Template(name, restrictions) => {
                    let mut name = name.clone();
                    if let Some(new) =
                        self.templates.find(file, &name.text).and_then(|id| self.names.get(&id.0))
                    {
                        name.text.clone_from(new);
                    }
                    Atom::Template(name, restrictions.clone())
                }
                Atom::Group(body, restrictions) => {
                    Atom::Group(self.renamed(file, body), restrictions.clone())
                }
                other => other.clone(),
            };
            Item { atom, ..item.clone() }
        };
        Pattern { arms: pattern.arms.iter().map(|arm| arm.iter().map(item).collect()).collect() }
    }
}

/// Those of the first file.
fn filters<'f>(files: &'f [File]) -> Vec<(&'f Name, &'f [Rule])> {
    let definitions = files.iter().take(1).flat_map(|file| &file.tree.definitions);
    let filter = |definition: &'f Definition| match definition {
        Definition::Filter(name, rules) => Some((name, &rules[..])),
        Definition::Include(..) | Definition::Template(..) => None,
    };
    definitions.filter_map(filter).collect()
}

fn each_template(pattern: &Pattern, each: &mut impl FnMut(&str)) {
    for item in pattern.arms.iter().flatten() {
        match &item.atom {
            Atom::Template(name, _) => each(&name.text),
            Atom::Group(body, _) => each_template(body, each),
            Atom::Byte | Atom::Bit | Atom::Any | Atom::Value(_) | Atom::Not(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{resolve::resolve, source::Span};

    /// What the filters mean, places aside.
    fn meaning(bundle: &Bundle) -> String {
        let (mut filters, found) = resolve(bundle);
        assert!(!filters.is_empty(), "{found:?}");
        for rule in filters.iter_mut().flat_map(|filter| &mut filter.rules) {
            rule.span = Span::new(0, 0);
            if let crate::resolved::Action::Rewrite(items, _) = &mut rule.action {
                for item in items {
                    item.span = Span::new(0, 0);
                    item.settings.iter_mut().for_each(|setting| setting.span = Span::new(0, 0));
                }
            }
        }
        format!("{filters:?}")
    }

    #[track_caller]
    fn check(bundle: &Bundle) -> String {
        let source = canonical(bundle);
        let alone = Bundle::new("a.rl", source.clone());
        assert_eq!(meaning(&alone), meaning(bundle), "{source}");
        assert_eq!(canonical(&alone), source);
        source
    }

    #[test]
    fn only_what_is_used_is_there() {
        let source =
            "include \"layouts.rli\" pattern Unused : byte filter f e:Ethernet_IPv4 * => e with [src=0#6];";
        let text = check(&Bundle::new("a.rl", source));
        let wanted =
            "pattern Ethernet: dst:(dest:(e_dest:byte#6)) src:(e_src:byte#6) proto:(e_type:byte#2);\n";
        assert!(text.contains("pattern Ethernet_IPv4: Ethernet with [proto=2048~2];\nfilter f\n"), "{text}");
        assert!(text.starts_with("pattern Ethernet: ") && text.lines().count() == 4, "{text}{wanted}");
    }

    #[test]
    fn templates_of_one_name_are_told_apart() {
        let mut bundle = Bundle::new(
            "a.rl",
            "include \"b.rli\" include \"c.rli\" pattern T : 1 t:byte\n\
             filter f a:T b:U c:(V | T)#2 * => a with [t=2] b; 9 * => accept;",
        );
        bundle.add("b.rli", "pattern T : 2 pattern U : T T_2 pattern T_2 : 5");
        bundle.add("c.rli", "include \"b.rli\" pattern T : 3 pattern V : T U");
        let text = check(&bundle);
        assert!(text.contains("pattern T: 1 t:byte;"), "{text}");
        assert!(text.contains("pattern T_3: 2;") && text.contains("pattern T_4: 3;"), "{text}");
    }
}
