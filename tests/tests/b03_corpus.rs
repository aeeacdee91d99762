//! The corpus, judged by the slow twin on `wire`, by the oracle, by the XDP object, and by the XDP object on a veth.
use std::collections::BTreeMap;

use abi::counter::{Role, XdpCounter};
use anyhow::{Result, ensure};
use octroi_tests::{
    corpus,
    judge::{Judgement, Setting, Xdp, counter_of, describe, settings, twin_and_oracle},
    lab::{self, Need},
    scale::Seed,
};

mod wire_judge;

/// Counters that steering moves only for reasons that no frame has: sockets, classes, a broken chain.
const NOT_OF_A_FRAME: [XdpCounter; 3] =
    [XdpCounter::PassNoSocket, XdpCounter::JumpMissed, XdpCounter::RulerPass];

#[test]
fn b03_twin_and_oracle_agree_on_the_corpus_and_it_reaches_every_rule() -> Result<()> {
    let corpus = corpus::all(Seed::get())?;
    let mut reached = BTreeMap::<u32, usize>::new();
    for setting in settings() {
        for sample in &corpus {
            let judgement = twin_and_oracle(sample, &setting)?;
            *reached.entry(counter_of(&judgement) as u32).or_default() += 1;
        }
    }
    for counter in XdpCounter::ALL {
        let of_a_frame = matches!(counter.desc().role, Role::Passed | Role::Forwarded);
        let wanted = of_a_frame && !NOT_OF_A_FRAME.contains(&counter);
        ensure!(wanted == reached.contains_key(&(counter as u32)), "{counter:?} in {reached:?}");
    }
    Ok(())
}

#[test]
fn b03_the_xdp_object_agrees_on_the_corpus() -> Result<()> {
    let corpus = corpus::all(Seed::get())?;
    for setting in settings() {
        let Some(_lab) = lab::require("b03_xdp", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
        let xdp = Xdp::load(setting.clone())?;
        for sample in corpus.iter().filter(|sample| Xdp::takes(&sample.frame)) {
            let others = twin_and_oracle(sample, &setting)?;
            let xdp = xdp.judge(&sample.frame)?;
            ensure!(xdp == others, "{}XDP    {xdp:?}\nothers {others:?}", describe(sample, &setting));
        }
    }
    Ok(())
}

#[test]
fn b03_a_veth_agrees_on_the_corpus() -> Result<()> {
    let needs = [Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];
    let corpus = corpus::all(Seed::get())?;
    for setting in settings() {
        let Some(_lab) = lab::require("b03_veth", &needs)? else { return Ok(()) };
        let mut veth = wire_judge::Veth::new(setting.clone())?;
        for sample in corpus.iter().filter(|sample| wire_judge::Veth::takes(&sample.frame)) {
            let others = twin_and_oracle(sample, &setting)?;
            let veth = veth.judge(&sample.frame)?;
            ensure!(veth == others, "{}veth   {veth:?}\nothers {others:?}", describe(sample, &setting));
        }
    }
    Ok(())
}

#[test]
fn b03_a_judge_that_errs_is_found_out() -> Result<()> {
    let Some(_lab) = lab::require("b03_errs", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
    let xdp = Xdp::load(Setting::new("untagged", &[]))?;
    let sample = corpus::written()?.remove(0);
    let truth = xdp.judge(&sample.frame)?;
    xdp.agrees(&[(sample.clone(), truth)])?;
    for lie in [Judgement::Pass(XdpCounter::PassIcmp), Judgement::Redirect(Default::default())] {
        let error = xdp.agrees(&[(sample.clone(), truth), (sample.clone(), lie)]).err();
        ensure!(error.is_some_and(|error| error.to_string().contains(&sample.name)), "{lie:?} was believed");
    }
    Ok(())
}
