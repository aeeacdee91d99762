//! A peer's program: built at run time from `bench/peers/` and a library of the distribution, started, and asked over pipes.
//!
//! A peer that cannot be built is an error that says what to install. It is never left out: a table without the column in
//! which somebody else is ahead would be a lie.
use std::{
    fs,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::{
    contest::{Round, Scanner},
    literals::Literals,
    packets::Packets,
};

/// Where the sources are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// What every peer is compiled with.
const OPTIMISED: &str = "-O2";

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// PCRE2, just in time.
    Pcre2,
    /// Hyperscan.
    Hyperscan,
    /// RE2.
    Re2,
    /// re2c, for literals.
    Re2c,
    /// re2c, for the request lines of HTTP, which it cuts packets down to.
    Re2cRequests,
}

impl Peer {
    /// Debian packages that it is built from.
    #[must_use]
    pub const fn packages(self) -> &'static str {
        match self {
            Self::Pcre2 => "gcc libc6-dev libpcre2-dev",
            Self::Hyperscan => "gcc libc6-dev pkg-config libhyperscan-dev",
            Self::Re2 => "g++ libre2-dev",
            Self::Re2c | Self::Re2cRequests => "gcc libc6-dev re2c",
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Pcre2 => "pcre2_jit.c",
            Self::Hyperscan => "hyperscan.c",
            Self::Re2 => "re2.cc",
            Self::Re2c => "re2c_literals.re",
            Self::Re2cRequests => "re2c_requests.re",
        }
    }
}

/// A directory in which peers are built, and from which they read.
pub struct Workshop(TempDir);

impl Workshop {
    /// An empty one, that vanishes with this value.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn new() -> Result<Self> {
        Ok(Self(TempDir::new().context("no temporary directory")?))
    }

    /// Builds `peer` for these literals; a peer that looks for something else does not mind them.
    ///
    /// # Errors
    /// Something that it is built from is missing.
    pub fn build(&self, peer: Peer, literals: &Literals) -> Result<Built<'_>> {
        let program = self.program(peer, literals).with_context(|| {
            format!(
                "the peer bench/peers/{} could not be built. On Debian it needs {}; `cargo xtask setup --peers` \
                 installs them",
                peer.source(),
                peer.packages()
            )
        })?;
        let lines = self.path("literals");
        fs::write(&lines, literals.lines())?;
        let literals = literals.iter().next().is_some().then_some(lines);
        Ok(Built { workshop: self, program, literals })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, peer: Peer, literals: &Literals) -> Result<PathBuf> {
        let source = Path::new(SOURCES).join(peer.source());
        let program = self.path(peer.source()).with_extension("out");
        match peer {
            Peer::Pcre2 => compile("cc", &source, &program, &words("-lpcre2-8"))?,
            Peer::Hyperscan => {
                let flags = printed(Command::new("pkg-config").args(["--cflags", "--libs", "libhs"]))?;
                compile("cc", &source, &program, &words(&flags))?;
            }
            Peer::Re2 => compile("c++", &source, &program, &words("-lre2"))?,
            Peer::Re2c | Peer::Re2cRequests => {
                fs::write(self.path("literals.re"), literals.re2c())?;
                let c = program.with_extension("c");
                printed(Command::new("re2c").arg("-o").arg(&c).arg("-I").arg(self.0.path()).arg(&source))?;
                let said = printed(Command::new("re2c").arg("--version"))?;
                let version = format!("-DRE2C_VERSION=\"{}\"", said.trim().trim_start_matches("re2c "));
                compile("cc", &c, &program, &[format!("-I{SOURCES}"), version])?;
            }
        }
        Ok(program)
    }
}

/// A peer's program, ready to be started on any packets.
pub struct Built<'w> {
    workshop: &'w Workshop,
    program: PathBuf,
    /// The file that it reads them from, if there are any.
    literals: Option<PathBuf>,
}

