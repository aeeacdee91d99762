//! The daemon under test: started in the foreground as our child, asked over its control socket, stopped, looked after.
//!
//! Each has an instance name, a run directory and pins of its own. Its log is printed when a test ends
//! without having found everything clean. Dropping a daemon that still runs kills it; its pins go with [`Pins`].
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use client::control::{
    answer::StatRow,
    connection::Connection,
    request::{Down, GetStats, TargetAdd, TargetRemove},
    status::Status,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{config::Config, device::Device, leak::Objects, pins::Pins, process, program, until, veth::End};

/// How long an answer of the daemon may take: longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What octroid writes to `--ready-fd` once packets flow, before it closes it.
const READY: &str = "ready\n";

/// The daemon of this build.
pub const OCTROID: &str = "octroid";

/// The daemon as the next release might be: another version, a newer format of saved sessions.
pub const NEWER_OCTROID: &str = "octroi-lab-newer-octroid";

/// Files of an instance's directory that stay when its daemon has gone down.
const STAYS: [&str; 2] = ["lock", "octroid.log"];

/// Everything of one daemon that outlives its process: what a second one of the same instance finds.
#[derive(Debug)]
pub struct Home {
    pins: Pins,
    directory: TempDir,
    device: Device,
    seen: Objects,
    left_clean: bool,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    control: Connection,
    home: Home,
}

/// A child that does not outlive us.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for, which is how it should be.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How a program is started other than plainly: the words before its own, e.g. `prlimit --nofile=16`.
#[derive(Clone, Debug, Default)]
pub struct Wrapper(Vec<String>);

impl Wrapper {
    /// The words of `line`, which are separated by spaces.
    #[must_use]
    pub fn words(line: &str) -> Self {
        Self(line.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// The same, run by the words of `line`.
    #[must_use]
    pub fn inside(self, line: &str) -> Self {
        let Self(mut outer) = Self::words(line);
        outer.extend(self.0);
        Self(outer)
    }

    /// The program of ours called `name`, run inside these words.
    ///
    /// # Errors
    /// The program was not built.
    pub fn command(&self, name: &str) -> Result<Command> {
        Ok(self.around(&program::find(name)?))
    }

    /// The program at `path`, run inside these words.
    #[must_use]
    pub fn around(&self, path: &Path) -> Command {
        let Some((first, words)) = self.0.split_first() else { return Command::new(path) };
        let mut command = Command::new(first);
        command.args(words).arg(path);
        command
    }

    /// A shell that first does what `script` says; a failure of that is a failure to start.
    #[must_use]
    pub fn shell(script: &str) -> Self {
        Self(["sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"].map(str::to_owned).to_vec())
    }
}

impl Home {
    /// A place for a daemon that will serve `end`, which is looked at before anything touches it.
    ///
    /// # Errors
    /// bpffs or the temporary directory are not to be had.
    pub fn new(end: &End, config: &Config) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("octroi-lab").tempdir().context("a run directory")?;
        let home = Self {
            pins: Pins::new()?,
            directory,
            device: Device::of(end)?,
            seen: Objects::default(),
            left_clean: false,
        };
        home.configure(&config.text(&end.ifname, &format!("unix:{}", home.metrics().display())))?;
        Ok(home)
    }

    /// Writes the configuration file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure(&self, text: &str) -> Result<()> {
        fs::write(self.config(), text).context("the configuration file")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("octroid.toml")
    }

    /// The directory below which the daemon makes one for its instance.
    #[must_use]
    pub fn run(&self) -> &Path {
        self.directory.path()
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run().join(self.pins.instance()).join("control.sock")
    }

    /// What is in the instance's directory, sorted; nothing where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn run_files(&self) -> Result<Vec<String>> {
        let directory = self.run().join(self.pins.instance());
        if !directory.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&directory).context("the instance's directory")?;
        let name =
            |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// The Prometheus endpoint's socket.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.run().join("metrics.sock")
    }

    /// What Prometheus would read now.
    ///
    /// # Errors
    /// Nobody answers there, or not with success.
    pub fn scrape(&self) -> Result<String> {
        let mut socket = UnixStream::connect(self.metrics()).context("no metrics endpoint")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"GET /metrics HTTP/1.0\r\nHost: lab\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.split_ascii_whitespace().nth(1) == Some("200"), "{head}");
        Ok(body.to_owned())
    }

    /// The process of a daemon that `octroi up` started here.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn running(&self) -> Result<u32> {
        Ok(Connection::open(&self.socket(), PATIENCE)?.status()?.head.pid)
    }

    /// What the daemon wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The device as it was before the daemon, for a test that changes it itself.
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }

    /// The pins of the instance.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    fn log_file(&self) -> PathBuf {
        self.run().join("stderr")
    }

    /// `program` with the arguments and the environment of this instance; `rest` are the words after them.
    ///
    /// # Errors
    /// The program was not built.
    pub fn command(&self, wrapper: &Wrapper, name: &str, rest: &[&str]) -> Result<Command> {
        let mut command = wrapper.command(name)?;
        command.args(["--instance", self.pins.instance()]).args(rest);
        command.env("OCTROI_RUN_DIR", self.run()).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `octroi` for this instance and returns what it printed.
    ///
    /// # Errors
    /// It fails; the error has what it said.
    pub fn octroi(&self, words: &[&str]) -> Result<String> {
        let output = process::output(&mut self.command(&Wrapper::default(), "octroi", words)?)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "octroi {}: {}: {said}", words.join(" "), output.status);
        String::from_utf8(output.stdout).context("octroi prints text")
    }

    /// Starts a daemon here and waits until it serves.
    ///
    /// # Errors
    /// It ends instead.
    pub fn start(self, end: &End) -> Result<Daemon> {
        self.launch(end, &Wrapper::default())?.ready()
    }

    /// Starts a daemon here, and waits until it serves or ends.
    ///
    /// # Errors
    /// The program was not built, or does neither.
    pub fn launch(self, end: &End, wrapper: &Wrapper) -> Result<Started> {
        self.launch_build(OCTROID, end, wrapper)
    }

    /// The same with the daemon of another build: the program called `name`.
    ///
    /// # Errors
    /// As [`Home::launch`].
    pub fn launch_build(mut self, name: &str, end: &End, wrapper: &Wrapper) -> Result<Started> {
        let config = self.config();
        let config = config.to_str().context("a path that is not text")?;
        let mut command = self.command(
            wrapper,
            name,
            &["--config", config, "--netns", end.netns.name(), "--ready-fd", "1"],
        )?;
        let log = fs::File::options().create(true).append(true).open(self.log_file())?;
        command.stdout(Stdio::piped()).stderr(log);
        let child = process::spawn(&mut command).with_context(|| format!("cannot start {command:?}"))?;
        let mut process = Process(child);
        // It says that it serves, or closes the pipe by ending.
        let mut said = String::new();
        process.0.stdout.take().context("no pipe")?.read_to_string(&mut said)?;
        if said != READY {
            return Ok(Started::Refused(Refusal { status: process.0.wait()?, log: self.log(), home: self }));
        }
        let mut control = Connection::open(&self.socket(), PATIENCE)?;
        control.status().context("its first status")?;
        self.seen.merge(Objects::held_by(process.0.id())?);
        Ok(Started::Ready(Box::new(Daemon { process, control, home: self })))
    }

    /// Fails if anything of the daemon is left: a pin, a program, a map, a link, a socket, a changed setting.
    ///
    /// # Errors
    /// Something is left; the error says what.
    pub fn check_nothing_left(&mut self, end: &End) -> Result<()> {
        let pins = self.pins.list()?;
        ensure!(pins.is_empty() && !self.pins.path().exists(), "pins are left: {pins:?}");
        let left = self.run_files()?;
        ensure!(left.iter().all(|name| STAYS.contains(&name.as_str())), "files are left: {left:?}");
        self.seen.wait_until_gone()?;
        self.device.unchanged(&Device::of(end)?)?;
        self.left_clean = true;
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that succeeds ends with `check_nothing_left`; what a failing one prints, its harness shows.
        if !self.left_clean {
            eprintln!("octroid's log:\n{}", self.log());
        }
    }
}

