//! The pool and its conversations, with smoltcp clients on a loopback and a virtual clock.
use smoltcp::{
    iface::{Config, Interface, PollResult},
    phy::{Loopback, Medium},
    time::Instant,
    wire::{HardwareAddress, IpAddress, IpCidr},
};

use super::*;
use crate::http::object::Kib;

const PORT: u16 = 80;

/// A server and its clients on one interface.
struct World {
    device: Loopback,
    interface: Interface,
    sockets: SocketSet<'static>,
    http: Http,
    now: Instant,
    next_port: u16,
}

impl World {
    fn new() -> Self {
        let mut device = Loopback::new(Medium::Ip);
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addrs| addrs.push(IpCidr::new(address(), 8)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let http = Http::new(PORT, Rc::new(Objects::default()), &mut sockets);
        Self { device, interface, sockets, http, now: Instant::ZERO, next_port: 20_000 }
    }

    fn connect(&mut self) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 65_536]);
        let mut socket = Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket.connect(self.interface.context(), (address(), PORT), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    fn client(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// A turn of [`crate::user_stack`], a millisecond later.
    fn turn(&mut self) {
        self.now += Duration::from_millis(1);
        for _ in 0..BURST {
            self.interface.poll_ingress_single(self.now, &mut self.device, &mut self.sockets);
        }
        self.http.attend(&mut self.sockets);
        let Self { interface, device, sockets, now, .. } = self;
        while matches!(interface.poll_egress(*now, device, sockets), PollResult::SocketStateChanged) {}
        self.http.settle(&mut self.sockets);
    }

    /// Says `request` on every connection and returns all that each of them hears until the server closes.
    fn exchange(&mut self, clients: &[SocketHandle], request: &[u8]) -> Vec<Vec<u8>> {
        let mut unsaid = clients.to_vec();
        let mut heard = vec![Vec::new(); clients.len()];
        for _ in 0..20_000 {
            self.turn();
            unsaid.retain(|&handle| {
                let socket = self.client(handle);
                let says = socket.may_send();
                if says {
                    assert_eq!(socket.send_slice(request), Ok(request.len()));
                }
                !says
            });
            let mut open = false;
            for (&handle, heard) in clients.iter().zip(&mut heard) {
                let socket = self.client(handle);
                if socket.can_recv() {
                    socket.recv(|bytes| (bytes.len(), heard.extend_from_slice(bytes))).unwrap();
                }
                if socket.state() == State::CloseWait {
                    socket.close();
                }
                open |= socket.is_open();
            }
            if !open && unsaid.is_empty() {
                return heard;
            }
        }
        panic!("the server never closed");
    }
}

fn address() -> IpAddress {
    IpAddress::v4(127, 0, 0, 1)
}

fn body(reply: &[u8]) -> &[u8] {
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    &reply[end..]
}

#[test]
fn more_connections_than_ever_listen_are_all_served_and_the_pool_shrinks_again() {
    let mut world = World::new();
    let clients: Vec<_> = (0..5 * BURST).map(|_| world.connect()).collect();
    let replies = world.exchange(&clients, b"GET /32k HTTP/1.0\r\n\r\n");
    let objects = Objects::default();
    let whole = objects.get(Kib::new(32).unwrap());
    assert!(replies.iter().all(|reply| body(reply) == whole));
    (0..50).for_each(|_| world.turn());
    assert!((BURST..=MOST_SPARE).contains(&world.http.lines.len()), "{}", world.http.lines.len());
}

#[test]
fn one_transaction_after_another_needs_no_more_sockets() {
    let mut world = World::new();
    for _ in 0..200 {
        let client = world.connect();
        let replies = world.exchange(&[client], b"HEAD /1k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(replies[0].starts_with(b"HTTP/1.1 200 OK\r\n") && body(&replies[0]).is_empty());
        world.sockets.remove(client);
    }
    assert!(world.http.lines.len() <= MOST_SPARE, "{}", world.http.lines.len());
}

#[test]
fn a_connection_is_kept_for_the_next_request_and_given_up_after_patience() {
    let mut world = World::new();
    let client = world.connect();
    for kib in [1, 2, 3] {
        let (length, mut heard) = (kib * 1024, Vec::new());
        let request = format!("GET /{kib}k HTTP/1.1\r\nHost: a\r\n\r\n");
        (0..10).for_each(|_| world.turn());
        assert_eq!(world.client(client).send_slice(request.as_bytes()), Ok(request.len()));
        for _ in 0..100 {
            world.turn();
            let socket = world.client(client);
            if socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), heard.extend_from_slice(bytes))).unwrap();
            }
        }
        assert_eq!(body(&heard).len(), length);
    }
    world.now += PATIENCE.into();
    (0..10).for_each(|_| world.turn());
    assert!(!world.client(client).is_open(), "{}", world.client(client).state());
    assert!(world.http.lines.iter().all(|line| world.sockets.get::<Socket<'_>>(line.socket).is_listening()));
}

#[test]
fn a_peer_that_says_no_more_is_hung_up_on() {
    let mut world = World::new();
    let client = world.connect();
    (0..10).for_each(|_| world.turn());
    world.client(client).close();
    (0..50).for_each(|_| world.turn());
    assert!(!world.client(client).is_open());
    assert_eq!(world.http.lines.len(), BURST + 1);
}
