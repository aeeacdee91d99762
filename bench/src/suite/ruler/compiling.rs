//! `r7`: a thousand rules, half of them five-tuples and half with literals, from source to a filter that can judge.
use std::{fmt::Write as _, time::Instant};

use anyhow::Result;

use super::absolute;
use crate::{
    report::bench::{Better, Row},
    scan::{
        engines::{bind, compile},
        literals::Literals,
    },
    suite::mux::pinned,
};

/// The row.
pub(super) const IDS: [&str; 1] = ["r7"];

/// Rules of each kind.
const EACH: usize = 500;
/// Milliseconds that compiling them takes at most.
const AIM_MS: f64 = 2_000.0;

/// Measures the row.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    pinned(|| {
        let program = program();
        let time = |_| {
            let start = Instant::now();
            let bound = bind(compile(&program)?)?;
            let scratch = std::hint::black_box(bound.scratch());
            let took = start.elapsed();
            drop(scratch);
            Ok(took.as_secs_f64() * 1e3)
        };
        let times = (0..runs).map(time).collect::<Result<Vec<_>>>()?;
        rows.push(absolute(Row::against_aim(IDS[0], "ms", Better::Lower, &times, AIM_MS))?.with_limit(1.0));
        Ok(())
    })
}

fn program() -> String {
    let mut text = String::from("include \"layouts.rli\"\nfilter thousand\n");
    for n in 0..EACH {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "  Ethernet_IPv4 IPv4_UDP with [src=10.0.{}.{}, dst=10.77.0.{}] UDP with [sport={}~2, dport={}~2] * \
             => reject 1;",
            n / 250,
            n % 250,
            n % 7,
            20_000 + n,
            53 + n % 3
        );
    }
    for (n, literal) in Literals::random(EACH, 8, 7).iter().enumerate() {
        let port = [80, 8_080, 25, 143][n % 4];
        let literal = String::from_utf8_lossy(literal);
        let _ = writeln!(
            text,
            "  Ethernet_IPv4 IPv4_TCP TCP with [dest={port}~2] * \"{literal}\" * => reject {};",
            n + 2
        );
    }
    text + "  * => accept;\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_thousand_rules_and_one() {
        assert_eq!(program().matches("=>").count(), 1_001);
    }
}
