//! The order in which an instance comes into being: each step needs the one before it, and the first that fails ends it.
//!
//! ```text
//! signals ─► bpffs ─► network namespace ─► lock ─► maps ─► engines ─► interfaces ─► targets ─► metrics ─► control socket
//! ```
//!
//! bpffs is opened before the namespace is entered, signals are blocked before the first thread exists, and the control
//! socket comes last: whoever can connect finds everything served.
use std::{path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use client::control::instance::RunDir;
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use xsk::bpf::{Bpffs, Instance as Maps, Mounted};

use super::{Daemon, instance::Instance};
use crate::{
    build::Build,
    config::settings::Settings,
    control::listener::{Access, GROUP, Listener},
    filters::Workshop,
    metrics::endpoint::Endpoint,
    place::{Place, enter_network},
    road::{Road, pins::Pins},
};

/// Where pins go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinPlace {
    /// Below the usual directory; bpffs is mounted if it is missing.
    Usual,
    /// Below this directory of a bpffs.
    At(PathBuf),
    /// Nowhere: a crash detaches everything.
    None,
}

/// What the command line says beside the settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the instance's directory goes.
    pub run_dir: RunDir,
    /// The network namespace to enter.
    pub netns: Option<String>,
    /// Where pins go.
    pub pins: PinPlace,
    /// Which build this is.
    pub build: Build,
}

/// Blocks the signals that the daemon reads instead of dying of them, for this thread and all that it will start, and opens where they are read.
///
/// # Errors
/// The kernel refuses.
pub fn signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.add(Signal::SIGHUP);
    set.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")
}

pub(super) fn signal_name(number: u32) -> &'static str {
    Signal::try_from(number.cast_signed()).map_or("a signal", Signal::as_str)
}

/// Brings an instance up.
///
/// # Errors
/// The first thing that is in the way; nothing is left then but what an earlier daemon had left.
pub fn start(settings: Settings, options: &Options) -> Result<Daemon> {
    let begin = Instant::now();
    let signals = signals()?;
    settings.engine.check().context("engine")?;
    let bpffs = open_bpffs(&options.pins)?;
    if let Some(netns) = &options.netns {
        enter_network(netns)?;
    }
    let place = Place::take(&options.run_dir, &settings.instance)?;
    let pins = match &bpffs {
        Some(bpffs) => Pins::at(bpffs.root().join(settings.instance.as_str())),
        None => Pins::default(),
    };
    let adopting = pins.any_attached();
    if adopting {
        tracing::info!("taking over what an earlier daemon left attached");
    }
    // Packet memory is locked; without CAP_IPC_LOCK the limit must be as high as it may be.
    raise(Resource::RLIMIT_MEMLOCK);
    // Clients have a thousand connections and applications' sockets and memory come to that: what a shell gives by default
    // (1024) other users could use up, and root could not connect.
    raise(Resource::RLIMIT_NOFILE);
    // Before anything is attached: what takes a descriptor may fail.
    let workshop = Workshop::new().context("where filters are made")?;
    let started = serve(settings, options.build, bpffs.as_ref(), pins.clone(), &place, begin);
    match started {
        Ok((instance, control, metrics)) => {
            Ok(Daemon::new(instance, control, metrics, workshop, signals, place))
        }
        Err(error) => {
            if !adopting && let Err(left) = pins.remove_all() {
                tracing::warn!(error = %left, "pins are left");
            }
            Err(error)
        }
    }
}

type Serving = (Instance, Listener, Option<Endpoint>);

fn serve(
    settings: Settings,
    build: Build,
    bpffs: Option<&Bpffs>,
    pins: Pins,
    place: &Place,
    start: Instant,
) -> Result<Serving> {
    let bpf = match bpffs {
        Some(bpffs) => Maps::open(bpffs, &settings.instance.as_str().parse()?)?,
        None => Maps::unpinned()?,
    };
    let road = Road::start(&settings, build, bpf, pins, place.dir(), start.elapsed())?;
    let mut instance = Instance::new(settings, build, road, start)?;
    match bring_up(&mut instance, place) {
        Ok((control, endpoint)) => Ok((instance, control, endpoint)),
        Err(error) => {
            instance.road.give_up();
            Err(error)
        }
    }
}

fn bring_up(instance: &mut Instance, place: &Place) -> Result<(Listener, Option<Endpoint>)> {
    instance.bring_up()?;
    let endpoint = match &instance.settings.metrics {
        Some(listen) => Some(Endpoint::open(listen).context("metrics.listen")?),
        None => None,
    };
    let (control, access) = Listener::open(place.socket())
        .with_context(|| format!("cannot make the control socket {}", place.socket().display()))?;
    if access == Access::RootOnly {
        tracing::warn!("there is no group {GROUP}: only root may use the control socket");
    }
    Ok((control, endpoint))
}

fn open_bpffs(pins: &PinPlace) -> Result<Option<Bpffs>> {
    let bpffs = match pins {
        PinPlace::None => return Ok(None),
        PinPlace::Usual => Bpffs::open()?,
        PinPlace::At(root) => Bpffs::at(root)?,
    };
    if bpffs.mounted() == Mounted::Now {
        tracing::info!("mounted a bpffs on /sys/fs/bpf");
    }
    Ok(Some(bpffs))
}

/// Makes a limit as high as it may be.
fn raise(limit: Resource) {
    if let Ok((soft, hard)) = getrlimit(limit)
        && soft < hard
        && let Err(error) = setrlimit(limit, hard, hard)
    {
        tracing::debug!(%error, ?limit, "stays as it is");
    }
}
