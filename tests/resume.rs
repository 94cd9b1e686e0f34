//! A run that is stopped, in whatever way, and resumed is the run that was never stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use zfnet::data::packed::Dataset;
use zfnet::error::{Error, Result};
use zfnet::train::config::Config;
use zfnet::train::metrics::{self, EpochMetrics};
use zfnet::train::observer::{Observer, Step};
use zfnet::train::run::Run;
use zfnet::train::trainer::{Options, Summary};

use crate::fixture;

/// Notes the losses, and asks to stop after some updates or in a validation.
#[derive(Default)]
pub struct Watcher {
    pub losses: Vec<(u64, u64)>,
    pub stop_after: Option<u64>,
    pub stop_in_validation: bool,
    pub stop: bool,
}

impl Observer for Watcher {
    fn step(&mut self, step: &Step) {
        self.losses.push((step.step, step.batch_loss.to_bits()));
        self.stop |= Some(self.losses.len() as u64) == self.stop_after;
    }

    fn validating(&mut self, _done: usize, _images: usize) {
        self.stop |= self.stop_in_validation;
    }

    fn stop(&mut self) -> bool {
        self.stop
    }
}

fn start(data: &Arc<Dataset>, out: &Path, options: &Options, watcher: &mut Watcher) -> Result<Summary> {
    fixture::train(data, out, &fixture::config(), options, watcher)
}

/// What must not depend on how often a run was stopped: everything but the clock.
fn timeless(out: &Path) -> Vec<EpochMetrics> {
    let lines = metrics::read(&out.join("metrics.jsonl")).unwrap();
    lines.into_iter().map(|line| EpochMetrics { seconds: 0.0, images_per_s: 0.0, ..line }).collect()
}

#[track_caller]
fn assert_same_run(out: &Path, reference: &Path) {
    assert_eq!(timeless(out), timeless(reference));
    for name in ["config.toml", "last.safetensors", "best.safetensors", "epoch-002.safetensors"] {
        let same = fs::read(out.join(name)).unwrap() == fs::read(reference.join(name)).unwrap();
        assert!(same, "{name} differs");
    }
}

fn keeping() -> Options {
    Options { keep_epochs: vec![2], ..fixture::options() }
}

#[test]
fn interrupted_after_any_update_and_resumed_is_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let reference = folder.path().join("reference");
    let mut whole = Watcher::default();
    let summary = start(&data, &reference, &keeping(), &mut whole).unwrap();
    assert_eq!((summary.epochs, summary.steps), (4, 4 * fixture::STEPS_PER_EPOCH));
    assert_eq!(whole.losses.len() as u64, summary.steps);
    assert_eq!(timeless(&reference).len(), 4);

    // Within an epoch, at its last update, and at the end of the run.
    for k in [1, 2, 3, 5, 9, 12] {
        let out = folder.path().join(format!("after-{k}"));
        let mut first = Watcher { stop_after: Some(k), ..Watcher::default() };
        let error = start(&data, &out, &keeping(), &mut first).unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
        let mut second = Watcher::default();
        assert_eq!(fixture::resume(&data, &out, &keeping(), &mut second).unwrap(), summary);
        assert_eq!([first.losses, second.losses].concat(), whole.losses, "losses when stopped after {k}");
        assert_same_run(&out, &reference);
    }
}

#[test]
fn interrupted_in_validation_resumes_with_the_validation() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let (reference, out) = (folder.path().join("reference"), folder.path().join("out"));
    start(&data, &reference, &keeping(), &mut Watcher::default()).unwrap();
    let mut watcher = Watcher { stop_in_validation: true, ..Watcher::default() };
    let error = start(&data, &out, &keeping(), &mut watcher).unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
    assert_eq!(watcher.losses.len() as u64, fixture::STEPS_PER_EPOCH);
    assert_eq!(timeless(&out), []);
    fixture::resume(&data, &out, &keeping(), &mut Watcher::default()).unwrap();
    assert_same_run(&out, &reference);
}