impl Built<'_> {
    /// Starts it on these packets, which it has in memory when this returns.
    ///
    /// # Errors
    /// It does not start, or cannot work here: the reason is on standard error.
    pub fn start(&self, packets: &Packets) -> Result<Program> {
        let path = self.workshop.path("packets");
        let mut file = BufWriter::new(fs::File::create(&path)?);
        packets.write(&mut file)?;
        file.flush()?;
        Program::start(Command::new(&self.program).arg(path).args(&self.literals))
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn compile(compiler: &str, source: &Path, program: &Path, flags: &[String]) -> Result<()> {
    printed(Command::new(compiler).args([OPTIMISED, "-o"]).arg(program).arg(source).args(flags)).map(drop)
}

/// What a command prints, if it succeeds.
fn printed(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} does not start"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A peer that is running, and waits to be asked. It runs where this thread runs: one core for both.
pub struct Program {
    name: String,
    child: Child,
    /// Closed to end it.
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        let asked = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("a child without output")?);
        let mut started = Self { name: program, child, asked, answers };
        started.name = ready(&started.answer()?)?;
        Ok(started)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).with_context(|| format!("{} does not answer", self.name))?;
        if line.is_empty() {
            bail!("{} ended instead of answering", self.name);
        }
        Ok(line)
    }
}

impl Scanner for Program {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn round(&mut self, passes: u64) -> Result<Round> {
        let asked = self.asked.as_mut().context("an ended peer is asked")?;
        writeln!(asked, "{passes}").with_context(|| format!("{} does not listen", self.name))?;
        round(&self.answer()?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.asked.take());
        // It ends with its input; that it did badly was seen when it answered.
        let _ = self.child.wait();
    }
}

/// `ready NAME VERSION`: who it is.
fn ready(line: &str) -> Result<String> {
    match line.strip_prefix("ready ").map(str::trim) {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => bail!("a peer that is ready says so, and not {line:?}"),
    }
}

/// `NANOSECONDS HITS SUM`.
fn round(line: &str) -> Result<Round> {
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("a peer answers with numbers, not {line:?}"))?;
    let [took_ns, hits, sum] = numbers[..] else { bail!("a peer answers with three numbers, not {line:?}") };
    Ok(Round { took_ns, hits, sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_says_who_it_is() {
        assert_eq!(ready("ready pcre2-jit 10.42\n").unwrap(), "pcre2-jit 10.42");
        for bad in ["", "ready \n", "pcre2-jit 10.42\n"] {
            assert!(ready(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_three_numbers() {
        let answer = Round { took_ns: 12, hits: 3, sum: u64::MAX };
        assert_eq!(round("12 3 18446744073709551615\n").unwrap(), answer);
        for bad in ["", "12 3\n", "12 3 4 5\n", "12 -3 4\n", "12 3 x\n"] {
            assert!(round(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_program_is_asked_until_its_input_ends() {
        let script = "echo ready fake 1; while read passes; do echo $((passes * 10)) 2 3; done";
        let mut program = Program::start(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(program.name(), "fake 1");
        for passes in [1, 7] {
            let expected = Round { took_ns: passes * 10, hits: 2, sum: 3 };
            assert_eq!(program.round(passes).unwrap(), expected);
        }
    }

    #[test]
    fn a_program_that_ends_is_an_error_that_names_it() {
        let mut program =
            Program::start(Command::new("sh").args(["-c", "echo ready fake; read one"])).unwrap();
        let error = program.round(1).unwrap_err();
        assert!(error.to_string().starts_with("fake "), "{error}");
        assert!(Program::start(Command::new("sh").args(["-c", "exit 1"])).is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_what_brings_it() {
        let compiled = compile("no-such-compiler", Path::new("x.c"), Path::new("x"), &[]).unwrap_err();
        assert_eq!(compiled.to_string(), "no-such-compiler does not start");
    }
}
