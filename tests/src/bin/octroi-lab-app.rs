//! An application under test: a stack on Octroi in a process of its own, told what to do line by line.
//!
//! It echoes every UDP packet that it receives, as a program that links `client` would. Each line of standard input is
//! answered by one line: `ok …` or `err CODE detail`. It ends with its standard input, or when it is killed.
//!
//! ```text
//! register PROTO ADDR PORT [drop|pass] [icmp]   ok NUMBER PORT
//! lend PROTO ADDR PORT BIND                      ok NUMBER PORT      the same with a socket of its own, bound to BIND
//! release NUMBER                                 ok
//! send HEX                                       ok                  one IP packet, from the first channel
//! mute | loud | swallow                          ok                  whether it reads its rings, and answers
//! flood HEX | calm                               ok                  one IP packet again and again, by every channel
//! fill HEX                                       ok                  one IP packet, until the first channel's ring is full
//! event                                          ok EVENT            waits for the next one
//! counters                                       ok NAME=VALUE …     its channels' own, those that are not 0
//! classes                                        ok CLASS=COUNT …    packets that it read with a class
//! ```
#![deny(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use abi::shm::{counter::ChannelCounter, desc::Form, layout::State};
use anyhow::{Context as _, Result, bail};
use client::{
    control::request::Proto,
    shm::{
        channel::{Channel, Interest},
        rx::RxBurst,
    },
    stack::{Client, Event, IcmpErrors, RegisterError, Reserve, Stack, StackOptions, Tuple, TupleId},
};
use octroi_tests::lab::frame::turn_around;

/// How often the daemon is listened to while nobody says anything.
const PAUSE: Duration = Duration::from_millis(5);

/// How long one look at a channel may sleep.
const NAP: Duration = Duration::from_millis(20);

/// What becomes of packets that come.
#[derive(Clone, Copy, Default)]
enum Listens {
    /// They are answered.
    #[default]
    Loud,
    /// They are read.
    Swallows,
    /// They lie where they are.
    Mute,
}

