//! A backtracking matcher on the regex form, for tests: it follows the preferences word for word.
//!
//! It is exponential and knows no automaton; every engine is judged by it.

use std::collections::BTreeMap;

use super::{Node, Tag};

/// Where the tags of a match are; what is not on the way taken is not here.
pub(crate) type Positions = BTreeMap<Tag, usize>;

/// The preferred match of the whole input.
pub(crate) fn find(node: &Node, input: &[u8]) -> Option<Positions> {
    let mut positions = Vec::new();
    go(node, input, 0, &mut positions, &mut |at, _| at == input.len())
        .then(|| positions.into_iter().collect())
}

/// Whether the whole input matches.
pub(crate) fn matches(node: &Node, input: &[u8]) -> bool {
    find(node, input).is_some()
}

type Trail = Vec<(Tag, usize)>;

fn go(
    node: &Node,
    input: &[u8],
    at: usize,
    trail: &mut Trail,
    then: &mut dyn FnMut(usize, &mut Trail) -> bool,
) -> bool {
    let mark = trail.len();
    let matched = match node {
        Node::Byte(set) => input.get(at).is_some_and(|byte| set.has(*byte)) && then(at + 1, trail),
        Node::Tag(tag) => {
            trail.push((*tag, at));
            then(at, trail)
        }
        Node::Seq(parts) => sequence(parts, input, at, trail, then),
        Node::Alt(arms) => arms.iter().any(|arm| go(arm, input, at, trail, then)),
        Node::Repeat { body, least, most } => repeat(body, *least, *most, input, at, trail, then),
    };
    if !matched {
        trail.truncate(mark);
    }
    matched
}

fn sequence(
    parts: &[Node],
    input: &[u8],
    at: usize,
    trail: &mut Trail,
    then: &mut dyn FnMut(usize, &mut Trail) -> bool,
) -> bool {
    match parts.split_first() {
        None => then(at, trail),
        Some((first, rest)) => {
            go(first, input, at, trail, &mut |at, trail| sequence(rest, input, at, trail, then))
        }
    }
}

fn repeat(
    body: &Node,
    least: u32,
    most: Option<u32>,
    input: &[u8],
    at: usize,
    trail: &mut Trail,
    then: &mut dyn FnMut(usize, &mut Trail) -> bool,
) -> bool {
    if least == 0 && then(at, trail) {
        return true;
    }
    most != Some(0)
        && go(body, input, at, trail, &mut |next, trail| {
            // A body that can match nothing would go round for ever.
            (least > 0 || next > at)
                && repeat(body, least.saturating_sub(1), most.map(|most| most - 1), input, next, trail, then)
        })
}
