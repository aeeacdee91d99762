//! Who sits on an interface's XDP hook.
//!
//! It looks, and touches nothing. The interface is one of the calling thread's network namespace.
use std::{fmt, io};

use aya::programs::loaded_programs;
use libbpf_sys::bpf_xdp_query_opts;

use super::BpfError;

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// By the driver, before a socket buffer is made.
    #[doc(alias = "XDP_FLAGS_DRV_MODE")]
    Native,
    /// By the kernel's stack, for drivers that cannot; slow.
    #[doc(alias = "XDP_FLAGS_SKB_MODE")]
    Generic,
    /// By the card; Octroi never asks for it.
    #[doc(alias = "XDP_FLAGS_HW_MODE")]
    Offloaded,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

/// The program on a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The kernel's id of the program.
    pub id: u32,
    /// Its name, empty if it has none or may not be read.
    pub name: String,
    /// How it is attached.
    pub mode: XdpMode,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "without a name" } else { &self.name };
        write!(f, "{name}, id {}, {} mode", self.id, self.mode)
    }
}

/// The XDP program on the interface with index `ifindex`, if there is one; of several modes, the one that runs first.
///
/// # Errors
/// There is no such interface, or netlink fails.
pub fn occupant(ifindex: u32) -> Result<Option<Occupant>, BpfError> {
    let found = query(ifindex)
        .map_err(|source| BpfError::System { what: "asking which XDP program is attached", source })?;
    let modes = [
        (found.hw_prog_id, XdpMode::Offloaded),
        (found.drv_prog_id, XdpMode::Native),
        (found.skb_prog_id, XdpMode::Generic),
    ];
    Ok(modes.into_iter().find(|&(id, _)| id != 0).map(|(id, mode)| Occupant { id, name: name_of(id), mode }))
}

fn query(ifindex: u32) -> io::Result<bpf_xdp_query_opts> {
    let index = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut opts = bpf_xdp_query_opts { sz: size_of::<bpf_xdp_query_opts>() as _, ..Default::default() };
    // SAFETY: `opts` is valid for writes and `sz` is its size; libbpf keeps no pointer to it.
    let result = unsafe { libbpf_sys::bpf_xdp_query(index, 0, &raw mut opts) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(opts) }
}

fn name_of(id: u32) -> String {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    program.and_then(|program| program.name_as_str().map(str::to_owned)).unwrap_or_default()
}
