//! Bytes side by side that must have certain bits: conditions on neighbouring fields, put together into one.
//!
//! A window is at most eight bytes, which a walk loads at once, and has one value only; ranges are not its business.

use super::condition::{Place, Reading};

/// Bits of a few bytes behind a base, and what they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Its first byte, and the one behind its last.
    first: u32,
    end: u32,
    /// As numbers whose last byte is the window's last byte.
    mask: u64,
    value: u64,
}

/// The most bytes of a window.
const BYTES_MAX: u32 = 8;

impl Window {
    /// A place that must have this value.
    pub(super) fn new(place: &Place, value: u64) -> Self {
        let bits = 64 - 8 * u32::from(place.bytes);
        let big = |number: u64| match place.reading {
            Reading::Big => number,
            Reading::Little => number.swap_bytes() >> bits,
        };
        Self { first: place.offset.into(), end: place.end(), mask: big(place.mask), value: big(value) }
    }

    /// Both; `None` if that is more than eight bytes, or no bytes are both.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let (first, end) = (self.first.min(other.first), self.end.max(other.end));
        if BYTES_MAX < end - first {
            return None;
        }
        let moved = |Self { end: last, mask, value, .. }: &Self| {
            let left = 8 * (end - last);
            (mask << left, value << left)
        };
        let (ours, theirs) = (moved(self), moved(other));
        let possible = (ours.1 & !ours.0 | theirs.1 & !theirs.0) == 0;
        let agree = ours.0 & theirs.0 & (ours.1 ^ theirs.1) == 0;
        (possible && agree).then_some(Self { first, end, mask: ours.0 | theirs.0, value: ours.1 | theirs.1 })
    }

    /// Whether both look at the same bits.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.first, self.end, self.mask) == (other.first, other.end, other.mask)
    }

    /// Where to load eight bytes that have the window, and its mask and value in them, the first byte being the least
    /// significant. The window is at their end if it can be: what lies behind it may not be in the packet.
    pub(super) fn loaded(&self) -> (u16, u64, u64) {
        let (offset, left) = frame(self.end);
        (offset, (self.mask << left).swap_bytes(), (self.value << left).swap_bytes())
    }
}

/// Where to load eight bytes so that a number that ends before byte `end` is at their end, and by how many bits it lies
/// further left if that cannot be.
pub(super) fn frame(end: u32) -> (u16, u32) {
    let offset = u16::try_from(end.saturating_sub(BYTES_MAX)).unwrap_or(u16::MAX);
    (offset, 8 * BYTES_MAX.saturating_sub(end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
mod tests {
    use super::*;

    const fn place(offset: u16, bytes: u8, reading: Reading, mask: u64) -> Place {
        Place { offset, bytes, reading, mask }
    }

    #[test]
    fn what_is_loaded_says_what_both_places_say() {
        let packet: [u8; 24] = std::array::from_fn(|n| u8::try_from(n * 37 % 256).unwrap());
        let places = [
            place(0, 1, Reading::Big, 0xf0),
            place(0, 2, Reading::Big, 0x1fff),
            place(1, 4, Reading::Little, 0xff00_ffff),
            place(6, 2, Reading::Big, 0xffff),
            place(9, 8, Reading::Big, u64::MAX),
            place(12, 4, Reading::Big, 0xffff_ffff),
        ];
        let mut together = 0;
        for (one, other) in places.iter().flat_map(|one| places.iter().map(move |other| (one, other))) {
            for (a, b) in [(0, 0), (1, 0), (0, 1)] {
                // One that holds, or with a bit that does not.
                let value = |place: &Place, wrong: u64| {
                    place.read(&packet, 0).unwrap() ^ wrong << place.mask.trailing_zeros()
                };
                let windows = [Window::new(one, value(one, a)), Window::new(other, value(other, b))];
                let Some(both) = windows[0].and(&windows[1]) else { continue };
                let (offset, mask, value) = both.loaded();
                let bytes = packet[usize::from(offset)..].first_chunk().unwrap();
                let holds = u64::from_le_bytes(*bytes) & mask == value;
                assert_eq!(holds, (a, b) == (0, 0), "{one:?} {other:?}");
                together += 1;
            }
        }
        assert_eq!(together, 40, "as many pairs as fit into eight bytes and do not contradict each other");
    }

    #[test]
    fn what_contradicts_itself_or_is_too_long_is_not_one_window() {
        let byte = |offset, value| Window::new(&place(offset, 1, Reading::Big, 0xff), value);
        assert_eq!(byte(3, 1).and(&byte(3, 2)), None);
        assert_eq!(byte(3, 1).and(&byte(3, 1)), Some(byte(3, 1)));
        assert_eq!(byte(3, 1).and(&byte(11, 1)), None);
        assert!(byte(3, 1).and(&byte(10, 1)).is_some());
        let never = Window::new(&place(3, 1, Reading::Big, 0xf0), 0x41);
        assert_eq!(never.and(&byte(4, 1)), None);
    }
}
