//! One batch of packets: read from a capture into frames, judged there, and handed on in their order.
//!
//! Its memory is made once, and is all that a run needs, however long the capture is.
use ixp::port::pcap::{Capture, PcapError};
use ruler::{
    exec::lanes::BATCH_MAX,
    filter::{Bound, Fate, Packet, Scratch, Verdict},
    rewrite::Refusal,
};

/// The longest packet that there is for Ruler.
pub(crate) const PACKET_BYTES_MAX: usize = 65_535;

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its length in the file.
    pub(crate) len: usize,
    /// How much longer it was when it was captured.
    pub(crate) missing: u32,
    /// When it was captured.
    pub(crate) at_ns: u64,
    /// On which interface.
    pub(crate) interface: u32,
}

/// A batch.
pub(crate) struct Batch {
    /// A frame after the other.
    frames: Vec<u8>,
    held: Vec<Held>,
    verdicts: Vec<Verdict>,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            frames: vec![0; BATCH_MAX * PACKET_BYTES_MAX],
            held: Vec::with_capacity(BATCH_MAX),
            verdicts: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Whether no packet is in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes in the next packets instead of the last ones. Says whether there may be more.
    ///
    /// # Errors
    /// [`PcapError`]; the packets before it are in the batch.
    pub(crate) fn fill(&mut self, capture: &mut Capture) -> Result<bool, PcapError> {
        self.held.clear();
        for frame in self.frames.chunks_exact_mut(PACKET_BYTES_MAX) {
            let Some(record) = capture.next()? else { return Ok(false) };
            let len = record.bytes.len();
            let missing = record.original_len.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
            if let Some(frame) = frame.get_mut(..len) {
                frame.copy_from_slice(record.bytes);
            }
            self.held.push(Held { len, missing, at_ns: record.at_ns, interface: record.interface });
        }
        Ok(true)
    }

    /// Judges what is in it, and hands on each packet in its order: what it was, the verdict, and what it is now, if it goes on.
    ///
    /// A packet that is longer than any for Ruler is not judged; it counts as too long, of no rule.
    ///
    /// # Errors
    /// What `each` says; it is not asked again then.
    pub(crate) fn judge<E>(
        &mut self,
        bound: &Bound,
        scratch: &mut Scratch,
        mut each: impl FnMut(&Held, &Verdict, Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { frames, held, verdicts } = self;
        let mut packets: Vec<Packet<'_>> = frames
            .chunks_exact_mut(PACKET_BYTES_MAX)
            .zip(&*held)
            .map(|(frame, held)| Packet { frame, at: 0..fitting(held), class: None })
            .collect();
        verdicts.clear();
        verdicts.resize(packets.len(), Verdict::NONE);
        bound.judge(scratch, &mut packets[..], verdicts);
        for ((packet, verdict), held) in packets.iter().zip(verdicts).zip(held) {
            if PACKET_BYTES_MAX < held.len {
                *verdict = Verdict { rule: None, fate: Fate::Refused(Refusal::TooLong) };
            }
            let now = match &verdict.fate {
                Fate::Accepted(_) => packet.frame.get(packet.at.clone()),
                Fate::Rewritten { at, .. } => packet.frame.get(at.range()),
                Fate::Rejected(_) | Fate::Unmatched | Fate::Refused(_) => None,
            };
            each(held, verdict, now)?;
        }
        Ok(())
    }
}

/// How much of it is in its frame.
fn fitting(held: &Held) -> usize {
    if held.len <= PACKET_BYTES_MAX { held.len } else { 0 }
}
