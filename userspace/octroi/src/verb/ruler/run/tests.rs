//! Runs over captures that are made here: what is written, what is counted, and what is refused.
//!
//! Everything happens in a directory that vanishes with its test.
use std::{fs, path::PathBuf};

use clap::Parser;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use tempfile::TempDir;

use super::*;

/// [`Run`] as the command line has it.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    run: Run,
}

/// A directory with a program and a capture.
struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new(program: &str, capture: &[u8]) -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(scene.path("a.rl"), program).unwrap();
        fs::write(scene.path("in"), capture).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn line(&self, more: &[&str]) -> Run {
        let words = ["run", "a.rl", "--pcap", "in", "--out", "out"].map(|word| match word {
            "a.rl" | "in" | "out" => self.path(word).display().to_string(),
            word => word.to_owned(),
        });
        Line::parse_from(words.into_iter().chain(more.iter().map(|word| (*word).to_owned()))).run
    }

    fn run(&self, more: &[&str]) -> Result<Outcome> {
        self.line(more).offline()?.run()
    }

    /// Runs it and gives what was counted.
    fn counted(&self, more: &[&str]) -> serde_json::Value {
        let run = self.line(more);
        let key = run.key_file.as_deref().map(key::read).transpose().unwrap();
        let (bundle, filter) = run.options.one(run.file.as_deref().unwrap()).unwrap().unwrap();
        let params = Params { bounds: Bounds { least: 0, most: PACKET_BYTES_MAX }, key };
        let bound = filter.bind(&params).unwrap();
        let mut tally = Tally::new(&bundle, &bound);
        assert!(matches!(run.offline().unwrap().judge(&bound, &mut tally), Ok(Some(Ended::Whole))));
        serde_json::to_value(tally.summary()).unwrap()
    }

    fn out(&self) -> Vec<u8> {
        fs::read(self.path("out")).unwrap()
    }

    /// Times and bytes of what was written.
    fn written(&self) -> Vec<(u64, Vec<u8>)> {
        let mut capture = Capture::open(io::Cursor::new(self.out())).unwrap();
        let mut all = Vec::new();
        while let Some(record) = capture.next().unwrap() {
            all.push((record.at_ns, record.bytes.to_vec()));
        }
        all
    }
}

