//! An application without a thread of its own: it has its turns in somebody else's loop, and never sleeps.
//!
//! To the daemon it is a session like any other, over the client library and its own memory.
use std::path::Path;

use abi::shm::desc::Form;
use anyhow::Result;
use client::{
    control::request::{LocalAddr, Proto},
    shm::{channel::Channel, tx::TxBurst},
    stack::{Client, Reserve, Stack, StackOptions, Tuple},
};
use octroi_tests::lab::frame::turn_around;

/// Most packets that are answered in one turn.
const ANSWERS: usize = 64;
/// Most packets that a flooder sends in one turn: some at a time, so that it fills its ring and does not hold up the loop.
const FLOOD: usize = 8;

/// The application.
pub(super) struct Lodger {
    /// Its session, which ends with it.
    _stack: Stack,
    channels: Vec<Channel>,
}

impl Lodger {
    /// Opens a session with the daemon whose socket this is, and takes a UDP port of every address.
    pub(super) fn open(socket: &Path, name: &str, port: u16) -> Result<Self> {
        let mut stack = Client::connect(socket)?.open(&StackOptions::named(name))?;
        stack.register(&Tuple::new(Proto::Udp, LocalAddr::Any, port), Reserve::Daemon)?;
        let channels = stack.take_channels();
        Ok(Self { _stack: stack, channels })
    }

    /// Answers what came, as long as there is room for answers; the rest stays in its ring.
    pub(super) fn echo(&mut self) {
        for channel in &mut self.channels {
            let (rx, tx) = channel.split();
            let mut burst = rx.burst(ANSWERS);
            if burst.is_empty() {
                continue;
            }
            let mut answers = tx.burst(burst.len());
            let room = answers.room();
            for (frame, _) in burst.iter().zip(0..room) {
                // What cannot be answered is lost, and the row says so.
                let _ = answer(frame.packet(), frame.l4.saturating_sub(frame.l3), &mut answers);
            }
            burst.truncate(room);
        }
    }

    /// Sends a packet as often as there is room for it, a few in one turn, and gives back unread what came for it.
    pub(super) fn flood(&mut self, packet: &[u8]) {
        for channel in &mut self.channels {
            drop(channel.rx(usize::MAX));
            let mut burst = channel.tx(FLOOD);
            while matches!(burst.push(packet, Form::L3), Ok(Some(()))) {}
        }
    }
}

/// Sends a packet back to where it came from.
fn answer(packet: &[u8], l4: usize, answers: &mut TxBurst<'_>) -> Option<()> {
    let slot = answers.next()?;
    let room = slot.bytes.get_mut(..packet.len())?;
    room.copy_from_slice(packet);
    turn_around(room, l4)?;
    slot.commit(packet.len(), Form::L3).ok()
}
