//! Failing the n-th call to the kernel, so that tests can ask of every single one: what is left behind?
//!
//! Always compiled, not behind a feature: the program under test is then the program that runs. It costs one load of a
//! thread's own memory for each system call. Nothing but a test calls [`nth_call_fails`].
use std::cell::Cell;

use nix::errno::Errno;

use super::call::Call;

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Real) };
}

#[derive(Clone, Copy)]
enum Plan {
    Real,
    /// So many calls pass, then one fails.
    Fail {
        after: u32,
        with: Errno,
    },
    /// The one that failed.
    Failed(Call),
}

/// Does `work`; the `nth` call (from 0) that this thread makes to the kernel for AF_XDP meanwhile is not made and
/// fails with `errno`. Returns which one that was: `None` if there were not so many.
pub fn nth_call_fails<T>(nth: u32, errno: Errno, work: impl FnOnce() -> T) -> (T, Option<Call>) {
    PLAN.set(Plan::Fail { after: nth, with: errno });
    let result = work();
    match PLAN.replace(Plan::Real) {
        Plan::Failed(call) => (result, Some(call)),
        Plan::Real | Plan::Fail { .. } => (result, None),
    }
}

/// Stands before every call.
#[inline]
pub(crate) fn enter(call: Call) -> Result<(), Errno> {
    match PLAN.get() {
        Plan::Real | Plan::Failed(_) => Ok(()),
        Plan::Fail { after: 0, with } => {
            PLAN.set(Plan::Failed(call));
            Err(with)
        }
        Plan::Fail { after, with } => {
            PLAN.set(Plan::Fail { after: after - 1, with });
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_nth_call_fails() {
        let calls = [Call::DeviceSocket, Call::DeviceIndex, Call::Bind];
        for (nth, failing) in calls.into_iter().enumerate() {
            let (results, failed) =
                nth_call_fails(nth as u32, Errno::EIO, || calls.map(|call| enter(call).is_err()));
            assert_eq!(results, calls.map(|call| call == failing));
            assert_eq!(failed, Some(failing));
        }
        assert_eq!(nth_call_fails(3, Errno::EIO, || calls.map(enter)), ([Ok(()); 3], None));
        assert_eq!(enter(Call::Send), Ok(()));
    }
}
