//! `stack.state`, the file in which sessions outlive the daemon: its formats, and what becomes of one that is of no use.
//!
//! It is replaced as a whole after each change, so that whoever reads it finds one moment or the next. A daemon reads every
//! format up to its own, and writes its own. It refuses a newer one, and then to start: sessions that a newer daemon granted
//! are not an older one's to lose. What is no state of any format, or says what no registry would grant, is kept aside under
//! another name, never overwritten and never deleted; the daemon starts without it, and packets of nobody's sessions are the
//! OS's.
//!
//! | format | what is in it |
//! |---|---|
//! | 1 | the fields of [`Saved`], and `version`: 1 |
//! | 2 | `format`, `writer` (who wrote it), `saved` |
//!
//! Every later format has `format` and `writer`, so that an older daemon can say what it does not understand.
use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use multistack::registry::{Limits, Registry, Saved};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{Causes, build::Build};

/// The file's name in the instance's directory.
pub const NAME: &str = "stack.state";

/// Most files that are kept aside.
pub const MAX_ASIDE: usize = 64;

/// Where it lies, and who reads and writes it.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    build: Build,
}

/// What every format since the second says at the top, and the first in its own way.
#[derive(Deserialize)]
struct Head {
    format: Option<u32>,
    version: Option<u32>,
    writer: Option<String>,
}

/// A file of the newest format.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    writer: &'a str,
    saved: &'a Saved,
}

/// Why a file yields no registry.
#[derive(Debug, Error)]
enum Unusable {
    /// It cannot be read at all.
    #[error(transparent)]
    Unread(#[from] io::Error),
    /// A newer daemon wrote it.
    #[error("{writer} wrote it in format {format}")]
    Newer {
        /// Its format.
        format: u32,
        /// Who wrote it.
        writer: String,
    },
    /// It is no state of any format.
    #[error("{0:#}")]
    Damaged(anyhow::Error),
}

impl StateFile {
    /// In this directory, read and written by this build.
    #[must_use]
    pub fn in_dir(dir: &Path, build: Build) -> Self {
        Self { path: dir.join(NAME), build }
    }

