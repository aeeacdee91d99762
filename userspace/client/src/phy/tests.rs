//! Two smoltcp stacks, each on a channel of a fake daemon that carries their packets across: UDP there and back, a TCP
//! connection with more data than a ring holds.
use abi::shm::layout::feature;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    socket::{tcp, udp},
    wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint},
};

use super::*;
use crate::shm::fake::FakeSession;

struct Host {
    session: FakeSession,
    device: OctroiDevice,
    interface: Interface,
    sockets: SocketSet<'static>,
}

fn addr(last: u8) -> IpAddress {
    IpAddress::v4(10, 0, 0, last)
}

impl Host {
    fn new(last: u8, features: u32) -> Self {
        let (session, regions, bells) = FakeSession::with_regions(1, features);
        let mut device = OctroiDevice::new(Channel::all(&regions, bells).pop().unwrap());
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addrs| addrs.push(IpCidr::new(addr(last), 24)).unwrap());
        Self { session, device, interface, sockets: SocketSet::new(vec![]) }
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.device, &mut self.sockets);
    }

    fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }
}

/// What the daemon does with valid packets: takes each from one application and delivers it to the other.
fn carry(from: &mut Host, to: &mut Host) -> usize {
    let packets = from.session.take(0);
    for (desc, packet) in &packets {
        assert_eq!(desc.form(), Some(Form::L3));
        assert!((20..=1500).contains(&packet.len()));
        to.session.deliver(0, 1, packet).expect("room: a ring is emptied each round");
    }
    packets.len()
}

#[test]
fn a_datagram_goes_there_and_back() {
    let (mut a, mut b) = (Host::new(1, 0), Host::new(2, 0));
    let (ours, theirs) = (a.udp(4000), b.udp(53));
    let to = IpEndpoint::new(addr(2), 53);
    a.sockets.get_mut::<udp::Socket<'_>>(ours).send_slice(b"who?", to).unwrap();
    a.poll(Instant::ZERO);
    assert_eq!(carry(&mut a, &mut b), 1);
    b.poll(Instant::ZERO);
    let socket = b.sockets.get_mut::<udp::Socket<'_>>(theirs);
    let (question, from) = socket.recv().map(|(bytes, meta)| (bytes.to_vec(), meta.endpoint)).unwrap();
    assert_eq!((question.as_slice(), from), (&b"who?"[..], IpEndpoint::new(addr(1), 4000)));
    socket.send_slice(b"me", from).unwrap();
    b.poll(Instant::ZERO);
    assert_eq!(carry(&mut b, &mut a), 1);
    a.poll(Instant::ZERO);
    let socket = a.sockets.get_mut::<udp::Socket<'_>>(ours);
    assert_eq!(socket.recv().map(|(bytes, _)| bytes.to_vec()), Ok(b"me".to_vec()));
}

#[test]
fn a_tcp_connection_carries_more_than_a_ring_holds() {
    const BYTES: usize = 1 << 20;
    let (mut a, mut b) = (Host::new(1, 0), Host::new(2, 0));
    let (client, server) = (a.tcp(), b.tcp());
    b.sockets.get_mut::<tcp::Socket<'_>>(server).listen(80).unwrap();
    let socket = a.sockets.get_mut::<tcp::Socket<'_>>(client);
    socket.connect(a.interface.context(), (addr(2), 80), 49_152).unwrap();
    let byte = |at: usize| (at % 251) as u8;
    let (mut sent, mut got) = (0, 0);
    for millis in 0..100_000 {
        let now = Instant::from_millis(millis);
        a.poll(now);
        carry(&mut a, &mut b);
        b.poll(now);
        carry(&mut b, &mut a);
        let socket = a.sockets.get_mut::<tcp::Socket<'_>>(client);
        if socket.can_send() && sent < BYTES {
            let chunk: Vec<u8> = (sent..BYTES.min(sent + 8192)).map(byte).collect();
            sent += socket.send_slice(&chunk).unwrap();
        }
        let socket = b.sockets.get_mut::<tcp::Socket<'_>>(server);
        if socket.can_recv() {
            let correct = |bytes: &mut [u8]| {
                assert!(bytes.iter().enumerate().all(|(at, &seen)| seen == byte(got + at)), "after {got}");
                (bytes.len(), bytes.len())
            };
            got += socket.recv(correct).unwrap();
        }
        if got == BYTES {
            return;
        }
    }
    panic!("{got} of {BYTES} bytes arrived in 100 s of virtual time");
}