/// What became of a start.
#[derive(Debug)]
pub enum Started {
    /// It serves.
    Ready(Box<Daemon>),
    /// It ended, and said why.
    Refused(Refusal),
}

/// A daemon that did not start.
#[derive(Debug)]
pub struct Refusal {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub log: String,
    /// Where it would have run.
    pub home: Home,
}

impl Started {
    /// The daemon that a test expects.
    ///
    /// # Errors
    /// It ended instead.
    pub fn ready(self) -> Result<Daemon> {
        match self {
            Self::Ready(daemon) => Ok(*daemon),
            Self::Refused(refusal) => bail!("octroid does not start: {}", refusal.status),
        }
    }

    /// The refusal that a test expects.
    ///
    /// # Errors
    /// The daemon serves.
    pub fn refused(self) -> Result<Refusal> {
        match self {
            Self::Refused(refusal) => Ok(refusal),
            Self::Ready(daemon) => bail!("octroid {} started, and should have refused", daemon.pid()),
        }
    }
}

impl Daemon {
    /// Starts a daemon that serves `end`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(end: &End, config: &Config) -> Result<Self> {
        Home::new(end, config)?.start(end)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Where it lives.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Where it lives, to be told what the test changes.
    pub fn home_mut(&mut self) -> &mut Home {
        &mut self.home
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.home.log()
    }

