//! The threads that make filters, one after the other, while the control loop goes on.
//!
//! One compiles, and has no privilege; the other waits for it and has the kernel take the header program. They end with each
//! filter, and whoever waits for the loop's next event hears of it. More orders than [`MAX_WAITING`] at once are refused.
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use client::control::refusal::{Code, Refusal};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{
    header::Chain,
    order::{Made, Order},
};
use crate::confine;

/// Orders that may wait.
pub const MAX_WAITING: usize = 16;

/// The thread that compiles.
const COMPILER: &str = "octroi-ruler";
/// The thread that has it compiled, and loads.
const LOADER: &str = "octroi-filter";

/// Makes filters for whoever a `T` names.
#[derive(Debug)]
pub struct Workshop<T> {
    waiting: VecDeque<(T, Order, Option<Chain>)>,
    /// For whom one is being made, unless nobody wants it any more.
    working: Option<Option<T>>,
    sender: Sender<Result<Made, Refusal>>,
    receiver: Receiver<Result<Made, Refusal>>,
    bell: Arc<EventFd>,
}

impl<T: PartialEq> Workshop<T> {
    /// Nothing to do yet.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (sender, receiver) = mpsc::channel();
        Ok(Self { waiting: VecDeque::new(), working: None, sender, receiver, bell: Arc::new(bell) })
    }

    /// What becomes readable when a filter is ready.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes an order; the filter gets a header program for this chain.
    ///
    /// # Errors
    /// Too many wait.
    pub fn take(&mut self, of: T, order: Order, chain: Option<Chain>) -> Result<(), Refusal> {
        let given = self.waiting.len() + 1;
        if MAX_WAITING < given {
            return Err(Refusal::limit("filters to be compiled", given as u64, MAX_WAITING as u64));
        }
        self.waiting.push_back((of, order, chain));
        self.go_on();
        Ok(())
    }

    /// Nobody wants what these ordered.
    pub fn forget(&mut self, unwanted: impl Fn(&T) -> bool) {
        self.waiting.retain(|(of, ..)| !unwanted(of));
        if let Some(of) = &mut self.working
            && of.as_ref().is_some_and(unwanted)
        {
            *of = None;
        }
    }

    /// What is ready, and for whom.
    pub fn ready(&mut self) -> Option<(T, Result<Made, Refusal>)> {
        // Rung at most once for each filter; a bell that nobody rang is no error.
        let _ = self.bell.read();
        let made = self.receiver.try_recv().ok()?;
        let of = self.working.take()?;
        self.go_on();
        Some((of?, made))
    }

    /// Begins with the next order. If there is no thread to be had, that is the answer to this one and no other.
    fn go_on(&mut self) {
        if self.working.is_some() {
            return;
        }
        let Some((of, order, chain)) = self.waiting.pop_front() else { return };
        let (sender, bell) = (self.sender.clone(), Arc::clone(&self.bell));
        let work = move || {
            let made = make_apart(&order).and_then(|made| head(made, chain.as_ref()));
            drop((order, chain));
            // The daemon goes down if nobody receives.
            let _ = sender.send(made);
            let _ = bell.write(1);
        };
        self.working = Some(Some(of));
        if let Err(error) = thread(LOADER).spawn(work) {
            let _ = self.sender.send(Err(no_thread(error)));
            let _ = self.bell.write(1);
        }
    }
}

/// Makes one filter on a thread of its own, as a workshop does, and waits for it.
///
/// # Errors
/// As [`Order::make`]; or there is no thread to be had.
pub fn make_apart(order: &Order) -> Result<Made, Refusal> {
    thread::scope(|scope| {
        let made = thread(COMPILER).spawn_scoped(scope, || make(order)).map_err(no_thread)?;
        made.join().unwrap_or_else(|_| Err(failed()))
    })
}

/// What somebody wrote is read here: with no privilege from now on, as far as the kernel lets this thread give it up.
fn make(order: &Order) -> Result<Made, Refusal> {
    confine::drop_capabilities().map_err(|error| Code::Eio.because(error))?;
    // A mistake in the compiler is one program's misfortune, not the dataplane's.
    catch_unwind(|| order.make()).unwrap_or_else(|_| Err(failed()))
}

/// Makes the header program of a filter that has just been made.
fn head(made: Made, chain: Option<&Chain>) -> Result<Made, Refusal> {
    let (Some(filter), Some(chain)) = (&made.filter, chain) else { return Ok(made) };
    let headed = catch_unwind(AssertUnwindSafe(|| chain.head(filter))).map_err(|_| failed())?;
    Ok(Made { headed: Some(headed), ..made })
}

fn thread(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

fn no_thread(error: io::Error) -> Refusal {
    Code::Eio.because(format_args!("a thread to compile in: {error}"))
}

fn failed() -> Refusal {
    Code::Eio.because("the compiler failed; its log says where")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use client::control::ruler::{RulerAttach, Scope, Where};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use ruler::bundle::Bundle;

    use super::*;
    use crate::filters::order::Site;

    fn order(generation: u64) -> Order {
        Order {
            ask: RulerAttach {
                at: Where::Port("eth0".into()),
                scope: Scope::Steered,
                pass: Vec::new(),
                force: false,
                filter: None,
                allow_slow: false,
            },
            bundle: Bundle::new("f.rl", "filter f * => accept;"),
            key: None,
            site: Site { mtu: 1500, tags: 0, engines: 1 },
            generation,
        }
    }

    fn next(workshop: &mut Workshop<u32>) -> Option<(u32, u64)> {
        loop {
            let mut fds = [PollFd::new(workshop.event_fd(), PollFlags::POLLIN)];
            let wait = PollTimeout::try_from(Duration::from_secs(20)).unwrap();
            assert_eq!(poll(&mut fds, wait), Ok(1), "no filter in time");
            if let Some((of, made)) = workshop.ready() {
                return Some((of, made.unwrap().filter?.installed.generation()));
            }
        }
    }

    #[test]
    fn filters_are_made_in_order_and_nobody_gets_what_he_left() {
        let mut workshop = Workshop::new().unwrap();
        for number in 1..=4 {
            workshop.take(number, order(u64::from(number)), None).unwrap();
        }
        workshop.forget(|of| [1, 3].contains(of));
        assert_eq!(next(&mut workshop), Some((2, 2)));
        assert_eq!(next(&mut workshop), Some((4, 4)));
        assert!(workshop.ready().is_none());
    }

    #[test]
    fn too_many_orders_are_refused() {
        let mut workshop = Workshop::new().unwrap();
        let refused = (0..).find_map(|number| workshop.take(number, order(1), None).err()).unwrap();
        assert_eq!(refused.code, Code::Enospc);
        assert!(workshop.waiting.len() == MAX_WAITING);
    }
}
