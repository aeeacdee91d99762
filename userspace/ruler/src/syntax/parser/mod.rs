//! Reads tokens into a tree, one function for each line of the grammar, looking at most two tokens ahead.
//!
//! It never fails: after an error it goes on behind the next `;`, or at the next definition. Nesting is bounded, so
//! its own stack is too.

mod output;
mod pattern;
mod value;

use super::lexer;
use super::token::{Keyword, Kind, Token};
use super::tree::{Action, Definition, Name, Number, Path, Program, Rule};
use crate::diagnostic::{Code, Diagnostic, Reports};
use crate::source::Span;

/// The longest source that is read.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of parentheses.
pub const NESTING_MAX: usize = 64;
/// The most rules in one source.
pub const RULES_MAX: usize = 16_384;
/// The most templates in one source.
pub const TEMPLATES_MAX: usize = 4_096;

/// The tree of `source`; what could not be read is missing from it.
pub fn parse(source: &[u8], reports: &mut Reports) -> Program {
    if SOURCE_BYTES_MAX < source.len() {
        let start = Span::new(0, 0);
        reports.push(Diagnostic::limit(
            start,
            "bytes of a source",
            source.len() as u64,
            SOURCE_BYTES_MAX as u64,
        ));
        return Program::default();
    }
    let tokens = lexer::tokens(source, reports);
    Parser { source, tokens, at: 0, depth: 0, rules: 0, templates: 0, reports }.program()
}

/// Reading stopped here, and a diagnostic says why.
struct Stopped;

type Read<T> = Result<T, Stopped>;

struct Parser<'a> {
    source: &'a [u8],
    /// Ends with [`Kind::End`], which is never passed.
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    rules: usize,
    templates: usize,
    reports: &'a mut Reports,
}

