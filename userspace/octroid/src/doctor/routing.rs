//! The checks of routing, in the network namespace this process is in: what stacks follow of it.
use client::control::answer::DoctorRow;

use super::{ok, warn};
use crate::{
    config::settings::Settings,
    netlink::{
        route::{Link, Route},
        rule::Rule,
    },
    road::ways::{self, Departure, RULES_ID, VRF_ID},
};

pub(super) fn examine(settings: &Settings) -> Vec<DoctorRow> {
    let read = Route::open().and_then(|mut route| Ok((route.links()?, route.rules()?)));
    match read {
        Ok((links, rules)) => {
            let served = |link: &&Link| settings.interfaces.iter().any(|i| i.name() == link.name);
            rows(&links.iter().filter(served).collect::<Vec<_>>(), &rules)
        }
        Err(error) => vec![warn(RULES_ID, None, format!("cannot be read: {error}"), "run as root")],
    }
}

fn rows(links: &[&Link], rules: &[Rule]) -> Vec<DoctorRow> {
    let departures = ways::departures(rules, links.iter().copied());
    let of = |id| departures.iter().filter(move |departure| departure.id() == id);
    let mut rows: Vec<DoctorRow> = of(VRF_ID)
        .map(|departure| {
            let Departure::Vrf { interface } = departure else { unreachable!("the id is a VRF's") };
            warn(
                VRF_ID,
                Some(interface),
                departure.to_string(),
                format!("`ip link set {interface} nomaster`"),
            )
        })
        .collect();
    let listed: Vec<String> = of(RULES_ID).map(ToString::to_string).collect();
    rows.push(if listed.is_empty() {
        ok(RULES_ID, None, format!("{} rules, all of which stacks follow", rules.len()))
    } else {
        let fix = "choose the table of a stack by `ip rule add from ADDRESS table N`";
        warn(RULES_ID, None, listed.join("; "), fix)
    });
    rows
}

#[cfg(test)]
mod tests {
    use client::control::answer::Health;

    use super::*;
    use crate::netlink::rule::{Beyond, Family};

    #[test]
    fn what_stacks_do_not_follow_is_one_finding_each() {
        let main = Rule::main(Family::V4);
        let uid = Rule { priority: 5, beyond: Some(Beyond::Uid), ..main.clone() };
        let port = Rule { priority: 6, beyond: Some(Beyond::Port), ..main.clone() };
        let slave = Link { name: "eth0".into(), enslaved: "vrf".into(), ..Link::default() };
        let rows = rows(&[&slave], &[uid, port, main.clone()]);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.id.as_str(), row.subject.as_deref(), row.status)).collect();
        assert_eq!(shown, [("route.vrf", Some("eth0"), Health::Warn), ("route.rules", None, Health::Warn)]);
        assert!(rows[1].detail.contains("rule 5") && rows[1].detail.contains("rule 6"), "{:?}", rows[1]);
        let fine = super::rows(&[&Link::default()], &[main]);
        assert!(fine.len() == 1 && fine[0].status == Health::Ok && fine[0].fix.is_none(), "{fine:?}");
    }
}
