//! The traffic generator's plan: what the XDP generator and its twin in user space must agree on, byte for byte.
//!
//! It refuses to know where frames go or how fast: it says which flow, sequence number and size the *n*-th frame
//! has, how its payload begins, and how its checksums are completed. All of it is additions and one table row a
//! frame, so that a program inside the kernel can afford it.
//!
//! ```text
//! payload  0       2            6            10                       16      18
//!         +-------+------------+------------+------------------------+-------+----------------
//!         | magic | flow       | sequence   | scheduled time, ns (48) | check | filler …
//!         +-------+------------+------------+------------------------+-------+----------------
//! ```
//!
//! All fields are big endian. Eighteen bytes is what a 64-byte Ethernet frame leaves after IPv4 and UDP.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First two bytes of a generated payload: the tollkeeper's mark.
pub const MAGIC: u16 = 0x0C70;
/// Bytes of the payload that are ours; filler follows.
pub const STAMP_LEN: usize = 18;
/// Most flows of one plan: the flow table is memory that the kernel pins.
pub const MAX_FLOWS: u32 = 1 << 20;
/// Most frame sizes in a mix.
pub const MAX_SIZES: usize = 8;
/// Longest pattern of sizes; IMIX needs 48.
pub const MAX_PATTERN: usize = 64;
/// Longest header: Ethernet, two tags, IPv6, TCP.
pub const MAX_HEADER: usize = 14 + 2 * 4 + 40 + 20;
/// Fraction bits of times in a [`Cursor`], so that a rate of 13 Mpps is not rounded to whole nanoseconds.
pub const TIME_SHIFT: u32 = 16;
/// Times in a payload wrap at 48 bits: 78 hours.
pub const TIME_MASK: u64 = (1 << 48) - 1;

/// How often a program that keeps the schedule looks at the clock before it gives up for this run: some 50 µs.
pub const MAX_LOOKS: u32 = 2048;

/// Array with one [`Config`] in the lab object.
pub const MAP_CONFIG: &str = "GEN_CONFIG";
/// Array with one [`Cursor`] in the lab object; one run at a time may write it.
pub const MAP_CURSOR: &str = "GEN_CURSOR";
/// Array of [`FlowHeader`] in the lab object; its size is set before loading.
pub const MAP_FLOWS: &str = "GEN_FLOWS";
/// Per-CPU array with one `u64` in the lab object: frames that [`PROG_ABSORB`] swallowed.
pub const MAP_ABSORBED: &str = "GEN_ABSORBED";
/// The lab program that stamps the frame it is run on and sends it out of [`crate::pins::LAB_OUT`].
pub const PROG_GENERATE: &str = "generate";
/// The lab program that takes generated frames to [`crate::pins::LAB_XSKS`] and passes all others.
pub const PROG_COLLECT: &str = "collect";
/// The lab program that counts every frame and drops it.
pub const PROG_ABSORB: &str = "absorb";

/// Which headers a frame has: bits of [`Config::shape`].
pub mod shape {
    /// The low two bits: how many VLAN tags.
    pub const TAGS: u8 = 0b11;
    /// IPv6, else IPv4.
    pub const V6: u8 = 1 << 2;
    /// TCP, else UDP.
    pub const TCP: u8 = 1 << 3;

    /// Offset of the network header.
    #[must_use]
    #[inline(always)]
    pub const fn l3_off(shape: u8) -> usize {
        14 + 4 * (shape & TAGS) as usize
    }

    /// Offset of the transport header.
    #[must_use]
    #[inline(always)]
    pub const fn l4_off(shape: u8) -> usize {
        l3_off(shape) + if shape & V6 == 0 { 20 } else { 40 }
    }

    /// Offset of the payload.
    #[must_use]
    #[inline(always)]
    pub const fn payload_off(shape: u8) -> usize {
        l4_off(shape) + if shape & TCP == 0 { 8 } else { 20 }
    }
}

/// One size of the mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Size {
    /// The filler's part of [`check`].
    pub filler: u64,
    /// Bytes of the frame as XDP sees it: without the FCS.
    pub frame_len: u16,
    /// One's complement sum of the filler.
    pub ones: u16,
    /// 0.
    pub zero: u32,
}

