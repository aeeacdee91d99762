//! The scene of a demo: two namespaces, a veth pair, and a daemon on one end, started as a user starts it.
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use client::control::{
    connection::Connection,
    instance::{InstanceName, RUN_DIR_VARIABLE, RunDir},
    status::Books,
};
use octroi_tests::lab::{self, Pair, PairOptions, program};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// The demo's daemon among those of this host: `octroi --instance demo status` works while it runs.
pub(crate) const INSTANCE: &str = "demo";

/// How long the daemon may take to answer: longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The namespaces, the wire and the daemon. Dropping it ends the daemon and removes all.
pub(crate) struct Scene {
    /// The wire. The served end has the daemon.
    pub(crate) pair: Pair,
    /// The daemon's control socket.
    pub(crate) socket: PathBuf,
    control: Connection,
    _config: TempDir,
    up: Up,
}

/// A daemon that was started and must be ended.
struct Up;

impl Drop for Up {
    fn drop(&mut self) {
        // It fails if the daemon has ended already, which is how a demo ends.
        octroi(&["down"]).and_then(|mut command| Ok(command.output()?)).ok();
    }
}

impl Scene {
    /// Makes the network and starts the daemon.
    ///
    /// # Errors
    /// `ip` refuses, or the daemon does not start; what it said is in the error.
    pub(crate) fn new(config: &str) -> Result<Self> {
        let pair = Pair::new(PairOptions::default()).context("making two namespaces and a veth pair")?;
        let directory = tempfile::Builder::new().prefix("octroi-demo").tempdir()?;
        let file = directory.path().join("octroid.toml");
        fs::write(&file, config)?;
        start(&file, &pair.served.ifname, pair.served.netns.name())?;
        let up = Up;
        let socket = socket()?;
        let control = Connection::open(&socket, PATIENCE)?;
        Ok(Self { pair, socket, control, _config: directory, up })
    }

    /// Lets every user reach the daemon, as members of group octroi may on a machine that has one; what each of them
    /// may have is for the policy to say.
    ///
    /// # Errors
    /// The socket is gone.
    pub(crate) fn let_everybody_in(&self) -> Result<()> {
        fs::set_permissions(&self.socket, Permissions::from_mode(0o666)).context("the control socket")
    }

    /// Waits until nothing is under way and returns the books.
    ///
    /// # Errors
    /// It never comes to rest.
    pub(crate) fn at_rest(&mut self) -> Result<Books> {
        let mut last = None;
        lab::until("the books are at rest", || {
            let books = self.control.status()?.head.books;
            let rest = books.held == 0 && books.unaccounted == 0 && last.as_ref() == Some(&books);
            last = Some(books);
            Ok(rest)
        })?;
        last.context("no books")
    }

    /// Waits until `rx` packets have come in since the daemon started, and octroid is done with each.
    ///
    /// # Errors
    /// Fewer come in, or it is never done.
    pub(crate) fn done_with(&mut self, rx: u64) -> Result<()> {
        lab::until("octroid is done with what was sent", || {
            let books = self.control.status()?.head.books;
            Ok(rx <= books.rx && books.held == 0 && books.unaccounted == 0)
        })
    }

    /// Runs `octroi VERB --json` for this daemon, as a user would, and reads what it prints.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub(crate) fn ask<T: DeserializeOwned>(&self, verb: &str) -> Result<T> {
        self.ask_in(&[verb])
    }

    /// The same for a verb of several words.
    ///
    /// # Errors
    /// As [`Scene::ask`].
    pub(crate) fn ask_in<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        let verb = words.join(" ");
        let mut command = octroi(words)?;
        let output = command.arg("--json").output().with_context(|| format!("octroi {verb}"))?;
        ensure!(output.status.success(), "octroi {verb}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("what octroi {verb} --json prints"))
    }

    /// Ends the daemon with `octroi down`, and checks that its pins are gone.
    ///
    /// # Errors
    /// It refuses, or leaves something.
    pub(crate) fn down(self) -> Result<()> {
        let output = octroi(&["down"])?.output().context("octroi down")?;
        ensure!(output.status.success(), "octroi down: {}", String::from_utf8_lossy(&output.stderr));
        let pins = Path::new(abi::pins::ROOT).join(INSTANCE);
        ensure!(!pins.exists(), "{} is left", pins.display());
        std::mem::forget(self.up);
        Ok(())
    }
}

fn start(config: &Path, ifname: &str, netns: &str) -> Result<()> {
    let config = config.to_str().context("a path that is not text")?;
    let mut command = octroi(&["up", "--config", config, "--iface", ifname, "--netns", netns])?;
    let output = command.output().context("octroi up")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(())
}

fn octroi(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program::find("octroi")?);
    command.args(["--instance", INSTANCE]).args(words);
    Ok(command)
}

fn socket() -> Result<PathBuf> {
    let instance: InstanceName = INSTANCE.parse()?;
    Ok(RunDir::resolve(None, std::env::var_os(RUN_DIR_VARIABLE)).socket(&instance))
}