/// What a kill leaves: the files of some instant. Here, of every instant at
/// which a checkpoint had just been written, one after each update.
#[test]
fn killed_and_resumed_from_a_checkpoint_within_an_epoch_is_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let reference = folder.path().join("reference");
    start(&data, &reference, &keeping(), &mut Watcher::default()).unwrap();

    /// Copies the folder before each update, when the last one's checkpoint stands.
    struct Snapshots<'a>(&'a Path, u64);
    impl Observer for Snapshots<'_> {
        fn step(&mut self, step: &Step) {
            self.1 = step.step;
            let to = self.0.with_file_name(format!("snapshot-{}", step.step));
            fs::create_dir(&to).unwrap();
            for entry in fs::read_dir(self.0).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let out = folder.path().join("out");
    let options = Options { save_every: Duration::ZERO, ..keeping() };
    let mut snapshots = Snapshots(&out, 0);
    fixture::train(&data, &out, &fixture::config(), &options, &mut snapshots).unwrap();
    assert_same_run(&out, &reference);

    for step in 1..=snapshots.1 {
        let killed = folder.path().join(format!("snapshot-{step}"));
        // A line that the kill cut in two, and one whose checkpoint was not yet written.
        let torn = "{\"epoch\":9,\"st";
        let metrics = killed.join("metrics.jsonl");
        let lines = fs::read_to_string(&metrics).unwrap_or_default();
        fs::write(&metrics, lines + torn).unwrap();
        let mut watcher = Watcher::default();
        fixture::resume(&data, &killed, &keeping(), &mut watcher).unwrap();
        assert_eq!(watcher.losses.first().map(|l| l.0), Some(step), "the update that was lost comes first");
        assert_same_run(&killed, &reference);
    }
}

#[test]
fn resumed_with_other_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("out");
    start(&data, &out, &fixture::options(), &mut Watcher::default()).unwrap();
    let other = fixture::pack_with(&folder.path().join("other"), &["red", "green", "yellow"], 4);
    let message = fixture::resume(&other, &out, &fixture::options(), &mut Watcher::default()).unwrap_err().to_string();
    assert!(message.contains("yellow") && message.contains("blue"), "{message}");
    let other = fixture::pack_with(&folder.path().join("another"), &fixture::CLASSES, 4);
    let message = fixture::resume(&other, &out, &fixture::options(), &mut Watcher::default()).unwrap_err().to_string();
    assert!(message.contains("mean image"), "{message}");
}

#[test]
fn resumed_with_an_edited_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("out");
    start(&data, &out, &fixture::options(), &mut Watcher::default()).unwrap();
    let path = out.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("epochs = 4", "epochs = 5")).unwrap();
    let message = fixture::resume(&data, &out, &fixture::options(), &mut Watcher::default()).unwrap_err().to_string();
    assert!(message.contains("config.toml") && message.contains("line"), "{message}");
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("out");
    start(&data, &out, &fixture::options(), &mut Watcher::default()).unwrap();
    let last = out.join("last.safetensors");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let message = fixture::resume(&data, &out, &fixture::options(), &mut Watcher::default()).unwrap_err().to_string();
    assert!(message.contains("last.safetensors"), "{message}");
}

#[test]
fn a_finished_run_resumes_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("out");
    let summary = start(&data, &out, &keeping(), &mut Watcher::default()).unwrap();
    let before = fs::read(out.join("last.safetensors")).unwrap();
    let mut watcher = Watcher::default();
    assert_eq!(fixture::resume(&data, &out, &keeping(), &mut watcher).unwrap(), summary);
    assert!(watcher.losses.is_empty());
    assert!(fs::read(out.join("last.safetensors")).unwrap() == before);
}

/// Goes on in `out` by the program, with a checkpoint after every update.
fn program(folder: &Path, out: &Path) -> Command {
    let mut command =
        fixture::zfnet(["train", "--resume", "--save-every", "0", "--keep-epochs", "2", "--threads", "1"]);
    command.arg("--data").arg(folder.join("data")).arg("--out").arg(out);
    command
}

/// A run long enough to be caught in the act, and the same run undisturbed.
#[cfg(unix)]
fn long_run(folder: &Path) -> (Arc<Dataset>, Config, PathBuf) {
    let data = fixture::pack(folder);
    let text = fixture::CONFIG.replace("epochs = 4", "epochs = 40");
    let config = Config::parse("long", &text).unwrap();
    let reference = folder.join("reference");
    fixture::train(&data, &reference, &config, &keeping(), &mut Watcher::default()).unwrap();
    (data, config, reference)
}

