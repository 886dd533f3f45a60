//! Replays what fuzzing found worth keeping, and holds the list of targets and the corpora together.
#![allow(clippy::expect_used)]

use std::{collections::BTreeSet, fs, path::Path};

use rekeyd_fuzz::{TARGETS, corpus};

#[test]
fn t114_no_kept_input_breaks_its_parser() {
    for target in TARGETS {
        let inputs = corpus::read(&corpus::file(target.name)).expect(target.name);
        assert!(inputs.len() >= 10, "{} has next to no corpus: tests/fuzz/run {} 60", target.name, target.name);
        for input in inputs {
            println!("{}: {}", target.name, input.escape_ascii());
            (target.hold)(&input);
        }
    }
}

#[test]
fn tidy_each_target_has_a_corpus_and_each_corpus_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let names = fs::read_dir(folder).expect("the corpora").map(|entry| entry.expect("an entry").file_name());
    let corpora: BTreeSet<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert_eq!(corpora, TARGETS.iter().map(|target| format!("{}.txt", target.name)).collect());
}
