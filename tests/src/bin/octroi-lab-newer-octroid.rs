//! octroid as its next release might be: the same daemon under another version, that saves sessions in a newer format.
#![deny(unsafe_code)]

use std::process::ExitCode;

use octroid::{build::Build, cli};

fn main() -> ExitCode {
    cli::main(Build { version: "99.0.0", state_format: Build::THIS.state_format + 1 })
}
