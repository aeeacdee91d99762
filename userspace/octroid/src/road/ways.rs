//! Policy routing as stacks have it: the kernel's rules, and what is not followed of them.
//!
//! The packets of a stack are routed as those of a socket that is bound to the interface which has the source address: rules
//! that choose by source, destination and device are followed, with all tables that they lead to. A rule that looks into
//! each packet, or at who sends it, is passed over, and that is said: in the log, in `status` and by `doctor`.
use std::fmt;

use multistack::{
    neighbour::{self, LinkNo, Rules, TableNo},
    prefix::Prefix,
};
use nix::libc;

use crate::netlink::{
    route::Link,
    rule::{Action, Beyond, Family, Marked, Rule, Sense},
};

/// Something of the kernel's routing that stacks do not follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// A rule.
    Rule {
        /// Its priority.
        priority: u32,
        /// What it looks at.
        beyond: Beyond,
    },
    /// An interface is part of a VRF, whose table is not asked.
    Vrf {
        /// The interface's name.
        interface: String,
    },
}

impl Departure {
    /// Its name for scripts, in logs and of the doctor's check.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Rule { .. } => RULES_ID,
            Self::Vrf { .. } => VRF_ID,
        }
    }
}

/// The name of [`Departure::Rule`].
pub const RULES_ID: &str = "route.rules";
/// The name of [`Departure::Vrf`].
pub const VRF_ID: &str = "route.vrf";

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { priority, beyond } => {
                write!(f, "stacks do not follow routing rule {priority}: it looks at {beyond}")
            }
            Self::Vrf { interface } => {
                write!(
                    f,
                    "stacks do not follow the VRF of {interface}: they are routed by the ordinary rules"
                )
            }
        }
    }
}

/// What stacks do not follow of these rules, on these interfaces.
#[must_use]
pub fn departures<'a>(rules: &[Rule], links: impl IntoIterator<Item = &'a Link>) -> Vec<Departure> {
    let mut found: Vec<_> = links
        .into_iter()
        .filter(|link| link.is_in_vrf())
        .map(|link| Departure::Vrf { interface: link.name.clone() })
        .collect();
    found.extend(rules.iter().filter_map(|rule| match (decide(rule), rule.beyond) {
        (Decision::Perhaps, Some(beyond)) => Some(Departure::Rule { priority: rule.priority, beyond }),
        _ => None,
    }));
    found.sort_unstable();
    found.dedup();
    found
}

/// The rules that can be followed. `link` knows served interfaces by their names.
#[must_use]
pub fn rules(kernel: &[Rule], link: &dyn Fn(&str) -> Option<LinkNo>) -> Rules {
    let of = |family| {
        let own = kernel.iter().filter(|rule| rule.family == family);
        own.filter_map(|rule| followed(rule, link)).collect()
    };
    Rules { v4: of(Family::V4), v6: of(Family::V6) }
}

/// Whether packets of stacks are as a rule says, before its addresses and its outgoing device are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Yes,
    /// They are not, whatever else it says.
    No,
    /// That depends on each packet.
    Perhaps,
}

fn decide(rule: &Rule) -> Decision {
    let ours = rule.iif.as_deref().is_none_or(|device| device == "lo");
    match rule.beyond {
        // What it would lead to matters to nobody.
        _ if !ours || rule.unmarked == Marked::Never => Decision::No,
        // Without a VRF none of its packets is one of ours; with one, that is said of the interface.
        Some(Beyond::Vrf) => Decision::No,
        Some(_) => Decision::Perhaps,
        None => Decision::Yes,
    }
}

