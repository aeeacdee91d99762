//! Filters from their text to verdicts and new packets, and what is said of those that need too much.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;

use super::{Bound, Entries, Fate, Filter, Limits, Packet, Params, Verdict, compile};
use crate::{
    bundle::Bundle,
    dfa,
    diagnostic::{Code, Diagnostic},
    exec::ladder::{self, Slow},
    rewrite::Bounds,
};

const OFFLINE: Params = Params { bounds: Bounds { least: 0, most: 65_535 }, key: None };

fn compiled(source: &str, limits: &Limits) -> (Vec<Filter>, Vec<Diagnostic>) {
    compile(&Bundle::new("a.rl", source), limits)
}

#[track_caller]
fn bound(source: &str) -> Bound {
    let (mut filters, found) = compiled(source, &Limits::default());
    assert!(filters.len() == 1, "{found:?}");
    filters.remove(0).bind(&OFFLINE).unwrap()
}

/// One packet's verdict and what it is then, from byte 0; from its class it must be the same.
fn judged(bound: &Bound, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let mut scratch = bound.scratch();
    let mut once = |class| {
        let mut frame = packet.to_vec();
        frame.extend([0xee; 64]);
        let mut verdicts = [Verdict::NONE];
        let mut packets = [Packet { frame: &mut frame, at: 0..packet.len(), class }];
        let entries = bound.judge(&mut scratch, &mut packets[..], &mut verdicts);
        let [verdict] = verdicts;
        let at = if let Fate::Rewritten { at, .. } = &verdict.fate { at.range() } else { 0..packet.len() };
        let output = frame[at].to_vec();
        (entries, verdict, output)
    };
    let (entries, verdict, output) = once(None);
    assert_eq!(entries, Entries { from_class: 0, from_zero: 1 });
    let leaf = bound.filter().dag().eval(packet).leaf;
    let (entries, again, same) = once(Some(leaf));
    assert_eq!(entries, Entries { from_class: 1, from_zero: 0 });
    let place = |fate: &Fate| std::mem::discriminant(fate);
    assert_eq!((again.rule, place(&again.fate), &same), (verdict.rule, place(&verdict.fate), &output));
    (verdict, output)
}

#[track_caller]
fn check(bound: &Bound, packet: &[u8], output: Option<&[u8]>) {
    let (verdict, new) = judged(bound, packet);
    match output {
        Some(output) => assert_eq!((verdict.rule.is_some(), &new[..]), (true, output), "{packet:02x?}"),
        None => assert_eq!(verdict, Verdict::NONE, "{packet:02x?}"),
    }
}

#[test]
fn s1_zeroes_an_address_in_place() {
    let bound = bound(
        "filter udp header:(byte#12 0x800~2 byte#9 17 byte#2) address:(192 168 1 byte) tail:* \
         => header 0#4 tail;",
    );
    let mut packet: Vec<u8> = (0..60).collect();
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[23] = 17;
    packet[26..30].copy_from_slice(&[192, 168, 1, 77]);
    let mut zeroed = packet.clone();
    zeroed[26..30].fill(0);
    check(&bound, &packet, Some(&zeroed));
    check(&bound, &packet[..30], Some(&zeroed[..30]));
    check(&bound, &packet[..29], None);
    packet[23] = 6;
    check(&bound, &packet, None);
}

#[test]
fn s5_keeps_what_stands_behind_the_leftmost_42() {
    let bound = bound("filter byte42 * 42 b:(byte 42) * => b;");
    let cases: [(&[u8], Option<&[u8]>); 4] = [
        (&[0x01, 0x2a, 0x07, 0x2a, 0x09], Some(&[0x07, 0x2a])),
        (&[0x2a, 0x2a, 0x2a], Some(&[0x2a, 0x2a])),
        (&[0x2a, 0x01, 0x02, 0x2a, 0x05, 0x2a], Some(&[0x05, 0x2a])),
        (&[0x2a, 0x2a], None),
    ];
    for (packet, output) in cases {
        check(&bound, packet, output);
    }
}

/// Rules whose rests begin at so many places that some are judged from the first byte.
#[test]
fn rests_may_begin_anywhere() {
    let mut source = "filter f\n".to_owned();
    for skip in 1..=7 {
        writeln!(source, "byte#{skip} 9 a:(* {skip} byte) * => a;").unwrap();
    }
    source.push_str("9 * => accept 9;\n* => reject 8;");
    let bound = bound(&source);
    assert!(bound.filter.classes.iter().any(|class| class.scans.len() == super::build::STARTS_MAX));
    for skip in 1..=7_u8 {
        let mut packet = vec![9; 9];
        packet.extend([0x55, skip, 0x66]);
        let (verdict, new) = judged(&bound, &packet);
        assert_eq!(verdict.rule.map(|rule| rule.index()), Some(usize::from(skip) - 1));
        assert_eq!(new, packet[usize::from(skip) + 1..]);
    }
    assert_eq!(judged(&bound, &[9; 9]).0.fate, Fate::Accepted(9));
    assert_eq!(judged(&bound, &[8]).0.fate, Fate::Rejected(8));
}

/// Two ways to the same rule, of which the packet says which: the labels are those of the first that matches.
#[test]
fn labels_are_those_of_the_way_that_matched() {
    let bound = bound("filter f (1 a:(byte) | byte b:(byte byte)) * 7 => a b;");
    check(&bound, &[1, 2, 7], Some(&[2]));
    check(&bound, &[1, 2, 3, 7], Some(&[2]));
    check(&bound, &[0, 2, 3, 7], Some(&[2, 3]));
    check(&bound, &[0, 2, 7], None);
}

