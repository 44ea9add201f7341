//! Runs each fuzz target over its corpus and over a fixed number of mutations.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/checks/answer.rs"]
mod answer;
mod mutation;
#[path = "../fuzz/checks/request_head.rs"]
mod request_head;

use std::{fs, io, path::Path};

use mutation::Mutator;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
const SEED: u64 = 0x6f70_656e_6169;

fn files(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut files = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort_unstable();
    Ok(files)
}

/// The results of a target's check for each file of its corpus and for the mutations.
fn run<T>(target: &str, mutations: usize, check: impl Fn(&[u8]) -> T) -> Vec<T> {
    let files = files(&Path::new(FUZZ).join("corpus").join(target)).expect("a corpus");
    let corpus: Vec<_> = files
        .into_iter()
        .map(|file| fs::read(file).expect("a readable file"))
        .collect();
    let mut mutator = Mutator::new(&corpus, SEED);
    let of_corpus = corpus.iter().map(|bytes| check(bytes));
    let of_corpus: Vec<T> = of_corpus.collect();
    let mutated = (0..mutations).map(|_| check(&mutator.next_body()));
    of_corpus.into_iter().chain(mutated).collect()
}

#[test]
fn request_head() {
    const MUTATIONS: usize = 20_000;
    let verdicts = run("request_head", MUTATIONS, request_head::check);
    let count = |wanted| {
        verdicts
            .iter()
            .filter(|verdict| **verdict == wanted)
            .count()
    };
    let heads = count(request_head::Reading::Head);
    assert!(heads > MUTATIONS / 20, "too few are still JSON: {heads}");
    let refused = count(request_head::Reading::Refused);
    assert!(refused > MUTATIONS / 5, "too few are refused: {refused}");
}

#[test]
fn answer() {
    run("answer", 5_000, answer::check);
}

/// Every fuzz target has a test here.
#[test]
fn every_target_is_run() {
    let targets = files(&Path::new(FUZZ).join("fuzz_targets")).expect("targets");
    let names: Vec<_> = targets.iter().filter_map(|file| file.file_stem()).collect();
    assert_eq!(names, ["answer", "request_head"]);
}
