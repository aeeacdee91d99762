//! Embeds the eBPF objects that `cargo xtask build` made, or empty ones with which loading fails and says so.
//!
//! It refuses to build them itself: that takes another compiler, and `cargo check` must work without it.
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Where `xtask` leaves them, below the workspace's root; also its directory if `CARGO_TARGET_DIR` points elsewhere.
const OBJECTS: &str = "target/ebpf/bpfel-unknown-none/release";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let workspace = variable("CARGO_MANIFEST_DIR")?.join("../..");
    let out = variable("OUT_DIR")?;
    for name in ["octroi-xdp", "octroi-xdp-lab"] {
        embed(&workspace.join(OBJECTS).join(name), &out.join(name))?;
    }
    Ok(())
}

/// Copies `from`, which may not exist, to `to`, which then does.
fn embed(from: &Path, to: &Path) -> io::Result<()> {
    // A path that does not exist yet counts as changed, so the object is picked up once it is built.
    println!("cargo::rerun-if-changed={}", from.display());
    match fs::read(from) {
        Ok(object) => fs::write(to, object),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(to, []),
        Err(error) => Err(error),
    }
}
