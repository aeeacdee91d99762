//! Actions: which labels an output reads, and which bits of its items it sets.
//!
//! What functions are and what they take is in `call`; whether the result still has right checksums is in `stale`.

use std::collections::BTreeMap;

use super::constant::{self, CONSTANT_BYTES_MAX};
use super::mistake::{self, Widths, Written, joined, place};
use super::nearest::nearest;
use super::shape::{Binding, Place, Shape};
use super::{File, FileId, Findings, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::resolved::{Action, Item, Label, LabelId, Part, Setting, Value};
use crate::source::Span;
use crate::syntax::tree::{self, Made, Number, Output, Path, SetTo};

/// The most labels that one rule may read.
pub const LABELS_MAX: usize = 64;

/// The labels that an action reads.
#[derive(Default)]
pub(super) struct Read {
    ids: BTreeMap<String, LabelId>,
    labels: Vec<Label>,
}

impl Read {
    pub(super) fn ids(&self) -> BTreeMap<String, LabelId> {
        self.ids.clone()
    }

    pub(super) fn finish(self) -> Vec<Label> {
        self.labels
    }
}

/// The action, and the labels it reads; `None`, diagnosed, if it cannot be done.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    shape: &Shape,
    action: &tree::Action,
) -> Option<(Action, Read)> {
    match action {
        tree::Action::Accept(code) => Some((Action::Accept(number(*code)?), Read::default())),
        tree::Action::Reject(code) => Some((Action::Reject(number(*code)?), Read::default())),
        tree::Action::Rewrite(outputs, code) => {
            let sources = outputs.iter().map(source).collect();
            let findings = &mut resolver.findings;
            let files = resolver.files;
            let mut writer =
                Writer { findings, files, shape, sources, at: 0, read: Read::default(), said: false };
            let mut items = Vec::new();
            let mut fits = true;
            for output in outputs {
                match writer.item(output) {
                    Some(item) => items.push(item),
                    None => fits = false,
                }
                writer.at += 1;
            }
            fits.then_some((Action::Rewrite(items, number(*code)?), writer.read))
        }
    }
}

/// An action's code; `None` if it was diagnosed already.
fn number(code: Option<Number>) -> Option<u16> {
    code.map_or(Some(0), |code| u16::try_from(code.value).ok())
}

/// The label from which an output is made, if it is.
fn source(output: &Output) -> Option<String> {
    match output {
        Output::Part(path, _) => Some(joined(path)),
        Output::Made(Made::Call(name, arguments)) if matches!(name.text.as_str(), "zero" | "unpad") => {
            arguments.first().map(joined)
        }
        Output::Made(_) => None,
    }
}

/// Writes the items of one rule.
pub(super) struct Writer<'w> {
    findings: &'w mut Findings,
    files: &'w [File],
    pub(super) shape: &'w Shape,
    /// The label from which each item is made.
    pub(super) sources: Vec<Option<String>>,
    /// Which item is being written.
    pub(super) at: usize,
    read: Read,
    /// That there are too many labels was said.
    said: bool,
}

/// Bits of an item that are set.
pub(super) struct Target<'t> {
    pub(super) path: &'t Path,
    pub(super) binding: &'t Binding,
    pub(super) offset: u32,
    pub(super) bits: u32,
}

