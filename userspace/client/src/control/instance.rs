//! Names of instances, and the directory in which each keeps its files.
//!
//! A name becomes part of paths in `/run` and in bpffs. It therefore refuses every byte that could leave its directory.
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bytes of an instance's name.
pub const MAX_NAME: usize = 32;

/// Environment variable that replaces [`RunDir::DEFAULT`].
pub const RUN_DIR_VARIABLE: &str = "OCTROI_RUN_DIR";

/// The name of one daemon among those of a host.
///
/// # Invariants
/// 1 to [`MAX_NAME`] bytes of `a-z 0-9 _ -`. No dots: bpffs refuses them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName(String);

/// Why a text is not an instance's name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Empty, or longer than [`MAX_NAME`].
    #[error("an instance name has 1 to {limit} bytes, not {given}")]
    Length {
        /// Bytes given.
        given: usize,
        /// [`MAX_NAME`].
        limit: usize,
    },
    /// A character that has no place in a file name of ours.
    #[error("an instance name has only a-z, 0-9, '-' and '_', not {given:?}")]
    Character {
        /// The first offender.
        given: char,
    },
}

/// The directory below which every instance has one of its own: socket, lock and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl InstanceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for InstanceName {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || MAX_NAME < text.len() {
            return Err(NameError::Length { given: text.len(), limit: MAX_NAME });
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        match text.chars().find(|&c| !legal(c)) {
            Some(given) => Err(NameError::Character { given }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for InstanceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RunDir {
    /// Where it is unless somebody says otherwise.
    pub const DEFAULT: &str = "/run/octroi";

    /// The directory that was asked for, else the value of [`RUN_DIR_VARIABLE`], else [`RunDir::DEFAULT`].
    ///
    /// The variable's value is an argument because what a process finds in its environment is its own affair.
    #[must_use]
    pub fn resolve(asked: Option<&Path>, variable: Option<OsString>) -> Self {
        let asked = asked.map(Path::to_path_buf);
        let path = asked.or_else(|| variable.filter(|v| !v.is_empty()).map(PathBuf::from));
        Self(path.unwrap_or_else(|| PathBuf::from(Self::DEFAULT)))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of one instance.
    #[must_use]
    pub fn of(&self, instance: &InstanceName) -> PathBuf {
        self.0.join(instance.as_str())
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self, instance: &InstanceName) -> PathBuf {
        self.of(instance).join("control.sock")
    }

    /// The file that a running daemon holds locked.
    #[must_use]
    pub fn lock(&self, instance: &InstanceName) -> PathBuf {
        self.of(instance).join("lock")
    }

    /// Where a daemon started in the background writes its log.
    #[must_use]
    pub fn log(&self, instance: &InstanceName) -> PathBuf {
        self.of(instance).join("octroid.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_directory() {
        for good in ["main", "a", "demo-1", "x_y", &"n".repeat(MAX_NAME)] {
            assert_eq!(good.parse::<InstanceName>().map(String::from).as_deref(), Ok(good));
        }
        let length = |given| Err(NameError::Length { given, limit: MAX_NAME });
        assert_eq!("".parse::<InstanceName>(), length(0));
        assert_eq!("n".repeat(MAX_NAME + 1).parse::<InstanceName>(), length(MAX_NAME + 1));
        for (bad, given) in
            [("..", '.'), ("a.b", '.'), ("Main", 'M'), ("a/b", '/'), ("a b", ' '), ("ä", 'ä'), ("a\0", '\0')]
        {
            assert_eq!(bad.parse::<InstanceName>(), Err(NameError::Character { given }), "{bad:?}");
        }
    }

    #[test]
    fn the_run_directory_is_asked_for_or_set_or_default() {
        let main = InstanceName::default();
        let variable = || Some(OsString::from("/tmp/v"));
        assert_eq!(RunDir::resolve(Some(Path::new("/a")), variable()).path(), Path::new("/a"));
        assert_eq!(RunDir::resolve(None, variable()).path(), Path::new("/tmp/v"));
        assert_eq!(RunDir::resolve(None, Some(OsString::new())).path(), Path::new("/run/octroi"));
        assert_eq!(RunDir::resolve(None, None).socket(&main), Path::new("/run/octroi/main/control.sock"));
    }
}
