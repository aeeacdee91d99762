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
use serde::{Deserialize, Serialize};

use crate::netlink::{
    ethtool::{Ethtool, Feature, RX_VLAN_FEATURES, Switch},
    route::{Link, Route},
};

/// What has been switched off, by the index of the device.
#[derive(Debug)]
pub struct Offloads {
    file: PathBuf,
    off: BTreeMap<u32, Noted>,
}

/// What was on, and how the device is known again: another network namespace has other devices with the same index.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noted {
    name: String,
    mac: [u8; 6],
    features: Vec<String>,
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
    pub fn switch_off(&mut self, ethtool: &mut Ethtool, link: &Link) -> Result<()> {
        let Link { index, name, mac, .. } = link;
        let features =
            ethtool.features(*index).with_context(|| format!("cannot read the offloads of {name}"))?;
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
        self.take_back(link);
        if on.is_empty() {
            return Ok(());
        }
        let noted = self.off.entry(*index).or_insert_with(|| Noted {
            name: name.clone(),
            mac: *mac,
            features: vec![],
        });
        noted.features.extend(on.iter().map(|&f| f.to_owned()));
        noted.features.sort_unstable();
        noted.features.dedup();
        self.save().context("cannot write down which offloads were on")?;
        ethtool
            .switch(*index, &on, Switch::Off)
            .with_context(|| format!("cannot switch {} of {name} off", on.join(", ")))
    }

    /// Puts back what was switched off on one device. One that is not here stays noted: it may only have gone to another
    /// network namespace, and comes back with the features that it had.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn restore(&mut self, ethtool: &mut Ethtool, index: u32) -> io::Result<()> {
        let Some(noted) = self.off.get(&index) else { return Ok(()) };
        let links = Route::open()?.links()?;
        let same = |link: &Link| link.index == index && (link.name == noted.name || link.mac == noted.mac);
        if !links.iter().any(same) {
            return Ok(());
        }
        let names: Vec<&str> = noted.features.iter().map(String::as_str).collect();
        let done = ethtool.switch(index, &names, Switch::On);
        self.off.remove(&index);
        self.save().and(done)
    }

    /// What is noted under another index for a device of this name and address is this one's, come back from another
    /// network namespace. (One that was made anew, and looks the same, has its features on and is noted so anyway.)
    fn take_back(&mut self, link: &Link) {
        let known = |noted: &Noted| noted.name == link.name && noted.mac == link.mac;
        let back = self.off.extract_if(.., |index, noted| *index != link.index && known(noted));
        let back: Vec<Noted> = back.map(|(_, noted)| noted).collect();
        for noted in back {
            self.off.entry(link.index).or_insert(noted);
        }
        self.off.retain(|index, noted| *index == link.index || noted.name != link.name);
    }

    /// Forgets devices that are not here: whoever has them now has them as they are.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub fn forget(&mut self) -> io::Result<()> {
        self.off.clear();
        self.save()
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
