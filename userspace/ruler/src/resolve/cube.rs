//! Sets of numbers as cubes: some bits fixed, the others free.
//!
//! Any test of a field is a union of cubes, and a cube can be cut at any bit; so a test on some bits can be moved to
//! fields that divide these bits otherwise.

use crate::resolved::{Allowed, Field, Order, Test};

/// Beyond so many cubes a set is not followed further.
pub(super) const CUBES_MAX: usize = 1_024;

/// All numbers whose bits under `mask` are those of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cube {
    pub(super) mask: u64,
    pub(super) value: u64,
}

impl Cube {
    fn and(self, other: Self) -> Option<Self> {
        let agree = (self.value ^ other.value) & self.mask & other.mask == 0;
        agree.then_some(Self { mask: self.mask | other.mask, value: self.value | other.value })
    }

    /// What of it is not in `other`, as cubes that share nothing.
    fn without(self, other: Self) -> Vec<Self> {
        if self.and(other).is_none() {
            return vec![self];
        }
        let mut rest = Vec::new();
        let mut common = self;
        for bit in (0..64).map(|bit| 1u64 << bit).filter(|bit| other.mask & !self.mask & bit != 0) {
            rest.push(Self { mask: common.mask | bit, value: common.value | (!other.value & bit) });
            common = Self { mask: common.mask | bit, value: common.value | (other.value & bit) };
        }
        rest
    }

    /// As a test of a field.
    pub(super) fn test(self) -> Test {
        Test { order: Order::Big, mask: self.mask, first: self.value, last: self.value }
    }
}

/// All numbers of so many bits that pass all of these; `None` if that takes too many cubes to say.
pub(super) fn cubes(all_of: &[Allowed], bits: u8) -> Option<Vec<Cube>> {
    let mut set = vec![Cube { mask: 0, value: 0 }];
    for allowed in all_of {
        set = match allowed {
            Allowed::AnyOf(tests) => {
                let any: Vec<Cube> = tests.iter().flat_map(|test| of_test(*test, bits)).collect();
                // Most pairs share nothing: the work is bounded apart from the result.
                if 64 * CUBES_MAX < any.len().saturating_mul(set.len()) {
                    return None;
                }
                set.iter().flat_map(|cube| any.iter().filter_map(|other| cube.and(*other))).collect()
            }
            Allowed::NoneOf(tests) => {
                for other in tests.iter().flat_map(|test| of_test(*test, bits)) {
                    set = set.into_iter().flat_map(|cube| cube.without(other)).collect();
                    if CUBES_MAX < set.len() {
                        return None;
                    }
                }
                set
            }
        };
    }
    (set.len() <= CUBES_MAX).then_some(set)
}

/// Whether the field may hold any number; in doubt it may.
pub(super) fn is_possible(field: &Field) -> bool {
    let plain = |allowed: &Allowed| matches!(allowed, Allowed::AnyOf(tests) if !tests.is_empty());
    match &field.all_of[..] {
        [] => true,
        [one] if plain(one) => true,
        all_of => cubes(all_of, field.bits).is_none_or(|set| !set.is_empty()),
    }
}

fn of_test(test: Test, bits: u8) -> Vec<Cube> {
    let whole = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let mask = test.mask & whole;
    let (first, last) = (test.first, test.last.min(whole));
    let set = if test.first == test.last {
        // Nothing is equal to what has bits outside the mask.
        if first & !mask == 0 { vec![Cube { mask, value: first }] } else { Vec::new() }
    } else if mask == whole {
        of_range(first, last, whole)
    } else {
        // No value of the language is both masked and a range.
        unreachable!("a test is a range or has a mask")
    };
    match test.order {
        Order::Big => set,
        Order::Little => {
            let swapped = |number: u64| number.swap_bytes() >> (64 - u32::from(bits));
            set.into_iter()
                .map(|cube| Cube { mask: swapped(cube.mask), value: swapped(cube.value) })
                .collect()
        }
    }
}

/// The fewest aligned blocks that cover `first..=last`.
fn of_range(first: u64, last: u64, whole: u64) -> Vec<Cube> {
    let mut set = Vec::new();
    let mut next = Some(first).filter(|first| *first <= last);
    while let Some(start) = next {
        let mut low = 0u64;
        // Grow the block while it stays aligned and inside.
        while low != whole && start & (low << 1 | 1) == 0 && start | (low << 1 | 1) <= last {
            low = low << 1 | 1;
        }
        set.push(Cube { mask: whole & !low, value: start });
        next = (start | low).checked_add(1).filter(|next| *next <= last);
    }
    set
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn test() -> impl Strategy<Value = Test> {
        let range = (any::<u8>(), any::<u8>())
            .prop_map(|(a, b)| (u64::MAX, u64::from(a.min(b)), u64::from(a.max(b))));
        let masked = (any::<u8>(), any::<u8>())
            .prop_map(|(mask, value)| (u64::from(mask), u64::from(value & mask), u64::from(value & mask)));
        let order = prop_oneof![Just(Order::Big), Just(Order::Little)];
        (prop_oneof![range, masked], order).prop_map(|((mask, first, last), order)| Test {
            order,
            mask,
            first,
            last,
        })
    }

    fn allowed() -> impl Strategy<Value = Allowed> {
        prop_oneof![vec(test(), 1..4).prop_map(Allowed::AnyOf), vec(test(), 1..4).prop_map(Allowed::NoneOf)]
    }

    proptest! {
        #[test]
        fn cubes_hold_what_the_tests_allow(all_of in vec(allowed(), 0..4)) {
            let field = Field { bits: 8, all_of, counts: None };
            // Only what overlaps again and again takes too many.
            let Some(set) = cubes(&field.all_of, 8) else {
                prop_assert!(1 < field.all_of.len());
                return Ok(());
            };
            for number in 0..256 {
                let held = set.iter().any(|cube| number & cube.mask == cube.value);
                prop_assert_eq!(held, field.allows(number), "{}", number);
            }
            prop_assert_eq!(is_possible(&field), (0..256).any(|number| field.allows(number)));
        }

        #[test]
        fn ranges_of_many_bits(a in any::<u64>(), b in any::<u64>(), probe in any::<u64>()) {
            let (first, last) = (a.min(b), a.max(b));
            let set = of_range(first, last, u64::MAX);
            for number in [first, last, first.wrapping_sub(1), last.wrapping_add(1), probe] {
                let held = set.iter().filter(|cube| number & cube.mask == cube.value).count();
                prop_assert_eq!(held, usize::from((first..=last).contains(&number)));
            }
        }

        #[test]
        fn order_is_respected(first in any::<u16>(), last in any::<u16>(), number in any::<u16>()) {
            let (first, last) = (first.min(last).into(), first.max(last).into());
            let field = Field {
                bits: 16,
                all_of: vec![Allowed::AnyOf(vec![Test { order: Order::Little, mask: u64::MAX, first, last }])],
                counts: None,
            };
            let set = cubes(&field.all_of, 16).unwrap();
            let held = set.iter().any(|cube| u64::from(number) & cube.mask == cube.value);
            prop_assert_eq!(held, field.allows(number.into()));
        }
    }
}
