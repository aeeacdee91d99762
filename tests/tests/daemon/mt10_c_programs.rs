//! C programs: built against an installed library as a user would, run beside a daemon, spoken to by the other kernel.
use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use octroi_tests::lab::{
    self, Config, End, Offloads, Pair, PairOptions, Served, Wrapper, os, process, program,
};
use tempfile::TempDir;

use crate::{
    NEEDS,
    f14_privileges::{USER, as_user, lab as lab_with_user},
    stacks::{echoed_by_app, served, tuples},
};

const PORT: u16 = 5001;

/// What every program is compiled with.
const STRICT: [&str; 7] = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O1"];

/// Ends with an error of its own if the program, or the library, touches what it must not, or loses memory.
const VALGRIND: &str =
    "valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite";

/// A place where the library is installed, and programs compiled.
struct Prefix(TempDir);

impl Prefix {
    /// Installs what was built beside this test, as `cargo xtask install-c` does.
    fn install() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("octroi-lab-c").tempdir()?;
        // Other users run programs from here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let xtask = program::find("xtask")?;
        let built = xtask.parent().context("a directory")?;
        let mut install = Command::new(&xtask);
        install.args(["install-c", "--prefix"]).arg(directory.path()).arg("--built").arg(built);
        done(&mut install).context("is it built? `cargo build -p xtask -p octroi-c`")?;
        Ok(Self(directory))
    }

    fn lib(&self) -> PathBuf {
        self.0.path().join("lib")
    }

    /// What pkg-config says of the library.
    fn flags(&self, words: &[&str]) -> Result<Vec<String>> {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", self.lib().join("pkgconfig")).args(words).arg("octroi");
        Ok(done(&mut command)?.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Compiles a source of the repository.
    fn compile(&self, source: &str, name: &str, more: &[&str], libraries: &[&str]) -> Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(source);
        let program = self.0.path().join(name);
        let mut cc = Command::new("cc");
        cc.args(STRICT).args(more).args(self.flags(&["--cflags"])?).arg("-o").arg(&program).arg(source);
        done(cc.args(libraries).args(self.flags(&["--libs"])?).arg("-pthread"))?;
        Ok(program)
    }

    /// Starts a program of ours in the served end's namespace.
    fn start(&self, end: &End, wrapper: &Wrapper, path: &Path, arguments: &[&str]) -> Result<Program> {
        let mut command = wrapper.around(path);
        command.args(arguments).env("LD_LIBRARY_PATH", self.lib()).stdout(Stdio::piped());
        let mut child = end.netns.spawn(&mut command)?;
        let lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        Ok(Program { child, lines })
    }
}

/// Runs a command to its end, and returns what it says.
fn done(command: &mut Command) -> Result<String> {
    let output =
        process::output(command).with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
    Ok(said(&output.stdout))
}

