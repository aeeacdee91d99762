//! `octroi ruler list`: the filters that a running daemon has attached, and what each of their rules did.
use anyhow::Result;
use clap::Args;
use client::{
    control::ruler::{FilterRow, HeaderRow, MAX_ANSWER, RulerList},
    document,
};

use super::attach::only;
use crate::{
    cli::Global,
    daemon,
    table::{Table, thousands},
    verb::{Form, Outcome},
};

/// Show the filters that a running daemon has attached, and what each of their rules did.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    form: Form,
}

impl List {
    /// Asks and prints.
    ///
    /// # Errors
    /// If no daemon answers.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let (_, fds) = daemon::connect(global)?.call_with(&RulerList {}, &[])?;
        let rows: Vec<FilterRow> = document::read_json(only(fds)?, MAX_ANSWER)?;
        self.form.print(&rows, |rows| text(rows))?;
        Ok(Outcome::Well)
    }
}

fn text(rows: &[FilterRow]) -> String {
    if rows.is_empty() {
        return "no filter is attached\n".to_owned();
    }
    rows.iter().map(filter).collect::<Vec<_>>().join("\n")
}

fn filter(row: &FilterRow) -> String {
    let FilterRow { at, filter, file, scope, pass, generation, engines, .. } = row;
    let mut text = format!("{filter} ({file}) on {at}, scope {scope}, generation {generation}\n");
    if !pass.is_empty() {
        let codes: Vec<_> = pass.iter().map(u16::to_string).collect();
        text += &format!("  passes to the OS stack: codes {}\n", codes.join(", "));
    }
    if !engines.is_empty() {
        text += &format!("  engines: {}\n", engines.join(", "));
    }
    if let Some(degraded) = &row.degraded {
        text += &format!("  runs slowly: {degraded}\n");
    }
    text += &format!("  {}\n{}", header(&row.header), rules(row));
    text
}

fn header(HeaderRow { instructions, verified, why, log }: &HeaderRow) -> String {
    let log = log.as_ref().map_or_else(String::new, |log| format!("\n{log}"));
    match (instructions, verified) {
        (Some(instructions), Some(verified)) => {
            format!("header program: {instructions} instructions, {verified} verified")
        }
        (Some(instructions), None) => format!("header program: {instructions} instructions"),
        (None, _) => match why {
            Some(why) => format!("no header program: {why}{log}"),
            None => "no header program".to_owned(),
        },
    }
}

fn rules(row: &FilterRow) -> Table<7> {
    let mut table = Table::new(["rule", "line", "action", "code", "packets", "not rewritten", "in XDP"]);
    for rule in &row.rules {
        table.row([
            rule.rule.to_string(),
            rule.line.to_string(),
            rule.action.clone(),
            rule.code.to_string(),
            thousands(rule.matched),
            thousands(rule.refused),
            thousands(rule.header),
        ]);
    }
    let none = |text: &str| text.to_owned();
    let unmatched = thousands(row.unmatched);
    table.row([none("none"), none("-"), none("reject"), none("0"), unmatched, none("-"), none("-")]);
    table
}

#[cfg(test)]
mod tests {
    use client::control::ruler::{RuleRow, Scope, Where};

    use super::*;

    #[test]
    fn filters_are_shown_with_their_rules() {
        let rule = |rule, action: &str, code, matched| RuleRow {
            rule,
            line: rule + 1,
            action: action.into(),
            code,
            matched,
            refused: 0,
            header: 0,
        };
        let on_port = FilterRow {
            at: Where::Port("eth0".into()),
            filter: "signatures".into(),
            file: "signatures.rl".into(),
            scope: Scope::Interface,
            pass: vec![7, 9],
            generation: 12,
            engines: vec!["small table".into(), "on demand".into()],
            degraded: Some("rule 3 would need more than 65536 states".into()),
            header: HeaderRow { instructions: Some(212), verified: Some(1804), ..HeaderRow::default() },
            rules: vec![rule(1, "reject", 1, 12_345), rule(2, "accept", 0, 7)],
            unmatched: 1,
        };
        let on_target = FilterRow {
            at: Where::Target("stack:3.1".parse().unwrap()),
            scope: Scope::Steered,
            pass: Vec::new(),
            engines: Vec::new(),
            degraded: None,
            header: HeaderRow { why: Some("a target's filter has none".into()), ..HeaderRow::default() },
            ..on_port.clone()
        };
        insta::assert_snapshot!(text(&[on_port, on_target]));
        assert_eq!(text(&[]), "no filter is attached\n");
    }
}
