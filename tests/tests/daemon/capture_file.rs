//! What tests of `octroi capture` begin and end with: the program in a process of its own, and its file read back by a
//! parser that is not ours.
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use octroi_tests::lab::{self, Home, Wrapper, process};
use pcap_parser::{Block, OptionCode, PcapNGOption, parse_block_le};
use serde_json::Value;
use tempfile::TempDir;

/// Time resolution of an interface: nanoseconds.
const NANOSECONDS: u8 = 9;

/// `octroi capture` at work. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Capturing {
    child: Child,
    file: PathBuf,
    /// Held for its drop only.
    _directory: TempDir,
}

/// A capture that has ended.
#[derive(Debug)]
pub(crate) struct Captured {
    /// How the program ended.
    pub(crate) succeeded: bool,
    /// What it said.
    pub(crate) said: String,
    /// The file.
    pub(crate) file: Read,
}

/// A capture file, read back.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Name and description of each interface.
    pub(crate) interfaces: Vec<(String, String)>,
    /// The packets, in their order.
    pub(crate) packets: Vec<Packet>,
    /// What each interface dropped and delivered.
    pub(crate) statistics: BTreeMap<u32, (u64, u64)>,
}

/// A packet of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Its interface's description, up to the first space: received, sent, dropped.
    pub(crate) point: String,
    /// Nanoseconds since 1970.
    pub(crate) time_ns: u64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// How long it was.
    pub(crate) len: u32,
    /// Its comment; empty if it has none.
    pub(crate) comment: String,
    /// 1 for inbound, 2 for outbound.
    pub(crate) direction: u32,
    /// The queue of its port.
    pub(crate) queue: Option<u32>,
}

impl Capturing {
    /// Starts it, and waits until it captures. `words` are the ones after `octroi capture`, without the file.
    pub(crate) fn start(home: &Home, words: &[&str]) -> Result<Self> {
        Self::by(home, &Wrapper::default(), words)
    }

    /// The same inside these words.
    pub(crate) fn by(home: &Home, wrapper: &Wrapper, words: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("octroi-capture").tempdir()?;
        // Whoever runs it may write there.
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let file = directory.path().join("file.pcapng");
        let path = file.to_str().context("a path that is text")?;
        let mut command = home.command(wrapper, "octroi", &["capture", "--json", "-w", path])?;
        command.args(words).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut capturing = Self { child: process::spawn(&mut command)?, file, _directory: directory };
        capturing.wait_until_it_captures()?;
        Ok(capturing)
    }

    fn wait_until_it_captures(&mut self) -> Result<()> {
        let Self { child, file, .. } = self;
        let mut ended = false;
        lab::until("it captures", || {
            ended = child.try_wait()?.is_some();
            Ok(ended || fs::metadata(&*file).is_ok_and(|meta| meta.len() != 0))
        })?;
        if ended { bail!("it ended: {}", said(child)?) } else { Ok(()) }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as Ctrl-C does, and reads its file.
    pub(crate) fn interrupt(self) -> Result<Captured> {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGINT)?;
        self.ended()
    }

    /// Waits for its end, which something else has caused, and reads its file.
    pub(crate) fn ended(mut self) -> Result<Captured> {
        let child = &mut self.child;
        lab::until("it ends", || Ok(child.try_wait()?.is_some()))?;
        let status = self.child.wait()?;
        let file = Read::of(&fs::read(&self.file)?)?;
        Ok(Captured { succeeded: status.success(), said: said(&mut self.child)?, file })
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Captured {
    /// What it said of itself.
    pub(crate) fn summary(&self) -> Result<Value> {
        serde_json::from_str(&self.said).with_context(|| self.said.clone())
    }
}

/// What a program that has ended wrote to standard error.
pub(crate) fn said(child: &mut Child) -> Result<String> {
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().context("no pipe")?, &mut said)?;
    Ok(said)
}

/// Runs `octroi capture` into its standard output until it ends by itself, and returns the file and what it said.
pub(crate) fn piped(mut command: Command, during: impl FnOnce() -> Result<()>) -> Result<(Vec<u8>, String)> {
    let mut child = process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let mut stdout = child.stdout.take().context("no pipe")?;
    let mut bytes = vec![0; 8];
    // The section header: from here on it captures.
    std::io::Read::read_exact(&mut stdout, &mut bytes)?;
    during()?;
    std::io::Read::read_to_end(&mut stdout, &mut bytes)?;
    let status = child.wait()?;
    let said = said(&mut child)?;
    ensure!(status.success(), "{status}: {said}");
    Ok((bytes, said))
}

impl Read {
    /// Reads a file, every byte of it.
    pub(crate) fn of(file: &[u8]) -> Result<Self> {
        let (mut read, mut rest) = (Self::default(), file);
        while !rest.is_empty() {
            let (after, block) = parse_block_le(rest).map_err(|error| {
                anyhow::anyhow!("byte {} of {}: {error:?}", file.len() - rest.len(), file.len())
            })?;
            read.take(&block)?;
            rest = after;
        }
        Ok(read)
    }

