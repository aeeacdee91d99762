//! What an instance has in bpffs, seen from outside: which interfaces an earlier daemon left attached, and how to remove
//! what nobody will adopt.
//!
//! Nothing here opens a pin: `xsk` compares and adopts them. A link whose last pin and descriptor go is detached.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The pins of one instance, if it pins at all.
#[derive(Clone, Debug, Default)]
pub struct Pins(Option<PathBuf>);

impl Pins {
    /// Pins below `dir`, which may not exist yet.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self(Some(dir))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// Whether an earlier daemon left this interface attached.
    #[must_use]
    pub fn is_attached(&self, interface: &str) -> bool {
        self.dir().is_some_and(|dir| dir.join(directory_of(interface)).join(abi::pins::LINK).exists())
    }

    /// Whether an earlier daemon left any interface attached.
    #[must_use]
    pub fn any_attached(&self) -> bool {
        let entries = self.dir().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.path().join(abi::pins::LINK).exists())
    }

    /// Removes the pins of interfaces other than these, and returns the names of their directories.
    ///
    /// # Errors
    /// bpffs refuses.
    pub fn remove_others(&self, interfaces: &[&str]) -> io::Result<Vec<String>> {
        let Some(dir) = self.dir() else { return Ok(Vec::new()) };
        let keep: Vec<_> = interfaces.iter().map(|name| directory_of(name)).collect();
        let mut removed = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() && !keep.contains(&name) {
                remove(&entry.path())?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Removes everything, and returns how many pins there were.
    ///
    /// # Errors
    /// bpffs refuses.
    pub fn remove_all(&self) -> io::Result<usize> {
        match self.dir() {
            Some(dir) if dir.exists() => remove(dir),
            _ => Ok(0),
        }
    }
}

/// `xsk` names an interface's directory so, because bpffs refuses dots.
fn directory_of(interface: &str) -> String {
    interface.replace('.', ":")
}

/// Removes a directory of pins, links first: nothing may run on maps that are gone.
fn remove(dir: &Path) -> io::Result<usize> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let (directories, mut pins): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    pins.sort_by_key(|entry| entry.file_name() != abi::pins::LINK);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Files instead of pins: nothing here knows the difference.
    fn pins(interfaces: &[&str]) -> (tempfile::TempDir, Pins) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("main");
        for interface in interfaces {
            let of_interface = root.join(interface);
            fs::create_dir_all(&of_interface).unwrap();
            ["LINK", "JUMP"].iter().for_each(|pin| fs::write(of_interface.join(pin), "").unwrap());
        }
        (dir, Pins::at(root))
    }

    #[test]
    fn what_is_attached_is_known_by_its_link() {
        let (_dir, pins) = pins(&["veth1", "eth0:100"]);
        assert!(pins.is_attached("veth1") && pins.is_attached("eth0.100") && pins.any_attached());
        assert!(!pins.is_attached("veth2"));
        fs::remove_file(pins.dir().unwrap().join("veth1/LINK")).unwrap();
        assert!(!pins.is_attached("veth1"));
        assert!(!Pins::at("/nowhere".into()).any_attached() && !Pins::default().any_attached());
    }

    #[test]
    fn others_go_and_ours_stay() {
        let (_dir, pins) = pins(&["veth1", "veth2"]);
        assert_eq!(pins.remove_others(&["veth1"]).unwrap(), ["veth2"]);
        assert!(pins.is_attached("veth1") && !pins.dir().unwrap().join("veth2").exists());
        assert_eq!(pins.remove_all().unwrap(), 2);
        assert!(!pins.dir().unwrap().exists());
        assert_eq!(pins.remove_all().unwrap(), 0);
    }
}
