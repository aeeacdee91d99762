//! An application that writes whatever comes to its mind into all the memory it shares, beside one that must not notice.
use std::sync::atomic::Ordering;

use abi::shm::{layout::State, memory::Writable as _};
use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    corpus::rng::Rng,
    lab::{self, Footprint, Hostile, Victim},
    scale::{self, Seed},
};

use crate::{NEEDS, hostile_rings::roomy, stacks::served};

/// The writer's port.
const PORT: u16 = 5001;

/// Writes between two looks at the clock of a test.
const ROUND: u64 = 250_000;

/// Writes of one session before its indices become a target too.
const GENTLE: usize = 2_000;
/// Writes after that; most often the first few end the session.
const WILD: usize = 500;

#[test]
fn f12_random_writes_over_all_that_is_shared_end_the_writer_and_nobody_else() -> Result<()> {
    let id = "f12_random_writes_over_all_that_is_shared_end_the_writer_and_nobody_else";
    let (writes, seed) = (scale::F12_WRITES.count(), Seed::get());
    let mut rng = Rng::new(seed);
    for round in 0..writes.div_ceil(ROUND) {
        let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
        written(&mut rng, ROUND.min(writes - round * ROUND))
            .with_context(|| format!("{seed}, round {round}"))?;
    }
    Ok(())
}

fn written(rng: &mut Rng, writes: u64) -> Result<()> {
    let mut served = served(&roomy())?;
    let mut victim = Victim::new(&served)?;
    let packets: Vec<Vec<u8>> = (0..4)
        .map(|n| Ok(served.load(if n == 3 { 22 } else { PORT }, 2, 100).answer(n)?[14..].to_vec()))
        .collect::<Result<_>>()?;
    let (mut done, mut ended) = (0, 0_u64);
    let mut before = None;
    while done < writes {
        victim.beside(|| {
            for _ in 0..10 {
                let hostile = Hostile::open(served.daemon.home())?;
                done += session(hostile, rng, &packets)?;
                ended += 1;
            }
            Ok(())
        })?;
        // A few to warm up: what allocators keep.
        before.get_or_insert(Footprint::of(served.daemon.pid())?);
    }
    let reading = served.drain()?;
    victim.unharmed(&reading)?;
    let books = reading.of_ended();
    ensure!(books.get("violation") == Some(&ended), "{ended} sessions were ended: {books:?}");
    ensure!(books.contains_key("tx_desc") && books.contains_key("tx_sent"), "{books:?}");
    if let Some(before) = before {
        lab::until("their descriptors are closed", || {
            Ok(Footprint::of(served.daemon.pid())?.descriptors <= before.descriptors)
        })?;
        before.covers(&Footprint::of(served.daemon.pid())?, 4096)?;
    }
    drop(victim);
    served.finish()
}

/// One session's writes: how many.
fn session(mut hostile: Hostile, rng: &mut Rng, packets: &[Vec<u8>]) -> Result<u64> {
    lab::until("the port is free", || Ok(hostile.udp(PORT).is_ok()))?;
    let size = hostile.regions.shape.up_size();
    let (slots, first) = (hostile.slots(), hostile.up_at().descriptor(0));
    // Packets that could be sent, so that what is spoilt is now and then only a little spoilt.
    (0..slots).for_each(|slot| hostile.put(slot, &rng.pick(packets).clone()));
    let mut prod = 0_u32;
    for n in 0..GENTLE {
        match rng.below(4) {
            0 => hostile.describe(
                slot(rng, slots),
                [rng.next_u64() >> rng.below(64), rng.next_u64() >> rng.below(64)],
            ),
            1 => hostile.put(slot(rng, slots), &rng.pick(packets).clone()),
            2 => hostile.store(first + rng.below((size - first) / 4) * 4, rng.next_u64() as u32),
            _ => {
                let at = hostile.up_at().buffer(slot(rng, slots)) + rng.below(64);
                hostile.regions.up.copy_in(at, &[rng.byte()]);
            }
        }
        if n % 50 == 49 {
            // As far as it may: descriptors are read, whatever they say now.
            let room = slots - prod.wrapping_sub(hostile.taken());
            prod = prod.wrapping_add(rng.below(room as usize + 1) as u32);
            hostile.claim(prod);
        }
    }
    hostile.wait_taken(prod)?;
    ensure!(hostile.state() == State::Live, "it had kept the rules of its indices");
    let control = hostile.up_at().tx_prod();
    for _ in 0..WILD {
        let word = rng.next_u64() as u32 >> rng.below(32);
        match rng.below(4) {
            0 => hostile.store(rng.below(size / 4) * 4, word),
            1 => hostile.store(control + rng.below(4096 / 4) * 4, word),
            2 => hostile.describe(slot(rng, slots), [rng.next_u64(), rng.next_u64()]),
            _ => hostile.regions.up.store_u32(control, word, Ordering::Release),
        }
        hostile.ring();
    }
    // Whatever it has claimed by now, this is further than a ring is long.
    hostile.claim(hostile.taken().wrapping_add(1 << 20));
    hostile.wait_revoked()?;
    Ok((GENTLE + WILD) as u64)
}

fn slot(rng: &mut Rng, slots: u32) -> u32 {
    rng.below(slots as usize) as u32
}
