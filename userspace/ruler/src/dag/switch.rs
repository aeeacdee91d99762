//! Switch trees: a PROBE as a tree of two-way tests, as code has them.
//!
//! Two shapes compete. The *bit tree* asks for single bits, each time the one that sends the most default values the same
//! way, so that most values reach the default after few tests: the default is promoted towards the root. The *compare
//! tree* asks for equality or order. The cheaper one wins, by the tests that a value needs on average.

use super::{Case, NodeId, Probe, condition::Place};

/// Fields of at most so many bits may become bit trees.
pub const BIT_TREE_BITS_MAX: u32 = 8;
/// At most so many equal values are asked for one by one.
pub const EQUALITIES_MAX: usize = 4;

/// How often each value of a field comes, by value; for fields of at most eight bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile([u32; 256]);

impl Profile {
    /// All values as often.
    pub const EQUAL: Self = Self([1; 256]);

    /// So often, by value.
    #[must_use]
    pub fn new(weights: [u32; 256]) -> Self {
        Self(weights)
    }
}

/// Tests, and where they lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// No further test.
    Done(NodeId),
    /// Whether this bit of the number is set.
    Bit {
        /// A power of two.
        bit: u64,
        /// If so.
        set: Box<Tree>,
        /// If not.
        clear: Box<Tree>,
        /// Which of them stands right behind the test in code: the one with more default values.
        through: Through,
    },
    /// Whether the number is this.
    Equal {
        /// The number.
        value: u64,
        /// If so.
        yes: NodeId,
        /// If not: right behind the test.
        no: Box<Tree>,
    },
    /// Whether the number is at least this.
    AtLeast {
        /// The number.
        value: u64,
        /// If so.
        yes: Box<Tree>,
        /// If not: right behind the test.
        no: Box<Tree>,
    },
}

/// Which side of a bit test needs no jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// The bit is set.
    Set,
    /// It is not.
    Clear,
}

/// The cheapest tree for a probe.
#[must_use]
pub fn cheapest(probe: &Probe, profile: &Profile) -> Tree {
    let compares = compare_tree(probe);
    if BIT_TREE_BITS_MAX < probe.place.mask.count_ones() || 4 < probe.place.bytes {
        return compares;
    }
    let bits = bit_tree(probe);
    let cost = |tree: &Tree| (tree.tests(probe.place, profile), tree.instructions());
    if cost(&bits) < cost(&compares) { bits } else { compares }
}

/// The bit tree of a probe; its field should be narrow, as it looks at every value.
#[must_use]
pub fn bit_tree(probe: &Probe) -> Tree {
    split(probe, Cube { tested: 0, bits: 0 })
}

/// The numbers that have these bits where bits were tested.
#[derive(Clone, Copy)]
struct Cube {
    tested: u64,
    bits: u64,
}

impl Cube {
    fn with(self, bit: u64, side: Through) -> Self {
        let bits = if side == Through::Set { self.bits | bit } else { self.bits };
        Self { tested: self.tested | bit, bits }
    }

    /// Its numbers, of those that a mask lets through, from the least on.
    fn numbers(self, mask: u64) -> impl Iterator<Item = u64> {
        let free = mask & !self.tested;
        (0..1_u64 << free.count_ones()).map(move |index| self.bits | deposit(index, free))
    }

    fn defaults(self, probe: &Probe) -> usize {
        self.numbers(probe.place.mask).filter(|number| probe.to(*number) == probe.default).count()
    }
}

fn split(probe: &Probe, cube: Cube) -> Tree {
    let mask = probe.place.mask;
    let first = probe.to(cube.bits);
    if cube.numbers(mask).all(|number| probe.to(number) == first) {
        return Tree::Done(first);
    }
    let bits = (0..64).map(|bit| 1_u64 << bit).filter(|bit| mask & !cube.tested & bit != 0);
    let matters =
        |bit: &u64| cube.with(*bit, Through::Clear).numbers(mask).any(|n| probe.to(n) != probe.to(n | bit));
    let count = |bit: u64| {
        [Through::Set, Through::Clear].map(|side| (cube.with(bit, side).defaults(probe), side, bit))
    };
    // Of equal bits the lowest, of equal sides the clear one: `max_by_key` takes the last.
    let best = bits.filter(matters).collect::<Vec<_>>().into_iter().rev().flat_map(count).max_by_key(|c| c.0);
    let Some((_, through, bit)) = best else {
        unreachable!("a bit that matters tells different numbers apart")
    };
    Tree::Bit {
        bit,
        set: Box::new(split(probe, cube.with(bit, Through::Set))),
        clear: Box::new(split(probe, cube.with(bit, Through::Clear))),
        through,
    }
}

