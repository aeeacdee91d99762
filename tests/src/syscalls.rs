//! Which system calls a thread may still make. Any other kills the process, and with it the test, by SIGSYS.
//!
//! It is the kernel's own filter (seccomp), so that nothing is sampled and nothing missed. It concerns the thread that asks
//! for it and cannot be taken off: a thread that has one does what is tested, hands over what it owns, and ends.
#![allow(unsafe_code, reason = "prctl(2) takes its filter by a pointer")]
use std::io;

use libc::{c_long, sock_filter, sock_fprog};

/// What a thread calls to wait for another, and to end.
pub const END: &[c_long] = &[
    libc::SYS_futex,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_madvise,
    libc::SYS_munmap,
    libc::SYS_exit,
];

/// How an engine sleeps: poll(2), whatever it is called here.
#[cfg(target_arch = "x86_64")]
pub const SLEEP: c_long = libc::SYS_poll;
/// How an engine sleeps: poll(2), whatever it is called here.
#[cfg(not(target_arch = "x86_64"))]
pub const SLEEP: c_long = libc::SYS_ppoll;

/// How engines sleep, and wake each other by an eventfd.
pub const WAKE_UPS: &[c_long] = &[SLEEP, libc::SYS_read, libc::SYS_write];

/// How an AF_XDP port wakes the kernel.
pub const XSK_WAKE_UPS: &[c_long] = &[SLEEP, libc::SYS_sendto, libc::SYS_recvfrom];

/// Where a filter finds the number of the call (`struct seccomp_data`).
const NUMBER: u32 = 0;

/// From here on, the calling thread may make these system calls and [`END`], and no other.
///
/// # Errors
/// The kernel has no seccomp filters.
pub fn allow_only(calls: &[c_long]) -> io::Result<()> {
    let calls: Vec<_> = calls.iter().chain(END).map(|&call| call as u32).collect();
    let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER)];
    // A call of the list jumps over the rest of the list, and over the statement that kills.
    program.extend(calls.iter().zip((1..=calls.len() as u8).rev()).map(|(&call, jt)| {
        let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        sock_filter { code, jt, jf: 0, k: call }
    }));
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS));
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: this option takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: `filter` names `len` statements of `program`; both outlive the call, which copies them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