/// The plan, but for its flows.
///
/// # Invariants
/// `1 <= flows <= MAX_FLOWS`; `step` has no factor in common with `flows` and is smaller, as is `turn` (0 and 1
/// flows: both 0); `1 <= pattern_len <= MAX_PATTERN`; every pattern entry is below `MAX_SIZES`; every size holds
/// header and stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// The sizes that the pattern names.
    pub sizes: [Size; MAX_SIZES],
    /// The order of sizes: an index into `sizes` for each place.
    pub pattern: [u8; MAX_PATTERN],
    /// Nanoseconds between two frames, shifted by [`TIME_SHIFT`]; 0 means as fast as possible, stamped by the clock.
    pub interval_q: u64,
    /// A program that keeps the schedule makes nothing from this time on.
    pub end_ns: u64,
    /// It makes at most so many frames.
    pub total: u64,
    /// Number of flows.
    pub flows: u32,
    /// From one frame's flow to the next one's.
    pub step: u32,
    /// From one round's first flow to the next one's.
    pub turn: u32,
    /// Places of `pattern` in use.
    pub pattern_len: u16,
    /// Bits of [`shape`].
    pub shape: u8,
    /// 1: the program keeps the schedule: it waits until a frame is due, and makes none if it still is not after
    /// [`MAX_LOOKS`]. 0: whoever runs it has waited.
    pub scheduled: u8,
}

/// The headers of one flow, complete but for lengths and checksums.
///
/// # Invariants
/// `l3_ones` and `l4_ones` are one's complement sums: of the IPv4 header with length and checksum 0, and of pseudo
/// header (without length) and transport header with lengths and checksum 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowHeader {
    /// The headers, from the destination MAC address on.
    pub bytes: [u8; MAX_HEADER],
    /// See the type.
    pub l3_ones: u16,
    /// See the type.
    pub l4_ones: u16,
}

/// Where the generator stands: everything the next frame depends on.
///
/// Flows are visited in rounds, each flow once a round, so a frame's sequence number in its flow is its round.
/// Sizes move on by one place from round to round, so that a flow does not keep one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cursor {
    /// When the next frame is due, shifted by [`TIME_SHIFT`]; meaningless without a rate.
    pub due_q: u64,
    /// Frames made so far.
    pub made: u64,
    /// Furthest that a frame was behind its time, as whoever waits for frames notes it.
    pub lag_max_ns: u64,
    /// The next frame's place in its round.
    pub place: u32,
    /// The round.
    pub round: u32,
    /// The next frame's flow.
    pub flow: u32,
    /// The round's first flow.
    pub first: u32,
    /// The next frame's place in the pattern.
    pub at: u32,
    /// The round's first place in the pattern.
    pub at_first: u32,
}

/// What distinguishes one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which flow it belongs to.
    pub flow: u32,
    /// Its number within the flow; wraps.
    pub sequence: u32,
    /// When it should leave, in nanoseconds of the monotonic clock, modulo 2⁴⁸.
    pub scheduled_ns: u64,
}

impl Cursor {
    /// A cursor at the first frame, due at `start_ns`.
    #[must_use]
    pub const fn starting(start_ns: u64) -> Self {
        Self {
            due_q: start_ns << TIME_SHIFT,
            made: 0,
            lag_max_ns: 0,
            place: 0,
            round: 0,
            flow: 0,
            first: 0,
            at: 0,
            at_first: 0,
        }
    }

    /// When the next frame is due, if the plan has a rate.
    #[must_use]
    #[inline(always)]
    pub const fn due_ns(&self) -> u64 {
        self.due_q >> TIME_SHIFT
    }

    /// Notes that the next frame leaves at `now_ns`, on time or late.
    #[inline(always)]
    pub const fn note_lag(&mut self, now_ns: u64) {
        let lag = now_ns.saturating_sub(self.due_ns());
        if self.lag_max_ns < lag {
            self.lag_max_ns = lag;
        }
    }

