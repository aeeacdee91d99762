//! What a written value is, as fields side by side and as bits.
//!
//! Numbers that do not fit, and empty ranges, were diagnosed when the source was read: here they give nothing.

use crate::resolved::{Allowed, Field, Order, Test};
use crate::syntax::token::Unit;
use crate::syntax::tree::{Extent, Integer, Number, Set, Value};

/// Any number of so many bits.
pub(super) fn any(bits: u8) -> Field {
    Field { bits, all_of: Vec::new(), counts: None }
}

/// How many bits a number has; `None` if its size is not one.
pub(super) fn integer_bits(integer: &Integer) -> Option<u8> {
    let bits = match integer.size {
        None => 8,
        Some(size) if size.unit == Unit::Bits => size.count.value,
        Some(size) => size.count.value.checked_mul(8)?,
    };
    u8::try_from(bits).ok().filter(|bits| (1..=64).contains(bits))
}

/// The value as fields; `None` if it was diagnosed already.
pub(super) fn fields(value: &Value) -> Option<Vec<Field>> {
    match value {
        Value::Integer(integer) => {
            let bits = integer_bits(integer)?;
            Some(vec![one_of(bits, test(integer, bits)?)])
        }
        Value::Ipv4(address, prefix) => {
            Some(vec![masked(32, u32::from_be_bytes(*address).into(), prefix_mask(*prefix, 32)?)])
        }
        Value::Ip6(address, prefix) => {
            let mask = prefix_mask(*prefix, 128)?;
            let (high, low) = halves(u128::from_be_bytes(*address));
            let (high_mask, low_mask) = halves(mask);
            Some(vec![masked(64, high, high_mask.into()), masked(64, low, low_mask.into())])
        }
        Value::Bytes(bytes) => Some(bytes.iter().map(|byte| masked(8, (*byte).into(), 0xff)).collect()),
        Value::Caseless(bytes) => Some(bytes.iter().map(|byte| caseless(*byte)).collect()),
    }
}

/// The numbers of a set, as tests of so many bits; `None` if it was diagnosed already.
///
/// The second result is the first number that is wider than that.
pub(super) fn set_tests(set: &Set, bits: u8, too_big: &mut Option<Number>) -> Option<Vec<Test>> {
    match set {
        Set::AnyOf(sets) => {
            let mut all = Vec::new();
            for set in sets {
                all.extend(set_tests(set, bits, too_big)?);
            }
            Some(all)
        }
        Set::Integer(integer) => {
            let limit = u64::MAX >> (64 - u32::from(bits));
            let (Extent::Upto(other) | Extent::Mask(other)) = integer.extent else {
                *too_big = too_big.or((limit < integer.first.value).then_some(integer.first));
                return test(integer, bits).map(|test| vec![test]);
            };
            let wide = [integer.first, other].into_iter().find(|number| limit < number.value);
            *too_big = too_big.or(wide);
            test(integer, bits).map(|test| vec![test])
        }
    }
}

/// Each of `tests` alone is enough.
pub(super) fn one_of(bits: u8, test: Test) -> Field {
    Field { bits, all_of: vec![Allowed::AnyOf(vec![test])], counts: None }
}

fn masked(bits: u8, value: u64, mask: u128) -> Field {
    let whole = u64::MAX >> (64 - u32::from(bits));
    // The mask was cut to so many bits by whoever made it.
    let mask = u64::try_from(mask & u128::from(whole)).unwrap_or(whole);
    if mask == 0 {
        return any(bits);
    }
    let value = value & mask;
    let mask = if mask == whole { u64::MAX } else { mask };
    one_of(bits, Test { order: Order::Big, mask, first: value, last: value })
}

fn caseless(byte: u8) -> Field {
    if byte.is_ascii_alphabetic() { masked(8, byte.into(), 0xdf) } else { masked(8, byte.into(), 0xff) }
}

fn test(integer: &Integer, bits: u8) -> Option<Test> {
    let limit = u64::MAX >> (64 - u32::from(bits));
    let first = Some(integer.first.value).filter(|first| *first <= limit)?;
    let order = match integer.size {
        Some(size) if size.unit == Unit::LittleEndian => Order::Little,
        _ => Order::Big,
    };
    let (mask, last) = match integer.extent {
        Extent::One => (u64::MAX, first),
        Extent::Upto(last) => (u64::MAX, Some(last.value).filter(|last| (first..=limit).contains(last))?),
        Extent::Mask(mask) => (Some(mask.value).filter(|mask| *mask <= limit && first & !mask == 0)?, first),
    };
    Some(Test { order, mask, first, last })
}

fn prefix_mask(prefix: Option<Number>, bits: u32) -> Option<u128> {
    let whole = u128::MAX >> (128 - bits);
    let Some(prefix) = prefix else { return Some(whole) };
    let length = u32::try_from(prefix.value).ok().filter(|length| *length <= bits)?;
    Some(whole & !whole.checked_shr(length).unwrap_or(0))
}

fn halves(number: u128) -> (u64, u64) {
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    (u64::try_from(number >> 64).unwrap_or(u64::MAX), low)
}
