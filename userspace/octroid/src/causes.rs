//! An error and its causes in one line, each said once.
//!
//! Some errors repeat their cause in their own words, some leave it to the chain. This takes the chain and leaves out
//! whatever has been said already.
use std::fmt;

/// Shows an error with its causes.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(pub &'a anyhow::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.0.chain() {
            let text = cause.to_string();
            if said.contains(&text) {
                continue;
            }
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&text);
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let error = anyhow!("too many files").context("cannot open a: too many files").context("queue 0");
        assert_eq!(format!("{error:#}"), "queue 0: cannot open a: too many files: too many files");
        assert_eq!(Causes(&error).to_string(), "queue 0: cannot open a: too many files");
    }
}
