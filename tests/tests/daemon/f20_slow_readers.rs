//! Readers of telemetry who do not read: no packet is lost for them, and the daemon does all else that it has to.
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::Mode,
    unistd::mkfifo,
};
use octroi_tests::lab::{
    self, Home, Hostile, Pair, PairOptions, Reading, Served, Victim, Wrapper, app::know_taps,
};

use crate::{NEEDS, hostile_rings::roomy, stacks::served};

/// The offender's port.
const PORT: u16 = 5001;

/// Requests that one scraper sends before it reads a word: more pages than lie in a socket.
const REQUESTS: usize = 40;

const ASKED: &str = "GET /metrics HTTP/1.1\r\nHost: lab\r\n\r\n";

#[test]
fn f20_scrapers_that_do_not_read_cost_no_packet_and_hold_no_other_up_for_ever() -> Result<()> {
    let id = "f20_scrapers_that_do_not_read_cost_no_packet_and_hold_no_other_up_for_ever";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&roomy())?;
    let mut victim = Victim::new(&served)?;
    ensure!(served.daemon.home().scrape()?.ends_with("# EOF\n"));
    let socket = served.daemon.home().metrics();
    let slow = victim.beside(|| {
        let mut slow = Vec::new();
        // Some ask without end and read nothing; as many as there are threads for do not even finish asking.
        for n in 0..12 {
            let mut stream = UnixStream::connect(&socket)?;
            stream.set_write_timeout(Some(Duration::from_secs(10)))?;
            let said = if n < 4 { ASKED.repeat(REQUESTS) } else { "GET /metr".to_owned() };
            // Whoever was turned away cannot write any more.
            let _ = stream.write_all(said.as_bytes());
            slow.push(stream);
        }
        // Whoever asks by another way is answered, as often as it asks.
        for _ in 0..20 {
            served.daemon.status()?;
        }
        Ok(slow)
    })?;
    // One that comes meanwhile gets its page, or is told to come back; it is not left waiting.
    let outcome = served.daemon.home().scrape().map(drop).map_err(|error| error.to_string());
    ensure!(outcome.as_ref().map_or_else(|why| why.contains("503"), |()| true), "{outcome:?}");
    victim.beside(|| {
        drop(slow);
        lab::until("scrapers are served again", || Ok(served.daemon.home().scrape().is_ok()))
    })?;
    victim.unharmed(&served.drain()?)?;
    drop(victim);
    served.finish()
}

/// Fills a pipe to its brim; returns how much went in.
fn fill(pipe: &mut File) -> usize {
    let mut filled = 0;
    while let Ok(n) = pipe.write(&[b'.'; 4096]) {
        filled += n;
    }
    filled
}

#[test]
fn f20_a_log_that_nobody_reads_holds_nobody_up() -> Result<()> {
    let Some(_lab) = lab::require("f20_a_log_that_nobody_reads_holds_nobody_up", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    know_taps(&pair)?;
    let home = Home::new(&pair.served, &roomy())?;
    let fifo = home.run().join("log");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    // Open at both ends, so that neither end waits for the other; never read until later.
    let mut pipe = File::options().read(true).write(true).open(&fifo)?;
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let wrapper = Wrapper::shell(&format!("exec 2>{}", fifo.display()));
    let daemon = home.launch(&pair.served, &wrapper)?.ready()?;
    let mut served = Served { daemon, pair };
    let mut victim = Victim::new(&served)?;
    let filled = fill(&mut pipe);
    ensure!(filled != 0);
    let before = served.drain()?.sum("log.lost");
    let sessions = 20;
    victim.beside(|| {
        // Each says at least that it was opened and that it broke the rules.
        for _ in 0..sessions {
            let mut hostile = Hostile::open(served.daemon.home())?;
            hostile.claim(1 << 20);
            hostile.wait_revoked()?;
        }
        served.daemon.status().map(drop)
    })?;
    let lost = Reading::of(&mut served.daemon)?.sum("log.lost") - before;
    ensure!(2 * sessions <= lost, "{lost} lines are said to be lost");
    // Once somebody reads, the log goes on, and says what is missing.
    let mut text = Vec::new();
    let _ = pipe.read_to_end(&mut text);
    ensure!(text.len() >= filled);
    let mut hostile = Hostile::open(served.daemon.home())?;
    hostile.udp(PORT)?;
    let mut text = Vec::new();
    lab::until("a line comes", || {
        let _ = pipe.read_to_end(&mut text);
        Ok(String::from_utf8_lossy(&text).contains("opened"))
    })?;
    let text = String::from_utf8(text).context("a log is text")?;
    let told =
        text.lines().find(|line| line.contains("lines were lost")).context("nothing is said to be lost")?;
    let told: u64 = told.split(' ').next().context("a number")?.parse()?;
    ensure!(lost <= told, "{lost} lines are lost, {told} told of");
    victim.unharmed(&served.drain()?)?;
    drop((victim, hostile));
    // Read on to the end: what `finish` looks at is the daemon's end, not its log.
    served.finish()
}