/// Classic pcap in little-endian order.
fn pcap(magic: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = [magic, 4 << 16 | 2, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (seconds, fraction, bytes) in packets {
        let len = bytes.len() as u32;
        file.extend([*seconds, *fraction, len, len].map(u32::to_le_bytes).concat());
        file.extend(*bytes);
    }
    file
}

const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;

/// All fates that a packet can have offline, but for fields.
const FATES: &str =
    "filter f 1 * => accept 7; 2 * => reject 9; 3 b:byte * => b class 3; 4 p:* => p p; 5 => accept;";

#[test]
fn accepted_packets_stay_and_rewritten_ones_are_new_and_all_are_counted() {
    let long = vec![4; 40_000];
    let packets: [(u32, u32, &[u8]); 7] = [
        (1, 1, &[1, 2, 3]),
        (2, 2, &[2]),
        (3, 3, &[3, 9, 9]),
        (4, 4, &[9]),
        (5, 5, &long),
        (6, 6, &[4, 8]),
        (7, 7, &[]),
    ];
    for (magic, unit) in [(MICRO, 1000), (NANO, 1)] {
        let scene = Scene::new(FATES, &pcap(magic, &packets));
        let counted = scene.counted(&[]);
        let at = |seconds: u64| seconds * 1_000_000_000 + seconds * unit;
        let wanted = [(at(1), vec![1, 2, 3]), (at(3), vec![9]), (at(6), vec![8, 8])];
        assert_eq!(scene.written(), wanted);
        assert_eq!(scene.out()[..4], magic.to_le_bytes());
        assert_eq!(counted["read"]["packets"], 7);
        assert_eq!(counted["written"], serde_json::json!({"packets": 3, "bytes": 6}));
        let by_rule: Vec<_> =
            counted["rules"].as_array().unwrap().iter().map(|rule| &rule["packets"]).collect();
        assert_eq!(by_rule, [1, 1, 1, 2, 0]);
        let drops = serde_json::json!({
            "ruler_reject": 1, "ruler_no_match": 2, "ruler_too_long": 1, "ruler_too_short": 0, "ruler_field": 0
        });
        assert_eq!(counted["drops"], drops);
    }
}

#[test]
fn more_packets_than_a_batch_keep_their_order() {
    let bytes: Vec<[u8; 2]> = (0..=255).map(|number| [1, number]).collect();
    let packets: Vec<(u32, u32, &[u8])> =
        bytes.iter().zip(0..).map(|(bytes, at)| (at, 0, &bytes[..])).collect();
    let scene = Scene::new(FATES, &pcap(MICRO, &packets));
    assert_eq!(scene.run(&[]).unwrap(), Outcome::Well);
    let numbers: Vec<u8> = scene.written().iter().map(|(_, bytes)| bytes[1]).collect();
    assert_eq!(numbers, (0..=255).collect::<Vec<u8>>());
    assert_eq!(scene.out(), pcap(MICRO, &packets));
}

#[test]
fn pcapng_becomes_pcapng_with_its_interfaces_and_how_long_packets_were() {
    use crate::verb::capture::pcapng::{self, Direction, Packet};
    let mut file = Vec::new();
    pcapng::section(&mut file, "who captured");
    pcapng::interface(&mut file, "a name", "a description", 96);
    pcapng::interface(&mut file, "another", "", 96);
    let (direction, queue, comment) = (Direction::Inbound, Some(3), "a comment");
    for (interface, time_ns, bytes) in [(1, 1_000_000_007, b"\x01abc"), (0, 5, b"\x03xyz")] {
        let packet = Packet { interface, time_ns, bytes, len: 100, direction, queue, comment };
        pcapng::packet(&mut file, &packet);
    }
    let scene = Scene::new(FATES, &file);
    assert_eq!(scene.run(&[]).unwrap(), Outcome::Well);
    let mut capture = Capture::open(io::Cursor::new(scene.out())).unwrap();
    let mut records = Vec::new();
    while let Some(record) = capture.next().unwrap() {
        records.push((record.interface, record.at_ns, record.bytes.to_vec(), record.original_len));
    }
    assert_eq!(records, [(1, 1_000_000_007, b"\x01abc".to_vec(), 100), (0, 5, b"x".to_vec(), 97)]);
    for told in ["a name", "a description", "who captured", "a comment"] {
        assert!(!scene.out().windows(told.len()).any(|window| window == told.as_bytes()), "{told}");
    }
}

#[test]
fn a_capture_without_packets_becomes_one() {
    let scene = Scene::new(FATES, &pcap(MICRO, &[]));
    assert_eq!(scene.run(&[]).unwrap(), Outcome::Well);
    assert_eq!(scene.out(), pcap(MICRO, &[]));
}

#[track_caller]
fn refused(scene: &Scene, more: &[&str], says: &str) {
    fs::write(scene.path("out"), "an older file").unwrap();
    let error = format!("{:#}", scene.run(more).unwrap_err());
    assert!(error.contains(says), "{error}");
    assert_eq!(scene.out(), b"an older file");
}

#[test]
fn what_is_no_capture_is_said_and_costs_no_older_file() {
    refused(&Scene::new(FATES, b"GET / HTTP/1.1"), &[], "neither a pcap nor a pcapng file");
    let mut wireless = pcap(MICRO, &[(1, 1, &[1])]);
    wireless[20] = 105;
    refused(&Scene::new(FATES, &wireless), &[], "byte 0: link type 105, only Ethernet (1) can be read");
    let scene = Scene::new(FATES, b"");
    fs::remove_file(scene.path("in")).unwrap();
    refused(&scene, &[], "in: No such file");
    let key = scene.path("a.rl").display().to_string();
    refused(&scene, &["--key-file", &key], "a key is 32 raw bytes or 64 hex digits");
    refused(&scene, &["--filter", "g"], "no filter `g`; it has `f`");
}

#[test]
fn the_file_that_is_read_is_not_written() {
    let capture = pcap(MICRO, &[(1, 1, &[1])]);
    let scene = Scene::new(FATES, &capture);
    fs::hard_link(scene.path("in"), scene.path("out")).unwrap();
    let error = scene.run(&[]).unwrap_err();
    assert!(format!("{error:#}").contains("the same file is read and written"), "{error:#}");
    assert_eq!(scene.out(), capture);
}

#[test]
fn what_came_before_the_damage_is_written() {
    let mut cut = pcap(MICRO, &[(1, 1, &[1, 5]), (2, 2, &[1, 6]), (3, 3, &[1, 7])]);
    cut.truncate(cut.len() - 1);
    let scene = Scene::new(FATES, &cut);
    let error = format!("{:#}", scene.run(&[]).unwrap_err());
    assert!(error.contains("byte 60: ends in the middle of a packet or block, after 2 packets"), "{error}");
    assert_eq!(scene.written().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), [[1, 5], [1, 6]]);
}

