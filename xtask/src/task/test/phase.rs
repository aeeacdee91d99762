//! The phases of a test run and the time each took.
//!
//! Times are shown, never judged: who overruns makes something shorter, but no clock fails a run.

use std::time::Instant;

use anyhow::Result;

/// Names and seconds, in order.
#[derive(Debug, Default)]
pub(super) struct Phases {
    done: Vec<(&'static str, f64)>,
}

impl Phases {
    /// Does one phase and notes its time, also if it fails.
    ///
    /// # Errors
    /// Those of the phase.
    pub(super) fn time<T>(&mut self, name: &'static str, phase: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = phase();
        self.done.push((name, start.elapsed().as_secs_f64()));
        result
    }

    /// One line a phase, with its share of the whole.
    pub(super) fn table(&self) -> String {
        let total: f64 = self.done.iter().map(|(_, seconds)| seconds).sum();
        let share = |seconds: f64| if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
        let line =
            |(name, seconds): &(&str, f64)| format!("  {seconds:7.1} s  {:3.0} %  {name}\n", share(*seconds));
        self.done.iter().map(line).collect::<String>() + &format!("  {total:7.1} s         all\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_whole() {
        let phases = Phases { done: vec![("builds", 30.0), ("tests", 10.0)] };
        assert_eq!(
            phases.table(),
            "     30.0 s   75 %  builds\n     10.0 s   25 %  tests\n     40.0 s         all\n"
        );
        assert!(Phases::default().table().contains("0.0 s"));
    }

    #[test]
    fn a_failed_phase_is_noted_too() {
        let mut phases = Phases::default();
        assert!(phases.time("fails", || -> Result<()> { anyhow::bail!("no") }).is_err());
        assert_eq!(phases.done.len(), 1);
    }
}