    fn take(&mut self, block: &Block<'_>) -> Result<()> {
        match block {
            Block::SectionHeader(_) => ensure!(self.interfaces.is_empty(), "a second section"),
            Block::InterfaceDescription(interface) => {
                ensure!(interface.if_tsresol == NANOSECONDS, "resolution {}", interface.if_tsresol);
                ensure!(interface.linktype.0 == 1, "link type {}", interface.linktype);
                let text = |code| option(&interface.options, code).unwrap_or_default().to_vec();
                let name = String::from_utf8(text(OptionCode::IfName))?;
                self.interfaces.push((name, String::from_utf8(text(OptionCode::IfDescription))?));
            }
            Block::EnhancedPacket(packet) => {
                let (_, description) =
                    self.interfaces.get(packet.if_id as usize).context("an interface that is not there")?;
                let number = |code| {
                    option(&packet.options, OptionCode(code))
                        .and_then(|v| Some(u32::from_le_bytes(*v.first_chunk()?)))
                };
                let comment = option(&packet.options, OptionCode::Comment).unwrap_or_default();
                self.packets.push(Packet {
                    point: description.split(' ').next().unwrap_or_default().to_owned(),
                    time_ns: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                    bytes: packet.data[..packet.caplen as usize].to_vec(),
                    len: packet.origlen,
                    comment: String::from_utf8(comment.to_vec())?,
                    direction: number(2).context("a packet without a direction")?,
                    queue: number(6),
                });
            }
            Block::InterfaceStatistics(statistics) => {
                let number = |said: Option<_>| -> Result<u64> {
                    let said: Result<u64, pcap_parser::PcapNGOptionError> = said.context("it is missing")?;
                    Ok(said?)
                };
                let (dropped, delivered) =
                    (number(statistics.isb_ifdrop())?, number(statistics.isb_usrdeliv())?);
                ensure!(number(statistics.isb_filteraccept())? >= dropped);
                let before = self.statistics.insert(statistics.if_id, (dropped, delivered));
                ensure!(before.is_none(), "twice of interface {}", statistics.if_id);
            }
            other => bail!("a block that nobody asked for: {other:?}"),
        }
        Ok(())
    }

    /// The bytes of the packets seen at one point, in their order.
    pub(crate) fn bytes_at(&self, point: &str) -> Vec<&[u8]> {
        self.at(point).map(|packet| &packet.bytes[..]).collect()
    }

    /// The packets seen at one point, in their order.
    pub(crate) fn at(&self, point: &str) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(move |packet| packet.point == point)
    }

    /// How many packets have which comment at one point.
    pub(crate) fn comments_at(&self, point: &str) -> BTreeMap<&str, u64> {
        let mut all = BTreeMap::new();
        for packet in self.at(point) {
            *all.entry(packet.comment.as_str()).or_default() += 1;
        }
        all
    }

    /// What all interfaces together dropped, and delivered.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.statistics.values().fold((0, 0), |(a, b), (dropped, delivered)| (a + dropped, b + delivered))
    }
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    options.iter().find(|option| option.code == code)?.as_bytes().ok()
}
