//! Finds the known name that a mistyped one was probably meant to be.

use strsim::osa_distance;

/// The farthest that is offered.
const DISTANCE_MAX: usize = 2;

/// The known name with the fewest edits, the first of those that are equally near, if any is near enough.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|other| (osa_distance(name, other), other));
    // A name of two letters is two edits from each other one: that is no likeness.
    let limit = DISTANCE_MAX.min(name.len().saturating_sub(1));
    near.filter(|(edits, _)| *edits <= limit).min_by_key(|(edits, _)| *edits).map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_if_it_is_near() {
        let known = ["src", "dst", "sport", "dport"];
        for (name, expected) in [
            ("dts", Some("dst")),
            ("sport2", Some("sport")),
            ("spotr", Some("sport")),
            ("checksum", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}
