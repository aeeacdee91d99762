//! Two namespaces joined by a veth pair: the wire of every lab.
//!
//! The pair is silent: the kernel sends nothing on it by itself, so a test can state the *whole* counter change. That
//! takes fixed MAC addresses, permanent neighbours, `NOARP` (no ARP, no neighbour discovery, no multicast listener
//! reports for solicited-node groups), no link-local address and no router solicitation. Offloads are off: a veth
//! would otherwise hand over unfinished checksums, packets larger than the wire and tags beside the frame.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, ensure};

use super::netns::Netns;

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Checksum, segmentation, coalescing and VLAN offloads of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// What leaves is what a wire would carry.
    Off,
    /// As the kernel makes a veth: partial checksums, frames beyond the MTU.
    KernelDefault,
}

/// What the kernel says on the wire of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chatter {
    /// Nothing: neighbours are written down.
    Silent,
    /// ARP, neighbour discovery and listener reports, as on any link.
    Ordinary,
}

/// How a pair is made.
#[derive(Clone, Copy, Debug)]
pub struct PairOptions {
    /// Receive and transmit queues of both ends.
    pub queues: u16,
    /// MTU of both ends.
    pub mtu: u32,
    /// Offloads of the peer, whose kernel sends to the served end.
    pub peer_offloads: Offloads,
    /// Offloads of the served end.
    pub served_offloads: Offloads,
    /// What the kernel adds to our packets.
    pub chatter: Chatter,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            mtu: 1500,
            peer_offloads: Offloads::Off,
            served_offloads: Offloads::Off,
            chatter: Chatter::Silent,
        }
    }
}

/// One end of the pair: an interface in a namespace of its own.
#[derive(Debug)]
pub struct End {
    /// The namespace.
    pub netns: Netns,
    /// The interface's name.
    pub ifname: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IPv4 address, in a /24.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, in a /64.
    pub v6: Ipv6Addr,
    /// An IPv4 address of the same network that no kernel has: where a tap's frames come from, so that the OS of this
    /// end drops the answers in silence instead of answering them with ICMP.
    pub tap_v4: Ipv4Addr,
    /// The same for IPv6.
    pub tap_v6: Ipv6Addr,
}

impl End {
    /// The interface's number in its namespace.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn ifindex(&self) -> Result<u32> {
        let index = self.netns.enter(|| nix::net::if_::if_nametoindex(self.ifname.as_str()))?;
        index.with_context(|| format!("no interface {} in {}", self.ifname, self.netns.name()))
    }

    /// Runs a command line in the end's namespace.
    ///
    /// # Errors
    /// The command fails.
    pub fn run(&self, line: &str) -> Result<String> {
        self.netns.run(line)
    }

    /// Frames that the driver's XDP dropped, on all queues since the device was made: by verdict, and aborted ones.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn xdp_drops(&self) -> Result<u64> {
        let statistics = self.run(&format!("ethtool -S {}", self.ifname))?;
        let drops = statistics.lines().filter_map(|line| line.trim().split_once("_xdp_drops: "));
        drops.map(|(_queue, value)| value.parse::<u64>().context("a statistic that is no number")).sum()
    }

    /// Takes the link down, and with it what the kernel forgets then: IPv6 addresses and neighbours.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn down(&self) -> Result<()> {
        self.run(&format!("ip link set {} down", self.ifname)).map(drop)
    }

    fn set_up(&self, other: &Self, chatter: Chatter) -> Result<()> {
        let Self { ifname, v4, v6, .. } = self;
        if chatter == Chatter::Silent {
            self.run(&format!("ip link set {ifname} arp off"))?;
        }
        self.run(&format!("ip link set {ifname} up"))?;
        self.run(&format!("ip addr replace {v4}/24 dev {ifname}"))?;
        self.run(&format!("ip -6 addr replace {v6}/64 dev {ifname} nodad"))?;
        if chatter == Chatter::Silent {
            for address in [IpAddr::from(other.v4), IpAddr::from(other.v6)] {
                self.run(&format!(
                    "ip neigh replace {address} lladdr {} dev {ifname} nud permanent",
                    other.mac
                ))?;
            }
        }
        Ok(())
    }
}

/// Two namespaces joined by a veth pair.
///
/// ```text
///   namespace …-peer                       namespace …-served
///   peer0   10.77.0.1  fd77::1  ─────────  served0   10.77.0.2  fd77::2      octroid serves this end
/// ```
#[derive(Debug)]
pub struct Pair {
    /// The end that Octroi serves.
    pub served: End,
    /// The end that the test's own traffic comes from.
    pub peer: End,
    options: PairOptions,
}

