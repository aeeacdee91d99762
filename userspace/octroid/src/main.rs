//! `octroid`: the daemon. Its command line is [`octroid::cli`].
#![deny(unsafe_code)]

use std::process::ExitCode;

use octroid::{build::Build, cli};

fn main() -> ExitCode {
    cli::main(Build::THIS)
}
