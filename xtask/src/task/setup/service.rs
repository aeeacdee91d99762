//! Debian starts a server as soon as it is installed. Ours run in namespaces, when we start them: the host's ports are not
//! for a demo to take.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::need::NGINX;
use crate::child;

/// What Debian's `invoke-rc.d` asks before it starts anything; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBIDS: &str = "#!/bin/sh\nexit 101\n";

/// While this lives, the installation of a package starts no service.
#[derive(Debug)]
pub(super) struct NothingStarts {
    /// Whether one of the packages brings a service.
    service: Option<&'static str>,
    /// Whether the policy is ours: an administrator's stays, and decides.
    ours: bool,
}

impl NothingStarts {
    /// Forbids it, if one of `packages` would start something.
    ///
    /// # Errors
    /// The policy cannot be written.
    pub(super) fn while_installing(packages: &[&str]) -> Result<Self> {
        if !packages.contains(&NGINX) {
            return Ok(Self { service: None, ours: false });
        }
        let ours = match File::create_new(POLICY) {
            Ok(mut policy) => {
                policy.write_all(FORBIDS.as_bytes()).with_context(|| format!("cannot write {POLICY}"))?;
                fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
                true
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error).with_context(|| format!("cannot make {POLICY}")),
        };
        Ok(Self { service: Some(NGINX), ours })
    }

    /// What was just installed does not start at the next boot either.
    pub(super) fn nor_at_boot(self) {
        if let Some(service) = self.service
            && Path::new("/run/systemd/system").exists()
            && let Err(why) = child::output(Command::new("systemctl").args(["disable", service]))
        {
            eprintln!("setup: {service} will start at the next boot, unless you disable it: {why:#}");
        }
    }
}

impl Drop for NothingStarts {
    fn drop(&mut self) {
        if self.ours {
            fs::remove_file(POLICY).ok();
        }
    }
}
