//! Our engines: a filter as the workers run it, and one lane of the same table.
use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use ruler::{
    bundle::Bundle,
    dag::NodeId,
    exec::{
        engine::{Kind, Tables},
        ladder::{self, Report},
        lanes::BATCH_MAX,
    },
    filter::{self, Batch, Bound, Entries, Fate, Filter, Params, Scratch, Verdict},
    ir,
    resolved::RuleId,
    rewrite::Bounds,
};

use super::{
    here::Pass,
    packets::{self, Packets},
};

/// Of the bench's port.
const MTU: u16 = 1_500;

/// Where packets enter a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// At byte 0.
    Zero,
    /// At the class that a header program would have handed over.
    Class,
}

/// A filter as the workers run it: batches of packets in their frames. What is rejected or rewritten is a hit.
pub struct Judging {
    bound: Bound,
    scratch: Scratch,
    packets: Packets,
    /// What came in, for filters that write.
    fresh: Packets,
    classes: Vec<Option<NodeId>>,
    verdicts: [Verdict; BATCH_MAX],
    /// Whether a packet was rewritten since.
    written: bool,
    /// Where each packet is after a pass, in its frame.
    out: Vec<Range<usize>>,
    /// Of the last pass.
    entries: Entries,
}

/// As many of the packets, from the first on, as there are classes.
struct Feed<'p> {
    packets: &'p mut Packets,
    first: usize,
    classes: &'p [Option<NodeId>],
}

/// One table, packet by packet, on one lane.
pub struct OneLane<'p> {
    table: Tables,
    packets: Vec<&'p [u8]>,
    sum: u64,
}

/// The only filter of a program that stands in one file.
///
/// # Errors
/// The program has mistakes, or does not have one filter.
pub fn compile(program: &str) -> Result<Filter> {
    let (mut filters, found) = filter::compile(&bundle(program), &filter::Limits::default());
    match filters.pop() {
        Some(filter) if filters.is_empty() => Ok(filter),
        _ => bail!("no single filter: {found:?}"),
    }
}

/// Binds a filter to the bench's port.
///
/// # Errors
/// It wants a key.
pub fn bind(filter: Filter) -> Result<Bound> {
    Ok(filter.bind(&Params { bounds: Bounds::of_mtu(MTU), key: None })?)
}

fn bundle(program: &str) -> Bundle {
    Bundle::new("bench.rl", program)
}

impl Judging {
    /// The filter of `program` on a copy of these packets.
    ///
    /// # Errors
    /// The program has mistakes.
    pub fn new(program: &str, packets: &Packets, entry: Entry) -> Result<Self> {
        let bound = bind(compile(program)?)?;
        let class = |packet: &&[u8]| (entry == Entry::Class).then(|| bound.filter().dag().eval(packet).leaf);
        Ok(Self {
            scratch: bound.scratch(),
            classes: packets.slices().iter().map(class).collect(),
            packets: packets.clone(),
            fresh: packets.clone(),
            written: false,
            verdicts: [Verdict::NONE; BATCH_MAX],
            out: packets.slices().iter().map(|packet| 0..packet.len()).collect(),
            entries: Entries::default(),
            bound,
        })
    }

    /// How packets came to their classes in the last pass.
    #[must_use]
    pub const fn entries(&self) -> Entries {
        self.entries
    }
}

impl Batch for Feed<'_> {
    fn len(&self) -> usize {
        self.classes.len()
    }

    fn packet(&self, index: usize) -> &[u8] {
        self.packets.packet(self.first + index)
    }

    fn class(&self, index: usize) -> Option<NodeId> {
        self.classes[index]
    }

    fn frame(&mut self, index: usize) -> (&mut [u8], Range<usize>) {
        self.packets.frame(self.first + index)
    }
}

impl Pass for Judging {
    fn name(&self) -> String {
        "ruler".into()
    }

    fn refresh(&mut self) {
        if self.written {
            self.packets.clone_from(&self.fresh);
        }
    }

