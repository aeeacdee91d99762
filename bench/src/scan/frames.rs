//! Ethernet frames with IPv4 and a transport, as short as a bench needs them: no options, no checksums.
//!
//! Nobody here looks at a checksum before it is written; frames with right ones are made by [`crate::traffic::plan`].

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Source and destination address.
    pub addresses: [[u8; 4]; 2],
    /// Source and destination port.
    pub ports: [u16; 2],
}

const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Flow {
    /// A UDP datagram.
    #[must_use]
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let [length, none] = [(8 + payload.len() as u16).to_be_bytes(), [0; 2]];
        self.frame(UDP, &[length, none].concat(), payload)
    }

    /// A TCP segment in the middle of a connection.
    #[must_use]
    pub fn tcp(&self, payload: &[u8]) -> Vec<u8> {
        let header = [0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0];
        self.frame(TCP, &header, payload)
    }

    fn frame(&self, protocol: u8, behind_ports: &[u8], payload: &[u8]) -> Vec<u8> {
        let len = (20 + 4 + behind_ports.len() + payload.len()) as u16;
        let mut frame = ETHERNET.to_vec();
        frame.extend([0x45, 0]);
        frame.extend(len.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(self.addresses.concat());
        frame.extend(self.ports.into_iter().flat_map(u16::to_be_bytes));
        frame.extend(behind_ports);
        frame.extend(payload);
        frame
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn another_parser_reads_them() {
        let flow = Flow { addresses: [[10, 0, 0, 1], [10, 0, 0, 2]], ports: [1_234, 80] };
        let (udp, tcp) = (flow.udp(b"abc"), flow.tcp(b"abc"));
        let Some(TransportSlice::Udp(read)) = SlicedPacket::from_ethernet(&udp).unwrap().transport else {
            panic!("no UDP")
        };
        assert_eq!((read.source_port(), read.destination_port(), read.payload()), (1_234, 80, &b"abc"[..]));
        let Some(TransportSlice::Tcp(read)) = SlicedPacket::from_ethernet(&tcp).unwrap().transport else {
            panic!("no TCP")
        };
        assert_eq!((read.source_port(), read.destination_port(), read.payload()), (1_234, 80, &b"abc"[..]));
    }
}
