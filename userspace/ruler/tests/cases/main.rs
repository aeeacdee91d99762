//! The cases of `testdata`: packets, and what the specification says of them, on every engine.
//!
//! What a case expects was written from the specification, never copied from an engine.
#![allow(clippy::unwrap_used, reason = "a test")]

mod case;
#[path = "../engines/mod.rs"]
mod engines;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use ruler::{
    bundle::Bundle,
    diagnostic,
    filter::Params,
    oracle::{self, Match},
    resolved::RuleId,
    rewrite::{Bounds, Kind},
};

use case::{Case, Expect, File, Program, Text, bytes};
use engines::{End, Engines, OFFLINE, Outcome, slow_allowed};

/// The memory for states on demand: enough for every case.
const ARENA_BYTES: usize = 8 << 20;

#[test]
fn rt01_every_case_on_every_engine() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut cases, mut failures) = (0, Failures::default());
    for path in files {
        let File { case } = toml::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        cases += case.len();
        // A case without a program has that of the case before it.
        for batch in case.chunk_by(|_, next| next.program().is_none()) {
            judge(&path.file_stem().unwrap().to_string_lossy(), batch, &mut failures);
        }
    }
    assert!(failures.text.is_empty(), "{}", failures.text);
    assert!(200 <= cases, "{cases} cases");
}

/// Cases that share a program, together in one batch.
fn judge(file: &str, cases: &[Case], failures: &mut Failures) {
    file.clone_into(&mut failures.file);
    let engines = engines(&cases[0].program().unwrap());
    let packets: Vec<Vec<u8>> = cases.iter().map(|case| bytes(&case.packet)).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    for (engine, rules) in engines.rules(&packets) {
        for (case, got) in cases.iter().zip(rules) {
            // What an engine leaves to others cannot be wrong.
            let expected = case.expect.rule.map(RuleId);
            failures.compare(case, engine, &expected, &got.unwrap_or(expected));
        }
    }
    for (engine, outcomes) in engines.outcomes(&packets) {
        for (case, got) in cases.iter().zip(outcomes) {
            failures.compare(case, engine, &expected(&case.expect), &got);
        }
    }
    for (case, packet) in cases.iter().zip(&packets) {
        let found = oracle::judge(&engines.filter, packet).unwrap();
        for (engine, got) in engines.of_match(packet, found.as_ref()) {
            failures.compare(case, engine, &expected(&case.expect), &got);
        }
        let plan = case.expect.rule.and_then(|rule| engines.plan(RuleId(rule))).map(name);
        failures.compare(case, "plan", &case.expect.plan.as_deref().or(plan), &plan);
        let decided = engines.decided(packet).flatten();
        for (engine, found) in [("oracle", found), ("header DAG", decided)] {
            if let (Some(expected), Some(found)) = (&case.expect.labels, found) {
                failures.compare(case, engine, expected, &labels(&engines, found));
            }
        }
    }
}

/// What is wrong, for a reader.
#[derive(Default)]
struct Failures {
    file: String,
    text: String,
}

impl Failures {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, case: &Case, engine: &str, expected: &T, got: &T) {
        if expected != got {
            let Self { file, text } = self;
            let name = &case.name;
            writeln!(text, "{file}: {name}\n  {engine}\n  expected {expected:02x?}\n  got      {got:02x?}")
                .unwrap();
        }
    }
}

/// As cases write them.
fn labels(engines: &Engines, found: Match) -> BTreeMap<String, Vec<usize>> {
    let names = engines.filter.rules[found.rule.index()].labels.iter().map(|label| label.name.clone());
    let places = found.labels.into_iter().map(|label| label.map_or(vec![], |at| vec![at.start, at.end]));
    names.zip(places).collect()
}

fn name(plan: Kind) -> &'static str {
    match plan {
        Kind::Patch => "patch",
        Kind::Cut => "cut",
        Kind::Rebuild => "rebuild",
    }
}

fn engines(program: &Program) -> Engines {
    let source = match &program.text {
        Text::Here(source) => source.clone().into_bytes(),
        Text::File(file) => fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap(),
    };
    let bundle = Bundle::new("a.rl", source);
    let (mut filters, found) = ruler::resolve(&bundle);
    let codes: Vec<_> = found.iter().map(|found| found.code.to_string()).collect();
    assert_eq!(codes, program.warnings, "{}", diagnostic::text(&bundle, &found));
    assert_eq!(filters.len(), 1, "one filter: {program:?}");
    let key = program.key.as_ref().map(|key| bytes(key).try_into().unwrap());
    let bounds = program.bounds.map_or(OFFLINE, |(least, most)| Bounds { least, most });
    let engines = Engines::new(filters.remove(0), &slow_allowed(), ARENA_BYTES, Params { bounds, key });
    assert!(engines.has_tables(), "too many states: {program:?}");
    engines
}

fn expected(expect: &Expect) -> Outcome {
    let end = match (expect.action.as_str(), expect.rule, &expect.output, &expect.refused) {
        ("accept", Some(_), None, None) => End::Accepted(expect.code),
        ("reject", Some(_), None, None) => End::Rejected(expect.code),
        ("reject", None, None, None) if expect.code == 0 => End::Unmatched,
        ("rewrite", Some(_), Some(output), None) => {
            End::Rewritten(expect.code, bytes(output), expect.skipped)
        }
        ("rewrite", Some(_), None, Some(refused)) => End::Refused(
            [engines::Refusal::TooLong, engines::Refusal::TooShort, engines::Refusal::Field]
                .into_iter()
                .find(|refusal| refusal.to_string() == *refused)
                .unwrap(),
        ),
        _ => panic!("an expectation that means nothing: {expect:?}"),
    };
    (expect.rule.map(RuleId), end)
}