impl Writer<'_> {
    pub(super) fn report(&mut self, found: Diagnostic) {
        // Only the rules of the first file are resolved.
        self.findings.push(FileId(0), found);
    }

    fn item(&mut self, output: &Output) -> Option<Item> {
        match output {
            Output::Part(path, settings) => {
                let label = self.label(path)?;
                let settings = self.settings(path, settings)?;
                let span = settings.iter().map(|setting| setting.span).fold(place(path), Span::to);
                Some(Item { part: Part::Label(label), settings, span })
            }
            Output::Made(Made::Constant(value, copies)) => {
                let bytes = self.constant_item(value, *copies)?;
                Some(Item {
                    part: Part::Constant(bytes),
                    settings: Vec::new(),
                    span: value_span(value, *copies),
                })
            }
            Output::Made(Made::Call(name, arguments)) => {
                let part = self.call_item(name, arguments)?;
                let span = arguments.iter().map(place).fold(name.span, Span::to);
                Some(Item { part, settings: Vec::new(), span })
            }
        }
    }

    fn constant_item(&mut self, value: &tree::Value, copies: Option<Number>) -> Option<Vec<u8>> {
        let count = copies.map_or(1, |copies| copies.value);
        let bits = constant::bits(value, count)?;
        if !bits.is_multiple_of(8) {
            let message = format!("a constant of {bits} bits is not whole bytes");
            self.report(Diagnostic::new(Code::OddBits, value_span(value, copies), message));
            return None;
        }
        if CONSTANT_BYTES_MAX < bits / 8 {
            let span = value_span(value, copies);
            self.report(Diagnostic::limit(span, "bytes of a constant", bits / 8, CONSTANT_BYTES_MAX));
            return None;
        }
        constant::bytes(value, count)
    }

    /// A label of bytes, which the action now reads.
    pub(super) fn label(&mut self, path: &Path) -> Option<LabelId> {
        let written = joined(path);
        if self.known(path)?.is_bits {
            let message = format!("`{written}` is bits: only whole bytes can be written");
            let help = "label a group of bits that are whole bytes";
            self.report(Diagnostic::new(Code::BitLabel, place(path), message).help(help));
            return None;
        }
        if let Some(known) = self.read.ids.get(&written) {
            return Some(*known);
        }
        let next = self.read.labels.len();
        let id = u16::try_from(next).ok().filter(|_| next < LABELS_MAX).map(LabelId);
        let Some(id) = id else {
            if !std::mem::replace(&mut self.said, true) {
                let (given, limit) = (next as u64 + 1, LABELS_MAX as u64);
                self.report(Diagnostic::limit(place(path), "labels that a rule reads", given, limit));
            }
            return None;
        };
        // A label in an arm not taken is empty: then its width varies.
        let bits = self.shape.find(&written).and_then(|(_, bits)| bits);
        let width = bits.filter(|_| self.shape.always_binds(&written)).map(|bits| bits / 8);
        self.read.ids.insert(written.clone(), id);
        self.read.labels.push(Label { name: written, width });
        Some(id)
    }

    /// Where a label is bound first; `None`, diagnosed, if there is none.
    pub(super) fn known(&mut self, path: &Path) -> Option<Place> {
        let written = joined(path);
        let mut places = Vec::new();
        self.shape.places(&written, Some(0), &mut places);
        if let Some(first) = places.first() {
            return Some(*first);
        }
        let found = self.unknown(path, &written);
        self.report(found);
        None
    }

    fn unknown(&self, path: &Path, written: &str) -> Diagnostic {
        let outer = path.split_last().map(|(_, outer)| outer.to_vec()).unwrap_or_default();
        if let (Some(last), Some((binding, _))) = (path.last(), self.shape.find(&joined(&outer))) {
            let names = mistake::names(self.shape, &format!("{}.", joined(&outer)));
            return mistake::no_field(&described(binding), &vec![last.clone()], names);
        }
        let labels: Vec<_> =
            mistake::names(self.shape, "").into_iter().filter(|name| !name.contains('.')).collect();
        let found =
            Diagnostic::new(Code::UnknownLabel, place(path), format!("no label `{written}` in this rule"));
        let near = nearest(written, labels.iter().copied());
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let quoted: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        found.help(match quoted[..] {
            [] => "this rule has no labels; `name:` before an item makes one".to_owned(),
            _ => format!("{near}labels are {}", quoted.join(", ")),
        })
    }

    fn settings(&mut self, path: &Path, settings: &[tree::Setting]) -> Option<Vec<Setting>> {
        let mut all: Vec<Setting> = Vec::new();
        let mut fits = true;
        for setting in settings {
            match self.setting(path, setting) {
                Some(setting) => all.push(setting),
                None => fits = false,
            }
        }
        for (at, second) in all.iter().enumerate() {
            let end = second.offset_bits + second.bits;
            let overlaps = |first: &&Setting| {
                first.offset_bits < end && second.offset_bits < first.offset_bits + first.bits
            };
            if let Some(first) = all[..at].iter().find(overlaps) {
                let found = Diagnostic::new(Code::Overlap, second.span, "two settings write the same bits");
                self.report(found.label("and here").note(first.span, "set here"));
                fits = false;
            }
        }
        fits.then_some(all)
    }

    fn setting(&mut self, item: &Path, setting: &tree::Setting) -> Option<Setting> {
        let shape = self.shape;
        let mut contents = Vec::new();
        shape.contents(&joined(item), &mut contents);
        let target = self.target(item, &contents, &setting.path)?;
        let value = self.value(&target, &setting.value)?;
        Some(Setting { offset_bits: target.offset, bits: target.bits, value, span: place(&setting.path) })
    }

    /// Which bits of the item a field is.
    fn target<'t>(&mut self, item: &Path, contents: &[&'t Shape], path: &'t Path) -> Option<Target<'t>> {
        let label = joined(item);
        let field = joined(path);
        // The fields of a template have its label before them; the labels of a group do not.
        let beside = label.rsplit_once('.').map_or(field.clone(), |(outer, _)| format!("{outer}.{field}"));
        let candidates = [format!("{label}.{field}"), beside];
        let found = candidates.iter().find_map(|full| {
            contents.iter().find_map(|content| content.find(full)).map(|(binding, _)| (full, binding))
        });
        let Some((full, binding)) = found else {
            let prefix = format!("{label}.");
            let mut names: Vec<&str> = Vec::new();
            for content in contents {
                names.extend(mistake::names(content, &prefix));
            }
            if names.is_empty() {
                contents.iter().for_each(|content| names.extend(mistake::names(content, "")));
            }
            let what = self.shape.find(&label).map_or_else(String::new, |(binding, _)| described(binding));
            self.report(mistake::no_field(&what, path, names));
            return None;
        };
        let mut places = Vec::new();
        contents.iter().for_each(|content| content.places(full, Some(0), &mut places));
        let always = contents.iter().all(|content| content.always_binds(full));
        let first =
            places.first().copied().filter(|first| always && places.iter().all(|place| place == first));
        let fixed = first.and_then(|first| first.offset.zip(first.bits));
        let Some((offset, bits)) = fixed else {
            let message = format!("field `{field}` has no fixed place in `{label}`");
            let help = "what stands before it must have one length, and each way must bind it";
            self.report(Diagnostic::new(Code::NoFixedOffset, place(path), message).help(help));
            return None;
        };
        Some(Target { path, binding, offset, bits })
    }

    fn value(&mut self, target: &Target<'_>, value: &SetTo) -> Option<Value> {
        match value {
            SetTo::Made(Made::Constant(value, copies)) => {
                let copies = copies.map_or(1, |copies| copies.value);
                let given = constant::bits(value, copies)?;
                if given != u64::from(target.bits) {
                    let given = u32::try_from(given).unwrap_or(u32::MAX);
                    let widths = Widths { given, wanted: target.bits };
                    let written = Written { value, copies };
                    self.report(mistake::wrong_width(
                        self.files,
                        FileId(0),
                        written,
                        widths,
                        target.binding,
                        target.path,
                    ));
                    return None;
                }
                constant::bytes(value, copies).map(Value::Constant)
            }
            SetTo::Made(Made::Call(name, arguments)) => self.call_value(target, name, arguments),
            SetTo::Part(path) => {
                let label = self.label(path)?;
                self.require_width(target, path)?;
                Some(Value::Label(label))
            }
        }
    }

    /// A label that is written into a field is as wide as the field, and always there.
    pub(super) fn require_width(&mut self, target: &Target<'_>, path: &Path) -> Option<()> {
        let written = joined(path);
        let bits = self.known(path)?.bits;
        let field = joined(target.path);
        let wanted = mistake::width(Some(target.bits));
        let message = if bits != Some(target.bits) {
            format!("field `{field}` is {wanted} wide, `{written}` is {}", mistake::width(bits))
        } else if !self.shape.always_binds(&written) {
            format!("field `{field}` is {wanted} wide, `{written}` is empty in some packets")
        } else if !target.offset.is_multiple_of(8) || !target.bits.is_multiple_of(8) {
            format!("field `{field}` is bits: only constants and `len` can be written into it")
        } else {
            return Some(());
        };
        self.report(Diagnostic::new(Code::Width, place(path), message));
        None
    }
}

fn described(binding: &Binding) -> String {
    match &binding.origin.template {
        Some((name, _)) => format!("`{name}`"),
        None => format!("`{}`", binding.path),
    }
}

/// Where a constant is written, as far as the tree knows.
fn value_span(value: &tree::Value, copies: Option<Number>) -> Span {
    let integer = match value {
        tree::Value::Integer(integer) => Some(integer.first.span),
        _ => None,
    };
    integer.into_iter().chain(copies.map(|copies| copies.span)).reduce(Span::to).unwrap_or(Span::new(0, 0))
}