#[test]
fn partial_checksums_are_not_verified_but_always_made() {
    let whole = Host::new(1, 0).device.capabilities();
    assert!(whole.checksum.udp.rx() && whole.checksum.udp.tx());
    let partial = Host::new(1, feature::RX_CSUM_PARTIAL).device.capabilities();
    assert_eq!((partial.medium, partial.max_transmission_unit), (Medium::Ip, 1500));
    for protocol in [partial.checksum.tcp, partial.checksum.udp] {
        assert!(!protocol.rx() && protocol.tx());
    }
    assert!(partial.checksum.ipv4.rx() && partial.checksum.ipv4.tx());
    // And so it is: a checksum of which only the pseudo header is summed is taken where it is announced.
    for (features, expected) in [(0, 0), (feature::RX_CSUM_PARTIAL, 1)] {
        let (mut a, mut b) = (Host::new(1, 0), Host::new(2, features));
        let (ours, theirs) = (a.udp(4000), b.udp(53));
        let to = IpEndpoint::new(addr(2), 53);
        a.sockets.get_mut::<udp::Socket<'_>>(ours).send_slice(b"x", to).unwrap();
        a.poll(Instant::ZERO);
        let (_, mut packet) = a.session.take(0).pop().unwrap();
        packet[26] ^= 0xFF;
        b.session.deliver(0, 1, &packet).unwrap();
        b.poll(Instant::ZERO);
        let got = usize::from(b.sockets.get_mut::<udp::Socket<'_>>(theirs).can_recv());
        assert_eq!(got, expected);
    }
}

#[test]
fn a_full_tx_ring_receives_nothing_and_loses_nothing() {
    let mut host = Host::new(1, 0);
    while let Some(room) = host.device.transmit(Instant::ZERO) {
        room.consume(20, |bytes| bytes.fill(0x45));
    }
    host.session.deliver(0, 1, &[0x45; 20]).unwrap();
    assert!(host.device.receive(Instant::ZERO).is_none());
    assert_eq!(host.device.wait(Some(Duration::ZERO)).unwrap().rx, 1);
    assert_eq!(host.session.take(0).len(), 64);
    let (received, room) = host.device.receive(Instant::ZERO).expect("it waited");
    assert_eq!(received.consume(|packet| packet.to_vec()), [0x45; 20]);
    drop(room);
    assert!(host.device.receive(Instant::ZERO).is_none());
    assert_eq!(host.session.take(0).len(), 0, "room that is not used sends nothing");
    assert_eq!(host.device.wait(Some(Duration::ZERO)).unwrap().tx, 64);
    assert_eq!(host.device.session(), State::Live);
    assert_eq!(host.device.into_channel().number(), 0);
}

#[test]
fn a_packet_beyond_a_slot_goes_nowhere() {
    let mut host = Host::new(1, 0);
    let room = host.device.transmit(Instant::ZERO).unwrap();
    assert_eq!(room.consume(5000, |bytes| bytes.len()), 5000);
    assert_eq!(host.session.take(0).len(), 0);
}

#[test]
fn what_is_gathered_leaves_together_and_never_stays() {
    let (mut session, regions, bells) = FakeSession::with_regions(1, 0);
    let mut device = OctroiDevice::gathering(Channel::all(&regions, bells).pop().unwrap());
    let send = |device: &mut OctroiDevice, count: usize| {
        (0..count).all(|_| {
            device.transmit(Instant::ZERO).map(|room| room.consume(20, |bytes| bytes.fill(1))).is_some()
        })
    };
    // Nothing is shown before somebody says so.
    assert!(send(&mut device, 3));
    assert_eq!(session.take(0).len(), 0);
    device.flush();
    assert_eq!(session.take(0).len(), 3);
    // Beyond the limit the worker can begin.
    assert!(send(&mut device, MOST_GATHERED + 1));
    assert_eq!(session.take(0).len(), MOST_GATHERED);
    // Whoever goes to sleep has said everything.
    device.arm();
    assert_eq!(session.take(0).len(), 1);
    // A full ring is shown: only the worker can make room.
    let slots = device.ready().tx as usize;
    assert!(send(&mut device, slots) && !send(&mut device, 1));
    assert_eq!(session.take(0).len(), slots);
}
