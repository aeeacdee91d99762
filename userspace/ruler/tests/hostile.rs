//! Whatever the source is, reading it ends, panics nowhere, and points only into the source.

mod scale;
#[path = "holds/source.rs"]
mod source;

use proptest::collection::vec;
use proptest::prelude::*;
use ruler::bundle::Bundle;
use ruler::diagnostic::text;

const VALID: &str = "#! ruler\ninclude \"layouts.rli\"\n\
    pattern P : v:4~4b f:bit#4 | (a:bit#4 b:bit#4) data:byte#(b*4-20) ;\n\
    filter f e:P#2..* ip6\"2001:db8::\"/32 192.168.1.0/24 !(1..5 | 7/7) \"GET \"i hex\"0d 0a\" * => accept 3;\n\
    x:T with [a.b=80~2|!9, c=mac\"02:00:00:00:00:01\"] * => x with [a=len(x), b=1~4le, c=x.d] zero(x) 0#4 class 7; // end\n";

/// Pieces that belong together in programs, in an order that need not.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "filter", "pattern", "include", "with", "[", "]", "(", ")", "|", "!", "*", "#", "~", "=>", ";", ":",
        "..", ".", "/", "1", "2le", "12b", "0x", "\"a\"", "\"", "\\", "hex\"", "192.168", "x", "byte", "bit",
        "accept", "class", "=", ",", " ", "\n", "é", "+", "?",
    ];
    vec(prop::sample::select(words.to_vec()), 0..60).prop_map(|words| words.concat().into_bytes())
}

/// Resolves to a filter without a complaint.
const MEANT: &str = "include \"layouts.rli\"\n\
    pattern Opt : n:byte k:1..9 data:byte#(n*2-2) ;\n\
    pattern Web : TCP with [dest=80~2|8080~2, flags=0x02/0x02] ;\n\
    filter f e:Ethernet_IPv4 i:IPv4_TCP with [ihl=5~4b, src=10.0.0.0/8] t:Web o:Opt#1..3 p:*\n\
      => e with [dst=0#6] i with [src=i.dst, len=len(i, t, p), csum=ipv4_csum()] t with [csum=tcp_csum(i)] p class 7;\n\
    g:(a:bit#4 b:3~4b | c:byte) x:(\"GET \"i | hex\"0d 0a\")#? !(1..5 | 7/7) * => g x zero(g) 0#4;\n";

/// A valid program with some of its bytes replaced, and cut somewhere.
fn mutated(valid: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((0..valid.len(), any::<u8>()), 0..6);
    (changes, 0..=valid.len()).prop_map(move |(changes, length)| {
        let mut source = valid.as_bytes().to_vec();
        for (at, byte) in changes {
            source[at] = byte;
        }
        source.truncate(length);
        source
    })
}

proptest! {
    #![proptest_config(scale::RT03_SOURCES.cases())]

    #[test]
    fn rt03_any_bytes(source in vec(any::<u8>(), 0..200)) {
        source::holds(&source);
    }

    #[test]
    fn rt03_any_order_of_pieces(source in pieces()) {
        source::holds(&source);
    }

    #[test]
    fn rt03_mutated_programs(source in mutated(VALID)) {
        source::holds(&source);
    }

    #[test]
    fn rt03_mutated_meanings(source in mutated(MEANT)) {
        source::holds(&source);
    }

    #[test]
    fn rt03_shuffled_words(source in shuffled()) {
        source::holds(&source);
    }
}

/// A program whose words stand in each other's places: more of it survives reading, so more is resolved.
fn shuffled() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&str> = MEANT.split(' ').collect();
    let count = words.len();
    vec((0..count, 0..count), 0..4).prop_map(move |swaps| {
        let mut words = words.clone();
        for (a, b) in swaps {
            words[a] = words[b];
        }
        words.join(" ").into_bytes()
    })
}

#[test]
fn the_program_that_is_mutated_is_valid() {
    assert_eq!(ruler::read("a.rl", VALID.as_bytes()).1, []);
}

#[test]
fn the_program_whose_words_are_shuffled_has_a_meaning() {
    let bundle = Bundle::new("a.rl", MEANT);
    let (filters, found) = ruler::resolve(&bundle);
    assert_eq!(text(&bundle, &found), "");
    assert_eq!(filters.iter().map(|filter| filter.rules.len()).collect::<Vec<_>>(), [2]);
}
