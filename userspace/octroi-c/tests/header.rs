//! `octroi.h` is what cbindgen makes of the sources, to the last byte. `OCTROI_BLESS=1` writes it.
#![deny(unsafe_code)]
use std::{env, error::Error, fs, path::PathBuf};

use cbindgen::{Builder, Config, DocumentationLength, DocumentationStyle, Language, Style};

/// What is said before everything else.
const INTRODUCTION: &str = "\
/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * octroi.h: a network stack of one's own on Octroi. Made from the Rust sources; do not edit.
 *
 * A program opens a session, registers tuples (protocol, local address, local port), and receives and sends their packets
 * through channels: one for each of the daemon's workers, numbered from 0. Packets of one flow come by one channel.
 *
 * Every function returns 0, or what it was asked for, or the negative of an errno(3). These mean the same everywhere:
 *
 *   -EFAULT           a pointer is null
 *   -ECHRNG           the session has no such channel
 *   -EBUSY            another thread is using this channel
 *   -ENOTCONN         the daemon is gone, or breaks the rules of its rings. octroi_event() tries to come back. What
 *                     this channel had lent is void, and its packets are lost: each channel says so at least once,
 *                     before it works again
 *   -ESHUTDOWN        the session is over. What this channel had lent is void, and nothing will ever come
 *   -ETIMEDOUT        the daemon did not answer
 *   -EPROTO           the daemon says what this library does not understand
 *   -ENOTRECOVERABLE  a bug of this library was met; what it was at work on is not used again
 *
 * Threads: each channel is used by one thread at a time, different channels by different threads; all other functions may
 * be called from any thread. There are no callbacks. A pointer must be null or good, nothing may be used after
 * octroi_close(), and a process that forks uses the session in one of the two only.
 */";

fn generated() -> Result<String, Box<dyn Error>> {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../client/src/capi");
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        header: Some(INTRODUCTION.to_owned()),
        include_guard: Some("OCTROI_H".to_owned()),
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h"].map(str::to_owned).to_vec(),
        style: Style::Tag,
        usize_is_size_t: true,
        line_length: 100,
        documentation_style: DocumentationStyle::C99,
        documentation_length: DocumentationLength::Full,
        ..Config::default()
    };
    let files = ["types.rs", "session.rs", "functions.rs"].map(|name| sources.join(name));
    let builder = files.iter().fold(Builder::new().with_config(config), Builder::with_src);
    let mut header = Vec::new();
    builder.generate()?.write(&mut header);
    Ok(String::from_utf8(header)?)
}

#[test]
fn octroi_h_is_what_the_sources_say() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../client/include/octroi.h");
    let generated = generated()?;
    if env::var_os("OCTROI_BLESS").is_some() {
        fs::write(&path, &generated)?;
    }
    let committed = fs::read_to_string(&path)?;
    assert!(
        committed == generated,
        "run OCTROI_BLESS=1 cargo test -p octroi-c, which makes it:\n{generated}"
    );
    Ok(())
}
