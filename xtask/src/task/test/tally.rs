//! Counting what cargo and its test programs print: passed, failed and why, and which tests took longest.
//!
//! It reads lines and keeps numbers; it never decides whether a run was good, which is the exit status's business.

/// How many slow tests are shown.
const SLOWEST: usize = 10;
/// Lines of what a failed test said that are shown again at the end.
const REASON: usize = 8;

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Those that failed.
    pub(super) failures: Vec<Failure>,
    programs: usize,
    program: String,
    seconds: Vec<(f64, String)>,
    /// The failure whose words are being read.
    reading: Option<usize>,
}

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Test program and test.
    pub(super) test: String,
    /// Why: the first lines of its error or panic.
    pub(super) why: Vec<String>,
}

impl Tally {
    /// Reads one line of the merged output.
    pub(super) fn read(&mut self, line: &str) {
        let line = line.trim();
        self.read_reason(line);
        if let Some(program) = line.strip_prefix("Running ").or_else(|| line.strip_prefix("Doc-tests ")) {
            // "unittests src/lib.rs (target/debug/deps/abi-0123456789abcdef)" or "abi"
            self.program = program_name(program).to_owned();
            self.programs += 1;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            let test = format!("{}: {name}", self.program);
            if outcome.starts_with("FAILED") {
                self.failures.push(Failure { test: test.clone(), why: Vec::new() });
            }
            if let Some(seconds) = seconds(outcome) {
                self.seconds.push((seconds, test));
            }
        }
    }

    /// What libtest prints of failed tests when all have run: `---- name stdout ----`, then what each said, which may
    /// begin with a log.
    fn read_reason(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            let test = format!("{}: {name}", self.program);
            self.reading = self.failures.iter().position(|failure| failure.test == test);
            return;
        }
        let Some(why) = self.reading.and_then(|at| self.failures.get_mut(at)).map(|f| &mut f.why) else {
            return;
        };
        let begins = line.starts_with("Error: ") || line.contains("' panicked at ");
        let ends = ["Stack backtrace:", "stack backtrace:", "note: ", "failures:"];
        if why.is_empty() && !begins || line.is_empty() {
            return;
        }
        if ends.iter().any(|end| line.starts_with(end)) || why.len() == REASON {
            self.reading = None;
        } else {
            why.push(line.to_owned());
        }
    }

    /// The slowest tests, slowest first.
    pub(super) fn slowest(&self) -> Vec<&(f64, String)> {
        let mut sorted: Vec<_> = self.seconds.iter().collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        sorted.truncate(SLOWEST);
        sorted
    }

    /// Test programs that ran.
    pub(super) fn programs(&self) -> usize {
        self.programs
    }
}

/// The crate or test file, without directory and hash.
fn program_name(running: &str) -> &str {
    let Some((_, path)) = running.trim_end_matches(')').split_once('(') else { return running };
    let file = path.rsplit('/').next().unwrap_or(path);
    file.rsplit_once('-').map_or(file, |(name, _)| name)
}

/// The number before a word: `ok. 13 passed; 0 failed`.
fn count(result: &str, word: &str) -> usize {
    let words: Vec<_> = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// The time of `ok <0.012s>`.
fn seconds(outcome: &str) -> Option<f64> {
    outcome.split_once('<')?.1.strip_suffix("s>")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "     Running unittests src/lib.rs (/t/debug/deps/octroi_tests-5fa0c1d2e3f40516)\n\
        running 3 tests\n\
        test lab::name::unique ... ok <0.002s>\n\
        test b04_cut ... FAILED <1.500s>\n\
        test slow ... ok <2.250s>\n\
        \nfailures:\n\n---- b04_cut stdout ----\n\
        octroid's log:\nINFO it serves\n\n\
        Error: 3 frames are missing\n\nCaused by:\n    0: the port is gone\n\n\
        Stack backtrace:\n   0: somewhere\n\
        failures:\n    b04_cut\n\n\
        test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.75s\n\
           Doc-tests abi\n\
        test userspace/abi/src/lib.rs - (line 3) ... ok\n\
        test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";

    #[test]
    fn counts_failures_and_times_are_read() {
        let mut tally = Tally::default();
        OUTPUT.lines().for_each(|line| tally.read(line));
        assert_eq!((tally.passed, tally.failed, tally.programs()), (3, 1, 2));
        let why =
            ["Error: 3 frames are missing", "Caused by:", "0: the port is gone"].map(str::to_owned).to_vec();
        assert_eq!(tally.failures, [Failure { test: "octroi_tests: b04_cut".to_owned(), why }]);
        let slowest: Vec<_> = tally.slowest().into_iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(
            slowest,
            ["octroi_tests: slow", "octroi_tests: b04_cut", "octroi_tests: lab::name::unique"]
        );
    }

    #[test]
    fn at_most_ten_are_shown() {
        let mut tally = Tally::default();
        (0..30).for_each(|i| tally.read(&format!("test t{i} ... ok <{i}.000s>")));
        assert_eq!(tally.slowest().len(), SLOWEST);
        assert_eq!(tally.slowest()[0].0, 29.0);
    }

    #[test]
    fn other_lines_mean_nothing() {
        let mut tally = Tally::default();
        for line in
            ["", "testing", "test result", "running 4 tests", "error: test failed, to rerun pass `-p x`"]
        {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.programs()), (0, 0, 0));
    }
}
