//! Where the daemon is: its control socket, and its program.
use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use client::control::connection::{ConnectError, Connection, DEFAULT_TIMEOUT};

use crate::cli::Global;

/// Connects to the daemon that was named.
///
/// # Errors
/// Says how to start it where there is none.
pub(crate) fn connect(global: &Global) -> Result<Connection> {
    connect_for(global, DEFAULT_TIMEOUT)
}

/// The same for calls whose answers may take so long.
///
/// # Errors
/// As [`connect`].
pub(crate) fn connect_for(global: &Global, patience: Duration) -> Result<Connection> {
    open(global, patience)?.with_context(|| {
        let instance = global.instance();
        format!("no daemon of instance {instance} runs; start it with `octroi --instance {instance} up --config FILE`")
    })
}

/// Connects to the daemon that was named; `None` if there is none.
///
/// # Errors
/// If there is one but it may not be asked.
pub(crate) fn try_connect(global: &Global) -> Result<Option<Connection>> {
    open(global, DEFAULT_TIMEOUT)
}

fn open(global: &Global, patience: Duration) -> Result<Option<Connection>> {
    match Connection::open(&global.run_dir().socket(&global.instance()), patience) {
        Ok(connection) => Ok(Some(connection)),
        Err(ConnectError::NoDaemon { .. }) => Ok(None),
        Err(error @ ConnectError::Denied { .. }) => {
            Err(error).context("ask as root, or as a member of group octroi")
        }
        Err(error) => Err(error.into()),
    }
}

/// The daemon's program, ready to be given arguments: the one beside this program, else the one in `PATH`.
///
/// # Errors
/// If there is neither.
pub(crate) fn program() -> Result<Command> {
    let beside = env::current_exe().context("finding this program")?.with_file_name("octroid");
    let found =
        if beside.is_file() { Some(beside) } else { in_path("octroid", env::var_os("PATH").as_deref()) };
    match found {
        Some(path) => Ok(Command::new(path)),
        None => bail!("octroid is neither beside octroi nor in PATH; `cargo xtask build` makes both"),
    }
}

fn in_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    env::split_paths(path?).map(|dir| dir.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
