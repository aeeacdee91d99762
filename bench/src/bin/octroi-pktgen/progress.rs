//! Live progress on standard error: time, frames and rate; nothing where no one watches.
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use octroi_bench::{engine::drive::Progress, report::table::figure};

/// Redraws a second.
const REDRAWS: u8 = 10;
/// Between two redraws, in nanoseconds: a loop that runs a million times a second must not ask that often.
const REDRAW_NS: u64 = 100_000_000;

/// A line that shows how far a job is.
pub(crate) struct Line {
    bar: ProgressBar,
    shown_ns: u64,
}

impl Line {
    /// A line for a job of at most `duration_ns`. It goes on by itself while a run inside the kernel says nothing.
    pub(crate) fn new(verb: &'static str, duration_ns: u64) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        let bar = ProgressBar::with_draw_target(Some(duration_ns / 1_000_000), target);
        let template = "{prefix} {elapsed_precise} {wide_bar} {msg}";
        // The template is ours: if it were wrong, the default would do.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_prefix(verb);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, shown_ns: 0 }
    }

    /// Shows `progress`, if it is time to.
    pub(crate) fn show(&mut self, progress: Progress) {
        let Progress { elapsed_ns, sent, received } = progress;
        if elapsed_ns < self.shown_ns + REDRAW_NS {
            return;
        }
        self.shown_ns = elapsed_ns;
        self.bar.set_position(elapsed_ns / 1_000_000);
        let rate = sent.max(received) as f64 * 1e3 / elapsed_ns as f64;
        self.bar.set_message(format!("sent {sent}, received {received}, {} Mpps", figure(rate)));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
