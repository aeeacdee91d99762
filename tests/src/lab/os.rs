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

use super::{frame::Stamp, ping::Ping, process, veth::End, veth::Pair};

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

/// What goes on through one address of the served end: pings, a TCP connection, and a UDP server of the OS. Only TCP
/// sends again what is lost.
struct Legacy {
    ping: Ping,
    tcp: Tcp,
    asks: UdpSocket,
    answers: UdpSocket,
}

impl Legacy {
    fn open(pair: &Pair, from: IpAddr, to: IpAddr) -> Result<Self> {
        let (asks, answers) =
            (udp_socket(&pair.peer, (from, 0).into())?, udp_socket(&pair.served, (to, 0).into())?);
        asks.connect(answers.local_addr()?)?;
        let ping = Ping::open(&pair.peer.netns, to)?;
        Ok(Self { ping, tcp: Tcp::connect(&pair.peer, &pair.served, to)?, asks, answers })
    }

    /// One of each; a packet that is lost is an error.
    fn round(&mut self, number: u64) -> Result<()> {
        self.ping.once()?;
        self.tcp.carry(1000)?;
        let (asked, mut heard) = (number.to_be_bytes(), [0; 8]);
        self.asks.send(&asked)?;
        let (_, from) = process::again(|| self.answers.recv_from(&mut heard)).context("no datagram came")?;
        self.answers.send_to(&heard, from)?;
        let mut answer = [0; 8];
        process::again(|| self.asks.recv(&mut answer)).context("no answer to a datagram")?;
        ensure!((heard, answer) == (asked, asked), "datagram {number}: {heard:?}, {answer:?}");
        Ok(())
    }
}

/// Does `work` while pings, TCP connections and a UDP server go on through the served addresses of both families; none
/// of them may suffer.
///
/// Returns what `work` returned, and how many rounds of them there were meanwhile.
///
/// # Errors
/// A ping or a datagram was lost, a connection broke, or `work` failed.
pub fn beside_legacy<T>(pair: &Pair, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    beside(pair, || Ok(()), work)
}

/// The same on a pair whose kernels speak ARP and neighbour discovery: before each round both ends forget each other.
///
/// # Errors
/// As [`beside_legacy`]; and they do not find each other again.
pub fn beside_forgetful_legacy<T>(pair: &Pair, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    // Between two rounds nothing waits for an address: with one that is forgotten its packets would be dropped.
    // What is permanent stays.
    let forget = || {
        let flush = |end: &End| end.run(&format!("ip neigh flush dev {}", end.ifname)).map(drop);
        [&pair.served, &pair.peer].into_iter().try_for_each(flush)
    };
    beside(pair, forget, work)
}

fn beside<T>(
    pair: &Pair,
    before_each: impl Fn() -> Result<()> + Sync,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    let Pair { peer, served, .. } = pair;
    let mut v4 = Legacy::open(pair, peer.v4.into(), served.v4.into())?;
    let mut v6 = Legacy::open(pair, peer.v6.into(), served.v6.into())?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let legacy = scope.spawn(|| -> Result<u64> {
            let mut answered = 0;
            // At least one round, however quick the work is.
            loop {
                before_each()?;
                v4.round(answered).context("IPv4")?;
                v6.round(answered).context("IPv6")?;
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
