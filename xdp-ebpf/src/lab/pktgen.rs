//! The traffic generator's programs: one makes frames, one collects them, one swallows them.
//!
//! `generate` rewrites the whole header and stamp of the frame it runs on: live frames are recycled with whatever
//! their last receiver left in them. Only the filler is the template's, and is believed to be untouched; the payload
//! check says if it is not. What the n-th frame looks like stands in `abi::pktgen`, and the twin of this program
//! that the test compares it with is `octroi-bench`'s `traffic::plan`.
use abi::pktgen::{
    Config, Cursor, FlowHeader, MAGIC, MAX_LOOKS, MAX_PATTERN, MAX_SIZES, STAMP_LEN, Size, Stamp,
    l3_checksum, shape, tcp_checksum, udp_checksum,
};
use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_tail},
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};

use crate::{floor::FLOOR_XSKS, transmit::OUT};

/// What to generate.
#[map]
static GEN_CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// How far the generator is. One run at a time writes it.
#[map]
static GEN_CURSOR: Array<Cursor> = Array::with_max_entries(1, 0);

/// The flows' headers; the loader says how many.
#[map]
static GEN_FLOWS: Array<FlowHeader> = Array::with_max_entries(1, 0);

/// Frames that `absorb` swallowed.
#[map]
static GEN_ABSORBED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Makes the next frame out of the one it runs on, and sends it out of `OUT`.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    match next_frame(&ctx) {
        Some(Made::Frame) => OUT.redirect(0, u64::from(XDP_ABORTED)).unwrap_or(XDP_ABORTED),
        Some(Made::Nothing) => XDP_DROP,
        None => XDP_ABORTED,
    }
}

/// Takes generated frames to the socket of their queue, and passes all others.
#[xdp]
pub fn collect(ctx: XdpContext) -> u32 {
    if is_ours(&ctx) {
        FLOOR_XSKS.redirect(ctx.rx_queue_index(), u64::from(XDP_DROP)).unwrap_or(XDP_DROP)
    } else {
        XDP_PASS
    }
}

/// Counts and drops every frame: the cheapest receiver there is.
#[xdp]
pub fn absorb(_ctx: XdpContext) -> u32 {
    if let Some(count) = GEN_ABSORBED.get_ptr_mut(0) {
        // SAFETY: the kernel's pointer to this CPU's value, which nothing else writes while the program runs.
        unsafe { *count += 1 };
    }
    XDP_DROP
}

/// What became of a run.
enum Made {
    /// A frame, to be sent.
    Frame,
    /// Nothing: no frame is due, or no more are wanted.
    Nothing,
}

#[inline(always)]
fn next_frame(ctx: &XdpContext) -> Option<Made> {
    let config = GEN_CONFIG.get(0)?;
    let cursor = GEN_CURSOR.get_ptr_mut(0)?;
    // SAFETY: the kernel's pointer to the only value; runs do not overlap (see the map).
    let cursor = unsafe { &mut *cursor };
    let now_ns = if config.interval_q == 0 { clock_ns() } else { 0 };
    if config.scheduled != 0 {
        let due_ns = cursor.due_ns();
        let now_ns = if cursor.made < config.total { wait_until(due_ns) } else { 0 };
        if now_ns < due_ns || config.end_ns <= now_ns {
            return Some(Made::Nothing);
        }
        cursor.note_lag(now_ns);
    }
    let (stamp, at) = cursor.next(config, now_ns);
    let size = &config.sizes[usize::from(config.pattern[at as usize % MAX_PATTERN]) % MAX_SIZES];
    let flow = GEN_FLOWS.get(stamp.flow)?;
    cut(ctx, size)?;
    // One copy for each shape, so that every offset is a constant.
    match config.shape {
        0 => write::<0>(ctx, flow, &stamp, size),
        1 => write::<1>(ctx, flow, &stamp, size),
        2 => write::<2>(ctx, flow, &stamp, size),
        4 => write::<4>(ctx, flow, &stamp, size),
        5 => write::<5>(ctx, flow, &stamp, size),
        6 => write::<6>(ctx, flow, &stamp, size),
        8 => write::<8>(ctx, flow, &stamp, size),
        9 => write::<9>(ctx, flow, &stamp, size),
        10 => write::<10>(ctx, flow, &stamp, size),
        12 => write::<12>(ctx, flow, &stamp, size),
        13 => write::<13>(ctx, flow, &stamp, size),
        14 => write::<14>(ctx, flow, &stamp, size),
        _ => None,
    }?;
    Some(Made::Frame)
}

