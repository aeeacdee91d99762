//! Patterns: writes templates out, puts bits together to bytes, and judges labels.
//!
//! What `with` does to a pattern is in `narrow`; how often something stands there is in `repeat`.

mod repeat;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::files::FileId;
use super::mistake::width;
use super::nearest::nearest;
use super::shape::{Binding, BitName, Origin, Run, Shape};
use super::templates::TemplateId;
use super::{Resolver, cube, value};
use crate::diagnostic::{Code, Diagnostic};
use crate::resolved::{Allowed, Counter, Field};
use crate::source::Span;
use crate::syntax::parser::NESTING_MAX;
use crate::syntax::token::Unit;
use crate::syntax::tree::{Atom, Count, Item, Name, Number, Pattern, Set, Value};

/// The most parts and fields of one rule or template, with its templates written out.
pub const PARTS_MAX: usize = 65_536;

/// A template, or a rule's pattern, written out.
pub(super) struct Expanded {
    pub(super) shape: Shape,
    /// How many levels of parentheses and templates it has.
    depth: usize,
    /// How many fields count bytes: they are numbered from 0.
    counters: u16,
    /// The template whose layout it is: its own name, or that of the only template it consists of.
    layout: String,
}

/// What is being written out: a template's body or a rule's pattern.
pub(super) struct Body<'r, 'a> {
    pub(super) resolver: &'r mut Resolver<'a>,
    pub(super) file: FileId,
    owner: Option<&'a str>,
    depth: usize,
    deepest: usize,
    size: usize,
    counters: u16,
    counts: Vec<(Name, Counter)>,
}

/// Writes out what stands at `depth`; `None` if something is wrong with it, which was diagnosed.
pub(super) fn expand<'a>(
    resolver: &mut Resolver<'a>,
    file: FileId,
    owner: Option<&'a str>,
    depth: usize,
    pattern: &'a Pattern,
) -> Option<Expanded> {
    let mut body =
        Body { resolver, file, owner, depth, deepest: depth, size: 0, counters: 0, counts: Vec::new() };
    let sole = sole_template(pattern);
    let mut shape = match sole {
        Some(item) if owner.is_some() => body.sole(item)?,
        _ => body.pattern(pattern)?,
    };
    body.tie_counts(&mut shape)?;
    let layout = sole.and_then(|item| body.layout_of(item)).or(owner.map(str::to_owned)).unwrap_or_default();
    Some(Expanded { shape, depth: body.deepest - depth, counters: body.counters, layout })
}

/// The only item, if it is nothing but the use of a template.
fn sole_template(pattern: &Pattern) -> Option<&Item> {
    let [arm] = &pattern.arms[..] else { return None };
    let [item] = &arm[..] else { return None };
    (matches!(item.atom, Atom::Template(..)) && item.label.is_none() && item.count.is_none()).then_some(item)
}

/// Whether an item is bits, and not bytes.
fn is_bits(item: &Item) -> bool {
    match &item.atom {
        Atom::Bit => true,
        Atom::Value(Value::Integer(integer)) => integer.size.is_some_and(|size| size.unit == Unit::Bits),
        _ => false,
    }
}

/// Bits that have not come to an end yet.
struct OpenRun {
    run: Run,
    span: Span,
    /// Something is wrong with one of its items, so its width is not known.
    broken: bool,
}