    fn pass(&mut self) -> u64 {
        let Self { bound, scratch, packets, classes, verdicts, out, entries, written, .. } = self;
        *entries = Entries::default();
        let (mut hits, mut first) = (0, 0);
        for (classes, out) in classes.chunks(BATCH_MAX).zip(out.chunks_mut(BATCH_MAX)) {
            let entered = bound.judge(scratch, &mut Feed { packets, first, classes }, verdicts);
            entries.from_class += entered.from_class;
            entries.from_zero += entered.from_zero;
            for (verdict, out) in verdicts.iter().zip(out) {
                // A sum, as nobody can guess which it is.
                hits += u64::from(matches!(verdict.fate, Fate::Rewritten { .. } | Fate::Rejected(_)));
                if let Fate::Rewritten { at, .. } = verdict.fate {
                    (*out, *written) = (at.range(), true);
                }
            }
            first += classes.len();
        }
        hits
    }

    fn sum(&self) -> u64 {
        let whole = self.packets.slices();
        let out = whole.iter().zip(&self.out).map(|(packet, at)| packet.get(at.clone()).unwrap_or_default());
        packets::sum(&out.collect::<Vec<_>>())
    }
}

impl<'p> OneLane<'p> {
    /// The table of the first rule of `program`, which begins with `*`, on these packets. The filter has that table too: its last
    /// rule matches everything, and needs none.
    ///
    /// # Errors
    /// The program has mistakes, or the rule needs more than one table.
    pub fn new(program: &str, packets: &'p Packets) -> Result<Self> {
        let (filters, found) = ruler::resolve(&bundle(program));
        let rule = filters.first().and_then(|filter| filter.rules.first());
        let node = ir::lower(&rule.with_context(|| format!("no rule: {found:?}"))?.pattern)?;
        let (engine, Report { rung, .. }) = ladder::build(&[(RuleId(0), &node)], &ladder::Limits::default())?;
        let Kind::Table(table) = engine.kind() else { bail!("the rule needs {rung:?}") };
        Ok(Self { table: Tables::clone(table), packets: packets.slices(), sum: packets.sum() })
    }
}

impl Pass for OneLane<'_> {
    fn name(&self) -> String {
        "one lane".into()
    }

    fn pass(&mut self) -> u64 {
        self.packets.iter().filter(|packet| self.table.one(packet).is_some()).count() as u64
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{contest::Scanner as _, here::Here, literals::Literals};

    #[test]
    fn filter_and_lane_hit_what_was_planted() {
        let literals = Literals::random(100, 8, 1);
        let packets = Packets::planted(&literals, 2);
        let judged =
            Here(Judging::new(&literals.program(), &packets, Entry::Zero).unwrap()).round(2).unwrap();
        let one = Here(OneLane::new(&literals.program(), &packets).unwrap()).round(1).unwrap();
        assert_eq!((judged.hits, one.hits), (100, 100));
        assert_eq!((judged.sum, one.sum), (packets.sum(), packets.sum()));
    }

    #[test]
    fn packets_that_are_written_are_new_in_each_pass() {
        let cuts = "filter cuts 1 x:byte#14 * => x;";
        let packets = Packets::new([[1; 20], [2; 20], [1; 20]]);
        let mut judging = Here(Judging::new(cuts, &packets, Entry::Zero).unwrap());
        let rounds = [1, 2].map(|passes| judging.round(passes).unwrap());
        assert_eq!(rounds.map(|round| round.hits), [2, 2]);
        let left = Packets::new([&[1; 14][..], &[2; 20], &[1; 14]]);
        assert_eq!(rounds.map(|round| round.sum), [left.sum(); 2]);
    }

    #[test]
    fn classes_are_what_a_header_program_hands_over() {
        let program = "filter first 1 byte * \"x\" * => reject; * => accept;";
        let packets = Packets::new([&[1, 2, b'x'][..], &[1, 2, 3], &[2, 0, b'x']]);
        for (entry, from_class) in [(Entry::Class, 3), (Entry::Zero, 0)] {
            let mut judging = Here(Judging::new(program, &packets, entry).unwrap());
            assert_eq!(judging.round(1).unwrap().hits, 1);
            assert_eq!(judging.0.entries(), Entries { from_class, from_zero: 3 - from_class });
        }
    }
}
