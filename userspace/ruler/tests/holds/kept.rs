//! Inputs that fuzzing found and that are kept, and a bounded number that are made from them and from nothing.
//!
//! It makes the same inputs each time, and names the one that breaks a property.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The longest input that is made; what a program needs is less.
pub(crate) const BYTES_MAX: u64 = 600;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Bytes of no meaning.
pub(crate) fn bytes(number: u64, length: u64) -> Vec<u8> {
    let mut random = Random(number);
    (0..length).map(|_| random.byte()).collect()
}

/// The inputs that are kept for a target, in order of their names.
fn kept(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let directory = above.map(|path| path.join("fuzz/regressions").join(target)).find(|path| path.is_dir());
    let files = fs::read_dir(directory.unwrap_or_else(|| panic!("nothing is kept for {target}"))).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing is kept for {target}");
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// All that is kept for a target, and `more` inputs beside, made from those or of no meaning; each with its name.
pub(crate) fn inputs(target: &str, more: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    let kept = kept(target);
    let names: Vec<_> =
        kept.iter().map(|(path, input)| (path.display().to_string(), input.clone())).collect();
    let made = (0..more).map(move |number| {
        let mut random = Random(!number);
        let mut input = match random.below(2) {
            0 => kept[random.below(kept.len())].1.clone(),
            _ => bytes(number, random.next() % BYTES_MAX),
        };
        for _ in 0..random.below(8) {
            if !input.is_empty() {
                let at = random.below(input.len());
                input[at] = random.byte();
            }
        }
        (format!("input {number} of {target}"), input)
    });
    names.into_iter().chain(made)
}

/// A property of a target holds for them.
#[allow(dead_code, reason = "a property that needs the kernel has its own way to say what it lacks")]
pub(crate) fn check(target: &str, more: u32, holds: fn(&[u8])) {
    for (name, input) in inputs(target, u64::from(more)) {
        println!("{name}");
        holds(&input);
    }
}
