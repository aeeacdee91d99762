//! Ruler's filters made ready off the control loop: compiled, checked, bound, with memory for every engine.
//!
//! Nothing here is attached: that is the road's business. Sources and keys come from whoever asks, so compiling has the
//! limits of the language, and the thread that does it has no privilege. Header programs are loaded by one that has.
//!
//! | file | idea |
//! |---|---|
//! | [`configured`] | what the configuration names |
//! | [`header`] | what of a filter runs in XDP |
//! | [`order`] | what is to be made, and making it |
//! | [`workshop`] | the thread that makes one after the other |
pub mod configured;
pub mod header;
pub mod order;
pub mod workshop;

pub use order::{Made, Order, Ready};
pub use workshop::Workshop;
