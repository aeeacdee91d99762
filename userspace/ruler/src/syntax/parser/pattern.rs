//! Patterns: arms, items, counts and the restrictions of fields.
//!
//! Whether a name exists or a restriction makes sense is not asked here.

use super::{Parser, Read};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::token::{Keyword, Kind};
use crate::syntax::tree::{Allowed, Atom, Count, Item, Number, Pattern, Restriction, Sign};

impl Parser<'_> {
    pub(super) fn pattern(&mut self) -> Read<Pattern> {
        let arms = self.list("|", Self::sequence)?;
        Ok(Pattern { arms })
    }

    fn sequence(&mut self) -> Read<Vec<Item>> {
        let mut items = vec![self.item()?];
        while self.begins_item() {
            self.warn_of_touching(&items);
            items.push(self.item()?);
        }
        Ok(items)
    }

    fn begins_item(&self) -> bool {
        match self.kind() {
            Kind::Sign(sign) => matches!(*sign, "*" | "!" | "("),
            Kind::Keyword(keyword) => matches!(keyword, Keyword::Byte | Keyword::Bit),
            Kind::Size(..) | Kind::End => false,
            _ => true,
        }
    }

    fn item(&mut self) -> Read<Item> {
        let start = self.span();
        let label = if *self.next_kind() == Kind::Sign(":") {
            let name = self.name("a label")?;
            self.sign(":")?;
            Some(name)
        } else {
            None
        };
        let atom = self.atom()?;
        let count = self.optional_count()?;
        self.refuse_with(&atom, count.is_some())?;
        let span = start.to(self.tokens[self.at - 1].span);
        if let (Atom::Any, Some(_)) = (&atom, &count) {
            let found = Diagnostic::new(Code::RepeatedEmpty, span, "`*` is any number of bytes already");
            self.reports.push(found.help("`*` alone, or `byte#` and a count"));
        }
        Ok(Item { label, atom, count, span })
    }

    fn atom(&mut self) -> Read<Atom> {
        match self.kind() {
            Kind::Keyword(Keyword::Byte) => self.simple(Atom::Byte),
            Kind::Keyword(Keyword::Bit) => self.simple(Atom::Bit),
            Kind::Sign("*") => self.simple(Atom::Any),
            Kind::Sign("!") => {
                self.advance();
                Ok(Atom::Not(self.set()?))
            }
            Kind::Sign("(") => {
                self.advance();
                let body = self.nested(Self::pattern)?;
                self.sign(")")?;
                Ok(Atom::Group(body, self.restrictions()?))
            }
            Kind::Ident(_) => {
                let name = self.name("a template")?;
                Ok(Atom::Template(name, self.restrictions()?))
            }
            _ => Ok(Atom::Value(self.value("an item: `byte`, `bit`, `*`, a value, a template or `(`")?)),
        }
    }

    fn simple(&mut self, atom: Atom) -> Read<Atom> {
        self.advance();
        Ok(atom)
    }

    fn optional_count(&mut self) -> Read<Option<Count>> {
        if !self.accept(&Kind::Sign("#")) {
            return Ok(None);
        }
        let span = self.span();
        let bound = |value| Number { value, span };
        let short = match self.kind() {
            Kind::Sign("*") => Some(Count::Range(bound(0), None)),
            Kind::Sign("+") => Some(Count::Range(bound(1), None)),
            Kind::Sign("?") => Some(Count::Range(bound(0), Some(bound(1)))),
            _ => None,
        };
        if short.is_some() {
            self.advance();
            return Ok(short);
        }
        if self.accept(&Kind::Sign("(")) {
            return self.field_count().map(Some);
        }
        let Some(least) = self.optional_number() else {
            return Err(self.unexpected("a count: a number, `*`, `+`, `?` or `(`"));
        };
        if !self.accept(&Kind::Sign("..")) {
            return Ok(Some(Count::Exactly(least)));
        }
        let most = if self.accept(&Kind::Sign("*")) { None } else { Some(self.number()?) };
        Ok(Some(Count::Range(least, most)))
    }

    fn field_count(&mut self) -> Read<Count> {
        let label = self.name("the label of a field")?;
        let times = if self.accept(&Kind::Sign("*")) { Some(self.number()?) } else { None };
        let sign = match self.kind() {
            Kind::Sign("+") => Some(Sign::Plus),
            Kind::Sign("-") => Some(Sign::Minus),
            _ => None,
        };
        let plus = match sign {
            Some(sign) => {
                self.advance();
                Some((sign, self.number()?))
            }
            None => None,
        };
        self.sign(")")?;
        Ok(Count::Field { label, times, plus })
    }

    fn restrictions(&mut self) -> Read<Vec<Restriction>> {
        if !self.accept(&Kind::Keyword(Keyword::With)) {
            return Ok(Vec::new());
        }
        self.sign("[")?;
        let all = self.list(",", Self::restriction)?;
        self.sign("]")?;
        Ok(all)
    }

    fn restriction(&mut self) -> Read<Restriction> {
        let path = self.path("a field")?;
        self.sign("=")?;
        let values = self.list("|", Self::allowed)?;
        Ok(Restriction { path, values })
    }

    fn allowed(&mut self) -> Read<Allowed> {
        if self.accept(&Kind::Sign("!")) {
            return Ok(Allowed::Not(self.set()?));
        }
        let value = self.value("a value or `!`")?;
        Ok(Allowed::Value(value, self.copies()?))
    }

    /// A `with` that no template or group takes is read all the same, so that nothing behind it is misread.
    fn refuse_with(&mut self, atom: &Atom, counted: bool) -> Read<()> {
        if *self.kind() != Kind::Keyword(Keyword::With) {
            return Ok(());
        }
        let (message, help) = if counted && matches!(atom, Atom::Template(..) | Atom::Group(..)) {
            ("`with` stands before the count", "write `name with [ … ] # count`")
        } else {
            ("`with` stands behind a template or a group", "only these have fields")
        };
        self.reports.push(Diagnostic::new(Code::MisplacedWith, self.span(), message).help(help));
        self.restrictions().map(|_| ())
    }

    fn warn_of_touching(&mut self, before: &[Item]) {
        let Some(last) = before.last() else { return };
        let star = self.span();
        if *self.kind() != Kind::Sign("*") || last.span.end != star.start {
            return;
        }
        let once = match last.atom {
            Atom::Byte if last.count.is_none() => "one byte",
            _ => "what it says once",
        };
        let message = format!("this is {once}, then any bytes; `*` never repeats what stands before it");
        let text = String::from_utf8_lossy(&self.source[last.span.start..last.span.end]);
        let help = match last.count {
            None => format!("`{text}#*`, or a space before `*`"),
            Some(_) => "a space before `*`".to_owned(),
        };
        let span = Span::new(last.span.start, star.end);
        self.reports.push(Diagnostic::new(Code::TouchingAny, span, message).help(help));
    }
}
