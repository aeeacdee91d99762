//! `r5`: the filter `http_only`, which cuts every packet down to the request line of its HTTP request.
//!
//! | rows | packets of 1500 bytes |
//! |---|---|
//! | `r5` | a request as browsers send them: a line of some hundred bytes, then header fields |
//! | `r5_long` | a request line that fills the packet, so that every byte is looked at and most are kept |
//!
//! The peer is C around a scanner by re2c, whose tag says where the line ends. Both must leave the same bytes behind.
use anyhow::{Context as _, Result, ensure};

use super::{Goal, absolute};
use crate::{
    report::bench::{Better, Row},
    scan::{
        contest::{Measure, Scanner as _, alone, contest},
        engines::{Entry, Judging},
        frames::Flow,
        here::Here,
        literals::Literals,
        packets::Packets,
        program::{Peer, Workshop},
    },
    suite::mux::pinned,
    traffic::seeded::Seeded,
};

/// The rows.
pub(super) const IDS: [&str; 4] = ["r5", "r5_vs_re2c", "r5_long", "r5_long_vs_re2c"];

/// In GB/s of packets that come in.
const AIM: f64 = 1.5;
const PACKETS: usize = 768;
/// Bytes of a packet, and of its headers.
const PACKET: usize = 1_500;
const HEADERS: usize = 54;

/// The filter, as it is shipped.
fn http_only() -> Result<&'static str> {
    Ok(ruler::shipped::find("http_only").context("http_only is not shipped")?.source)
}

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let [id, id_peer, id_long, id_long_peer] = IDS;
    pinned(|| {
        let workshop = Workshop::new()?;
        let peer = workshop.build(Peer::Re2cRequests, &Literals::default())?;
        for (ids, line) in [([id, id_peer], 120), ([id_long, id_long_peer], PACKET - HEADERS)] {
            let packets = requests(line);
            let mut ours = Here(Judging::new(http_only()?, &packets, Entry::Zero)?);
            ensure!(ours.round(1)?.hits == PACKETS as u64, "not every request is rewritten");
            let measure = Measure::bytes(packets.len_bytes());
            let rates = alone(runs, measure, &mut ours)?;
            let row = Row::against_aim(ids[0], measure.unit, Better::Higher, &rates, AIM);
            rows.push(if line < PACKET - HEADERS { absolute(row)? } else { row.context("no runs")? });
            let mut peer = peer.start(&packets)?;
            let pairs = contest(runs, measure, &mut ours, &mut peer)?;
            let row = Row::paired(ids[1], measure.unit, &peer.name(), &pairs).context("no runs")?;
            rows.push(Goal::SHOWN.of(row));
        }
        Ok(())
    })
}

/// Requests whose first line has about so many bytes, its end included.
fn requests(line: usize) -> Packets {
    let mut seeded = Seeded::new(11);
    let methods = ["GET", "POST", "HEAD"];
    Packets::new((0..PACKETS).map(|n| {
        let mut letters =
            |len: usize| (0..len).map(|_| char::from(b'a' + seeded.below(26) as u8)).collect::<String>();
        let begin = format!("{} /", methods[n % methods.len()]);
        let end = " HTTP/1.1\r\n";
        let mut text = format!("{begin}{}{end}", letters(line - begin.len() - end.len()));
        text += "Host: www.example.com\r\nAccept: */*\r\nCookie: ";
        text += &letters(PACKET);
        text.truncate(PACKET - HEADERS);
        let flow = Flow { addresses: [[10, 1, 0, 1], [10, 77, 0, 2]], ports: [20_000 + n as u16, 80] };
        flow.tcp(text.as_bytes())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_to_their_first_line() {
        for line in [120, PACKET - HEADERS] {
            let packets = requests(line);
            assert_eq!((packets.count(), packets.len_bytes()), (PACKETS, PACKETS * PACKET));
            let round =
                Here(Judging::new(http_only().unwrap(), &packets, Entry::Zero).unwrap()).round(2).unwrap();
            assert_eq!(round.hits, PACKETS as u64);
            let cut = packets.slices().into_iter().map(cut_by_hand).collect::<Vec<_>>();
            assert_eq!(round.sum, Packets::new(cut).sum());
        }
    }

    /// The same by the plainest means.
    fn cut_by_hand(packet: &[u8]) -> Vec<u8> {
        let end = packet.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        let (ip, tcp) = etherparse::PacketHeaders::from_ethernet_slice(packet)
            .map(|headers| match (headers.net, headers.transport) {
                (Some(etherparse::NetHeaders::Ipv4(ip, _)), Some(etherparse::TransportHeader::Tcp(tcp))) => {
                    (ip, tcp)
                }
                other => panic!("{other:?}"),
            })
            .unwrap();
        let (mut ip, mut tcp, payload) = (ip, tcp, &packet[HEADERS..end]);
        ip.set_payload_len(20 + payload.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).unwrap();
        [&packet[..14], &ip.to_bytes(), &tcp.to_bytes(), payload].concat()
    }
}
