//! Frames as proptest strategies, biased towards valid ones; a failing frame shrinks towards a plain UDP frame.
use octroi_tests::corpus::{
    layers::{Ext, IPV4, IPV6, Ip4, Ip6, PEER_V4, PEER_V6, Tag, V4, V6, frame as link, transport},
    matrix::{PORTS, PROTOCOLS},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

/// A whole frame; every fourth or so with some bytes replaced and its end cut or padded.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<Index>(), any::<u8>()), 1..4);
    let damage = prop_oneof![3 => Just(None), 1 => (edits, 0..100usize).prop_map(Some)];
    (vec(tag(), 0..4), network(), damage).prop_map(|(tags, (ethertype, packet), damage)| {
        let mut frame = link(&tags, ethertype, &packet);
        if let Some((edits, len)) = damage {
            edits.into_iter().for_each(|(at, byte)| frame[at.index(packet.len().min(80) + 14)] = byte);
            frame.resize((frame.len() + 20).saturating_sub(len), 0);
        }
        frame
    })
}

fn tag() -> impl Strategy<Value = Tag> {
    let vid = prop_oneof![4 => select(&[0u16, 100, 200][..]), 1 => 0..4096u16];
    (select(&[0x8100, 0x88a8][..]), vid, 0..16u16)
        .prop_map(|(tpid, vid, pcp_dei)| (tpid, pcp_dei << 12 | vid))
}

fn network() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let v4 = (segment(), v4())
        .prop_map(|((protocol, segment), ip)| (IPV4, Ip4 { protocol, ..ip }.packet(&segment)));
    let v6 = (segment(), v6())
        .prop_map(|((protocol, segment), ip)| (IPV6, Ip6 { protocol, ..ip }.packet(&segment)));
    prop_oneof![v4, v6]
}

fn segment() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (protocol(), select(&PORTS[..]), vec(any::<u8>(), 0..40))
        .prop_map(|(protocol, port, payload)| (protocol, transport(protocol, port, &payload)))
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![6 => select(&[17u8, 6, 132][..]), 2 => select(&PROTOCOLS[..]), 1 => any::<u8>()]
}

fn v4() -> impl Strategy<Value = Ip4> {
    let addr = |usual: [u8; 4]| prop_oneof![6 => Just(usual), 1 => any::<[u8; 4]>()];
    let fragment =
        prop_oneof![6 => Just(0u16), 1 => select(&[0x4000, 0x2000, 0x0001, 0x8000][..]), 1 => any::<u16>()];
    let options = prop_oneof![3 => Just(0usize), 1 => 1..=10usize];
    let ttl = prop_oneof![9 => Just(64u8), 1 => Just(0)];
    (addr(PEER_V4), addr(V4), ttl, fragment, options).prop_map(|(src, dst, ttl, fragment, words)| Ip4 {
        src,
        dst,
        ttl,
        fragment,
        options: vec![1; 4 * words],
        ..Ip4::new(0)
    })
}

fn v6() -> impl Strategy<Value = Ip6> {
    let addr = |usual: [u8; 16]| {
        let mapped = Just([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        prop_oneof![8 => Just(usual), 1 => any::<[u8; 16]>(), 1 => Just([0; 16]), 1 => mapped]
    };
    let hop_limit = prop_oneof![9 => Just(64u8), 1 => Just(0)];
    (addr(PEER_V6), addr(V6), hop_limit, vec(extension(), 0..6))
        .prop_map(|(src, dst, hop_limit, chain)| Ip6 { src, dst, hop_limit, chain, ..Ip6::new(0) })
}

fn extension() -> impl Strategy<Value = Ext> {
    let len = prop_oneof![5 => 1..4usize, 1 => 4..40usize];
    let counted = (select(&[60u8, 0, 43][..]), len).prop_map(|(number, eights)| Ext::new(number, 8 * eights));
    let fragment = prop_oneof![2 => Just(0u16), 1 => any::<u16>()].prop_map(Ext::fragment);
    prop_oneof![
        6 => counted,
        2 => fragment,
        1 => any::<u8>().prop_map(Ext::routing),
        1 => select(&[50u8, 51, 59, 135, 139, 140, 253][..]).prop_map(|number| Ext::new(number, 8)),
    ]
}
