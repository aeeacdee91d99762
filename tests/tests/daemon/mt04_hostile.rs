//! Applications that break the rules of their rings: the daemon takes everything from the offender, and nobody else notices.
use std::{os::fd::AsRawFd as _, sync::atomic::Ordering, time::Duration};

use abi::shm::{
    layout::{STATE, State},
    memory::{Memory as _, Writable as _},
};
use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        connection::Connection,
        event::{Event, Reason},
        request::{LocalAddr, OnCrash, Proto},
        stack::{ReserveMode, StackOpen, StackRegister},
    },
    shm::region::Regions,
};
use nix::sys::socket::{MsgFlags, send};
use octroi_tests::lab::{self, Config, Tally, Tap};

use crate::{
    NEEDS,
    stacks::{app, served, tuples},
};

const HOSTILE: u16 = 5001;
const HONEST: u16 = 5002;

#[test]
fn mt04_an_index_that_cannot_be_ends_its_session_and_no_other() -> Result<()> {
    let Some(_lab) = lab::require("mt04_an_index_that_cannot_be_ends_its_session_and_no_other", NEEDS)?
    else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let mut honest = app(&served)?;
    honest.udp(HONEST)?;
    let mut hostile = Connection::open(&served.daemon.home().socket(), Duration::from_secs(10))?;
    for beyond in [257, 100_000, u32::MAX] {
        let open = StackOpen { name: "hostile".to_owned(), rx_slots: 256, tx_slots: 256, l2: false };
        let (opened, fds) = hostile.call_with(&open, &[])?;
        let [down, up, bell] = fds.as_slice() else { anyhow::bail!("{} descriptors", fds.len()) };
        let register = StackRegister {
            proto: Proto::Udp,
            addr: LocalAddr::Any,
            port: HOSTILE,
            reserve: ReserveMode::Daemon,
            on_crash: Some(OnCrash::Drop),
            icmp: false,
            uid: None,
        };
        hostile.call(&register)?;
        let regions = Regions::map(down, up)?;
        let at = regions.shape.up(0).context("one channel")?;
        regions.up.store_u32(at.tx_prod(), beyond, Ordering::Release);
        send(bell.as_raw_fd(), &[1], MsgFlags::empty())?;
        let mut told = None;
        lab::until("it is told", || {
            told = hostile.poll_event()?;
            Ok(told.is_some())
        })?;
        let over = Event::Revoked { tuple: None, session: Some(opened.slot), reason: Reason::Violation };
        ensure!(told.as_ref() == Some(&over), "{told:?}");
        ensure!(State::from_word(regions.down.load_u32(STATE, Ordering::Acquire)) == State::Revoked);
        let left = tuples(&mut served.daemon)?;
        ensure!(left.iter().map(|row| row.port).eq([HONEST]), "{left:?}");
    }
    let tap = Tap::open(&served.pair.peer)?;
    assert_eq!(served.load(HONEST, 2, 100).echo(&tap, 1000)?, Tally::whole(1000));
    drop((honest, hostile));
    served.finish()
}
