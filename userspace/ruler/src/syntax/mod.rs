//! The text of a program: tokens, and the tree they form.
//!
//! Nothing here knows what a name stands for.

pub mod dump;
mod lexer;
mod literal;
pub mod parser;
mod print;
pub mod token;
pub mod tree;
