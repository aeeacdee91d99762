//! Where tags of small patterns lie.

use super::*;
use crate::ir::ByteSet;

fn begin(label: u16) -> Node {
    Node::Tag(Tag::Begin(LabelId(label)))
}

fn end(label: u16) -> Node {
    Node::Tag(Tag::End(LabelId(label)))
}

fn bytes(count: u32) -> Node {
    Node::bytes(ByteSet::ALL, count)
}

fn perhaps(body: Node) -> Node {
    Node::Repeat { body: Box::new(body), least: 0, most: Some(1) }
}

#[track_caller]
fn check(node: &Node, anchors: usize, expected: &[Spot]) {
    let layout = Layout::of(node);
    let spots: Vec<Spot> = layout.spots.iter().map(|(_, spot)| *spot).collect();
    assert_eq!((layout.anchors, &spots[..]), (anchors, expected), "\n{node}becomes\n{}", layout.node);
}

#[test]
fn what_stands_at_a_fixed_distance_needs_no_anchor() {
    use Spot::{End, Start};
    // byte#2 0:byte#4 1:(* 2:byte#3)
    let node = Node::seq([
        bytes(2),
        begin(0),
        bytes(4),
        end(0),
        begin(1),
        Node::any(),
        begin(2),
        bytes(3),
        end(2),
        end(1),
    ]);
    check(&node, 0, &[Start(2), Start(6), End(3), Start(6), End(0), End(0)]);
    assert_eq!(Layout::of(&node).node, Node::seq([bytes(2), bytes(4), Node::any(), bytes(3)]));
}

#[test]
fn tags_between_fixed_parts_share_an_anchor_behind_them() {
    // * byte 0:byte#2 byte *
    let node = Node::seq([Node::any(), bytes(1), begin(0), bytes(2), end(0), bytes(1), Node::any()]);
    check(&node, 1, &[Spot::Anchor(Anchor(0), 3), Spot::Anchor(Anchor(0), 1)]);
    let anchored =
        Node::seq([Node::any(), bytes(1), bytes(2), bytes(1), Node::Tag(Anchor(0).tag()), Node::any()]);
    assert_eq!(Layout::of(&node).node, anchored);
}

#[test]
fn arms_that_agree_need_no_anchor_and_others_need_theirs() {
    use Spot::{Anchor as At, Start};
    let labelled = |before: u32, label: u16| Node::seq([bytes(before), begin(label), bytes(1), end(label)]);
    check(&Node::alt([labelled(2, 0), Node::seq([labelled(2, 0), bytes(5)])]), 0, &[Start(2), Start(3)]);
    // One label in two places: each tag has an anchor of its own.
    let differ = Node::seq([Node::alt([labelled(2, 0), labelled(1, 0)]), Node::any()]);
    check(&differ, 2, &[At(Anchor(0), 0), At(Anchor(1), 0)]);
    // An arm that need not be taken: its tags share one.
    let sometimes = Node::seq([Node::alt([labelled(2, 0), bytes(3)]), Node::any()]);
    check(&sometimes, 1, &[At(Anchor(0), 1), At(Anchor(0), 0)]);
    check(&Node::seq([perhaps(labelled(0, 0)), bytes(1)]), 1, &[At(Anchor(0), 1), At(Anchor(0), 0)]);
}

#[test]
fn an_end_without_its_begin_lies_where_it_lies() {
    check(&Node::seq([bytes(3), end(0), Node::any()]), 0, &[Spot::Start(3)]);
    check(
        &Node::seq([Node::any(), bytes(1), end(0), bytes(1), Node::any()]),
        1,
        &[Spot::Anchor(Anchor(0), 1)],
    );
}

#[test]
fn what_never_matches_has_no_tags() {
    let never = || Node::Seq(vec![begin(0), Node::never(), end(0)]);
    check(&never(), 0, &[]);
    assert_eq!(Layout::of(&never()).node, Node::never());
    check(
        &Node::Alt(vec![never(), Node::seq([begin(0), bytes(2), end(0)])]),
        0,
        &[Spot::Start(0), Spot::Start(2)],
    );
}
