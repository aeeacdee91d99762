//! A bench's report: rows of ours against a peer, each with its ratio and its spread.
//!
//! A ratio above 1 always means that ours is better, whether more or less of the unit is. Without a peer, the aim
//! stands in its place and is named so.
use std::fmt;

use serde::Serialize;

use super::{
    Report,
    interleave::{Pairs, RUNS, Verdict},
    spread::Spread,
    table::{Align, Table, figure},
};

/// The peer's name where there is none.
pub const AIM: &str = "aim";

/// Which way is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Rates.
    Higher,
    /// Times.
    Lower,
}

/// What must be known before a row is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Above 80 % of what the generator can do: it may have been measured instead. Never recorded.
    GeneratorLimited,
    /// A search that ended without both bounds at the width asked for.
    Irregular,
    /// Fewer runs or shorter trials than a record needs. Never recorded.
    Quick,
}

/// Ours against a peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the bench.
    pub id: String,
    /// Median of ours.
    pub ours: f64,
    /// Median of the peer's.
    pub peer: f64,
    /// Who the peer is, or [`AIM`].
    pub peer_name: String,
    /// Unit of both.
    pub unit: String,
    /// Median of the ratios of pairs; above 1, ours is better.
    pub ratio: f64,
    /// Runs of each side.
    pub runs: u32,
    /// Spread of the ratios.
    pub spread: Spread,
    /// Spread of ours.
    pub ours_spread: Spread,
    /// Spread of the peer's.
    pub peer_spread: Spread,
    /// What may be said.
    pub verdict: Verdict,
    /// The least ratio that passes; without one, the row only shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// What is aimed at; without one, there is only the limit.
    #[serde(flatten)]
    pub aim: Option<Aim>,
    /// What must be known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// The ratio that is aimed at. A row that misses it says so, and holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Aim {
    /// The least ratio that meets it.
    #[serde(rename = "aim")]
    pub least: f64,
    /// Whether the row met it.
    #[serde(rename = "aim_outcome")]
    pub outcome: Outcome,
}

/// What became of an aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The ratio reached it.
    Met,
    /// It did not.
    Missed,
}

/// All rows of one bench run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Which machine: processor, number of them, kernel.
    pub machine: String,
    /// Which state of the source.
    pub commit: String,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Better {
    /// How much better `ours` is than `peer`.
    #[must_use]
    pub fn ratio(self, ours: f64, peer: f64) -> f64 {
        match self {
            Self::Higher => ours / peer,
            Self::Lower => peer / ours,
        }
    }
}

impl Row {
    /// The row of pairs that were measured in turns. `None` if no run gave a number.
    #[must_use]
    pub fn paired(id: impl Into<String>, unit: &str, peer_name: &str, pairs: &Pairs) -> Option<Self> {
        let (ours, peer, ratio) = (pairs.ours()?, pairs.peer()?, pairs.ratio()?);
        let flags = if pairs.runs() < RUNS { vec![Flag::Quick] } else { vec![] };
        Some(Self {
            id: id.into(),
            ours: ours.median,
            peer: peer.median,
            peer_name: peer_name.to_owned(),
            unit: unit.to_owned(),
            ratio: ratio.median,
            runs: pairs.runs(),
            spread: ratio,
            ours_spread: ours,
            peer_spread: peer,
            verdict: pairs.verdict(),
            limit: None,
            aim: None,
            flags,
        })
    }

    /// The row of runs that have no peer, against what they are to reach. `None` if no run gave a number.
    #[must_use]
    pub fn against_aim(
        id: impl Into<String>,
        unit: &str,
        better: Better,
        runs: &[f64],
        aim: f64,
    ) -> Option<Self> {
        let pairs = Pairs::new(better, runs.iter().map(|&run| (run, aim)).collect());
        Self::paired(id, unit, AIM, &pairs)
    }

    /// The row of one search a side, ours first. A search repeats its own trials, so a single one is no quick look.
    #[must_use]
    pub fn searched(id: impl Into<String>, unit: &str, peer_name: &str, rates: (f64, f64)) -> Option<Self> {
        let row = Self::paired(id, unit, peer_name, &Pairs::new(Better::Higher, vec![rates]))?;
        Some(Self { flags: Vec::new(), verdict: Verdict::Even, ..row })
    }

    /// The row with the least ratio that passes.
    #[must_use]
    pub fn with_limit(self, least: f64) -> Self {
        Self { limit: Some(least), ..self }
    }

    /// The row with the ratio that is aimed at.
    #[must_use]
    pub fn with_aim(self, least: f64) -> Self {
        let outcome = if least <= self.ratio { Outcome::Met } else { Outcome::Missed };
        Self { aim: Some(Aim { least, outcome }), ..self }
    }

    /// The row with one more remark.
    #[must_use]
    pub fn flagged(mut self, flag: Flag) -> Self {
        self.flags.push(flag);
        self.flags.sort_unstable();
        self.flags.dedup();
        self
    }

    /// Whether the row holds: it has no limit, or reaches it.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.limit.is_none_or(|least| least <= self.ratio)
    }

    /// Whether the row may be recorded.
    #[must_use]
    pub fn recordable(&self) -> bool {
        !self.flags.iter().any(|f| matches!(f, Flag::GeneratorLimited | Flag::Quick))
    }

    fn remarks(&self) -> String {
        let mut remarks = Vec::new();
        if !self.ok() {
            remarks.push("BELOW LIMIT".to_owned());
        }
        if self.aim.is_some_and(|aim| aim.outcome == Outcome::Missed) {
            remarks.push("aim missed".to_owned());
        }
        if self.peer_name != AIM {
            match self.verdict {
                Verdict::Faster => remarks.push("faster".to_owned()),
                Verdict::Slower => remarks.push("slower".to_owned()),
                Verdict::Even => {}
            }
        }
        remarks.extend(self.flags.iter().map(Flag::to_string));
        remarks.join(", ")
    }
}

