//! Engines: which rule wins, for packets that come in batches, in linear time and without allocation.
//!
//! They judge and nothing else: where labels are is found afterwards, for rules that rewrite.

pub mod engine;
pub mod ladder;
pub mod lanes;
pub mod lazy;
pub mod one;
pub mod prefilter;
pub mod screen;
pub mod simulate;

#[cfg(test)]
mod tests;
