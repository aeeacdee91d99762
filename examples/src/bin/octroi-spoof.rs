//! `octroi-spoof`: an application that lies. It owns one UDP port and claims to be everybody else; then it tells the truth.
//!
//! Every packet says who should have sent it, and none of the lies should arrive anywhere: the daemon compares each with
//! what this session owns, and counts what it refuses under the reason. It does what an attacker without privileges
//! could, and refuses to do more: it needs no capability.
//!
//! ```sh
//! octroi-spoof --listen 192.0.2.1:6000 --to 192.0.2.9:9 --victim tcp/192.0.2.1:80 --victim udp/192.0.2.1:53
//! ```
#![deny(unsafe_code)]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    process::ExitCode,
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use abi::shm::{counter::ChannelCounter, desc::Form, layout::State};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use client::{
    control::request::{LocalAddr, Proto},
    shm::channel::{Channel, Interest},
    stack::{Client, Reserve, StackOptions, Tuple},
};
use octroi_examples::{arguments::Arguments, datagram::Datagram, stop::ended};
use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber};

/// How long the daemon may take to judge what was sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address that nobody of this network has (RFC 5737).
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);

/// Send packets in other people's names, and one in one's own.
#[derive(Debug, Parser)]
#[command(version)]
struct Spoof {
    #[command(flatten)]
    arguments: Arguments,
    /// Whom to send to.
    #[arg(long, value_name = "ADDR:PORT")]
    to: SocketAddrV4,
    /// Whose name to use: tcp/ADDR:PORT or udp/ADDR:PORT of this host. May be repeated.
    #[arg(long, value_name = "PROTO/ADDR:PORT")]
    victim: Vec<Victim>,
    /// Packets of each lie.
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Victim {
    proto: Proto,
    at: SocketAddrV4,
}

impl FromStr for Victim {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (proto, at) = text.split_once('/').context("expected PROTO/ADDR:PORT")?;
        let proto = proto.parse()?;
        ensure!(matches!(proto, Proto::Tcp | Proto::Udp), "tcp or udp");
        Ok(Self { proto, at: at.parse()? })
    }
}

/// Something untrue, and the counter that should hold it.
struct Lie {
    what: String,
    caught_as: ChannelCounter,
    packet: Vec<u8>,
    form: Form,
}

fn main() -> ExitCode {
    ended(run(Spoof::parse()))
}

fn run(arguments: Spoof) -> Result<()> {
    let Spoof { arguments, to, victim: victims, count } = arguments;
    let LocalAddr::Ip(IpAddr::V4(own)) = arguments.listen.addr else {
        bail!("an IPv4 address is needed: packets must say where they come from");
    };
    let mut stack = Client::connect(&arguments.control)?.open(&StackOptions::named("octroi-spoof"))?;
    let tuple = Tuple::new(Proto::Udp, arguments.listen.addr, arguments.listen.port);
    let id = stack.register(&tuple, Reserve::Daemon)?;
    let port = stack.tuples().find(|(known, _)| *known == id).map_or(tuple.port, |(_, it)| it.port);
    let mut channel = stack.take_channels().into_iter().next().context("a session without channels")?;

    let own = SocketAddrV4::new(own, port);
    let lies = lies(own, to, &victims)?;
    println!("octroi-spoof: owns udp {own}; {count} packets of each lie, then one that is true");
    for _ in 0..count {
        lies.iter().try_for_each(|lie| send(&mut channel, &lie.packet, lie.form))?;
    }
    send(&mut channel, &datagram(own, to)?, Form::L3)?;
    judged(&channel, u64::from(count) * lies.len() as u64 + 1)?;

    for lie in &lies {
        println!("  {:<44} {}", lie.what, lie.caught_as.name());
    }
    println!("what the daemon counted:");
    for &counter in ChannelCounter::ALL {
        let value = channel.counter(counter);
        if value != 0 {
            println!("  {:<20} {value:>8}   {}", counter.name(), counter.help().trim());
        }
    }
    Ok(())
}

