//! The control socket: who is connected, how much they may ask, and what they are answered.
//!
//! Identity is what the kernel says (`SO_PEERCRED`); it is looked at before a byte is parsed. A client can exhaust its own
//! allowance only: [`limits`] are per connection and per user, and nobody is ever waited for.
//!
//! | file | idea |
//! |---|---|
//! | [`limits`] | connections per user, requests per second: pure |
//! | [`listener`] | the socket and its connections |
//! | [`pages`] | answers cut so that each fits a datagram |
pub mod limits;
pub mod listener;
pub mod pages;

#[cfg(test)]
mod tests;
