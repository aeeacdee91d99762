//! Ethernet and its VLAN tags: is the frame for this interface, and where does the network header start.
//!
//! At most two tags are read; a tag with VID 0 carries only a priority and counts as none.
use abi::{
    counter::XdpCounter,
    port::{MAX_TAGS, PortConfig},
};

use crate::frame::Frame;

const HEADER: usize = 14;
const TAG: usize = 4;
const VID: u16 = 0x0FFF;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;

/// The network protocol behind the link headers.
pub enum Network {
    /// EtherType 0x0800.
    V4,
    /// EtherType 0x86DD.
    V6,
}

/// What the link headers say.
pub struct Link {
    /// Which protocol follows.
    pub network: Network,
    /// Offset of its header: 14, 18 or 22.
    pub l3_off: usize,
}

/// Rules 1 to 4. (No frame is longer than 65,535 bytes here: a program without frags sees one page at most.)
#[inline(always)]
pub fn parse(frame: Frame, port: &PortConfig) -> Result<Link, XdpCounter> {
    let eth = frame.words::<7>(0).ok_or(XdpCounter::PassBadHeader)?;
    let mac: [u16; 3] = zerocopy::transmute!(port.mac);
    if eth.raw::<0>() != mac[0] || eth.raw::<1>() != mac[1] || eth.raw::<2>() != mac[2] {
        return Err(XdpCounter::PassOtherHost);
    }
    let (mut ethertype, mut l3_off) = (eth.be::<6>(), HEADER);
    // Found tags, outermost first; 0 where there is none, as in `PortConfig::vlan`.
    let mut vids = [0; MAX_TAGS];
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let tag = frame.words::<2>(l3_off).ok_or(XdpCounter::PassBadHeader)?;
        let vid = tag.be::<0>() & VID;
        if vids[0] == 0 {
            vids[0] = vid;
        } else {
            vids[1] = vid;
        }
        ethertype = tag.be::<1>();
        l3_off += TAG;
    }
    if is_tag(ethertype) || vids != port.vlan {
        return Err(XdpCounter::PassVlan);
    }
    match ethertype {
        IPV4 => Ok(Link { network: Network::V4, l3_off }),
        IPV6 => Ok(Link { network: Network::V6, l3_off }),
        _ => Err(XdpCounter::PassEthertype),
    }
}

/// Customer and service tags, in any mixture and order.
#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == 0x8100 || ethertype == 0x88A8
}
