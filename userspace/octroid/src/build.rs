//! Which build of octroid this is: what an older or a newer one is told apart by when one takes over from the other.
//!
//! A value, and not constants read wherever they are needed, so that tests can run a daemon as the next release.

/// One build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its version, as people are shown it.
    pub version: &'static str,
    /// The format of saved sessions that it writes; it reads this one and all before it.
    pub state_format: u32,
}

impl Build {
    /// This one.
    pub const THIS: Self = Self { version: env!("CARGO_PKG_VERSION"), state_format: 2 };
}