/// The compare tree of a probe: few values one by one, else halves.
#[must_use]
pub fn compare_tree(probe: &Probe) -> Tree {
    let single = probe.cases.iter().all(|case| case.first == case.last);
    if single && probe.cases.len() <= EQUALITIES_MAX {
        let end = Tree::Done(probe.default);
        let chain = |no, case: &Case| Tree::Equal { value: case.first, yes: case.to, no: Box::new(no) };
        return probe.cases.iter().rev().fold(end, chain);
    }
    let mut pieces: Vec<Case> = Vec::with_capacity(2 * probe.cases.len() + 1);
    let mut next = Some(0);
    for case in &probe.cases {
        if let Some(first) = next.filter(|first| *first < case.first) {
            pieces.push(Case { first, last: case.first - 1, to: probe.default });
        }
        pieces.push(*case);
        next = case.last.checked_add(1).filter(|next| *next <= probe.place.mask);
    }
    pieces.extend(next.map(|first| Case { first, last: probe.place.mask, to: probe.default }));
    halves(&pieces)
}

fn halves(pieces: &[Case]) -> Tree {
    match pieces {
        [] => unreachable!("a place has values"),
        [only] => Tree::Done(only.to),
        [low, middle, high] if middle.first == middle.last && low.to == high.to => {
            Tree::Equal { value: middle.first, yes: middle.to, no: Box::new(Tree::Done(low.to)) }
        }
        _ => {
            let (low, high) = pieces.split_at(pieces.len() / 2);
            let value = high.first().map_or(0, |piece| piece.first);
            Tree::AtLeast { value, yes: Box::new(halves(high)), no: Box::new(halves(low)) }
        }
    }
}

impl Tree {
    /// Where a number leads, and after how many tests.
    #[must_use]
    pub fn find(&self, number: u64) -> (NodeId, u32) {
        let (mut tree, mut tests) = (self, 0);
        loop {
            let next = match tree {
                Self::Done(to) => return (*to, tests),
                Self::Bit { bit, set, clear, .. } => {
                    if number & bit == 0 {
                        clear
                    } else {
                        set
                    }
                }
                Self::Equal { value, yes, .. } if *value == number => return (*yes, tests + 1),
                Self::Equal { no, .. } => no,
                Self::AtLeast { value, yes, no } => {
                    if *value <= number {
                        yes
                    } else {
                        no
                    }
                }
            };
            (tree, tests) = (next, tests + 1);
        }
    }

    /// Whether a test asks for order, which needs the number in this machine's order of bytes.
    #[must_use]
    pub fn asks_for_order(&self) -> bool {
        match self {
            Self::Done(_) => false,
            Self::Bit { set, clear, .. } => set.asks_for_order() || clear.asks_for_order(),
            Self::Equal { no, .. } => no.asks_for_order(),
            Self::AtLeast { .. } => true,
        }
    }

    /// The tests of all values of a narrow field together, each as often as it comes.
    #[must_use]
    pub fn tests(&self, place: Place, profile: &Profile) -> u64 {
        let weights = (0_u64..).zip(profile.0).take(1 << place.mask.count_ones().min(BIT_TREE_BITS_MAX));
        weights
            .map(|(value, often)| u64::from(often) * u64::from(self.find(deposit(value, place.mask)).1))
            .sum()
    }

    /// How many instructions it becomes where it is not jumped to.
    #[must_use]
    pub fn instructions(&self) -> usize {
        match self {
            // A jump.
            Self::Done(_) => 1,
            Self::Bit { set, clear, through: Through::Clear, .. } => {
                1 + clear.instructions() + set.behind_jump()
            }
            // There is no test for a clear bit: the test jumps over a jump.
            Self::Bit { set, clear, through: Through::Set, .. } => {
                2 + set.instructions() + clear.behind_jump()
            }
            Self::Equal { no, .. } => 1 + no.instructions(),
            Self::AtLeast { yes, no, .. } => 1 + no.instructions() + yes.behind_jump(),
        }
    }

    /// How many it becomes where a jump leads to it.
    fn behind_jump(&self) -> usize {
        if matches!(self, Self::Done(_)) { 0 } else { self.instructions() }
    }
}

/// The bits of `value`, from the lowest on, put where `mask` has ones.
fn deposit(value: u64, mask: u64) -> u64 {
    let ones = (0..64).filter(|bit| mask >> bit & 1 == 1);
    ones.enumerate().map(|(from, to)| (value >> from & 1) << to).sum()
}