/// Spins until `due_ns`, or until it has looked often enough, and says what time it is then.
///
/// User space cannot pace live frames finer than its calls, each of which sets up a page pool.
#[inline(always)]
fn wait_until(due_ns: u64) -> u64 {
    let mut now_ns = clock_ns();
    for _ in 0..MAX_LOOKS {
        if due_ns <= now_ns {
            break;
        }
        now_ns = clock_ns();
    }
    now_ns
}

#[inline(always)]
fn clock_ns() -> u64 {
    // SAFETY: the helper takes nothing and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

/// Cuts the template to the frame's size; the kernel restores it for the next frame.
#[inline(always)]
fn cut(ctx: &XdpContext, size: &Size) -> Option<()> {
    let too_long = ctx.data_end() as i64 - ctx.data() as i64 - i64::from(size.frame_len);
    if too_long == 0 {
        return Some(());
    }
    if too_long < 0 {
        return None;
    }
    // SAFETY: `ctx.ctx` is the context the kernel handed to this program; no packet pointer is kept across the call.
    (unsafe { bpf_xdp_adjust_tail(ctx.ctx, -too_long as i32) } == 0).then_some(())
}

#[inline(always)]
fn write<const SHAPE: u8>(ctx: &XdpContext, flow: &FlowHeader, stamp: &Stamp, size: &Size) -> Option<()> {
    let (l3, l4, payload) = const { (shape::l3_off(SHAPE), shape::l4_off(SHAPE), shape::payload_off(SHAPE)) };
    let start = ctx.data();
    if start + payload + STAMP_LEN > ctx.data_end() {
        return None;
    }
    let words = Words(start as *mut u16);
    for at in 0..payload / 2 {
        words.put_raw(at, u16::from_ne_bytes([flow.bytes[2 * at], flow.bytes[2 * at + 1]]));
    }
    let (stamp, stamp_ones) = stamp.emit(size);
    for at in 0..STAMP_LEN / 2 {
        words.put_raw(payload / 2 + at, u16::from_ne_bytes([stamp[2 * at], stamp[2 * at + 1]]));
    }
    let l4_len = size.frame_len - l4 as u16;
    if SHAPE & shape::V6 == 0 {
        let total = size.frame_len - l3 as u16;
        words.put(l3 / 2 + 1, total);
        words.put(l3 / 2 + 5, l3_checksum(flow.l3_ones, total));
    } else {
        words.put(l3 / 2 + 2, l4_len);
    }
    let sums = stamp_ones + u32::from(size.ones);
    if SHAPE & shape::TCP == 0 {
        words.put(l4 / 2 + 2, l4_len);
        words.put(l4 / 2 + 3, udp_checksum(flow.l4_ones, l4_len, sums));
    } else {
        words.put(l4 / 2 + 8, tcp_checksum(flow.l4_ones, l4_len, sums));
    }
    Some(())
}

#[inline(always)]
fn is_ours(ctx: &XdpContext) -> bool {
    let Some(config) = GEN_CONFIG.get(0) else { return false };
    // Masked, so that the verifier knows how far into the packet it can reach.
    let at = ctx.data() + (shape::payload_off(config.shape) & 0x7F);
    if at + STAMP_LEN > ctx.data_end() {
        return false;
    }
    // SAFETY: the two bytes lie before `data_end`, and a payload begins at an even offset.
    u16::from_be(unsafe { (at as *const u16).read() }) == MAGIC
}

/// The 16-bit words of a frame whose header and stamp were found to lie inside it.
#[derive(Clone, Copy)]
struct Words(*mut u16);

impl Words {
    /// Writes a word as it lies in memory.
    #[inline(always)]
    fn put_raw(self, at: usize, word: u16) {
        // SAFETY: `at` counts words of header and stamp, which `write` found to lie inside the frame.
        let word_at = unsafe { self.0.add(at) };
        // SAFETY: as above, and the frame is this program's alone.
        unsafe { word_at.write(word) };
    }

    /// Writes a number in network byte order.
    #[inline(always)]
    fn put(self, at: usize, number: u16) {
        self.put_raw(at, number.to_be());
    }
}
