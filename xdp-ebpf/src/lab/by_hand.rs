//! Header programs as a person writes them: what generated ones are measured against, each doing what its filter's does.
//!
//! The filters are those of `octroi-bench`'s suite of the same name, which first holds both programs against each other,
//! frame by frame. They refuse nothing but what the filters refuse; a class is a number that means its program's own.
use abi::{
    pins::{JUMP_SLOTS, SLOT_STEER},
    rxmeta::{CLASS_REJECT, MAGIC_CLASS, RxMeta},
};
use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray, ProgramArray},
    programs::XdpContext,
};

use crate::{
    frame::{Frame, Words},
    meta,
};

/// In slot 1: what stands for `steer` on both sides.
#[map]
static HAND_JUMP: ProgramArray = ProgramArray::with_max_entries(JUMP_SLOTS, 0);

/// How often what was decided: no rule, each rule, and "a worker decides" as the last.
#[map]
static HAND_RULES: PerCpuArray<u64> = PerCpuArray::with_max_entries(128, 0);

/// The flows of [`tuples_by_hand`], and their rules. Ports and addresses as on the wire.
#[map]
static HAND_TUPLES: HashMap<[u32; 4], u32> = HashMap::with_max_entries(64, 0);

/// Takes a header program's metadata off again, so that a test run can be repeated on the same frame.
#[xdp]
pub fn unmake(ctx: XdpContext) -> u32 {
    match meta::remove(&ctx) {
        Ok(()) => XDP_PASS,
        Err(meta::Stuck) => XDP_ABORTED,
    }
}

/// Two signatures behind UDP, several behind TCP; all else is accepted.
#[xdp]
pub fn signatures_by_hand(ctx: XdpContext) -> u32 {
    const FIRST: u32 = 1;
    const OTHERS: u32 = 4;
    const OPEN: u32 = 5;
    let frame = Frame::of(&ctx);
    let Some(transport) = Transport::of(&ctx) else { return hand_over(&ctx, 0, OTHERS) };
    match transport {
        Transport::Udp { at, ports, .. } => match ports.be::<1>() {
            31337 => match frame.words::<4>(at + 8) {
                Some(signature) if signature.quad::<0>() == 0xcf13_e716_d2d1_63ce => {
                    hand_over(&ctx, 1 | CLASS_REJECT, FIRST)
                }
                _ => hand_over(&ctx, 0, OTHERS),
            },
            1434 => match byte(&ctx, at + 8) {
                Some(4) => hand_over(&ctx, 2, OPEN),
                _ => hand_over(&ctx, 0, OTHERS),
            },
            _ => hand_over(&ctx, 0, OTHERS),
        },
        Transport::Tcp { ports, .. } => match ports.be::<1>() {
            80 | 8080 => hand_over(&ctx, 3, OPEN),
            _ => hand_over(&ctx, 0, OTHERS),
        },
    }
}

/// TCP to port 80 is rewritten, all else rejected.
#[xdp]
pub fn www_by_hand(ctx: XdpContext) -> u32 {
    const NO_RULE: u32 = 0;
    const WWW: u32 = 1;
    match Transport::of(&ctx) {
        Some(Transport::Tcp { ports, .. }) if ports.be::<1>() == 80 => hand_over(&ctx, 1, WWW),
        _ => hand_over(&ctx, CLASS_REJECT, NO_RULE),
    }
}

/// Sixty-four flows are accepted, all else rejected.
#[xdp]
pub fn tuples_by_hand(ctx: XdpContext) -> u32 {
    const NO_RULE: u32 = 0;
    let flow = match Transport::of(&ctx) {
        Some(Transport::Udp { ports, addresses, .. }) => (17, ports, addresses),
        Some(Transport::Tcp { ports, addresses, .. }) => (6, ports, addresses),
        None => return hand_over(&ctx, CLASS_REJECT, NO_RULE),
    };
    let (protocol, ports, [from, to]) = flow;
    let key = [from, to, ports.pair::<0, 1>(), protocol];
    // SAFETY: the entries are written before the first run, and never again.
    match unsafe { HAND_TUPLES.get(key) } {
        Some(rule) => hand_over(&ctx, *rule as u16 + 1, *rule + 1),
        None => hand_over(&ctx, CLASS_REJECT, NO_RULE),
    }
}

/// What follows an IPv4 header that is no later fragment's.
enum Transport {
    Udp { at: usize, ports: Words<2>, addresses: [u32; 2] },
    Tcp { ports: Words<2>, addresses: [u32; 2] },
}

impl Transport {
    /// The transport header, if all of it is there with all options before and in it.
    #[inline(always)]
    fn of(ctx: &XdpContext) -> Option<Self> {
        let frame = Frame::of(ctx);
        let ip = frame.words::<17>(0)?;
        let (version, words) = (ip.first::<7>() >> 4, usize::from(ip.first::<7>() & 0xf));
        if ip.be::<6>() != 0x0800 || version != 4 || words < 5 || ip.be::<10>() & 0x1fff != 0 {
            return None;
        }
        let (protocol, addresses) = (ip.second::<11>(), [ip.pair::<13, 14>(), ip.pair::<15, 16>()]);
        let at = 14 + 4 * words;
        match protocol {
            17 => {
                frame.words::<4>(at)?;
                Some(Self::Udp { at, ports: frame.words::<2>(at)?, addresses })
            }
            6 => {
                let header = frame.words::<10>(at)?;
                let words = usize::from(header.first::<6>() >> 4);
                if words < 5 || !reaches(ctx, at + 4 * words) {
                    return None;
                }
                Some(Self::Tcp { ports: frame.words::<2>(at)?, addresses })
            }
            _ => None,
        }
    }
}

/// Whether the frame has so many bytes.
#[inline(always)]
fn reaches(ctx: &XdpContext, bytes: usize) -> bool {
    ctx.data() + bytes <= ctx.data_end()
}

/// The byte at an offset, if it is there.
#[inline(always)]
fn byte(ctx: &XdpContext, at: usize) -> Option<u8> {
    // SAFETY: the byte lies in the frame.
    reaches(ctx, at + 1).then(|| unsafe { ((ctx.data() + at) as *const u8).read() })
}

/// Counts, writes the class, and goes on.
#[inline(always)]
fn hand_over(ctx: &XdpContext, class: u16, counter: u32) -> u32 {
    if let Some(count) = HAND_RULES.get_ptr_mut(counter) {
        // SAFETY: the kernel's pointer to this CPU's value, which nothing else writes while the program runs.
        unsafe { *count += 1 };
    }
    if ctx.metadata() == ctx.data()
        && let Some(slot) = meta::reserve(ctx)
    {
        slot.write(RxMeta { magic: MAGIC_CLASS, class, class_gen: 1, ..RxMeta::default() });
    }
    // SAFETY: a tail call does not return on success, and nothing here waits to be dropped.
    unsafe { HAND_JUMP.tail_call(ctx, SLOT_STEER) };
    match meta::remove(ctx) {
        Ok(()) => XDP_PASS,
        Err(meta::Stuck) => XDP_DROP,
    }
}
