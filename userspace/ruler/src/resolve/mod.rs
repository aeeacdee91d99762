//! From the text of a program to what its filters mean: includes followed, names looked up, templates written out.
//!
//! It never fails: what is wrong is said in diagnostics, and then there is no filter. It opens nothing, and the same
//! bundle always gives the same result.

mod action;
mod call;
mod canonical;
mod constant;
mod counter;
mod cube;
mod cut;
mod files;
mod findings;
mod lower;
mod mistake;
mod narrow;
mod nearest;
mod pattern;
mod reach;
mod shape;
mod stale;
mod templates;
mod value;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use action::LABELS_MAX;
pub use canonical::canonical;
pub use files::INCLUDE_DEPTH_MAX;
pub use pattern::PARTS_MAX;

use crate::bundle::Bundle;
use crate::diagnostic::{Code, Diagnostic};
use crate::resolved::{Filter, Rule};
use crate::source::Span;
use crate::syntax::parser::NESTING_MAX;
use crate::syntax::tree::{self, Definition, Name};
use files::{File, FileId};
use findings::Findings;
use pattern::{Expanded, expand};
use shape::Shape;
use templates::{TemplateId, Templates};

/// The most parts and fields of all rules and templates together, with templates written out.
pub const PROGRAM_PARTS_MAX: usize = 1 << 21;
/// The longest packet.
const PACKET_BYTES_MAX: u64 = 65_535;

/// The filters of the file that the bundle names first, and everything that is wrong with any of its files.
///
/// If one of the diagnostics is an error, there are no filters.
#[must_use]
pub fn resolve(bundle: &Bundle) -> (Vec<Filter>, Vec<Diagnostic>) {
    let mut findings = Findings::default();
    let files = files::read(bundle, &mut findings);
    let templates = Templates::gather(&files, &mut findings);
    let states = templates.all.iter().map(|_| State::Unseen).collect();
    let mut resolver = Resolver { files: &files, templates, states, findings, spent: 0, is_spent: false };
    resolver.templates();
    let filters = resolver.filters();
    let filters = if resolver.findings.has_errors() { Vec::new() } else { filters };
    (filters, resolver.findings.finish())
}

/// How far a template is written out.
enum State {
    Unseen,
    Open,
    Done(Option<Rc<Expanded>>),
}

struct Resolver<'a> {
    files: &'a [File],
    templates: Templates<'a>,
    states: Vec<State>,
    findings: Findings,
    spent: usize,
    /// The program's limit was passed, and that was said.
    is_spent: bool,
}

impl<'a> Resolver<'a> {
    /// Counts parts towards the program's limit; gives how many there are.
    fn spend(&mut self, parts: usize) -> usize {
        self.spent = self.spent.saturating_add(parts);
        self.spent
    }

    /// Writes out all templates, used or not: all are judged.
    fn templates(&mut self) {
        for id in 0..self.templates.all.len() {
            if matches!(self.states[id], State::Unseen) {
                self.write_out(TemplateId(id), 0);
            }
        }
    }

    /// The template that `user` names, written out at this depth; `None`, diagnosed, if that cannot be.
    fn template(&mut self, id: TemplateId, depth: usize, user: (FileId, &Name)) -> Option<Rc<Expanded>> {
        match &self.states[id.0] {
            State::Done(expanded) => return expanded.clone(),
            State::Open => {
                let (file, name) = user;
                let message = format!("template `{}` contains itself", name.text);
                let found = Diagnostic::new(Code::Recursion, name.span, message);
                self.findings.push(file, found.help("repeat with `#`: `byte#*`, `( … )#1..8`"));
                return None;
            }
            State::Unseen if NESTING_MAX < depth => {
                let (file, name) = user;
                let (given, limit) = (depth as u64, NESTING_MAX as u64);
                self.findings
                    .push(file, Diagnostic::limit(name.span, "nesting, templates written out", given, limit));
                return None;
            }
            State::Unseen => {}
        }
        self.write_out(id, depth);
        self.expansion_of(id)
    }

    fn write_out(&mut self, id: TemplateId, depth: usize) {
        self.states[id.0] = State::Open;
        let template = &self.templates.all[id.0];
        let (file, name, body) = (template.file, template.name, template.body);
        let expanded = expand(self, file, Some(&name.text), depth, body);
        self.states[id.0] = State::Done(expanded.map(Rc::new));
    }

