//! Queries of every kind and the replies they get, read by the library that writes them, and noise.
use domain::{
    base::{Message, Name, iana::OptRcode},
    rdata::{A, Aaaa, Soa, Txt},
};
use proptest::prelude::*;

use super::*;

fn zone() -> Zone {
    Zone::example().expect("a legal zone")
}

/// A query with EDNS of this payload size and version, if any.
fn query(name: &str, rtype: Rtype, edns: Option<(u16, u8)>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(77);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((Name::vec_from_str(name).expect("a name"), rtype)).expect("room");
    let mut additional = question.additional();
    if let Some((size, version)) = edns {
        let opt = |opt: &mut domain::base::message_builder::OptBuilder<'_, Vec<u8>>| {
            opt.set_udp_payload_size(size);
            opt.set_version(version);
            Ok(())
        };
        additional.opt(opt).expect("room");
    }
    additional.finish()
}

fn reply(query: &[u8]) -> Message<Vec<u8>> {
    Message::from_octets(answer(&zone(), query).expect("a reply")).expect("a message")
}

#[track_caller]
fn check(name: &str, rtype: Rtype, rcode: Rcode, answers: u16, authority: u16) -> Message<Vec<u8>> {
    let query = query(name, rtype, Some((4096, 0)));
    let reply = reply(&query);
    let (header, counts) = (reply.header(), reply.header_counts());
    assert_eq!(
        (header.id(), header.qr(), header.rd(), header.ra(), header.tc()),
        (77, true, true, false, false)
    );
    assert_eq!((header.rcode(), counts.ancount(), counts.nscount()), (rcode, answers, authority));
    assert!(reply.is_answer(&Message::from_octets(query).expect("a message")));
    assert_eq!(reply.opt().map(|opt| (opt.udp_payload_size(), opt.version())), Some((EDNS_LIMIT, 0)));
    reply
}

#[test]
fn addresses_and_texts_are_told() {
    let www = check("www.octroi.test", Rtype::A, Rcode::NOERROR, 1, 0);
    let record = www.answer().unwrap().limit_to::<A>().next().unwrap().unwrap();
    assert_eq!(record.data().addr(), std::net::Ipv4Addr::new(192, 0, 2, 80));
    assert!(www.header().aa());
    let www = check("WWW.octroi.TEST", Rtype::AAAA, Rcode::NOERROR, 1, 0);
    let record = www.answer().unwrap().limit_to::<Aaaa>().next().unwrap().unwrap();
    assert_eq!(record.data().addr().to_string(), "2001:db8::50");
    let motto = check("motto.octroi.test", Rtype::TXT, Rcode::NOERROR, 1, 0);
    let record = motto.answer().unwrap().limit_to::<Txt<_>>().next().unwrap().unwrap();
    assert_eq!(record.data().text::<Vec<u8>>(), b"inspected, taxed, let through or turned back");
    check("octroi.test", Rtype::NS, Rcode::NOERROR, 1, 0);
    check("octroi.test", Rtype::ANY, Rcode::NOERROR, 1, 0);
}

#[test]
fn what_is_not_there_is_denied_with_the_zones_authority() {
    for (name, rtype, rcode) in [
        ("nobody.octroi.test", Rtype::A, Rcode::NXDOMAIN),
        ("www.octroi.test", Rtype::TXT, Rcode::NOERROR),
        // A type that nobody has heard of is a type like any other (RFC 3597).
        ("www.octroi.test", Rtype::from_int(65_280), Rcode::NOERROR),
    ] {
        let reply = check(name, rtype, rcode, 0, 1);
        assert_eq!(reply.authority().unwrap().limit_to::<Soa<_>>().count(), 1);
    }
}

