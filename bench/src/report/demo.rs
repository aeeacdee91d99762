//! A demo's report: checks that hold or do not, and the books.
use std::fmt;

use serde::Serialize;

use super::{
    Report,
    books::Books,
    table::{Align, Table, figure},
};

/// What a check found, or wanted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A measured one.
    Number(f64),
    /// Words.
    Text(String),
}

/// One thing that the demo shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub value: Value,
    /// What was wanted.
    pub want: Value,
}

/// All that a demo shows.
///
/// # Invariants
/// `ok` is true only if every check holds and the books balance: only [`DemoReport::new`] sets it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoReport {
    ok: bool,
    checks: Vec<Check>,
    books: Books,
}

impl Check {
    /// A check whose outcome the caller knows.
    pub fn new(
        name: impl Into<String>,
        holds: bool,
        value: impl Into<Value>,
        want: impl Into<Value>,
    ) -> Self {
        Self { name: name.into(), ok: holds, value: value.into(), want: want.into() }
    }

    /// Holds if `value` is exactly `want`.
    pub fn equal(name: impl Into<String>, value: impl Into<Value>, want: impl Into<Value>) -> Self {
        let (value, want) = (value.into(), want.into());
        Self { name: name.into(), ok: value == want, value, want }
    }

    /// Holds if `value` is at least `least`.
    pub fn at_least(name: impl Into<String>, value: f64, least: f64) -> Self {
        Self::new(name, least <= value, value, format!("≥ {}", figure(least)))
    }

    /// Holds if `value` is at most `most`.
    pub fn at_most(name: impl Into<String>, value: f64, most: f64) -> Self {
        Self::new(name, value <= most, value, format!("≤ {}", figure(most)))
    }

    /// Shows a measured value without judging it.
    pub fn shown(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(name, true, value, "shown, not judged")
    }
}

impl DemoReport {
    /// The report of these checks and books; the balance of the books is one more check.
    #[must_use]
    pub fn new(mut checks: Vec<Check>, books: Books) -> Self {
        checks.push(Check::new("books balance", books.balance(), books.unaccounted().to_string(), "0"));
        Self { ok: checks.iter().all(|c| c.ok), checks, books }
    }

    /// The checks.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The books.
    #[must_use]
    pub const fn books(&self) -> &Books {
        &self.books
    }
}

impl Report for DemoReport {
    fn ok(&self) -> bool {
        self.ok
    }

    fn text(&self) -> String {
        let columns =
            [("", Align::Left), ("check", Align::Left), ("found", Align::Right), ("wanted", Align::Left)];
        let mut table = Table::new(columns);
        for check in &self.checks {
            let mark = if check.ok { "ok" } else { "FAILED" };
            table.row([mark.to_owned(), check.name.clone(), check.value.to_string(), check.want.to_string()]);
        }
        let failed = self.checks.iter().filter(|c| !c.ok).count();
        let verdict = match failed {
            0 => format!("all {} checks hold", self.checks.len()),
            _ => format!("{failed} of {} checks FAILED", self.checks.len()),
        };
        format!("{}\n{}\n{verdict}\n", table.render(), self.books.table().render())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => n.fmt(f),
            Self::Number(x) => f.write_str(&figure(*x)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Count(n)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::Number(x)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Form;

    fn written(report: &DemoReport, form: Form) -> (String, String) {
        let mut out = Vec::new();
        let status = report.finish(form, &mut out).expect("memory takes all");
        (String::from_utf8(out).expect("text"), format!("{status:?}"))
    }

    #[test]
    fn one_failed_check_fails_the_demo() {
        let checks = vec![Check::equal("lost", 1_u64, 0_u64), Check::at_least("rate", 2.5, 1.0)];
        let report = DemoReport::new(checks, Books { rx: 3, delivered: 3, ..Books::default() });
        let (text, status) = written(&report, Form::Text);
        assert_eq!(status, format!("{:?}", std::process::ExitCode::FAILURE));
        assert!(text.contains("FAILED  lost"), "{text}");
        assert!(text.ends_with("1 of 3 checks FAILED\n"), "{text}");
    }

    #[test]
    fn books_that_do_not_balance_fail_the_demo() {
        assert!(DemoReport::new(vec![], Books::default()).ok());
        assert!(!DemoReport::new(vec![], Books { rx: 1, ..Books::default() }).ok());
    }

    #[test]
    fn the_json_form_is_one_line() {
        let report = DemoReport::new(vec![Check::equal("lost", 0_u64, 0_u64)], Books::default());
        let (json, status) = written(&report, Form::Json);
        assert_eq!(status, format!("{:?}", std::process::ExitCode::SUCCESS));
        assert_eq!(
            json,
            concat!(
                r#"{"ok":true,"checks":[{"name":"lost","ok":true,"value":0,"want":0},"#,
                r#"{"name":"books balance","ok":true,"value":"0","want":"0"}],"#,
                r#""books":{"rx":0,"submitted":0,"created":0,"delivered":0,"transmitted":0,"passed":0,"#,
                r#""dropped":{},"held":0,"unaccounted":0}}"#,
                "\n"
            )
        );
    }
}
