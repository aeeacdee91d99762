//! What the text of a rule says of its output: whether it lies in the packet already, and what a checksum need not read.
//!
//! It looks at no packet. Where the text does not say it, the answer is no, and more work is done than might be needed.

use super::{
    outline::{Cut, Outline},
    plan::{ItemId, Kind},
};
use crate::resolved::{Item, LabelId, Part, Setting};

/// How the items lie in the packet, and the first that says where; none, if the output has to be put together.
///
/// Items and pattern are walked together until they part.
pub(super) fn in_place(items: &[Item], outline: &Outline<'_>) -> Option<(Kind, ItemId)> {
    let mut walk = Walk { at: None, constants: 0, kind: Kind::Patch };
    let mut anchor = None;
    for (id, item) in (0..).map(ItemId).zip(items) {
        let (label, is_last) = (placed(&item.part), id.0 + 1 == items.len());
        let Some(label) = label else {
            walk.constants += constant_len(&item.part);
            continue;
        };
        let (from, to) = outline.place(label)?;
        walk.reach(from, outline)?;
        walk.at = Some(to);
        anchor.get_or_insert(id);
        if let Part::Unpad(_, ip) = item.part {
            // It loses its end, so nothing may follow; its begin stays only if the datagram begins no later.
            let begins_within = outline.place(ip).is_some_and(|(ip, _)| ip <= from);
            if !is_last || !begins_within && id != ItemId(0) {
                return None;
            }
            walk.kind = Kind::Cut;
        }
    }
    walk.finish(outline)?;
    anchor.map(|anchor| (walk.kind, anchor))
}

/// How far items and pattern are the same.
struct Walk {
    /// Behind the last item that lies in the packet.
    at: Option<Cut>,
    /// How many bytes of constants came after it.
    constants: usize,
    kind: Kind,
}

impl Walk {
    /// On to an item that begins here: the constants before it must cover just what lies between.
    fn reach(&mut self, from: Cut, outline: &Outline<'_>) -> Option<()> {
        let gap = outline.between(self.at.unwrap_or(Cut::START), from)?;
        let constants = std::mem::take(&mut self.constants);
        match self.at {
            _ if gap.is(constants) => Some(()),
            None if gap.has(constants) => {
                self.kind = Kind::Cut;
                Some(())
            }
            _ => None,
        }
    }

    /// To the end of the packet, or to where the output ends before it.
    fn finish(&mut self, outline: &Outline<'_>) -> Option<()> {
        let rest = outline.between(self.at?, outline.end())?;
        if !rest.is(self.constants) {
            self.kind = Kind::Cut;
        }
        rest.has(self.constants).then_some(())
    }
}

/// The label whose bytes an item stands for, one for one.
fn placed(part: &Part) -> Option<LabelId> {
    match part {
        Part::Label(label) | Part::Zero(label) | Part::Unpad(label, _) | Part::PrefixAnon(label) => {
            Some(*label)
        }
        Part::Constant(_) => None,
    }
}

fn constant_len(part: &Part) -> usize {
    match part {
        Part::Constant(bytes) => bytes.len(),
        _ => 0,
    }
}

/// The label of a transport header if, by the text, nothing that its checksum covers but header and addresses changes.
///
/// So the output must be, from the IP header on, what the packet is: the same pieces up to its end, but for `unpad`
/// there, which takes away what no checksum covers; nothing set behind the transport header; and the IP header's version
/// and length as they were. A rule that sets the length says that it means other bytes.
pub(super) fn header_above_the_same(
    ip: ItemId,
    id: ItemId,
    items: &[Item],
    outline: &Outline<'_>,
) -> Option<LabelId> {
    let Part::Label(header) = items.get(id.0)?.part else { return None };
    let Part::Label(ip_label) = items.get(ip.0)?.part else { return None };
    let mut at = None;
    for item in items.get(ip.0..)? {
        let (from, to) = match item.part {
            Part::Label(label) => outline.place(label)?,
            Part::Unpad(label, of) if of == ip_label => outline.place(label)?,
            _ => return None,
        };
        if at.is_some_and(|at| at != from) {
            return None;
        }
        at = Some(to);
    }
    let behind = items.get(id.0 + 1..)?;
    let lengths: &[(u32, u32)] = match outline.version(ip_label) {
        Some(4) => &[(0, 4), (16, 32)],
        Some(6) => &[(0, 4), (32, 48)],
        _ => &[(0, 4), (16, 48)],
    };
    let touches = |setting: &Setting| {
        let end = setting.offset_bits.saturating_add(setting.bits);
        lengths.iter().any(|(from, to)| setting.offset_bits < *to && *from < end)
    };
    let is_same = ip < id
        && at == Some(outline.end())
        && behind.iter().all(|item| item.settings.is_empty())
        && !items.get(ip.0)?.settings.iter().any(touches);
    is_same.then_some(header)
}
