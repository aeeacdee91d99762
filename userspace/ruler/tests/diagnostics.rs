//! Every diagnostic as people and programs see it.

use std::collections::BTreeSet;

use ruler::bundle::Bundle;
use ruler::compile;
use ruler::dfa;
use ruler::diagnostic::{Diagnostic, text};
use ruler::exec::ladder::{self, Slow};
use ruler::filter::{Limits, Params};
use ruler::rewrite::Bounds;

/// One source for each code, and one for each likely mistake.
const CASES: &[(&str, &str)] = &[
    ("RL001 character", "filter f é * => accept;"),
    ("RL002 no end", "filter f \"abc\n * => accept;"),
    ("RL002 escape", "filter f \"a\\q\" * => accept;"),
    ("RL003 number", "filter f 12ab * => accept;"),
    ("RL003 string", "filter f \"x\"in * => accept;"),
    ("RL004 three numbers", "filter f 192.168.1 * => accept;"),
    ("RL004 star", "filter f 192.168.1.* => accept;"),
    ("RL004 too big", "filter f 192.168.1.256 * => accept;"),
    ("RL005 word", "filter f hx\"00\" * => accept;"),
    ("RL005 content", "filter f mac\"02:00\" * => accept;"),
    ("RL101 item", "filter f byte ] => accept;"),
    ("RL101 definition", "byte * => accept;"),
    ("RL101 size", "filter f 1~* => accept;"),
    ("RL101 end", "filter f"),
    ("RL102 accept", "filter f\n  1 * => accept\n  byte * => reject;"),
    ("RL103 byte", "filter f byte with [a=1] * => accept;"),
    ("RL103 count", "pattern T : a:byte filter f T#2 with [a=1] * => accept;"),
    ("RL104 any", "filter f *#3 => accept;"),
    ("RL206 byte", "filter f byte#12 0x800 * => accept;"),
    ("RL206 bits", "pattern T : a:bit#3 bit#5 filter f T with [a=9~3b] * => accept;"),
    ("RL206 number", "filter f 99999999999999999999 * => accept;"),
    ("RL207 count", "filter f byte#0 * => accept;"),
    ("RL207 range", "filter f 9..3 * => accept;"),
    ("RL207 mask", "filter f 3/2 * => accept;"),
    ("RL402 count", "filter f byte#65536 * => accept;"),
    ("RL901 star", "filter f byte* 42 => accept;"),
    ("RL006 not there", "include \"gone.rli\" filter f * => accept;"),
    ("RL007 cycle", "include \"a.rl\" filter f * => accept;"),
    ("RL104 group", "filter f (byte#?)#2 * => accept;"),
    ("RL201 template", "pattern P : 1 pattern P : 2 filter f P * => accept;"),
    ("RL202 near", "include \"layouts.rli\" filter f Ethernet_IPv4 TPC * => accept;"),
    ("RL202 nothing included", "filter f TCP * => accept;"),
    ("RL203 recursion", "pattern P : byte Q ; pattern Q : P ;"),
    ("RL204 near", "include \"layouts.rli\" filter f IPv4_TCP with [dts=0~4] * => accept;"),
    ("RL205 number", "include \"layouts.rli\" filter f TCP with [dest=80] * => accept;"),
    (
        "RL205 set to",
        "include \"layouts.rli\" filter f t:TCP with [doff=5~4b] * => t with [win=1, csum=0~2];",
    ),
    (
        "RL208 other value",
        "include \"layouts.rli\" filter f Ethernet_IPv4 with [proto=0x86dd~2] * => accept;",
    ),
    ("RL208 excluded", "filter f !(0..255) * => accept;"),
    ("RL209 bits", "filter f bit#12 byte * => accept;"),
    ("RL210 twice", "filter f x:byte x:byte * => accept;"),
    ("RL211 repeated", "filter f (x:byte 1)#3 * => accept;"),
    ("RL212 not before", "filter f data:byte#(n*4) n:byte * => accept;"),
    ("RL212 too wide", "filter f n:byte#2 byte#(n) * => accept;"),
    ("RL301 label", "filter f x:byte#4 * => y;"),
    ("RL302 bits", "filter f x:bit y:bit#7 * => x;"),
    ("RL303 unknown", "filter f x:byte * => zeros(x);"),
    ("RL303 place", "filter f x:(a:byte#2 byte#18) * => x with [a=ipv4_csum()];"),
    ("RL304 overlap", "filter f x:(a:(b:byte) byte) * => x with [a=1, b=2];"),
    ("RL305 varies", "filter f x:(byte#1..2 a:byte) * => x with [a=1];"),
    ("RL401 long", "filter f byte#65535 byte * => accept;"),
    ("RL902 hidden", "include \"layouts.rli\" pattern UDP : byte#8 filter f UDP * => accept;"),
    ("RL903 after any", "filter f\n * => accept;\n byte * => reject;"),
    ("RL903 equal", "filter f\n 1 => accept;\n 1 => reject;"),
    ("RL904 header", "include \"layouts.rli\" filter f Ethernet_IPv4 IPv4_TCP TCP => accept;"),
    ("RL905 IPv4", "include \"layouts.rli\" filter f ih:IPv4 p:* => ih with [ttl=1] p;"),
    ("RL905 UDP", "include \"layouts.rli\" filter f ih:IPv4_UDP u:UDP p:* => ih u with [dest=53~2] p;"),
    ("RL906 IPv4", "include \"layouts.rli\" filter f ih:IPv4 p:* => ih;"),
];

