//! The responder on a smoltcp UDP socket.
//!
//! It answers from the address that was asked, as many queries in one go as there is room for replies.
use std::rc::Rc;

use smoltcp::{
    iface::{SocketHandle, SocketSet},
    socket::udp::{BindError, PacketBuffer, PacketMetadata, Socket},
};

use super::{answer::answer, zone::Zone};
use crate::user_stack::{BURST, Service};

/// Datagrams that wait in either direction: no fewer than arrive before they are answered.
const DATAGRAMS: usize = 2 * BURST;

/// Bytes of all of them.
const BYTES: usize = DATAGRAMS * 1500;

/// The responder on one channel.
#[derive(Debug)]
pub struct Responder {
    zone: Rc<Zone>,
    socket: SocketHandle,
}

impl Responder {
    /// A responder on a port.
    ///
    /// # Errors
    /// The port is 0.
    pub fn new(port: u16, zone: Rc<Zone>, sockets: &mut SocketSet<'static>) -> Result<Self, BindError> {
        let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; DATAGRAMS], vec![0; BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.bind(port)?;
        Ok(Self { zone, socket: sockets.add(socket) })
    }
}

impl Service for Responder {
    fn attend(&mut self, sockets: &mut SocketSet<'static>) {
        let socket = sockets.get_mut::<Socket<'_>>(self.socket);
        while socket.can_send() {
            let Ok((query, mut meta)) = socket.recv() else { return };
            let Some(reply) = answer(&self.zone, query) else { continue };
            meta.meta = Default::default();
            // It does not fit the buffer now, or the query's source is nobody: dropped, as any datagram may be.
            let _ = socket.send_slice(&reply, meta);
        }
    }
}
