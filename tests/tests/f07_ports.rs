//! F7, for AF_XDP sockets: a port outlives its link going down, and says so when its device is gone.
//!
//! What the daemon does then is its own row's business; here it is that the port never spins, never lies, and loses
//! no chunk.
mod ports;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ixp::port::{PortError, Transmit as _};
use nix::errno::Errno;
use octroi_tests::lab::{self, Flow, Need, Pair, PairOptions, Stamp, Tap, until};
use xsk::socket::{Call, fault};

use crate::ports::{Port, config};

const NEEDS: &[Need] = &[Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];

fn frame(pair: &Pair, sequence: u64) -> Result<Vec<u8>> {
    Flow::v4(&pair.served, 1000, &pair.peer, 7).udp(&[], &Stamp { flow: 0, sequence }.payload(100))
}

#[test]
fn f07_frames_wait_for_a_link_that_is_down() -> Result<()> {
    let Some(_lab) = lab::require("f07_frames_wait_for_a_link_that_is_down", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let mut port = Port::on(&pair.served, &config(&pair.served)?)?;
    for round in 0..5 {
        pair.served.down()?;
        for sequence in 0..10 {
            let frame = port.frame(&frame(&pair, round * 10 + sequence)?)?;
            ensure!(port.tx.send(frame).is_ok(), "there is room for ten");
        }
        for _ in 0..3 {
            port.turn()?;
            ensure!(port.tx.pending() == 10, "nothing leaves by a link that is down");
        }
        pair.settle()?;
        let tap = Tap::open(&pair.peer)?;
        until("what waited leaves", || {
            port.turn()?;
            Ok(port.tx.pending() == 0)
        })?;
        for sequence in 0..10 {
            let seen = tap.receive(Instant::now() + Duration::from_secs(10))?;
            assert_eq!(seen.context("nothing arrived")?, frame(&pair, round * 10 + sequence)?);
        }
        port.balance()?;
    }
    Ok(())
}

#[test]
fn f07_a_port_whose_device_is_gone_says_so_and_can_be_opened_anew() -> Result<()> {
    let Some(_lab) = lab::require("f07_a_port_whose_device_is_gone", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    for round in 0..3 {
        let mut port = Port::on(&pair.served, &config(&pair.served)?)?;
        port.send_bytes(&frame(&pair, round)?)?;
        port.balance()?;
        pair.unplug()?;
        let frame = port.frame(&frame(&pair, round)?)?;
        ensure!(port.tx.send(frame).is_ok());
        ensure!(matches!(port.tx.flush(), Err(PortError::Gone)), "the device is gone");
        drop(port);
        pair.plug()?;
    }
    Ok(())
}

#[test]
fn f07_refusals_that_pass_are_met_again_in_the_next_round() -> Result<()> {
    let Some(_lab) = lab::require("f07_refusals_that_pass", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let mut port = Port::on(&pair.served, &config(&pair.served)?)?;
    for errno in [Errno::EAGAIN, Errno::EBUSY, Errno::ENOBUFS, Errno::ENETDOWN] {
        let bytes = frame(&pair, 0)?;
        let sent = port.frame(&bytes)?;
        ensure!(port.tx.send(sent).is_ok());
        // The one call is refused, and no second one is made in the same round.
        let (result, refused) = fault::nth_call_fails(0, errno, || port.tx.flush());
        result?;
        assert_eq!((refused, port.tx.pending()), (Some(Call::Send), 1), "{errno}");
        port.balance()?;
    }
    // Another refusal is for good, and names the call.
    let sent = port.frame(&frame(&pair, 0)?)?;
    ensure!(port.tx.send(sent).is_ok());
    let (result, _) = fault::nth_call_fails(0, Errno::EBADF, || port.tx.flush());
    let error = result.expect_err("EBADF does not pass").to_string();
    assert!(error.starts_with("sendto(AF_XDP): "), "{error}");
    Ok(())
}
