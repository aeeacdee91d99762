//! The books of a run: each packet that was read is counted once more, under a rule or under the reason of its drop.
use std::fmt;

use ruler::{
    bundle::Bundle,
    filter::{Bound, Fate, RuleReport, Verdict},
    rewrite::Refusal,
};
use serde::Serialize;

use super::batch::Held;
use crate::{
    table::{Table, thousands},
    verb::ruler::program,
};

/// What was counted up to now.
#[derive(Debug)]
pub(super) struct Tally {
    summary: Summary,
}

/// What is said at the end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    filter: String,
    /// Packets and bytes.
    read: Count,
    written: Count,
    /// Of each rule, in order.
    rules: Vec<Rule>,
    drops: Drops,
    /// Checksums that could not be made and are 0 now.
    csum_skipped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

/// What one rule decided.
#[derive(Clone, Debug, Serialize)]
struct Rule {
    number: usize,
    line: usize,
    action: &'static str,
    code: u16,
    packets: u64,
}

/// Packets that were not written, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Drops {
    ruler_reject: u64,
    ruler_no_match: u64,
    ruler_too_long: u64,
    ruler_too_short: u64,
    ruler_field: u64,
}

impl Tally {
    /// Of a filter, of which nothing is counted yet.
    #[must_use]
    pub(super) fn new(bundle: &Bundle, bound: &Bound) -> Self {
        let report = bound.filter().report();
        let rule = |rule: &RuleReport| Rule {
            number: rule.number,
            line: program::line(bundle, bundle.root(), rule.span),
            action: rule.action,
            code: rule.code,
            packets: 0,
        };
        let rules = report.rules.iter().map(rule).collect();
        let (read, written) = (Count::default(), Count::default());
        let drops = Drops::default();
        Self { summary: Summary { filter: report.filter, read, written, rules, drops, csum_skipped: 0 } }
    }

    /// Counts a packet, and how long it is if it goes on.
    pub(super) fn count(&mut self, held: &Held, verdict: &Verdict, now: Option<usize>) {
        let Summary { read, written, rules, drops, csum_skipped, .. } = &mut self.summary;
        read.add(held.len);
        if let Some(len) = now {
            written.add(len);
        }
        if let Some(rule) = verdict.rule.and_then(|rule| rules.get_mut(rule.index())) {
            rule.packets += 1;
        }
        match &verdict.fate {
            Fate::Accepted(_) => {}
            Fate::Rewritten { skipped_sums, .. } => *csum_skipped += u64::from(*skipped_sums),
            Fate::Rejected(_) => drops.ruler_reject += 1,
            Fate::Unmatched => drops.ruler_no_match += 1,
            Fate::Refused(Refusal::TooLong) => drops.ruler_too_long += 1,
            Fate::Refused(Refusal::TooShort) => drops.ruler_too_short += 1,
            Fate::Refused(Refusal::Field) => drops.ruler_field += 1,
        }
    }

    /// Whether there was a packet.
    #[must_use]
    pub(super) fn has_begun(&self) -> bool {
        self.summary.read.packets != 0
    }

    /// What was counted.
    #[must_use]
    pub(super) fn summary(&self) -> Summary {
        self.summary.clone()
    }
}

impl Count {
    fn add(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }
}

impl Drops {
    fn rows(&self) -> [(&'static str, u64); 5] {
        [
            ("ruler_reject", self.ruler_reject),
            ("ruler_no_match", self.ruler_no_match),
            ("ruler_too_long", self.ruler_too_long),
            ("ruler_too_short", self.ruler_too_short),
            ("ruler_field", self.ruler_field),
        ]
    }
}

/// Rules that no packet came to are only counted, as a program may have thousands.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filter, read, written, rules, drops, csum_skipped } = self;
        writeln!(
            f,
            "filter {filter}: {} packets read, {} written",
            thousands(read.packets),
            thousands(written.packets)
        )?;
        let mut table = Table::new(["rule", "line", "action", "code", "packets"]);
        let (met, others): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.packets != 0);
        for rule in met {
            let [number, line] = [rule.number, rule.line].map(|number| number.to_string());
            table.row([number, line, rule.action.to_owned(), rule.code.to_string(), thousands(rule.packets)]);
        }
        write!(f, "{table}")?;
        match others.len() {
            0 => {}
            1 => writeln!(f, "  1 rule decided no packet")?,
            more => writeln!(f, "  {more} rules decided no packet")?,
        }
        if drops.rows().iter().any(|(_, packets)| *packets != 0) {
            let mut table = Table::new(["dropped", "packets"]);
            for (reason, packets) in drops.rows().into_iter().filter(|(_, packets)| *packets != 0) {
                table.row([reason.to_owned(), thousands(packets)]);
            }
            write!(f, "\n{table}")?;
        }
        if *csum_skipped != 0 {
            writeln!(
                f,
                "\n{} checksums of fragments could not be made and are 0 (ruler_csum_skipped)",
                thousands(*csum_skipped)
            )?;
        }
        Ok(())
    }
}
