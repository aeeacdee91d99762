//! Filters that the configuration names: read from their files, and made before the first packet can come.
//!
//! It attaches nothing. A program that is wrong ends the start, with the compiler's words.
use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use client::control::ruler::{RulerAttach, TargetName, TargetSort, Where};
use ruler::{
    bundle::Bundle,
    rewrite::key::{self, Key},
};

use super::{
    order::{Made, Order, Ready, Site, USUAL_MTU},
    workshop,
};
use crate::{
    Causes,
    config::{
        file::Filter,
        settings::{Key as Step, Problem, Settings},
    },
};

/// Makes a filter of the configuration for an interface.
///
/// # Errors
/// A file cannot be read, or the program is wrong.
pub fn of_interface(filter: &Filter, name: &str, site: Site, generation: u64) -> Result<Ready> {
    make(filter, Where::Port(name.to_owned()), site, generation)
}

/// Makes a filter of the configuration for a target; [`Ready::on`] says for which when it is registered.
///
/// # Errors
/// As [`of_interface`].
pub fn of_target(filter: &Filter, site: Site, generation: u64) -> Result<Ready> {
    let unregistered = TargetName { kind: TargetSort::Builtin, id: u16::MAX, tuple: None };
    make(filter, Where::Target(unregistered), site, generation)
}

/// Judges every filter of a configuration, on devices with the usual MTU.
///
/// # Errors
/// The first that could not be had.
pub fn check(settings: &Settings) -> Result<(), Problem> {
    let engines = settings.engine.cores.len();
    let judge = |table: &str, at: usize, made: Result<Ready>| match made {
        Ok(_) => Ok(()),
        Err(error) => {
            let name = |name: &str| Step::Name(name.to_owned());
            let path = vec![name(table), Step::Index(at), name("filter"), name("file")];
            Err(Problem { path, message: Causes(&error).to_string() })
        }
    };
    for (at, interface) in settings.interfaces.iter().enumerate() {
        let site = Site { mtu: USUAL_MTU, tags: interface.vlan.len(), engines };
        let Some(filter) = &interface.filter else { continue };
        judge("interface", at, of_interface(filter, interface.name(), site, 1))?;
    }
    for (at, target) in settings.targets.iter().enumerate() {
        let Some(filter) = &target.filter else { continue };
        judge("target", at, of_target(filter, Site { mtu: USUAL_MTU, tags: 0, engines }, 1))?;
    }
    Ok(())
}

fn make(filter: &Filter, at: Where, site: Site, generation: u64) -> Result<Ready> {
    let Filter { file, include, key_file, name, allow_slow, scope, pass, force } = filter;
    let order = Order {
        bundle: bundle(file, include)?,
        key: key_file.as_deref().map(key).transpose()?,
        ask: RulerAttach {
            at,
            scope: *scope,
            pass: pass.clone(),
            force: *force,
            filter: name.clone(),
            allow_slow: *allow_slow,
        },
        site,
        generation,
    };
    let Made { said, filter, .. } = workshop::make_apart(&order).map_err(|refusal| anyhow!("{refusal}"))?;
    let Some(ready) = filter else { bail!("{} is not right:\n{}", file.display(), said.text.trim_end()) };
    if !said.text.is_empty() {
        tracing::warn!("{}:\n{}", file.display(), said.text.trim_end());
    }
    Ok(ready)
}

fn bundle(file: &Path, include: &[PathBuf]) -> Result<Bundle> {
    let search = include.iter().map(|directory| text(directory)).collect::<Result<Vec<_>>>()?;
    Ok(Bundle::read(text(file)?, &search, |name| File::open(name))?)
}

fn key(file: &Path) -> Result<Key> {
    File::open(file).and_then(key::read).with_context(|| format!("key file {}", file.display()))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: its name is not UTF-8", path.display()))
}
