//! Which header program is meant: a filter's instructions depend on how it would be attached.
//!
//! Nothing is loaded here: what the kernel's verifier thinks of a program only a daemon learns.
use clap::Args;
use client::control::ruler::Scope;
use ruler::ebpf::{self, Settings};

/// How the filter would be attached.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Header {
    /// Of header programs: the scope that they are made for, steered or interface [default: steered].
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Of header programs: the codes whose packets they give to the OS stack.
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pass: Vec<u16>,
}

impl Header {
    /// Whether nothing of it was said.
    pub(super) fn is_default(&self) -> bool {
        self.scope.is_none() && self.pass.is_empty()
    }

    /// For the compiler; a daemon numbers generations, and here all are number 0.
    pub(super) fn settings(&self) -> Settings<'_> {
        let scope = match self.scope.unwrap_or_default() {
            Scope::Steered => ebpf::Scope::Steered,
            Scope::Interface => ebpf::Scope::Interface,
        };
        Settings { scope, pass: &self.pass, class_gen: 0 }
    }
}
