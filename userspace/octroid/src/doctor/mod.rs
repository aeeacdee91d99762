//! What is right and wrong with this machine, for this configuration: one finding for each check, each with its fix.
//!
//! A check looks or tries, and changes nothing. Its id is stable: scripts may rely on it. What a check found is said in
//! one line, and what to do about it in another.
//!
//! | id | asks |
//! |---|---|
//! | `kernel.version` | is the kernel new enough? |
//! | `kernel.af_xdp` | does it have AF_XDP sockets? |
//! | `kernel.xdp` | does it load our programs? |
//! | `priv.cap_…` | may this process do what it must? |
//! | `limit.memlock`, `limit.nofile` | are its limits high enough? |
//! | `mem.available`, `mem.hugepages` | is there memory for the packets? |
//! | `bpffs.mounted` | is there a place for pins? |
//! | `engine.cores`, `idle.softirq` | can the engines run where they are told to? |
//! | `iface.exists`, `iface.up` | is the interface there? |
//! | `hook.occupied` | is its XDP hook free? |
//! | `queues.active`, `mtu.fits` | can every queue and every frame be served? |
//! | `offload.rxvlan`, `offload.lro` | do offloads hide something from XDP? |
//! | `route.rules`, `route.vrf` | do stacks follow the kernel's policy routing? |
//! | `target.waiting` | has every target its tuple? Only a running daemon knows |
mod device;
mod host;
mod routing;
pub mod softirq;

use std::{collections::BTreeMap, path::Path};

use client::control::answer::{DoctorRow, Health};

use crate::{config::settings::Settings, road::targets::Waiting};

/// What the checks may know beyond the machine itself.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The configuration, if there is one.
    pub settings: Option<&'a Settings>,
    /// Programs that are attached by this daemon, by the index of the device.
    pub ours: &'a BTreeMap<u32, u32>,
    /// Where pins belong.
    pub pins: &'a Path,
}

/// Makes every check.
#[must_use]
pub fn examine(case: &Case<'_>) -> Vec<DoctorRow> {
    let mut rows = host::examine(case);
    if let Some(settings) = case.settings {
        rows.extend(device::examine(settings, case.ours));
        rows.extend(routing::examine(settings));
    }
    rows
}

/// Whether every target of the configuration has its tuple: `waiting` are those that have not.
#[must_use]
pub fn targets(waiting: &[Waiting]) -> Vec<DoctorRow> {
    const ID: &str = "target.waiting";
    if waiting.is_empty() {
        return vec![ok(ID, None, "every target has its tuple")];
    }
    let row = |waiting: &Waiting| {
        let detail = format!("its tuple {}", waiting.why());
        let fix = "wait until it is given up, or `octroi stack release --force` it: the target has it within a second";
        warn(ID, Some(&waiting.name()), detail, fix)
    };
    waiting.iter().map(row).collect()
}

fn ok(id: &str, subject: Option<&str>, detail: impl Into<String>) -> DoctorRow {
    row(id, subject, Health::Ok, detail.into(), None)
}

fn warn(id: &str, subject: Option<&str>, detail: impl Into<String>, fix: impl Into<String>) -> DoctorRow {
    row(id, subject, Health::Warn, detail.into(), Some(fix.into()))
}

fn fail(id: &str, subject: Option<&str>, detail: impl Into<String>, fix: impl Into<String>) -> DoctorRow {
    row(id, subject, Health::Fail, detail.into(), Some(fix.into()))
}

fn row(id: &str, subject: Option<&str>, status: Health, detail: String, fix: Option<String>) -> DoctorRow {
    DoctorRow { id: id.to_owned(), subject: subject.map(str::to_owned), status, detail, fix }
}

#[cfg(test)]
mod tests;
