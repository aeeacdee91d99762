//! Whatever the source is, reading it ends, panics nowhere, and points only into the source.

use proptest::collection::vec;
use proptest::prelude::*;

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

/// A valid program with some of its bytes replaced, and cut somewhere.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((0..VALID.len(), any::<u8>()), 0..6);
    (changes, 0..=VALID.len()).prop_map(|(changes, length)| {
        let mut source = VALID.as_bytes().to_vec();
        for (at, byte) in changes {
            source[at] = byte;
        }
        source.truncate(length);
        source
    })
}

fn holds(source: &[u8]) -> Result<(), TestCaseError> {
    let (_, found) = ruler::read(source);
    for one in &found {
        prop_assert!(one.span.start <= one.span.end && one.span.end <= source.len(), "{:?}", one);
    }
    prop_assert!(found.len() <= 50);
    // Showing them must not panic either.
    ruler::diagnostic::text("a.rl", source, &found);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(source in vec(any::<u8>(), 0..200)) {
        holds(&source)?;
    }

    #[test]
    fn any_order_of_pieces(source in pieces()) {
        holds(&source)?;
    }

    #[test]
    fn mutated_programs(source in mutated()) {
        holds(&source)?;
    }
}

#[test]
fn the_program_that_is_mutated_is_valid() {
    assert_eq!(ruler::read(VALID.as_bytes()).1, []);
}
