//! The configuration file: what may stand in it, what it comes to, and how a mistake in it is shown.
//!
//! Two types, never one: [`file::File`] is the text as parsed, [`settings::Settings`] is what the daemon runs by, with
//! every default filled in and every contradiction refused. Nothing else in Octroi reads configuration files.
pub mod file;
pub mod mistake;
pub mod settings;

use std::{fs, path::Path};

use self::{
    mistake::{Mistake, Source},
    settings::{Overrides, Problem, Settings},
};

/// Largest configuration file.
pub const MAX_BYTES: u64 = 1 << 20;

/// Reads, parses and resolves a configuration file.
///
/// # Errors
/// The first [`Mistake`], with its place.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Settings, Mistake> {
    judge(path, overrides, |_| Ok(()))
}

/// The same, and lets `more` judge what it comes to.
///
/// # Errors
/// The first [`Mistake`], with its place.
pub fn judge(
    path: &Path,
    overrides: &Overrides,
    more: impl FnOnce(&Settings) -> Result<(), Problem>,
) -> Result<Settings, Mistake> {
    let size = fs::metadata(path).map_err(|error| Mistake::unreadable(path, &error))?.len();
    if MAX_BYTES < size {
        return Err(Mistake::too_large(path, size));
    }
    let text = fs::read_to_string(path).map_err(|error| Mistake::unreadable(path, &error))?;
    let source = Source { path, text: &text };
    let settings = parse(&source, overrides)?;
    more(&settings).map_err(|problem| source.locate(&problem))?;
    Ok(settings)
}

/// Parses and resolves the text of a configuration file.
///
/// # Errors
/// The first [`Mistake`], with its place.
pub fn parse(source: &Source<'_>, overrides: &Overrides) -> Result<Settings, Mistake> {
    let file: file::File = toml::from_str(source.text).map_err(|error| source.syntax(&error))?;
    let directory = source.path.parent().unwrap_or(Path::new(""));
    settings::resolve(file, directory, overrides).map_err(|problem| source.locate(&problem))
}

#[cfg(test)]
mod tests;
