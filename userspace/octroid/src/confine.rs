//! What a worker gives up before its first packet: every capability, any way to gain one, and all system calls but a few.
//!
//! Whoever finds a hole in what handles packets then has a thread that can move packets, and nothing else: it opens no
//! file, makes no socket, starts no program. Everything that needs more was made before by the daemon's own thread, and
//! is made there still. A call that is not on the list ends the whole process at once: a worker that is not ours any more
//! must not go on, and a list that lacks something must be noticed.
//!
//! Capabilities and filter concern the calling thread alone, and nothing gives them back.
use std::{collections::BTreeMap, io, sync::LazyLock};

use nix::libc::{self, c_long};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Each round: how a worker wakes the kernel and applications, and sleeps until somebody wakes it.
const ROUNDS: &[c_long] = &[
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_ppoll,
    libc::SYS_epoll_pwait,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // A stopped daemon that goes on is back in the middle of its call.
    libc::SYS_restart_syscall,
    // Where there is no vDSO.
    libc::SYS_clock_gettime,
];

/// The same two by their older names.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait];
/// The same two by their older names.
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Mail: bells of applications come and go, a port's counters are read, a port is closed and its memory unmapped.
const MAIL: &[c_long] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_getsockopt,
    libc::SYS_eventfd2,
    libc::SYS_dup3,
    libc::SYS_close,
    libc::SYS_munmap,
];

/// The allocator, which only mail needs, and the end of a thread: of itself, or by a panic that is to be read.
const RUNTIME: &[c_long] = &[
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_exit,
];

/// The list as the kernel takes it.
static FILTER: LazyLock<Result<BpfProgram, String>> =
    LazyLock::new(|| compile().map_err(|error| error.to_string()));

fn compile() -> Result<BpfProgram, BackendError> {
    let calls = [ROUNDS, OLDER, MAIL, RUNTIME].concat();
    let mut rules: BTreeMap<_, _> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    // In debug builds std asks of a descriptor that it closes whether it is open.
    let asks = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::F_GETFD as u64)?;
    rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![asks])?]);
    // Who is out of descriptors asks how many he may have, to say so; nobody sets a limit.
    let reads = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![reads])?]);
    let (otherwise, listed) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules, otherwise, listed, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Confines the calling thread, a worker's.
///
/// # Errors
/// The kernel has no seccomp filters (they are as old as 3.17, but can be left out of it).
pub fn worker() -> io::Result<()> {
    let filter = FILTER.as_ref().map_err(|error| io::Error::other(error.as_str()))?;
    drop_capabilities()?;
    // Sets "no new privileges" first: without it a thread that may do nothing may not have a filter either.
    seccompiler::apply_filter(filter).map_err(io::Error::other)
}

/// Gives up every capability of the calling thread, and of those that it will start.
///
/// # Errors
/// The kernel refuses, which it never does.
pub fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs, hint,
        os::unix::process::ExitStatusExt as _,
        process::{Command, ExitStatus},
        sync::mpsc,
        thread,
        time::Duration,
    };

    use nix::sys::{
        eventfd::EventFd,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    };

    use super::*;

    /// Names the deed that a child of the test does in a confined thread.
    const DEED: &str = "OCTROI_TEST_DEED";

    /// Does it in another process, where it may end badly.
    fn done_confined(deed: &str) -> ExitStatus {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own);
        command.args(["--exact", "confine::tests::f14_child", "--nocapture"]).env(DEED, deed);
        command.output().unwrap().status
    }

    #[test]
    fn f14_child() {
        let Ok(deed) = std::env::var(DEED) else { return };
        let confined = thread::spawn(move || {
            worker().unwrap();
            match deed.as_str() {
                "open" => _ = fs::File::open("/dev/null"),
                "socket" => _ = std::net::UdpSocket::bind("127.0.0.1:0"),
                "fork" => _ = Command::new("true").status(),
                "limit" => _ = setrlimit(Resource::RLIMIT_CORE, 0, 0),
                "signal" => _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None),
                _ => work(),
            }
        });
        confined.join().unwrap();
    }

    /// What a worker does but for its sockets: allocates, waits, is woken, ends.
    fn work() {
        let (sender, receiver) = mpsc::channel::<Vec<u8>>();
        for power in 0..22 {
            sender.send(vec![1; 1 << power]).unwrap();
        }
        while let Ok(bytes) = receiver.recv_timeout(Duration::from_millis(1)) {
            hint::black_box(bytes);
        }
        let bell = EventFd::from_value(1).unwrap();
        assert_eq!(bell.read(), Ok(1));
        assert!(getrlimit(Resource::RLIMIT_NOFILE).is_ok());
    }

    #[test]
    fn f14_a_confined_thread_works_and_a_forbidden_call_ends_the_process_loudly() {
        assert!(done_confined("work").success());
        for deed in ["open", "socket", "fork", "limit", "signal"] {
            assert_eq!(done_confined(deed).signal(), Some(Signal::SIGSYS as i32), "{deed}");
        }
    }

    #[test]
    fn f14_a_confined_thread_has_no_capability_and_others_keep_theirs() {
        let status = |thread: &str| {
            let text = fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
            let value = |key: &str| {
                let line =
                    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{key}"));
                line.trim().to_owned()
            };
            ["CapEff:", "CapPrm:", "CapInh:", "NoNewPrivs:", "Seccomp:"].map(value)
        };
        let own = nix::unistd::gettid().to_string();
        let before = status(&own);
        let (ready, confined) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            worker().unwrap();
            ready.send(nix::unistd::gettid().to_string()).unwrap();
            let _ = wait.recv();
        });
        let seen = status(&confined.recv().unwrap());
        drop(end);
        thread.join().unwrap();
        let none = "0000000000000000";
        assert_eq!(seen, [none, none, none, "1", "2"]);
        assert_eq!(status(&own), before);
    }
}
