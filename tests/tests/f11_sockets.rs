//! F11 with a real socket: an engine on an AF_XDP port makes no system call but to wake the kernel.
mod ports;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use abi::{pins::LAB_FLOOR, port::PortConfig};
use anyhow::{Context as _, Result, ensure};
use ixp::{
    clock::{Clock as _, Monotonic},
    counter::Counter,
    engine::{Limits, RunToCompletion},
    stage::builtin_program,
    tables::{PortConfigs, Published, Tables},
};
use multistack::{
    registry::{self, Builtin, OnCrash, Registration, Registry},
    tuple::{Address, Proto, Tuple},
};
use octroi_tests::{
    lab::{self, Flow, Load, Need, Pair, PairOptions, Tally, Tap, config::ECHO},
    syscalls,
};
use xsk::bpf::{Lab, XdpMode};

const NEEDS: &[Need] = &[Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];

/// What an engine knows that has an echo at the served end.
fn tables(pair: &Pair, port: ixp::port::PortId) -> Result<Tables> {
    let mut registry = Registry::new(registry::Limits::default());
    let done = |_: &_| Ok::<(), std::io::Error>(());
    registry.set_addresses(&[pair.served.v4.into()])?.carry_out(done)?;
    let tuple = Tuple::new(Proto::Udp, Address::Any, ECHO)?;
    registry.add(Registration { tuple, builtin: Builtin::Echo, on_crash: OnCrash::Drop })?.carry_out(done)?;
    let mut ports = PortConfigs::default();
    ports.set(port, PortConfig { mac: pair.served.mac.0, ..PortConfig::default() });
    Ok(Tables { mirror: Arc::clone(registry.mirror()), ports, ..Tables::default() })
}

#[test]
fn f11_an_engine_on_a_socket_makes_no_system_call_but_to_wake_the_kernel() -> Result<()> {
    let id = "f11_an_engine_on_a_socket_makes_no_system_call_but_to_wake_the_kernel";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let config = ports::config(&pair.served)?;
    let mut programs = Lab::load()?;
    let (mut sockets, ifindex) = (programs.take_floor_sockets()?, pair.served.ifindex()?);
    let _link = pair.served.netns.enter(|| programs.attach(LAB_FLOOR, ifindex, XdpMode::Native))??;
    let port = ports::open(&pair.served, &config)??;
    sockets.set(config.queue, port.xsk_fd())?;
    let published = Published::new(tables(&pair, config.port)?)?;
    let mut engine = RunToCompletion::new(builtin_program(), &published, Limits::default());
    engine.attach(port);
    let (filtered, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let engine = thread::scope(|scope| -> Result<_> {
        let thread = scope.spawn(|| {
            let clock = Monotonic::start();
            // Once round, so that everything is where it will be.
            engine.turn(clock.now());
            syscalls::allow_only(syscalls::XSK_WAKE_UPS)?;
            filtered.store(true, Ordering::Release);
            while !over.load(Ordering::Acquire) {
                engine.turn(clock.now());
            }
            // What it owns is closed elsewhere: that takes other calls.
            Ok::<_, std::io::Error>(engine)
        });
        let echoed = lab::until("the engine has its filter", || Ok(filtered.load(Ordering::Acquire)))
            .and_then(|()| {
                let load = Load::new(vec![Flow::v4(&pair.peer, 20_000, &pair.served, ECHO)], 100);
                load.echo(&Tap::open(&pair.peer)?, 2000)
            });
        over.store(true, Ordering::Release);
        let engine = thread.join().ok().context("the engine panicked")??;
        ensure!(echoed? == Tally::whole(2000));
        Ok(engine)
    })?;
    let counters = engine.ledger().port(config.port).context("no such port")?;
    assert_eq!((counters.get(Counter::Reparsed), counters.get(Counter::Transmitted)), (2000, 2000));
    Ok(())
}
