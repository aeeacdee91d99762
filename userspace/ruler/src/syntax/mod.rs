//! The text of a program: tokens, and the tree they form.
//!
//! Nothing here knows what a name stands for.

mod lexer;
mod literal;
pub mod parser;
pub mod token;
pub mod tree;
