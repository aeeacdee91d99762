//! Automata as structures for programs: states with their transitions, by number.
//!
//! They have what the texts have, and nothing reads them back.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{Dfa, Nfa, Skip};
use crate::resolved::RuleId;

/// Neighbouring byte classes that lead to one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) to: u32,
}

/// A state.
#[derive(Serialize)]
struct Shown {
    id: usize,
    /// Who wins if the input ends here.
    rule: Option<RuleId>,
    #[serde(flatten)]
    then: Then,
}

/// What a state does with further bytes.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Then {
    /// It goes on by their classes.
    Steps { steps: Vec<Run> },
    /// The same, and a search finds the byte that it waits for.
    Waits { steps: Vec<Run> },
    /// So many do not matter.
    Jump { bytes: usize, to: u32 },
    /// Whatever they are, the rule wins.
    Decided,
    /// Whatever they are, no rule matches.
    Dead,
}

impl Dfa {
    /// Where a state leads, for all classes in order.
    pub(super) fn runs(&self, state: usize) -> impl Iterator<Item = Run> {
        let mut first = 0;
        self.row(state).chunk_by(|one, next| one == next).map(move |same| {
            let run = Run { first, last: first + same.len() - 1, to: same[0] };
            first += same.len();
            run
        })
    }

    fn shown(&self, id: usize) -> Shown {
        let rule = self.accepts[id];
        let then = match id.checked_sub(self.special as usize) {
            None => Then::Steps { steps: self.runs(id).collect() },
            Some(special) => match (self.skips.get(special), rule) {
                (Some(Skip::Over { bytes, to }), _) => Then::Jump { bytes: *bytes, to: *to },
                (Some(Skip::Until(_)), _) => Then::Waits { steps: self.runs(id).collect() },
                (None, Some(_)) => Then::Decided,
                (None, None) => Then::Dead,
            },
        };
        Shown { id, rule, then }
    }
}

/// Byte classes as sets, the start, and every state.
impl Serialize for Dfa {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut dfa = serializer.serialize_struct("Dfa", 3)?;
        dfa.serialize_field("byte_classes", &self.classes.sets())?;
        dfa.serialize_field("start", &self.start)?;
        dfa.serialize_field("states", &(0..self.states()).map(|id| self.shown(id)).collect::<Vec<_>>())?;
        dfa.end()
    }
}

/// Where each rule starts, and every state, by its place in the list.
impl Serialize for Nfa {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut nfa = serializer.serialize_struct("Nfa", 2)?;
        nfa.serialize_field("starts", &self.rules().collect::<Vec<_>>())?;
        nfa.serialize_field("states", &self.states().collect::<Vec<_>>())?;
        nfa.end()
    }
}
