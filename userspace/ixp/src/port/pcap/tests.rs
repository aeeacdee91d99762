//! Captures read and written, hostile ones too, and a whole engine between two of them.
use std::{
    io::{Cursor, Write},
    sync::Mutex,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    clock::Virtual,
    counter::Counter,
    engine::{Limits, RunToCompletion},
    fixture::{ECHO, Host, Packet, SINK, config},
    role::PortState,
    stage::builtin_program,
    tables::{PortConfigs, Published, Tables},
};

/// A file in memory that can be read after its writer was given away.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("not poisoned").clone()
    }
}

fn read_all(file: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, PcapError> {
    let mut capture = Capture::open(Cursor::new(file.to_vec()))?;
    let mut records = Vec::new();
    while let Some(Record { at_ns, bytes, .. }) = capture.next()? {
        records.push((at_ns, bytes.to_vec()));
    }
    Ok(records)
}

fn written(records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let file = File::default();
    let mut recorder = Recorder::new(file.clone()).expect("memory");
    for (at, bytes) in records {
        recorder.write(Nanos::new(*at), bytes).expect("memory");
    }
    recorder.flush().expect("memory");
    file.bytes()
}

/// A block of a pcapng file, in either byte order.
fn block(kind: u32, body: &[u8], word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = word(12 + padded as u32);
    let mut block = [word(kind), len].concat();
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(len);
    block
}

/// A section with one Ethernet interface of nanosecond stamps, and one packet with and one without a time.
fn pcapng(word: fn(u32) -> [u8; 4], half: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut section = word(0x1a2b_3c4d).to_vec();
    section.extend([half(1), half(0)].concat());
    section.extend([0xff; 8]);
    let mut interface = [half(1), half(0)].concat();
    interface.extend(word(65_535));
    // if_tsresol = 9, end of options.
    interface.extend([half(9), half(1), [9, 0], [0, 0], half(0), half(0)].concat());
    let mut enhanced = [word(0), word(1), word(5), word(3), word(3)].concat();
    enhanced.extend(b"abc");
    let mut simple = word(2).to_vec();
    simple.extend(b"de");
    [
        block(0x0a0d_0d0a, &section, word),
        block(1, &interface, word),
        block(6, &enhanced, word),
        block(3, &simple, word),
    ]
    .concat()
}

#[test]
fn what_is_written_is_read() {
    let records = vec![(0, vec![1; 60]), (1_999_999_999, vec![]), (7_000_000_001, vec![2; 1514])];
    assert_eq!(read_all(&written(&records)), Ok(records));
}

#[test]
fn microseconds_and_the_other_byte_order_are_read() {
    let header = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, 1].map(u32::to_be_bytes).concat();
    let record = [3, 250, 4, 4].map(u32::to_be_bytes).concat();
    let file = [&header[..], &record, b"octr"].concat();
    assert_eq!(read_all(&file), Ok(vec![(3_000_250_000, b"octr".to_vec())]));
}

#[test]
fn pcapng_is_read_in_both_byte_orders() {
    let expected = vec![((1 << 32) + 5, b"abc".to_vec()), (0, b"de".to_vec())];
    assert_eq!(read_all(&pcapng(u32::to_le_bytes, u16::to_le_bytes)), Ok(expected.clone()));
    assert_eq!(read_all(&pcapng(u32::to_be_bytes, u16::to_be_bytes)), Ok(expected));
}

#[test]
fn the_format_is_known_after_the_first_packet_and_the_offset_is_that_of_whole_blocks() {
    let nano = written(&[(0, vec![1; 60]), (1, vec![2; 60])]);
    let mut micro = nano.clone();
    micro[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_ne_bytes());
    let ng = pcapng(u32::to_le_bytes, u16::to_le_bytes);
    for (file, format) in [(nano, Format::Nano), (micro, Format::Micro), (ng, Format::Ng)] {
        let len = file.len() as u64;
        let mut capture = Capture::open(Cursor::new(file)).expect("a capture");
        assert_eq!((capture.format(), capture.offset()), (None, 0));
        let first = capture.next().expect("whole").expect("a packet");
        assert_eq!((first.original_len as usize, first.interface), (first.bytes.len(), 0));
        assert_eq!(capture.format(), Some(format));
        while capture.next().expect("whole").is_some() {}
        assert_eq!(capture.offset(), len);
    }
    let mut cut = written(&[(0, vec![1; 60]), (1, vec![2; 60])]);
    cut.pop();
    let mut capture = Capture::open(Cursor::new(cut)).expect("a capture");
    while capture.next().is_ok() {}
    assert_eq!(capture.offset(), 24 + 16 + 60);
}

