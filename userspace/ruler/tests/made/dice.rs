//! Choices, one after another: those that bytes say as long as they last, then those that a number makes for ever.
//!
//! A number alone makes the same choices each time. Of an input every byte says one small choice or a part of a large one,
//! so that whoever changes one byte changes one choice: proptest and a fuzzer look for inputs in this way.
#![allow(dead_code, reason = "each test needs a part of it")]

/// How many bytes of an input are the number that chooses when the others are used up.
const SEED_BYTES: usize = 8;

pub(crate) struct Dice {
    said: Vec<u8>,
    /// How many of those bytes were used.
    used: usize,
    /// Of splitmix64.
    state: u64,
}

impl Dice {
    /// All choices are the number's.
    pub(crate) fn of(number: u64) -> Self {
        Self { said: Vec::new(), used: 0, state: number }
    }

    /// The first eight bytes are a number, zeros where they are missing; the others are choices, and the number makes what
    /// they do not say.
    pub(crate) fn of_input(input: &[u8]) -> Self {
        let (seed, said) = input.split_at(input.len().min(SEED_BYTES));
        let mut number = [0; SEED_BYTES];
        number[..seed.len()].copy_from_slice(seed);
        Self { said: said.to_vec(), used: 0, state: u64::from_le_bytes(number) }
    }

    /// Less than `sides`.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        let bytes = match sides {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        self.choice(bytes) % sides
    }

    pub(crate) fn index(&mut self, sides: usize) -> usize {
        usize::try_from(self.below(u64::try_from(sides).unwrap())).unwrap()
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Any byte.
    pub(crate) fn any_byte(&mut self) -> u8 {
        u8::try_from(self.below(0x100)).unwrap()
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }

    /// At least `least` and at most `most` of what `make` makes.
    pub(crate) fn some<T>(
        &mut self,
        least: usize,
        most: usize,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let count = least + self.index(most - least + 1);
        (0..count).map(|_| make(self)).collect()
    }

    /// What so many bytes say, or a number of splitmix64 if there are not so many.
    fn choice(&mut self, bytes: usize) -> u64 {
        let end = self.used + bytes;
        if let Some(said) = self.said.get(self.used..end) {
            self.used = end;
            return said.iter().fold(0, |choice, byte| choice << 8 | u64::from(*byte));
        }
        self.used = self.said.len();
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
