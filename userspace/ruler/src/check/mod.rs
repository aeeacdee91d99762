//! What can be judged without knowing what names stand for.
//!
//! Nothing here changes the tree.

pub mod value;
