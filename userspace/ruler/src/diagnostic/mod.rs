//! What is wrong with a program, said so that its author can mend it.
//!
//! A diagnostic is a value; how it is shown (text with carets, JSON) is another matter. Reading a program never stops
//! at the first one, and never gathers more than [`DIAGNOSTICS_MAX`].

mod code;
mod text;

use serde::Serialize;

pub use code::{Code, Severity};
pub use text::text;

use crate::source::Span;

/// Where reading gives up: more than this helps nobody.
pub const DIAGNOSTICS_MAX: usize = 50;

/// One thing that is wrong, or probably not what was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, never used for anything else.
    pub code: Code,
    /// Whether the program can still be used.
    pub severity: Severity,
    /// The name of the file it is in.
    pub file: String,
    /// Where; empty if something is missing there.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What is there, if the message does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Other places of the same file that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What was asked for and what is allowed, if a limit is passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<Exceeded>,
}

/// Another place, and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where.
    pub span: Span,
    /// What.
    pub text: String,
}

/// A limit that a program passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exceeded {
    /// What the program asks for.
    pub given: u64,
    /// The most that is allowed.
    pub limit: u64,
}

impl Diagnostic {
    /// A diagnostic without help.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            file: String::new(),
            span,
            message: message.into(),
            label: None,
            notes: Vec::new(),
            help: None,
            exceeded: None,
        }
    }

    /// Says in which file it is.
    #[must_use]
    pub fn file(mut self, name: &str) -> Self {
        name.clone_into(&mut self.file);
        self
    }

    /// Says what is at its place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    /// Says what is at another place of the same file.
    #[must_use]
    pub fn note(mut self, span: Span, text: impl Into<String>) -> Self {
        self.notes.push(Note { span, text: text.into() });
        self
    }

    /// Whether the program cannot be used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Refuses `given` of `what`, of which `limit` are allowed.
    pub fn limit(span: Span, what: &str, given: u64, limit: u64) -> Self {
        let message = format!("{given} is too much: the limit of {what} is {limit}");
        Self { exceeded: Some(Exceeded { given, limit }), ..Self::new(Code::Limit, span, message) }
    }
}

/// The diagnostics of one reading, in the order they were found, up to the limit.
#[derive(Debug, Default)]
pub struct Reports(Vec<Diagnostic>);

impl Reports {
    /// Takes one; beyond the limit it is dropped.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.0.push(diagnostic);
        }
    }

    /// Whether there is no use in reading on.
    pub fn is_full(&self) -> bool {
        DIAGNOSTICS_MAX <= self.0.len()
    }

    /// All of them, sorted by place.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|found| (found.span, found.code));
        self.0
    }
}
