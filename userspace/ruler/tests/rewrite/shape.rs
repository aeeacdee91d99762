//! Shapes of packets, made by dice: versions, options, fragments, extension headers, padding.

use super::{
    dice::Dice,
    rule,
    traffic::{Ip, Shape, Transport},
};

pub(crate) fn shape(dice: &mut Dice) -> Shape {
    let words = |dice: &mut Dice| u8::try_from(dice.below(11)).unwrap();
    let ip = if dice.once_in(2) {
        Ip::V4 { words: words(dice), fragment: fragment(dice) }
    } else {
        // Hop-by-hop and destination options; of a fragment header the same bytes say "more to come".
        Ip::V6 { extension: dice.once_in(2).then(|| dice.one_of(&[0, 0, 60, 60, 44])) }
    };
    Shape {
        ip,
        transport: dice.one_of(&[Transport::Tcp, Transport::Udp]),
        tcp_words: words(dice),
        has_maybe: !dice.once_in(10),
        unsummed: dice.once_in(5),
        payload: dice.some(rule::HEAD_LEN, 39, Dice::any_byte),
        padding: dice.some(0, 7, Dice::any_byte),
        addresses: std::array::from_fn(|_| dice.any_byte()),
    }
}

/// Flags and offset: of most, that there is no fragment.
fn fragment(dice: &mut Dice) -> u16 {
    match dice.below(12) {
        0..8 => 0,
        8..10 => 0x4000,
        10 => 0x2000,
        _ => 0x0010,
    }
}

/// One of those that [`super::traffic::is_whole`] says are.
#[allow(dead_code, reason = "tests use it, fuzzing does not")]
pub(crate) fn whole(dice: &mut Dice) -> Shape {
    let shape = shape(dice);
    let ip = match shape.ip {
        Ip::V4 { words, .. } => Ip::V4 { words, fragment: 0 },
        Ip::V6 { extension } => Ip::V6 { extension: extension.filter(|kind| *kind != 44) },
    };
    Shape { ip, unsummed: false, ..shape }
}
