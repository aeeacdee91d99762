//! The kernel's ids of every BPF object there is, without opening one.
//!
//! Opening is not innocent: when the last user of a PROG_ARRAY goes, the kernel empties it from a work item that holds
//! a reference; whoever opens and closes the map by its id before that item has run makes the kernel queue it again,
//! take a second reference and never give it back (`prog_array_map_clear`, Linux 6.18). The map then stays for ever.
#![allow(unsafe_code, reason = "bpf(2) through libbpf-sys")]

use std::io;

use super::BpfError;

/// A kind of BPF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A link.
    Link,
}

/// The ids of all objects of a kind on this host, ascending.
///
/// # Errors
/// The caller lacks CAP_SYS_ADMIN.
pub fn ids(kind: ObjectKind) -> Result<Vec<u32>, BpfError> {
    let mut found = Vec::new();
    let mut last = 0;
    while let Some(id) = next(kind, last)? {
        found.push(id);
        last = id;
    }
    Ok(found)
}

fn next(kind: ObjectKind, after: u32) -> Result<Option<u32>, BpfError> {
    let mut id = 0;
    let ask = match kind {
        ObjectKind::Program => libbpf_sys::bpf_prog_get_next_id,
        ObjectKind::Map => libbpf_sys::bpf_map_get_next_id,
        ObjectKind::Link => libbpf_sys::bpf_link_get_next_id,
    };
    // SAFETY: `id` is valid for writes; libbpf keeps no pointer to it.
    let result = unsafe { ask(after, &raw mut id) };
    match -result {
        0 => Ok(Some(id)),
        libc::ENOENT => Ok(None),
        errno => Err(BpfError::System {
            what: "asking for the ids of BPF objects",
            source: io::Error::from_raw_os_error(errno),
        }),
    }
}
