//! Finds the known name that a mistyped one was probably meant to be.

/// The farthest that is offered.
const DISTANCE_MAX: usize = 2;

/// The known name with the fewest edits, the first of those that are equally near, if any is near enough.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|other| (distance(name, other), other));
    // A name of two letters is two edits from each other one: that is no likeness.
    let limit = DISTANCE_MAX.min(name.len().saturating_sub(1));
    near.filter(|(edits, _)| *edits <= limit).min_by_key(|(edits, _)| *edits).map(|(_, other)| other)
}

/// How many letters are put in, left out, changed, or swapped with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if DISTANCE_MAX < a.len().abs_diff(b.len()) {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if 2 <= i && 2 <= j && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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
