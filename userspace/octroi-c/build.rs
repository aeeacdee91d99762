//! Gives the shared library its name: programs that were linked with one major version refuse to run with another.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liboctroi.so.{major}");
}
