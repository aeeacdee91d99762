//! A plan applied to a packet: the new packet in the same frame, or the reason why it is dropped.
//!
//! It allocates nothing, keeps nothing of a packet but anonymised addresses, and panics at no packet and at no labels.
//! It decides nothing that the plan has decided.

use std::{ops::Range, sync::Arc};

use wire::{ipv4, ipv6};

use super::{
    anonymise::{Anonymiser, Cache},
    checksum::{self, Before},
    field::Field,
    plan::{Kind, Load, Loaded, Mode, Piece, Plan, Slot, What, Write},
};
use crate::resolved::LabelId;

/// How long an output may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least: [`Bounds::LEAST`] where it goes to a port or a target, 0 offline.
    pub least: usize,
    /// At most.
    pub most: usize,
}

impl Bounds {
    /// An Ethernet header: the least that a port takes.
    pub const LEAST: usize = 14;

    /// Of a port with this MTU, which counts neither the Ethernet header nor two tags.
    #[must_use]
    pub fn of_mtu(mtu: u16) -> Self {
        Self { least: Self::LEAST, most: usize::from(mtu) + 22 }
    }
}

/// The new packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Where it lies in the frame.
    pub packet: Range<usize>,
    /// How many checksums could not be made and are 0 now; counter `ruler_csum_skipped`.
    pub skipped_sums: u32,
}

/// Why there is no new packet: the drop is counted under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`Bounds::most`] or than the frame.
    #[error("ruler_too_long")]
    TooLong,
    /// Shorter than [`Bounds::least`].
    #[error("ruler_too_short")]
    TooShort,
    /// A value does not fit its field, or the field its item.
    #[error("ruler_field")]
    Field,
}

/// Some rule anonymises addresses, and there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rule anonymises addresses, and no key was given")]
pub struct KeyMissing;

/// What one engine has for rewriting: bounds, key, memory.
#[derive(Debug)]
pub struct Scratch {
    bounds: Bounds,
    anonymiser: Option<Arc<Anonymiser>>,
    cache: Cache,
    items: Vec<Placed>,
    loaded: Vec<u8>,
    rebuilt: Vec<u8>,
}

impl Scratch {
    /// With memory for every one of these plans.
    ///
    /// # Errors
    /// [`KeyMissing`]: a plan needs a key. There is no default, as a key that all know hides nothing.
    pub fn new<'a>(
        plans: impl IntoIterator<Item = &'a Plan>,
        bounds: Bounds,
        anonymiser: Option<Arc<Anonymiser>>,
    ) -> Result<Self, KeyMissing> {
        let cache = Cache::default();
        let (items, loaded, rebuilt) = (Vec::new(), Vec::new(), Vec::new());
        let mut scratch = Self { bounds, anonymiser, cache, items, loaded, rebuilt };
        for plan in plans {
            if plan.needs_key() && scratch.anonymiser.is_none() {
                return Err(KeyMissing);
            }
            scratch.fit(plan);
        }
        Ok(scratch)
    }

    /// Grows to what a plan needs: nothing, once it was there at [`Scratch::new`].
    fn fit(&mut self, plan: &Plan) {
        self.items.clear();
        self.items.reserve(plan.items.len());
        self.loaded.resize(self.loaded.len().max(plan.loaded), 0);
        if plan.kind == Kind::Rebuild {
            self.rebuilt.resize(self.bounds.most, 0);
        }
    }
}

/// Where an item comes from in the packet, and where it goes in the output.
#[derive(Clone, Debug)]
struct Placed {
    from: Range<usize>,
    to: Range<usize>,
}

