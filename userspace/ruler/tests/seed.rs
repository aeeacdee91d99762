//! The language's published programs are read as they stand, without a complaint.

use ruler::bundle::Bundle;
use ruler::diagnostic::text;
use ruler::syntax::tree::{Action, Definition};

const SEEDS: [(&str, &str); 5] = [
    (
        "S1",
        "filter udp header:(byte#12 0x800~2 byte#9 17 byte#2) address:(192 168 1 byte) tail:* => header 0#4 tail;",
    ),
    (
        "S2, S3",
        "pattern Ethernet : (dst:byte#6 src:byte#6 proto:byte#2)\n\
         pattern Ethernet_IPv4 : Ethernet with [proto=0x0800~2] filter ether e:Ethernet_IPv4 t:* => e with [src=0#6] t;",
    ),
    ("S4", "include \"layouts.rli\""),
    ("S5", "filter byte42 * 42 b:(byte 42) * => b;"),
    (
        "S6",
        "include \"layouts.rli\"\nfilter www\n  eh:Ethernet_IPv4 ih:IPv4_TCP th:TCP with [dest=80~2] p:*\n  \
         => eh with [e_dest=0#6,e_src=0#6] ih with [src=0~4,dest=0~4] th p;",
    ),
];

#[track_caller]
fn check(source: &str, warnings: &[&str]) {
    let bundle = Bundle::new("a.rl", source);
    let (filters, found) = ruler::resolve(&bundle);
    let codes: Vec<_> = found.iter().map(|found| found.code.to_string()).collect();
    assert_eq!(codes, warnings, "{}", text(&bundle, &found));
    assert_eq!(filters.len(), source.matches("filter ").count());
}

#[test]
fn seeds_resolve_with_no_more_than_the_warnings_they_deserve() {
    for (name, source) in SEEDS {
        check(source, if name == "S6" { &["RL905", "RL905"] } else { &[] });
    }
}

#[test]
fn templates_of_a_file_hide_those_it_includes() {
    check(&format!("{}\n{}", SEEDS[1].1, SEEDS[2].1), &["RL902", "RL902"]);
}

#[test]
fn the_name_of_a_filter_is_not_part_of_its_first_rule() {
    let (tree, _) = ruler::read("a.rl", SEEDS[3].1.as_bytes());
    let [Definition::Filter(name, rules)] = &tree.definitions[..] else { panic!("{tree:?}") };
    assert_eq!((name.text.as_str(), rules.len(), rules[0].pattern.arms[0].len()), ("byte42", 1, 4));
}

#[test]
fn a_forgotten_semicolon_costs_no_rule() {
    let (tree, found) = ruler::read("a.rl", b"filter f 1 * => accept 2\n x:byte * => x\n y:byte => reject");
    let [Definition::Filter(_, rules)] = &tree.definitions[..] else { panic!("{tree:?}") };
    assert_eq!((rules.len(), found.len()), (3, 3));
    assert!(matches!(rules[2].action, Action::Reject(None)));
}

#[test]
fn a_broken_rule_costs_no_other() {
    let (tree, found) =
        ruler::read("a.rl", b"filter f 1 ] => accept; 2 * => accept; 3 => ; pattern P : byte");
    let [Definition::Filter(_, rules), Definition::Template(..)] = &tree.definitions[..] else {
        panic!("{tree:?}")
    };
    assert_eq!((rules.len(), found.len()), (1, 2));
}
