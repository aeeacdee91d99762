//! The outcome of every packet that XDP saw: one counter each, one name each.
//!
//! The discriminant is the index into the per-CPU map `COUNTERS`; [`XdpCounter::ALL`] is the registry from which
//! the command line, JSON and Prometheus take their names. A packet moves [`XdpCounter::Rx`] and exactly one
//! counter whose role is not [`Role::Note`]:
//!
//! ```text
//! rx = redirect + Σ passed + Σ dropped
//! ```

/// What a counter means in the books (`rx + submitted + created = delivered + transmitted + passed + Σ drops + held`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Packets that came in.
    Rx,
    /// Packets handed on to the next stage of the road: XDP to AF_XDP, never an end.
    Forwarded,
    /// Packets taken from applications and slices.
    Submitted,
    /// Copies and replies made here.
    Created,
    /// Packets that reached a local consumer.
    Delivered,
    /// Packets that left by a port.
    Transmitted,
    /// Packets given to the OS stack.
    Passed,
    /// Packets dropped for the reason that the counter's name gives.
    Dropped,
    /// Packets waiting in a queue now.
    Held,
    /// A remark that is nobody's outcome: never part of a sum.
    Note,
}

/// One row of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Registry name, unique in the whole project, e.g. `xdp.pass_miss`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Its place in the books.
    pub role: Role,
}

/// Index into the per-CPU map `COUNTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum XdpCounter {
    /// Every frame that entered `ingress`.
    Rx,
    /// Redirected to the socket of its queue.
    Redirect,
    /// No tuple matched, of a whole packet or a first fragment: the OS stack's.
    PassMiss,
    /// Destination MAC is not the interface's.
    PassOtherHost,
    /// EtherType is neither IPv4 nor IPv6 (ARP and all others).
    PassEthertype,
    /// Tags are not exactly the interface's VLAN list.
    PassVlan,
    /// A header that the OS will drop: version, lengths, TTL 0.
    PassBadHeader,
    /// A source address that cannot be.
    PassMartian,
    /// More or other IPv6 extension headers than are stepped over.
    PassExtHeader,
    /// A later fragment of no datagram that the fragment map knows.
    PassFragment,
    /// ICMP and ICMPv6 but for errors that quote a tuple whose owner wants them.
    PassIcmp,
    /// A protocol without ports.
    PassProtocol,
    /// A hit whose queue has no socket, and whose tuple says pass.
    PassNoSocket,
    /// The chain of programs was broken.
    JumpMissed,
    /// Ruler finally rejected it: a hit, or any frame where the operator said so.
    RulerReject,
    /// A hit whose queue has no socket, and whose tuple says drop.
    DropNoSocket,
    /// The driver refused metadata; the worker parses again.
    NoMeta,
    /// Metadata could not be removed before a pass: the frame was dropped.
    DropMetaStuck,
    /// A later fragment whose first came too long ago.
    PassFragExpired,
    /// A first fragment of an owned tuple.
    FragFirst,
    /// A later fragment that followed its first.
    FragLater,
    /// A first fragment of an owned tuple that the fragment map had no room for: the later ones will pass.
    FragNotKept,
    /// An ICMP error that quotes an owned tuple, for its owner.
    IcmpError,
    /// Ruler finally accepted it with a code that is the OS stack's.
    RulerPass,
}

impl XdpCounter {
    /// How many there are; the map has [`crate::pins::COUNTER_SLOTS`] entries.
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// Every counter in index order.
    pub const ALL: [Self; 24] = [
        Self::Rx,
        Self::Redirect,
        Self::PassMiss,
        Self::PassOtherHost,
        Self::PassEthertype,
        Self::PassVlan,
        Self::PassBadHeader,
        Self::PassMartian,
        Self::PassExtHeader,
        Self::PassFragment,
        Self::PassIcmp,
        Self::PassProtocol,
        Self::PassNoSocket,
        Self::JumpMissed,
        Self::RulerReject,
        Self::DropNoSocket,
        Self::NoMeta,
        Self::DropMetaStuck,
        Self::PassFragExpired,
        Self::FragFirst,
        Self::FragLater,
        Self::FragNotKept,
        Self::IcmpError,
        Self::RulerPass,
    ];

    /// Name, help and role.
    #[must_use]
    pub const fn desc(self) -> Desc {
        let (name, help, role) = match self {
            Self::Rx => ("xdp.rx", "frames that entered ingress", Role::Rx),
            Self::Redirect => ("xdp.redirect", "frames redirected to an AF_XDP socket", Role::Forwarded),
            Self::PassMiss => ("xdp.pass_miss", "no tuple matched", Role::Passed),
            Self::PassOtherHost => {
                ("xdp.pass_other_host", "destination MAC is not the interface's", Role::Passed)
            }
            Self::PassEthertype => ("xdp.pass_ethertype", "neither IPv4 nor IPv6", Role::Passed),
            Self::PassVlan => ("xdp.pass_vlan", "tags are not the interface's", Role::Passed),
            Self::PassBadHeader => ("xdp.pass_bad_header", "malformed IP header", Role::Passed),
            Self::PassMartian => ("xdp.pass_martian", "impossible source address", Role::Passed),
            Self::PassExtHeader => {
                ("xdp.pass_ext_header", "IPv6 extension header not stepped over", Role::Passed)
            }
            Self::PassFragment => ("xdp.pass_fragment", "later fragment of no known datagram", Role::Passed),
            Self::PassIcmp => ("xdp.pass_icmp", "ICMP or ICMPv6 that is the OS stack's", Role::Passed),
            Self::PassProtocol => ("xdp.pass_protocol", "protocol without ports", Role::Passed),
            Self::PassNoSocket => ("xdp.pass_no_socket", "claimed, no socket, tuple says pass", Role::Passed),
            Self::JumpMissed => ("xdp.jump_missed", "chain of programs broken, frame passed", Role::Passed),
            Self::RulerReject => ("xdp.ruler_reject", "rejected by the header program", Role::Dropped),
            Self::DropNoSocket => {
                ("xdp.drop_no_socket", "claimed, no socket, tuple says drop", Role::Dropped)
            }
            Self::NoMeta => ("xdp.no_meta", "redirected without metadata", Role::Note),
            Self::DropMetaStuck => ("xdp.drop_meta_stuck", "metadata could not be removed", Role::Dropped),
            Self::PassFragExpired => {
                ("xdp.pass_frag_expired", "later fragment, its first came too long ago", Role::Passed)
            }
            Self::FragFirst => ("xdp.frag_first", "first fragments of claimed datagrams", Role::Note),
            Self::FragLater => ("xdp.frag_later", "later fragments of claimed datagrams", Role::Note),
            Self::FragNotKept => {
                ("xdp.frag_not_kept", "claimed datagrams the fragment map had no room for", Role::Note)
            }
            Self::IcmpError => ("xdp.icmp_error", "ICMP errors that quote a claimed tuple", Role::Note),
            Self::RulerPass => {
                ("xdp.ruler_pass", "accepted by the header program for the OS stack", Role::Passed)
            }
        };
        Desc { name, help, role }
    }
}

const _: () = {
    assert!(XdpCounter::COUNT <= crate::pins::COUNTER_SLOTS);
    let mut i = 0;
    while i < XdpCounter::ALL.len() {
        assert!(XdpCounter::ALL[i] as usize == i);
        i += 1;
    }
};