    /// The next frame: its stamp and its place in the pattern of sizes. `now_ns` is read only without a rate.
    #[inline(always)]
    pub fn next(&mut self, config: &Config, now_ns: u64) -> (Stamp, u32) {
        let time = if config.interval_q == 0 { now_ns } else { self.due_ns() };
        let stamp = Stamp { flow: self.flow, sequence: self.round, scheduled_ns: time & TIME_MASK };
        let at = self.at;
        self.due_q = self.due_q.wrapping_add(config.interval_q);
        self.made += 1;
        self.place += 1;
        if self.place < config.flows {
            self.flow = turned(self.flow, config.step, config.flows);
            self.at = turned(at, 1, config.pattern_len as u32);
        } else {
            self.place = 0;
            self.round = self.round.wrapping_add(1);
            self.first = turned(self.first, config.turn, config.flows);
            self.flow = self.first;
            self.at_first = turned(self.at_first, 1, config.pattern_len as u32);
            self.at = self.at_first;
        }
        (stamp, at)
    }
}

impl Stamp {
    /// The first [`STAMP_LEN`] bytes of the payload, and their one's complement sum.
    #[must_use]
    #[inline(always)]
    pub fn emit(&self, size: &Size) -> ([u8; STAMP_LEN], u32) {
        let check = check(self, size.frame_len, size.filler);
        let head = ((MAGIC as u64) << 48) | ((self.flow as u64) << 16) | (self.sequence >> 16) as u64;
        let tail = ((self.sequence as u64 & 0xFFFF) << 48) | self.scheduled_ns;
        let mut bytes = [0; STAMP_LEN];
        bytes[..8].copy_from_slice(&head.to_be_bytes());
        bytes[8..16].copy_from_slice(&tail.to_be_bytes());
        bytes[16..].copy_from_slice(&check.to_be_bytes());
        (bytes, words(head) + words(tail) + check as u32)
    }

    /// Reads a payload's beginning: the stamp and the check it carries. `None` if it is not one of ours.
    #[must_use]
    #[inline(always)]
    pub fn parse(bytes: &[u8; STAMP_LEN]) -> Option<(Self, u16)> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = *bytes;
        let head = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let tail = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
        if head >> 48 != MAGIC as u64 {
            return None;
        }
        let sequence = ((head as u32 & 0xFFFF) << 16) | (tail >> 48) as u32;
        let stamp = Self { flow: (head >> 16) as u32, sequence, scheduled_ns: tail & TIME_MASK };
        Some((stamp, u16::from_be_bytes([q, r])))
    }
}

/// The payload check: every bit of stamp, length and filler moves it.
#[must_use]
#[inline(always)]
pub const fn check(stamp: &Stamp, frame_len: u16, filler: u64) -> u16 {
    // Odd multipliers from the fractions of the golden ratio and of the square roots of 2 and 3.
    let x = (((stamp.flow as u64) << 32) | stamp.sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let y = (((frame_len as u64) << 48) ^ stamp.scheduled_ns).wrapping_mul(0x6A09_E667_F3BC_C909);
    let mut h = x.rotate_left(32) ^ y.wrapping_add(filler);
    h = (h ^ (h >> 29)).wrapping_mul(0xBB67_AE85_84CA_A73B);
    h ^= h >> 32;
    (h ^ (h >> 16)) as u16
}

/// A sum of 16-bit words with its carries added back in (RFC 1071).
#[must_use]
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xFFFF) + (sum >> 16);
    ((once & 0xFFFF) + (once >> 16)) as u16
}

/// The IPv4 header checksum of a frame.
#[must_use]
#[inline(always)]
pub const fn l3_checksum(l3_ones: u16, total_len: u16) -> u16 {
    !fold(l3_ones as u32 + total_len as u32)
}

/// The TCP checksum: `l4_len` counts once, in the pseudo header; `payload` is the stamp's sum and the filler's.
#[must_use]
#[inline(always)]
pub const fn tcp_checksum(l4_ones: u16, l4_len: u16, payload: u32) -> u16 {
    !fold(l4_ones as u32 + l4_len as u32 + payload)
}

/// The UDP checksum: `l4_len` counts twice, in the pseudo header and in the header.
///
/// Never 0, which would mean "no checksum" (RFC 768).
#[must_use]
#[inline(always)]
pub const fn udp_checksum(l4_ones: u16, l4_len: u16, payload: u32) -> u16 {
    let sum = !fold(l4_ones as u32 + 2 * l4_len as u32 + payload);
    if sum == 0 { 0xFFFF } else { sum }
}

