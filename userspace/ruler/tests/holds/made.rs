//! Values of proptest made from bytes: the same bytes give the same value, other bytes another.

use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// The value that these bytes stand for, if they stand for one. All of them choose together: proptest's own way to take its
/// choices from bytes one by one does not end for every strategy.
pub(crate) fn from_bytes<S: Strategy>(strategy: &S, bytes: &[u8]) -> Option<S::Value> {
    let seed = [0_u64, 1, 2, 3].map(|part| hash(part, bytes).to_le_bytes()).concat();
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, random);
    strategy.new_tree(&mut runner).ok().map(|tree| tree.current())
}

/// FNV-1a, from one of several beginnings.
fn hash(part: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(step(0xcbf2_9ce4_8422_2325, &part.to_le_bytes()[0]), step)
}
