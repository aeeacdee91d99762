//! Cleaning up after a daemon that crashed: detaches and unpins what it left, puts offloads back, removes its socket.
//!
//! It refuses while a daemon of that instance runs: the instance's lock says so. Pins of interfaces that are gone are
//! removed all the same; a link whose last pin goes is detached by the kernel.
use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use client::control::instance::InstanceName;

use crate::{
    daemon::start::{Options, Pins},
    netlink::ethtool::Ethtool,
    place::{Place, enter_network},
    road::offload::Offloads,
};

/// Cleans up, and says in a few lines what was done.
///
/// # Errors
/// A daemon runs, or something cannot be removed.
pub fn clean(instance: &InstanceName, options: &Options) -> Result<Vec<String>> {
    let place = Place::take(&options.run_dir, instance)?;
    let mut said = Vec::new();
    let root = match &options.pins {
        Pins::At(root) => root.as_path(),
        Pins::Usual | Pins::None => Path::new(abi::pins::ROOT),
    };
    let pins = root.join(instance.as_str());
    if pins.exists() {
        let count = remove(&pins).with_context(|| format!("cannot remove {}", pins.display()))?;
        said.push(format!("{count} pins removed from {}", pins.display()));
    }
    if let Some(netns) = &options.netns {
        enter_network(netns)?;
    }
    let mut offloads = Offloads::open(place.dir());
    for index in offloads.devices() {
        offloads
            .restore(&mut Ethtool::open()?, index)
            .with_context(|| format!("offloads of device {index}"))?;
        said.push(format!("offloads of device {index} put back"));
    }
    if absent_is_fine(fs::remove_file(place.socket()))? {
        said.push(format!("{} removed", place.socket().display()));
    }
    if said.is_empty() {
        said.push(format!("nothing was left of instance {instance}"));
    }
    Ok(said)
}

/// Removes a directory of pins, links first: nothing may run on maps that are gone.
fn remove(dir: &Path) -> io::Result<usize> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name() != abi::pins::LINK);
    let (directories, pins): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut count = pins.len();
    for directory in directories {
        count += remove(&directory.path())?;
    }
    for pin in pins {
        fs::remove_file(pin.path())?;
    }
    fs::remove_dir(dir)?;
    Ok(count)
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}
