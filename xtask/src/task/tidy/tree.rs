//! The files that tidy reads, loaded once: Rust sources, scripts, test data, records and documents below the root.
//!
//! It walks the directories rather than asking git, so that a file is checked before it is committed and a
//! checkout without git is checked too.

use std::path::Path;

use anyhow::{Context, Result};

use super::source::code_only;

/// Directories that hold nothing we wrote.
const SKIPPED: [&str; 2] = ["target", "corpus"];
/// The one script in a directory that is otherwise not read.
const CI_SCRIPT: &str = ".ci/run";
/// Kinds of files that a check reads.
const READ: [&str; 5] = ["rs", "sh", "toml", "csv", "md"];

/// One file, its path relative to the root with forward slashes.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust: the text without comments and literals.
    pub(super) code: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { code_only(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Where the file's test code begins: 0 for a file of tests, the end if it has none.
    pub(super) fn tests_start(&self) -> usize {
        if self.is_test_file() {
            return 0;
        }
        let gates = self.code.match_indices("#[cfg(test)]").chain(self.code.match_indices("#[cfg(all(test"));
        let modules = gates.map(|(at, _)| at).filter(|&at| {
            // Other attributes may stand between the gate and its module.
            let mut lines =
                self.code[at..].lines().skip(1).map(str::trim).skip_while(|line| line.starts_with("#["));
            lines.next().is_some_and(|line| line.starts_with("mod ") || line.contains(" mod "))
        });
        modules.min().unwrap_or(self.code.len())
    }

    /// Names of the functions marked `#[test]`, also inside `proptest!`.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &str> {
        self.code.split("#[test]").skip(1).filter_map(|after| {
            let (_, name) = after.split_once("fn ")?;
            name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
        })
    }

    /// Whether the whole file exists for tests.
    pub(super) fn is_test_file(&self) -> bool {
        let path = self.path.as_str();
        path.starts_with("tests/")
            || ["/tests/", "/testdata/"].iter().any(|dir| path.contains(dir))
            || path.ends_with("/tests.rs")
    }
}

/// Every file that some check reads.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the tree below `root`.
    ///
    /// # Errors
    /// If a directory or file cannot be read.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, root)?;
        tree.read(root, &root.join(CI_SCRIPT))?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, dir: &Path) -> Result<()> {
        for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                    self.walk(root, &path)?;
                }
            } else if path.extension().is_some_and(|kind| READ.iter().any(|read| kind == *read)) {
                self.read(root, &path)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, root: &Path, path: &Path) -> Result<()> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        self.files.push(File::new(&name, &String::from_utf8_lossy(&text)));
        Ok(())
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    #[cfg(test)]
    pub(crate) fn sample(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_file_is_found_and_build_output_is_not() {
        let tree = Tree::load(crate::repo::Repo::here().root()).unwrap();
        assert!(tree.files.iter().any(|file| file.path == "xtask/src/task/tidy/tree.rs"));
        assert!(tree.files.iter().any(|file| file.path == ".ci/run"));
        assert!(tree.files.iter().all(|file| !file.path.contains("target/")));
    }

    #[test]
    fn test_code_is_told_from_code() {
        let unit = File::new("a/src/x.rs", "fn f() {}\n#[cfg(test)]\nmod tests {}\n");
        assert_eq!(unit.tests_start(), "fn f() {}\n".len());
        assert_eq!(File::new("a/src/x.rs", "fn f() {}").tests_start(), 9);
        let helper = "#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(File::new("a/src/x.rs", helper).tests_start(), helper.len());
        assert_eq!(
            File::new("a/src/x.rs", "#[cfg(all(test, not(loom)))]\n#[allow(x)]\nmod tests {}").tests_start(),
            0
        );
        for path in ["tests/src/lab.rs", "a/tests/b.rs", "a/src/foo/tests.rs"] {
            assert_eq!(File::new(path, "fn f() {}").tests_start(), 0, "{path}");
        }
    }
}
