//! Numbers of ports: each (interface, queue) pair keeps its number for as long as the daemon runs.
//!
//! A socket that is closed and opened again is the same port. What the kernel counted for the closed one is added to
//! what it counts for the next: its statistics die with it, the books do not forget.
use ixp::{
    engines::PortReport,
    port::{Census, PortId, RxLosses},
};
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
    /// What its engine said of the open one last; nothing where none is open.
    pub now: Known,
    last: Option<LastStatistics>,
}

/// What an engine said of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Lost before the engine.
    pub losses: RxLosses,
    /// Where its frames are.
    pub census: Census,
}

impl Ports {
    /// The number of a pair, a new one if it has none; `None` if there are no more.
    pub fn number(&mut self, interface: usize, queue: u32) -> Option<PortId> {
        let found = self.0.iter().position(|p| (p.interface, p.queue) == (interface, queue));
        let at = found.unwrap_or_else(|| {
            self.0.push(Port {
                interface,
                queue,
                before: RxLosses::default(),
                now: Known::default(),
                last: None,
            });
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

    /// Its engine said where it stands.
    pub fn reported(&mut self, report: PortReport) {
        if let Some(port) = self.0.get_mut(report.port.index()) {
            port.now = Known { losses: report.losses, census: report.census };
        }
    }

    /// Its socket is closed. What its engine said last counts where the kernel said nothing.
    pub fn closed(&mut self, port: PortId) {
        let Some(port) = self.0.get_mut(port.index()) else { return };
        let reported = std::mem::take(&mut port.now).losses;
        let last = port.last.take().and_then(|last| last.get());
        let kernel = last.map(|s| RxLosses {
            ring_full: s.rx_ring_full,
            no_buffer: s.rx_dropped,
            bad_descriptor: reported.bad_descriptor,
        });
        port.before = sum(port.before, kernel.unwrap_or(reported));
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
    use ixp::engines::PortState;

    use super::*;

    #[test]
    fn a_pair_keeps_its_number_and_its_losses() {
        let mut ports = Ports::default();
        let first = ports.number(0, 0).unwrap();
        let second = ports.number(0, 1).unwrap();
        assert_ne!(first, second);
        let lost = RxLosses { ring_full: 1, no_buffer: 2, bad_descriptor: 0 };
        let report =
            PortReport { port: first, losses: lost, census: Census::default(), state: PortState::Running };
        ports.reported(report);
        ports.closed(first);
        assert_eq!(ports.get(first).unwrap().now, Known::default());
        assert_eq!(ports.number(0, 0), Some(first));
        ports.opened(first, LastStatistics::default());
        ports.reported(report);
        ports.closed(first);
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
