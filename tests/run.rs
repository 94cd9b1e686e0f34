//! The folder of a run: who may use it, and what is in `metrics.jsonl` after a kill.

use std::fs;

use zfnet::error::Error;
use zfnet::train::metrics::{self, EpochMetrics};
use zfnet::train::run::Run;

fn metrics_of(epoch: u64) -> EpochMetrics {
    EpochMetrics {
        epoch,
        step: 10 * epoch,
        train_loss: 0.1 + 0.2,
        train_top1: 1.0 / 3.0,
        val_loss: Some(2.5),
        val_top1: Some(0.25),
        val_top5: None,
        lr: 1e-2,
        images_per_s: 123.4,
        seconds: 5.0,
    }
}

fn usage(result: Result<Run, Error>) -> String {
    match result {
        Err(error @ Error::Usage(_)) => error.to_string(),
        Err(other) => panic!("expected a usage error, got {other}"),
        Ok(_) => panic!("expected a usage error"),
    }
}

/// A folder that was there before keeps what it holds of others; a run with a checkpoint stays.
#[test]
fn a_run_that_came_to_nothing_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for _ in 0..2 {
        Run::create(&out, "").unwrap().withdraw().unwrap();
        assert!(!out.exists());
    }
    let run = Run::create(&out, "").unwrap();
    fs::write(run.last(), "a checkpoint").unwrap();
    run.withdraw().unwrap();
    assert!(out.join("config.toml").exists() && out.join("last.safetensors").exists());
}

#[test]
fn metrics_lines_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    assert_eq!(metrics::read(&path).unwrap(), []);
    for epoch in 1..=3 {
        metrics::append(&path, &metrics_of(epoch)).unwrap();
    }
    assert_eq!(metrics::read(&path).unwrap(), [1, 2, 3].map(metrics_of));
}

#[test]
fn truncation_drops_later_epochs_and_half_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    for epoch in 1..=3 {
        metrics::append(&path, &metrics_of(epoch)).unwrap();
    }
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"epoch\":4,\"st")).unwrap();
    metrics::truncate(&path, 3).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    metrics::truncate(&path, 1).unwrap();
    assert_eq!(metrics::read(&path).unwrap(), [metrics_of(1)]);
}

#[test]
fn a_line_that_is_no_metrics_is_refused_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    metrics::append(&path, &metrics_of(1)).unwrap();
    fs::write(&path, fs::read_to_string(&path).unwrap() + "{}\n").unwrap();
    let message = metrics::read(&path).unwrap_err().to_string();
    assert!(message.contains("metrics.jsonl") && message.contains("line 2"), "{message}");
}

#[test]
fn a_run_is_refused_a_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep").join("run");
    drop(Run::create(&out, "a = 1\n").unwrap());
    assert!(usage(Run::create(&out, "a = 1\n")).contains("--resume"));
}

#[test]
fn a_folder_with_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let message = usage(Run::create(folder.path(), "a = 1\n"));
    assert!(message.contains("thesis.tex"), "{message}");
    assert!(!folder.path().join("config.toml").exists());
}

#[test]
fn what_a_kill_before_the_configuration_left_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lock", "log.txt", "config.toml.tmp"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    Run::create(folder.path(), "a = 1\n").unwrap();
}

#[test]
fn two_processes_cannot_train_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let first = Run::create(&out, &crate::fixture::config().to_toml()).unwrap();
    let second = || Run::resume(&out).map(|resumed| resumed.run);
    assert!(usage(second()).contains("another process"));
    drop(first);
    second().unwrap();
}

#[test]
fn there_must_be_a_run_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    assert!(usage(Run::resume(folder.path()).map(|resumed| resumed.run)).contains("without --resume"));
}

#[test]
fn a_path_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = match Run::create(&file.join("run"), "a = 1\n") {
        Err(error) => error.to_string(),
        Ok(_) => panic!("made a folder inside a file"),
    };
    assert!(message.contains("file/run"), "{message}");
}
