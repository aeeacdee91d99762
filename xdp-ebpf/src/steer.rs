//! The end of the chain: finds whose a frame is, writes `RxMeta` before it, and redirects it.
//!
//! It refuses to read behind the ports, but for the packet that an ICMP error quotes: one lookup (two where the interface
//! serves transit) and the frame is somebody's or the OS stack's. The only state is whose a fragmented datagram is. The
//! rules, row by row, are those of `multistack::steer`, its slow twin in userspace.
use abi::{
    counter::XdpCounter,
    port::{PortConfig, TRANSIT},
    rxmeta::{CLASS_NONE, CLASS_REJECT, MAGIC, RxMeta, flag},
    steer::{Target, target_flag},
};
use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT},
    macros::xdp,
    programs::XdpContext,
};

use crate::{
    counters::count,
    datagram,
    frame::Frame,
    maps::{PORT, STEER, XSKS},
    meta::{self, Slot},
    parse::{self, Key, Parsed, Part},
};

/// Slot 1 of the chain.
#[xdp]
pub fn steer(ctx: XdpContext) -> u32 {
    match claim(&ctx) {
        Ok(claimed) => redirect(&ctx, claimed),
        Err(XdpCounter::RulerReject) => drop(XdpCounter::RulerReject),
        Err(reason) => pass(&ctx, reason),
    }
}

/// A frame that belongs to a target.
struct Claimed {
    target: Target,
    parsed: Parsed,
    frame_len: u16,
    class: u16,
    class_gen: u8,
}

/// Rules 1 to 22: whose frame it is, or why it is nobody's.
#[inline(always)]
fn claim(ctx: &XdpContext) -> Result<Claimed, XdpCounter> {
    // The loader fills the port's entry before it attaches; an array's entry is always there.
    let port = PORT.get(0).ok_or(XdpCounter::PassOtherHost)?;
    let frame = Frame::of(ctx);
    let (target, parsed) = match parse::plain(frame, port) {
        Some((key, parsed)) => (lookup(&key, transit(port)).ok_or(XdpCounter::PassMiss)?, parsed),
        None => by_rules(frame, port)?,
    };
    let (class, class_gen) = Slot::of(ctx).map_or((CLASS_NONE, 0), Slot::class);
    if class != CLASS_NONE && class & CLASS_REJECT != 0 {
        return Err(XdpCounter::RulerReject);
    }
    Ok(Claimed { target, parsed, frame_len: frame.len() as u16, class, class_gen })
}

/// The same for whatever is not plain.
#[inline(always)]
fn by_rules(frame: Frame, port: &PortConfig) -> Result<(Target, Parsed), XdpCounter> {
    let network = parse::network(frame, port)?;
    match network.part {
        Part::Whole => match network.key(frame) {
            Ok(key) => {
                let twice = if network.has_options() { Transit::No } else { transit(port) };
                let target = lookup(&key, twice).ok_or(XdpCounter::PassMiss)?;
                Ok((target, network.parsed(0)))
            }
            Err(XdpCounter::PassIcmp) => {
                let target = network.quoted(frame).and_then(|key| lookup(&key, Transit::No));
                let wants = |target: &Target| target.flags & target_flag::ICMP != 0;
                let target = target.filter(wants).ok_or(XdpCounter::PassIcmp)?;
                count(XdpCounter::IcmpError);
                Ok((target, network.parsed(flag::ICMP_ERROR)))
            }
            Err(reason) => Err(reason),
        },
        Part::First(datagram) => {
            let identity = network.identity(datagram);
            let found =
                network.key(frame).and_then(|key| lookup(&key, Transit::No).ok_or(XdpCounter::PassMiss));
            match found {
                Ok(target) => {
                    datagram::enter(&identity, target);
                    Ok((target, network.parsed(flag::FRAG_FIRST)))
                }
                Err(reason) => {
                    datagram::forget(&identity);
                    Err(reason)
                }
            }
        }
        Part::Later(datagram) => {
            let target = datagram::owner(&network.identity(datagram))?;
            Ok((target, network.parsed(flag::FRAG_LATER)))
        }
    }
}

/// Whether a miss is looked up once more, with "any" address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transit {
    No,
    Yes,
}

#[inline(always)]
fn transit(port: &PortConfig) -> Transit {
    if port.flags & TRANSIT == 0 { Transit::No } else { Transit::Yes }
}

/// The target of the exact address; where the interface serves transit, else that of "any" address.
#[inline(always)]
fn lookup(key: &Key, transit: Transit) -> Option<Target> {
    // SAFETY: an entry stays mapped while this program runs. One that is given to another owner meanwhile may be read half
    // old and half new; the worker compares slot and generation, and drops what fits neither as stale.
    if let Some(target) = unsafe { STEER.get(key.exact()) } {
        return Some(*target);
    }
    if transit == Transit::No {
        return None;
    }
    // SAFETY: as above.
    unsafe { STEER.get(key.any().exact()) }.copied()
}

/// Hands the frame to the socket of its queue; without one, to the verdict that the target chose for a crash.
#[inline(always)]
fn redirect(ctx: &XdpContext, claimed: Claimed) -> u32 {
    let Claimed { target, parsed, frame_len, class, class_gen } = claimed;
    let slot = meta::reserve(ctx);
    if let Some(slot) = slot {
        slot.write(RxMeta {
            magic: MAGIC,
            kind: target.kind,
            flags: parsed.flags,
            id: target.id,
            generation: target.generation,
            class,
            class_gen,
            l3_off: parsed.l3_off,
            l4_off: parsed.l4_off,
            frame_len,
        });
    }
    if XSKS.redirect(ctx.rx_queue_index(), u64::from(XDP_DROP)) == Ok(XDP_REDIRECT) {
        if slot.is_none() {
            count(XdpCounter::NoMeta);
        }
        count(XdpCounter::Redirect);
        return XDP_REDIRECT;
    }
    if target.flags & target_flag::ON_CRASH_PASS != 0 {
        pass(ctx, XdpCounter::PassNoSocket)
    } else {
        drop(XdpCounter::DropNoSocket)
    }
}

/// Gives the frame to the OS stack as it came.
#[inline(always)]
fn pass(ctx: &XdpContext, reason: XdpCounter) -> u32 {
    if meta::remove(ctx).is_err() {
        return drop(XdpCounter::DropMetaStuck);
    }
    count(reason);
    XDP_PASS
}

#[inline(always)]
fn drop(reason: XdpCounter) -> u32 {
    count(reason);
    XDP_DROP
}
