//! One application reads nothing: its backlog ends where its ring does, its drops are its own, and nobody else has any.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    lab::{self, Account, Listens, Reading, Tap, Victim},
    scale,
};

use crate::{
    NEEDS,
    hostile_rings::roomy,
    stacks::{app, served},
};

/// Its port.
const PORT: u16 = 5001;
/// Slots of its ring.
const SLOTS: u64 = 256;
/// Packets that come while it does not read.
const FLOOD: u64 = 1024;

#[test]
fn f09_an_application_that_reads_nothing_loses_its_own_packets_alone() -> Result<()> {
    let id = "f09_an_application_that_reads_nothing_loses_its_own_packets_alone";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&roomy())?;
    let mut victim = Victim::new(&served)?;
    let mut deaf = app(&served)?;
    deaf.udp(PORT)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    for round in 0..scale::F09_ROUNDS.count() {
        deaf.listen(Listens::No)?;
        let before = served.drain()?;
        let count = |reading: &Reading, name| reading.of_tuple(PORT).get(name).copied().unwrap_or(0);
        let came = |reading: &Reading| count(reading, "rx_delivered") + count(reading, "rx_ring_full");
        victim.beside(|| {
            for n in 0..FLOOD {
                tap.send(&load.frame(FLOOD * round + n)?)?;
                if n % 32 == 31 {
                    // Only so many under way: what is lost is lost at its ring and nowhere before.
                    let sofar = came(&before) + n + 1;
                    lab::until("they came", || Ok(came(&Reading::of(&mut served.daemon)?) == sofar))?;
                }
            }
            Ok(())
        })?;
        let flooded = served.drain()?;
        // It may have read one burst more before it became deaf.
        let held = count(&flooded, "rx_delivered") - count(&before, "rx_delivered");
        ensure!((SLOTS..=SLOTS + 64).contains(&held), "round {round}: its backlog is {held}");
        let lost = count(&flooded, "rx_ring_full") - count(&before, "rx_ring_full");
        ensure!(held + lost == FLOOD, "round {round}: {held} and {lost}");
        ensure!(flooded.sum("xsk_ring_full") + flooded.sum("xsk_no_buffer") == 0);
        // It listens again, and answers what its ring held.
        deaf.listen(Listens::Yes)?;
        lab::until("it has answered", || {
            let now = Reading::of(&mut served.daemon)?;
            Ok(count(&now, "tx_sent") == count(&now, "rx_delivered"))
        })
        .with_context(|| format!("round {round}"))?;
    }
    let reading = served.drain()?;
    victim.unharmed(&reading)?;
    let books: Account<'_> = reading.of_tuple(PORT);
    ensure!(books.len() == 4 && books["tx_read"] == books["tx_sent"], "{books:?}");
    drop((victim, deaf));
    served.finish()
}
