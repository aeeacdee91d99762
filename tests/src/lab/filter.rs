//! Filters under test, attached to a daemon as `octroi ruler run` does: sources and key as sealed documents.
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        connection::{CallError, Connection},
        ruler::{
            FilterRow, MAX_ANSWER, RulerAttach, RulerAttached, RulerDetach, RulerList, Said, Scope, Where,
        },
    },
    document,
};
use serde_json::json;

/// What `ruler.attach` is asked for, with the defaults of the command line.
#[must_use]
pub fn attach(at: &Where) -> RulerAttach {
    RulerAttach {
        at: at.clone(),
        scope: Scope::Steered,
        pass: Vec::new(),
        force: false,
        filter: None,
        allow_slow: false,
    }
}

/// A bundle of one file, `f.rl`, which includes the layouts.
///
/// # Errors
/// The kernel has no memory.
pub fn bundle(rules: &str) -> Result<OwnedFd> {
    let source = format!("include \"layouts.rli\"\nfilter f\n{rules}\n");
    Ok(document::write_json(&json!({"root": "f.rl", "sources": {"f.rl": source}}))?)
}

/// Asks for a filter of these rules, and returns what the daemon says.
///
/// # Errors
/// The daemon refuses.
pub fn ask(
    control: &mut Connection,
    ask: &RulerAttach,
    lent: &[OwnedFd],
) -> Result<(RulerAttached, Said), CallError> {
    let lent: Vec<_> = lent.iter().map(AsFd::as_fd).collect();
    let (answer, fds) = control.call_with(ask, &lent)?;
    let said = fds.first().and_then(|fd| document::read_json(fd, MAX_ANSWER).ok());
    Ok((answer, said.unwrap_or_default()))
}

/// Attaches a filter of these rules, and returns it and the one that it replaced.
///
/// # Errors
/// It is not attached.
pub fn put(control: &mut Connection, at: &Where, rules: &str) -> Result<(FilterRow, Option<FilterRow>)> {
    let (answer, said) = ask(control, &attach(at), &[bundle(rules)?])?;
    ensure!(answer.generation.is_some(), "{}", said.text);
    Ok((said.attached.context("a filter was attached, and none is said to be")?, said.replaced))
}

/// Takes a filter away, and returns it as it was last.
///
/// # Errors
/// There is none.
pub fn take(control: &mut Connection, at: &Where) -> Result<FilterRow> {
    let (_, fds) = control.call_with(&RulerDetach { at: at.clone() }, &[])?;
    Ok(document::read_json(fds.first().context("no document")?, MAX_ANSWER)?)
}

/// Every filter that is attached.
///
/// # Errors
/// The daemon does not answer.
pub fn list(control: &mut Connection) -> Result<Vec<FilterRow>> {
    let (_, fds) = control.call_with(&RulerList {}, &[])?;
    Ok(document::read_json(fds.first().context("no document")?, MAX_ANSWER)?)
}

/// Packets that a filter has judged, on workers.
#[must_use]
pub fn judged(row: &FilterRow) -> u64 {
    row.rules.iter().map(|rule| rule.matched).sum::<u64>() + row.unmatched
}
