//! Who may register what: rules by user and group, as the configuration states them, and the defaults without one.
//!
//! A policy knows no registration and counts nothing: it answers questions about one caller. The first rule that names
//! the caller decides, and only that one; after all rules of the configuration come the two that always stand:
//!
//! | caller | may |
//! |---|---|
//! | root | everything |
//! | group `octroi` | TCP and UDP, unprivileged ports, every address, [`GROUP_TUPLES`] tuples, [`GROUP_BYTES`] of rings |
//!
//! Everybody else may nothing. A rule that lists ports grants these, privileged ones too: whoever wrote it said so.
//! Where ports are *unprivileged* ones, that is what `net.ipv4.ip_unprivileged_port_start` says when it is asked; a
//! descriptor that the caller has bound itself is a credential for its port, so that then every port will do.
use std::ops::RangeInclusive;

use crate::drr::Weight;
use crate::prefix::Prefix;
use crate::refusal::Denied;
use crate::tuple::{Address, Proto};

/// Tuples that a user of group `octroi` may hold without a rule of its own.
pub const GROUP_TUPLES: usize = 64;

/// Bytes of rings that a user of group `octroi` may have without a rule of its own.
pub const GROUP_BYTES: u64 = 64 << 20;

/// Whose process it is: what `SO_PEERCRED` and `SO_PEERGROUPS` say, never a field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user.
    pub uid: u32,
    /// The effective group and all supplementary ones.
    pub gids: Vec<u32>,
    /// The process that connected, for people to read: it may be gone.
    pub pid: i32,
}

impl Credentials {
    /// Whether this is root, to whom `all` and `force` are kept.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// Whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// One user.
    Uid(u32),
    /// Everybody in a group.
    Gid(u32),
}

/// A permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permission {
    /// No.
    #[default]
    Denied,
    /// Yes.
    Granted,
}

/// Which local ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those that the kernel lets everybody bind.
    Unprivileged,
    /// Those in one of the ranges.
    In(Vec<RangeInclusive<u16>>),
}

/// Which local addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Every one, and `any`.
    All,
    /// Those in one of the prefixes; never `any`, which is more than these.
    In(Vec<Prefix>),
}

/// What the callers that it names may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub who: Who,
    /// Protocols.
    pub protocols: Vec<Proto>,
    /// Local ports.
    pub ports: Ports,
    /// Local addresses.
    pub addresses: Addresses,
    /// Most tuples of one user, over all its sessions.
    pub max_tuples: usize,
    /// Most bytes of rings of one user, over all its sessions.
    pub max_bytes: u64,
    /// Whether its applications may write Ethernet headers.
    pub l2: Permission,
    /// Whether tuples of a protocol that the kernel cannot bind may be had without a placeholder.
    pub unbound: Permission,
    /// The share of each of its channels, when they compete.
    pub weight: Weight,
}

/// What the host's kernel says of ports, read when a tuple is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub unprivileged_port_start: u16,
    /// `net.ipv4.ip_local_port_range`: where port 0 is chosen from.
    pub ephemeral: RangeInclusive<u16>,
    /// Protocols whose sockets it can make.
    pub protocols: Vec<Proto>,
}

/// How the caller shows that it may have a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Not at all: the daemon binds, and could bind anything.
    None,
    /// By a socket that it has bound itself.
    BoundSocket,
}

impl Rule {
    /// Whether these callers may have the tuple.
    ///
    /// # Errors
    /// The part of it that they may not have.
    pub fn permits(
        &self,
        (proto, addr, port): (Proto, Address, u16),
        credential: Credential,
        kernel: &Kernel,
    ) -> Result<(), Denied> {
        if !self.protocols.contains(&proto) {
            return Err(Denied::Protocol);
        }
        if !self.permits_address(addr) {
            return Err(Denied::Address);
        }
        if self.permits_port(port, credential, kernel) { Ok(()) } else { Err(Denied::Port) }
    }

    fn permits_address(&self, addr: Address) -> bool {
        match (&self.addresses, addr) {
            (Addresses::All, _) => true,
            (Addresses::In(prefixes), Address::Is(addr)) => prefixes.iter().any(|p| p.contains(addr)),
            (Addresses::In(_), Address::Any) => false,
        }
    }

    pub(crate) fn permits_port(&self, port: u16, credential: Credential, kernel: &Kernel) -> bool {
        match &self.ports {
            Ports::Unprivileged => {
                credential == Credential::BoundSocket || kernel.unprivileged_port_start <= port
            }
            Ports::In(ranges) => ranges.iter().any(|range| range.contains(&port)),
        }
    }

    fn root() -> Self {
        Self {
            who: Who::Uid(0),
            protocols: Proto::ALL.to_vec(),
            ports: Ports::In(vec![1..=u16::MAX]),
            addresses: Addresses::All,
            max_tuples: usize::MAX,
            max_bytes: u64::MAX,
            l2: Permission::Granted,
            unbound: Permission::Granted,
            weight: Weight::ONE,
        }
    }

