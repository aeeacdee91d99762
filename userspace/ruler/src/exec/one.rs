//! One packet after the other: the slow twin of the lanes, and what they end with.

use crate::dfa::Table;
use crate::resolved::RuleId;

/// How many bytes are read between two looks at whether the verdict is decided.
pub(super) const BLOCK: usize = 8;

/// Which rule wins.
pub fn verdict<T: Table>(table: &T, packet: &[u8]) -> Option<RuleId> {
    let mut row = table.start();
    let (blocks, tail) = packet.as_chunks::<BLOCK>();
    for block in blocks {
        // Nothing leaves a special row, so it does not matter that some bytes more were read.
        if row >= table.special() {
            return table.verdict(row);
        }
        row = block.iter().fold(row, |row, byte| table.step(row, *byte));
    }
    table.verdict(tail.iter().fold(row, |row, byte| table.step(row, *byte)))
}
