//! Rings of records against a queue, at every place where they can end; readers and writers that are lied to.
use core::sync::atomic::AtomicU32;
use std::{collections::VecDeque, vec, vec::Vec};

use super::*;
use crate::capture::{MIN_RING, Point, Shape, ShapeError, State};

extern crate std;

const LINE: Line = Line::of(Point::Rx, 0);

fn memory(size: usize) -> Vec<AtomicU32> {
    (0..size.div_ceil(4)).map(|_| AtomicU32::new(0)).collect()
}

struct Rig {
    down: Vec<AtomicU32>,
    up: Vec<AtomicU32>,
    at: RingAt,
}

impl Rig {
    fn new() -> Self {
        let shape = Shape::new(2, MIN_RING).expect("a shape");
        let at = shape.ring(1).expect("the second of two");
        Self { down: memory(shape.down_size()), up: memory(shape.up_size()), at }
    }

    fn writer(&self) -> Writer<&[AtomicU32], &[AtomicU32]> {
        Writer::new(&self.down[..], &self.up[..], self.at)
    }
}

fn record(number: u64, len: u16) -> Record {
    Record { point: Point::Rx as u8, time_ns: number, len, ..Record::default() }
}

fn packet(number: u64, len: u16) -> Vec<u8> {
    (0..len).map(|at| (number as u8).wrapping_mul(31).wrapping_add(at as u8)).collect()
}

/// What a reader finds next, whole.
fn next(reader: &mut Reader, rig: &Rig) -> Option<(u64, Vec<u8>)> {
    let record = reader.peek(&rig.down[..]).expect("sense")?;
    let mut bytes = vec![0; usize::from(record.captured)];
    reader.take(&rig.down[..], &record, &mut bytes);
    Some((record.time_ns, bytes))
}

#[test]
fn a_ring_is_a_queue_wherever_its_end_lies() {
    let rig = Rig::new();
    let (mut writer, mut reader, mut queue) = (rig.writer(), Reader::new(rig.at), VecDeque::new());
    // A cheap generator: lengths from nothing to a chunk; for a while nobody reads, then twice as fast as is written.
    let mut state = 1_u64;
    let (mut number, mut refused) = (0, 0);
    for _ in 0..10_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (len, reads) = ((state >> 33) as u16 % 2100, if number / 500 % 2 == 0 { 0 } else { 2 });
        match writer.stage(record(number, len), &packet(number, len)) {
            Some(staged) => {
                writer.commit(staged);
                queue.push_back((number, packet(number, len)));
            }
            None => refused += 1,
        }
        number += 1;
        writer.publish();
        for _ in 0..reads {
            assert_eq!(next(&mut reader, &rig), queue.pop_front());
        }
        reader.publish(&rig.up[..]);
    }
    while let Some(expected) = queue.pop_front() {
        assert_eq!(next(&mut reader, &rig), Some(expected));
    }
    assert_eq!(next(&mut reader, &rig), None);
    assert!(500 < refused, "it was full again and again: {refused}");
}

#[test]
fn what_is_staged_and_not_committed_was_never_there() {
    let rig = Rig::new();
    let (mut writer, mut reader) = (rig.writer(), Reader::new(rig.at));
    let staged = writer.stage(record(1, 60), &packet(1, 60));
    assert!(staged.is_some());
    writer.publish();
    assert_eq!(next(&mut reader, &rig), None);
    let staged = writer.stage(record(2, 60), &packet(2, 60)).expect("room");
    writer.commit(staged);
    assert_eq!(next(&mut reader, &rig), None, "not before it is published");
    writer.publish();
    assert_eq!(next(&mut reader, &rig), Some((2, packet(2, 60))));
}

