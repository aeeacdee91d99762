//! Applications under test: `octroi-lab-app` in a process of its own, told what to do, killed, or left alone.
//!
//! It echoes UDP. Dropping one that still runs kills it.
use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    daemon::{Home, Wrapper},
    process,
    veth::{End, Pair},
};

/// A running application.
#[derive(Debug)]
pub struct App {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// A tuple that an application has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub number: u16,
    /// Its port.
    pub port: u16,
}

/// A refusal, as the control protocol says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub code: String,
    /// The detail.
    pub detail: String,
}

impl App {
    /// Starts one in the served end's namespace, and waits until it has a session. `wrapper` is run before it.
    ///
    /// # Errors
    /// It has none.
    pub fn start(home: &Home, end: &End, wrapper: &Wrapper) -> Result<Self> {
        Self::with_slots(home, end, wrapper, 256)
    }

    /// The same with rings of so many slots.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn with_slots(home: &Home, end: &End, wrapper: &Wrapper, slots: u32) -> Result<Self> {
        let socket = home.socket();
        let mut command = wrapper.command("octroi-lab-app")?;
        command.arg(&socket).arg(slots.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = end.netns.spawn(&mut command)?;
        let input = child.stdin.take().context("no pipe")?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let mut app = Self { child, input, output };
        app.heard().context("the application has no session")?;
        Ok(app)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Registers a tuple: `udp any 5000`, with `pass` or `icmp` after it.
    ///
    /// # Errors
    /// The application is gone.
    pub fn register(&mut self, tuple: &str) -> Result<Result<Held, Refused>> {
        self.held(&format!("register {tuple}"))
    }

    /// Registers a tuple with a socket of its own bound to `at`: `udp any 5000`.
    ///
    /// # Errors
    /// The application is gone.
    pub fn lend(&mut self, tuple: &str, at: &str) -> Result<Result<Held, Refused>> {
        self.held(&format!("lend {tuple} {at}"))
    }

    /// Registers a UDP port at every address, which nobody refuses.
    ///
    /// # Errors
    /// It is refused, or the application is gone.
    pub fn udp(&mut self, port: u16) -> Result<Held> {
        self.register(&format!("udp any {port}"))?.map_err(|refused| anyhow::anyhow!("{refused:?}"))
    }

    /// Releases a tuple.
    ///
    /// # Errors
    /// It is refused, or the application is gone.
    pub fn release(&mut self, number: u16) -> Result<()> {
        self.done(&format!("release {number}"))
    }

    /// Sends one IP packet.
    ///
    /// # Errors
    /// The application is gone.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        self.done(&format!("send {}", hex(packet)))
    }

    /// Reads its rings no longer, or again.
    ///
    /// # Errors
    /// The application is gone.
    pub fn listen(&mut self, how: Listens) -> Result<()> {
        self.done(match how {
            Listens::No => "mute",
            Listens::Yes => "loud",
            Listens::Swallows => "swallow",
        })
    }

    /// Ends [`App::flood`].
    ///
    /// # Errors
    /// The application is gone.
    pub fn calm(&mut self) -> Result<()> {
        self.done("calm")
    }

    /// Sends one IP packet again and again, as fast as its rings take it.
    ///
    /// # Errors
    /// The application is gone.
    pub fn flood(&mut self, packet: &[u8]) -> Result<()> {
        self.done(&format!("flood {}", hex(packet)))
    }

    /// Sends one IP packet until the ring of its first channel is full, which it is while nobody empties it.
    ///
    /// # Errors
    /// The application is gone.
    pub fn fill(&mut self, packet: &[u8]) -> Result<()> {
        self.done(&format!("fill {}", hex(packet)))
    }

    /// Waits for the next event that it hears.
    ///
    /// # Errors
    /// The application is gone.
    pub fn event(&mut self) -> Result<String> {
        self.say("event")?.map_err(|refused| anyhow::anyhow!("{refused:?}"))
    }

    /// How many packets it has read with each class, as `CLASS=COUNT`.
    ///
    /// # Errors
    /// The application is gone.
    pub fn classes(&mut self) -> Result<String> {
        self.say("classes")?.map_err(|refused| anyhow::anyhow!("{refused:?}"))
    }

    /// Kills it as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// It was gone already.
    pub fn crash(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it where it is, and waits until it has stopped.
    ///
    /// # Errors
    /// It is gone.
    pub fn stop(&self) -> Result<()> {
        process::stop(self.pid())
    }

    /// Lets it go on after [`App::stop`].
    ///
    /// # Errors
    /// It is gone.
    pub fn go_on(&self) -> Result<()> {
        process::go_on(self.pid())
    }

    fn held(&mut self, line: &str) -> Result<Result<Held, Refused>> {
        let said = match self.say(line)? {
            Ok(said) => said,
            Err(refused) => return Ok(Err(refused)),
        };
        let (number, port) = said.split_once(' ').context("a tuple has a number and a port")?;
        Ok(Ok(Held { number: number.parse()?, port: port.parse()? }))
    }

    fn done(&mut self, line: &str) -> Result<()> {
        match self.say(line)? {
            Ok(_) => Ok(()),
            Err(refused) => bail!("{line}: {refused:?}"),
        }
    }

    fn say(&mut self, line: &str) -> Result<Result<String, Refused>> {
        writeln!(self.input, "{line}").context("the application is gone")?;
        let said = self.heard()?;
        if let Some(ok) = said.strip_prefix("ok") {
            return Ok(Ok(ok.trim_start().to_owned()));
        }
        let rest = said.strip_prefix("err ").with_context(|| format!("the application says {said}"))?;
        let (code, detail) = rest.split_once(' ').context("a refusal has a detail")?;
        Ok(Err(Refused { code: code.to_owned(), detail: detail.to_owned() }))
    }

    fn heard(&mut self) -> Result<String> {
        Ok(self.output.next().context("the application ended")??)
    }
}

/// Whether an application reads its rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// Yes.
    Yes,
    /// Yes, and it answers nothing.
    Swallows,
    /// No.
    No,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

impl Drop for App {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lets the served end know where the taps of the other one are: an application's answers to them need a next hop, and
/// on a silent wire nobody resolves one.
///
/// # Errors
/// `ip` refuses.
pub fn know_taps(pair: &Pair) -> Result<()> {
    let Pair { served, peer, .. } = pair;
    for addr in [peer.tap_v4.to_string(), peer.tap_v6.to_string()] {
        let line = format!("ip neigh replace {addr} lladdr {} dev {} nud permanent", peer.mac, served.ifname);
        ensure!(served.run(&line).is_ok(), "{line}");
    }
    Ok(())
}