/// Makes the new packet from the one that lies in the frame at `packet`, whose labels lie at `labels`, from its first
/// byte on and by [`LabelId`].
///
/// A label that is not there or not in the packet is empty. An item of no bytes is left out with all that is set in it.
///
/// # Errors
/// [`Refusal`]: the packet is to be dropped; its bytes may be changed.
pub fn apply(
    plan: &Plan,
    frame: &mut [u8],
    packet: Range<usize>,
    labels: &[Range<usize>],
    scratch: &mut Scratch,
) -> Result<Rewritten, Refusal> {
    scratch.fit(plan);
    let packet = within(&packet, frame.len());
    let room = frame.len();
    let old = frame.get_mut(packet.clone()).unwrap_or_default();
    let matched = Matched { bytes: old, labels };
    let len = place(plan, &matched, &mut scratch.items);
    if len < scratch.bounds.least {
        return Err(Refusal::TooShort);
    }
    if scratch.bounds.most < len || room < len {
        return Err(Refusal::TooLong);
    }
    load(plan, &matched, scratch)?;
    let Scratch { items, loaded, rebuilt, .. } = scratch;
    match plan.kind {
        Kind::Patch | Kind::Cut => {
            let anchor =
                items.get(plan.anchor.0).and_then(|anchor| anchor.from.start.checked_sub(anchor.to.start));
            let begin = anchor.ok_or(Refusal::Field)?;
            let new = old.get_mut(begin..begin + len).ok_or(Refusal::Field)?;
            write_items(plan, None, items, loaded, new);
            let skipped_sums = write_fields(plan, items, loaded, new)?;
            let begin = packet.start + begin;
            Ok(Rewritten { packet: begin..begin + len, skipped_sums })
        }
        Kind::Rebuild => {
            let new = rebuilt.get_mut(..len).ok_or(Refusal::TooLong)?;
            write_items(plan, Some(old), items, loaded, new);
            let skipped_sums = write_fields(plan, items, loaded, new)?;
            // It stays where it was, or as near to it as there is room.
            let begin = packet.start.min(room - len);
            frame.get_mut(begin..begin + len).ok_or(Refusal::TooLong)?.copy_from_slice(new);
            Ok(Rewritten { packet: begin..begin + len, skipped_sums })
        }
    }
}

/// The packet that a rule matched.
struct Matched<'a> {
    bytes: &'a [u8],
    labels: &'a [Range<usize>],
}

impl Matched<'_> {
    fn range(&self, label: LabelId) -> Range<usize> {
        self.labels.get(usize::from(label.0)).map_or(0..0, |range| within(range, self.bytes.len()))
    }

    fn label(&self, label: LabelId) -> &[u8] {
        self.bytes.get(self.range(label)).unwrap_or_default()
    }

    /// What of a label lies inside an IP datagram; all of it, if there is no IP header to say.
    fn unpadded(&self, label: LabelId, ip: LabelId) -> Range<usize> {
        let (range, header) = (self.range(label), self.range(ip));
        let Some(len) = self.bytes.get(header.clone()).and_then(datagram_len) else { return range };
        let start = range.start.max(header.start);
        start..range.end.min(header.start + len).max(start)
    }
}

/// What an IP header says of its datagram's length.
fn datagram_len(header: &[u8]) -> Option<usize> {
    match header.first()? >> 4 {
        4 if ipv4::HEADER_LEN <= header.len() => {
            Some(usize::from(ipv4::Packet::new_unchecked(header).total_len()))
        }
        6 if ipv6::HEADER_LEN <= header.len() => Some(ipv6::Packet::new_unchecked(header).total_len()),
        _ => None,
    }
}

/// A range as far as it lies within so many bytes.
fn within(range: &Range<usize>, len: usize) -> Range<usize> {
    let start = range.start.min(len);
    start..range.end.clamp(start, len)
}

/// Finds where each item comes from and goes to; returns the length of all.
fn place(plan: &Plan, matched: &Matched<'_>, items: &mut Vec<Placed>) -> usize {
    let mut end = 0;
    for piece in &plan.items {
        let from = match piece {
            Piece::Label(label) | Piece::Zero(label) | Piece::Loaded { label, .. } => matched.range(*label),
            Piece::Constant(bytes) => 0..bytes.len(),
            Piece::Unpad { label, ip } => matched.unpadded(*label, *ip),
        };
        let to = end..end + from.len();
        end = to.end;
        items.push(Placed { from, to });
    }
    end
}