#[test]
fn the_longest_record_fits_an_empty_ring_wherever_it_begins() {
    let rig = Rig::new();
    let (mut writer, mut reader) = (rig.writer(), Reader::new(rig.at));
    for number in 0..200 {
        let long = vec![number as u8; usize::from(u16::MAX)];
        let staged = writer.stage(record(number, u16::MAX), &long).expect("room");
        writer.commit(staged);
        writer.publish();
        assert_eq!(next(&mut reader, &rig), Some((number, long)));
        reader.publish(&rig.up[..]);
        let short = writer.stage(record(number, 1), &[1]).expect("room");
        writer.commit(short);
        writer.publish();
        assert_eq!(next(&mut reader, &rig), Some((number, vec![1])));
        reader.publish(&rig.up[..]);
    }
}

#[test]
fn counts_are_read_by_line() {
    let rig = Rig::new();
    let mut writer = rig.writer();
    let other = Line::of(Point::Drop, u16::MAX);
    (0..3).for_each(|_| writer.took(LINE));
    writer.lost(LINE);
    writer.lost(other);
    let read = |line| rig.at.read_counts(&rig.down[..], line);
    assert_eq!(read(LINE), Counts { taken: 3, lost: 1 });
    assert_eq!(read(other), Counts { taken: 0, lost: 1 });
    assert_eq!(read(Line::of(Point::Tx, 0)), Counts::default());
}

#[test]
fn a_reader_that_lies_is_shown_nothing_more() {
    let rig = Rig::new();
    let mut writer = rig.writer();
    let fill = |writer: &mut Writer<_, _>| {
        let mut count = 0;
        while let Some(staged) = writer.stage(record(0, 1000), &[0; 1000]) {
            writer.commit(staged);
            count += 1;
        }
        count
    };
    assert!(100 < fill(&mut writer));
    for lie in [u32::MAX, MIN_RING + 8 + u32::from(u16::MAX) * 64, 1 << 31] {
        rig.up[rig.at.cons / 4].store(lie, Ordering::Relaxed);
        assert_eq!(fill(&mut writer), 0, "{lie}");
    }
    let all = writer.prod;
    rig.up[rig.at.cons / 4].store(all, Ordering::Relaxed);
    assert!(100 < fill(&mut writer), "the truth is believed again");
}

#[test]
fn a_ring_that_makes_no_sense_is_refused() {
    let rig = Rig::new();
    let mut writer = rig.writer();
    let staged = writer.stage(record(1, 60), &packet(1, 60)).expect("room");
    writer.commit(staged);
    writer.publish();
    let first = rig.at.byte(0) / 4;
    for size in [0, 4, 12, 88, 1 << 20, u32::MAX] {
        rig.down[first].store(size, Ordering::Relaxed);
        assert_eq!(Reader::new(rig.at).peek(&rig.down[..]), Err(Nonsense { at: 0 }), "{size}");
    }
    rig.down[first].store(96, Ordering::Relaxed);
    assert!(Reader::new(rig.at).peek(&rig.down[..]).expect("sense").is_some());
    rig.down[rig.at.prod() / 4].store(MIN_RING + 1, Ordering::Relaxed);
    assert!(Reader::new(rig.at).peek(&rig.down[..]).is_err());
}

#[test]
fn shapes_and_headers_are_checked() {
    for (rings, bytes) in [(0, MIN_RING), (65, MIN_RING), (1, MIN_RING + 8), (1, MIN_RING / 2), (1, 1 << 25)]
    {
        assert!(Shape::new(rings, bytes).is_err(), "{rings} × {bytes}");
    }
    let shape = Shape::new(3, MIN_RING).expect("a shape");
    let down = memory(shape.down_size());
    assert_eq!(Shape::read(&down[..]), Err(ShapeError::Header { magic: 0, layout: 0 }));
    shape.lay_out(&down[..], 128, 7);
    let (read, header) = Shape::read(&down[..]).expect("what was written");
    assert_eq!((read, header.snaplen, header.epoch_ns), (shape, 128, 7));
    assert_eq!(State::read(&down[..]), State::Live);
    for state in [State::Stopped, State::Released, State::Down] {
        state.write(&down[..]);
        assert_eq!(State::read(&down[..]), state);
    }
    assert!(shape.ring(2).is_some() && shape.ring(3).is_none());
}
