//! From patterns to the regex form: dumps of the specification's shapes, and counted lengths against their definition.

use super::super::naive;
use super::*;
use crate::resolved::LabelId;

fn number(bits: u8, first: u64, last: u64) -> Field {
    let test = Test { order: Order::Big, mask: u64::MAX, first, last };
    Field { bits, all_of: vec![Allowed::AnyOf(vec![test])], counts: None }
}

fn any(bits: u8) -> Field {
    Field { bits, all_of: vec![], counts: None }
}

fn counter(bits: u8, counter: u16) -> Field {
    Field { counts: Some(Counter(counter)), ..any(bits) }
}

fn byte(value: u8) -> Pattern {
    Pattern::Run(vec![number(8, value.into(), value.into())])
}

fn counted(field: u16, times: u32, plus: i32) -> Pattern {
    Pattern::Counted { field: Counter(field), times, plus }
}

fn label(id: u16, body: Pattern) -> Pattern {
    Pattern::Label(LabelId(id), Box::new(body))
}

#[track_caller]
fn check(pattern: &Pattern, input: &[u8], expected: bool) {
    let node = lower(pattern).unwrap();
    assert_eq!(naive::matches(&node, input), expected, "{input:02x?} by\n{node}");
}

#[test]
fn a_label_is_two_tags() {
    // * 42 b:(byte 42) *
    let labelled = label(0, Pattern::Seq(vec![Pattern::Run(vec![any(8)]), byte(42)]));
    let pattern = Pattern::Seq(vec![Pattern::Any, byte(42), labelled, Pattern::Any]);
    insta::assert_snapshot!(lower(&pattern).unwrap(), @r"
    seq (3.. bytes)
      [00..ff]#0..
      [2a]
      <0
      [00..ff]
      [2a]
      0>
      [00..ff]#0..
    ");
}

#[test]
fn a_counted_length_is_a_choice_over_its_field() {
    // (ihl:2 bits of 1..3, six zero bits), a byte, byte#(ihl*4-4), then 7
    let first = Pattern::Run(vec![Field { counts: Some(Counter(0)), ..number(2, 1, 3) }, number(6, 0, 0)]);
    let options = label(1, counted(0, 4, -4));
    let pattern =
        Pattern::Seq(vec![label(0, Pattern::Seq(vec![first, Pattern::Run(vec![any(8)]), options])), byte(7)]);
    insta::assert_snapshot!(lower(&pattern).unwrap(), @r"
    seq (3..11 bytes)
      <0
      alt (2..10 bytes)
        seq (2 bytes)
          [40]
          [00..ff]
          <1
        seq (6 bytes)
          [80]
          [00..ff]
          <1
          [00..ff]#4
        seq (10 bytes)
          [c0]
          [00..ff]
          <1
          [00..ff]#8
      1>
      0>
      [07]
    ");
}

#[test]
fn a_negative_length_is_no_match() {
    let pattern = Pattern::Seq(vec![Pattern::Run(vec![counter(8, 0)]), counted(0, 1, -2), byte(7)]);
    check(&pattern, &[2, 7], true);
    check(&pattern, &[3, 0, 7], true);
    check(&pattern, &[1, 7], false);
    check(&pattern, &[4, 0, 7], false);
}

#[test]
fn lengths_may_be_nested_and_used_twice() {
    let fields = Pattern::Run(vec![counter(4, 0), counter(4, 1)]);
    let pattern = Pattern::Seq(vec![fields, counted(1, 1, 0), byte(9), counted(0, 1, 0), counted(1, 2, 1)]);
    for first in 0..4_u8 {
        for second in 0..4_u8 {
            let mut input = vec![first << 4 | second];
            input.extend(std::iter::repeat_n(0, usize::from(second)));
            input.push(9);
            input.extend(std::iter::repeat_n(0, usize::from(first + 2 * second + 1)));
            check(&pattern, &input, true);
            input.push(0);
            check(&pattern, &input, false);
        }
    }
}

#[test]
fn a_field_bound_in_every_arm_counts_behind_the_choice() {
    let arm = |mark, extra: Vec<Pattern>| {
        Pattern::Seq([vec![byte(mark), Pattern::Run(vec![counter(8, 0)])], extra].concat())
    };
    let choice = Pattern::Alt(vec![arm(1, vec![]), arm(2, vec![byte(5)])]);
    let once = Pattern::Repeat { body: Box::new(choice), least: 1, most: Some(1) };
    let pattern = Pattern::Seq(vec![Pattern::Any, once, counted(0, 1, 0)]);
    check(&pattern, &[1, 2, 0, 0], true);
    check(&pattern, &[2, 2, 5, 0, 0], true);
    check(&pattern, &[2, 2, 6, 0, 0], false);
    check(&pattern, &[0, 0, 1, 3, 0, 0], false);
}

#[test]
fn copies_of_a_repetition_count_each_for_themselves() {
    let copy = || {
        Pattern::Seq(vec![
            Pattern::Run(vec![Field { counts: Some(Counter(0)), ..number(8, 0, 3) }]),
            counted(0, 2, 0),
        ])
    };
    let again = Pattern::Repeat { body: Box::new(copy()), least: 0, most: Some(1) };
    let two = Pattern::Seq(vec![copy(), copy()]);
    let one_or_two = Pattern::Seq(vec![copy(), again]);
    for (input, both, either) in [
        (&[1, 0, 0, 2, 0, 0, 0, 0][..], true, true),
        (&[1, 0, 0], false, true),
        (&[1, 0, 0, 2, 0, 0], false, false),
    ] {
        check(&two, input, both);
        check(&one_or_two, input, either);
    }
    // Two counters in one byte, of which the first counts anew before the second is used.
    let halves = Pattern::Run(vec![counter(4, 0), counter(4, 1)]);
    let mixed = Pattern::Seq(vec![halves, counted(0, 1, 0), copy(), counted(1, 1, 0)]);
    check(&mixed, &[0x12, 9, 1, 8, 8, 7, 7], true);
    check(&mixed, &[0x12, 9, 1, 8, 8, 7], false);
}

#[test]
fn lengths_that_multiply_beyond_the_limit_are_refused() {
    let fields: Vec<Field> = (0..3).map(|id| counter(8, id)).collect();
    let lengths = (0..3).map(|id| counted(id, 1, 0));
    let pattern = Pattern::Seq([Pattern::Run(fields)].into_iter().chain(lengths).collect());
    assert_eq!(lower(&pattern), Err(TooBig { limit: NODES_MAX }));
}
