//! A mistake in a configuration file, shown with file, line, key and what was expected there.
//!
//! The parser knows a place and no key, the resolver a key and no place; this file finds the other half by walking
//! the parsed text once more. It costs nothing until something is wrong.
use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Serialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use client::control::instance::InstanceName;

use super::settings::{Key, Problem, Settings};

/// A configuration file's text and name.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name, for messages.
    pub path: &'a Path,
    /// Its text.
    pub text: &'a str,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    file: PathBuf,
    place: Option<Place>,
    key: String,
    message: String,
}

/// A place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    /// How many characters to underline.
    width: usize,
    /// The whole line.
    text: String,
}

/// What `octroid --check --json` says.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The file.
    pub file: PathBuf,
    /// Whether it has no mistakes.
    pub ok: bool,
    /// The instance it configures, if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// The line, from 1, if the mistake has a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The key's path; empty where no key is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// All of it as people are shown it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

impl Verdict {
    /// The verdict on a file.
    #[must_use]
    pub fn of(file: &Path, judged: &Result<Settings, Mistake>) -> Self {
        let mistake = judged.as_ref().err();
        Self {
            file: file.to_path_buf(),
            ok: mistake.is_none(),
            instance: judged.as_ref().ok().map(|settings| settings.instance.clone()),
            line: mistake.and_then(Mistake::line),
            key: mistake.map(|m| m.key.clone()),
            message: mistake.map(|m| m.message.clone()),
            shown: mistake.map(ToString::to_string),
        }
    }
}

impl Mistake {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self { file: path.to_path_buf(), place: None, key: String::new(), message: error.to_string() }
    }

    pub(super) fn too_large(path: &Path, size: u64) -> Self {
        let message = format!("{size} bytes, at most {} are read", super::MAX_BYTES);
        Self { file: path.to_path_buf(), place: None, key: String::new(), message }
    }

    /// The line, from 1, if the mistake has a place.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.line)
    }

    /// The key's path, e.g. `interface[0].umem.chunk`; empty where no key is meant.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl std::error::Error for Mistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(place) = &self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        let Some(Place { line, column, width, text }) = &self.place else { return Ok(()) };
        let margin = line.to_string().len();
        write!(f, "\n{:margin$} |\n{line} | {text}\n{:margin$} | {:skip$}", "", "", "", skip = column - 1)?;
        (0..*width).try_for_each(|_| f.write_str("^"))
    }
}

impl Source<'_> {
    /// What the parser found wrong.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> Mistake {
        let span = error.span();
        let key = span
            .clone()
            .and_then(|span| Some(path_at(DeTable::parse(self.text).ok()?.get_ref(), span.start)));
        Mistake {
            file: self.path.to_path_buf(),
            place: span.map(|span| self.place(span)),
            key: key.unwrap_or_default(),
            message: error.message().trim_end().replace('\n', ", "),
        }
    }

    /// What the resolver found wrong.
    pub(super) fn locate(&self, problem: &Problem) -> Mistake {
        let span = DeTable::parse(self.text).ok().and_then(|table| span_of(table.get_ref(), &problem.path));
        Mistake {
            file: self.path.to_path_buf(),
            place: span.map(|span| self.place(span)),
            key: write_path(&problem.path),
            message: problem.message.clone(),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let start = floor_char(self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let end = floor_char(self.text, span.end).clamp(start, line_end);
        Place {
            line: 1 + self.text[..start].matches('\n').count(),
            column: 1 + self.text[line_start..start].chars().count(),
            width: self.text[start..end].chars().count().max(1),
            text: self.text[line_start..line_end].replace('\t', " ").trim_end().to_owned(),
        }
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The path of the innermost key whose name or value covers byte `at`.
fn path_at(table: &DeTable<'_>, at: usize) -> String {
    let mut path = Vec::new();
    descend(table, at, &mut path);
    write_path(&path)
}

fn descend(table: &DeTable<'_>, at: usize, path: &mut Vec<Key>) {
    let covers = |span: Range<usize>| span.contains(&at);
    for (key, value) in table {
        if covers(key.span()) || reaches(value, at) {
            path.push(Key::Name(key.get_ref().to_string()));
            return descend_value(value, at, path);
        }
    }
}

fn descend_value(value: &Spanned<DeValue<'_>>, at: usize, path: &mut Vec<Key>) {
    match value.get_ref() {
        DeValue::Table(table) => descend(table, at, path),
        DeValue::Array(array) => {
            if let Some((index, element)) = array.iter().enumerate().find(|(_, element)| reaches(element, at))
            {
                path.push(Key::Index(index));
                descend_value(element, at, path);
            }
        }
        _ => {}
    }
}

/// Whether a value, or anything in it, lies at `at`: the span of a `[table]` is its header's alone.
fn reaches(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    let inside = match value.get_ref() {
        DeValue::Table(table) => {
            table.iter().any(|(key, value)| key.span().contains(&at) || reaches(value, at))
        }
        DeValue::Array(array) => array.iter().any(|element| reaches(element, at)),
        _ => false,
    };
    inside || value.span().contains(&at)
}

/// The span of the value at `path`, or of the nearest thing on the way to it that is there.
fn span_of(table: &DeTable<'_>, path: &[Key]) -> Option<Range<usize>> {
    let Some((Key::Name(first), rest)) = path.split_first() else { return None };
    let (_, mut value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    for key in rest {
        let next = match key {
            Key::Name(name) => {
                value.get_ref().as_table().and_then(|t| Some(t.iter().find(|(k, _)| k.get_ref() == name)?.1))
            }
            Key::Index(index) => value.get_ref().as_array().and_then(|array| array.get(*index)),
        };
        match next {
            Some(next) => value = next,
            None => break,
        }
    }
    Some(value.span())
}

fn write_path(path: &[Key]) -> String {
    let mut text = String::new();
    for key in path {
        match key {
            Key::Name(name) if text.is_empty() => text.push_str(name),
            Key::Name(name) => text.extend([".", name]),
            Key::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}