/// What the channels' threads share with the one that is told what to do.
#[derive(Default)]
struct Shared {
    listens: Mutex<Listens>,
    /// Packets to be sent by whoever has a channel.
    outbox: Mutex<Vec<Vec<u8>>>,
    /// What is sent without end.
    flood: Mutex<Option<Vec<u8>>>,
    /// What is sent until there is no room; `None` again when there is none.
    fill: Mutex<Option<Vec<u8>>>,
    counters: Mutex<BTreeMap<(u16, &'static str), u64>>,
    classes: Mutex<BTreeMap<u16, u64>>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().context("which control socket?")?;
    let slots = arguments.next().map_or(Ok(256), |slots| slots.parse())?;
    let options = StackOptions { rx_slots: slots, tx_slots: slots, ..StackOptions::named("lab-app") };
    let mut stack = Client::connect(Path::new(&socket))?.open(&options)?;
    let shared = Arc::new(Shared::default());
    serve(&mut stack, &shared);
    say("ok")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut events = std::collections::VecDeque::new();
    let mut awaited = 0;
    loop {
        match lines.recv_timeout(PAUSE) {
            Ok(line) if line == "event" => awaited += 1,
            Ok(line) => say(&answer(&mut stack, &shared, &line)?)?,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while let Some(event) = stack.poll_event() {
            if matches!(event, Event::Reconnected(_)) {
                serve(&mut stack, &shared);
            }
            events.push_back(event);
        }
        while awaited != 0
            && let Some(event) = events.pop_front()
        {
            awaited -= 1;
            say(&format!("ok {event:?}"))?;
        }
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn answer(stack: &mut Stack, shared: &Shared, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    Ok(match words.as_slice() {
        ["register", proto, addr, port, more @ ..] => {
            let mut tuple = Tuple::new(proto.parse()?, addr.parse()?, port.parse()?);
            for word in more {
                match *word {
                    "icmp" => tuple.icmp = IcmpErrors::Deliver,
                    on_crash => tuple.on_crash = Some(on_crash.parse()?),
                }
            }
            registered(stack, &tuple, Reserve::Daemon)
        }
        ["lend", proto, addr, port, at] => {
            let tuple = Tuple::new(proto.parse()?, addr.parse()?, port.parse()?);
            let own = bound(tuple.proto, at.parse()?)?;
            registered(stack, &tuple, Reserve::Socket(own))
        }
        ["release", number] => match stack.release(TupleId(number.parse()?)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => refused(&error),
        },
        ["send", hex] => {
            let packet = bytes(hex)?;
            shared.outbox.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
            "ok".to_owned()
        }
        ["mute"] => set(&shared.listens, Listens::Mute),
        ["loud"] => set(&shared.listens, Listens::Loud),
        ["swallow"] => set(&shared.listens, Listens::Swallows),
        ["flood", hex] => set(&shared.flood, Some(bytes(hex)?)),
        ["calm"] => set(&shared.flood, None),
        ["fill", hex] => {
            set(&shared.fill, Some(bytes(hex)?));
            while shared.fill.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                thread::sleep(PAUSE);
            }
            "ok".to_owned()
        }
        ["counters"] => {
            let all = shared.counters.lock().unwrap_or_else(PoisonError::into_inner);
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            all.iter().for_each(|((_, name), value)| *sums.entry(name).or_default() += value);
            let shown = sums.iter().filter(|(_, value)| **value != 0);
            shown.fold("ok".to_owned(), |line, (name, value)| format!("{line} {name}={value}"))
        }
        ["classes"] => {
            let classes = shared.classes.lock().unwrap_or_else(PoisonError::into_inner);
            classes.iter().fold("ok".to_owned(), |line, (class, count)| format!("{line} {class}={count}"))
        }
        _ => bail!("not a command: {line}"),
    })
}

fn set<T>(what: &Mutex<T>, to: T) -> String {
    *what.lock().unwrap_or_else(PoisonError::into_inner) = to;
    "ok".to_owned()
}

fn registered(stack: &mut Stack, tuple: &Tuple, reserve: Reserve) -> String {
    match stack.register(tuple, reserve) {
        Ok(id) => {
            let port = stack.tuples().find(|(known, _)| *known == id).map_or(0, |(_, it)| it.port);
            format!("ok {} {port}", id.0)
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &RegisterError) -> String {
    match error.refusal() {
        Some(refusal) => format!("err {} {}", refusal.code, refusal.detail),
        None => format!("err - {error}"),
    }
}

fn bound(proto: Proto, at: SocketAddr) -> Result<OwnedFd> {
    Ok(match proto {
        Proto::Udp => UdpSocket::bind(at)?.into(),
        // The standard library has no TCP socket that is bound and does not listen: a listener shows that check.
        Proto::Tcp => TcpListener::bind(at)?.into(),
        other => bail!("no socket of {other} here"),
    })
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(str::from_utf8);
    pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}

/// Starts a thread for each channel that has none.
fn serve(stack: &mut Stack, shared: &Arc<Shared>) {
    for channel in stack.take_channels() {
        let shared = Arc::clone(shared);
        thread::spawn(move || echo(channel, &shared));
    }
}

fn echo(mut channel: Channel, shared: &Shared) {
    loop {
        let flood = shared.flood.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let interest = if flood.is_some() { Interest::Tx } else { Interest::Rx };
        let Ok(ready) = channel.wait(interest, Some(NAP)) else { return };
        if let Some(packet) = flood {
            let mut burst = channel.tx(64);
            while matches!(burst.push(&packet, Form::L3), Ok(Some(()))) {}
        }
        if channel.number() == 0 {
            let mut fill = shared.fill.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(packet) = fill.take() {
                let mut burst = channel.tx(usize::MAX);
                while matches!(burst.push(&packet, Form::L3), Ok(Some(()))) {}
            }
        }
        let mut counters = shared.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for &counter in ChannelCounter::ALL {
            counters.insert((channel.number(), counter.name()), channel.counter(counter));
        }
        drop(counters);
        let mut packets = if channel.number() == 0 {
            std::mem::take(&mut *shared.outbox.lock().unwrap_or_else(PoisonError::into_inner))
        } else {
            Vec::new()
        };
        let listens = *shared.listens.lock().unwrap_or_else(PoisonError::into_inner);
        match listens {
            Listens::Loud => {
                let burst = channel.rx(64);
                classify(&burst, shared);
                packets.extend(
                    burst.iter().filter_map(|frame| reply(frame.packet(), frame.l4.checked_sub(frame.l3)?)),
                );
            }
            Listens::Swallows => classify(&channel.rx(64), shared),
            Listens::Mute if interest == Interest::Rx => thread::sleep(NAP),
            Listens::Mute => {}
        }
        for packet in packets {
            while !matches!(channel.tx(1).push(&packet, Form::L3), Ok(Some(()))) {
                let Ok(ready) = channel.wait(Interest::Tx, Some(NAP)) else { return };
                if ready.session == State::Revoked {
                    return;
                }
            }
        }
        if ready.session == State::Revoked {
            return;
        }
    }
}

fn classify(burst: &RxBurst<'_>, shared: &Shared) {
    let mut classes = shared.classes.lock().unwrap_or_else(PoisonError::into_inner);
    burst.iter().filter_map(|frame| frame.class).for_each(|class| *classes.entry(class).or_default() += 1);
}

fn reply(packet: &[u8], l4: usize) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    turn_around(&mut packet, l4)?;
    Some(packet)
}