    fn expansion_of(&self, id: TemplateId) -> Option<Rc<Expanded>> {
        match &self.states[id.0] {
            State::Done(expanded) => expanded.clone(),
            State::Unseen | State::Open => None,
        }
    }

    /// As far as it is written out.
    fn expansion(&self, id: TemplateId) -> Option<&Expanded> {
        match &self.states[id.0] {
            State::Done(expanded) => expanded.as_deref(),
            State::Unseen | State::Open => None,
        }
    }

    fn filters(&mut self) -> Vec<Filter> {
        let mut filters = Vec::new();
        let mut names: BTreeMap<&str, Span> = BTreeMap::new();
        let files = self.files;
        for definition in files.iter().take(1).flat_map(|file| &file.tree.definitions) {
            let Definition::Filter(name, rules) = definition else { continue };
            if let Some(first) = names.get(name.text.as_str()) {
                let message = format!("the filter `{}` is defined twice", name.text);
                let found = Diagnostic::new(Code::Twice, name.span, message).label("again here");
                self.findings.push(FileId(0), found.note(*first, "first here"));
            }
            names.insert(&name.text, name.span);
            filters.push(self.filter(name, rules));
        }
        filters
    }

    fn filter(&mut self, name: &Name, rules: &'a [tree::Rule]) -> Filter {
        let mut resolved = Vec::new();
        let mut reach = reach::Reach::default();
        for (number, rule) in rules.iter().enumerate() {
            if self.findings.is_full() && self.findings.has_errors() {
                break;
            }
            let Some((shape, rule)) = self.rule(rule) else { continue };
            if let Some(before) = reach.add(number, &shape, rule.span) {
                let line = self.files[0].line(before.span.start);
                let number = before.number + 1;
                let message = format!(
                    "never reached: rule {number} (line {line}) matches every packet this rule matches"
                );
                let found = Diagnostic::new(Code::Unreachable, rule.span, message);
                self.findings.push(FileId(0), found.help("put this rule before it, or take it away"));
            }
            resolved.push(rule);
        }
        Filter { name: name.text.clone(), rules: resolved }
    }

    fn rule(&mut self, rule: &'a tree::Rule) -> Option<(Shape, Rule)> {
        let span = rule.span;
        let file = FileId(0);
        let shape = expand(self, file, None, 0, &rule.pattern)?.shape;
        let (least, _) = shape.length();
        if PACKET_BYTES_MAX < least {
            let message = format!(
                "this rule wants {least} bytes: it can never match, as no packet is longer than 65535"
            );
            self.findings.push(file, Diagnostic::new(Code::TooLong, span, message));
            return None;
        }
        self.warn_of_no_open_end(&rule.pattern);
        let (action, read) = action::resolve(self, &shape, &rule.action)?;
        if let tree::Action::Rewrite(outputs, _) = &rule.action {
            stale::warn(&mut self.findings, &shape, outputs);
        }
        let pattern = lower::lower(&shape, &read.ids());
        Some((shape, Rule { pattern, action, labels: read.finish(), span }))
    }

    /// A header with nothing behind it: then the packet must end there, which is seldom meant.
    fn warn_of_no_open_end(&mut self, pattern: &tree::Pattern) {
        for arm in &pattern.arms {
            let Some(last) = arm.last() else { continue };
            let tree::Atom::Template(name, _) = &last.atom else { continue };
            let open = self.templates.find(FileId(0), &name.text).and_then(|id| self.expansion(id));
            if open.is_none_or(|expanded| expanded.shape.length().1.is_none()) || last.count.is_some() {
                continue;
            }
            let message =
                format!("this rule matches only packets that end with the {} header", header(&name.text));
            self.findings
                .push(FileId(0), Diagnostic::new(Code::NoOpenEnd, last.span, message).help("add `*`"));
        }
    }
}

/// `IPv4_TCP` is an IPv4 header: what stands behind `_` says what it carries.
fn header(template: &str) -> &str {
    template.split('_').next().filter(|word| !word.is_empty()).unwrap_or(template)
}