/// Everything that this program says and that is not so.
fn lies(own: SocketAddrV4, to: SocketAddrV4, victims: &[Victim]) -> Result<Vec<Lie>> {
    let lie =
        |what: &str, caught_as, packet| Lie { what: what.to_owned(), caught_as, packet, form: Form::L3 };
    let honest = datagram(own, to)?;
    let changed = |change: &dyn Fn(&mut Ipv4Packet<&mut [u8]>)| {
        let mut packet = honest.clone();
        let mut ip = Ipv4Packet::new_unchecked(packet.as_mut_slice());
        change(&mut ip);
        ip.fill_checksum();
        packet
    };
    let mut lies = Vec::new();
    for Victim { proto, at } in victims {
        let packet = match proto {
            Proto::Tcp => reset(*at, to)?,
            _ => datagram(*at, to)?,
        };
        lies.push(lie(&format!("from {proto} {at}"), ChannelCounter::TxNotOwner, packet));
    }
    let elsewhere = SocketAddrV4::new(STRANGER, own.port());
    let beside = SocketAddrV4::new(*own.ip(), own.port() ^ 1);
    lies.extend([
        lie("from an address of somebody else", ChannelCounter::TxNotOwner, datagram(elsewhere, to)?),
        lie("from a port that nobody registered", ChannelCounter::TxNotOwner, datagram(beside, to)?),
        lie(
            "to this host's own OS",
            ChannelCounter::TxLocalOs,
            datagram(own, SocketAddrV4::new(*own.ip(), 80))?,
        ),
        lie(
            "to a multicast group",
            ChannelCounter::TxDestination,
            datagram(own, SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353))?,
        ),
        lie("a fragment", ChannelCounter::TxFragment, changed(&|ip| ip.set_more_frags(true))),
        lie(
            "an ICMP message",
            ChannelCounter::TxProtocol,
            changed(&|ip| ip.set_next_header(IpProtocol::Icmp)),
        ),
        lie(
            "longer than it is",
            ChannelCounter::TxMalformed,
            changed(&|ip| ip.set_total_len(ip.total_len() + 1)),
        ),
        Lie {
            form: Form::L2,
            ..lie("with an Ethernet header of its own", ChannelCounter::TxDesc, honest.clone())
        },
    ]);
    Ok(lies)
}

fn datagram(from: SocketAddrV4, to: SocketAddrV4) -> Result<Vec<u8>> {
    let datagram = Datagram { from: SocketAddr::V4(from), to: SocketAddr::V4(to), payload: b"it is me" };
    let mut packet = vec![0; 64];
    let len = datagram.write(&mut packet).context("a datagram does not fit")?;
    packet.truncate(len);
    Ok(packet)
}

/// The TCP segment that ends somebody's connection, if its number is right.
fn reset(from: SocketAddrV4, to: SocketAddrV4) -> Result<Vec<u8>> {
    const TCP: usize = 20;
    let mut packet = datagram(from, to)?;
    packet.resize(20 + TCP, 0);
    let mut ip = Ipv4Packet::new_unchecked(packet.as_mut_slice());
    ip.set_total_len(20 + TCP as u16);
    ip.set_next_header(IpProtocol::Tcp);
    ip.fill_checksum();
    let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
    tcp.clear_flags();
    tcp.set_src_port(from.port());
    tcp.set_dst_port(to.port());
    tcp.set_seq_number(TcpSeqNumber(1));
    tcp.set_ack_number(TcpSeqNumber(0));
    tcp.set_header_len(TCP as u8);
    tcp.set_rst(true);
    tcp.set_window_len(0);
    tcp.set_urgent_at(0);
    tcp.fill_checksum(&IpAddr::V4(*from.ip()).into(), &IpAddr::V4(*to.ip()).into());
    Ok(packet)
}

fn send(channel: &mut Channel, packet: &[u8], form: Form) -> Result<()> {
    while channel.tx(1).push(packet, form)?.is_none() {
        let ready = channel.wait(Interest::Tx, Some(PATIENCE))?;
        ensure!(ready.session != State::Revoked, "the session was revoked");
        ensure!(ready.tx != 0, "the daemon takes nothing");
    }
    Ok(())
}

/// Waits until the daemon has taken so many packets.
fn judged(channel: &Channel, packets: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while channel.counter(ChannelCounter::TxRead) < packets {
        ensure!(Instant::now() < deadline, "the daemon does not take what was sent");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
