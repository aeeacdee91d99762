//! A user without privileges: what is started as one has no capability, no group of root's, and no way to gain any.
//!
//! Programs are copied to where everybody may execute them: a checkout below `/root` is nobody else's.
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{process, program};

/// What everybody may enter and execute.
const EVERYBODY: u32 = 0o755;

/// A user.
#[derive(Debug)]
pub struct User {
    uid: u32,
    programs: TempDir,
}

impl User {
    /// The user of this number, who need not have a name.
    ///
    /// # Errors
    /// There is no room for programs.
    pub fn new(uid: u32) -> Result<Self> {
        let programs = tempfile::Builder::new().prefix("octroi-user").tempdir().context("a directory")?;
        fs::set_permissions(programs.path(), Permissions::from_mode(EVERYBODY))?;
        Ok(Self { uid, programs })
    }

    /// The number.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// One of our programs, to be run as this user.
    ///
    /// # Errors
    /// It was not built.
    pub fn command(&self, name: &str) -> Result<Command> {
        let copy = self.programs.path().join(name);
        if !copy.exists() {
            let program = program::find(name)?;
            // A file that anybody has open for writing is not executed: ETXTBSY.
            process::alone(|| fs::copy(program, &copy)).with_context(|| format!("copying {name}"))?;
            fs::set_permissions(&copy, Permissions::from_mode(EVERYBODY))?;
        }
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={}", self.uid), format!("--regid={}", self.uid)]);
        command.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
        command.arg(copy);
        Ok(command)
    }
}

/// Whether a process has no capability and no way to gain one.
///
/// # Errors
/// It is gone.
pub fn is_powerless(pid: u32) -> Result<bool> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let none = "0000000000000000";
    let wanted = ["CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| format!("{set}:\t{none}"));
    Ok(wanted.iter().all(|line| status.contains(line)) && status.contains("NoNewPrivs:\t1"))
}
