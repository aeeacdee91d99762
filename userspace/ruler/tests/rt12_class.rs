//! RT12: the work of judging from the class that a header program handed over against that from byte 0, counted.
//!
//! Packets are those of P9: the shipped signatures on headers for each port that they look at and one that they do not, in
//! 60 bytes, 1,500, and IMIX. No clock is read: steps of the walker and reads of the packet are counted, where judging does
//! them. The payload is scanned alike by both ways, and costs what `rt12_work` counts.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::ops::Range;

use etherparse::PacketBuilder;
use ruler::{
    bundle::Bundle,
    dag::{NodeId, Walker, Work},
    filter::{Batch, Bound, Entries, Filter, Limits, Params, Verdict, compile},
    rewrite::Bounds,
    shipped,
};

/// A port that the signatures look at, or not; and what is sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Udp(u16),
    Tcp(u16),
}

/// What a packet there costs from byte 0, and from its class, where only a payload that is searched asks for its place. More is
/// a mistake; less is written down here.
const RECORD: [(To, Work, Work); 5] = [
    (To::Udp(31_337), Work { steps: 7, reads: 12 }, Work { steps: 0, reads: 0 }),
    (To::Udp(1_434), Work { steps: 7, reads: 12 }, Work { steps: 0, reads: 0 }),
    (To::Tcp(80), Work { steps: 9, reads: 14 }, Work { steps: 0, reads: 2 }),
    (To::Tcp(8_080), Work { steps: 9, reads: 14 }, Work { steps: 0, reads: 2 }),
    (To::Tcp(443), Work { steps: 8, reads: 12 }, Work { steps: 0, reads: 0 }),
];

/// Bytes of a frame: the smallest, the longest, and those of IMIX.
const LENGTHS: [usize; 4] = [60, 1_500, 566, 1_514];

impl To {
    /// A frame of so many bytes, with letters for a payload.
    fn frame(self, length: usize) -> Vec<u8> {
        let below = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(
            [10, 1, 0, 1],
            [10, 77, 0, 2],
            64,
        );
        let mut frame = Vec::new();
        let letters = |headers: usize| (headers..length).map(|at| b'a' + (at % 26) as u8).collect::<Vec<_>>();
        match self {
            Self::Udp(port) => {
                let builder = below.udp(20_000, port);
                builder.write(&mut frame, &letters(42)).unwrap();
            }
            Self::Tcp(port) => {
                let builder = below.tcp(20_000, port, 1, 512);
                builder.write(&mut frame, &letters(54)).unwrap();
            }
        }
        assert_eq!(frame.len(), length);
        frame
    }
}

fn signatures() -> Filter {
    let source = shipped::find("signatures").unwrap().source;
    let (mut filters, found) = compile(&Bundle::new("signatures.rl", source), &Limits::default());
    filters.pop().unwrap_or_else(|| panic!("{found:?}"))
}

/// What each frame costs there, from the root and from the leaf that the header program would have reached.
#[test]
fn rt12_a_class_saves_what_is_recorded() {
    let filter = signatures();
    let dag = filter.dag();
    let walker = Walker::new(dag);
    for length in LENGTHS {
        let counted = RECORD.map(|(to, ..)| {
            let frame = to.frame(length);
            let class = dag.eval(&frame).leaf;
            let work = |from| walker.work(dag, from, &frame).unwrap();
            let ((reached, zero), (again, class)) = (work(None), work(Some(class)));
            assert_eq!(reached, again, "{to:?}");
            (to, zero, class)
        });
        assert_eq!(counted, RECORD, "in {length} bytes");
    }
}

/// Frames, and the class of each, if they are to have one.
struct Frames {
    bytes: Vec<Vec<u8>>,
    classes: Vec<Option<NodeId>>,
}

impl Batch for Frames {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn packet(&self, index: usize) -> &[u8] {
        &self.bytes[index]
    }

    fn class(&self, index: usize) -> Option<NodeId> {
        self.classes[index]
    }

    fn frame(&mut self, index: usize) -> (&mut [u8], Range<usize>) {
        let frame = &mut self.bytes[index];
        let length = frame.len();
        (frame, 0..length)
    }
}

fn judged(
    bound: &Bound,
    bytes: &[Vec<u8>],
    class: impl Fn(&[u8]) -> Option<NodeId>,
) -> (Entries, Vec<Verdict>) {
    let classes = bytes.iter().map(|frame| class(frame)).collect();
    let mut frames = Frames { bytes: bytes.to_vec(), classes };
    let mut verdicts = vec![Verdict::NONE; bytes.len()];
    let entries = bound.judge(&mut bound.scratch(), &mut frames, &mut verdicts);
    (entries, verdicts)
}

/// Judging takes the class, and says the same.
#[test]
fn rt12_judging_begins_at_the_class() {
    let filter = signatures();
    let dag = filter.dag().clone();
    let bound = filter.bind(&Params { bounds: Bounds::of_mtu(1500), key: None }).unwrap();
    let frames: Vec<_> =
        LENGTHS.into_iter().flat_map(|length| RECORD.map(|(to, ..)| to.frame(length))).collect();
    let count = u32::try_from(frames.len()).unwrap();
    let (class, said) = judged(&bound, &frames, |frame| Some(dag.eval(frame).leaf));
    let (zero, expected) = judged(&bound, &frames, |_| None);
    assert_eq!(said, expected);
    assert_eq!((class.from_class, class.from_zero), (count, 0));
    assert_eq!((zero.from_class, zero.from_zero), (0, count));
}