/// Waits until the run in `out` has `epochs` epochs behind it, or has ended.
#[cfg(unix)]
fn wait_for(child: &mut Child, out: &Path, epochs: usize) {
    let lines = || fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
    while lines() < epochs && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn the_program_killed_at_any_instant_resumes_to_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let (_data, config, reference) = long_run(folder.path());
    let out = folder.path().join("out");
    drop(Run::create(&out, &config.to_toml()).unwrap());
    let mut kills = 0;
    // Longer and longer, so that a slow machine gets somewhere too.
    let mut patience = Duration::from_millis(8);
    for attempt in 0.. {
        let mut child = program(folder.path(), &out).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // Anywhere: while it starts, reads, computes, writes or renames.
        std::thread::sleep(patience);
        patience = patience.mul_f64(1.1);
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        if child.wait().unwrap().code() == Some(0) {
            break;
        }
        assert!(attempt < 100, "no attempt gets to the end");
    }
    assert!(kills >= 3, "killed {kills} times: the run is too short for this test");
    assert_same_run(&out, &reference);
}

#[cfg(unix)]
#[test]
fn the_program_interrupted_saves_and_says_130() {
    let folder = tempfile::tempdir().unwrap();
    let (_data, config, reference) = long_run(folder.path());
    let out = folder.path().join("out");
    drop(Run::create(&out, &config.to_toml()).unwrap());
    let child = program(folder.path(), &out).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = child.unwrap();
    wait_for(&mut child, &out, 3);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");
    let log = fs::read_to_string(out.join("log.txt")).unwrap();
    assert!(log.contains("interrupted"), "{log}");
    assert!(timeless(&out).len() < 40, "the run was over before the signal came");

    let (status, _, stderr) = fixture::outcome(&mut program(folder.path(), &out));
    assert_eq!(status, Some(0), "{stderr}");
    assert_same_run(&out, &reference);
}

/// A disk that fills up in the middle of a checkpoint: the error names the file,
/// the last checkpoint stands, and with room again the run goes on from it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_no_checkpoint() {
    /// Puts a device that is always full in the way of the next checkpoint.
    struct FillDisk(PathBuf);
    impl Observer for FillDisk {
        fn step(&mut self, step: &Step) {
            if step.step == 4 {
                std::os::unix::fs::symlink("/dev/full", &self.0).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let (reference, out) = (folder.path().join("reference"), folder.path().join("out"));
    start(&data, &reference, &keeping(), &mut Watcher::default()).unwrap();
    let mut fill = FillDisk(out.join("last.safetensors.tmp"));
    let options = Options { save_every: Duration::ZERO, ..keeping() };
    let error = fixture::train(&data, &out, &fixture::config(), &options, &mut fill).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("last.safetensors.tmp"), "{error}");
    let mut watcher = Watcher::default();
    fixture::resume(&data, &out, &keeping(), &mut watcher).unwrap();
    assert_eq!(watcher.losses[0].0, 4, "the update whose checkpoint was lost is made again");
    assert_same_run(&out, &reference);
}

/// The same from outside: no file may grow beyond 4 KiB.
#[cfg(unix)]
#[test]
fn the_program_on_a_full_disk_names_the_file_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture::pack(folder.path());
    let out = folder.path().join("out");
    let mut first = Watcher { stop_after: Some(1), ..Watcher::default() };
    start(&data, &out, &keeping(), &mut first).unwrap_err();
    let before = fs::read(out.join("last.safetensors")).unwrap();
    assert!(before.len() > 4096, "the limit below stops nothing");
    let resume = program(folder.path(), &out);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(resume.get_program())
        .args(resume.get_args());
    let (status, _, stderr) = fixture::outcome(&mut limited);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("last.safetensors.tmp"), "{stderr}");
    assert!(fs::read(out.join("last.safetensors")).unwrap() == before);
    assert!(!out.join("last.safetensors.tmp").exists());
}
