//! A filter on an application's tuple judges what comes from another application as it judges what comes by a wire.
use abi::shm::desc::RxDesc;
use anyhow::{Result, ensure};
use client::control::ruler::Where;
use octroi_tests::lab::{self, Config, Tap, filter};

use super::{
    FIRST, SECOND, Two, V, VERSIONS, account, account_of_port, frames, moved, nothing_at, send,
    told_of_hairpin, within,
};
use crate::{NEEDS, stacks::served};

/// Another port of the application whose port [`SECOND`] has the filter.
const UNJUDGED: u16 = 5003;

#[test]
fn mt09_a_filter_on_a_tuple_judges_what_other_applications_send_to_it() -> Result<()> {
    let id = "mt09_a_filter_on_a_tuple_judges_what_other_applications_send_to_it";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let Two { mut one, mut other, numbers: [_, number] } = Two::new(&served)?;
    let unjudged = other.udp(UNJUDGED)?;
    let tap = Tap::open(&served.pair.peer)?;
    let at = Where::Target(format!("stack:{}.{number}", other.opened.slot).parse()?);
    filter::put(served.daemon.control(), &at, "Ethernet_IPv4 * => accept 77;\nEthernet_IPv6 * => reject 3;")?;
    let [accepted, rejected] = VERSIONS.map(|v| frames(&within(&served, v, FIRST, SECOND), 10));
    let (accepted, rejected) = (accepted?, rejected?);
    let untouched = frames(&within(&served, V::Six, FIRST, UNJUDGED), 5)?;

    let before = served.drain()?;
    for frames in [&rejected, &accepted, &untouched] {
        send(&mut one, frames)?;
    }
    let got = other.wait_received(15)?;
    let judged = accepted.into_iter().map(|frame| {
        let class = 77;
        (RxDesc { class, ..told_of_hairpin(&frame, V::Four, number) }, frame)
    });
    let others = untouched.into_iter().map(|frame| (told_of_hairpin(&frame, V::Six, unjudged), frame));
    let wanted: Vec<_> = judged.chain(others).collect();
    ensure!(got == wanted, "{got:02x?} is not {wanted:02x?}");
    let moves = [("submitted", 25), ("delivered", 15), ("ruler_reject", 10), ("ruler_from_zero", 20)];
    let reading = moved(&mut served, &before, &moves)?;
    account(&reading, &one, &[("tx_read", 25), ("tx_hairpin", 25)])?;
    account(&reading, &other, &[("rx_delivered", 15)])?;
    account_of_port(&reading, SECOND, &[("rx_delivered", 10)])?;
    let row = filter::take(served.daemon.control(), &at)?;
    let matched: Vec<_> = row.rules.iter().map(|rule| rule.matched).collect();
    ensure!((&matched[..], row.unmatched) == (&[10, 10], 0), "{row:?}");

    // Without the filter all of it comes, and has no class.
    let before = served.drain()?;
    send(&mut one, &rejected)?;
    let got = other.wait_received(10)?;
    let wanted: Vec<_> =
        rejected.into_iter().map(|frame| (told_of_hairpin(&frame, V::Six, number), frame)).collect();
    ensure!(got == wanted, "{got:02x?} is not {wanted:02x?}");
    moved(&mut served, &before, &[("submitted", 10), ("delivered", 10)])?;
    nothing_at(&tap)?;
    drop((one, other));
    served.finish()
}