#[test]
fn a_wrong_program_and_a_missing_key_leave_an_older_file() {
    for program in ["filter f 1 * => y;", "filter f a:byte#4 * => prefix_anon(a);"] {
        let scene = Scene::new(program, &pcap(MICRO, &[(1, 1, &[1])]));
        fs::write(scene.path("out"), "an older file").unwrap();
        assert_eq!(scene.run(&[]).unwrap(), Outcome::Unwell);
        assert_eq!(scene.out(), b"an older file");
    }
}

/// As section 11 has it.
const ANONYMISE: &str = "include \"layouts.rli\"
    filter anonymise
      e:Ethernet_IPv4 i:IPv4_TCP with [ihl=5~4b] t:TCP p:* => e with [dst=0#6, src=0#6]
        i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst), csum=ipv4_csum()] t with [csum=tcp_csum(i)] zero(p) class 6;
      e:Ethernet_IPv4 i:IPv4_UDP with [ihl=5~4b] u:UDP p:* => e with [dst=0#6, src=0#6]
        i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst), csum=ipv4_csum()] u with [csum=udp_csum(i)] zero(p) class 17;
      e:Ethernet_IPv6 i:IPv6 p:* => e with [dst=0#6, src=0#6] i with [src=prefix_anon(i.src), dst=prefix_anon(i.dst)] zero(p);";

/// A packet between two hosts of 10.1.0.0/16, of which the last bits differ from packet to packet.
fn packet(number: u8) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, number], [2, 0, 0, 0, 1, number]);
    let ip = ethernet.ipv4([10, 1, number, 7], [10, 1, number ^ 0x40, 9], 64);
    let payload: Vec<u8> = (0..number).collect();
    let mut bytes = Vec::new();
    if number.is_multiple_of(2) {
        ip.tcp(1000 + u16::from(number), 80, 7, 1000).write(&mut bytes, &payload).unwrap();
    } else {
        ip.udp(53, 1000 + u16::from(number)).write(&mut bytes, &payload).unwrap();
    }
    // As short frames come from a wire.
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// Source and destination; every checksum was looked at.
#[track_caller]
fn addresses(bytes: &[u8]) -> [[u8; 4]; 2] {
    let sliced = SlicedPacket::from_ethernet(bytes).unwrap();
    let Some(NetSlice::Ipv4(ip)) = sliced.net else { panic!("not IPv4") };
    let header = ip.header();
    assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let [source, destination] = [header.source(), header.destination()];
            let sum = tcp.to_header().calc_checksum_ipv4_raw(source, destination, tcp.payload()).unwrap();
            assert_eq!(sum, tcp.checksum());
            assert!(tcp.payload().iter().all(|byte| *byte == 0));
        }
        TransportSlice::Udp(udp) => {
            let [source, destination] = [header.source(), header.destination()];
            let sum = udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload()).unwrap();
            assert_eq!(sum, udp.checksum());
            assert!(udp.payload().iter().all(|byte| *byte == 0));
        }
        other => panic!("{other:?}"),
    }
    [header.source(), header.destination()]
}

fn shared_prefix(a: [u8; 4], b: [u8; 4]) -> u32 {
    (u32::from_be_bytes(a) ^ u32::from_be_bytes(b)).leading_zeros()
}

#[test]
fn anonymised_traces_have_other_addresses_of_the_same_structure_and_right_checksums() {
    let before: Vec<Vec<u8>> = (0..200).map(packet).collect();
    let packets: Vec<(u32, u32, &[u8])> =
        before.iter().zip(0..).map(|(bytes, at)| (at, at, &bytes[..])).collect();
    let scene = Scene::new(ANONYMISE, &pcap(NANO, &packets));
    fs::write(scene.path("key"), [0x5a; 32]).unwrap();
    let key = scene.path("key").display().to_string();
    let counted = scene.counted(&["--key-file", &key]);
    assert_eq!(counted["written"], counted["read"]);
    assert_eq!(counted["csum_skipped"], 0);
    let after = scene.written();
    assert_eq!(after.len(), before.len());
    let pairs: Vec<_> = before
        .iter()
        .zip(&after)
        .flat_map(|(old, (_, new))| {
            assert_eq!(old.len(), new.len());
            assert_eq!(new[..12], [0; 12]);
            let (old, new) = (&old[26..34], addresses(new));
            let old = [old.first_chunk().copied().unwrap(), old.last_chunk().copied().unwrap()];
            old.into_iter().zip(new)
        })
        .collect();
    for (old, new) in &pairs {
        assert_ne!(old, new);
        for (other, others_new) in &pairs {
            assert_eq!(shared_prefix(*old, *other), shared_prefix(*new, *others_new));
        }
    }
}
