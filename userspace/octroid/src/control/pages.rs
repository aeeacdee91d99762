//! Answers cut into pages, each of which fits a datagram with room for its envelope.
//!
//! A page ends where the next row would not fit. A row that fits no page at all cannot be sent; the limits on names and
//! lists keep rows far below that, and it is refused rather than cut.
use client::control::{
    MAX_DATAGRAM,
    refusal::{Code, Refusal},
};
use serde::Serialize;

/// Bytes kept for the envelope.
const ENVELOPE: usize = 256;

/// Rows from `after` on, as many as fit beside `used` bytes, and where the next page goes on.
///
/// # Errors
/// A row fits no page.
pub fn cut<T: Serialize>(rows: Vec<T>, after: u32, used: usize) -> Result<(Vec<T>, Option<u32>), Refusal> {
    let mut room = (MAX_DATAGRAM - ENVELOPE).saturating_sub(used);
    let mut page = Vec::new();
    for (at, row) in rows.into_iter().enumerate().skip(after as usize) {
        let length = serde_json::to_vec(&row).map_err(|error| Code::Eio.because(error))?.len() + 1;
        if room < length {
            if page.is_empty() && used == 0 {
                return Err(Refusal::limit("bytes of one row", length as u64, room as u64));
            }
            return Ok((page, Some(at as u32)));
        }
        room -= length;
        page.push(row);
    }
    Ok((page, None))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_together_are_the_whole(lengths in prop::collection::vec(0_usize..6000, 0..40), used in 0_usize..8000) {
            let rows: Vec<String> = lengths.iter().map(|&n| "x".repeat(n)).collect();
            let (mut whole, mut after, mut used) = (Vec::new(), 0, used);
            loop {
                let (page, next) = cut(rows.clone(), after, used).unwrap();
                let bytes = serde_json::to_vec(&page).unwrap().len();
                prop_assert!(bytes + used + ENVELOPE <= MAX_DATAGRAM + 2);
                whole.extend(page);
                match next {
                    None => break,
                    Some(next) => {
                        prop_assert!(after < next || used != 0);
                        (after, used) = (next, 0);
                    }
                }
            }
            prop_assert_eq!(whole, rows);
        }
    }

    #[test]
    fn a_row_beyond_a_page_is_refused() {
        let refusal = cut(vec!["x".repeat(MAX_DATAGRAM)], 0, 0).unwrap_err();
        assert_eq!(refusal.code, Code::Enospc);
    }
}
