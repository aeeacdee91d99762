//! Byte strings that matches cannot do without: every match holds at least one of a few.
//!
//! It looks at what a pattern says byte by byte, and at nothing else: where it finds none there may still be one.

use super::{ByteSet, Node};

/// A shorter string is found too often to be worth looking for.
pub const PIECE_MIN: usize = 3;
/// How many strings may stand for one place where some bytes can be either of a few, as letters in either case.
const VARIANTS_MAX: u32 = 8;
/// Longer strings are cut: what is rare enough need not be rarer.
const RUN_MAX: u32 = 32;

/// Strings of which every match of a pattern holds at least one: as few as can be, then as long as can be. `None` if a
/// match may hold none of at least [`PIECE_MIN`] bytes.
#[must_use]
pub fn required(node: &Node) -> Option<Vec<Vec<u8>>> {
    match node {
        Node::Tag(_) => None,
        Node::Alt(arms) => {
            let mut all = Vec::new();
            for arm in arms {
                all.extend(required(arm)?);
            }
            all.sort_unstable();
            all.dedup();
            Some(all)
        }
        Node::Byte(_) | Node::Seq(_) | Node::Repeat { .. } => {
            let mut sequence = Sequence::default();
            sequence.follow(node);
            sequence.end_run();
            sequence.best
        }
    }
}

/// What was found along parts that stand one after the other.
#[derive(Default)]
struct Sequence {
    /// What each of the last bytes may be.
    run: Vec<ByteSet>,
    best: Option<Vec<Vec<u8>>>,
}

impl Sequence {
    fn follow(&mut self, node: &Node) {
        match node {
            Node::Byte(set) => self.run.push(*set),
            Node::Tag(_) => {}
            Node::Seq(parts) => parts.iter().for_each(|part| self.follow(part)),
            Node::Alt(_) => {
                self.end_run();
                self.offer(required(node));
            }
            Node::Repeat { body, least, most } => {
                if let Node::Byte(set) = **body {
                    self.run.extend(std::iter::repeat_n(set, (*least).min(RUN_MAX) as usize));
                } else if *least > 0 {
                    self.end_run();
                    self.offer(required(body));
                }
                if *most != Some(*least) || *least > RUN_MAX || !matches!(**body, Node::Byte(_)) {
                    self.end_run();
                }
            }
        }
    }

    /// The next byte does not follow the last one.
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        let windows = (0..run.len()).flat_map(|begin| {
            let last = run.len().min(begin + RUN_MAX as usize);
            (begin + PIECE_MIN..=last).map(move |end| begin..end)
        });
        let best = windows
            .filter_map(|window| Some((variants(&run[window.clone()])?, window)))
            .min_by_key(|(variants, window)| (*variants, std::cmp::Reverse(window.len())));
        self.offer(best.map(|(_, window)| strings(&run[window])));
    }

    fn offer(&mut self, pieces: Option<Vec<Vec<u8>>>) {
        let cost = |pieces: &Vec<Vec<u8>>| {
            (pieces.len(), std::cmp::Reverse(pieces.iter().map(Vec::len).min().unwrap_or_default()))
        };
        self.best = [self.best.take(), pieces].into_iter().flatten().min_by_key(cost);
    }
}

/// How many strings these bytes can be, if they are few.
fn variants(run: &[ByteSet]) -> Option<u32> {
    run.iter().try_fold(1, |product: u32, set| {
        let product = product.checked_mul(set.len())?;
        (1..=VARIANTS_MAX).contains(&product).then_some(product)
    })
}

fn strings(run: &[ByteSet]) -> Vec<Vec<u8>> {
    run.iter().fold(vec![Vec::new()], |strings, set| {
        let longer = |string: Vec<u8>| {
            set.iter().map(move |byte| string.iter().copied().chain([byte]).collect()).collect::<Vec<_>>()
        };
        strings.into_iter().flat_map(longer).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{arbitrary, arbitrary::Random, naive},
        *,
    };

    fn text(text: &str) -> Node {
        Node::Seq(text.bytes().map(|byte| Node::Byte(ByteSet::of([byte]))).collect())
    }

    fn either_case(text: &str) -> Node {
        let cases = |byte: u8| ByteSet::of([byte.to_ascii_lowercase(), byte.to_ascii_uppercase()]);
        Node::Seq(text.bytes().map(|byte| Node::Byte(cases(byte))).collect())
    }

    #[track_caller]
    fn check(node: &Node, pieces: Option<&[&str]>) {
        let expected = pieces.map(|pieces| pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect());
        assert_eq!(required(node), expected);
    }

    #[test]
    fn rt04_pieces_are_few_then_long() {
        check(&text("ab"), None);
        check(&Node::any(), None);
        check(&Node::Seq(vec![Node::any(), text("abcd"), Node::any(), text("xyz")]), Some(&["abcd"]));
        check(&Node::Alt(vec![text("second"), text("first")]), Some(&["first", "second"]));
        check(&Node::Alt(vec![text("first"), text("ab")]), None);
        check(&either_case("cmd.exe"), Some(&["MD.", "Md.", "mD.", "md."]));
        check(&either_case("abc"), Some(&["ABC", "ABc", "AbC", "Abc", "aBC", "aBc", "abC", "abc"]));
    }

    #[test]
    fn rt04_pieces_go_through_what_is_repeated_and_not_over_it() {
        let byte = || Box::new(Node::Byte(ByteSet::of([b'b'])));
        let repeated = |least, most| Node::Repeat { body: byte(), least, most };
        let around = |node| Node::Seq(vec![text("a"), node, text("c")]);
        check(&around(Node::bytes(ByteSet::of([b'b']), 2)), Some(&["abbc"]));
        check(&around(repeated(2, None)), Some(&["abb"]));
        check(&around(repeated(0, Some(3))), None);
        check(&around(Node::Repeat { body: Box::new(text("xyz")), least: 1, most: None }), Some(&["xyz"]));
        check(&around(Node::Repeat { body: Box::new(text("xyz")), least: 0, most: None }), None);
    }

    proptest! {
        #![proptest_config(crate::scale::RT04_PATTERNS.cases())]

        #[test]
        fn rt04_every_match_holds_a_piece(node in arbitrary::node(), seed in any::<u64>()) {
            let mut random = Random::new(seed);
            let Some(pieces) = required(&node) else { return Ok(()) };
            for input in arbitrary::inputs(&node, 16, &mut random) {
                let holds = pieces.iter().any(|piece| input.windows(piece.len()).any(|part| part == piece));
                prop_assert!(holds || !naive::matches(&node, &input), "{:?} without {:?}", input, pieces);
            }
        }
    }
}