impl Pair {
    /// Makes both namespaces and the pair, and waits until it carries.
    ///
    /// # Errors
    /// `ip` or `ethtool` is missing or refuses.
    pub fn new(options: PairOptions) -> Result<Self> {
        let v4 = |host| Ipv4Addr::new(10, 77, 0, host);
        let v6 = |host: u8| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.into());
        let end = |role: &str, host: u8| -> Result<End> {
            Ok(End {
                netns: Netns::new(role)?,
                ifname: format!("{role}0"),
                mac: Mac([2, 0, 0, 0, 0x77, host]),
                v4: v4(host),
                v6: v6(host),
                tap_v4: v4(100 + host),
                tap_v6: v6(100 + host),
            })
        };
        let pair = Self { peer: end("peer", 1)?, served: end("served", 2)?, options };
        for end in [&pair.served, &pair.peer] {
            for (name, value) in QUIET_IPV6 {
                end.netns.sysctl(name, value)?;
            }
        }
        pair.plug()?;
        Ok(pair)
    }

    /// What the pair was made with.
    #[must_use]
    pub fn options(&self) -> PairOptions {
        self.options
    }

    /// Makes the devices and sets them up: part of [`Pair::new`], and again after [`Pair::unplug`].
    ///
    /// # Errors
    /// `ip` or `ethtool` refuses.
    pub fn plug(&self) -> Result<()> {
        let Self { served, peer, options: PairOptions { queues, mtu, .. } } = self;
        let shape = |end: &End| {
            format!("{} address {} mtu {mtu} numrxqueues {queues} numtxqueues {queues}", end.ifname, end.mac)
        };
        served.run(&format!(
            "ip link add {} type veth peer name {} netns {}",
            shape(served),
            shape(peer),
            peer.netns.name()
        ))?;
        for (end, offloads) in [(served, self.options.served_offloads), (peer, self.options.peer_offloads)] {
            if offloads == Offloads::Off {
                end.run(&format!("ethtool -K {} {NO_OFFLOADS}", end.ifname))?;
            }
        }
        self.settle()
    }

    /// Deletes the devices; the namespaces stay.
    ///
    /// # Errors
    /// They are not there.
    pub fn unplug(&self) -> Result<()> {
        self.served.run(&format!("ip link del {}", self.served.ifname)).map(drop)
    }

    /// Brings both ends up and writes down what a link that was down forgets. Repeating it changes nothing.
    ///
    /// # Errors
    /// `ip` refuses, or the link does not carry.
    pub fn settle(&self) -> Result<()> {
        self.served.set_up(&self.peer, self.options.chatter)?;
        self.peer.set_up(&self.served, self.options.chatter)?;
        for end in [&self.served, &self.peer] {
            // veth has carrier as soon as both ends are up: no waiting.
            let link = end.run(&format!("ip link show {}", end.ifname))?;
            ensure!(link.contains("LOWER_UP"), "{} does not carry: {link}", end.ifname);
        }
        Ok(())
    }
}

/// No link-local address, hence no listener report for its group; no solicitation; no address by advertisement.
const QUIET_IPV6: [(&str, &str); 3] = [
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
];

const NO_OFFLOADS: &str = "rx off tx off sg off tso off gso off gro off rxvlan off txvlan off";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{self, Need};

    #[test]
    fn lab_a_pair_is_silent_and_has_its_queues_at_both_ends() -> Result<()> {
        let Some(_lab) = lab::require("lab_pair", &[Need::Netns])? else { return Ok(()) };
        let pair = Pair::new(PairOptions { queues: 3, ..PairOptions::default() })?;
        for end in [&pair.served, &pair.peer] {
            let shown = end.run(&format!("ip -s -d link show {}", end.ifname))?;
            assert!(shown.contains("numtxqueues 3") && shown.contains("numrxqueues 3"), "{shown}");
            let sent = shown.lines().skip_while(|l| !l.contains("TX:")).nth(1).unwrap_or_default();
            assert!(sent.trim_start().starts_with("0 "), "the kernel sent something by itself: {shown}");
        }
        pair.unplug()?;
        assert!(pair.peer.ifindex().is_err(), "deleting one end deletes both");
        pair.plug()?;
        assert!(pair.peer.ifindex().is_ok());
        Ok(())
    }
}
