//! wrk, the HTTP load generator: run for a while, and what it says read.
//!
//! wrk says nothing of failures where there are none; what it does say is kept as it is.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{End, known};

/// What one run was like.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Requests a second.
    pub rate: f64,
    /// The 99th percentile of latency, in wrk's own words, if it was asked.
    pub p99: Option<String>,
    /// Failed connections and answers that were not 2xx, in wrk's own words; empty if there were none.
    pub failures: String,
}

/// Runs wrk at an end; the last of its words is the URL.
///
/// # Errors
/// It is not installed, or did not get as far as a rate.
pub fn run(end: &End, words: &[&str]) -> Result<Said> {
    let printed = known::run(end, "wrk", words)?;
    ensure!(printed.success, "wrk {}: {}", words.join(" "), printed.stderr.trim());
    let said = String::from_utf8_lossy(&printed.stdout);
    read(&said).with_context(|| format!("wrk {} printed\n{said}", words.join(" ")))
}

fn read(said: &str) -> Result<Said> {
    let after = |what: &str| said.split(what).nth(1).and_then(|rest| rest.split_whitespace().next());
    let rate = after("Requests/sec:").context("no rate")?.parse().context("a rate that is no number")?;
    let failed = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
    let failures: Vec<&str> = said.lines().filter(failed).map(str::trim).collect();
    Ok(Said { rate, p99: after("99%").map(str::to_owned), failures: failures.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://10.77.0.2:8080/8k\n  1 threads and 32 connections\n  \
        Latency Distribution\n     50%    1.10ms\n     99%    3.21ms\n  \
        20512 requests in 1.00s, 161.50MB read\nRequests/sec:  20498.25\nTransfer/sec:    161.39MB\n";

    #[test]
    fn rate_latency_and_failures_are_read() {
        let said = read(SAID).unwrap();
        assert_eq!(said, Said { rate: 20_498.25, p99: Some("3.21ms".to_owned()), failures: String::new() });
        let failing = format!("{SAID}  Socket errors: connect 0, read 3, write 0, timeout 1\n");
        assert_eq!(read(&failing).unwrap().failures, "Socket errors: connect 0, read 3, write 0, timeout 1");
    }

    #[test]
    fn no_rate_is_an_error() {
        assert!(read("unable to connect to 10.77.0.2:8080 Connection refused\n").is_err());
        assert!(read("Requests/sec: many\n").is_err());
    }
}
