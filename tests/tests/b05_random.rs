//! Damaged and random frames: the slow twin, the oracle and the XDP object must agree on all of them.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    corpus::{
        self, Sample,
        damage::{damaged, random},
        rng::Rng,
    },
    judge::{Judgement, Setting, Xdp, settings, twin_and_oracle},
    lab::{self, Need},
    scale::{B05_FRAMES, B05_SHRINKABLE, Seed},
};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

mod frames;

/// Frames between two readings of the counters.
const CHUNK: u64 = 250;

/// Makes `count` frames, judged in `setting`, and hands them on in chunks.
fn chunks(
    count: u64,
    setting: &Setting,
    rng: &mut Rng,
    mut each: impl FnMut(&[(Sample, Judgement)]) -> Result<()>,
) -> Result<()> {
    let corpus = corpus::all(Seed::get())?;
    let mut chunk = Vec::new();
    for n in 0..count {
        let (what, frame) =
            if rng.once_in(3) { ("random", random(rng)) } else { ("damaged", damaged(&corpus, rng)) };
        let sample = Sample { name: format!("{what} frame {n}"), frame };
        let judgement = twin_and_oracle(&sample, setting)?;
        chunk.push((sample, judgement));
        if chunk.len() as u64 == CHUNK || n + 1 == count {
            each(&chunk)?;
            chunk.clear();
        }
    }
    Ok(())
}

#[test]
fn b05_mt01_twin_and_oracle_agree_on_damage() -> Result<()> {
    let seed = Seed::get();
    let (mut rng, settings) = (Rng::new(seed), settings());
    let count = B05_FRAMES.count() / settings.len() as u64;
    let (mut frames, mut redirected) = (0, 0);
    for setting in settings {
        chunks(count, &setting, &mut rng, |chunk| {
            frames += chunk.len();
            redirected +=
                chunk.iter().filter(|(_, judgement)| matches!(judgement, Judgement::Redirect(_))).count();
            Ok(())
        })
        .with_context(|| seed.to_string())?;
    }
    // Damage that leaves nothing alive would test the first rule only.
    ensure!(frames / 100 < redirected, "of {frames} frames {redirected} were redirected");
    Ok(())
}

/// Frames for which the watch over a hanging test lasts.
const WATCH: u64 = 100_000;

#[test]
fn b05_mt01_the_xdp_object_agrees_on_damage() -> Result<()> {
    let seed = Seed::get();
    let (mut rng, settings) = (Rng::new(seed), settings());
    let count = B05_FRAMES.count() / settings.len() as u64;
    for setting in settings {
        for begin in (0..count).step_by(WATCH as usize) {
            let Some(_lab) = lab::require("b05_xdp", &[Need::Bpf, Need::AfXdp])? else { return Ok(()) };
            let xdp = Xdp::load(setting.clone())?;
            chunks(WATCH.min(count - begin), &setting, &mut rng, |chunk| xdp.agrees(chunk))
                .with_context(|| seed.to_string())?;
        }
    }
    Ok(())
}

#[test]
fn b05_mt01_twin_and_oracle_agree_on_frames_that_can_be_made_small() -> Result<()> {
    let (seed, settings) = (Seed::get(), settings());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.0.to_le_bytes());
    let config =
        Config { cases: B05_SHRINKABLE.count() as u32, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    runner
        .run(&frames::frame(), |frame| {
            let sample = Sample { name: "a frame built by proptest".into(), frame };
            for setting in &settings {
                let judged = twin_and_oracle(&sample, setting);
                judged.map_err(|error| TestCaseError::fail(error.to_string()))?;
            }
            Ok(())
        })
        .with_context(|| seed.to_string())
}
