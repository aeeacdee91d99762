//! Conditions: a few bytes at a place, read as one number, and which values it may have.
//!
//! A field of the resolved tree becomes conditions that are as alike as can be, so that rules share their tests: bits
//! become a mask, a prefix becomes a range of the whole field. It knows bytes behind a base, never where the base is.

use super::ranges::Ranges;
use crate::resolved::{Allowed, Field, Order, Test};

/// Where a number is read, counted from a base; the order of fields is the order in which tests are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its first byte.
    pub offset: u16,
    /// How many: 1..=8.
    pub bytes: u8,
    /// Whether the last byte comes first.
    pub reading: Reading,
    /// Which bits of the number count; the others are read as 0.
    pub mask: u64,
}

/// How bytes become a number; as [`Order`], with an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// The first byte is the most significant.
    Big,
    /// The first byte is the least significant.
    Little,
}

/// A place and the values that it may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// What is read.
    pub place: Place,
    /// What it may be, after the mask.
    pub allowed: Ranges,
}

impl Place {
    /// The bytes that a field of so many bits covers, if it begins so many bits behind the base; `None` if it lies in
    /// more than eight bytes, which no single number holds.
    #[must_use]
    pub fn of_field(bit: u32, bits: u8) -> Option<Self> {
        let end = bit + u32::from(bits);
        let (offset, last) = (bit / 8, end.checked_sub(1)? / 8);
        let bytes = u8::try_from(last - offset + 1).ok().filter(|bytes| *bytes <= 8)?;
        let mask = ones(bits) << ((last + 1) * 8 - end);
        Some(Self { offset: u16::try_from(offset).ok()?, bytes, reading: Reading::Big, mask })
    }

    /// The byte behind the last that is read.
    #[must_use]
    pub fn end(&self) -> u32 {
        u32::from(self.offset) + u32::from(self.bytes)
    }

    /// How many low bits of the number are not the field's.
    #[must_use]
    pub fn shift(&self) -> u32 {
        self.mask.trailing_zeros() % 64
    }

    /// All bits of its bytes.
    #[must_use]
    pub fn ones(&self) -> u64 {
        ones(self.bytes * 8)
    }

    /// Which bits of another place are known where this one has this value, and what they are; `None` if none is.
    #[must_use]
    pub fn shared_with(&self, other: &Self, value: u64) -> Option<(u64, u64)> {
        if (self.reading, other.reading) != (Reading::Big, Reading::Big) {
            return None;
        }
        // By how many bits the other's number lies further right than ours.
        let right = (i64::from(other.end()) - i64::from(self.end())) * 8;
        let moved = |number: u64| match u32::try_from(right.unsigned_abs()) {
            Ok(bits) if 0 <= right => number.checked_shl(bits).unwrap_or(0),
            Ok(bits) => number.checked_shr(bits).unwrap_or(0),
            Err(_) => 0,
        };
        let known = moved(self.mask) & other.mask;
        (known != 0).then(|| (known, moved(value) & known))
    }

    /// The masked number; `None` if it ends behind the last byte of `packet`, or begins behind it.
    #[must_use]
    pub fn read(&self, packet: &[u8], base: usize) -> Option<u64> {
        let first = base + usize::from(self.offset);
        let bytes = packet.get(first..)?.get(..usize::from(self.bytes))?;
        let number = match self.reading {
            Reading::Big => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
            Reading::Little => bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        };
        Some(number & self.mask)
    }
}

impl Condition {
    /// Whether the bytes of `packet` behind `base` fulfil it; not if they are not there.
    #[must_use]
    pub fn holds(&self, packet: &[u8], base: usize) -> bool {
        self.place.read(packet, base).is_some_and(|number| self.allowed.has(number))
    }

    /// The one string of bytes that it allows, if all their bits count.
    #[must_use]
    pub fn literal(&self) -> Option<u64> {
        self.allowed.only().filter(|_| self.place.mask == self.place.ones())
    }
}

/// A way through a field: conditions that must all hold.
pub type Conjunction = Vec<Condition>;

