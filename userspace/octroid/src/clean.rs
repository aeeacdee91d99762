//! Cleaning up after a daemon that crashed: detaches and unpins what it left, puts offloads back, removes its socket.
//!
//! It refuses while a daemon of that instance runs: the instance's lock says so. Pins of interfaces that are gone are
//! removed all the same; a link whose last pin goes is detached by the kernel.
use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use client::control::instance::InstanceName;

use crate::{
    daemon::start::{Options, PinPlace},
    netlink::ethtool::Ethtool,
    place::{Place, enter_network},
    road::{self, offload::Offloads},
};

/// Cleans up, and says in a few lines what was done.
///
/// # Errors
/// A daemon runs, or something cannot be removed.
pub fn clean(instance: &InstanceName, options: &Options) -> Result<Vec<String>> {
    let place = Place::take(&options.run_dir, instance)?;
    let mut said = Vec::new();
    let root = match &options.pins {
        PinPlace::At(root) => root.as_path(),
        PinPlace::Usual | PinPlace::None => Path::new(abi::pins::ROOT),
    };
    let pins = road::pins::Pins::at(root.join(instance.as_str()));
    let count = pins.remove_all().context("cannot remove the pins")?;
    if count != 0 {
        said.push(format!("{count} pins removed"));
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
    offloads.forget().context("the note of offloads")?;
    for file in [place.socket().to_path_buf(), place.dir().join(road::stacks::state_file::NAME)] {
        if absent_is_fine(fs::remove_file(&file))? {
            said.push(format!("{} removed", file.display()));
        }
    }
    if said.is_empty() {
        said.push(format!("nothing was left of instance {instance}"));
    }
    Ok(said)
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}