    /// Its control connection, for any other call.
    pub fn control(&mut self) -> &mut Connection {
        &mut self.control
    }

    /// Its status.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&mut self) -> Result<Status> {
        self.control.status().context("octroid does not answer")
    }

    /// All its counters.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stats(&mut self) -> Result<Vec<StatRow>> {
        let pages = self.control.pages::<GetStats>().context("octroid does not answer")?;
        Ok(pages.into_iter().flat_map(|page| page.rows).collect())
    }

    /// Registers a target.
    ///
    /// # Errors
    /// It refuses.
    pub fn add(&mut self, target: &TargetAdd) -> Result<u16> {
        Ok(self.control.call(target)?.tuple)
    }

    /// Releases a target.
    ///
    /// # Errors
    /// It refuses.
    pub fn remove(&mut self, tuple: u16) -> Result<()> {
        self.control.call(&TargetRemove { tuple })?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.process.0.id().try_into()?), signal).context("cannot signal octroid")
    }

    /// Notes the BPF objects it holds by now, so that they are sought after its end. [`Home::start`] does it once.
    ///
    /// # Errors
    /// It is gone.
    pub fn note_objects(&mut self) -> Result<()> {
        self.home.seen.merge(Objects::held_by(self.process.0.id())?);
        Ok(())
    }

    /// Kills it as a crash would: nothing is cleaned up. What it leaves is for the next daemon started here.
    ///
    /// # Errors
    /// It was gone already.
    pub fn crash(mut self) -> Result<Home> {
        self.note_objects()?;
        self.signal(Signal::SIGKILL)?;
        self.process.0.wait()?;
        Ok(self.home)
    }

    /// Asks it to go down, waits for its end, and checks that nothing of it is left: the end of every test.
    ///
    /// # Errors
    /// It refuses, fails, or leaves something.
    pub fn down(mut self, end: &End) -> Result<()> {
        self.note_objects()?;
        self.control.call(&Down {}).context("octroid does not answer")?;
        let (status, mut home) = self.wait()?;
        ensure!(status.success(), "octroid ended with {status}");
        ensure!(!home.metrics().exists(), "the metrics socket is left");
        home.check_nothing_left(end)
    }

    /// Waits for its end, which somebody else has caused.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait(mut self) -> Result<(ExitStatus, Home)> {
        let mut ended = None;
        until("octroid ends", || {
            ended = self.process.0.try_wait()?;
            Ok(ended.is_some())
        })?;
        Ok((ended.context("octroid did not end")?, self.home))
    }
}