#[inline(always)]
const fn turned(value: u32, by: u32, limit: u32) -> u32 {
    let next = value + by;
    if next < limit { next } else { next - limit }
}

#[inline(always)]
const fn words(x: u64) -> u32 {
    ((x >> 48) + (x >> 32 & 0xFFFF) + (x >> 16 & 0xFFFF) + (x & 0xFFFF)) as u32
}

const _: () = {
    assert!(size_of::<Size>() == 16 && size_of::<FlowHeader>() == 86 && size_of::<Cursor>() == 48);
    assert!(size_of::<Config>() == MAX_SIZES * 16 + MAX_PATTERN + 40);
    assert!(MAX_SIZES.is_power_of_two() && MAX_PATTERN.is_power_of_two(), "indices are masked, not checked");
};

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flows: u32, step: u32, turn: u32, pattern_len: u16) -> Config {
        Config {
            sizes: [Size { frame_len: 60, ..Size::default() }; MAX_SIZES],
            pattern: [0; MAX_PATTERN],
            interval_q: 3 << (TIME_SHIFT - 1),
            end_ns: 0,
            total: 0,
            flows,
            step,
            turn,
            pattern_len,
            shape: 0,
            scheduled: 0,
        }
    }

    #[test]
    fn each_round_visits_each_flow_once() {
        let config = config(7, 3, 2, 5);
        let mut cursor = Cursor::starting(0);
        for round in 0..20_u32 {
            let mut seen = [false; 7];
            for place in 0..7 {
                let (stamp, at) = cursor.next(&config, 0);
                assert_eq!((stamp.sequence, at), (round, (round + place) % 5));
                assert!(!core::mem::replace(&mut seen[stamp.flow as usize], true), "flow {}", stamp.flow);
            }
        }
        assert_eq!(cursor.made, 140);
    }

    #[test]
    fn frames_are_due_at_exact_fractions() {
        let config = config(1, 0, 0, 1);
        let mut cursor = Cursor::starting(1000);
        let due: [u64; 4] = core::array::from_fn(|_| cursor.next(&config, 9).0.scheduled_ns);
        assert_eq!(due, [1000, 1001, 1003, 1004], "every 1.5 ns");
    }

    #[test]
    fn without_a_rate_the_clock_stamps() {
        let config = Config { interval_q: 0, ..config(1, 0, 0, 1) };
        let mut cursor = Cursor::starting(5);
        assert_eq!(cursor.next(&config, 77).0.scheduled_ns, 77);
    }

    #[test]
    fn a_stamp_is_read_back() {
        let size = Size { filler: 5, frame_len: 60, ones: 0, zero: 0 };
        let stamp = Stamp { flow: 0x0001_0203, sequence: 0xFFEE_DDCC, scheduled_ns: 0x1234_5678_9ABC };
        let (bytes, ones) = stamp.emit(&size);
        assert_eq!(
            bytes[..16],
            [0x0C, 0x70, 0, 1, 2, 3, 0xFF, 0xEE, 0xDD, 0xCC, 0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC]
        );
        assert_eq!(Stamp::parse(&bytes), Some((stamp, check(&stamp, 60, 5))));
        let by_words: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        assert_eq!(ones, by_words);
    }

    #[test]
    fn a_zero_checksum_is_written_as_each_protocol_wants_it() {
        // 0xFFF0 + length + payload = 0xFFFF, whose complement is 0.
        assert_eq!(tcp_checksum(0xFFF0, 8, 7), 0);
        assert_eq!(udp_checksum(0xFFEF, 8, 0), 0xFFFF);
    }

    #[test]
    fn a_changed_bit_changes_the_check() {
        let size = Size { filler: 5, frame_len: 60, ones: 0, zero: 0 };
        let (bytes, _) = Stamp { flow: 9, sequence: 8, scheduled_ns: 7 }.emit(&size);
        for bit in 16..STAMP_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            let (stamp, said) = Stamp::parse(&bad).expect("the magic is whole");
            assert_ne!(check(&stamp, 60, 5), said, "bit {bit}");
        }
        let mut other = bytes;
        other[0] ^= 1;
        assert_eq!(Stamp::parse(&other), None);
    }
}
