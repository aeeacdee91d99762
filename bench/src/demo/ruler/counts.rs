//! What filters have counted, as `octroi ruler list` and as `octroi stats` say it.
//!
//! It asks nobody: who holds one against the other has asked for both.
use std::collections::BTreeMap;

use client::control::{
    answer::StatRow,
    ruler::{FilterRow, RuleRow},
};

/// Packets that workers judged by a filter.
pub(super) fn judged(row: &FilterRow) -> u64 {
    row.rules.iter().map(|rule| rule.matched).sum::<u64>() + row.unmatched
}

/// What a rule did, as the checks show it.
pub(super) fn did(rule: &RuleRow) -> String {
    figures(rule.header, rule.matched)
}

/// How many packets a rule was found for in XDP, and how many by workers.
pub(super) fn figures(in_xdp: u64, by_workers: u64) -> String {
    format!("{in_xdp} in XDP, {by_workers} by workers")
}

/// The sum of all counters of a name.
pub(super) fn total(stats: &[StatRow], counter: &str) -> u64 {
    stats.iter().filter(|row| row.name == counter).map(|row| row.value).sum()
}

/// A figure of a filter: its counter, to what the filter is attached, its generation, the rule.
pub(super) type Key = [String; 4];

/// All of them that are not 0, as `octroi ruler list` has them.
pub(super) fn of_list(rows: &[FilterRow]) -> BTreeMap<Key, u64> {
    let mut figures = BTreeMap::new();
    for row in rows {
        let key = |counter: &str, rule: &str| {
            [format!("ruler.{counter}"), row.at.to_string(), row.generation.to_string(), rule.to_owned()]
        };
        figures.insert(key("unmatched", ""), row.unmatched);
        for rule in &row.rules {
            for (counter, value) in
                [("matched", rule.matched), ("refused", rule.refused), ("header", rule.header)]
            {
                figures.insert(key(counter, &rule.rule.to_string()), value);
            }
        }
    }
    figures.retain(|_, value| *value != 0);
    figures
}

/// All of them that are not 0, as `octroi stats` has them.
pub(super) fn of_stats(rows: &[StatRow]) -> BTreeMap<Key, u64> {
    let rows = rows.iter().filter(|row| row.name.starts_with("ruler.") && row.value != 0);
    let label = |row: &StatRow, name: &str| row.labels.get(name).cloned().unwrap_or_default();
    let key =
        |row: &StatRow| [row.name.clone(), label(row, "where"), label(row, "generation"), label(row, "rule")];
    rows.map(|row| (key(row), row.value)).collect()
}

#[cfg(test)]
mod tests {
    use client::control::{
        answer::Role,
        ruler::{HeaderRow, Scope, Where},
    };

    use super::*;

    fn listed() -> FilterRow {
        let rule = |rule, matched, header| RuleRow {
            rule,
            line: rule,
            action: "accept".into(),
            code: 0,
            matched,
            refused: 0,
            header,
        };
        FilterRow {
            at: Where::Port("eth0".into()),
            filter: "f".into(),
            file: "f.rl".into(),
            scope: Scope::Steered,
            pass: Vec::new(),
            generation: 3,
            engines: Vec::new(),
            degraded: None,
            header: HeaderRow::default(),
            rules: vec![rule(1, 5, 0), rule(2, 6, 7)],
            unmatched: 8,
        }
    }

    fn counted(name: &str, rule: Option<&str>, value: u64) -> StatRow {
        let labels = [("where", Some("eth0")), ("generation", Some("3")), ("rule", rule)];
        let labels = labels.into_iter().filter_map(|(name, of)| Some((name.to_owned(), of?.to_owned())));
        StatRow { name: name.to_owned(), labels: labels.collect(), role: Role::Note, value }
    }

    #[test]
    fn both_ways_of_saying_it_are_equal() {
        assert_eq!((judged(&listed()), did(&listed().rules[1])), (19, "7 in XDP, 6 by workers".to_owned()));
        let mut stats = vec![
            counted("ruler.unmatched", None, 8),
            counted("ruler.matched", Some("1"), 5),
            counted("ruler.matched", Some("2"), 6),
            counted("ruler.refused", Some("2"), 0),
            counted("ruler.header", Some("2"), 7),
            counted("ruler_reject", None, 9),
        ];
        assert_eq!(of_list(&[listed()]), of_stats(&stats));
        assert_eq!(total(&stats, "ruler.matched"), 11);
        stats[2].value += 1;
        assert_ne!(of_list(&[listed()]), of_stats(&stats));
    }
}
