//! smoltcp on every channel of a session: one thread, asleep when there is nothing to do.
//!
//! Each channel has a smoltcp interface and sockets of its own, because a tuple's packets come by the channel of the
//! queue that they arrived on. The daemon judges who may send what and knows the next hops, so the interface takes every
//! packet that it is given and sends everything to "the default router". It refuses to poll: it sleeps on the bells, for as
//! long as smoltcp's timers allow.
//!
//! When a daemon goes and another comes, interfaces and sockets stay and get a new device: what was lost in between is
//! sent again, and TCP connections live on.
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    time::{Duration, Instant as Clock},
};

use anyhow::{Context as _, Result};
use client::{
    phy::OctroiDevice,
    shm::channel::{Bell, Channel, Ready},
};
use smoltcp::{
    iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet},
    time::Instant,
    wire::HardwareAddress,
};

use crate::session::{Session, Woken};

/// Packets received before sockets are attended to. Each may be a connection's first, so [`Service`]s that accept
/// connections keep as many sockets listening.
pub const BURST: usize = 16;

/// Rounds after which signals and the daemon are listened to, however much there is to do.
const GLANCE: u32 = 64;

/// "The default router" of each family: never looked up, as the daemon knows the next hops. RFC 5737, RFC 3849.
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What is done with the sockets of one channel.
pub trait Service {
    /// After packets came, before packets leave: reads and writes sockets.
    fn attend(&mut self, sockets: &mut SocketSet<'static>);

    /// After everything that sockets had to say has left.
    fn settle(&mut self, _sockets: &mut SocketSet<'static>) {}
}

/// One channel, and all that happens on it.
struct Lane<S> {
    /// `None` while there is no daemon.
    device: Option<OctroiDevice>,
    interface: Interface,
    sockets: SocketSet<'static>,
    service: S,
}

/// Serves until somebody wants this program to end.
///
/// `service` makes what is done on one channel, of its sockets.
///
/// # Errors
/// The session is over for good, or `service` fails.
pub fn run<S: Service>(
    mut session: Session,
    channels: Vec<Channel>,
    service: impl Fn(&mut SocketSet<'static>) -> Result<S>,
) -> Result<()> {
    let began = Clock::now();
    let now = || Instant::from_micros(i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX));
    let mut lanes = Vec::new();
    attach(&mut lanes, channels, now(), &service)?;
    let mut rounds: u32 = 0;
    loop {
        let time = now();
        lanes.iter_mut().for_each(|lane| lane.turn(time));
        let rest = lanes.iter_mut().filter_map(|lane| lane.rest(time)).min();
        let busy = rest == Some(Duration::ZERO);
        rounds = if busy { rounds.wrapping_add(1) } else { 0 };
        if busy && !rounds.is_multiple_of(GLANCE) {
            continue;
        }
        let bells = lanes.iter().filter_map(|lane| lane.device.as_ref()).map(|device| device.as_fd());
        match session.sleep(bells, rest)? {
            Woken::Look => {
                lanes.iter_mut().for_each(|lane| {
                    lane.device.take_if(|device| device.drain() == Bell::HungUp);
                });
            }
            Woken::Lost => lanes.iter_mut().for_each(|lane| lane.device = None),
            Woken::Back(channels) => attach(&mut lanes, channels, now(), &service)?,
            Woken::Stop => return Ok(()),
        }
    }
}

/// Gives every channel a lane, those that are there already first.
fn attach<S: Service>(
    lanes: &mut Vec<Lane<S>>,
    channels: Vec<Channel>,
    now: Instant,
    service: &impl Fn(&mut SocketSet<'static>) -> Result<S>,
) -> Result<()> {
    // Another configuration may have brought another number of channels.
    lanes.truncate(channels.len());
    for (number, channel) in channels.into_iter().enumerate() {
        let device = OctroiDevice::gathering(channel);
        match lanes.get_mut(number) {
            Some(lane) => lane.device = Some(device),
            None => lanes.push(Lane::new(device, now, service)?),
        }
    }
    Ok(())
}

impl<S: Service> Lane<S> {
    fn new(
        mut device: OctroiDevice,
        now: Instant,
        service: &impl Fn(&mut SocketSet<'static>) -> Result<S>,
    ) -> Result<Self> {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = unpredictable();
        let mut interface = Interface::new(config, &mut device, now);
        interface.set_any_ip(true);
        let routes = interface.routes_mut();
        routes.add_default_ipv4_route(ROUTER_V4).context("a route")?;
        routes.add_default_ipv6_route(ROUTER_V6).context("a route")?;
        let mut sockets = SocketSet::new(Vec::new());
        let service = service(&mut sockets)?;
        Ok(Self { device: Some(device), interface, sockets, service })
    }

    /// Takes a burst in, attends to the sockets, lets out what they say.
    fn turn(&mut self, now: Instant) {
        let Self { device: Some(device), interface, sockets, service } = self else { return };
        for _ in 0..BURST {
            if matches!(interface.poll_ingress_single(now, device, sockets), PollIngressSingleResult::None) {
                break;
            }
        }
        service.attend(sockets);
        while matches!(interface.poll_egress(now, device, sockets), PollResult::SocketStateChanged) {}
        device.flush();
        // With a full Tx ring something may still be inside.
        if device.ready().tx != 0 {
            service.settle(sockets);
        }
    }

    /// How long nothing will have to be done; the bell is armed, unless there is something already. `None`: until it
    /// rings.
    fn rest(&mut self, now: Instant) -> Option<Duration> {
        let device = self.device.as_mut()?;
        // Looked at twice: whoever arms a bell while there is work has it rung for nothing.
        if has_work(device.ready()) || has_work(device.arm()) {
            return Some(Duration::ZERO);
        }
        if device.ready().tx == 0 {
            // Whatever smoltcp would send or receive now, it cannot.
            return None;
        }
        self.interface.poll_delay(now, &self.sockets).map(Duration::from)
    }
}

/// Whether there is a packet, and room to answer it.
const fn has_work(ready: Ready) -> bool {
    ready.rx != 0 && ready.tx != 0
}

/// What sequence numbers and ports begin with: the standard library seeds its hash tables from the kernel's randomness.
fn unpredictable() -> u64 {
    RandomState::new().build_hasher().finish()
}