/// The ways through a field that begins so many bits behind the base: at least one of them must hold. None: it allows
/// no number. `None` as a whole: it lies in more bytes than a number has.
#[must_use]
pub fn of_field(field: &Field, bit: u32) -> Option<Vec<Conjunction>> {
    let place = Place::of_field(bit, field.bits)?;
    let mut ways = vec![Conjunction::new()];
    for allowed in &field.all_of {
        match allowed {
            Allowed::AnyOf(tests) => {
                let arms = any_of(tests, place, field.bits);
                let both = |way: &Conjunction| {
                    let way = way.clone();
                    arms.iter().filter_map(move |arm| with(way.clone(), arm.clone())).collect::<Vec<_>>()
                };
                ways = ways.iter().flat_map(both).collect();
            }
            Allowed::NoneOf(tests) => {
                for test in tests {
                    let Condition { place, allowed } = one(test, place, field.bits);
                    let not = Condition { place, allowed: allowed.complement(place.mask) };
                    ways = ways.into_iter().filter_map(|way| with(way, not.clone())).collect();
                }
            }
        }
    }
    Some(ways)
}

/// The conjunction with one more condition; `None` if nothing is left.
#[must_use]
pub fn with(mut conditions: Conjunction, more: Condition) -> Option<Conjunction> {
    if let Some(same) = conditions.iter_mut().find(|condition| condition.place == more.place) {
        same.allowed = same.allowed.and(&more.allowed);
        return (!same.allowed.is_empty()).then_some(conditions);
    }
    if more.allowed.is_empty() {
        return None;
    }
    if !more.allowed.complement(more.place.mask).is_empty() {
        conditions.push(more);
    }
    Some(conditions)
}

/// Tests of which one must hold: one condition for all those that read the same bits.
fn any_of(tests: &[Test], place: Place, bits: u8) -> Conjunction {
    let mut arms = Conjunction::new();
    for condition in tests.iter().map(|test| one(test, place, bits)) {
        match arms.iter_mut().find(|arm| arm.place == condition.place) {
            Some(arm) => arm.allowed = arm.allowed.or(&condition.allowed),
            None => arms.push(condition),
        }
    }
    arms
}

/// One test, as a condition on its field's place.
fn one(test: &Test, place: Place, bits: u8) -> Condition {
    let (mask, all) = (test.mask & ones(bits), ones(bits));
    let (first, last) = (test.first, test.last.min(all));
    if test.order == Order::Little && 8 < bits {
        return little(place, mask, first, last);
    }
    let ignored = all & !mask;
    if ignored.checked_add(1).is_some_and(u64::is_power_of_two) && mask != 0 {
        // Only high bits count: the same as a range of the whole number, which other tests of it share.
        let first = if first & ignored == 0 { Some(first) } else { (first | ignored).checked_add(1) };
        let range = first.map(|first| (first, last | ignored)).filter(|(first, last)| first <= last);
        return Condition { place, allowed: Ranges::of(range.map(|(f, l)| shifted(f, l, place))) };
    }
    let narrowed = Place { mask: mask << place.shift(), ..place };
    if mask == 0 {
        // The masked number is 0, whatever the packet holds.
        let range = (first == 0).then_some((0, place.mask));
        return Condition { place, allowed: Ranges::of(range) };
    }
    let range = (first <= last).then(|| shifted(first, last, place));
    Condition { place: narrowed, allowed: Ranges::of(range) }
}

/// A range of a field, as a range of the number that its place reads; what lies below the field is read as 0.
fn shifted(first: u64, last: u64, place: Place) -> (u64, u64) {
    (first << place.shift(), last << place.shift())
}

/// A test of whole bytes, the last of which comes first.
fn little(place: Place, mask: u64, first: u64, last: u64) -> Condition {
    if mask == place.ones() && first == last {
        let big = first.swap_bytes() >> (64 - 8 * u32::from(place.bytes));
        return Condition { place, allowed: Ranges::of([(big, big)]) };
    }
    let place = Place { reading: Reading::Little, mask, ..place };
    Condition { place, allowed: Ranges::of([(first, last)]) }
}