impl<'a> Body<'_, 'a> {
    pub(super) fn report(&mut self, found: Diagnostic) {
        self.resolver.findings.push(self.file, found);
    }

    /// Counts what is made towards the limits.
    pub(super) fn spend(&mut self, span: Span, parts: usize) -> Option<()> {
        self.size = self.size.saturating_add(parts);
        let (what, given, limit) = if PARTS_MAX < self.size {
            ("parts of a pattern, templates written out", self.size, PARTS_MAX)
        } else {
            let spent = self.resolver.spend(parts);
            ("parts of a program, templates written out", spent, super::PROGRAM_PARTS_MAX)
        };
        if limit < given {
            if !self.resolver.is_spent {
                self.report(Diagnostic::limit(span, what, given as u64, limit as u64));
            }
            self.resolver.is_spent |= limit == super::PROGRAM_PARTS_MAX;
            return None;
        }
        Some(())
    }

    fn sole(&mut self, item: &'a Item) -> Option<Shape> {
        let Atom::Template(name, fields) = &item.atom else { return None };
        let shape = self.template(name, item.span)?;
        self.restrict(shape, fields, Some(&name.text))
    }

    fn layout_of(&self, item: &Item) -> Option<String> {
        let Atom::Template(name, _) = &item.atom else { return None };
        self.resolver.known(self.file, &name.text).map(|expanded| expanded.layout.clone())
    }

    fn pattern(&mut self, pattern: &'a Pattern) -> Option<Shape> {
        let arms: Vec<Option<Shape>> = pattern.arms.iter().map(|arm| self.sequence(arm)).collect();
        let arms: Vec<Shape> = arms.into_iter().collect::<Option<_>>()?;
        self.compare_widths(&arms)?;
        Shape::alt(arms)
    }

    /// A label has one width, in whichever arm.
    fn compare_widths(&mut self, arms: &[Shape]) -> Option<()> {
        let mut widths: BTreeMap<&str, Option<u32>> = BTreeMap::new();
        let mut wrong = None;
        for arm in arms {
            arm.each_name(&mut |binding, bits| {
                let first = *widths.entry(&binding.path).or_insert(bits);
                if first != bits && wrong.is_none() {
                    wrong = Some((binding.path.clone(), binding.origin.clone(), first, bits));
                }
            });
        }
        let Some((path, origin, first, second)) = wrong else { return Some(()) };
        let message = format!("label `{path}` is {} here, {} in an earlier arm", width(second), width(first));
        self.report(Diagnostic::new(Code::Width, origin.span, message).help("use two labels"));
        None
    }

    fn sequence(&mut self, items: &'a [Item]) -> Option<Shape> {
        let mut parts = Vec::new();
        let mut open: Option<OpenRun> = None;
        for item in items {
            if is_bits(item) {
                let run = open.get_or_insert_with(|| OpenRun {
                    run: Run::default(),
                    span: item.span,
                    broken: false,
                });
                run.span = run.span.to(item.span);
                match self.bits(item) {
                    Some(fields) => self.extend_run(run, item, fields),
                    None => run.broken = true,
                }
            } else {
                parts.extend(open.take().map(|run| self.close_run(run)));
                parts.push(self.item(item));
            }
        }
        parts.extend(open.take().map(|run| self.close_run(run)));
        let parts: Vec<Shape> = parts.into_iter().collect::<Option<_>>()?;
        self.refuse_second_bindings(&parts)?;
        Some(Shape::seq(parts))
    }

    fn extend_run(&mut self, open: &mut OpenRun, item: &Item, fields: Vec<Field>) {
        let offset = open.run.bits();
        let bits = fields.iter().map(|field| u32::from(field.bits)).sum();
        open.run.fields.extend(fields);
        if let Some(label) = &item.label {
            let binding = self.binding(label, item, None);
            open.run.names.push(BitName { binding, offset, bits });
        }
    }

    fn close_run(&mut self, open: OpenRun) -> Option<Shape> {
        if open.broken {
            return None;
        }
        let bits = open.run.bits();
        if bits.is_multiple_of(8) {
            return Some(Shape::Run(open.run));
        }
        let message = format!("{bits} bits in a row are not whole bytes");
        let help = "`byte`, templates, groups and `*` begin and end on whole bytes";
        self.report(Diagnostic::new(Code::OddBits, open.span, message).help(help));
        None
    }

    /// The fields of a bit item.
    fn bits(&mut self, item: &Item) -> Option<Vec<Field>> {
        let count = match &item.count {
            None => 1,
            Some(Count::Exactly(count)) => self.small(*count)?,
            Some(Count::Range(..) | Count::Field { .. }) => {
                let message = "bits in a row have one length";
                self.report(Diagnostic::new(Code::OddBits, item.span, message).help("repeat whole bytes"));
                return None;
            }
        };
        self.spend(item.span, usize::try_from(count).unwrap_or(usize::MAX))?;
        let Atom::Value(value) = &item.atom else { return Some(any_bits(count)) };
        let one = value::fields(value)?;
        Some((0..count).flat_map(|_| one.iter().cloned()).collect())
    }

    /// A count; `None` if it was diagnosed already.
    fn small(&self, count: Number) -> Option<u32> {
        u32::try_from(count.value).ok().filter(|count| (1..=65_535).contains(count))
    }

    fn refuse_second_bindings(&mut self, parts: &[Shape]) -> Option<()> {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        let mut twice: Vec<(&str, Span, Span)> = Vec::new();
        for part in parts {
            let mut here: BTreeMap<&str, Span> = BTreeMap::new();
            part.each_name(&mut |binding, _| {
                here.entry(&binding.path).or_insert(binding.origin.span);
            });
            for (path, span) in here {
                match seen.get(path) {
                    // The fields of a template come with its label, which is diagnosed itself.
                    Some(first) if !path.contains('.') => twice.push((path, *first, span)),
                    Some(_) => {}
                    None => drop(seen.insert(path, span)),
                }
            }
        }
        for (path, first, second) in &twice {
            let message = format!("label `{path}` may be bound twice in one packet");
            let found = Diagnostic::new(Code::BoundTwice, *second, message).label("again here");
            self.report(found.note(*first, "bound here"));
        }
        twice.is_empty().then_some(())
    }

    fn item(&mut self, item: &'a Item) -> Option<Shape> {
        if let Some(Count::Field { label, times, plus }) = &item.count {
            let counted = self.counted(item, label, *times, *plus)?;
            return self.named(item, counted, None);
        }
        let repeated = match item.count {
            None => false,
            Some(Count::Exactly(count)) => count.value != 1,
            Some(Count::Range(_, most)) => most.is_none_or(|most| 1 < most.value),
            Some(Count::Field { .. }) => true,
        };
        let (shape, template) = self.atom(item, repeated)?;
        let shape = self.repeat(item, shape)?;
        self.named(item, shape, template)
    }

    fn named(&mut self, item: &Item, shape: Shape, template: Option<(String, String)>) -> Option<Shape> {
        let Some(label) = &item.label else { return Some(shape) };
        if shape.find(&label.text).is_some() {
            let message = format!("label `{}` is bound again inside", label.text);
            self.report(Diagnostic::new(Code::BoundTwice, label.span, message));
            return None;
        }
        self.spend(item.span, 1)?;
        Some(Shape::Named(self.binding(label, item, template), Box::new(shape)))
    }

    fn binding(&self, label: &Name, item: &Item, template: Option<(String, String)>) -> Binding {
        let file = &self.resolver.files[self.file.0];
        let text = file.text(Span::new(label.span.end, item.span.end));
        let origin = Origin {
            owner: self.owner.map(str::to_owned),
            name: label.text.clone(),
            file: self.file,
            span: label.span,
            text: text.trim_start().trim_start_matches(':').trim().to_owned(),
            template,
        };
        Binding { path: label.text.clone(), origin: Rc::new(origin) }
    }

    /// What the atom is, and of which template and layout; fields of a template that is repeated, or has no label, go.
    fn atom(&mut self, item: &'a Item, repeated: bool) -> Option<(Shape, Option<(String, String)>)> {
        match &item.atom {
            Atom::Byte => {
                self.spend(item.span, 2)?;
                Some((Shape::Run(Run::of(vec![value::any(8)])), None))
            }
            Atom::Bit => unreachable!("bits are put together before"),
            Atom::Any => {
                self.spend(item.span, 1)?;
                Some((Shape::Any, None))
            }
            Atom::Value(value) => {
                let fields = value::fields(value)?;
                self.spend(item.span, 1 + fields.len())?;
                Some((if fields.is_empty() { Shape::nothing() } else { Shape::Run(Run::of(fields)) }, None))
            }
            Atom::Not(set) => {
                self.spend(item.span, 2)?;
                let field = self.none_of(set, 8, item.span)?;
                Some((Shape::Run(Run::of(vec![field])), None))
            }
            Atom::Template(name, fields) => {
                let shape = self.template(name, item.span)?;
                let shape = self.restrict(shape, fields, Some(&name.text))?;
                let layout = self.layout_of(item).unwrap_or_default();
                let label = item.label.as_ref().filter(|_| !repeated);
                let shape = shape.rename(&|binding| {
                    label.map(|label| Binding { path: format!("{}.{}", label.text, binding.path), ..binding })
                });
                Some((shape, Some((name.text.clone(), layout))))
            }
            Atom::Group(pattern, fields) => {
                self.enter(1, item.span)?;
                self.depth += 1;
                let shape = self.pattern(pattern);
                self.depth -= 1;
                let shape = self.restrict(shape?, fields, None)?;
                if repeated {
                    self.refuse_labels(&shape)?;
                }
                Some((shape, None))
            }
        }
    }

    /// A field that holds none of a set.
    pub(super) fn none_of(&mut self, set: &Set, bits: u8, span: Span) -> Option<Field> {
        let mut too_big = None;
        let tests = value::set_tests(set, bits, &mut too_big);
        if let Some(number) = too_big {
            let message = format!("{} does not fit in {}", number.value, width(Some(bits.into())));
            self.report(Diagnostic::new(Code::TooBig, number.span, message));
            return None;
        }
        let field = Field { bits, all_of: vec![Allowed::NoneOf(tests?)], counts: None };
        if !cube::is_possible(&field) {
            self.report(Diagnostic::new(
                Code::NothingLeft,
                span,
                "nothing is left: this excludes every value",
            ));
            return None;
        }
        Some(field)
    }

    /// Refuses nesting that is too deep, with `levels` more.
    fn enter(&mut self, levels: usize, span: Span) -> Option<()> {
        self.deepest = self.deepest.max(self.depth + levels);
        if NESTING_MAX < self.depth + levels {
            let given = (self.depth + levels) as u64;
            self.report(Diagnostic::limit(span, "nesting, templates written out", given, NESTING_MAX as u64));
            return None;
        }
        Some(())
    }

    /// A template's pattern, its fields by their own names.
    fn template(&mut self, name: &Name, span: Span) -> Option<Shape> {
        let Some(id) = self.resolver.templates.find(self.file, &name.text) else {
            let message = format!("no template `{}`", name.text);
            let found = Diagnostic::new(Code::UnknownTemplate, name.span, message);
            let names: Vec<_> = self.resolver.templates.names(self.file).collect();
            let near = nearest(&name.text, names.iter().copied());
            let elsewhere = names
                .is_empty()
                .then_some("`include \"layouts.rli\"` has those of common headers".to_owned());
            let help = near.map(|near| format!("did you mean `{near}`?")).or(elsewhere);
            self.report(match help {
                Some(help) => found.help(help),
                None => found,
            });
            return None;
        };
        self.enter(1, span)?;
        let expanded = self.resolver.template(id, self.depth + 1, (self.file, name))?;
        self.enter(1 + expanded.depth, span)?;
        self.spend(span, expanded.shape.size())?;
        let mut shape = expanded.shape.clone();
        let first = self.counters;
        let Some(counters) = first.checked_add(expanded.counters) else {
            self.report(Diagnostic::limit(span, "counting fields", u64::from(u16::MAX) + 1, u16::MAX.into()));
            return None;
        };
        self.counters = counters;
        shape.each_counter(&mut |counter| counter.0 += first);
        Some(shape)
    }
}

impl Resolver<'_> {
    /// What a name that was written out already stands for.
    fn known(&self, file: FileId, name: &str) -> Option<&Expanded> {
        let id: TemplateId = self.templates.find(file, name)?;
        self.expansion(id)
    }
}

/// `bits` free bits, as few fields as possible.
fn any_bits(bits: u32) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = bits;
    while 0 < rest {
        let next = u8::try_from(rest.min(64)).unwrap_or(64);
        fields.push(value::any(next));
        rest -= u32::from(next);
    }
    fields
}
