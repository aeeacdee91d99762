//! What is checked of a datagram before anybody reads its JSON: its length and its depth.
//!
//! A parser that recurses once per bracket would let a sender choose how much stack it uses. This refuses deep input in
//! one pass over the bytes, without a parser: brackets inside strings do not count, everything else is left to serde.
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{MAX_DATAGRAM, MAX_DEPTH};

/// Why a datagram is not a message, or a message does not fit a datagram.
#[derive(Debug, Error)]
pub enum DatagramError {
    /// Longer than [`MAX_DATAGRAM`].
    #[error("the datagram has {given} bytes or more, {limit} are allowed")]
    TooLong {
        /// Bytes seen.
        given: usize,
        /// [`MAX_DATAGRAM`].
        limit: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the message is nested deeper than {limit} levels")]
    TooDeep {
        /// [`MAX_DEPTH`].
        limit: usize,
    },
    /// Not a JSON object.
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads the one object of a datagram.
///
/// # Errors
/// [`DatagramError`] for whatever is not one JSON object within the limits.
pub fn object(datagram: &[u8]) -> Result<Map<String, Value>, DatagramError> {
    if MAX_DATAGRAM < datagram.len() {
        return Err(DatagramError::TooLong { given: datagram.len(), limit: MAX_DATAGRAM });
    }
    if MAX_DEPTH < depth(datagram) {
        return Err(DatagramError::TooDeep { limit: MAX_DEPTH });
    }
    Ok(serde_json::from_slice(datagram)?)
}

/// Writes one message.
///
/// # Errors
/// [`DatagramError::TooLong`] if it does not fit.
pub fn write(message: &impl Serialize) -> Result<Vec<u8>, DatagramError> {
    let bytes = serde_json::to_vec(message)?;
    if MAX_DATAGRAM < bytes.len() {
        return Err(DatagramError::TooLong { given: bytes.len(), limit: MAX_DATAGRAM });
    }
    Ok(bytes)
}

/// The most brackets that are open at once, strings left out.
///
/// Never less than the levels a JSON parser would descend: where both agree that the text is JSON they agree on the
/// number, and where it is not JSON the parser stops at the first wrong byte.
fn depth(text: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(levels: usize) -> String {
        let inner = levels - 1;
        format!("{{\"a\":{}1{}}}", "[".repeat(inner), "]".repeat(inner))
    }

    #[test]
    fn eight_levels_and_not_nine() {
        assert!(object(nested(MAX_DEPTH).as_bytes()).is_ok());
        let error = object(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(matches!(error, DatagramError::TooDeep { limit: MAX_DEPTH }), "{error}");
    }

    #[test]
    fn ten_thousand_levels_cost_no_stack() {
        let bomb = "[".repeat(10_000);
        assert!(matches!(object(bomb.as_bytes()), Err(DatagramError::TooDeep { .. })));
        let hidden = format!("{{\"a\":\"{}\"}}", "[".repeat(10_000));
        assert!(object(hidden.as_bytes()).is_ok(), "brackets in a string nest nothing");
        let escaped = br#"{"a":"\"[[[[[[[[[[["}"#;
        assert!(object(escaped).is_ok(), "an escaped quote does not end a string");
    }

    #[test]
    fn one_byte_too_many() {
        let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_DATAGRAM - 8));
        assert_eq!(fits.len(), MAX_DATAGRAM);
        assert!(object(fits.as_bytes()).is_ok());
        let long = format!("{fits} ");
        assert!(matches!(object(long.as_bytes()), Err(DatagramError::TooLong { .. })));
        assert!(matches!(write(&long), Err(DatagramError::TooLong { .. })));
    }

    /// The slow twin: the depth of the value that serde made.
    fn depth_of(value: &Value) -> usize {
        match value {
            Value::Array(all) => 1 + all.iter().map(depth_of).max().unwrap_or(0),
            Value::Object(all) => 1 + all.values().map(depth_of).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<u64>().prop_map(Value::from),
            "[\\[\\]{}\"\\\\a-z]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(12, 64, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[\\[\"{a-z]{0,4}", inner, 0..4)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_scan_sees_the_depth_that_serde_sees(value in json()) {
            prop_assert_eq!(depth(value.to_string().as_bytes()), depth_of(&value));
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = object(&bytes);
        }
    }
}
