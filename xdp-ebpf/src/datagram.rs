//! Whose a fragmented datagram is: its first fragment enters that, the others follow it.
//!
//! It refuses to wait for fragments and to put them together. What it does not know is the OS stack's: an entry that the
//! map threw out costs its owner a datagram, never another owner.
use abi::{
    counter::XdpCounter,
    fragment::{FragEntry, LIFETIME_NS},
    steer::Target,
};
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::{counters::count, maps::FRAGS, parse::Identity};

/// A [`FragEntry`] as words: five of the key, the target, the time.
const WORDS: usize = size_of::<FragEntry>() / size_of::<u64>();
const TARGET: usize = 5;
const UNTIL: usize = 6;

/// The first fragment of a datagram went to `target`: the others shall.
///
/// A full map throws out what was not used for longest. It refuses only if it finds nothing to throw out at once; then an
/// older datagram of the same identity must not stand for this one.
#[inline(always)]
pub fn enter(datagram: &Identity, target: Target) {
    count(XdpCounter::FragFirst);
    let [a, b, c, d, e] = datagram.0;
    let entry: [u64; WORDS] = [a, b, c, d, e, zerocopy::transmute!(target), now_ns() + LIFETIME_NS];
    let entry: &FragEntry = zerocopy::transmute_ref!(&entry);
    if FRAGS.insert(&entry.key, entry, 0).is_err() {
        forget(datagram);
        count(XdpCounter::FragNotKept);
    }
}

/// The first fragment of a datagram is nobody's: what an older one of the same identity left is not this one's.
#[inline(always)]
pub fn forget(datagram: &Identity) {
    // There is nothing to do about an entry that is not there.
    let _ = FRAGS.remove(datagram.key());
}

/// Rule 20: whose a later fragment of a datagram is.
#[inline(always)]
pub fn owner(datagram: &Identity) -> Result<Target, XdpCounter> {
    let entry = FRAGS.get_ptr(datagram.key()).ok_or(XdpCounter::PassFragment)?.cast::<[u64; WORDS]>();
    let (target, until_ns) = (read::<TARGET>(entry), read::<UNTIL>(entry));
    // After what it stands for: writers write the key first, so if another CPU threw the entry out meanwhile and gave it to
    // another datagram, its target is not taken for ours.
    let key = [read::<0>(entry), read::<1>(entry), read::<2>(entry), read::<3>(entry), read::<4>(entry)];
    if key != datagram.0 {
        return Err(XdpCounter::PassFragment);
    }
    if until_ns <= now_ns() {
        return Err(XdpCounter::PassFragExpired);
    }
    count(XdpCounter::FragLater);
    Ok(zerocopy::transmute!(target))
}

/// One word of an entry.
#[inline(always)]
fn read<const I: usize>(entry: *const [u64; WORDS]) -> u64 {
    const { assert!(I < WORDS) };
    // SAFETY: the map returned an entry, 56 bytes and aligned, which stays mapped while this program runs, and `I < WORDS`.
    // Volatile: each word is read once, in the order in which the program reads them.
    unsafe { (&raw const (*entry)[I]).read_volatile() }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}
