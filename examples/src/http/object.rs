//! `/1k`, `/8k` …: objects whose bytes depend on nothing but their size.
//!
//! All are windows into one stretch of noise, each beginning at another byte, so two of them share no prefix and none
//! can be compressed. Whoever holds [`Objects`] can write them to files for another server, or compare what was fetched.

/// KiB of the largest object.
pub const MAX_KIB: u16 = 1024;

/// Bytes in a KiB.
const KIB: usize = 1024;

/// An object by its size, from 1 to [`MAX_KIB`] KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kib(u16);

/// The bytes of all objects.
#[derive(Debug)]
pub struct Objects(Box<[u8]>);

impl Kib {
    /// The object of so many KiB.
    #[must_use]
    pub const fn new(kib: u16) -> Option<Self> {
        if 1 <= kib && kib <= MAX_KIB { Some(Self(kib)) } else { None }
    }

    /// The object that a path names: `/8k`.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let digits = path.strip_prefix('/')?.strip_suffix('k')?;
        // One name each: neither `/08k` nor `/+8k`.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        plain.then(|| digits.parse().ok()).flatten().and_then(Self::new)
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize * KIB
    }
}

impl Default for Objects {
    fn default() -> Self {
        let len = (usize::from(MAX_KIB) + 1) * KIB;
        // xorshift64 (Marsaglia): noise enough, and the same everywhere.
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self(words.flatten().take(len).collect())
    }
}

impl Objects {
    /// The bytes of one object.
    #[must_use]
    pub fn get(&self, object: Kib) -> &[u8] {
        let first = usize::from(object.0);
        // There is one KiB more than the largest object, which is more than the last one's first byte.
        self.0.get(first..first + object.bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_its_length_and_bytes_of_its_own() {
        let objects = Objects::default();
        let all: Vec<&[u8]> =
            (1..=MAX_KIB).map(|kib| Kib::new(kib).map(|kib| objects.get(kib)).unwrap()).collect();
        for (kib, bytes) in (1..).zip(&all) {
            assert_eq!(bytes.len(), kib * 1024);
        }
        let mut first: Vec<&[u8]> = all.iter().map(|bytes| &bytes[..16]).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), all.len());
    }

    #[test]
    fn the_bytes_are_for_ever() {
        let objects = Objects::default();
        // FNV-1a over the 32 KiB object: whoever changes the noise changes what files elsewhere must hold.
        let hash =
            objects.get(Kib::new(32).unwrap()).iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        assert_eq!(hash, 0x2014_64ef_515e_3d1e);
    }

    #[test]
    fn a_path_names_an_object_or_nothing() {
        for (path, kib) in [("/1k", 1), ("/8k", 8), ("/1024k", 1024)] {
            assert_eq!(Kib::from_path(path), Kib::new(kib), "{path}");
        }
        for path in ["", "/", "1k", "/0k", "/01k", "/1025k", "/65537k", "/k", "/1", "/+1k", "/1k/", "/1K"] {
            assert_eq!(Kib::from_path(path), None, "{path}");
        }
    }
}