    fn group(gid: u32) -> Self {
        Self {
            who: Who::Gid(gid),
            protocols: vec![Proto::Tcp, Proto::Udp],
            ports: Ports::Unprivileged,
            max_tuples: GROUP_TUPLES,
            max_bytes: GROUP_BYTES,
            l2: Permission::Denied,
            unbound: Permission::Denied,
            ..Self::root()
        }
    }
}

/// All rules, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Default for Policy {
    /// Root everything, nobody else anything: the host has no group `octroi`.
    fn default() -> Self {
        Self::new(Vec::new(), None)
    }
}

impl Policy {
    /// The configuration's rules, and after them those that always stand. `group` is the host's group `octroi`.
    #[must_use]
    pub fn new(mut rules: Vec<Rule>, group: Option<u32>) -> Self {
        rules.push(Rule::root());
        rules.extend(group.map(Rule::group));
        Self { rules }
    }

    /// The rule that decides for this caller.
    ///
    /// # Errors
    /// [`Denied::Stranger`]: none does.
    pub fn rule_for(&self, caller: &Credentials) -> Result<&Rule, Denied> {
        let names = |rule: &&Rule| match rule.who {
            Who::Uid(uid) => caller.uid == uid,
            Who::Gid(gid) => caller.gids.contains(&gid),
        };
        self.rules.iter().find(names).ok_or(Denied::Stranger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCTROI: u32 = 990;

    fn kernel() -> Kernel {
        Kernel { unprivileged_port_start: 1024, ephemeral: 32_768..=60_999, protocols: Proto::ALL.to_vec() }
    }

    fn user(uid: u32, gids: &[u32]) -> Credentials {
        Credentials { uid, gids: gids.to_vec(), pid: 1 }
    }

    fn is(addr: &str) -> Address {
        Address::Is(addr.parse().unwrap())
    }

    #[test]
    fn without_rules_root_may_everything_and_the_group_a_little() {
        let policy = Policy::new(Vec::new(), Some(OCTROI));
        let root = policy.rule_for(&user(0, &[])).unwrap();
        let member = policy.rule_for(&user(1000, &[1000, OCTROI])).unwrap();
        assert_eq!(policy.rule_for(&user(1001, &[1001])), Err(Denied::Stranger));
        let asked = |rule: &Rule, what| rule.permits(what, Credential::None, &kernel());
        assert_eq!(asked(root, (Proto::Sctp, Address::Any, 1)), Ok(()));
        assert_eq!(asked(member, (Proto::Udp, Address::Any, 1024)), Ok(()));
        assert_eq!(asked(member, (Proto::Tcp, is("192.0.2.1"), 65_535)), Ok(()));
        assert_eq!(asked(member, (Proto::Udp, Address::Any, 1023)), Err(Denied::Port));
        assert_eq!(asked(member, (Proto::Sctp, Address::Any, 1024)), Err(Denied::Protocol));
        assert_eq!((member.max_tuples, member.max_bytes, member.l2), (64, 64 << 20, Permission::Denied));
        assert_eq!(Policy::default().rule_for(&user(1000, &[OCTROI])), Err(Denied::Stranger));
    }

    #[test]
    fn a_bound_socket_shows_that_its_port_may_be_had_and_a_list_of_ports_does_not_bend() {
        let policy = Policy::new(Vec::new(), Some(OCTROI));
        let member = policy.rule_for(&user(1000, &[OCTROI])).unwrap();
        let https = (Proto::Tcp, Address::Any, 443);
        assert_eq!(member.permits(https, Credential::BoundSocket, &kernel()), Ok(()));
        let listed = Rule { ports: Ports::In(vec![53..=53, 8000..=8999]), ..Rule::group(OCTROI) };
        assert_eq!(listed.permits(https, Credential::BoundSocket, &kernel()), Err(Denied::Port));
        assert_eq!(listed.permits((Proto::Udp, Address::Any, 53), Credential::None, &kernel()), Ok(()));
    }

    #[test]
    fn the_first_rule_that_names_the_caller_decides_alone() {
        let nothing = Rule { protocols: Vec::new(), ..Rule::group(100) };
        let some = Rule {
            who: Who::Uid(1000),
            addresses: Addresses::In(vec!["192.0.2.0/24".parse().unwrap()]),
            ..Rule::group(100)
        };
        let policy = Policy::new(vec![some, nothing], Some(OCTROI));
        let rule = policy.rule_for(&user(1000, &[100, OCTROI])).unwrap();
        let asked = |rule: &Rule, addr| rule.permits((Proto::Udp, addr, 5000), Credential::None, &kernel());
        assert_eq!(asked(rule, is("192.0.2.9")), Ok(()));
        assert_eq!(asked(rule, is("198.51.100.1")), Err(Denied::Address));
        assert_eq!(asked(rule, Address::Any), Err(Denied::Address));
        let rule = policy.rule_for(&user(1001, &[100, OCTROI])).unwrap();
        assert_eq!(asked(rule, is("192.0.2.9")), Err(Denied::Protocol));
    }

    #[test]
    fn a_host_without_privileged_ports_has_none_here() {
        let kernel = Kernel { unprivileged_port_start: 0, ..kernel() };
        let rule = Rule::group(OCTROI);
        assert_eq!(rule.permits((Proto::Udp, Address::Any, 53), Credential::None, &kernel), Ok(()));
    }
}
