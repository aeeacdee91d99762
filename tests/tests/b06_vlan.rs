//! None to four tags in every mixture, before everything that can follow, on every list of VLANs: the documented verdict.
//!
//! The documented verdict of the tags is computed here once more, from the list of tags the frame was made of.
use abi::counter::XdpCounter;
use anyhow::{Result, ensure};
use octroi_tests::{
    corpus::{
        Sample,
        layers::{Ext, IPV4, IPV6, Ip4, Ip6, Tag, frame, transport},
    },
    judge::{Judgement, Setting, Xdp, describe, twin_and_oracle},
    lab::{self, Need},
};

/// Tags that a frame may carry: two VLANs, each of both kinds, and priorities.
const TAGS: [Tag; 6] =
    [(0x8100, 100), (0x8100, 0x6064), (0x88a8, 100), (0x88a8, 200), (0x8100, 0xe000), (0x88a8, 0)];

/// Lists that an interface may be configured with.
fn settings() -> Vec<Setting> {
    vec![
        Setting::new("no VLAN", &[]),
        Setting::new("VLAN 100", &[100]),
        Setting::new("VLAN 200", &[200]),
        Setting::new("VLANs 200 and 100", &[200, 100]),
        Setting::new("VLAN 100 in 100", &[100, 100]),
    ]
}

/// Every list of at most four tags.
fn stacks() -> Vec<Vec<Tag>> {
    let mut stacks = vec![vec![]];
    let mut begin = 0;
    for _ in 0..4 {
        let end = stacks.len();
        for at in begin..end {
            for tag in TAGS {
                stacks.push([&stacks[at][..], &[tag]].concat());
            }
        }
        begin = end;
    }
    stacks
}

/// What follows the tags, and what is documented of it when they are right.
fn payloads() -> Vec<(&'static str, u16, Vec<u8>, Option<XdpCounter>)> {
    let udp = transport(17, 7, &[0x55; 18]);
    let chain = |exts: &[Ext]| Ip6::new(17).behind(exts).packet(&udp);
    vec![
        ("IPv4", IPV4, Ip4::new(17).packet(&udp), None),
        ("IPv4 with options", IPV4, Ip4 { options: vec![1; 8], ..Ip4::new(17) }.packet(&udp), None),
        ("IPv6", IPV6, chain(&[]), None),
        ("IPv6 with a chain", IPV6, chain(&[Ext::new(0, 8), Ext::new(60, 16), Ext::fragment(0)]), None),
        ("IPv6 with ESP", IPV6, chain(&[Ext::new(50, 8)]), Some(XdpCounter::PassExtHeader)),
        ("ARP", 0x0806, vec![0; 46], Some(XdpCounter::PassEthertype)),
    ]
}

/// What is documented of the tags.
fn tags_pass(tags: &[Tag], setting: &Setting) -> Option<XdpCounter> {
    let vids: Vec<u16> = tags.iter().map(|(_, tci)| tci & 0xfff).filter(|&vid| vid != 0).collect();
    let list = &setting.port.vlan[..usize::from(setting.port.tags)];
    (2 < tags.len() || vids != list).then_some(XdpCounter::PassVlan)
}

/// Calls `each` with every frame of the matrix, its tags, and what is documented of it.
fn for_each_frame(mut each: impl FnMut(&Sample, &[Tag], Option<XdpCounter>) -> Result<()>) -> Result<()> {
    for (name, ethertype, packet, documented) in payloads() {
        for tags in stacks() {
            let name = format!("{name} behind {tags:04x?}");
            each(&Sample { name, frame: frame(&tags, ethertype, &packet) }, &tags, documented)?;
        }
    }
    Ok(())
}

#[test]
fn b06_every_stack_of_tags_has_the_documented_verdict() -> Result<()> {
    for setting in settings() {
        let mut redirected = 0;
        for_each_frame(|sample, tags, documented| {
            let wanted = tags_pass(tags, &setting).or(documented);
            let judgement = twin_and_oracle(sample, &setting)?;
            let as_documented = match judgement {
                Judgement::Pass(reason) => wanted == Some(reason),
                Judgement::Redirect(meta) => {
                    wanted.is_none() && usize::from(meta.l3_off) == 14 + 4 * tags.len()
                }
            };
            redirected += usize::from(wanted.is_none());
            ensure!(as_documented, "{}{judgement:?}, documented {wanted:?}", describe(sample, &setting));
            Ok(())
        })?;
        // Four payloads; one stack at least has just these tags.
        ensure!(4 <= redirected, "{}: {redirected} frames redirected", setting.name);
    }
    Ok(())
}

#[test]
fn b06_a_tag_cut_in_half_is_a_bad_header_unless_it_is_the_third() -> Result<()> {
    for setting in settings() {
        for tags in stacks() {
            let whole = frame(&tags, IPV4, &[]);
            for at in 14..whole.len() {
                let complete = (at - 14) / 4;
                let wanted = if complete < 2 { XdpCounter::PassBadHeader } else { XdpCounter::PassVlan };
                let sample = Sample { name: format!("{tags:04x?} cut at {at}"), frame: whole[..at].to_vec() };
                let judgement = twin_and_oracle(&sample, &setting)?;
                let what = describe(&sample, &setting);
                ensure!(judgement == Judgement::Pass(wanted), "{what}{judgement:?}, documented {wanted:?}");
            }
        }
    }
    Ok(())
}

/// Frames between two readings of the counters.
const CHUNK: usize = 250;

#[test]
fn b06_the_xdp_object_agrees_on_tags_whole_and_cut() -> Result<()> {
    for setting in settings() {
        let Some(_lab) = lab::require("b06_xdp", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
        let mut judged = Vec::new();
        for_each_frame(|sample, tags, _| {
            // From inside the first tag to inside the network header, and the whole.
            for at in (14..14 + 4 * tags.len() + 4).chain([sample.frame.len()]) {
                let name = format!("{}, cut at {at}", sample.name);
                let cut = Sample { name, frame: sample.frame[..at].to_vec() };
                let judgement = twin_and_oracle(&cut, &setting)?;
                judged.push((cut, judgement));
            }
            Ok(())
        })?;
        let xdp = Xdp::load(setting)?;
        judged.chunks(CHUNK).try_for_each(|chunk| xdp.agrees(chunk))?;
    }
    Ok(())
}