#[test]
fn a_packet_that_was_cut_says_how_long_it_was() {
    let mut file = written(&[(0, vec![1; 60])]);
    file[24 + 12..][..4].copy_from_slice(&1514_u32.to_ne_bytes());
    let mut capture = Capture::open(Cursor::new(file)).expect("a capture");
    let record = capture.next().expect("whole").expect("a packet");
    assert_eq!((record.bytes.len(), record.original_len), (60, 1514));
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(read_all(b""), Err(PcapError::NotACapture));
    assert_eq!(read_all(b"GET / HTTP/1.1\r\nHost: here\r\n"), Err(PcapError::NotACapture));
    let mut wireless = written(&[(0, vec![1; 60])]);
    wireless[20] = 105;
    assert_eq!(read_all(&wireless), Err(PcapError::LinkType { given: 105, limit: 1 }));
    let mut cut = written(&[(0, vec![1; 60]), (1, vec![2; 60])]);
    cut.truncate(cut.len() - 1);
    assert_eq!(read_all(&cut), Err(PcapError::CutShort { records: 1 }));
    let mut endless = written(&[(0, vec![1; 60]), (1, vec![2; 60])]);
    endless[24 + 16 + 60 + 8..][..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert!(read_all(&endless).is_err());
}

proptest! {
    #[test]
    fn b11_no_file_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn b11_no_damaged_file_panics(
        ng in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = if ng {
            pcapng(u32::to_le_bytes, u16::to_le_bytes)
        } else {
            written(&[(0, vec![1; 60]), (1, vec![2; 60])])
        };
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len()) + 1);
        let _ = read_all(&file);
    }

    #[test]
    fn what_is_written_is_read_whatever_it_is(
        records in prop::collection::vec((0u64..1 << 62, prop::collection::vec(any::<u8>(), 0..80)), 0..8),
    ) {
        let records: Vec<_> = records.into_iter().map(|(at, bytes)| (at % (1_000_000_000 << 32), bytes)).collect();
        prop_assert_eq!(read_all(&written(&records)), Ok(records));
    }
}

const PORT: PortId = PortId::new(0);

/// An engine that plays `input` back and records into the returned file.
fn engine(input: Vec<u8>) -> (RunToCompletion<PcapPort>, Playback, Arc<Virtual>, File) {
    let host = Host::new();
    let mut ports = PortConfigs::default();
    ports.set(PORT, config(&[]));
    let published =
        Published::new(Tables { mirror: host.mirror(), ports, ..Tables::default() }).expect("small");
    let mut engine = RunToCompletion::new(builtin_program(), &published, Limits::default());
    let (clock, out) = (Arc::new(Virtual::default()), File::default());
    let geometry = Geometry { chunk: 2048, frames: 16 };
    let options = Options { id: PORT, geometry, clock: clock.clone() };
    let capture = Capture::open(Cursor::new(input)).expect("a capture");
    let port = PcapPort::new(options, capture, Recorder::new(out.clone()).expect("memory")).expect("small");
    let playback = port.playback();
    engine.attach(port);
    (engine, playback, clock, out)
}

#[test]
fn a_capture_goes_through_the_engines_at_its_own_pace() {
    let second = Duration::from_secs(1);
    let captured = |n: u64, to| (1_700_000_000_000_000_000 + n * 1_000_000_000, Packet::to(to).frame());
    let too_long = (1_700_000_002_000_000_000, vec![0; 1777]);
    let input =
        written(&[captured(0, ECHO), captured(2, SINK), too_long, captured(2, ECHO), captured(3, 99)]);
    let (mut engine, playback, clock, out) = engine(input);

    let mut times = Vec::new();
    while engine.reports()[0].state == PortState::Running {
        while engine.turn(clock.now()).moved != 0 {}
        if let Some(at) = playback.next_at() {
            times.push(at);
            clock.set(at);
        }
    }
    assert_eq!(times, [2, 3].map(|n| Nanos::default() + second * n));
    let replies = read_all(&out.bytes()).expect("well-formed");
    assert_eq!(replies.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2_000_000_000]);

    let counters = engine.ledger().port(PORT).expect("in range");
    let counted = [Counter::Rx, Counter::Transmitted, Counter::Delivered, Counter::RxUnclaimed];
    assert_eq!(counted.map(|c| counters.get(c)), [4, 2, 1, 1]);
    let report = engine.detach(PORT).expect("attached");
    assert_eq!(report.losses, RxLosses { no_buffer: 1, ..RxLosses::default() });
    assert_eq!((report.census.missing(), report.census.free), (0, 16));
}

#[test]
fn a_capture_longer_than_its_umem_loses_nothing() {
    let records: Vec<_> = (0..500).map(|n| (n, Packet::to(ECHO).frame())).collect();
    let (mut engine, _, clock, out) = engine(written(&records));
    // The first packet is read here, and sets the time that the others are counted from.
    engine.turn(clock.now());
    clock.advance(Duration::from_secs(1));
    while engine.reports()[0].state == PortState::Running {
        engine.turn(clock.now());
    }
    assert_eq!(read_all(&out.bytes()).expect("well-formed").len(), 500);
    let report = engine.detach(PORT).expect("attached");
    assert_eq!((report.losses, report.census.free), (RxLosses::default(), 16));
}
