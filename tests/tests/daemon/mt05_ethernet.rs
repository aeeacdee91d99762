//! What applications' packets look like on the wire: Ethernet headers of their own where policy allows it, and the tags of
//! the interface.
use std::time::{Duration, Instant};

use abi::shm::{desc::Form, layout::feature};
use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        refusal::Code,
        request::{LocalAddr, Proto},
    },
    shm::channel::Channel,
    stack::{Client, Frames, OpenError, RegisterError, Reserve, Stack, StackOptions, Tuple},
};
use octroi_tests::lab::{self, Config, Reading, Served, Tally, Tap, Wire, XskTap};

use crate::{
    NEEDS,
    stacks::{app, served},
};

/// The application's port.
const PORT: u16 = 5001;

/// An application of the test's own process, which is root's.
struct Session {
    /// Kept: it is the session.
    _stack: Stack,
    channel: Channel,
}

impl Session {
    fn open(served: &Served, frames: Frames) -> Result<Result<Self, OpenError>> {
        let options = StackOptions { frames, ..StackOptions::named("ethernet") };
        let mut stack = match Client::connect(&served.daemon.home().socket())?.open(&options) {
            Ok(stack) => stack,
            Err(error) => return Ok(Err(error)),
        };
        stack.register(&Tuple::new(Proto::Udp, LocalAddr::Any, PORT), Reserve::Daemon)?;
        let channel = stack.take_channels().pop().context("a channel")?;
        Ok(Ok(Self { _stack: stack, channel }))
    }

    fn send(&mut self, bytes: &[u8], form: Form) -> Result<()> {
        self.channel.tx(1).push(bytes, form)?.context("there is room")
    }

    /// Sends something that leaves as `frame`.
    fn leaves(&mut self, wire: &dyn Wire, bytes: &[u8], form: Form, frame: &[u8]) -> Result<()> {
        self.send(bytes, form)?;
        let came = wire.receive(Instant::now() + Duration::from_secs(10))?;
        ensure!(came.as_deref() == Some(frame), "{came:02x?} is not {frame:02x?}");
        Ok(())
    }

    /// Sends something that is dropped as `why`, and moves no other counter.
    fn is_dropped(&mut self, served: &mut Served, bytes: &[u8], form: Form, why: &str) -> Result<()> {
        let before = served.drain()?;
        self.send(bytes, form)?;
        lab::until("it is judged", || {
            Ok(Reading::of(&mut served.daemon)?.sum("submitted") == before.sum("submitted") + 1)
        })?;
        served.drain()?.moved(&before, &[("submitted", 1), (why, 1)]).with_context(|| why.to_owned())
    }
}

/// Frame with another byte at `at`.
fn with(frame: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] = byte;
    frame
}

#[test]
fn mt05_an_application_brings_its_own_ethernet_header_where_policy_allows_it() -> Result<()> {
    let id = "mt05_an_application_brings_its_own_ethernet_header_where_policy_allows_it";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let mut session = Session::open(&served, Frames::Ethernet)??;
    ensure!(session.channel.features() & feature::L2 != 0, "it is told that it may");
    let tap = Tap::open(&served.pair.peer)?;
    let (v4, v6) = (served.load(PORT, 2, 100).answer(0)?, served.load(PORT, 2, 100).answer(1)?);
    for frame in [&v4, &v6] {
        session.leaves(&tap, frame, Form::L2, frame)?;
        // It may leave the header to the daemon all the same.
        session.leaves(&tap, &frame[14..], Form::L3, frame)?;
    }
    // A source that is not the interface's, a group, its own address, a tag that it has not, and IPv6's type before IPv4.
    let to_itself = [&served.pair.served.mac.0[..], &v4[6..]].concat();
    let tagged = served.load(PORT, 1, 100).flows[0].reversed().udp(&[100], b"tagged")?;
    for (frame, why) in [
        (with(&v4, 11, !v4[11]), "tx_mac"),
        (with(&v4, 0, v4[0] | 1), "tx_mac"),
        (to_itself, "tx_mac"),
        (tagged, "tx_vlan"),
        ([&v4[..12], &v6[12..14], &v4[14..]].concat(), "tx_vlan"),
    ] {
        session.is_dropped(&mut served, &frame, Form::L2, why)?;
    }
    drop(session);
    served.finish()
}

#[test]
fn mt05_where_policy_forbids_ethernet_headers_none_is_sent() -> Result<()> {
    let Some(_lab) = lab::require("mt05_where_policy_forbids_ethernet_headers_none_is_sent", NEEDS)? else {
        return Ok(());
    };
    // Rules of the configuration come before the one that lets root do everything.
    let more = "\n[[stack.policy]]\nuid = 0\nl2 = false\n".to_owned();
    let mut served = served(&Config { more, ..Config::default() })?;
    let refused = Session::open(&served, Frames::Ethernet)?.err().context("it has a session")?;
    let refusal = RegisterError::from(match refused {
        OpenError::Call(call) => call,
        other => return Err(other.into()),
    });
    ensure!(refusal.refusal().map(|refusal| refusal.code) == Some(Code::Eacces), "{refusal}");
    // A session without the right may say that it has it.
    let mut session = Session::open(&served, Frames::Ip)??;
    ensure!(session.channel.features() & feature::L2 == 0);
    let frame = served.load(PORT, 1, 100).answer(0)?;
    session.is_dropped(&mut served, &frame, Form::L2, "tx_desc")?;
    session.leaves(&Tap::open(&served.pair.peer)?, &frame[14..], Form::L3, &frame)?;
    drop(session);
    served.finish()
}

#[test]
fn mt05_behind_tags_applications_receive_and_send_with_exactly_those() -> Result<()> {
    let id = "mt05_behind_tags_applications_receive_and_send_with_exactly_those";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    for tags in [vec![100], vec![100, 7]] {
        let mut served = served(&Config { vlan: tags.clone(), ..Config::default() })?;
        // A packet socket would not see the tags.
        let tap = XskTap::open(&served.pair.peer)?;
        let mut load = served.load(PORT, 4, 100);
        load.vlan = tags.clone();
        let mut echo = app(&served)?;
        echo.udp(PORT)?;
        assert_eq!(load.echo(&tap, 500)?, Tally::whole(500), "{tags:?}");
        // Without the tags it is the OS's, which has no such VLAN.
        let before = served.drain()?;
        let untagged = served.load(PORT, 1, 100);
        untagged.sink(&tap, 10, || {
            Ok(Reading::of(&mut served.daemon)?.sum("xdp.pass_vlan") - before.sum("xdp.pass_vlan"))
        })?;
        served.drain()?.moved(&before, &[("xdp.rx", 10), ("xdp.pass_vlan", 10)])?;
        drop(echo);
        lab::until("its port is free", || Ok(crate::stacks::tuples(&mut served.daemon)?.is_empty()))?;
        // Who writes the header itself writes the tags too.
        let mut session = Session::open(&served, Frames::Ethernet)??;
        let frame = load.answer(0)?;
        session.leaves(&tap, &frame, Form::L2, &frame)?;
        session.leaves(&tap, &frame[14 + 4 * tags.len()..], Form::L3, &frame)?;
        let plain = untagged.answer(0)?;
        session.is_dropped(&mut served, &plain, Form::L2, "tx_vlan")?;
        drop((session, tap));
        served.finish()?;
    }
    Ok(())
}
