//! What the daemon writes of a session as a whole: the header of its down region, once, and its state.
use core::sync::atomic::Ordering;

use abi::shm::layout::{DownHeader, STATE, Session, Shape, State};
use abi::shm::memory::Writable;
use zerocopy::IntoBytes;

/// Writes the header of a fresh region; the rest of it is zero already, as the kernel gives it.
pub fn lay_out(down: &(impl Writable + ?Sized), shape: &Shape, session: Session) {
    down.copy_in(0, DownHeader::new(shape, session).as_bytes());
    set_state(down, State::Live);
}

/// Tells the application how its session is.
pub fn set_state(down: &(impl Writable + ?Sized), state: State) {
    // Release: what was published before is there when the state says that it was the last.
    down.store_u32(STATE, state as u32, Ordering::Release);
}
