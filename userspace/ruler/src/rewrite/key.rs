//! Keys: the 32 bytes that addresses are anonymised by, read from what a file has, raw or as hex digits.
//!
//! It opens nothing. There is no default key.
use std::io::{self, Read};

use thiserror::Error;

/// A key: that of AES-128, then a block whose encryption is the pad.
pub type Key = [u8; 32];

/// Most bytes of a file that has a key; a byte more is enough to see that it has none.
const LONGEST: usize = 256;

/// What is wrong with a key file.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Neither 32 bytes nor 64 digits.
    #[error(
        "{bytes} bytes, but a key is 32 raw bytes or 64 hex digits; `head -c 32 /dev/urandom > FILE` makes one"
    )]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// More than any key has.
    #[error("more than {LONGEST} bytes, but a key is 32 raw bytes or 64 hex digits")]
    Long,
    /// 64 characters, of which one is no digit.
    #[error("character {number} of 64 is no hex digit")]
    Digit {
        /// Which, from 1.
        number: usize,
    },
    /// 32 hex digits.
    #[error("32 hex digits are 16 bytes, half a key")]
    Half,
}

/// The key in a file.
///
/// # Errors
/// It cannot be read; or, of kind [`io::ErrorKind::InvalidData`], a [`KeyError`].
pub fn read(file: impl Read) -> io::Result<Key> {
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    of(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The key that these bytes are. Digits may end with a line's end.
///
/// # Errors
/// [`KeyError`].
pub fn of(text: &[u8]) -> Result<Key, KeyError> {
    if LONGEST < text.len() {
        return Err(KeyError::Long);
    }
    let digits = text.trim_ascii_end();
    if digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(KeyError::Half);
    }
    if let Ok(key) = text.try_into() {
        return Ok(key);
    }
    let pairs: &[u8; 64] = digits.try_into().map_err(|_| KeyError::Length { bytes: text.len() })?;
    let mut key: Key = [0; 32];
    for (at, digit) in pairs.iter().enumerate() {
        let value = char::from(*digit).to_digit(16).ok_or(KeyError::Digit { number: at + 1 })?;
        let byte = &mut key[at / 2];
        *byte = *byte << 4 | u8::try_from(value).unwrap_or_else(|_| unreachable!("a hex digit is below 16"));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let raw: Key = std::array::from_fn(|at| if at == 31 { b'\n' } else { 0x9a });
        assert_eq!(of(&raw), Ok(raw));
        let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(of(digits.as_bytes()), Ok(raw));
        assert_eq!(of(format!("{}\r\n", digits.to_uppercase()).as_bytes()), Ok(raw));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        assert_eq!(of(b""), Err(KeyError::Length { bytes: 0 }));
        assert_eq!(of(&[7; 31]), Err(KeyError::Length { bytes: 31 }));
        assert_eq!(of(&[7; 33]), Err(KeyError::Length { bytes: 33 }));
        assert_eq!(of(&[b'0'; 63]), Err(KeyError::Length { bytes: 63 }));
        assert_eq!(of(&[b'0'; 32]), Err(KeyError::Half));
        assert_eq!(of(&[b'0'; 257]), Err(KeyError::Long));
        let mut digits = [b'0'; 64];
        digits[9] = b'g';
        assert_eq!(of(&digits), Err(KeyError::Digit { number: 10 }));
    }
}
