//! Two automata one after the other: does any rule match, and only where one does, which is the first.
//!
//! Whether *any* of a hundred rules `* text *` matches takes little more than a state a letter, and it is decided at the
//! first text that is found. Which of them wins is asked of few packets, on one lane. The rule that matches whatever has
//! no other match before it takes no part in either question.

use super::{engine::Tables, lanes::BATCH_MAX};
use crate::{dfa::Sightings, resolved::RuleId};

/// Some rules, ready to run.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Any rule but the one for all others, as some rule or none.
    pub(super) any: Tables,
    /// Which of them.
    pub(super) which: Sightings,
    /// The rule that matches everything, if the last one does.
    pub(super) otherwise: Option<RuleId>,
}

impl Screen {
    /// Which rule wins, for each packet; as many verdicts as packets.
    pub fn judge(&self, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        for (packets, verdicts) in packets.chunks(BATCH_MAX).zip(verdicts.chunks_mut(BATCH_MAX)) {
            self.any.judge(packets, verdicts);
            for (packet, verdict) in packets.iter().zip(verdicts) {
                *verdict = match verdict {
                    Some(_) => self.which.winner(packet),
                    None => self.otherwise,
                };
            }
        }
    }
}
