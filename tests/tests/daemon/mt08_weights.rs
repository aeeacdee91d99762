//! The weight of a policy reaches the engines: of two applications that always have more to send, each has its share.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, App, Config, PairOptions, Tap, Wrapper, process};

use crate::{
    NEEDS,
    f14_privileges::{USER, as_user, let_everybody_ask},
    hostile_rings::roomy,
    stacks::served_on,
};

/// Port of the application whose user has weight 3.
const HEAVY: u16 = 5001;
/// Port of root's, whose weight is 1.
const LIGHT: u16 = 5002;
/// Slots of their rings, filled to the last before anybody sends.
const SLOTS: usize = 512;
/// Bytes of a payload: so long that a visit ends by its share, and not by its 64 packets.
const PAYLOAD: usize = 1400;

#[test]
fn mt08_the_weight_of_a_policy_is_the_share_of_a_sender() -> Result<()> {
    let Some(_lab) = lab::require("mt08_the_weight_of_a_policy_is_the_share_of_a_sender", NEEDS)? else {
        return Ok(());
    };
    let more = format!("\n[[stack.policy]]\nuid = {USER}\nweight = 3\n");
    let mut served = served_on(PairOptions::default(), &Config { more, ..roomy() })?;
    let_everybody_ask(&served)?;
    let (home, end) = (served.daemon.home(), &served.pair.served);
    let mut heavy = App::with_slots(home, end, &as_user(USER), SLOTS as u32)?;
    let mut light = App::with_slots(home, end, &Wrapper::default(), SLOTS as u32)?;
    heavy.udp(HEAVY)?;
    light.udp(LIGHT)?;
    let packet = |port| Ok::<_, anyhow::Error>(served.load(port, 1, PAYLOAD).answer(0)?[14..].to_vec());
    let (of_heavy, of_light) = (packet(HEAVY)?, packet(LIGHT)?);
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    // Both rings are full before the engine looks: from then on what it takes is its choice alone.
    process::stop(served.daemon.pid())?;
    heavy.fill(&of_heavy)?;
    light.fill(&of_light)?;
    process::go_on(served.daemon.pid())?;
    let mut senders = Vec::new();
    while senders.len() < 2 * SLOTS {
        let frame = tap.receive(std::time::Instant::now() + std::time::Duration::from_secs(10))?;
        let frame = frame.with_context(|| format!("only {} packets came", senders.len()))?;
        senders.push(u16::from_be_bytes([frame[34], frame[35]]));
    }
    // While both wait, the light one has a third of what the heavy one has; no more than a visit beside it.
    let end = senders.iter().rposition(|&port| port == HEAVY).context("the heavy one sent nothing")?;
    let beside = senders[..end].iter().filter(|&&port| port == LIGHT).count();
    ensure!((SLOTS / 3).abs_diff(beside) <= 16, "{beside} packets beside {SLOTS}");
    let all = 2 * SLOTS as u64;
    served.drain()?.moved(&before, &[("submitted", all), ("transmitted", all)])?;
    drop((heavy, light));
    served.finish()
}
