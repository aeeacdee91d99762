//! How captures end, who may have one, and how many: whatever happens, the file is one, and packets go on.
use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use client::control::{
    capture::{CaptureStart, CaptureStarted, CaptureStop, MAX_CAPTURES, Point},
    connection::{CallError, Connection, DEFAULT_TIMEOUT},
    refusal::Code,
};
use octroi_tests::lab::{
    self, App, Config, PairOptions, Reading, Served, Tally, Tap, Wrapper, command, config::ECHO, process,
};

use crate::{
    NEEDS,
    capture_file::Capturing,
    f14_privileges::{USER, as_user, lab},
};

const PORT: u16 = 5001;
const OTHERS: u16 = 5002;

fn echo() -> Result<Served> {
    Served::new(PairOptions::default(), &Config::echo_and_sink())
}

/// Starts a capture, and says what `octroi` answers if it does not begin.
fn refused(served: &Served, wrapper: &Wrapper, words: &[&str]) -> Result<String> {
    match Capturing::by(served.daemon.home(), wrapper, words) {
        Ok(_) => Ok("granted".to_owned()),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[test]
fn capture_of_ones_own_tuple_ends_with_it() -> Result<()> {
    let Some(_lab) = lab::require("capture_of_ones_own_tuple_ends_with_it", NEEDS)? else { return Ok(()) };
    let mut served = lab(PairOptions::default())?;
    let (home, end) = (served.daemon.home(), &served.pair.served);
    let (mut own, mut roots) =
        (App::start(home, end, &as_user(USER))?, App::start(home, end, &Wrapper::default())?);
    let held = own.udp(PORT)?;
    roots.udp(OTHERS)?;
    let (mine, theirs) = (format!("any:{PORT}"), format!("any:{OTHERS}"));
    let user = as_user(USER);
    for words in [
        &["--at", "rx"][..],
        &["--at", "rx", "--tuple", "udp", &theirs],
        &["--at", "rx", "--tuple", "udp", &mine, "--tuple", "udp", &theirs],
        &["--at", "rx", "--tuple", "tcp", &mine],
    ] {
        let said = refused(&served, &user, words)?;
        ensure!(said.contains("EACCES"), "{words:?}: {said}");
    }
    let at = format!("{}:{PORT}", served.pair.served.v4);
    let tuples = ["--tuple", "udp", &mine, "--tuple", "udp", &at];
    let capturing =
        Capturing::by(served.daemon.home(), &user, &[&["--at", "rx,tx,drop"][..], &tuples].concat())?;
    let tap = Tap::open(&served.pair.peer)?;
    let (load, others) = (served.load(PORT, 2, 100), served.load(OTHERS, 2, 100));
    assert_eq!(load.echo(&tap, 50)?, Tally::whole(50));
    assert_eq!(others.echo(&tap, 50)?, Tally::whole(50));
    // Somebody else sends in its name, and that is not its to see.
    roots.send(&load.answer(0)?[14..])?;
    lab::until("it is judged", || Ok(Reading::of(&mut served.daemon)?.sum("tx_not_owner") == 1))?;
    served.drain()?;
    own.release(held.number)?;
    // The next owner is seen by nobody but root.
    roots.udp(PORT)?;
    let after = served.load(PORT, 2, 100);
    assert_eq!(after.echo_from(&tap, 1000, 50)?, Tally::whole(50));
    let captured = capturing.ended()?;
    assert_eq!(captured.summary()?["ended"], "released");
    ensure!(captured.succeeded);
    let sent = (0..50).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    let answers = (0..50).map(|n| load.answer(n)).collect::<Result<Vec<_>>>()?;
    assert_eq!(captured.file.bytes_at("received"), sent);
    assert_eq!(captured.file.bytes_at("sent"), answers);
    assert_eq!(captured.file.bytes_at("dropped").len(), 0);
    drop((own, roots));
    served.finish()
}

#[test]
fn capture_ends_with_its_daemon_and_its_file_is_whole() -> Result<()> {
    let Some(_lab) = lab::require("capture_ends_with_its_daemon_and_its_file_is_whole", NEEDS)? else {
        return Ok(());
    };
    // In order, and by a crash.
    let mut served = echo()?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 100);
    let sent = (0..200).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    let capturing = Capturing::start(served.daemon.home(), &["--at", "rx"])?;
    assert_eq!(load.echo(&tap, 200)?, Tally::whole(200));
    served.drain()?;
    let Served { daemon, pair } = served;
    let home = daemon.crash()?;
    let captured = capturing.ended()?;
    assert_eq!((captured.summary()?["ended"].as_str(), captured.succeeded), (Some("daemon_gone"), false));
    assert_eq!(captured.file.bytes_at("received"), sent);
    assert_eq!(captured.file.totals(), (0, 200));
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    let capturing = Capturing::start(served.daemon.home(), &["--at", "rx"])?;
    assert_eq!(load.echo(&tap, 200)?, Tally::whole(200));
    served.drain()?;
    served.finish()?;
    let captured = capturing.ended()?;
    assert_eq!((captured.summary()?["ended"].as_str(), captured.succeeded), (Some("down"), true));
    assert_eq!(captured.file.bytes_at("received"), sent);
    Ok(())
}

#[test]
fn capture_ends_after_its_time_and_at_a_closed_pipe() -> Result<()> {
    let Some(_lab) = lab::require("capture_ends_after_its_time_and_at_a_closed_pipe", NEEDS)? else {
        return Ok(());
    };
    let served = echo()?;
    let capturing = Capturing::start(served.daemon.home(), &["--at", "rx", "--duration", "0.2"])?;
    let captured = capturing.ended()?;
    assert_eq!(captured.summary()?["ended"], "duration");
    ensure!(captured.succeeded && captured.file.packets.is_empty());
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 1, 100);
    let words = ["capture", "--at", "rx", "--json", "-w", "-"];
    let mut command = served.daemon.home().command(&Wrapper::default(), "octroi", &words)?;
    let piped = std::process::Stdio::piped;
    let mut child = process::spawn(command.stdout(piped()).stderr(piped()))?;
    let mut stdout = child.stdout.take().context("no pipe")?;
    std::io::Read::read_exact(&mut stdout, &mut [0; 8])?;
    drop(stdout);
    assert_eq!(load.echo(&tap, 1)?, Tally::whole(1));
    ensure!(child.wait()?.success());
    let said = crate::capture_file::said(&mut child)?;
    ensure!(said.contains(r#""ended":"reader_gone""#), "{said}");
    served.finish()
}

/// A file system of so many KiB, until it is dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path, kib: u32) -> Result<Self> {
        command::run(&format!("mount -t tmpfs -o size={kib}k octroi-lab {}", at.display()))?;
        Ok(Self(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        if let Err(why) = command::run(&format!("umount -l {}", self.0.display())) {
            eprintln!("{} is left mounted: {why:#}", self.0.display());
        }
    }
}

#[test]
fn f10_a_full_disk_ends_the_capture_and_nothing_else() -> Result<()> {
    let Some(_lab) = lab::require("f10_a_full_disk_ends_the_capture_and_nothing_else", NEEDS)? else {
        return Ok(());
    };
    let mut served = echo()?;
    let directory = tempfile::Builder::new().prefix("octroi-capture").tempdir()?;
    let _small = Small::mount(directory.path(), 64)?;
    let file = directory.path().join("file.pcapng");
    let path = file.to_str().context("a path that is text")?;
    let words = ["capture", "--at", "rx", "-w", path];
    let mut command = served.daemon.home().command(&Wrapper::default(), "octroi", &words)?;
    let mut child = process::spawn(command.stderr(std::process::Stdio::piped()))?;
    lab::until("it captures", || Ok(fs::metadata(&file).is_ok_and(|meta| meta.len() != 0)))?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 1000);
    // 300 frames of a kilobyte do not fit, and every one is answered.
    served.echoes(&load, &tap, 0, 300)?;
    lab::until("it ends", || Ok(child.try_wait()?.is_some()))?;
    ensure!(!child.wait()?.success());
    let said = crate::capture_file::said(&mut child)?;
    ensure!(said.contains("file.pcapng") && said.contains("No space left on device"), "{said}");
    let read = crate::capture_file::Read::of(&fs::read(&file)?)?;
    ensure!((1..64).contains(&read.packets.len()), "{} packets", read.packets.len());
    let first = (0..read.packets.len() as u64).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    assert_eq!(read.bytes_at("received"), first);
    served.finish()
}

/// A capture without a program that reads it.
fn start(served: &Served, start: &CaptureStart) -> Result<(Connection, Result<CaptureStarted, Code>)> {
    let mut connection = Connection::open(&served.daemon.home().socket(), DEFAULT_TIMEOUT)?;
    let outcome = answer(&mut connection, start)?;
    Ok((connection, outcome))
}

fn answer(connection: &mut Connection, start: &CaptureStart) -> Result<Result<CaptureStarted, Code>> {
    match connection.call(start) {
        Ok(started) => Ok(Ok(started)),
        Err(CallError::Reply(client::control::answer::ReplyError::Refused(refusal))) => Ok(Err(refusal.code)),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn capture_has_limits_that_are_named() -> Result<()> {
    let Some(_lab) = lab::require("capture_has_limits_that_are_named", NEEDS)? else { return Ok(()) };
    let served = echo()?;
    let all = CaptureStart { at: vec![Point::Rx], tuples: Vec::new(), snaplen: 60 };
    let mut running = Vec::new();
    for _ in 0..MAX_CAPTURES {
        let (connection, started) = start(&served, &all)?;
        assert_eq!(started.map_err(|code| anyhow::anyhow!("{code}"))?.queues, [0]);
        running.push(connection);
    }
    assert_eq!(start(&served, &all)?.1, Err(Code::Enospc));
    let first = running.first_mut().context("there are some")?;
    assert_eq!(answer(first, &all)?, Err(Code::Ebusy));
    first.call(&CaptureStop {})?;
    ensure!(first.call(&CaptureStop {}).is_err(), "it is stopped already");
    ensure!(start(&served, &all)?.1.is_ok(), "there is room again");
    // Ended by its connection: the next one finds room as soon as the daemon has heard of it.
    lab::until("there is room", || Ok(start(&served, &all)?.1.is_ok()))?;
    for bad in [CaptureStart { at: Vec::new(), ..all.clone() }, CaptureStart { snaplen: 0, ..all.clone() }] {
        // The daemon may not have heard yet that the last one is gone.
        let mut outcome = Err(Code::Enospc);
        lab::until("it is not for want of room", || {
            outcome = start(&served, &bad)?.1.map(drop);
            Ok(outcome != Err(Code::Enospc))
        })?;
        assert_eq!(outcome, Err(Code::Einval));
    }
    drop(running);
    served.finish()
}
