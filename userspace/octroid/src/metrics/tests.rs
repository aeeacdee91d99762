//! The registry: every counter once, and the same set for everybody who shows it.
use std::collections::BTreeSet;

use client::control::{
    answer::{Role, TargetRow},
    request::{LocalAddr, OnCrash, Proto, TargetKind},
    status::Books,
};
use ixp::{
    clock::Nanos,
    engines::EngineId,
    panel::{Activity, Pulse},
    port::{Census, PortId, RxLosses},
};

use super::*;
use crate::road::readings::EngineReading;

/// Two queues, one of them closed, one engine, two targets, two applications; every number another one.
pub(crate) fn readings() -> Readings {
    let mut next = 0;
    let mut number = || {
        next += 1;
        next
    };
    let mut port = |at: u16, engine| PortReading {
        port: PortId::new(at),
        interface: "veth1".to_owned(),
        queue: u32::from(at),
        engine,
        counters: std::array::from_fn(|_| number()),
        losses: RxLosses { ring_full: 1000, no_buffer: 1001, bad_descriptor: 1002 },
        census: Census { frames: 2048, free: 1024, fill: 1024, out: 0, tx: 0 },
    };
    let ports = vec![port(0, Some(EngineId::new(0))), port(1, None)];
    let pulse = Pulse {
        activity: Activity::Blocked,
        rounds: 9,
        batches: 8,
        held: 7,
        heartbeat: Nanos::new(6),
        mail_waits: false,
        cpu: None,
    };
    let target = |tuple, kind| TargetRow {
        tuple,
        kind,
        proto: Proto::Udp,
        addr: LocalAddr::Any,
        port: 7 + tuple,
        on_crash: OnCrash::Drop,
        addrs: vec![],
    };
    let stack = |slot, name: &str, first: u64| StackReading {
        session: SessionId { slot, generation: 2 },
        name: name.to_owned(),
        uid: 1000,
        pid: Some(4711),
        book: Book::from_counts(first..),
        tuples: vec![TupleReading {
            number: 0,
            proto: Proto::Udp,
            addr: LocalAddr::Any,
            port: 53,
            // Two counters that moved.
            book: Book::from_counts([first, first + 1]),
        }],
    };
    Readings {
        xdp: std::array::from_fn(|at| 100 + at as u64),
        earlier: 11,
        ports,
        engines: vec![EngineReading { engine: EngineId::new(0), role: "all", core: 0, pulse }],
        targets: vec![(target(0, TargetKind::Echo), 40, 4000), (target(1, TargetKind::Sink), 50, 5000)],
        stacks: vec![stack(3, "web", 300), stack(4, "dns", 400)],
        filters: Vec::new(),
        ended: Book::from_counts(500..),
        log_lost: 12,
    }
}

#[test]
fn every_row_is_one_of_its_kind() {
    let rows = rows(&readings());
    let keys: BTreeSet<_> = rows.iter().map(|row| (&row.stat.name, &row.stat.labels)).collect();
    assert_eq!(keys.len(), rows.len());
    for counter in XdpCounter::ALL {
        assert!(rows.iter().any(|row| row.stat.name == counter.desc().name), "{counter:?}");
    }
    for counter in Counter::ALL {
        let shown = rows.iter().filter(|row| row.stat.name == counter.desc().name).count();
        assert_eq!(shown, 2, "{counter:?}, once a port");
    }
}

#[test]
fn a_name_means_the_same_wherever_it_stands() {
    let rows = rows(&readings());
    for row in &rows {
        let others = rows.iter().filter(|other| other.stat.name == row.stat.name);
        assert!(others.clone().all(|o| (o.help, o.stat.role) == (row.help, row.stat.role)), "{row:?}");
        assert!(others.clone().all(|o| o.stat.labels.keys().eq(row.stat.labels.keys())), "{row:?}");
    }
}

#[test]
fn an_applications_packets_are_in_the_books_once() {
    let readings = readings();
    let without = Readings { stacks: Vec::new(), ended: Book::default(), ..readings.clone() };
    let books =
        |readings: &Readings| Books::of(&rows(readings).into_iter().map(|row| row.stat).collect::<Vec<_>>());
    assert_eq!(books(&readings), books(&without));
    let rows = rows(&readings);
    let shown = |name: &str| -> Vec<u64> {
        rows.iter().filter(|row| row.stat.name == name).map(|row| row.stat.value).collect()
    };
    assert_eq!(shown("stack.rx_delivered"), [300, 400, 500], "each session's, and of those that ended");
    assert_eq!((shown("tuple.rx_delivered"), shown("tuple.tx_read")), (vec![300, 400], vec![]));
}

#[test]
fn packets_come_in_by_xdp_alone() {
    let readings = readings();
    let rows: Vec<_> = rows(&readings).into_iter().map(|row| row.stat).collect();
    let books = Books::of(&rows);
    assert_eq!(books.rx, readings.xdp[XdpCounter::Rx as usize]);
    let delivered: u64 = readings.ports.iter().map(|p| p.counters[Counter::Delivered as usize]).sum();
    assert_eq!(books.delivered, delivered + readings.earlier, "an earlier daemon's are delivered too");
    assert_eq!((books.held, books.dropped["xsk_ring_full"]), (7, 2000));
}

/// `octroi_xdp_rx_total{a="b"} 3` as name, labels and value; the registry's name, as far as dots and dashes go.
fn parse(line: &str) -> (String, BTreeMap<String, String>, u64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap().split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), value.trim_matches('"').to_owned())
    };
    let name = name.strip_prefix("octroi_").unwrap();
    (
        name.strip_suffix("_total").unwrap_or(name).to_owned(),
        labels.map(pair).collect(),
        value.parse().unwrap(),
    )
}

#[test]
fn prometheus_shows_the_same_set() {
    let rows = rows(&readings());
    let text = prometheus::text(rows.clone()).unwrap();
    assert!(text.ends_with("# EOF\n"));
    let shown: BTreeSet<_> = text.lines().filter(|line| !line.starts_with('#')).map(parse).collect();
    let expected: BTreeSet<_> = rows
        .into_iter()
        .map(|row| (row.stat.name.replace('.', "_"), row.stat.labels, row.stat.value))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn prometheus_text_is_a_snapshot() {
    insta::assert_snapshot!(prometheus::text(rows(&readings())).unwrap());
}

#[test]
fn what_can_fall_is_a_gauge() {
    let rows = rows(&readings());
    let text = prometheus::text(rows.clone()).unwrap();
    for row in rows {
        let name = row.stat.name.replace('.', "_");
        let kind = if row.stat.role == Role::Held { "gauge" } else { "counter" };
        assert!(text.contains(&format!("# TYPE octroi_{name} {kind}\n")), "{name}");
    }
}