/// So many ones, from the least significant bit on.
fn ones(bits: u8) -> u64 {
    u64::MAX.checked_shr(64 - u32::from(bits.min(64))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the field's conditions say of these bytes what the field says.
    #[track_caller]
    fn agree(field: &Field, bit: u32, packet: &[u8]) {
        let ways = of_field(field, bit).unwrap();
        let ours = ways.iter().any(|way| way.iter().all(|condition| condition.holds(packet, 0)));
        let place = Place::of_field(bit, field.bits).unwrap();
        let number = place.read(packet, 0).unwrap() >> place.shift();
        assert_eq!(ours, field.allows(number), "{field:?} at bit {bit} of {packet:x?}: {ways:?}");
    }

    fn test(order: Order, mask: u64, first: u64, last: u64) -> Test {
        Test { order, mask, first, last }
    }

    #[test]
    fn every_number_of_a_narrow_field_is_judged_as_the_field_does() {
        for bits in 1..=6_u8 {
            let all = ones(bits);
            for mask in 0..=all {
                for (first, last) in (0..=all).flat_map(|first| (0..=all).map(move |last| (first, last))) {
                    let tests = vec![test(Order::Big, mask, first, last), test(Order::Big, all, 1, 1)];
                    for allowed in [Allowed::AnyOf(tests.clone()), Allowed::NoneOf(tests.clone())] {
                        let field = Field { bits, all_of: vec![allowed], counts: None };
                        for number in [0, first, last, (first + last) / 2, mask, all] {
                            let packet = u16::try_from(number << (13 - bits)).unwrap().to_be_bytes();
                            agree(&field, 3, &packet);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn little_endian_numbers_and_all_64_bits_are_judged_as_the_field_does() {
        let packet = [1, 2, 3, 4, 5, 6, 7, 8];
        for bits in [16_u8, 24, 32, 64] {
            let all = ones(bits);
            let number = 0x0807_0605_0403_0201 & all;
            for order in [Order::Big, Order::Little] {
                for (mask, first, last) in
                    [(all, number, number), (all, 0, number), (all, number, all), (0xff, 1, 1), (all, 0, all)]
                {
                    let allowed = Allowed::AnyOf(vec![test(order, mask, first, last)]);
                    agree(&Field { bits, all_of: vec![allowed], counts: None }, 0, &packet);
                }
            }
        }
    }

    #[test]
    fn what_two_places_share_is_known_of_both() {
        let packet = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x11];
        let place = |offset, bytes, mask| Place { offset, bytes, reading: Reading::Big, mask };
        let places =
            [place(0, 4, 0xffff_ffff), place(2, 1, 0xf0), place(1, 8, u64::MAX), place(3, 2, 0x3fc0)];
        for (one, other) in places.iter().flat_map(|one| places.iter().map(move |other| (one, other))) {
            let value = one.read(&packet, 0).unwrap();
            if let Some((known, bits)) = one.shared_with(other, value) {
                assert_eq!(other.read(&packet, 0).unwrap() & known, bits, "{one:?} {other:?}");
            }
        }
        assert_eq!(places[0].shared_with(&places[1], 0x1234_5678), Some((0xf0, 0x50)));
        assert_eq!(places[0].shared_with(&places[3], 0x1234_5678), Some((0x3f00, 0x3800)));
        assert_eq!(places[1].shared_with(&places[3], 0x50), None);
    }

    #[test]
    fn a_prefix_is_a_range_and_fields_of_nine_bytes_are_left() {
        let tests = vec![test(Order::Big, 0xffff_ff00, 0xc0a8_0100, 0xc0a8_0100)];
        let field = Field { bits: 32, all_of: vec![Allowed::AnyOf(tests)], counts: None };
        let ways = of_field(&field, 26 * 8).unwrap();
        assert_eq!(ways[0][0].place.mask, 0xffff_ffff);
        assert_eq!(ways[0][0].allowed.as_slice(), [(0xc0a8_0100, 0xc0a8_01ff)]);
        assert!(of_field(&Field { bits: 64, all_of: vec![], counts: None }, 4).is_none());
    }
}
