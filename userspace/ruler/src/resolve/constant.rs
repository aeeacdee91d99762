//! Constants of outputs: a written value as bits.

use super::value::integer_bits;
use crate::syntax::token::Unit;
use crate::syntax::tree::{Extent, Value};

/// The longest constant, in bytes: no packet is longer.
pub(super) const CONSTANT_BYTES_MAX: u64 = 65_535;

/// How many bits the value has, so many times; `None` if it was diagnosed already.
pub(super) fn bits(value: &Value, copies: u64) -> Option<u64> {
    let one = match value {
        Value::Integer(integer) => integer_bits(integer)?.into(),
        Value::Ipv4(..) => 32,
        Value::Ip6(..) => 128,
        Value::Bytes(bytes) | Value::Caseless(bytes) => u64::try_from(bytes.len()).ok()?.checked_mul(8)?,
    };
    one.checked_mul(copies)
}

/// The value, so many times, which are few enough, right-aligned in whole bytes; `None` if it was diagnosed already.
pub(super) fn bytes(value: &Value, copies: u64) -> Option<Vec<u8>> {
    let copies = usize::try_from(copies).ok()?;
    let one = match value {
        Value::Integer(integer) => {
            let width = integer_bits(integer)?;
            let number = integer.first.value;
            if integer.extent != Extent::One || u64::MAX >> (64 - u32::from(width)) < number {
                return None;
            }
            if !width.is_multiple_of(8) {
                return Some(packed(number, width, copies));
            }
            let mut number = number.to_be_bytes()[8 - usize::from(width / 8)..].to_vec();
            if integer.size.is_some_and(|size| size.unit == Unit::LittleEndian) {
                number.reverse();
            }
            number
        }
        Value::Ipv4(address, _) => address.to_vec(),
        Value::Ip6(address, _) => address.to_vec(),
        Value::Bytes(bytes) | Value::Caseless(bytes) => bytes.clone(),
    };
    Some(one.repeat(copies))
}

/// Numbers of so many bits side by side.
fn packed(number: u64, width: u8, copies: usize) -> Vec<u8> {
    let one = (0..width).rev().map(|bit| number >> bit & 1 != 0);
    let all: Vec<bool> = std::iter::repeat_n(one, copies).flatten().collect();
    let mut bytes: Vec<u8> =
        all.rchunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect();
    bytes.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_packed_to_the_right() {
        assert_eq!(packed(0b101, 3, 1), [0b101]);
        assert_eq!(packed(0b101, 3, 3), [0b1, 0b0110_1101]);
        assert_eq!(packed(0xfff, 12, 2), [0xff, 0xff, 0xff]);
    }
}
