//! The HTTP server on smoltcp: a pool of sockets, some listening, the others in conversation.
//!
//! smoltcp has no backlog: a connection needs a socket that listens before its SYN comes. So at least [`BURST`] of them
//! listen, as many as packets are received before the pool is looked after; beyond [`MAX_CONNECTIONS`] sockets, new
//! connections are refused by RST. Peers that are silent for [`PATIENCE`] are given up by smoltcp's own timer.
//!
//! A socket in TIME-WAIT listens again at once. What a host's TIME-WAIT protects against, old duplicates that are taken
//! for a new connection's, is left to the sequence numbers, which begin anywhere; an old segment is answered by RST.
use std::rc::Rc;

use smoltcp::{
    iface::{SocketHandle, SocketSet},
    socket::tcp::{ListenError, Socket, SocketBuffer, State},
    time::Duration,
};

use super::{MAX_CONNECTIONS, PATIENCE, conversation::Conversation, object::Objects};
use crate::user_stack::{BURST, Service};

/// Most sockets that listen: what is closed beyond them is freed.
const MOST_SPARE: usize = 2 * BURST;

/// Received bytes that wait for us: one request, and what comes behind it.
const RX_BYTES: usize = 4096;

/// Bytes that are sent and not acknowledged: a 32 KiB object leaves at once.
const TX_BYTES: usize = 64 << 10;

/// How long an acknowledgement waits for something to travel with.
const ACK_DELAY: Duration = Duration::from_millis(10);

/// The server on one channel.
#[derive(Debug)]
pub struct Http {
    port: u16,
    objects: Rc<Objects>,
    lines: Vec<Line>,
}

/// One socket, and the conversation on it.
#[derive(Debug)]
struct Line {
    socket: SocketHandle,
    talk: Conversation,
}

impl Http {
    /// A server on a port, with its first sockets listening.
    #[must_use]
    pub fn new(port: u16, objects: Rc<Objects>, sockets: &mut SocketSet<'static>) -> Self {
        let mut http = Self { port, objects, lines: Vec::new() };
        http.replenish(sockets, 0);
        http
    }

    /// Lets more sockets listen, if fewer than a burst do.
    fn replenish(&mut self, sockets: &mut SocketSet<'static>, listening: usize) {
        let more = BURST.saturating_sub(listening).min(MAX_CONNECTIONS - self.lines.len());
        for _ in 0..more {
            let buffer = |len| SocketBuffer::new(vec![0; len]);
            let mut socket = Socket::new(buffer(RX_BYTES), buffer(TX_BYTES));
            if listen(&mut socket, self.port).is_ok() {
                self.lines.push(Line { socket: sockets.add(socket), talk: Conversation::default() });
            }
        }
    }
}

impl Service for Http {
    fn attend(&mut self, sockets: &mut SocketSet<'static>) {
        let mut listening = 0;
        for Line { socket, talk } in &mut self.lines {
            let socket = sockets.get_mut::<Socket<'_>>(*socket);
            match socket.state() {
                State::Listen => listening += 1,
                State::SynReceived | State::Closed | State::TimeWait => {}
                _ => converse(socket, talk, &self.objects),
            }
        }
        self.replenish(sockets, listening);
    }

    fn settle(&mut self, sockets: &mut SocketSet<'static>) {
        let is_listening = |line: &&Line| sockets.get::<Socket<'_>>(line.socket).is_listening();
        let mut listening = self.lines.iter().filter(is_listening).count();
        let port = self.port;
        self.lines.retain_mut(|Line { socket: handle, talk }| {
            let socket = sockets.get_mut::<Socket<'_>>(*handle);
            let ended = match socket.state() {
                State::TimeWait => true,
                // One that was aborted still has its RST to send.
                State::Closed => socket.remote_endpoint().is_none(),
                _ => false,
            };
            if !ended {
                return true;
            }
            if listening < MOST_SPARE && listen(socket, port).is_ok() {
                listening += 1;
                talk.reset();
                return true;
            }
            sockets.remove(*handle);
            false
        });
    }
}

/// Lets a socket listen, whatever it did before.
fn listen(socket: &mut Socket<'_>, port: u16) -> Result<(), ListenError> {
    // Nagle's algorithm would hold the end of a reply back until its beginning is acknowledged.
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(PATIENCE.into()));
    socket.set_ack_delay(Some(ACK_DELAY));
    socket.listen(port)
}

/// Lets the peer and the conversation say what they can.
fn converse(socket: &mut Socket<'_>, talk: &mut Conversation, objects: &Objects) {
    loop {
        let sent = send(socket, talk.reply(objects));
        talk.sent(sent);
        let heard = |bytes: &mut [u8]| {
            let taken = talk.take(bytes);
            (taken, taken)
        };
        let heard = if socket.can_recv() { socket.recv(heard).unwrap_or(0) } else { 0 };
        if sent + heard == 0 {
            break;
        }
    }
    if !socket.may_recv() {
        talk.end_of_input();
    }
    if talk.is_over() && socket.may_send() {
        // The acknowledgement of the peer's FIN is the last packet: nothing will come that it could travel with.
        socket.set_ack_delay(None);
        socket.close();
    }
}

/// Sends both pieces, as far as there is room.
fn send(socket: &mut Socket<'_>, pieces: [&[u8]; 2]) -> usize {
    let mut all = 0;
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        let sent = socket.send_slice(piece).unwrap_or(0);
        all += sent;
        if sent < piece.len() {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests;
