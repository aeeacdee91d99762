//! The demos: each makes a small network, uses Octroi in it as a user would, and checks what it shows.
//!
//! A demo refuses to look inside: it starts the daemon with `octroi up`, reads what `octroi` prints, and sends real
//! packets. Whatever it made is gone when it ends, also when a check fails.
use std::{str::FromStr, time::Duration};

use anyhow::Result;
use thiserror::Error;

use crate::report::demo::DemoReport;

pub mod road;
pub mod ruler;
pub(crate) mod scene;
pub mod stacks;
mod stopped;
mod traffic;

/// Longest time that the network may be left standing for the user to look at.
pub const MAX_HOLD: Duration = Duration::from_secs(3600);

/// Which demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demo {
    /// Wire, XDP, AF_XDP, microengines: echo and sink beside the OS stack.
    Road,
    /// Applications with stacks of their own and an OS server, on one address.
    Stacks,
    /// Filters on an interface and before targets, replaced while packets flow.
    Ruler,
}

/// No such demo.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the demos are road, stacks and ruler")]
pub struct UnknownDemo;

impl FromStr for Demo {
    type Err = UnknownDemo;

    fn from_str(text: &str) -> Result<Self, UnknownDemo> {
        match text {
            "road" => Ok(Self::Road),
            "stacks" => Ok(Self::Stacks),
            "ruler" => Ok(Self::Ruler),
            _ => Err(UnknownDemo),
        }
    }
}

impl Demo {
    /// Runs the demo; the network stands for `hold` after its checks. `say` is told what happens next.
    ///
    /// # Errors
    /// The network cannot be made or the daemon does not start. A check that fails is no error but in the report.
    pub fn run(self, hold: Duration, say: &dyn Fn(&str)) -> Result<DemoReport> {
        match self {
            Self::Road => road::run(hold.min(MAX_HOLD), say),
            Self::Stacks => stacks::run(hold.min(MAX_HOLD), say),
            Self::Ruler => ruler::run(hold.min(MAX_HOLD), say),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_has_its_name_and_no_other() {
        let known = ["road", "stacks", "ruler"];
        assert_eq!(known.map(str::parse), [Demo::Road, Demo::Stacks, Demo::Ruler].map(Ok));
        assert_eq!("rulers".parse::<Demo>(), Err(UnknownDemo));
        let said = UnknownDemo.to_string();
        assert!(known.iter().all(|name| said.contains(name)), "{said}");
    }
}
