//! Packs that are killed or stopped, and go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::report::Event;
use zfnet::data::sources::{self, ImageFolder};
use zfnet::error::Error;

use super::cifar::batch;
use super::{Files, HOLD_OUT, options, png, same, says};

/// Records in the standard files: four shards of 1024 and a rest for training.
const TRAIN: usize = 4600;

/// A CIFAR-10 that takes some seconds to pack at 96 px: 28 MB a shard.
fn cifar(dir: &Path) {
    let mut files = Files::default();
    files.add("batches.meta.txt", "ant\nbee\ncat\n").add("test_batch.bin", batch(TRAIN, 30, 3, 0));
    for b in 0..5 {
        files.add(format!("data_batch_{}.bin", b + 1), batch(b * TRAIN / 5, TRAIN / 5, 3, 0));
    }
    files.folder(dir);
}

fn command(from: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zfnet"));
    command.args(["pack", "cifar10"]).arg(from).arg("-o").arg(out).args(["--size", "96", "--json"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs to the end; gives images that stood there before, and stderr.
fn finish(command: &mut Command) -> (u64, String) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (summary["continued"].as_u64().unwrap(), stderr)
}

/// Waits until the journal has the first shard and the second is in the making.
fn under_way(child: &mut Child, out: &Path) -> PathBuf {
    let name = format!(".{}.packing", out.file_name().unwrap().to_str().unwrap());
    let working = out.with_file_name(name);
    while !working.join("journal.safetensors").exists() || !working.join("train/shard-00001.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        sleep(Duration::from_millis(1));
    }
    working
}

fn killed(command: &mut Command, out: &Path) -> PathBuf {
    let mut child = command.spawn().unwrap();
    let working = under_way(&mut child, out);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(working.exists() && !out.exists());
    working
}

#[test]
fn a_killed_pack_goes_on_and_ends_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let (from, whole, out) = (temp.path().join("in"), temp.path().join("whole"), temp.path().join("out"));
    cifar(&from);
    assert_eq!(finish(&mut command(&from, &whole)).0, 0);
    killed(&mut command(&from, &out), &out);
    let (continued, stderr) = finish(&mut command(&from, &out));
    assert!(continued >= 1024 && continued % 1024 == 0, "{continued} images stood there");
    says(&stderr, &["going on behind"]);
    same(&whole, &out);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 3, "a working folder was left behind");

    // Other settings, another source, and a damaged shard: each time afresh, and the same as without a past.
    fs::remove_dir_all(&out).unwrap();
    let working = killed(&mut command(&from, &out), &out);
    let shard = working.join("train/shard-00000.safetensors");
    fs::write(&shard, &fs::read(&shard).unwrap()[1..]).unwrap();
    let (continued, stderr) = finish(&mut command(&from, &out));
    assert_eq!(continued, 0);
    says(&stderr, &["not continued", "shard-00000.safetensors is not whole"]);
    same(&whole, &out);

    fs::remove_dir_all(&out).unwrap();
    killed(&mut command(&from, &out), &out);
    fs::write(from.join("test_batch.bin"), batch(TRAIN, 29, 3, 0)).unwrap();
    let (continued, stderr) = finish(&mut command(&from, &out));
    assert_eq!(continued, 0);
    says(&stderr, &["not continued", "settings or its source"]);
    assert_eq!(Dataset::open(&out).unwrap().split(Split::Val).len(), 29);
}

#[test]
fn ctrl_c_leaves_what_a_later_pack_goes_on_from() {
    let temp = tempfile::tempdir().unwrap();
    let (from, whole, out) = (temp.path().join("in"), temp.path().join("whole"), temp.path().join("out"));
    cifar(&from);
    finish(&mut command(&from, &whole));
    let mut child = command(&from, &out).stderr(Stdio::piped()).spawn().unwrap();
    under_way(&mut child, &out);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    says(&String::from_utf8(ended.stderr).unwrap(), &["interrupted", "of 4630 images", "same command again"]);
    assert!(!out.exists());
    assert!(finish(&mut command(&from, &out)).0 >= 1024);
    same(&whole, &out);
}

/// 1100 pictures of two classes for training, of which two cannot be decoded, and two to judge by.
fn pictures(dir: &Path) -> ImageFolder {
    let mut files = Files::default();
    for i in 0..1100 {
        let class = ["ant", "bee"][i / 550];
        let bytes = if i == 7 || i == 1090 { b"no image".to_vec() } else { png(i % 40) };
        files.add(format!("train/{class}/{i:04}.png"), bytes);
    }
    files.add("val/ant/1.png", png(1)).add("val/bee/2.png", png(2));
    files.folder(dir);
    ImageFolder { dir: dir.to_path_buf(), hold_out: HOLD_OUT }
}

#[test]
fn a_stopped_pack_remembers_what_it_left_out() {
    let temp = tempfile::tempdir().unwrap();
    let (whole, out) = (temp.path().join("whole"), temp.path().join("out"));
    let source = pictures(&temp.path().join("in"));
    let run = |out: &Path, stop_at: usize| {
        let (stop, seen) = (AtomicBool::new(stop_at == 0), AtomicUsize::new(0));
        let listener = |event: Event| {
            if matches!(event, Event::Image) && seen.fetch_add(1, Ordering::SeqCst) + 1 == stop_at {
                stop.store(true, Ordering::SeqCst);
            }
        };
        sources::pack(&source, &options(), out, &listener, &stop)
    };
    let uninterrupted = run(&whole, usize::MAX).unwrap();
    assert_eq!((uninterrupted.skipped(), uninterrupted.continued), (2, 0));

    let at_once = run(&out, 0).map(|_| ()).unwrap_err();
    assert!(matches!(at_once, Error::Interrupted(_)), "{at_once}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "nothing was done, and something was left behind");
    let later = run(&out, 1050).map(|_| ()).unwrap_err();
    says(&later.to_string(), &["1024 of 1102 images"]);
    let summary = run(&out, usize::MAX).unwrap();
    assert_eq!(summary.skipped, uninterrupted.skipped);
    assert_eq!((summary.images(), summary.continued), (1100, 1023));
    same(&whole, &out);
}

#[test]
fn an_error_in_the_middle_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    let source = pictures(&dir);
    fs::write(dir.join("val/bee/2.png"), "no image").unwrap();
    let stop = AtomicBool::new(false);
    let error = sources::pack(&source, &options(), &out, &|_| {}, &stop).map(|_| ()).unwrap_err().to_string();
    says(&error, &["class \"bee\" in val"]);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}
