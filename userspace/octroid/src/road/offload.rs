//! Device features that Octroi switches off while it serves an interface, and how they are put back.
//!
//! A card that takes VLAN tags out of frames makes XDP see tagged frames as untagged, and a tuple's packets of another
//! VLAN would be claimed. What was switched off is written down first, in the run directory: whoever cleans up after a
//! crash can put it back.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::netlink::ethtool::{Ethtool, Feature, RX_VLAN_FEATURES, Switch};

/// What has been switched off, by the index of the device.
#[derive(Debug)]
pub struct Offloads {
    file: PathBuf,
    off: BTreeMap<u32, Vec<String>>,
}

impl Offloads {
    /// Begins with what an earlier daemon wrote down and did not put back.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let file = dir.join("offloads.json");
        let off =
            fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file, off }
    }

    /// Switches off what takes tags out of received frames.
    ///
    /// # Errors
    /// It cannot be switched off, or the device is gone.
    pub fn switch_off(&mut self, ethtool: &mut Ethtool, index: u32, name: &str) -> Result<()> {
        let features =
            ethtool.features(index).with_context(|| format!("cannot read the offloads of {name}"))?;
        let mut on = Vec::new();
        for feature in RX_VLAN_FEATURES {
            match features.state(feature) {
                Feature::Off => {}
                Feature::On => on.push(feature),
                Feature::FixedOn => {
                    bail!("{feature} of {name} is fixed on: XDP would see tagged frames as untagged")
                }
            }
        }
        if on.is_empty() {
            return Ok(());
        }
        let noted = self.off.entry(index).or_default();
        noted.extend(on.iter().map(|&f| f.to_owned()));
        noted.sort_unstable();
        noted.dedup();
        self.save().context("cannot write down which offloads were on")?;
        ethtool
            .switch(index, &on, Switch::Off)
            .with_context(|| format!("cannot switch {} of {name} off", on.join(", ")))
    }

    /// Puts back what was switched off on one device. A device that is gone needs nothing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn restore(&mut self, ethtool: &mut Ethtool, index: u32) -> io::Result<()> {
        let Some(features) = self.off.remove(&index) else { return Ok(()) };
        let names: Vec<&str> = features.iter().map(String::as_str).collect();
        let done = match ethtool.switch(index, &names, Switch::On) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
            other => other,
        };
        self.save().and(done)
    }

    /// The devices with something to put back.
    #[must_use]
    pub fn devices(&self) -> Vec<u32> {
        self.off.keys().copied().collect()
    }

    fn save(&self) -> io::Result<()> {
        if self.off.is_empty() {
            return match fs::remove_file(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
        }
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&self.off)?)?;
        fs::rename(fresh, &self.file)
    }
}