/// Reads all that must be known before anything is written.
fn load(plan: &Plan, matched: &Matched<'_>, scratch: &mut Scratch) -> Result<(), Refusal> {
    let Scratch { anonymiser, cache, items, loaded, .. } = scratch;
    for Load { item, slot, what } in &plan.loads {
        if items.get(item.0).is_none_or(|item| item.to.is_empty()) {
            continue;
        }
        let slot = loaded.get_mut(slot.at..slot.at + slot.len).unwrap_or_default();
        match what {
            Loaded::Copy(label) => copy(matched.label(*label), slot)?,
            Loaded::Anonymised(label) => {
                copy(matched.label(*label), slot)?;
                anonymise(anonymiser.as_deref(), cache, slot);
            }
            Loaded::AnonymisedItem(label) => {
                let address = matched.label(*label);
                slot.fill(0);
                if let Some(slot) = slot.get_mut(..address.len()) {
                    slot.copy_from_slice(address);
                    anonymise(anonymiser.as_deref(), cache, slot);
                }
            }
            Loaded::Before { header, ip, field } => {
                let before = Before::of(matched.label(*ip), matched.label(*header), *field);
                copy(&before.ok_or(Refusal::Field)?.to_bytes(), slot)?;
            }
        }
    }
    Ok(())
}

/// Without a key, which [`Scratch::new`] asks for, an address becomes zeros: it is never let through as it is.
fn anonymise(anonymiser: Option<&Anonymiser>, cache: &mut Cache, address: &mut [u8]) {
    match anonymiser {
        Some(anonymiser) => anonymiser.anonymise(address, cache),
        None => address.fill(0),
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> Result<(), Refusal> {
    if from.len() != to.len() {
        return Err(Refusal::Field);
    }
    to.copy_from_slice(from);
    Ok(())
}

/// Writes the items; those that lie in place already are not read from `old`.
fn write_items(plan: &Plan, old: Option<&[u8]>, items: &[Placed], loaded: &[u8], new: &mut [u8]) {
    for (piece, item) in plan.items.iter().zip(items) {
        let Some(to) = new.get_mut(item.to.clone()) else { continue };
        let from = match piece {
            Piece::Label(_) | Piece::Unpad { .. } => match old {
                Some(old) => old.get(item.from.clone()),
                None => continue,
            },
            Piece::Constant(bytes) => Some(bytes.as_ref()),
            Piece::Zero(_) => None,
            Piece::Loaded { slot, .. } => loaded_at(loaded, *slot).get(..to.len()),
        };
        match from {
            Some(from) => to.copy_from_slice(from),
            None => to.fill(0),
        }
    }
}

fn loaded_at(loaded: &[u8], slot: Slot) -> &[u8] {
    loaded.get(slot.at..slot.at + slot.len).unwrap_or_default()
}

/// Sets all fields; returns how many checksums could not be made.
fn write_fields(plan: &Plan, items: &[Placed], loaded: &[u8], new: &mut [u8]) -> Result<u32, Refusal> {
    let mut skipped = 0;
    for Write { item, offset_bits, bits, what } in &plan.writes {
        let range = |item: usize| items.get(item).map_or(0..0, |placed| placed.to.clone());
        let at = range(item.0);
        if at.is_empty() {
            continue;
        }
        let field = Field { item: at.clone(), offset_bits: *offset_bits, bits: *bits };
        match what {
            What::Constant(bytes) => field.set(new, bytes)?,
            What::Loaded(slot) => field.set(new, loaded_at(loaded, *slot))?,
            What::Len(of) => field.set_number(new, of.iter().map(|item| range(item.0).len()).sum())?,
            What::Ipv4 => {
                field.set(new, &[0; 2])?;
                let sum = checksum::plain(new.get(at).unwrap_or_default());
                field.set(new, &sum.to_be_bytes())?;
            }
            What::Transport { transport, ip, mode } => {
                field.set(new, &[0; 2])?;
                let ip = range(ip.0);
                let sum = match mode {
                    Mode::Full => checksum::full(*transport, new, &ip, &at),
                    Mode::Incremental(slot) => {
                        let before = loaded_at(loaded, *slot).first_chunk().copied().map(Before::from_bytes);
                        let [ip, header] = [ip, at].map(|range| new.get(range).unwrap_or_default());
                        before.map(|before| before.now(*transport, ip, header))
                    }
                };
                match sum {
                    Some(sum) => field.set(new, &sum.to_be_bytes())?,
                    None => skipped += 1,
                }
            }
        }
    }
    Ok(skipped)
}
