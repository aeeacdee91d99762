//! Every stage of one filter, as text, as graphs and as structures.

use serde::Serialize;
use serde_json::Value;

use super::*;
use crate::{
    bundle::Bundle,
    ebpf::{Scope, Settings},
};

const SOURCE: &str =
    "filter f 1 * \"ab\" * => reject 1; 2 a:byte 3 => a class 7; 2 * x:byte#* 4 => x; * => accept;";

const SETTINGS: Settings<'_> = Settings { scope: Scope::Steered, pass: &[], class_gen: 0 };

fn stages(check: impl FnOnce(&Stages<'_>)) {
    let (filters, _) = crate::resolve(&Bundle::new("a.rl", SOURCE));
    let limits = Limits::default();
    let (stages, found) = Stages::new(&filters[0], "a.rl", &limits);
    assert!(found.is_empty(), "{found:?}");
    check(&stages.unwrap());
}

#[test]
fn rt02_every_stage_is_a_snapshot() {
    stages(|stages| {
        let tables = [
            ("ir", stages.ir()),
            ("paths", stages.filter().dag().paths_text()),
            ("dag", stages.filter().dag().text()),
            ("dfa", stages.dfa(None)),
            ("tdfa", stages.tdfa(None)),
            ("plan", stages.plan()),
            ("ebpf", stages.filter().untried_program(&SETTINGS).unwrap().to_string()),
            ("dfa, as a graph", stages.dfa_dot(None)),
            ("tdfa, as a graph", stages.tdfa_dot(None)),
        ];
        let text: String = tables.iter().map(|(name, text)| format!("=== {name}\n{text}")).collect();
        insta::assert_snapshot!("every_stage", text);
    });
}

fn value(structure: &impl Serialize) -> Value {
    serde_json::to_value(structure).unwrap()
}

#[test]
fn rt02_every_stage_is_a_structure() {
    stages(|stages| {
        let all = [
            ("ir", value(&stages.regexes())),
            ("paths", value(&stages.paths())),
            ("dag", value(&stages.graph())),
            ("dfa", value(&stages.automata(None))),
            ("tdfa", value(&stages.label_automata(None))),
            ("plan", value(&stages.plans())),
            ("ebpf", value(&stages.filter().untried_program(&SETTINGS).unwrap())),
        ];
        // One line a stage: what changed is found by the texts.
        let text: String = all.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        insta::assert_snapshot!("every_structure", text);
    });
}

#[test]
fn structures_have_what_texts_have() {
    stages(|stages| {
        let texts = [stages.filter().dag().text(), stages.filter().dag().paths_text()];
        let [nodes, paths] =
            [value(&stages.graph())["nodes"].clone(), value(&stages.paths())["paths"].clone()];
        assert_eq!(nodes.as_array().unwrap().len(), texts[0].lines().count());
        let begins = texts[1].lines().filter(|line| line.starts_with("path "));
        let named: Vec<String> = begins.map(ToOwned::to_owned).collect();
        let shown = paths.as_array().unwrap().iter();
        let shown: Vec<String> =
            shown.map(|path| format!("path {} of rule {}", path["id"], path["rule"])).collect();
        assert_eq!(shown, named);
        let ways = value(&stages.label_automata(None));
        let arrows = |value: &Value| value["automaton"]["states"].as_array().map_or(0, Vec::len);
        let states: usize = ways["ways"].as_array().unwrap().iter().map(|way| arrows(&way["labels"])).sum();
        assert!(0 < states, "{ways}");
    });
}

#[test]
fn one_class_is_part_of_all() {
    stages(|stages| {
        let all = stages.dfa(None);
        let ones = (0..stages.classes()).map(|number| stages.dfa(Some(ClassNumber(number))));
        for text in ones {
            assert!(text.lines().all(|line| all.contains(line)), "{text}\n{all}");
            assert_eq!(text.lines().filter(|line| line.starts_with("class ")).count(), 1);
        }
        assert_eq!(stages.dfa(Some(ClassNumber(stages.classes()))), "");
    });
}