fn followed(rule: &Rule, link: &dyn Fn(&str) -> Option<LinkNo>) -> Option<neighbour::Rule> {
    let action = match rule.action {
        Action::Look { table, longer_than } => neighbour::Action::Look { table: TableNo(table), longer_than },
        Action::Nowhere => neighbour::Action::Nowhere,
        Action::Nothing => return None,
    };
    let everything = neighbour::Rule { action, ..neighbour::Rule::look(TableNo::MAIN) };
    let oif = rule.oif.as_deref().map(link);
    match (decide(rule), oif, rule.sense) {
        (Decision::Perhaps, ..) => None,
        // It is for no packet of ours, and turned round for every one.
        (Decision::No, ..) | (Decision::Yes, Some(None), _) => {
            (rule.sense == Sense::Others).then_some(everything)
        }
        (Decision::Yes, oif, sense) => {
            let prefix =
                |given: Option<(_, u8)>| given.map(|(addr, bits)| Prefix::new(addr, bits)).transpose();
            Some(neighbour::Rule {
                from: prefix(rule.from).ok()?,
                to: prefix(rule.to).ok()?,
                link: oif.flatten(),
                sense: match sense {
                    Sense::These => neighbour::Sense::These,
                    Sense::Others => neighbour::Sense::Others,
                },
                action,
            })
        }
    }
}

/// Whether addresses of this table's entries are this host's.
#[must_use]
pub fn is_of_host(table: u32) -> bool {
    [libc::RT_TABLE_MAIN, libc::RT_TABLE_DEFAULT, libc::RT_TABLE_LOCAL].map(u32::from).contains(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(priority: u32) -> Rule {
        let action = Action::Look { table: 100, longer_than: None };
        Rule { priority, action, ..Rule::main(Family::V4) }
    }

    fn link(name: &str) -> Option<LinkNo> {
        (name == "eth0").then_some(LinkNo(0))
    }

    fn one(rule: Rule) -> Option<neighbour::Rule> {
        let found = rules(&[rule], &link);
        assert!(found.v6.is_empty());
        found.v4.first().copied()
    }

    #[test]
    fn rules_by_address_and_device_are_followed() {
        let all = neighbour::Rule::look(TableNo(100));
        assert_eq!(one(look(1)), Some(all));
        let from = look(1);
        let from = Rule { from: Some(([192, 0, 2, 1].into(), 32)), iif: Some("lo".into()), ..from };
        assert_eq!(one(from), Some(neighbour::Rule { from: Some("192.0.2.1/32".parse().unwrap()), ..all }));
        let bound = Rule { oif: Some("eth0".into()), ..look(1) };
        assert_eq!(one(bound), Some(neighbour::Rule { link: Some(LinkNo(0)), ..all }));
        let prohibit = Rule { action: Action::Nowhere, ..look(1) };
        assert_eq!(one(prohibit), Some(neighbour::Rule { action: neighbour::Action::Nowhere, ..all }));
        assert_eq!(one(Rule { action: Action::Nothing, ..look(1) }), None);
    }

    #[test]
    fn rules_that_are_never_ours_are_nothing_and_turned_round_everything() {
        for never in [
            Rule { iif: Some("eth1".into()), ..look(1) },
            Rule { oif: Some("eth1".into()), ..look(1) },
            Rule { unmarked: Marked::Never, ..look(1) },
            Rule { beyond: Some(Beyond::Vrf), ..look(1) },
            Rule { unmarked: Marked::Never, beyond: Some(Beyond::Uid), ..look(1) },
        ] {
            assert_eq!(one(never.clone()), None, "{never:?}");
            assert!(departures(std::slice::from_ref(&never), []).is_empty(), "{never:?}");
            let turned = one(Rule { sense: Sense::Others, ..never });
            assert_eq!(turned, Some(neighbour::Rule::look(TableNo(100))));
        }
    }

    #[test]
    fn what_is_not_followed_is_said() {
        let uid = Rule { beyond: Some(Beyond::Uid), ..look(7) };
        assert_eq!(one(uid.clone()), None);
        let twin = Rule { family: Family::V6, ..uid.clone() };
        let slave = Link { name: "eth0".into(), enslaved: "vrf".into(), ..Link::default() };
        let plain = Link { name: "eth1".into(), ..Link::default() };
        let said = departures(&[uid, twin, look(8)], [&slave, &plain]);
        let lines: Vec<_> = said.iter().map(|departure| (departure.id(), departure.to_string())).collect();
        assert_eq!(
            lines,
            [
                (
                    "route.rules",
                    "stacks do not follow routing rule 7: it looks at the user who sends".to_owned()
                ),
                (
                    "route.vrf",
                    "stacks do not follow the VRF of eth0: they are routed by the ordinary rules".to_owned()
                ),
            ]
        );
    }
}
