//! One packet after the other: the slow twin of the lanes, and what they end with.

use crate::dfa::Table;
use crate::resolved::RuleId;

/// How many bytes are read between two looks at whether the verdict is decided.
const BLOCK: usize = 8;

/// Which rule wins.
pub fn verdict<T: Table>(table: &T, packet: &[u8]) -> Option<RuleId> {
    let (mut row, mut rest) = (table.start(), packet);
    loop {
        // Special rows are stepped through as well as others, so it does not matter that some bytes more were read.
        if row >= table.special() {
            (row, rest) = table.leap(row, rest);
        }
        let Some((block, after)) = rest.split_first_chunk::<BLOCK>() else { break };
        row = block.iter().fold(row, |row, byte| table.step(row, *byte));
        rest = after;
    }
    table.verdict(rest.iter().fold(row, |row, byte| table.step(row, *byte)))
}
