//! The programs of the book can be used as they stand there, and complain of what the book says they complain of.
//!
//! A block of code marked `ruler` is a program without a complaint; `ruler,RL205` is one with exactly this.
#![allow(clippy::unwrap_used, reason = "a test")]

use ruler::{bundle::Bundle, diagnostic, filter::Limits, shipped};

const BOOK: &str = include_str!("../../../docs/book/src/ruler.md");

/// Each program, and the codes it is marked with.
fn programs() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut programs = Vec::new();
    for block in BOOK.split("\n```").skip(1).step_by(2) {
        let (mark, program) = block.split_once('\n').unwrap();
        let mut words = mark.split(',');
        if words.next() == Some("ruler") {
            programs.push((program, words.collect()));
        }
    }
    programs
}

#[test]
fn every_program_of_the_book_is_one() {
    let programs = programs();
    assert!(12 <= programs.len(), "{} programs", programs.len());
    for (program, marks) in programs {
        let bundle = Bundle::new("book.rl", program);
        let (filters, found) = ruler::compile(&bundle, &Limits::default());
        let codes: Vec<String> = found.iter().map(|found| found.code.to_string()).collect();
        assert_eq!(codes, marks, "{program}\n{}", diagnostic::text(&bundle, &found));
        assert_eq!(filters.is_empty(), found.iter().any(diagnostic::Diagnostic::is_error), "{program}");
    }
}

/// What the book shows of shipped filters is in them, word for word.
#[test]
fn shipped_filters_are_shown_as_they_are() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown = 0;
    for (program, _) in programs() {
        let Some((_, filter)) = program.split_once("filter ") else { continue };
        let Some(shipped) = shipped::find(filter.split_whitespace().next().unwrap()) else { continue };
        shown += 1;
        if shipped.name != "signatures" {
            assert!(words(shipped.source).contains(&words(&format!("filter {filter}"))), "{program}");
        }
    }
    assert_eq!(shown, 3);
}
