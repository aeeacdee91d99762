//! What is refused where, as text, and that whole kinds of frames are looked at and not examples of them.

use super::*;
use crate::{bundle::Bundle, compile, diagnostic::text, filter::Limits};

const TRIALS: &[(&str, &str)] = &[
    ("RL405 RL405", "Ethernet_IPv4 IPv4_TCP * => accept; Ethernet_IPv4 * => reject;"),
    ("RL405", "Ethernet_ARP * => reject; * => accept;"),
    ("RL405", "Ethernet_ARP * => accept; Ethernet_IPv4 * => accept;"),
    ("RL405", "Ethernet_IPv6 IPv6_ICMPv6 ICMPv6 with [type=135] * => reject; * => accept;"),
    // Those of one station, and those to one address.
    ("RL405", "Ethernet_ARP with [src=mac\"02:00:00:00:00:01\"] * => reject; * => accept;"),
    ("RL405", "Ethernet_ARP ARP with [tpa=192.0.2.1] * => reject; * => accept;"),
    // None of these is needed to find a neighbour.
    ("", "Ethernet_IPv6 IPv6_ICMPv6 ICMPv6 with [type=128..132|137] * => reject; * => accept;"),
    ("", "Ethernet_IPv6 IPv6 with [hops=0..254] * => reject; * => accept;"),
    ("", "Ethernet with [proto=0x88cc~2] * => reject; * => accept;"),
    ("", "byte#41 => reject; * => accept;"),
    ("RL405", "byte#42 => reject; * => accept;"),
    (
        "",
        "Ethernet_IPv4 IPv4_TCP * => reject; Ethernet_ARP ARP * => accept; Ethernet_IPv6 * => accept; * => reject;",
    ),
    ("RL908", "Ethernet_IPv4 IPv4_TCP TCP * \"GET\" * => reject; * => accept;"),
    ("RL908 RL406", "Ethernet_IPv4 IPv4_TCP TCP * \"GET\" * => reject; * => accept 7;"),
    ("RL406", "Ethernet_IPv4 IPv4_TCP TCP * \"GET\" * => accept 7; * => accept;"),
    ("", "Ethernet_IPv4 IPv4_TCP * => accept 7; * => accept;"),
];

fn filter(rules: &str) -> (Bundle, Filter) {
    let source = format!("include \"layouts.rli\"\nfilter f\n  {}", rules.replace("; ", ";\n  "));
    let bundle = Bundle::new("a.rl", source);
    let (mut filters, found) = compile(&bundle, &Limits::default());
    let filter = filters.pop().unwrap_or_else(|| panic!("{}", text(&bundle, &found)));
    (bundle, filter)
}

fn codes(found: &[Diagnostic]) -> String {
    found.iter().map(|one| one.code.to_string()).collect::<Vec<_>>().join(" ")
}

const PASS: &[u16] = &[7];

fn attachment(rules: &str) -> Attachment<'static> {
    // A filter that is for RL406 alone is attached in the other scope.
    let scope = if rules.contains("accept 7; * => accept;") { Scope::Steered } else { Scope::Interface };
    Attachment { scope, pass: PASS, ..Attachment::default() }
}

#[test]
fn each_filter_gets_the_codes_it_is_for() {
    for (wanted, rules) in TRIALS {
        let (bundle, filter) = filter(rules);
        let found = check(&filter, &attachment(rules));
        assert_eq!(codes(&found), *wanted, "{rules}\n{}", text(&bundle, &found));
    }
}

#[test]
fn as_text() {
    let shown = TRIALS.iter().filter(|(wanted, _)| !wanted.is_empty()).map(|(_, rules)| {
        let (bundle, filter) = filter(rules);
        text(&bundle, &check(&filter, &attachment(rules)))
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn as_json() {
    let all: Vec<_> = TRIALS.iter().map(|(_, rules)| check(&filter(rules).1, &attachment(rules))).collect();
    insta::assert_json_snapshot!(all);
}

#[test]
fn who_gives_neighbours_up_is_not_asked_again_and_steered_packets_are_not_theirs() {
    let (_, filter) = filter("* => reject;");
    let given_up =
        Attachment { scope: Scope::Interface, neighbours: Neighbours::GivenUp, ..Attachment::default() };
    assert_eq!(check(&filter, &given_up), []);
    assert_eq!(check(&filter, &Attachment::default()), []);
}

#[test]
fn frames_with_the_tags_of_an_interface_find_neighbours_too() {
    let untagged = "Ethernet_ARP * => accept; Ethernet_IPv6 * => accept; ";
    let how = |tags| Attachment { scope: Scope::Interface, tags, ..Attachment::default() };
    let (_, bare) = filter(&format!("{untagged}* => reject;"));
    assert_eq!(codes(&check(&bare, &how(0))), "");
    assert_eq!(codes(&check(&bare, &how(1))), "RL405 RL405");
    let (_, tagged) = filter(&format!("{untagged}Ethernet_VLAN VLAN * => accept; * => reject;"));
    assert_eq!(codes(&check(&tagged, &how(1))), "");
}

/// Every frame of a kind that the filter rejects is found by looking at the kind.
#[test]
fn no_example_is_rejected_that_the_kind_is_not() {
    let mut example = Frames::arp(0).known.iter().map(|(byte, _)| *byte).collect::<Vec<_>>();
    example.resize(60, 0xa5);
    for (wanted, rules) in TRIALS {
        let (_, filter) = filter(rules);
        let Node::Leaf(leaf) = filter.dag.node(filter.dag.eval(&example).leaf) else { panic!("no leaf") };
        let rejected = match filter.dag.decision(leaf) {
            Decision::NoRule => true,
            Decision::Rule(rule, _) => matches!(filter.rules[rule.index()].deed, Deed::Reject(_)),
            Decision::Open => false,
        };
        assert!(!rejected || wanted.contains("RL405"), "{rules}");
    }
}