#[test]
fn what_is_not_served_is_refused() {
    assert!(!check("example.org", Rtype::A, Rcode::REFUSED, 0, 0).header().aa());
    check("octroi.test", Rtype::AXFR, Rcode::NOTIMP, 0, 0);
    let mut chaos = query("octroi.test", Rtype::TXT, None);
    let end = chaos.len();
    chaos[end - 1] = 3;
    assert_eq!(reply(&chaos).header().rcode(), Rcode::REFUSED);
    let mut update = query("octroi.test", Rtype::SOA, None);
    update[2] |= 5 << 3;
    let update = reply(&update);
    assert_eq!((update.header().rcode(), update.as_slice().len()), (Rcode::NOTIMP, 12));
}

#[test]
fn a_reply_is_no_longer_than_the_client_takes() {
    for (edns, truncated) in
        [(None, true), (Some((512, 0)), true), (Some((700, 0)), true), (Some((4096, 0)), false)]
    {
        let reply = reply(&query("long.octroi.test", Rtype::TXT, edns));
        let counts = reply.header_counts();
        assert_eq!((reply.header().tc(), counts.ancount() == 0), (truncated, truncated), "{edns:?}");
        assert_eq!(counts.arcount() == 1, edns.is_some());
        assert!(reply.as_slice().len() <= usize::from(EDNS_LIMIT));
    }
    // Less than the protocol's least is taken for that.
    assert!(!reply(&query("www.octroi.test", Rtype::A, Some((10, 0)))).header().tc());
}

#[test]
fn a_newer_edns_is_answered_with_ours() {
    let reply = reply(&query("www.octroi.test", Rtype::A, Some((1232, 1))));
    let opt = reply.opt().expect("an OPT");
    assert_eq!((opt.rcode(reply.header()), opt.version()), (OptRcode::BADVERS, 0));
    assert_eq!(reply.header_counts().ancount(), 0);
}

#[test]
fn what_is_malformed_gets_formerr_and_what_is_no_query_nothing() {
    let good = query("www.octroi.test", Rtype::A, Some((1232, 0)));
    for short in 0..12 {
        assert_eq!(answer(&zone(), &good[..short]), None);
    }
    for short in 12..good.len() {
        assert_eq!(reply(&good[..short]).header().rcode(), Rcode::FORMERR, "{short} bytes");
    }
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(answer(&zone(), &response), None);
    let changed = |at: usize, value: u8| {
        let mut changed = good.clone();
        changed[at] = value;
        reply(&changed).header().rcode()
    };
    // No question, two, answers in a query, too many additional records, a name that points at itself.
    for (at, value) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 5), (10, 255)] {
        assert_eq!(changed(at, value), Rcode::FORMERR, "byte {at}");
    }
    let mut looped = good[..12].to_vec();
    looped[11] = 0;
    looped.extend([0xC0, 12, 0, 1, 0, 1]);
    assert_eq!(reply(&looped).header().rcode(), Rcode::FORMERR);
    // Two OPT records.
    let mut twice = good.clone();
    twice[11] = 2;
    let opt = good[good.len() - 11..].to_vec();
    twice.extend(opt);
    assert_eq!(reply(&twice).header().rcode(), Rcode::FORMERR);
}

proptest! {
    /// Whatever comes: no panic, no reply to a reply, none longer than allowed, and the query's id in each.
    #[test]
    fn noise_is_survived(
        flips in prop::collection::vec((0_usize..60, any::<u8>()), 0..6),
        tail in prop::collection::vec(any::<u8>(), 0..40),
        rtype in any::<u16>(),
    ) {
        let mut message = query("motto.octroi.test", Rtype::from_int(rtype), Some((1232, 0)));
        for (at, value) in flips {
            if let Some(byte) = message.get_mut(at) {
                *byte = value;
            }
        }
        message.extend(tail);
        if let Some(reply) = answer(&zone(), &message) {
            prop_assert_eq!(message[2] & 0x80, 0);
            prop_assert_eq!(&reply[..2], &message[..2]);
            prop_assert!(12 <= reply.len() && reply.len() <= usize::from(EDNS_LIMIT) && reply[2] & 0x80 != 0);
        }
    }
}
