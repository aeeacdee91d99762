//! Numbers of ports: each (interface, queue) pair keeps its number for as long as the daemon runs.
//!
//! A socket that is closed and opened again is the same port. What the kernel counted for the closed one is added to
//! what it counts for the next: its statistics die with it, the books do not forget.
use ixp::port::{PortId, RxLosses};
use xsk::socket::LastStatistics;

/// Every port that was ever open.
#[derive(Debug, Default)]
pub struct Ports(Vec<Port>);

/// One (interface, queue) pair.
#[derive(Debug)]
pub struct Port {
    /// Which of the configured interfaces.
    pub interface: usize,
    /// Its queue.
    pub queue: u32,
    /// What all closed sockets of this port have lost.
    pub before: RxLosses,
    last: Option<LastStatistics>,
}

impl Ports {
    /// The number of a pair, a new one if it has none; `None` if there are no more.
    pub fn number(&mut self, interface: usize, queue: u32) -> Option<PortId> {
        let found = self.0.iter().position(|p| (p.interface, p.queue) == (interface, queue));
        let at = found.unwrap_or_else(|| {
            self.0.push(Port { interface, queue, before: RxLosses::default(), last: None });
            self.0.len() - 1
        });
        if ixp::ledger::MAX_PORTS <= at {
            return None;
        }
        Some(PortId::new(at as u16))
    }

    /// A socket of this port is open now.
    pub fn opened(&mut self, port: PortId, last: LastStatistics) {
        if let Some(port) = self.0.get_mut(port.index()) {
            port.last = Some(last);
        }
    }

    /// Its socket is closed. `reported` is what its engine said last, for the case that the kernel said nothing.
    pub fn closed(&mut self, port: PortId, reported: Option<RxLosses>) {
        let Some(port) = self.0.get_mut(port.index()) else { return };
        let last = port.last.take().and_then(|last| last.get());
        let kernel = last.map(|s| RxLosses {
            ring_full: s.rx_ring_full,
            no_buffer: s.rx_dropped,
            bad_descriptor: reported.map_or(0, |r| r.bad_descriptor),
        });
        if let Some(losses) = kernel.or(reported) {
            port.before = sum(port.before, losses);
        }
    }

    /// The pair behind a number.
    #[must_use]
    pub fn get(&self, port: PortId) -> Option<&Port> {
        self.0.get(port.index())
    }

    /// Every pair with its number.
    pub fn iter(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.0.iter().enumerate().map(|(at, port)| (PortId::new(at as u16), port))
    }
}

/// Both together.
#[must_use]
pub fn sum(a: RxLosses, b: RxLosses) -> RxLosses {
    RxLosses {
        ring_full: a.ring_full + b.ring_full,
        no_buffer: a.no_buffer + b.no_buffer,
        bad_descriptor: a.bad_descriptor + b.bad_descriptor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_keeps_its_number_and_its_losses() {
        let mut ports = Ports::default();
        let first = ports.number(0, 0).unwrap();
        let second = ports.number(0, 1).unwrap();
        assert_ne!(first, second);
        let lost = RxLosses { ring_full: 1, no_buffer: 2, bad_descriptor: 0 };
        ports.closed(first, Some(lost));
        assert_eq!(ports.number(0, 0), Some(first));
        ports.opened(first, LastStatistics::default());
        ports.closed(first, Some(lost));
        let before = ports.get(first).unwrap().before;
        assert_eq!(before, RxLosses { ring_full: 2, no_buffer: 4, bad_descriptor: 0 });
        assert_eq!(ports.get(second).unwrap().before, RxLosses::default());
    }

    #[test]
    fn numbers_end() {
        let mut ports = Ports::default();
        for queue in 0..ixp::ledger::MAX_PORTS as u32 {
            assert!(ports.number(0, queue).is_some());
        }
        assert_eq!(ports.number(0, u32::MAX), None);
    }
}
