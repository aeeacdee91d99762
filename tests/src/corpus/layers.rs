//! Headers written out byte by byte, right or wrong as they are told.
//!
//! Neither Octroi's `wire` nor etherparse builds these bytes: what makes a test's input must not share a mistake with
//! what reads it. Lengths and IPv4 header checksums are right unless said otherwise; transport checksums are 0.

/// The interface that the corpus is addressed to.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Who sends.
pub const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The address that owned tuples have.
pub const V4: [u8; 4] = [192, 0, 2, 1];
/// Who sends.
pub const PEER_V4: [u8; 4] = [198, 51, 100, 7];
/// The address that owned tuples have.
pub const V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Who sends.
pub const PEER_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// The identification of every IPv4 packet of the corpus.
pub const ID_V4: u16 = 0x1234;
/// The identification in every IPv6 fragment header of the corpus.
pub const ID_V6: u32 = 0xdead_beef;

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
/// EtherTypes.
pub const IPV6: u16 = 0x86dd;

/// A VLAN tag: the EtherType that announces it, and priority and id.
pub type Tag = (u16, u16);

/// A frame to [`MAC`] behind these tags, outermost first.
#[must_use]
pub fn frame(tags: &[Tag], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [MAC, PEER].concat();
    for (tpid, tci) in tags {
        bytes.extend(tpid.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An IPv4 header.
#[derive(Clone, Debug)]
pub struct Ip4 {
    /// The source.
    pub src: [u8; 4],
    /// The destination.
    pub dst: [u8; 4],
    /// What follows.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Flags and fragment offset, as they stand in the header.
    pub fragment: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Ip4 {
    /// From the peer to the owned address.
    #[must_use]
    pub fn new(protocol: u8) -> Self {
        Self { src: PEER_V4, dst: V4, protocol, ttl: 64, fragment: 0, options: Vec::new() }
    }

    /// The packet with this payload.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total_len = (header_len + payload.len()) as u16;
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
        bytes.extend(total_len.to_be_bytes());
        bytes.extend(ID_V4.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.src);
        bytes.extend(self.dst);
        bytes.extend(&self.options);
        let checksum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// RFC 1071 over a header of even length.
fn checksum(header: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in header.chunks_exact(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word[1]);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// One IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext {
    /// Its protocol number.
    pub number: u8,
    /// Its bytes from the third on; the first two are written with the chain.
    pub data: Vec<u8>,
    /// Its second byte.
    pub length: u8,
}

impl Ext {
    /// One that says its own length, of so many bytes in all, a multiple of 8; a routing header has 0 segments left.
    #[must_use]
    pub fn new(number: u8, len: usize) -> Self {
        Self { number, data: vec![0; len - 2], length: (len / 8 - 1) as u8 }
    }

    /// A routing header with segments left.
    #[must_use]
    pub fn routing(segments_left: u8) -> Self {
        let mut header = Self::new(43, 24);
        header.data[1] = segments_left;
        header
    }

    /// A fragment header with this word of offset, reserved bits and M flag.
    #[must_use]
    pub fn fragment(offset_more: u16) -> Self {
        let data = [&offset_more.to_be_bytes()[..], &ID_V6.to_be_bytes()].concat();
        Self { number: 44, data, length: 0 }
    }
}

/// An IPv6 header and its chain.
#[derive(Clone, Debug)]
pub struct Ip6 {
    /// The source.
    pub src: [u8; 16],
    /// The destination.
    pub dst: [u8; 16],
    /// What follows the chain.
    pub protocol: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// The extension headers.
    pub chain: Vec<Ext>,
}

impl Ip6 {
    /// From the peer to the owned address.
    #[must_use]
    pub fn new(protocol: u8) -> Self {
        Self { src: PEER_V6, dst: V6, protocol, hop_limit: 64, chain: Vec::new() }
    }

    /// The same behind a chain.
    #[must_use]
    pub fn behind(self, chain: &[Ext]) -> Self {
        Self { chain: chain.to_vec(), ..self }
    }

    /// The packet with this payload.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let numbers: Vec<u8> = self.chain.iter().map(|ext| ext.number).chain([self.protocol]).collect();
        let chain: Vec<u8> = self
            .chain
            .iter()
            .zip(&numbers[1..])
            .flat_map(|(ext, &next)| [&[next, ext.length], ext.data.as_slice()].concat())
            .collect();
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(((chain.len() + payload.len()) as u16).to_be_bytes());
        bytes.extend([numbers[0], self.hop_limit]);
        bytes.extend(self.src);
        bytes.extend(self.dst);
        bytes.extend(chain);
        bytes.extend(payload);
        bytes
    }
}

/// A header of this protocol to a port, as short as the protocol has it, and a payload.
#[must_use]
pub fn transport(protocol: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let [len_high, len_low] = ((8 + payload.len()) as u16).to_be_bytes();
    let header: &[u8] = match protocol {
        6 => &[0xc0, 1, high, low, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0],
        17 | 136 => &[0xc0, 1, high, low, len_high, len_low, 0, 0],
        33 => &[0xc0, 1, high, low, 3, 0, 0, 0, 4, 0, 0, 1],
        132 => &[0xc0, 1, high, low, 0, 0, 0, 9, 0, 0, 0, 0],
        1 => &[8, 0, 0, 0, 0x12, 0x34, 0, 1],
        58 => &[128, 0, 0, 0, 0x12, 0x34, 0, 1],
        _ => &[0; 8],
    };
    [header, payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_udp_frame_byte_by_byte() {
        let packet = Ip4::new(17).packet(&transport(17, 7, b"hi"));
        let want = [
            0x45, 0, 0, 30, 0x12, 0x34, 0, 0, 64, 17, 0x7c, 0x5f, 198, 51, 100, 7, 192, 0, 2, 1, // IPv4
            0xc0, 1, 0, 7, 0, 10, 0, 0, b'h', b'i',
        ];
        assert_eq!(packet, want);
        let tagged = frame(&[(0x88a8, 0xe064), (0x8100, 7)], IPV4, &want);
        assert_eq!(tagged[12..22], [0x88, 0xa8, 0xe0, 0x64, 0x81, 0, 0, 7, 8, 0]);
        assert_eq!(tagged[22..], want);
    }

    #[test]
    fn a_chain_byte_by_byte() {
        let packet =
            Ip6::new(6).behind(&[Ext::new(0, 8), Ext::routing(3), Ext::fragment(0x11)]).packet(&[0xaa]);
        assert_eq!(packet[..8], [0x60, 0, 0, 0, 0, 41, 0, 64]);
        assert_eq!(packet[40..48], [43, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packet[48..52], [44, 2, 0, 3]);
        assert_eq!(packet[72..], [6, 0, 0, 0x11, 0xde, 0xad, 0xbe, 0xef, 0xaa]);
    }

    #[test]
    fn transports_are_as_long_as_their_shortest_headers() {
        for (protocol, len) in [(6, 20), (17, 8), (33, 12), (132, 12), (136, 8), (1, 8), (58, 8), (47, 8)] {
            assert_eq!(transport(protocol, 7, b"").len(), len, "{protocol}");
        }
    }
}