impl Parser<'_> {
    fn program(mut self) -> Program {
        let mut definitions = Vec::new();
        while *self.kind() != Kind::End && !self.reports.is_full() {
            match self.definition() {
                Ok(definition) => definitions.push(definition),
                Err(Stopped) => self.recover(),
            }
        }
        Program { definitions }
    }

    fn definition(&mut self) -> Read<Definition> {
        if self.accept(&Kind::Keyword(Keyword::Include)) {
            return self.include();
        }
        if self.accept(&Kind::Keyword(Keyword::Pattern)) {
            return self.template();
        }
        if self.accept(&Kind::Keyword(Keyword::Filter)) {
            return self.filter();
        }
        Err(self.unexpected("`include`, `pattern` or `filter`"))
    }

    fn include(&mut self) -> Read<Definition> {
        let Kind::Text(path) = self.kind().clone() else {
            return Err(self.unexpected("a file name in quotes"));
        };
        let span = self.advance();
        self.accept(&Kind::Sign(";"));
        Ok(Definition::Include(path, span))
    }

    fn template(&mut self) -> Read<Definition> {
        let name = self.name("a name for the template")?;
        self.templates += 1;
        if TEMPLATES_MAX < self.templates {
            return Err(self.over(name.span, "templates", self.templates, TEMPLATES_MAX));
        }
        self.sign(":")?;
        let body = self.pattern()?;
        if !self.accept(&Kind::Sign(";")) && *self.kind() != Kind::End && !self.kind().begins_definition() {
            return Err(self.unexpected("another item, `;` or a definition"));
        }
        Ok(Definition::Template(name, body))
    }

    /// Rules until the next definition; those that cannot be read are left out.
    fn filter(&mut self) -> Read<Definition> {
        let name = self.name("a name for the filter")?;
        let mut rules = Vec::new();
        loop {
            match self.rule() {
                Ok(rule) => rules.push(rule),
                Err(Stopped) => self.recover(),
            }
            if *self.kind() == Kind::End || self.kind().begins_definition() || self.reports.is_full() {
                return Ok(Definition::Filter(name, rules));
            }
        }
    }

    fn rule(&mut self) -> Read<Rule> {
        self.rules += 1;
        if RULES_MAX < self.rules {
            let over = self.over(self.span(), "rules", self.rules, RULES_MAX);
            self.at = self.tokens.len() - 1;
            return Err(over);
        }
        let start = self.span();
        let pattern = self.pattern()?;
        self.sign("=>")?;
        let action = self.action()?;
        self.end_of_rule()?;
        Ok(Rule { pattern, action, span: start.to(self.tokens[self.at - 1].span) })
    }

    fn action(&mut self) -> Read<Action> {
        if self.accept(&Kind::Keyword(Keyword::Accept)) {
            return Ok(Action::Accept(self.optional_number()));
        }
        if self.accept(&Kind::Keyword(Keyword::Reject)) {
            return Ok(Action::Reject(self.optional_number()));
        }
        let outputs = self.outputs()?;
        let code = if self.accept(&Kind::Keyword(Keyword::Class)) { Some(self.number()?) } else { None };
        Ok(Action::Rewrite(outputs, code))
    }

    /// A forgotten `;` does no further harm: what follows is read as the next rule.
    fn end_of_rule(&mut self) -> Read<()> {
        if self.accept(&Kind::Sign(";")) {
            return Ok(());
        }
        if matches!(self.kind(), Kind::Sign(_)) && !matches!(self.kind(), Kind::Sign("*" | "(" | "!")) {
            return Err(self.unexpected("`;`"));
        }
        let last = self.tokens[self.at - 1].span;
        let text = String::from_utf8_lossy(&self.source[last.start..last.end]).into_owned();
        let missing = Diagnostic::new(Code::MissingSemicolon, last.behind(), "a rule ends with `;`");
        self.reports.push(missing.help(format!("`{text};`")));
        Ok(())
    }

    /// Goes on behind the next `;`, or at the next definition, but always further on than where a definition failed.
    fn recover(&mut self) {
        self.depth = 0;
        while *self.kind() != Kind::End && !self.kind().begins_definition() {
            if self.accept(&Kind::Sign(";")) {
                return;
            }
            self.at += 1;
        }
    }

    fn kind(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn next_kind(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// Passes this token and gives its place.
    fn advance(&mut self) -> Span {
        let span = self.span();
        if *self.kind() != Kind::End {
            self.at += 1;
        }
        span
    }

    /// Passes this token if it is `kind`, which must not be the end.
    fn accept(&mut self, kind: &Kind) -> bool {
        let found = self.kind() == kind;
        if found {
            self.at += 1;
        }
        found
    }

    fn sign(&mut self, sign: &'static str) -> Read<()> {
        if self.accept(&Kind::Sign(sign)) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn name(&mut self, wanted: &str) -> Read<Name> {
        let Kind::Ident(text) = self.kind().clone() else { return Err(self.unexpected(wanted)) };
        Ok(Name { text, span: self.advance() })
    }

    fn path(&mut self, wanted: &str) -> Read<Path> {
        let mut path = vec![self.name(wanted)?];
        while self.accept(&Kind::Sign(".")) {
            path.push(self.name("a field")?);
        }
        Ok(path)
    }

    fn number(&mut self) -> Read<Number> {
        self.optional_number().ok_or_else(|| self.unexpected("a number"))
    }

    fn optional_number(&mut self) -> Option<Number> {
        let Kind::Number(value) = *self.kind() else { return None };
        Some(Number { value, span: self.advance() })
    }

    /// One or more of what `item` reads, with `sign` between.
    fn list<T>(&mut self, sign: &'static str, item: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut all = vec![item(self)?];
        while self.accept(&Kind::Sign(sign)) {
            all.push(item(self)?);
        }
        Ok(all)
    }

    /// What `inner` reads, one level deeper.
    fn nested<T>(&mut self, inner: impl Fn(&mut Self) -> Read<T>) -> Read<T> {
        self.depth += 1;
        if NESTING_MAX < self.depth {
            return Err(self.over(self.span(), "nesting", self.depth, NESTING_MAX));
        }
        let read = inner(self)?;
        self.depth -= 1;
        Ok(read)
    }

    fn over(&mut self, span: Span, what: &str, given: usize, limit: usize) -> Stopped {
        self.reports.push(Diagnostic::limit(span, what, given as u64, limit as u64));
        Stopped
    }

    fn unexpected(&mut self, wanted: &str) -> Stopped {
        let span = self.span();
        let text = String::from_utf8_lossy(&self.source[span.start..span.end]);
        let found =
            if *self.kind() == Kind::End { "the end of the file".to_owned() } else { format!("`{text}`") };
        self.reports.push(Diagnostic::new(
            Code::Unexpected,
            span,
            format!("{found} cannot stand here; {wanted} can"),
        ));
        Stopped
    }
}
