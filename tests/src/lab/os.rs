//! Connections through both kernels' own stacks: the legacy traffic that Octroi must leave alone.
//!
//! Contents are checked to the last byte. Nothing here is claimed by a target.
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    panic::resume_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{frame::Stamp, ping::Ping, veth::End, veth::Pair};

/// How long an answer may take before it counts as lost: longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that go at once.
const CHUNK: usize = 64 << 10;

/// One TCP connection, both ends ours.
#[derive(Debug)]
pub struct Tcp {
    client: TcpStream,
    server: TcpStream,
    sent: u64,
}

impl Tcp {
    /// Connects `from` to a free port at `address` of `to`.
    ///
    /// # Errors
    /// The stacks do not reach each other.
    pub fn connect(from: &End, to: &End, address: IpAddr) -> Result<Self> {
        let listener = to.netns.enter(|| TcpListener::bind((address, 0)))?.context("cannot listen")?;
        let target = listener.local_addr()?;
        let client = from
            .netns
            .enter(|| TcpStream::connect_timeout(&target, PATIENCE))?
            .with_context(|| format!("no TCP connection to {target}"))?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
            end.set_nodelay(true)?;
        }
        Ok(Self { client, server, sent: 0 })
    }

    /// Carries `bytes` from client to server, and checks every one.
    ///
    /// # Errors
    /// The connection stalls, breaks, or delivers something else.
    pub fn carry(&mut self, bytes: usize) -> Result<()> {
        let Self { client, server, sent } = self;
        let first = *sent;
        *sent += bytes.div_ceil(CHUNK) as u64;
        let chunks = |n: usize| (0..n.div_ceil(CHUNK)).map(move |i| CHUNK.min(n - i * CHUNK));
        thread::scope(|scope| {
            let reader = scope.spawn(move || -> Result<()> {
                let mut buffer = vec![0; CHUNK];
                for (number, len) in (first..).zip(chunks(bytes)) {
                    server.read_exact(&mut buffer[..len]).context("the server waits in vain")?;
                    ensure!(buffer[..len] == chunk(number)[..len], "chunk {number} arrived changed");
                }
                Ok(())
            });
            let written: Result<()> = (first..).zip(chunks(bytes)).try_for_each(|(number, len)| {
                client.write_all(&chunk(number)[..len]).context("cannot write")
            });
            let read = reader.join().unwrap_or_else(|panic| resume_unwind(panic));
            written.and(read)
        })
    }
}

fn chunk(number: u64) -> Vec<u8> {
    Stamp { flow: u32::MAX, sequence: number }.payload(CHUNK)
}

/// A UDP socket of the OS in an end's namespace, at `address` (port 0: any free one), that gives up waiting at last.
///
/// # Errors
/// The address or port is not to be had.
pub fn udp_socket(end: &End, address: SocketAddr) -> Result<UdpSocket> {
    let socket = end.netns.enter(|| UdpSocket::bind(address))?;
    let socket = socket.with_context(|| format!("cannot bind {address}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Does `work` while pings and a TCP connection go on through the served address; none of them may suffer.
///
/// Returns what `work` returned, and how many pings were answered meanwhile.
///
/// # Errors
/// A ping was lost, the connection broke, or `work` failed.
pub fn beside_legacy<T>(pair: &Pair, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let mut tcp = Tcp::connect(&pair.peer, &pair.served, pair.served.v4.into())?;
    let mut ping = Ping::open(&pair.peer.netns, pair.served.v4.into())?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let legacy = scope.spawn(|| -> Result<u64> {
            let mut answered = 0;
            // At least one round, however quick the work is.
            loop {
                ping.once()?;
                tcp.carry(1000)?;
                answered += 1;
                if done.load(Ordering::Relaxed) {
                    return Ok(answered);
                }
            }
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let answered = legacy.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((worked?, answered.context("legacy traffic suffered")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{self, Need, PairOptions};

    #[test]
    fn lab_a_stream_arrives_whole_by_both_families() -> Result<()> {
        let Some(_lab) = lab::require("lab_tcp", &[Need::Netns, Need::RawSockets])? else { return Ok(()) };
        let pair = Pair::new(PairOptions::default())?;
        for address in [IpAddr::from(pair.served.v4), pair.served.v6.into()] {
            let mut tcp = Tcp::connect(&pair.peer, &pair.served, address)?;
            tcp.carry(10 * CHUNK + 1)?;
            tcp.carry(1)?;
        }
        let (carried, pings) = beside_legacy(&pair, || {
            Tcp::connect(&pair.peer, &pair.served, pair.served.v4.into())?.carry(CHUNK)
        })?;
        assert_eq!((carried, 1 <= pings), ((), true));
        Ok(())
    }
}
