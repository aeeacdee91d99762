//! Rows appended to `bench/record/<cpu>/<date>.csv`: added, never edited.
//!
//! A figure without a baseline is absolute, one with a baseline is the ratio to it; a comparison makes three rows,
//! ours, the peer's (named `bench/peer`) and the ratio. What may not be published is not recorded
//! ([`Row::recordable`]).
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    bench::{BenchReport, Row},
    spread::Spread,
    svg,
};

/// The columns; `spread` is `min q1 q3 max`.
pub const COLUMNS: &str = "commit,kernel,mode,layout,bench,baseline,runs,median,spread,unit";

/// How the rows of one run were made: what the report itself does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Kernel release.
    pub kernel: String,
    /// Native or generic, copy or zero-copy; `memory` without a kernel.
    pub mode: String,
    /// Layout of the engines.
    pub layout: String,
}

/// Why nothing was recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file with other columns lies there.
    #[error("{path} does not begin with the columns {COLUMNS}: move it away")]
    Columns {
        /// Which file.
        path: PathBuf,
    },
}

/// Appends the recordable rows to today's file below `dir` and, if given a name for it, draws the chart beside it.
///
/// Returns the file, or `None` if no row may be recorded.
///
/// # Errors
/// [`RecordError`]; then nothing was appended.
pub fn append(
    report: &BenchReport,
    setting: &Setting,
    dir: &Path,
    cpu: &str,
    date: &str,
    picture: Option<&str>,
) -> Result<Option<PathBuf>, RecordError> {
    let rows: String = report
        .rows
        .iter()
        .filter(|row| row.recordable())
        .map(|row| lines(row, &report.commit, setting))
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let path = dir.join(slug(cpu)).join(format!("{date}.csv"));
    let at = |source| RecordError::Io { path: path.clone(), source };
    fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(at)?;
    let head = match fs::read_to_string(&path) {
        Ok(text) if text.lines().next() == Some(COLUMNS) => String::new(),
        Ok(text) if !text.is_empty() => return Err(RecordError::Columns { path }),
        Ok(_) => format!("{COLUMNS}\n"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => format!("{COLUMNS}\n"),
        Err(e) => return Err(at(e)),
    };
    let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(at)?;
    // One write, so that two benches that end together do not mix their rows.
    file.write_all(format!("{head}{rows}").as_bytes()).map_err(at)?;
    if let Some(name) = picture {
        let chart = path.with_file_name(format!("{date}-{name}.svg"));
        fs::write(&chart, svg::chart(report)).map_err(|source| RecordError::Io { path: chart, source })?;
    }
    Ok(Some(path))
}

/// A name that is good for a directory everywhere: lower case, digits and dashes.
#[must_use]
pub fn slug(name: &str) -> String {
    let dashed: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "unknown".to_owned() } else { parts.join("-") }
}

/// The date of a time in seconds since 1970, as `year-month-day` in UTC.
#[must_use]
pub fn date(unix_seconds: u64) -> String {
    // Years that begin in March put the leap day last; 400 of them have 146,097 days.
    let days = unix_seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let (month, next) = if march_month < 10 { (march_month + 3, 0) } else { (march_month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

fn lines(row: &Row, commit: &str, setting: &Setting) -> String {
    let line = |bench: &str, baseline: &str, spread: &Spread, unit: &str| {
        let Spread { min, q1, median, q3, max } = spread;
        let cells = [
            commit,
            &setting.kernel,
            &setting.mode,
            &setting.layout,
            bench,
            baseline,
            &row.runs.to_string(),
            &median.to_string(),
            &format!("{min} {q1} {q3} {max}"),
            unit,
        ];
        cells.map(quoted).join(",") + "\n"
    };
    let peer = format!("{}/{}", row.id, row.peer_name);
    line(&row.id, "", &row.ours_spread, &row.unit)
        + &line(&peer, "", &row.peer_spread, &row.unit)
        + &line(&row.id, &row.peer_name, &row.spread, "ratio")
}

/// A cell as RFC 4180 wants it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{bench::Better, interleave::Pairs};

    fn report(runs: usize) -> BenchReport {
        let pairs = Pairs::new(Better::Higher, vec![(3.0, 2.0); runs]);
        let row = Row::paired("rx", "Mpps", "bare, plain", &pairs).expect("runs");
        BenchReport { machine: "m".into(), commit: "abc".into(), rows: vec![row] }
    }

    fn setting() -> Setting {
        Setting { kernel: "6.18".into(), mode: "native copy".into(), layout: "run-to-completion".into() }
    }

    #[test]
    fn rows_are_added_under_one_head() {
        let dir = tempfile::tempdir().expect("a directory");
        for picture in [None, Some("road")] {
            append(&report(10), &setting(), dir.path(), "A CPU (R) @ 2 GHz", "2026-01-02", picture)
                .expect("recorded");
        }
        let path = dir.path().join("a-cpu-r-2-ghz/2026-01-02.csv");
        let one = "abc,6.18,native copy,run-to-completion,rx,,10,3,3 3 3 3,Mpps\n\
                   abc,6.18,native copy,run-to-completion,\"rx/bare, plain\",,10,2,2 2 2 2,Mpps\n\
                   abc,6.18,native copy,run-to-completion,rx,\"bare, plain\",10,1.5,1.5 1.5 1.5 1.5,ratio\n";
        assert_eq!(fs::read_to_string(&path).expect("the file"), format!("{COLUMNS}\n{one}{one}"));
        assert!(path.with_file_name("2026-01-02-road.svg").exists());
    }

    #[test]
    fn what_may_not_be_published_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(append(&report(9), &setting(), dir.path(), "cpu", "2026-01-02", None), Ok(None)));
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_file_with_other_columns_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cpu/2026-01-02.csv");
        fs::create_dir(dir.path().join("cpu")).expect("made");
        fs::write(&path, "a,b\n1,2\n").expect("written");
        let refused = append(&report(10), &setting(), dir.path(), "cpu", "2026-01-02", None);
        assert!(matches!(refused, Err(RecordError::Columns { .. })));
        assert_eq!(fs::read_to_string(&path).expect("the file"), "a,b\n1,2\n");
    }

    #[test]
    fn dates_know_leap_years() {
        let day = |days: u64| date(days * 86_400 + 86_399);
        assert_eq!(day(0), "1970-01-01");
        assert_eq!([day(11_015), day(11_016), day(11_017)], ["2000-02-28", "2000-02-29", "2000-03-01"]);
        assert_eq!([day(20_453), day(20_454)], ["2025-12-31", "2026-01-01"]);
        assert_eq!([day(47_540), day(47_541)], ["2100-02-28", "2100-03-01"]);
    }
}
