//! Every frame of the corpus, cut at every length of 0 to 128 and 1 and 4 bytes before its end.
use anyhow::Result;
use octroi_tests::{
    corpus::{self, Sample},
    judge::{Xdp, settings, twin_and_oracle},
    lab::{self, Need},
    scale::Seed,
};

mod views;

/// The cuts of one frame.
fn cuts(sample: &Sample) -> impl Iterator<Item = Sample> {
    let len = sample.frame.len();
    let beyond = [1, 4].into_iter().filter_map(move |less| len.checked_sub(less)).filter(|&at| 128 < at);
    (0..=len.min(128)).chain(beyond).map(|at| Sample {
        name: format!("{}, cut at {at}", sample.name),
        frame: sample.frame[..at].to_vec(),
    })
}

#[test]
fn b04_twin_and_oracle_agree_on_every_cut() -> Result<()> {
    for setting in settings() {
        for sample in corpus::all(Seed::get())? {
            for cut in cuts(&sample) {
                twin_and_oracle(&cut, &setting)?;
            }
        }
    }
    Ok(())
}

#[test]
fn b04_the_xdp_object_agrees_on_every_cut() -> Result<()> {
    for setting in settings() {
        // Once per setting: the watch over a hanging test begins anew with each.
        let Some(_lab) = lab::require("b04_xdp", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
        let xdp = Xdp::load(setting.clone())?;
        for sample in corpus::all(Seed::get())? {
            let judged =
                cuts(&sample).map(|cut| twin_and_oracle(&cut, &setting).map(|judgement| (cut, judgement)));
            xdp.agrees(&judged.collect::<Result<Vec<_>>>()?)?;
        }
    }
    Ok(())
}

/// Offsets at which some header of some frame of the corpus begins.
const BEGINS: [usize; 8] = [0, 14, 18, 22, 34, 38, 42, 54];

#[test]
fn b04_no_view_panics_on_any_cut() -> Result<()> {
    let mut values = 0;
    for sample in corpus::all(Seed::get())? {
        for cut in cuts(&sample) {
            let parts = BEGINS.iter().filter_map(|&at| cut.frame.get(at..));
            values += parts.map(views::read_as_everything).sum::<usize>();
        }
    }
    assert!(100_000 < values, "hardly anything was read: {values}");
    Ok(())
}
