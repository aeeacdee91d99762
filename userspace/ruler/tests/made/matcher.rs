//! A matcher that is obviously right and slow: it tries every way, preferred ones first.
//!
//! It knows the resolved tree and nothing of paths, DAGs or automata.

use std::collections::BTreeMap;

use ruler::resolved::{Counter, LabelId, Pattern};

/// Which bytes labels bind.
pub(crate) type Bound = BTreeMap<LabelId, (usize, usize)>;

/// What is known on the way.
#[derive(Clone, Default)]
struct Known {
    labels: Bound,
    counters: BTreeMap<Counter, u64>,
}

/// What must match behind.
type Then<'a> = &'a mut dyn FnMut(usize, &Known) -> bool;

/// The labels of the preferred way in which `pattern` matches `packet` from `at` to its end.
pub(crate) fn matches(pattern: &Pattern, packet: &[u8], at: usize) -> Option<Bound> {
    let mut found = None;
    ways(pattern, packet, at, &Known::default(), &mut |end, known| {
        if end == packet.len() {
            found = Some(known.labels.clone());
        }
        end == packet.len()
    });
    found
}

/// Tries each way until `then` likes one.
fn ways(pattern: &Pattern, packet: &[u8], at: usize, known: &Known, then: Then<'_>) -> bool {
    match pattern {
        Pattern::Run(fields) => {
            let (mut bit, mut known) = (at * 8, known.clone());
            for field in fields {
                let Some(number) = number(packet, bit, field.bits) else { return false };
                if !field.allows(number) {
                    return false;
                }
                known.counters.extend(field.counts.map(|counter| (counter, number)));
                bit += usize::from(field.bits);
            }
            then(bit / 8, &known)
        }
        Pattern::Any => (at..=packet.len()).any(|end| then(end, known)),
        Pattern::Seq(items) => match &items[..] {
            [] => then(at, known),
            [first, behind @ ..] => {
                let behind = Pattern::Seq(behind.to_vec());
                ways(first, packet, at, known, &mut |end, known| ways(&behind, packet, end, known, then))
            }
        },
        Pattern::Alt(arms) => arms.iter().any(|arm| ways(arm, packet, at, known, then)),
        Pattern::Repeat { body, least, most } => {
            if *least == 0 && then(at, known) {
                return true;
            }
            if *most == Some(0) {
                return false;
            }
            let again = Pattern::Repeat {
                body: body.clone(),
                least: least.saturating_sub(1),
                most: most.map(|most| most - 1),
            };
            ways(body, packet, at, known, &mut |end, known| ways(&again, packet, end, known, then))
        }
        Pattern::Counted { field, times, plus } => {
            let value = i64::try_from(known.counters[field] * u64::from(*times)).unwrap();
            match usize::try_from(value + i64::from(*plus)) {
                Ok(count) if count <= packet.len() - at => then(at + count, known),
                _ => false,
            }
        }
        Pattern::Label(label, body) => ways(body, packet, at, known, &mut |end, known| {
            let mut known = known.clone();
            known.labels.insert(*label, (at, end));
            then(end, &known)
        }),
    }
}

fn number(packet: &[u8], bit: usize, bits: u8) -> Option<u64> {
    (bit..bit + usize::from(bits)).try_fold(0, |number, bit| {
        let byte = packet.get(bit / 8)?;
        Some(number << 1 | u64::from(byte >> (7 - bit % 8) & 1))
    })
}
