//! The bpf_link that holds `ingress` on an interface: made, pinned, adopted, and given another program.
//!
//! It refuses aya's way of attaching: aya falls back to netlink on EINVAL without a word, which gives no link to pin,
//! and consumes a link that it fails to update, which would detach an unpinned one. Closing the last descriptor
//! of a link that is not pinned detaches the program.
use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use libbpf_sys::{
    BPF_LINK_TYPE_XDP, BPF_XDP, XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_SKB_MODE,
    bpf_link_create_opts, bpf_link_info,
};

use super::XdpMode;

/// An XDP link.
#[derive(Debug)]
pub(super) struct XdpLink(OwnedFd);

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkInfo {
    /// The link's id.
    pub(super) id: u32,
    /// The id of the program it holds.
    pub(super) program: u32,
    /// The device's index in its own network namespace; 0 once the device is gone.
    pub(super) ifindex: u32,
}

impl XdpLink {
    /// Attaches `program` to the device with index `ifindex` in the calling thread's network namespace.
    pub(super) fn attach(program: impl AsFd, ifindex: u32, mode: XdpMode) -> io::Result<Self> {
        let flags = match mode {
            XdpMode::Native => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
            XdpMode::Offloaded => XDP_FLAGS_HW_MODE,
        };
        let index = i32::try_from(ifindex).map_err(|_| io::ErrorKind::InvalidInput)?;
        let opts =
            bpf_link_create_opts { sz: size_of::<bpf_link_create_opts>() as _, flags, ..Default::default() };
        let program = program.as_fd().as_raw_fd();
        // SAFETY: `opts` is initialised, its `sz` is its size, and libbpf keeps no pointer to it.
        owned(unsafe { libbpf_sys::bpf_link_create(program, index, BPF_XDP, &raw const opts) })
    }

    /// Opens a pinned link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = c_path(path)?;
        // SAFETY: `path` is NUL-terminated and outlives the call.
        let link = owned(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })?;
        link.info().map(|_| link)
    }

    /// Pins it: from here on it outlives this process.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        // SAFETY: `path` is NUL-terminated and outlives the call.
        checked(unsafe { libbpf_sys::bpf_obj_pin(self.0.as_raw_fd(), path.as_ptr()) })
    }

    /// Replaces the program it holds; each packet meets the old one or the new one.
    pub(super) fn update(&self, program: impl AsFd) -> io::Result<()> {
        let program = program.as_fd().as_raw_fd();
        // SAFETY: libbpf takes a null pointer as "no options".
        checked(unsafe { libbpf_sys::bpf_link_update(self.0.as_raw_fd(), program, std::ptr::null()) })
    }

    /// What the kernel says of it; an error if it is no XDP link.
    pub(super) fn info(&self) -> io::Result<LinkInfo> {
        let mut info = bpf_link_info::default();
        let mut len = mem::size_of_val(&info) as u32;
        // SAFETY: `info` is valid for writes of `len` bytes.
        checked(unsafe {
            libbpf_sys::bpf_link_get_info_by_fd(self.0.as_raw_fd(), &raw mut info, &raw mut len)
        })?;
        if info.type_ != BPF_LINK_TYPE_XDP {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no XDP link"));
        }
        // SAFETY: the kernel fills this member for the type just checked; any bits are a valid u32.
        let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
        Ok(LinkInfo { id: info.id, program: info.prog_id, ifindex })
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// libbpf returns 0 or a negated errno.
fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

fn owned(result: i32) -> io::Result<XdpLink> {
    checked(result)?;
    // SAFETY: libbpf returned a new descriptor, which nobody else owns.
    Ok(XdpLink(unsafe { OwnedFd::from_raw_fd(result) }))
}
