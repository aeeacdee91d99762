//! Protocols whose ports no socket can hold, because this kernel does not have them: policy says who may have such a tuple.
//!
//! Which of them a kernel has differs; both halves of each test are about those that there are.
use anyhow::{Result, ensure};
use client::control::{request::Proto, stack::TupleState};
use octroi_tests::lab::{self, Config, Tap, served::Served};

use crate::{
    NEEDS,
    stacks::{app, echoed_by_app, served, tuples},
};

const PORT: u16 = 5001;

/// Protocols that a kernel need not have, and the type of their sockets.
const RARE: [(Proto, i32); 3] =
    [(Proto::Sctp, libc::SOCK_STREAM), (Proto::Dccp, libc::SOCK_DCCP), (Proto::UdpLite, libc::SOCK_DGRAM)];

/// Whether this kernel has it.
fn is_known(proto: Proto, kind: i32) -> bool {
    xsk::inet::open(libc::AF_INET, kind, proto.number().into()).is_ok()
}

/// An IPv4 packet of another protocol whose first four bytes are ports, like UDP's.
fn as_proto(mut frame: Vec<u8>, proto: Proto) -> Vec<u8> {
    frame[23] = proto.number();
    frame[24..26].fill(0);
    let sum: u32 =
        frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame
}

#[test]
fn mt03_a_protocol_that_the_kernel_does_not_have_is_unreserved_and_served() -> Result<()> {
    let id = "mt03_a_protocol_that_the_kernel_does_not_have_is_unreserved_and_served";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let tap = Tap::open(&served.pair.peer)?;
    for (proto, kind) in RARE {
        let mut app = app(&served)?;
        let held = app.register(&format!("{proto} any {PORT}"))?;
        ensure!(held.as_ref().is_ok_and(|held| held.port == PORT), "{proto}: {held:?}");
        let rows = tuples(&mut served.daemon)?;
        let expected = if is_known(proto, kind) { TupleState::Live } else { TupleState::Unreserved };
        ensure!(rows.iter().map(|row| (row.proto, row.state)).eq([(proto, expected)]), "{rows:?}");
        echoes(&mut served, &tap, proto)?;
        drop(app);
        lab::until("its tuple is free", || Ok(tuples(&mut served.daemon)?.is_empty()))?;
    }
    served.finish()
}

/// What comes for the tuple is the application's, and it may answer.
fn echoes(served: &mut Served, tap: &Tap, proto: Proto) -> Result<()> {
    let load = served.load(PORT, 1, 100);
    let before = served.drain()?;
    tap.send(&as_proto(load.frame(0)?, proto))?;
    let answer = tap.receive(std::time::Instant::now() + std::time::Duration::from_secs(10))?;
    ensure!(answer == Some(as_proto(load.answer(0)?, proto)), "{proto}: {answer:02x?}");
    served.drain()?.moved(&before, &echoed_by_app(1))
}

#[test]
fn mt03_without_a_placeholder_nobody_has_a_tuple_whom_policy_does_not_let() -> Result<()> {
    let id = "mt03_without_a_placeholder_nobody_has_a_tuple_whom_policy_does_not_let";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let more =
        "\n[[stack.policy]]\nuid = 0\nprotocols = [\"udp\", \"sctp\", \"dccp\", \"udplite\"]\n".to_owned();
    let mut served = served(&Config { more, ..Config::default() })?;
    let mut app = app(&served)?;
    for (proto, kind) in RARE {
        let registered = app.register(&format!("{proto} any {PORT}"))?;
        match (is_known(proto, kind), registered) {
            (true, Ok(held)) => app.release(held.number)?,
            (false, Err(refused)) if refused.code == "EACCES" => {}
            (known, other) => anyhow::bail!("{proto}, which this kernel has: {known}: {other:?}"),
        }
        ensure!(tuples(&mut served.daemon)?.is_empty(), "something is left of it");
    }
    drop(app);
    served.finish()
}
