//! Every plan of a random output against the slow twin of rewriting, on one random packet.
//!
//! Nothing is matched here: where labels lie is known from how the packet was made.
#![allow(dead_code, reason = "tests use more of it than fuzzing")]

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use proptest::{prop_assert_eq, test_runner::TestCaseError};
use ruler::rewrite::{Bounds, Kind, Plan, Refusal, Scratch, anonymise::Anonymiser, apply};

use super::{
    dice::Dice,
    draft::{self, Draft},
    naive::{self, Mode},
    shape,
    traffic::{self, Shape},
};

pub(crate) static ANONYMISER: LazyLock<Arc<Anonymiser>> =
    LazyLock::new(|| Arc::new(Anonymiser::new(&[0x3c; 32])));

pub(crate) const OFFLINE: Bounds = Bounds { least: 0, most: 65_535 };

pub(crate) fn scratch(plan: &Plan, bounds: Bounds) -> Scratch {
    Scratch::new([plan], bounds, Some(Arc::clone(&ANONYMISER))).unwrap()
}

pub(crate) fn mode(plan: &Plan) -> Mode {
    match plan.dump(&[]).to_string().contains("incremental") {
        true => Mode::Incremental,
        false => Mode::Full,
    }
}

/// The output of a rule in a frame with this much room before and behind.
pub(crate) fn rewritten(
    plan: &Plan,
    packet: &[u8],
    labels: &[Range<usize>],
    room: (usize, usize),
    bounds: Bounds,
) -> Result<(Vec<u8>, u32), Refusal> {
    let frame = [vec![0xee; room.0], packet.to_vec(), vec![0xee; room.1]].concat();
    let at = room.0..room.0 + packet.len();
    let mut written = frame.clone();
    let new = apply(plan, &mut written, at.clone(), labels, &mut scratch(plan, bounds))?;
    for (place, (before, after)) in frame.iter().zip(&written).enumerate() {
        let ours = at.contains(&place) || new.packet.contains(&place);
        assert!(ours || before == after, "byte {place} of the frame is not the packet's");
    }
    Ok((written[new.packet].to_vec(), new.skipped_sums))
}

/// A packet, an output, and where it is put.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    shape: Shape,
    draft: Draft,
    /// In the frame, before and behind the packet.
    room: (usize, usize),
    bounds: Bounds,
}

pub(crate) fn trial(dice: &mut Dice) -> Trial {
    let least = match dice.below(3) {
        0 => 0,
        1 => 14,
        _ => dice.index(80),
    };
    let most = if dice.once_in(4) { 60 + dice.index(100) } else { 65_535 };
    Trial {
        bounds: Bounds { least, most },
        room: (dice.index(40), dice.index(40)),
        draft: draft::draft(dice),
        shape: shape::shape(dice),
    }
}

/// Each kind of plan that the rule allows gives the packet that the twin gives, or refuses it as the twin does.
pub(crate) fn holds(trial: &Trial) -> Result<(), TestCaseError> {
    let Trial { shape, draft, room, bounds } = trial;
    let rule = draft.rule(shape);
    let packet = traffic::packet(shape);
    let plan = Plan::of(&rule).unwrap();
    let frame = packet.bytes.len() + room.0 + room.1;
    let limit = Bounds { least: bounds.least, most: bounds.most.min(frame) };
    let want = naive::rewrite(&rule, &packet.bytes, &packet.labels, limit, &ANONYMISER, mode(&plan));
    if mode(&plan) == Mode::Incremental && traffic::is_whole(shape) {
        let full = naive::rewrite(&rule, &packet.bytes, &packet.labels, limit, &ANONYMISER, Mode::Full);
        prop_assert_eq!(&full, &want, "{}", plan.dump(&rule.labels));
    }
    for plan in [Kind::Patch, Kind::Cut, Kind::Rebuild].into_iter().filter_map(|kind| plan.as_kind(kind)) {
        let got = rewritten(&plan, &packet.bytes, &packet.labels, *room, *bounds);
        prop_assert_eq!(&got, &want, "{}", plan.dump(&rule.labels));
    }
    Ok(())
}
