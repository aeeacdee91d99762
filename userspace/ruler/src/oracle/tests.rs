//! What the oracle says of patterns small enough to be judged by eye, and where it gives up.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::bundle::Bundle;

fn filter(source: &str) -> Filter {
    let (mut filters, found) = crate::resolve(&Bundle::new("a.rl", source));
    assert_eq!(filters.len(), 1, "{found:?}");
    filters.remove(0)
}

/// The rule, and by label its bytes, `-` for one that is not bound.
#[track_caller]
fn check(source: &str, packet: &[u8], expected: Option<(u16, &str)>) {
    let filter = filter(source);
    let found = judge(&filter, packet).unwrap().map(|found| {
        let names = filter.rules[found.rule.index()].labels.iter().map(|label| &label.name);
        let labels = names.zip(&found.labels).map(|(name, bytes)| match bytes {
            Some(bytes) => format!("{name}={bytes:?}"),
            None => format!("{name}=-"),
        });
        (found.rule.0, labels.collect::<Vec<_>>().join(" "))
    });
    assert_eq!(found, expected.map(|(rule, labels)| (rule, labels.to_owned())));
}

#[test]
fn the_first_rule_that_matches_the_whole_packet_wins() {
    let source = "filter f 1 => accept; 1 2 3 => accept; 1 * => accept;";
    check(source, &[1], Some((0, "")));
    check(source, &[1, 2, 3], Some((1, "")));
    check(source, &[1, 2], Some((2, "")));
    check(source, &[], None);
}

#[test]
fn fewer_bytes_and_earlier_arms_are_preferred_but_never_at_the_price_of_the_match() {
    check("filter f * x:byte * => x;", &[5, 6, 7], Some((0, "x=0..1")));
    check("filter f * x:byte => x;", &[5, 6, 7], Some((0, "x=2..3")));
    check("filter f (x:byte | y:byte#2) * => x y;", &[5, 6], Some((0, "x=0..1 y=-")));
    check("filter f (x:byte | y:byte#2) => x y;", &[5, 6], Some((0, "x=- y=0..2")));
    check("filter f x:byte#2..4 y:* => x y;", &[1; 6], Some((0, "x=0..2 y=2..6")));
    check("filter f x:7#+ y:7#* => x y;", &[7; 3], Some((0, "x=0..1 y=1..3")));
    check("filter f x:7#? y:byte => x y;", &[7, 7], Some((0, "x=0..1 y=1..2")));
    check("filter f x:7#? y:byte => x y;", &[7], Some((0, "x=0..0 y=0..1")));
}

#[test]
fn what_was_bound_on_a_way_that_failed_is_forgotten() {
    check("filter f (x:1 2 | y:1 3) => x y;", &[1, 3], Some((0, "x=- y=0..1")));
    check("filter f (n:bit#8 byte#(n) 9 | byte#3) t:* => t;", &[1, 2, 3, 4], Some((0, "t=3..4")));
}

#[test]
fn a_length_from_a_field_takes_as_much_as_it_says() {
    let source = "filter f n:byte x:byte#(n*2-1) * => x;";
    check(source, &[2, 1, 1, 1, 9], Some((0, "x=1..4")));
    check(source, &[2, 1, 1], None);
    check(source, &[0, 1, 1], None);
}

#[test]
fn little_endian_ranges_and_masks_are_read_as_they_are_written() {
    check("filter f 0x0100..0x0101~2le => accept;", &[1, 1], Some((0, "")));
    check("filter f 0x0100..0x0101~2le => accept;", &[2, 1], None);
    check("filter f 0x40/0xf0 => accept;", &[0x4a], Some((0, "")));
    check("filter f !(1|2) => accept;", &[2], None);
}

#[test]
fn the_longest_packet_needs_no_stack() {
    let source = "filter f x:(1 | 2)#* y:(3 | 4 5)#* z:9 => x y z;";
    let packet = [vec![2; 30_000], [4, 5].repeat(17_767), vec![9]].concat();
    assert_eq!(packet.len(), 65_535);
    check(source, &packet, Some((0, "x=0..30000 y=30000..65534 z=65534..65535")));
    check(source, &packet[..65_534], None);
}

#[test]
fn too_many_ways_are_given_up() {
    let filter = filter("filter f * 1 * 1 * 1 * 2 => accept;");
    assert_eq!(judge(&filter, &[1; 1_000]), Err(GivesUp { limit: STEPS_MAX }));
    assert_eq!(judge(&filter, &[1; 20]), Ok(None));
}
