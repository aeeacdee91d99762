//! Fields: a few bits, read as one number, and which numbers they may hold.

use super::Counter;

/// Bits side by side, the first the most significant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// How many: 1..=64.
    pub bits: u8,
    /// Each of these must hold; none is any number.
    pub all_of: Vec<Allowed>,
    /// Its value counts the bytes of a later [`super::Pattern::Counted`]; then it has at most eight bits.
    pub counts: Option<Counter>,
}

/// Which numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// At least one of these tests holds.
    AnyOf(Vec<Test>),
    /// None of these tests holds.
    NoneOf(Vec<Test>),
}

/// `first <= (number & mask) && (number & mask) <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// How the bytes become a number.
    pub order: Order,
    /// Which bits of it count.
    pub mask: u64,
    /// The least.
    pub first: u64,
    /// The greatest.
    pub last: u64,
}

/// How bytes become a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first byte, or bit, is the most significant.
    Big,
    /// The first byte is the least significant; for whole bytes only.
    Little,
}

impl Field {
    /// Whether it may hold this number, read in [`Order::Big`].
    #[must_use]
    pub fn allows(&self, number: u64) -> bool {
        self.all_of.iter().all(|allowed| match allowed {
            Allowed::AnyOf(tests) => tests.iter().any(|test| test.holds(number, self.bits)),
            Allowed::NoneOf(tests) => !tests.iter().any(|test| test.holds(number, self.bits)),
        })
    }
}

impl Test {
    /// Whether a number of so many bits, read in [`Order::Big`], passes.
    #[must_use]
    pub fn holds(&self, number: u64, bits: u8) -> bool {
        let number = match self.order {
            Order::Big => number,
            Order::Little => number.swap_bytes() >> (64 - u32::from(bits)),
        };
        (self.first..=self.last).contains(&(number & self.mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_endian_number_is_read_from_its_last_byte() {
        let test = Test { order: Order::Little, mask: u64::MAX, first: 0x0201, last: 0x0201 };
        assert!(test.holds(0x0102, 16));
        assert!(!test.holds(0x0201, 16));
    }
}
