//! Every diagnostic as people and programs see it.

use ruler::diagnostic::text;

/// One source for each code, and one for each likely mistake.
const CASES: [(&str, &str); 26] = [
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
    ("RL103 count", "filter f T#2 with [a=1] * => accept;"),
    ("RL104 any", "filter f *#3 => accept;"),
    ("RL206 byte", "filter f byte#12 0x800 * => accept;"),
    ("RL206 bits", "filter f T with [a=9~3b] * => accept;"),
    ("RL206 number", "filter f 99999999999999999999 * => accept;"),
    ("RL207 count", "filter f byte#0 * => accept;"),
    ("RL207 range", "filter f 9..3 * => accept;"),
    ("RL207 mask", "filter f 3/2 * => accept;"),
    ("RL402 count", "filter f byte#65536 * => accept;"),
    ("RL901 star", "filter f byte* 42 => accept;"),
];

fn code(name: &str) -> &str {
    &name[..5]
}

#[test]
fn each_source_gives_the_code_it_is_for() {
    for (name, source) in CASES {
        let (_, found) = ruler::read(source.as_bytes());
        let codes: Vec<_> = found.iter().map(|found| found.code.to_string()).collect();
        assert_eq!(codes, [code(name)], "{name}:\n{}", text("a.rl", source.as_bytes(), &found));
    }
}

#[test]
fn as_text() {
    let shown: String = CASES
        .iter()
        .map(|(name, source)| {
            format!("# {name}\n{}\n", text("a.rl", source.as_bytes(), &ruler::read(source.as_bytes()).1))
        })
        .collect();
    insta::assert_snapshot!(shown);
}

#[test]
fn as_json() {
    let all: Vec<_> = CASES.iter().map(|(name, source)| (name, ruler::read(source.as_bytes()).1)).collect();
    insta::assert_json_snapshot!(all);
}

#[test]
fn limits_say_what_was_given_and_what_is_allowed() {
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
        let (_, found) = ruler::read(source);
        let exceeded: Vec<_> =
            found.iter().filter_map(|found| found.exceeded).map(|over| (over.given, over.limit)).collect();
        assert_eq!(exceeded, [(given, limit)]);
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn the_deepest_nesting_allowed_is_read() {
    let deep = format!("filter f {}byte{} => accept;", "(".repeat(64), ")".repeat(64));
    assert_eq!(ruler::read(deep.as_bytes()).1, []);
}

#[test]
fn reading_ends_after_fifty() {
    let (_, found) = ruler::read("filter f ] ;".repeat(200).as_bytes());
    assert_eq!(found.len(), 50);
}