impl Report for BenchReport {
    fn ok(&self) -> bool {
        self.rows.iter().all(Row::ok)
    }

    fn text(&self) -> String {
        let mut table = Table::new([
            ("bench", Align::Left),
            ("ours", Align::Right),
            ("peer", Align::Right),
            ("unit", Align::Left),
            ("against", Align::Left),
            ("ratio", Align::Right),
            ("min … max", Align::Left),
            ("limit", Align::Right),
            ("aim", Align::Right),
            ("runs", Align::Right),
            ("", Align::Left),
        ]);
        for row in &self.rows {
            table.row([
                row.id.clone(),
                figure(row.ours),
                figure(row.peer),
                row.unit.clone(),
                row.peer_name.clone(),
                figure(row.ratio),
                format!("{} … {}", figure(row.spread.min), figure(row.spread.max)),
                row.limit.map_or_else(String::new, least),
                row.aim.map_or_else(String::new, |aim| least(aim.least)),
                row.runs.to_string(),
                row.remarks(),
            ]);
        }
        let failed = self.rows.iter().filter(|r| !r.ok()).count();
        let verdict = match failed {
            0 => "every row with a limit reaches it".to_owned(),
            _ => format!("{failed} of {} rows BELOW their limit", self.rows.len()),
        };
        format!("{} · commit {}\n\n{}\n{verdict}\n", self.machine, self.commit, table.render())
    }
}

fn least(ratio: f64) -> String {
    format!("≥ {}", figure(ratio))
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GeneratorLimited => "generator-limited",
            Self::Irregular => "irregular",
            Self::Quick => "quick",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: Vec<Row>) -> BenchReport {
        BenchReport { machine: "test machine".into(), commit: "abc".into(), rows }
    }

    fn row(ours: f64) -> Row {
        let pairs = Pairs::new(Better::Higher, vec![(ours, 2.0); 10]);
        Row::paired("rx_veth_60", "Mpps", "bare", &pairs).expect("ten runs")
    }

    #[test]
    fn a_row_below_its_limit_fails_the_bench() {
        assert!(report(vec![row(1.0)]).ok(), "no limit");
        assert!(report(vec![row(1.9).with_limit(0.9)]).ok());
        let below = report(vec![row(1.9).with_limit(0.9), row(1.7).with_limit(0.9)]);
        assert!(!below.ok());
        assert!(below.text().contains("BELOW LIMIT, slower"), "{}", below.text());
        assert!(below.text().ends_with("1 of 2 rows BELOW their limit\n"), "{}", below.text());
    }

    #[test]
    fn an_aim_stands_where_there_is_no_peer() {
        let row = Row::against_aim("steer_hit", "ns", Better::Lower, &[50.0; 10], 60.0).expect("ten runs");
        assert_eq!((row.peer, row.peer_name.as_str(), row.ratio), (60.0, "aim", 1.2));
        assert_eq!(row.remarks(), "", "nothing is faster than an aim");
    }

    #[test]
    fn a_missed_aim_is_said_and_fails_nothing() {
        let rows = vec![row(3.0).with_limit(1.0).with_aim(1.5), row(3.0).with_limit(1.0).with_aim(1.6)];
        let report = report(rows);
        assert!(report.ok());
        assert_eq!(report.text().matches("aim missed").count(), 1, "{}", report.text());
        let json = serde_json::to_value(&report).expect("plain data");
        let outcomes = [0, 1].map(|at| (&json["rows"][at]["aim"], &json["rows"][at]["aim_outcome"]));
        assert_eq!(outcomes, [(&1.5.into(), &"met".into()), (&1.6.into(), &"missed".into())]);
    }

    #[test]
    fn what_is_quick_or_generator_limited_is_not_recorded() {
        let pairs = Pairs::new(Better::Higher, vec![(1.0, 1.0); 9]);
        let quick = Row::paired("x", "", "y", &pairs).expect("nine runs");
        assert_eq!((quick.flags.clone(), quick.recordable()), (vec![Flag::Quick], false));
        assert!(row(1.0).recordable());
        assert!(row(1.0).flagged(Flag::Irregular).recordable());
        assert!(!row(1.0).flagged(Flag::GeneratorLimited).recordable());
    }

    #[test]
    fn the_json_form_has_every_key() {
        let json = serde_json::to_value(report(vec![row(3.0)])).expect("plain data");
        let five = serde_json::json!({"min": 1.5, "q1": 1.5, "median": 1.5, "q3": 1.5, "max": 1.5});
        let row = &json["rows"][0];
        assert_eq!((&json["machine"], &json["commit"]), (&"test machine".into(), &"abc".into()));
        assert_eq!(
            (&row["id"], &row["peer_name"], &row["unit"]),
            (&"rx_veth_60".into(), &"bare".into(), &"Mpps".into())
        );
        assert_eq!((&row["ours"], &row["peer"], &row["ratio"]), (&3.0.into(), &2.0.into(), &1.5.into()));
        assert_eq!((&row["runs"], &row["spread"], &row["verdict"]), (&10.into(), &five, &"faster".into()));
    }
}