fn code(name: &str) -> &str {
    &name[..5]
}

fn bundle(source: &str) -> Bundle {
    Bundle::new("a.rl", source)
}

fn found(source: &str) -> Vec<Diagnostic> {
    ruler::resolve(&bundle(source)).1
}

#[test]
fn rt03_each_source_gives_the_code_it_is_for() {
    for (name, source) in CASES {
        let found = found(source);
        let codes: Vec<_> = found.iter().map(|found| found.code.to_string()).collect();
        assert_eq!(codes, [code(name)], "{name}:\n{}", text(&bundle(source), &found));
    }
}

#[test]
fn rt03_as_text() {
    let shown: String = CASES
        .iter()
        .map(|(name, source)| format!("# {name}\n{}\n", text(&bundle(source), &found(source))))
        .collect();
    insta::assert_snapshot!("as_text", shown);
}

#[test]
fn rt03_as_json() {
    let all: Vec<_> = CASES.iter().map(|(name, source)| (name, found(source))).collect();
    insta::assert_json_snapshot!("as_json", all);
}

#[test]
fn rt03_limits_say_what_was_given_and_what_is_allowed() {
    let deep = format!("filter f {}byte{} => accept;", "(".repeat(65), ")".repeat(65));
    let long = vec![b' '; (1 << 20) + 1];
    let rules = format!("filter f {}", "1=>accept;".repeat(16_385));
    let templates = "pattern P : 1;".repeat(4_097);
    for (source, given, limit) in [
        (deep.as_bytes(), 65, 64),
        (&long[..], (1 << 20) + 1, 1 << 20),
        (rules.as_bytes(), 16_385, 16_384),
        (templates.as_bytes(), 4_097, 4_096),
    ] {
        let (_, found) = ruler::read("a.rl", source);
        let exceeded: Vec<_> =
            found.iter().filter_map(|found| found.exceeded).map(|over| (over.given, over.limit)).collect();
        assert_eq!(exceeded, [(given, limit)]);
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn the_deepest_nesting_allowed_is_read() {
    let deep = format!("filter f {}byte{} => accept;", "(".repeat(64), ")".repeat(64));
    assert_eq!(ruler::read("a.rl", deep.as_bytes()).1, []);
}

#[test]
fn rt03_reading_ends_after_fifty() {
    let (_, found) = ruler::read("a.rl", "filter f ] ;".repeat(200).as_bytes());
    assert_eq!(found.len(), 50);
}

/// What is said of filters that are right and need too much, and of one without its key.
#[test]
fn rt03_of_compiling_and_binding() {
    const LARGE: &str = "filter f\n  * 1 byte#12 2 * => reject;\n  1 * 3 => accept 3;\n  * => accept;";
    let engines = |slow, arena_bytes| {
        let dfa = dfa::Limits { states: 40, ..dfa::Limits::default() };
        let engines = ladder::Limits { dfa, arena_bytes, slow, ..ladder::Limits::default() };
        Limits { engines, ..Limits::default() }
    };
    let mut all = Vec::new();
    for limits in [engines(Slow::Refused, 8 << 20), engines(Slow::Allowed, 0), engines(Slow::Refused, 0)] {
        all.extend(compile(&bundle(LARGE), &limits).1.into_iter().map(|found| (LARGE, found)));
    }
    let anonymise = "filter f\n  a:byte#4 * => prefix_anon(a);";
    let (mut filters, found) = compile(&bundle(anonymise), &Limits::default());
    assert_eq!(found, []);
    let bounds = Bounds { least: 0, most: 1_514 };
    let error = filters.remove(0).bind(&Params { bounds, key: None }).expect_err("there is no key");
    all.push((anonymise, error.diagnostic().clone()));
    let codes: BTreeSet<String> = all.iter().map(|(_, found)| found.code.to_string()).collect();
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["RL403", "RL404", "RL907"]);
    let shown: String =
        all.iter().map(|(source, found)| text(&bundle(source), std::slice::from_ref(found))).collect();
    insta::assert_snapshot!("of_compiling_as_text", shown);
    insta::assert_json_snapshot!(
        "of_compiling_as_json",
        all.iter().map(|(_, found)| found).collect::<Vec<_>>()
    );
}
