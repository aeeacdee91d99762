//! What an interface looks like from outside: features, settings, what is attached to it.
//!
//! Taken before a daemon starts and after it is down, the two must be equal: Octroi leaves a device as it found it.
use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::veth::End;

/// Everything about an interface that somebody could have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    seen: BTreeMap<String, String>,
    /// Aspects that the test itself changed.
    excused: Vec<&'static str>,
}

impl Device {
    /// Looks at an end of a pair.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn of(end: &End) -> Result<Self> {
        let mut seen = BTreeMap::new();
        let name = &end.ifname;
        for line in end.run(&format!("ethtool -k {name}"))?.lines().skip(1) {
            let (feature, value) = line.split_once(':').context("a line of ethtool without a colon")?;
            seen.insert(format!("feature {}", feature.trim()), value.trim().to_owned());
        }
        // Flags, MTU, queues, promiscuity, group, and the XDP program, if any; no statistics, no ages.
        seen.insert("link".to_owned(), unnumbered(&end.run(&format!("ip -d link show dev {name}"))?));
        seen.insert("channels".to_owned(), end.run(&format!("ethtool -l {name}"))?);
        seen.insert("addresses".to_owned(), unnumbered(&end.run(&format!("ip addr show dev {name}"))?));
        seen.insert("traffic control".to_owned(), end.run(&format!("tc qdisc show dev {name}"))?);
        end.netns.enter(|| {
            for family in ["ipv4", "ipv6"] {
                for scope in [name.as_str(), "all", "default"] {
                    sysctls(Path::new(&format!("/proc/sys/net/{family}/conf/{scope}")), &mut seen)?;
                }
            }
            Ok::<_, anyhow::Error>(())
        })??;
        Ok(Self { seen, excused: Vec::new() })
    }

    /// Lets `aspect` differ later: the test changes it itself.
    pub fn excuse(&mut self, aspect: &'static str) {
        self.excused.push(aspect);
    }

    /// Fails unless `later` is the same, naming each difference.
    ///
    /// # Errors
    /// Something differs.
    pub fn unchanged(&self, later: &Self) -> Result<()> {
        let keys: std::collections::BTreeSet<_> = self.seen.keys().chain(later.seen.keys()).collect();
        let differences: Vec<_> = keys
            .into_iter()
            .filter(|key| !self.excused.contains(&key.as_str()))
            .filter(|key| self.seen.get(*key) != later.seen.get(*key))
            .map(|key| format!("{key}: {:?}, then {:?}", self.seen.get(key), later.seen.get(key)))
            .collect();
        if !differences.is_empty() {
            bail!("the device changed:\n  {}", differences.join("\n  "));
        }
        Ok(())
    }
}

/// What `ip` shows without the numbers of the interface and its peer: a device made anew has others.
fn unnumbered(shown: &str) -> String {
    let (number, rest) = shown.split_once(": ").unwrap_or_default();
    let (name, rest) = rest.split_once(": ").unwrap_or_default();
    let name = name.split_once('@').map_or(name, |(name, _peer)| name);
    if number.parse::<u32>().is_ok() { format!("{name}: {rest}") } else { shown.to_owned() }
}

fn sysctls(directory: &Path, into: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        // Some are write-only, one is a secret.
        if let Ok(value) = fs::read_to_string(&path) {
            into.insert(path.display().to_string(), value.trim().to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{self, Need, Pair, PairOptions};

    #[test]
    fn lab_a_changed_feature_or_setting_is_seen() -> Result<()> {
        let Some(_lab) = lab::require("lab_device", &[Need::Netns])? else { return Ok(()) };
        let pair = Pair::new(PairOptions::default())?;
        let before = Device::of(&pair.served)?;
        before.unchanged(&Device::of(&pair.served)?)?;
        pair.served.run("ethtool -K served0 gro on")?;
        pair.served.netns.sysctl("ipv4/conf/served0/forwarding", "1")?;
        let seen = before.unchanged(&Device::of(&pair.served)?).unwrap_err().to_string();
        assert!(
            seen.contains("feature generic-receive-offload") && seen.contains("conf/served0/forwarding"),
            "{seen}"
        );
        assert!(!seen.contains("addresses"), "{seen}");
        Ok(())
    }
}
