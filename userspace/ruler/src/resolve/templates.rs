//! Which template a name means, file by file: a file's own come first, then those of what it includes, in order.

use std::collections::BTreeMap;

use super::files::{File, FileId};
use super::findings::Findings;
use crate::diagnostic::{Code, Diagnostic};
use crate::syntax::tree::{Definition, Name, Pattern};

/// Which template: an index into [`Templates::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TemplateId(pub(super) usize);

/// A template as it is written.
pub(super) struct Template<'a> {
    pub(super) file: FileId,
    pub(super) name: &'a Name,
    pub(super) body: &'a Pattern,
}

/// All templates, and what each file sees.
pub(super) struct Templates<'a> {
    pub(super) all: Vec<Template<'a>>,
    visible: Vec<BTreeMap<&'a str, TemplateId>>,
}

impl<'a> Templates<'a> {
    pub(super) fn gather(files: &'a [File], findings: &mut Findings) -> Self {
        let mut all = Vec::new();
        let own = (0..files.len()).map(|id| own(FileId(id), files, &mut all, findings)).collect();
        let mut templates = Self { all, visible: own };
        // An included file is read after the file that includes it first, or before: follow the includes themselves.
        let mut done = vec![false; files.len()];
        templates.include(FileId(0), files, &mut done, findings);
        templates
    }

    /// What `name` means in `file`.
    pub(super) fn find(&self, file: FileId, name: &str) -> Option<TemplateId> {
        self.visible[file.0].get(name).copied()
    }

    /// All names that mean something in `file`.
    pub(super) fn names(&self, file: FileId) -> impl Iterator<Item = &'a str> {
        self.visible[file.0].keys().copied()
    }

    /// Includes have no cycles here: those were cut while reading.
    fn include(&mut self, id: FileId, files: &'a [File], done: &mut [bool], findings: &mut Findings) {
        done[id.0] = true;
        for (included, span) in &files[id.0].includes {
            if !done[included.0] {
                self.include(*included, files, done, findings);
            }
            for (name, theirs) in self.visible[included.0].clone() {
                let ours = *self.visible[id.0].entry(name).or_insert(theirs);
                if ours == theirs {
                    continue;
                }
                let hidden = &self.all[theirs.0];
                let place = format!(
                    "{}:{}",
                    files[hidden.file.0].name,
                    files[hidden.file.0].line(hidden.name.span.start)
                );
                let message = format!("this hides the template `{name}` of {place}");
                let winner = &self.all[ours.0];
                let span = if winner.file == id { winner.name.span } else { *span };
                findings.push(
                    id,
                    Diagnostic::new(Code::Hidden, span, message)
                        .help("use another name, or leave out one of the two"),
                );
            }
        }
    }
}

fn own<'a>(
    id: FileId,
    files: &'a [File],
    all: &mut Vec<Template<'a>>,
    findings: &mut Findings,
) -> BTreeMap<&'a str, TemplateId> {
    let mut seen = BTreeMap::new();
    for definition in &files[id.0].tree.definitions {
        let Definition::Template(name, body) = definition else { continue };
        let new = TemplateId(all.len());
        let first = *seen.entry(name.text.as_str()).or_insert(new);
        if first != new {
            let message = format!("the template `{}` is defined twice", name.text);
            let found = Diagnostic::new(Code::Twice, name.span, message).label("again here");
            findings.push(id, found.note(all[first.0].name.span, "first here"));
        }
        all.push(Template { file: id, name, body });
    }
    seen
}
