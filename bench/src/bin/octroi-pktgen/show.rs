//! How results are shown: one table, or one JSON object with the same numbers.
use std::io::{self, Write};

use anyhow::{Context, Result};
use octroi_bench::{
    engine::drive::{Received, Sent},
    report::{
        Form,
        table::{Align, Table, figure, time_ns},
    },
    traffic::book::Outcome,
};
use serde::Serialize;

/// Prints `result` as JSON, or `table`.
pub(crate) fn print(form: Form, result: &impl Serialize, table: &Table) -> Result<()> {
    let mut out = io::stdout().lock();
    let text = match form {
        Form::Text => table.render(),
        Form::Json => serde_json::to_string(result)? + "\n",
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}

/// A table of names and figures.
pub(crate) fn table(title: &str) -> Table {
    Table::new([(title, Align::Left), ("", Align::Right)])
}

/// Adds what a sender did.
pub(crate) fn sent(table: &mut Table, sent: &Sent) {
    line(table, "sent", sent.sent.to_string());
    if sent.unsent != 0 {
        line(table, "not sent in time", sent.unsent.to_string());
    }
    line(table, "send rate", rate(sent.rate_pps));
    if sent.lag_ns_max != 0 {
        line(table, "furthest behind schedule", time_ns(sent.lag_ns_max));
    }
}

/// Adds what a receiver found.
pub(crate) fn received(table: &mut Table, outcome: &Outcome, received: &Received) {
    let Outcome { tally, expected, lost, loss_ratio, latency } = outcome;
    line(table, "received", tally.received.to_string());
    line(table, "expected", expected.to_string());
    line(table, "lost", format!("{lost} ({} %)", figure(loss_ratio * 100.0)));
    line(table, "receive rate", rate(received.rate_pps));
    let rarely = [
        ("duplicates", tally.duplicates),
        ("late (RFC 4737)", tally.late),
        ("furthest late", tally.late_extent_max),
        ("too old to tell", tally.too_old),
        ("corrupt", tally.corrupt),
        ("of others", tally.foreign),
        ("of an earlier run", tally.earlier),
        ("lost in our own rings", received.ring_losses),
    ];
    for (name, n) in rarely.into_iter().filter(|&(_, n)| n != 0) {
        line(table, name, n.to_string());
    }
    if latency.count != 0 {
        line(table, "latency p50", time_ns(latency.p50_ns));
        line(table, "latency p99", time_ns(latency.p99_ns));
        line(table, "latency p99.9", time_ns(latency.p99_9_ns));
        line(table, "latency max", time_ns(latency.max_ns));
    }
}

/// Says so where the generator may have been measured.
pub(crate) fn limited(table: &mut Table, generator_limited: bool) {
    if generator_limited {
        line(table, "generator-limited", "above 80 % of the ceiling".to_owned());
    }
}

/// Adds one figure.
pub(crate) fn line(table: &mut Table, name: &str, value: String) {
    table.row([name.to_owned(), value]);
}

/// A rate in Mpps.
pub(crate) fn rate(pps: f64) -> String {
    format!("{} Mpps", figure(pps / 1e6))
}