    /// The registry that was saved, or a new one.
    ///
    /// # Errors
    /// A newer daemon wrote the file, or it can neither be read nor put aside: it lies where it lay.
    pub fn restore(&self, now: Duration, grace: Duration) -> Result<Registry> {
        match self.read(now, grace) {
            Ok(Some(registry)) => Ok(registry),
            Ok(None) => Ok(Registry::new(Limits::default())),
            Err(Unusable::Damaged(why)) => {
                let kept = self.put_aside().with_context(|| format!("{}: {why:#}", self.path.display()))?;
                tracing::warn!(
                    id = "stack.state",
                    "{} is no state of sessions, which are forgotten ({}); it is kept as {}",
                    self.path.display(),
                    Causes(&why),
                    kept.display()
                );
                Ok(Registry::new(Limits::default()))
            }
            Err(newer @ Unusable::Newer { .. }) => {
                let Build { version, state_format } = self.build;
                bail!(
                    "{}: {newer}; octroid {version} reads formats up to {state_format}. Nothing was touched: start that octroid, or give its sessions up with `octroi down --crashed`",
                    self.path.display()
                )
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    fn read(&self, now: Duration, grace: Duration) -> Result<Option<Registry>, Unusable> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let saved = self.parse(&text)?;
        let registry = Registry::restore(Limits::default(), &saved, now, grace);
        Ok(Some(registry.map_err(|error| Unusable::Damaged(error.into()))?))
    }

    fn parse(&self, text: &[u8]) -> Result<Saved, Unusable> {
        let damaged = |error: serde_json::Error| Unusable::Damaged(error.into());
        let mut value: Value = serde_json::from_slice(text).map_err(damaged)?;
        let Head { format, version, writer } = Head::deserialize(&value).map_err(damaged)?;
        let object = value.as_object_mut();
        match (format.or(version), object) {
            (Some(1), Some(fields)) if format.is_none() => {
                fields.remove("version");
                Saved::deserialize(value).map_err(damaged)
            }
            (Some(format), Some(fields)) if (2..=self.build.state_format).contains(&format) => {
                let saved = fields.remove("saved").unwrap_or_default();
                Saved::deserialize(saved).map_err(damaged)
            }
            (Some(format), _) if self.build.state_format < format => {
                let writer = writer.unwrap_or_else(|| "another octroid".to_owned());
                Err(Unusable::Newer { format, writer })
            }
            _ => Err(Unusable::Damaged(anyhow!("it does not say its format"))),
        }
    }

    /// Gives the file a name of its own, and returns it.
    fn put_aside(&self) -> Result<PathBuf> {
        let names = (1..=MAX_ASIDE).map(|n| self.path.with_extension(format!("state.unusable-{n}")));
        for name in names {
            // Unlike rename(2), link(2) replaces nothing.
            match fs::hard_link(&self.path, &name) {
                Ok(()) => {
                    fs::remove_file(&self.path)?;
                    return Ok(name);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context("it cannot be put aside"),
            }
        }
        bail!("it cannot be put aside: {MAX_ASIDE} files are kept already, look at them and remove some")
    }

    pub(super) fn write(&self, saved: &Saved) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = fs::File::options();
        // Leases are secrets.
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let writer = format!("octroid {}", self.build.version);
        let written = Written { format: self.build.state_format, writer: &writer, saved };
        file.write_all(&serde_json::to_vec(&written)?)?;
        fs::rename(beside, &self.path)
    }

    /// Whether there is one.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Removes it: nobody is to take anything up.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// One file of each format, as the daemon of its time wrote it: the same sessions in each.
    const FORMATS: [&str; 2] = [
        include_str!("../../../testdata/state/format-1.json"),
        include_str!("../../../testdata/state/format-2.json"),
    ];

    fn fresh() -> (tempfile::TempDir, StateFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::in_dir(dir.path(), Build::THIS);
        (dir, file)
    }

    fn restore(file: &StateFile) -> Result<Registry> {
        file.restore(Duration::ZERO, Duration::ZERO)
    }

    #[test]
    fn what_was_written_is_read_and_nobody_else_reads_it() {
        let (dir, file) = fresh();
        assert!(file.read(Duration::ZERO, Duration::ZERO).unwrap().is_none());
        let registry = Registry::new(Limits::default());
        file.write(&registry.save()).unwrap();
        assert_eq!(restore(&file).unwrap().save(), registry.save());
        let mode = fs::metadata(&file.path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode, fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
        file.remove().unwrap();
        file.remove().unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn f05_every_format_is_read_and_the_newest_written() {
        let (_dir, file) = fresh();
        assert_eq!(FORMATS.len(), Build::THIS.state_format as usize, "one example of each");
        let newest: Value = serde_json::from_str(FORMATS[FORMATS.len() - 1]).unwrap();
        for text in FORMATS {
            fs::write(&file.path, text).unwrap();
            let registry = restore(&file).unwrap();
            assert_eq!((registry.sessions().count(), registry.reservations().count()), (2, 1));
            file.write(&registry.save()).unwrap();
            let written: Value = serde_json::from_slice(&fs::read(&file.path).unwrap()).unwrap();
            // If this fails because a field came, went or means something else: that is another format.
            assert_eq!(written["saved"], newest["saved"]);
            assert_eq!(written["format"], Build::THIS.state_format);
        }
    }

    #[test]
    fn f05_a_newer_format_is_refused_and_left_where_it_is() {
        let (dir, file) = fresh();
        let newer = r#"{"format":99,"writer":"octroid 9.0.0","tuples":"as nobody knows them yet"}"#;
        fs::write(&file.path, newer).unwrap();
        let refused = restore(&file).unwrap_err().to_string();
        for part in
            [file.path.to_str().unwrap(), "octroid 9.0.0", "format 99", Build::THIS.version, "formats up to"]
        {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        assert_eq!(fs::read_to_string(&file.path).unwrap(), newer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn f05_what_is_no_state_is_kept_aside_and_never_lost() {
        let (dir, file) = fresh();
        let newest = FORMATS[FORMATS.len() - 1];
        let cut = (0..newest.len()).step_by(97).map(|at| newest[..at].to_owned());
        let other = [
            "null",
            "{}",
            r#"{"version":1}"#,
            r#"{"format":1,"writer":"octroid","saved":{}}"#,
            r#"{"format":2,"writer":"octroid"}"#,
            r#"{"format":"two"}"#,
            r#"{"format":2,"writer":"octroid","saved":{"next":0,"slots":4096,"addresses":["127.0.0.1"],"sessions":[],"reservations":[]}}"#,
        ];
        let damaged: Vec<String> = cut.chain(other.map(str::to_owned)).collect();
        assert!(damaged.len() <= MAX_ASIDE, "{}", damaged.len());
        for text in &damaged {
            fs::write(&file.path, text).unwrap();
            assert_eq!(restore(&file).unwrap().sessions().count(), 0, "{text}");
            assert!(!file.exists());
        }
        for (n, text) in (1..).zip(&damaged) {
            let kept = dir.path().join(format!("stack.state.unusable-{n}"));
            assert_eq!(fs::read_to_string(&kept).unwrap(), *text);
        }
    }

    #[test]
    fn f05_where_no_more_can_be_kept_aside_nothing_is_overwritten() {
        let (dir, file) = fresh();
        for n in 1..=MAX_ASIDE {
            fs::write(dir.path().join(format!("stack.state.unusable-{n}")), "old").unwrap();
        }
        fs::write(&file.path, "{").unwrap();
        let refused = format!("{:#}", restore(&file).unwrap_err());
        assert!(refused.contains(file.path.to_str().unwrap()) && refused.contains("64 files"), "{refused}");
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "{");
    }
}
