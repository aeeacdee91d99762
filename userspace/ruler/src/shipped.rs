//! The filters that come with Octroi, by name.
//!
//! They are programs like any other and have no rights of their own; they are here so that whoever has the program
//! needs no files.

/// A filter that comes with Octroi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// The filter's own name, and its file's without `.rl`.
    pub name: &'static str,
    /// The file.
    pub source: &'static str,
}

/// All of them, in the order of their names.
pub const ALL: [Shipped; 4] = [
    Shipped { name: "anonymise", source: include_str!("../filters/anonymise.rl") },
    Shipped { name: "classify", source: include_str!("../filters/classify.rl") },
    Shipped { name: "http_only", source: include_str!("../filters/http_only.rl") },
    Shipped { name: "signatures", source: include_str!("../filters/signatures.rl") },
];

/// The one of this name.
#[must_use]
pub fn find(name: &str) -> Option<Shipped> {
    ALL.into_iter().find(|shipped| shipped.name == name)
}

#[cfg(test)]
mod tests;
