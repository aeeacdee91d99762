//! The terminal of `octroi top`: five tables, redrawn at each look, until `q`.
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Style, Stylize},
    text::Line,
    widgets::{Block, Row, Table},
};

use super::{Watch, rates::Rates};
use crate::table::thousands;

/// The most rules on one screen: the fastest.
const RULES_MAX: usize = 8;

/// Draws until `q`, Ctrl-C or `count` looks.
pub(super) fn run(watch: &mut Watch, interval: Duration, count: Option<u64>) -> Result<()> {
    let mut terminal = ratatui::try_init().context("top draws on a terminal; elsewhere use --json")?;
    let watched = follow(&mut terminal, watch, interval, count);
    ratatui::restore();
    watched
}

fn follow(
    terminal: &mut DefaultTerminal,
    watch: &mut Watch,
    interval: Duration,
    count: Option<u64>,
) -> Result<()> {
    let mut looks = 0;
    while count.is_none_or(|count| looks < count) {
        if is_ended_within(interval)? {
            return Ok(());
        }
        let rates = watch.next()?;
        terminal.draw(|frame| draw(frame, &rates)).context("drawing")?;
        looks += 1;
    }
    Ok(())
}

/// Waits for `interval`; whether the user ended the view meanwhile.
fn is_ended_within(interval: Duration) -> Result<bool> {
    let end = Instant::now() + interval;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if !event::poll(left).context("waiting for a key")? {
            return Ok(false);
        }
        if let Event::Key(key) = event::read().context("reading a key")?
            && is_end(key)
        {
            return Ok(true);
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    let interrupted = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn draw(frame: &mut Frame<'_>, rates: &Rates) {
    let height = |rows: usize| Constraint::Length(u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(3));
    let [head, queues, engines, targets, sessions, rules, drops] = Layout::vertical([
        Constraint::Length(1),
        height(rates.queues.len()),
        height(rates.engines.len()),
        height(rates.targets.len()),
        if rates.sessions.is_empty() { Constraint::Length(0) } else { height(rates.sessions.len()) },
        if rates.rules.is_empty() { Constraint::Length(0) } else { height(rates.rules.len().min(RULES_MAX)) },
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    let passed = thousands(rates.passed_pps);
    let line = format!(
        " octroi {}   to the OS {passed}/s   held {}   every {} ms   q ends",
        rates.instance, rates.held, rates.interval_ms
    );
    frame.render_widget(Line::from(line).bold(), head);
    let rows = rates.queues.iter().map(|q| {
        let numbers = [q.rx_pps, q.delivered_pps, q.transmitted_pps].map(thousands);
        let [rx, delivered, transmitted] = numbers;
        [q.interface.clone(), q.queue.to_string(), rx, delivered, transmitted]
    });
    table(frame, queues, "queues", ["interface", "queue", "rx/s", "delivered/s", "transmitted/s"], rows);
    let rows = rates.engines.iter().map(|e| {
        let core = e.core.map_or_else(|| "-".into(), |core| core.to_string());
        [e.engine.to_string(), e.role.clone(), core, e.state.clone(), format!("{:.1} %", e.cpu_percent)]
    });
    table(frame, engines, "engines", ["engine", "role", "core", "state", "cpu"], rows);
    let rows = rates.targets.iter().map(|t| {
        let mbps = format!("{:.1}", t.bps as f64 / 1e6);
        [t.tuple.to_string(), t.kind.clone(), t.listens.clone(), thousands(t.pps), mbps]
    });
    table(frame, targets, "targets", ["tuple", "kind", "listens on", "packets/s", "Mbit/s"], rows);
    let rows = rates.sessions.iter().map(|s| {
        let [rx, tx, dropped] = [s.rx_pps, s.tx_pps, s.dropped_pps].map(thousands);
        [s.slot.to_string(), s.name.clone(), rx, tx, dropped]
    });
    if !rates.sessions.is_empty() {
        let heading = ["slot", "application", "received/s", "sent/s", "dropped/s"];
        table(frame, sessions, "applications", heading, rows);
    }
    let rows = rates.rules.iter().take(RULES_MAX).map(|r| {
        let [pps, total] = [r.pps, r.total].map(thousands);
        [r.at.clone(), r.filter.clone(), r.rule.to_string(), r.action.clone(), pps, total]
    });
    if !rates.rules.is_empty() {
        let heading = ["where", "filter", "rule", "action", "packets/s", "total"];
        table(frame, rules, "rules", heading, rows);
    }
    let rows = rates.drops.iter().map(|d| [d.reason.clone(), thousands(d.pps), thousands(d.total)]);
    table(frame, drops, "drops", ["reason", "packets/s", "total"], rows);
}

fn table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    heading: [&'static str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let table = Table::new(rows.map(Row::new), [Constraint::Fill(1); N])
        .header(Row::new(heading).style(Style::new().dim()))
        .block(Block::bordered().title(title.to_owned()));
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    #[test]
    fn one_screen_shows_queues_engines_targets_and_drops() {
        let mut terminal = Terminal::new(TestBackend::new(90, 28)).expect("a screen in memory");
        terminal.draw(|frame| draw(frame, &super::super::rates::tests::example())).expect("drawing");
        insta::assert_snapshot!(terminal.backend());
    }
}