/// A running program, killed when dropped.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Waits until it says this, and nothing else before.
    fn says(&mut self, wanted: &str) -> Result<()> {
        let said = self.lines.next().with_context(|| format!("it ended and never said {wanted}"))??;
        ensure!(said == wanted, "it says {said}, not {wanted}");
        Ok(())
    }

    /// Waits for its end; what it still says comes with it.
    fn end(mut self) -> Result<(ExitStatus, Vec<String>)> {
        let said = self.lines.by_ref().collect::<std::io::Result<Vec<String>>>()?;
        Ok((self.child.wait()?, said))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for, which is how it should be.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Both addresses of an end.
fn addresses(end: &End) -> [IpAddr; 2] {
    [end.v4.into(), end.v6.into()]
}

/// Sends a datagram from a socket of the other kernel's, and expects the very same back.
fn asks(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> Result<()> {
    let mut buffer = [0; 2000];
    socket.send_to(payload, to)?;
    let received = process::again(|| socket.recv_from(&mut buffer));
    let (len, from) = received.with_context(|| format!("{to} does not answer"))?;
    ensure!(from == to, "{from} answers for {to}");
    ensure!(buffer[..len] == *payload, "{len} bytes for {}, or others", payload.len());
    Ok(())
}

/// Datagrams of all sizes by both families, each answered. Returns how many.
fn conversation(pair: &Pair) -> Result<u64> {
    let mut asked = 0;
    for (from, to) in addresses(&pair.peer).into_iter().zip(addresses(&pair.served)) {
        let socket = os::udp_socket(&pair.peer, (from, 0).into())?;
        let longest = pair.options().mtu as usize - if to.is_ipv4() { 28 } else { 48 };
        for len in (0..64).chain([511, 512, 1000, longest - 1, longest]) {
            let payload: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            asks(&socket, (to, PORT).into(), &payload).with_context(|| format!("{len} bytes"))?;
            asked += 1;
        }
    }
    Ok(asked)
}

#[test]
fn mt10_a_c_program_without_privileges_answers_real_datagrams() -> Result<()> {
    let id = "mt10_a_c_program_without_privileges_answers_real_datagrams";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let prefix = Prefix::install()?;
    let echo = prefix.compile("examples/c/echo.c", "echo", &[], &[])?;
    // With the kernel's offloads on, the checksums of what comes are incomplete.
    for offloads in [Offloads::Off, Offloads::KernelDefault] {
        let mut served = lab_with_user(PairOptions { peer_offloads: offloads, ..PairOptions::default() })?;
        let socket = served.daemon.home().socket().display().to_string();
        let end = &served.pair.served;
        let mut program = prefix.start(end, &as_user(USER), &echo, &[&socket, &PORT.to_string()])?;
        program.says("ready")?;
        let status = fs::read_to_string(format!("/proc/{}/status", program.child.id()))?;
        for line in [&format!("Uid:\t{USER}\t"), "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            ensure!(status.contains(line), "{line} is not in {status}");
        }
        let rows = tuples(&mut served.daemon)?;
        assert_eq!(rows.iter().map(|row| (row.port, row.uid)).collect::<Vec<_>>(), [(PORT, USER)]);
        let before = served.drain()?;
        let asked = conversation(&served.pair)?;
        served.drain()?.moved(&before, &echoed_by_app(asked))?;
        kill(Pid::from_raw(program.child.id().cast_signed()), Signal::SIGTERM)?;
        let (status, said) = program.end()?;
        ensure!(status.success() && said.is_empty(), "{status}, {said:?}");
        ensure!(tuples(&mut served.daemon)?.is_empty());
        served.finish()?;
    }
    Ok(())
}

#[test]
fn mt10_a_c_program_goes_on_after_a_restart_and_hears_what_is_taken_from_it() -> Result<()> {
    let id = "mt10_a_c_program_goes_on_after_a_restart_and_hears_what_is_taken_from_it";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let prefix = Prefix::install()?;
    // Linked with the static library, which nothing else uses.
    let archive = prefix.lib().join("liboctroi.a").display().to_string();
    let private = prefix.flags(&["--libs-only-l", "--static"])?;
    let private: Vec<&str> = private.iter().map(String::as_str).filter(|flag| *flag != "-loctroi").collect();
    let libraries = [&[archive.as_str()], &private[..]].concat();
    let echo = prefix.compile("examples/c/echo.c", "echo-static", &[], &libraries)?;
    let Served { daemon, pair } = served(&Config::default())?;
    let socket = daemon.home().socket().display().to_string();
    let start = || prefix.start(&pair.served, &Wrapper::default(), &echo, &[&socket, &PORT.to_string()]);
    let mut program = start()?;
    program.says("ready")?;
    conversation(&pair)?;
    let home = daemon.crash()?;
    program.says("disconnected")?;
    let daemon = home.start(&pair.served)?;
    program.says("reconnected")?;
    conversation(&pair)?;
    daemon.home().octroi(&["stack", "release", "udp", &format!("any:{PORT}"), "--force"])?;
    program.says("revoked")?;
    ensure!(program.end()?.0.code() == Some(1));
    // The same port again, and then the daemon goes down.
    let mut program = start()?;
    program.says("ready")?;
    conversation(&pair)?;
    Served { daemon, pair }.finish()?;
    program.says("over")?;
    ensure!(program.end()?.0.code() == Some(1));
    Ok(())
}

#[test]
fn mt10_what_c_does_wrong_is_told_and_touches_nothing() -> Result<()> {
    let id = "mt10_what_c_does_wrong_is_told_and_touches_nothing";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let prefix = Prefix::install()?;
    let sanitized = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"];
    let tools = [
        // Sees what the library does, too, as it runs any code.
        (prefix.compile("tests/c/misuse.c", "misuse", &["-g"], &[])?, Wrapper::words(VALGRIND)),
        (prefix.compile("tests/c/misuse.c", "misuse-sanitized", &sanitized, &[])?, Wrapper::default()),
    ];
    for (misuse, tool) in tools {
        let mut served = served(&Config::default())?;
        let socket = served.daemon.home().socket().display().to_string();
        let arguments = [socket.as_str(), &PORT.to_string()];
        let mut program = prefix.start(&served.pair.served, &tool, &misuse, &arguments)?;
        if let Err(why) = program.says("ready") {
            let (status, said) = program.end()?;
            bail!("{why:#}, {status}: {said:#?}");
        }
        // Of its packets none was let out, and each was counted.
        let after = served.drain()?;
        assert_eq!((after.sum("submitted"), after.sum("transmitted")), (64, 0));
        served.finish()?;
        let (status, said) = program.end()?;
        ensure!(status.success(), "{status}: {said:#?}");
        ensure!(said.last().is_some_and(|line| line.ends_with(" checks, 0 failures")), "{said:#?}");
    }
    Ok(())
}
