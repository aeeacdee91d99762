//! The neighbours of this network namespace: read whole, and one asked for.
//!
//! What we send, the kernel does not see; a neighbour that nothing else speaks to would be forgotten. Whoever is asked
//! for is therefore *managed*: the kernel resolves it and keeps it so.
use std::{io, net::IpAddr};

use nix::libc;

use super::{
    fib::address,
    message::{Builder, Message, find, u16_at, u32_at},
    route::Route,
};

/// A neighbour whose address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The device.
    pub index: u32,
    /// Its IP address.
    pub addr: IpAddr,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Whether it stays known without traffic that the kernel sees.
    pub kept: Kept,
}

/// Whether a neighbour stays known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Permanent, or managed by the kernel.
    Yes,
    /// It ages.
    No,
}

/// Bytes of `struct ndmsg`.
const HEADER: usize = 12;

// `linux/neighbour.h`: numbers of the kernel's ABI that libc does not all name.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_FLAGS_EXT: u16 = 15;
const NTF_USE: u8 = 0x01;
const NTF_PROXY: u8 = 0x08;
const NTF_EXT_MANAGED: u32 = 1;
const NUD_PERMANENT: u16 = 0x80;
/// Reachable, stale, delay, probe, permanent: states in which the kernel itself would send.
const SENDABLE: u16 = 0x02 | 0x04 | 0x08 | 0x10 | NUD_PERMANENT;

impl Route {
    /// Every neighbour that can be sent to.
    ///
    /// # Errors
    /// The kernel refuses or is silent.
    pub fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let mut neighbours = Vec::new();
        let body = |b: Builder| b.raw(&[0; HEADER]);
        self.0.ask(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, body, |message| {
            neighbours.extend(neighbour(message));
        })?;
        Ok(neighbours)
    }

    /// Has the kernel resolve a neighbour, and keep it resolved.
    ///
    /// # Errors
    /// The kernel refuses: the device is gone, or its table is full.
    pub fn resolve(&mut self, index: u32, addr: IpAddr) -> io::Result<()> {
        let body = |b: Builder| wanted(b, index, addr);
        self.0.ask(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE, body, |_| {})
    }
}

fn wanted(builder: Builder, index: u32, addr: IpAddr) -> Builder {
    let mut header = [0; HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[10] = NTF_USE;
    let managed = NTF_EXT_MANAGED.to_ne_bytes();
    match addr {
        IpAddr::V4(v4) => {
            header[0] = libc::AF_INET as u8;
            builder.raw(&header).attribute(NDA_DST, &v4.octets()).attribute(NDA_FLAGS_EXT, &managed)
        }
        IpAddr::V6(v6) => {
            header[0] = libc::AF_INET6 as u8;
            builder.raw(&header).attribute(NDA_DST, &v6.octets()).attribute(NDA_FLAGS_EXT, &managed)
        }
    }
}

fn neighbour(message: &Message<'_>) -> Option<Neighbour> {
    let (&family, flags) = (message.payload.first()?, *message.payload.get(10)?);
    let (index, state) = (u32_at(message.payload, 4)?, u16_at(message.payload, 8)?);
    let attributes = message.payload.get(HEADER..)?;
    if message.kind != libc::RTM_NEWNEIGH || state & SENDABLE == 0 || flags & NTF_PROXY != 0 {
        return None;
    }
    let extended = find(attributes, NDA_FLAGS_EXT).and_then(|flags| u32_at(flags, 0)).unwrap_or(0);
    let kept = state & NUD_PERMANENT != 0 || extended & NTF_EXT_MANAGED != 0;
    Some(Neighbour {
        index,
        addr: address(family, find(attributes, NDA_DST)?)?,
        mac: *find(attributes, NDA_LLADDR)?.first_chunk()?,
        kept: if kept { Kept::Yes } else { Kept::No },
    })
}

#[cfg(test)]
mod tests {
    use super::{super::message::messages, *};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn read(state: u16, flags: u8, extended: u32) -> Option<Neighbour> {
        let mut header = [0; HEADER];
        header[0] = libc::AF_INET as u8;
        header[4..8].copy_from_slice(&5_u32.to_ne_bytes());
        header[8..10].copy_from_slice(&state.to_ne_bytes());
        header[10] = flags;
        let bytes = Builder::new(libc::RTM_NEWNEIGH, 0, 1)
            .raw(&header)
            .attribute(NDA_DST, &[192, 0, 2, 1])
            .attribute(NDA_LLADDR, &MAC)
            .attribute(NDA_FLAGS_EXT, &extended.to_ne_bytes())
            .finish();
        messages(&bytes).next().and_then(|message| neighbour(&message))
    }

    #[test]
    fn those_that_can_be_sent_to_and_whether_they_stay() {
        let known = |kept| Some(Neighbour { index: 5, addr: [192, 0, 2, 1].into(), mac: MAC, kept });
        assert_eq!(read(0x02, 0, 0), known(Kept::No));
        assert_eq!(read(0x04, 0, NTF_EXT_MANAGED), known(Kept::Yes));
        assert_eq!(read(NUD_PERMANENT, 0, 0), known(Kept::Yes));
        for (state, flags) in [(0x01, 0), (0x20, 0), (0x40, 0), (0, 0), (NUD_PERMANENT, NTF_PROXY)] {
            assert_eq!(read(state, flags, 0), None, "state {state:#x}");
        }
    }

    #[test]
    fn a_request_has_the_kernels_form() {
        for (addr, family, len) in [("192.0.2.1", 2, 4), ("2001:db8::1", 10, 16)] {
            let addr: IpAddr = addr.parse().unwrap();
            let bytes = wanted(Builder::new(libc::RTM_NEWNEIGH, 0, 1), 7, addr).finish();
            let message = messages(&bytes).next().unwrap();
            assert_eq!((message.payload[0], message.payload[4], message.payload[10]), (family, 7, NTF_USE));
            let attributes = &message.payload[HEADER..];
            assert_eq!(find(attributes, NDA_DST).map(<[u8]>::len), Some(len));
            assert_eq!(find(attributes, NDA_FLAGS_EXT).and_then(|f| u32_at(f, 0)), Some(NTF_EXT_MANAGED));
        }
    }
}