/// A batch holds packets of all classes, and each has its own verdict.
#[test]
fn a_batch_mixes_classes_without_mixing_verdicts() {
    let bound = bound(
        "filter f 1 * \"abc\" * => reject 1; 2 byte * \"abc\" * => reject 2; 3 => accept 3; 1 * => accept 1;",
    );
    let packets: Vec<Vec<u8>> = (0..200_u8)
        .map(|index| match index % 7 {
            0 => b"\x01xxabcxx".to_vec(),
            1 => b"\x02xxabcxx".to_vec(),
            2 => b"\x03".to_vec(),
            3 => b"\x01xxabdxx".to_vec(),
            4 => b"\x02abc".to_vec(),
            5 => Vec::new(),
            _ => vec![1; usize::from(index)],
        })
        .collect();
    let mut frames = packets.clone();
    let mut batch: Vec<_> =
        frames.iter_mut().map(|frame| Packet { at: 0..frame.len(), frame, class: None }).collect();
    let mut verdicts = vec![Verdict::NONE; batch.len()];
    bound.judge(&mut bound.scratch(), &mut batch[..], &mut verdicts);
    for (packet, verdict) in packets.iter().zip(&verdicts) {
        assert_eq!(verdict, &judged(&bound, packet).0, "{packet:02x?}");
    }
    let fates: Vec<_> = verdicts[..7].iter().map(|verdict| verdict.fate).collect();
    let wanted = [
        Fate::Rejected(1),
        Fate::Rejected(2),
        Fate::Accepted(3),
        Fate::Accepted(1),
        Fate::Unmatched,
        Fate::Unmatched,
        Fate::Accepted(1),
    ];
    assert_eq!(fates, wanted);
}

/// A class that belongs to another filter, or to no packet like this one, cannot do harm.
#[test]
fn a_class_that_means_nothing_is_ignored() {
    let bound = bound("filter f byte#4 n:byte byte#(n) 7 => accept;");
    for node in 0..100 {
        let mut frame = [0_u8; 5];
        let mut packets = [Packet { frame: &mut frame, at: 0..5, class: Some(crate::dag::NodeId(node)) }];
        let mut verdicts = [Verdict::NONE];
        bound.judge(&mut bound.scratch(), &mut packets[..], &mut verdicts);
    }
}

#[test]
fn rl404_without_a_key_nothing_is_anonymised() {
    let source = "filter f a:byte#4 * => prefix_anon(a);";
    let (mut filters, _) = compiled(source, &Limits::default());
    let filter = filters.remove(0);
    let error = filter.bind(&OFFLINE).unwrap_err();
    assert_eq!((error.diagnostic().code, error.diagnostic().file.as_str()), (Code::KeyMissing, "a.rl"));
    let (mut filters, _) = compiled(source, &Limits::default());
    let with_key = filters.remove(0).bind(&Params { key: Some([7; 32]), ..OFFLINE }).unwrap();
    let (_, new) = judged(&with_key, &[10, 0, 0, 1, 5]);
    assert_eq!(new.len(), 4);
    assert_ne!(new, [10, 0, 0, 1]);
}

fn tight(slow: Slow, arena_bytes: usize) -> Limits {
    let dfa = dfa::Limits { states: 40, ..dfa::Limits::default() };
    let engines = ladder::Limits { dfa, arena_bytes, slow, ..ladder::Limits::default() };
    Limits { engines, ..Limits::default() }
}

const LARGE: &str = "filter f * 1 byte#12 2 * => reject; * => accept;";

#[test]
fn rl907_names_the_rules_and_what_judges_them_instead() {
    let (filters, found) = compiled(LARGE, &tight(Slow::Refused, 8 << 20));
    assert_eq!(filters.len(), 1);
    let [warning] = &found[..] else { panic!("{found:?}") };
    assert_eq!(warning.code, Code::Explodes);
    assert!(warning.message.contains("rule 1 would need more than 40 states"), "{}", warning.message);
    assert!(warning.message.contains("on demand"), "{}", warning.message);
    assert_eq!(warning.span.start, "filter f ".len());
}

#[test]
fn rl403_refuses_what_only_slow_engines_could_judge() {
    let (filters, found) = compiled(LARGE, &tight(Slow::Refused, 0));
    assert!(filters.is_empty());
    let [error] = &found[..] else { panic!("{found:?}") };
    assert_eq!(error.code, Code::StateBudget);
    let (filters, found) = compiled(LARGE, &tight(Slow::Allowed, 0));
    assert_eq!((filters.len(), found.len(), found[0].code), (1, 1, Code::Explodes));
    assert!(found[0].message.contains("simulation"), "{}", found[0].message);
}

#[test]
fn threads_share_a_bound_filter() {
    fn shared<T: Send + Sync>() {}
    fn owned<T: Send>() {}
    shared::<Bound>();
    owned::<super::Scratch>();
}

#[test]
fn the_report_says_what_became_of_the_filter() {
    let bound = bound("filter f 1 * \"abc\" * => reject 1; 2 a:byte * => a class 7; * => accept;");
    let report = bound.filter().report();
    assert_eq!((report.rules.len(), report.engines.len()), (3, 1));
    assert_eq!((report.rules[1].action, report.rules[1].code), ("rewrite", 7));
    assert_eq!(report.rules[1].plan, Some("cut"));
    assert_eq!(report.engines[0].rung, "small table");
    assert!(report.decided < report.classes);
}
