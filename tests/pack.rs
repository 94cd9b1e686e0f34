//! `zfnet pack`: a folder of photographs to a packed data set, from the library and from the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use assert_cmd::Command;
use zfnet::data::decode::Rgb;
use zfnet::data::packed::{Dataset, Split};
use zfnet::data::report::{Event, Summary};
use zfnet::data::resize::centre_square;
use zfnet::data::sources::{self, HoldOut, ImageFolder, Options};
use zfnet::error::Result;

/// Side of the packed records here.
const S: usize = 9;

/// A flat image of one colour.
fn image(path: &Path, W: u32, H: u32, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(W, H, image::Rgb(colour)).save(path).unwrap();
}

/// The colour of file `i` of class `c`.
fn colour(c: usize, i: usize) -> [u8; 3] {
    [10 + 50 * c as u8, 7 * i as u8, 255 - i as u8]
}

/// Three classes of 5, 6 and 7 images, of different sizes, written in reverse order.
fn tree(dir: &Path) {
    for (c, class) in ["ant", "bee", "cat"].iter().enumerate().rev() {
        for i in (0..5 + c).rev() {
            image(&dir.join(class).join(format!("{i}.png")), 11 + i as u32, 10 + c as u32, colour(c, i));
        }
    }
}

const HOLD_OUT: HoldOut = HoldOut { share: 0.3, seed: 1 };

/// Packs a folder, and gives what was left out and noted.
fn pack(dir: &Path, out: &Path) -> Result<(Summary, Vec<String>)> {
    pack_with(HOLD_OUT, S, dir, out)
}

fn pack_with(hold_out: HoldOut, size: usize, dir: &Path, out: &Path) -> Result<(Summary, Vec<String>)> {
    let source = ImageFolder { dir: dir.to_path_buf(), hold_out };
    let options = Options { size, ..Options::default() };
    let said = Mutex::new(Vec::new());
    let listener = |event: Event| match event {
        Event::Bad(path, reason) => said.lock().unwrap().push(format!("{}: {reason}", path.display())),
        Event::Note(note) => said.lock().unwrap().push(note.to_string()),
        Event::Begin(_) | Event::Continued(_) | Event::Image => {}
    };
    let summary = sources::pack(&source, &options, out, &listener, &AtomicBool::new(false))?;
    Ok((summary, said.into_inner().unwrap()))
}

fn refusal(dir: &Path, out: &Path) -> String {
    pack(dir, out).map(|_| ()).expect_err("packed").to_string()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                files(&path).into_iter().map(|(file, bytes)| (Path::new(path.file_name().unwrap()).join(file), bytes)),
            );
        } else {
            found.push((path.file_name().unwrap().into(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn classes_and_files_come_in_the_order_of_their_names() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    tree(&dir);
    let (summary, said) = pack(&dir, &out).unwrap();
    assert_eq!((summary.images(), summary.skipped(), said.len()), (18, 0, 0));
    let dataset = Dataset::open(&out).unwrap();
    dataset.verify().unwrap();
    assert_eq!(dataset.classes(), ["ant", "bee", "cat"]);
    // round(0.3 n) of 5, 6 and 7.
    assert_eq!(dataset.manifest().val.per_class, [2, 2, 2]);
    assert_eq!(dataset.manifest().train.per_class, [3, 4, 5]);
    let mut seen = Vec::new();
    for split in Split::ALL {
        let records = dataset.split(split);
        let found: Vec<(usize, u8)> =
            (0..records.len()).map(|i| (records.label(i), records.record(i)[1] / 7)).collect();
        assert!(found.is_sorted(), "{split} is not in order: {found:?}");
        for (i, &(c, file)) in found.iter().enumerate() {
            // Flat images stay flat, to the last bit, whatever their size was.
            assert!(records.record(i).chunks_exact(3).all(|pixel| pixel == colour(c, file.into())), "{split} {i}");
        }
        seen.extend(found);
    }
    seen.sort();
    let all: Vec<(usize, u8)> = (0..3).flat_map(|c| (0..5 + c as u8).map(move |i| (c, i))).collect();
    assert_eq!(seen, all, "an image is missing or in both splits");
}

#[test]
fn any_number_of_threads_packs_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("in");
    tree(&dir);
    fs::write(dir.join("bee/2.png"), "broken").unwrap();
    let [one, three] = [1, 3].map(|threads| {
        let out = temp.path().join(format!("out{threads}"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| pack(&dir, &out)).unwrap();
        files(&out)
    });
    assert_eq!(one.len(), 4);
    assert!(one == three);
}

#[test]
fn a_folder_s_own_split_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    tree(&dir.join("train"));
    image(&dir.join("val/ant/x.png"), 4, 5, [1, 2, 3]);
    image(&dir.join("val/cat/x.png"), 4, 5, [1, 2, 3]);
    says(&refusal(&dir, &out), &["\"bee\" is missing in val/"]);
    image(&dir.join("val/bee/deeper/x.jpg"), 4, 5, [1, 2, 3]);
    image(&dir.join("val/dog/x.png"), 4, 5, [1, 2, 3]);
    says(&refusal(&dir, &out), &["\"dog\" is missing in train/"]);
    fs::remove_dir_all(dir.join("val/dog")).unwrap();
    fs::create_dir(dir.join("val/.hidden")).unwrap();
    fs::create_dir(dir.join("test")).unwrap();
    let (summary, said) = pack(&dir, &out).unwrap();
    assert_eq!(summary.manifest.val.per_class, [1, 1, 1]);
    assert_eq!(summary.manifest.train.per_class, [5, 6, 7]);
    says(&said.join("\n"), &["1 folders beside train/ and val/"]);
    fs::remove_dir_all(dir.join("val")).unwrap();
    fs::remove_dir_all(dir.join("test")).unwrap();
    says(&refusal(&dir, &temp.path().join("other")), &["train/ or val/ alone"]);
}

#[test]
fn what_cannot_be_decoded_is_named_and_left_out() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    tree(&dir);
    fs::write(dir.join("bee/2.png"), "no image at all").unwrap();
    let cut = fs::read(dir.join("cat/3.png")).unwrap();
    fs::write(dir.join("cat/3.png"), &cut[..cut.len() / 2]).unwrap();
    fs::write(dir.join("cat/notes.txt"), "text").unwrap();
    fs::write(dir.join("cat/.DS_Store"), "hidden").unwrap();
    fs::rename(dir.join("ant/1.png"), dir.join("ant/one")).unwrap();
    let (summary, said) = pack(&dir, &out).unwrap();
    let said = said.join("\n");
    assert_eq!((summary.images(), summary.skipped()), (16, 2));
    says(&said, &["bee/2.png: not an image", "cat/3.png:", "1 files that are no images of a class", "notes.txt"]);
    assert!(!said.contains("DS_Store") && !said.contains("ant"), "{said}");
    fs::remove_dir_all(&out).unwrap();
    for i in 0..6 {
        fs::write(dir.join(format!("bee/{i}.png")), "broken").unwrap();
    }
    says(&refusal(&dir, &out), &["no file of class \"bee\" in train"]);
    fs::remove_dir_all(dir.join("bee")).unwrap();
    fs::create_dir(dir.join("bee")).unwrap();
    says(&refusal(&dir, &out), &["class \"bee\" has no images"]);
    assert!(!out.exists() && !temp.path().join(".out.packing").exists());
    says(&refusal(&dir.join("ant"), &out), &["no subfolders"]);
    says(&refusal(&dir.join("nowhere"), &out), &["nowhere"]);
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_are_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    tree(&dir);
    std::os::unix::fs::symlink(dir.join("cat"), dir.join("cat/again")).unwrap();
    let (summary, said) = pack(&dir, &out).unwrap();
    assert_eq!(summary.images(), 18);
    says(&said.join("\n"), &["cat/again", "read already"]);
}

#[test]
fn the_centre_square_is_kept_and_antialiased() {
    // Columns alternate between 0 and 240; the outer thirds are 200, and must be cut away.
    let (H, W) = (12, 36);
    let value = |w: usize| if !(12..24).contains(&w) { 200 } else { 240 * (w % 2) as u8 };
    let pixels = (0..H * W).flat_map(|i| [value(i % W); 3]).collect();
    let mut record = [77; 3 * 3 * 3];
    centre_square(&Rgb { H, W, pixels }, 3, &mut record).unwrap();
    // Picking single pixels would give 0 or 240; a filter gives the mean, 120.
    // Support reaches 4 columns beyond the square for the outer pixels: one quarter of a triangle at most.
    assert!(record.iter().all(|&value| value.abs_diff(120) <= 20), "{record:?}");
    assert!(record[3..6].iter().all(|&value| value.abs_diff(120) <= 2), "{record:?}");

    let same = Rgb { H: 5, W: 8, pixels: (0..5 * 8 * 3).map(|i| i as u8).collect() };
    let mut record = [0; 5 * 5 * 3];
    centre_square(&same, 5, &mut record).unwrap();
    for (h, row) in record.chunks(15).enumerate() {
        assert_eq!(row, &same.pixels[(h * 8 + 1) * 3..][..15], "an image of the right height was changed");
    }

    // 1 x 60000 pixels: resizing before cutting would make 64 x 3840000.
    let long = Rgb { H: 1, W: 60_000, pixels: vec![90; 180_000] };
    let mut record = vec![0; 64 * 64 * 3];
    centre_square(&long, 64, &mut record).unwrap();
    assert!(record.iter().all(|&value| value == 90));
}

fn zfnet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zfnet"));
    command.args(args).timeout(std::time::Duration::from_secs(60));
    command
}

#[test]
fn exit_statuses() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("in"), temp.path().join("out"));
    tree(&dir);
    let (from, to) = (dir.to_str().unwrap(), out.to_str().unwrap());
    let base = ["pack", "imagefolder", from, "-o", to, "--size", "9"];
    let run = |more: &[&str], code: i32, parts: &[&str]| {
        let output = zfnet(&[&base[..], more].concat()).assert().code(code).get_output().clone();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        says(&format!("{stdout}{stderr}"), parts);
        (stdout, stderr)
    };
    let (_, stderr) = run(&[], 0, &["ant", "18 images of 9 x 9 px", "0 left out"]);
    assert_eq!(stderr, "", "talk where there is nothing to say");
    run(&[], 2, &["data set already", "--force"]);
    fs::write(dir.join("bee/2.png"), "broken").unwrap();
    run(&["--force"], 1, &["left out", "bee/2.png", "--skip-bad"]);
    Dataset::open(&out).unwrap();
    let (stdout, _) = run(&["--force", "--skip-bad", "--json"], 0, &[]);
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let images = |split: &str| summary[split]["images"].as_u64().unwrap();
    assert_eq!((summary["skipped"].as_u64(), images("train") + images("val")), (Some(1), 17));
    run(&["--force", "--val-fraction", "1.5"], 2, &["1.5"]);
    let nothing = zfnet(&["pack", "imagefolder", from, "-o", to, "--size", "0", "--force"]).assert().code(2);
    says(&String::from_utf8_lossy(&nothing.get_output().stderr), &["size is 0"]);
    zfnet(&["pack", "imagefolder", from]).assert().code(2);
    zfnet(&["pack", "synthetic", "-o", to, "--classes", "77", "--force"]).assert().code(2);
    zfnet(&["pack", "imagefolder", "/nowhere", "-o", to, "--force"]).assert().code(1);
    Dataset::open(&out).expect("a failed pack took the old data set with it");
}

#[cfg(unix)]
#[test]
fn a_killed_pack_leaves_nothing_and_can_be_run_again() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let args = ["pack", "synthetic", "-o", out.to_str().unwrap(), "--train", "4000", "--val", "8"];
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_zfnet"))
        .args(args)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let working = temp.path().join(".out.packing/train/shard-00000.safetensors");
    while !working.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!out.exists() && working.exists());
    zfnet(&["pack", "synthetic", "-o", args[3], "--train", "20", "--val", "8"]).assert().code(0);
    assert_eq!(Dataset::open(&out).unwrap().split(Split::Train).len(), 20);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn photographs_are_packed() {
    let flowers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/flowers");
    if !flowers.is_dir() {
        println!("SKIP: {} is not there", flowers.display());
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    // The smaller split as a folder of its own: 50 photographs of each of five flowers.
    let (summary, said) = pack_with(HoldOut { share: 0.2, seed: 0 }, 72, &flowers.join("val"), &out).unwrap();
    assert!(said.is_empty(), "{said:?}");
    assert_eq!((summary.images(), summary.skipped()), (250, 0));
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.classes(), ["daisy", "dandelion", "roses", "sunflowers", "tulips"]);
    assert_eq!(dataset.manifest().val.per_class, [10; 5]);
    let mean = dataset.mean().iter().sum::<f32>() / dataset.mean().len() as f32;
    // Daylight photographs of flowers: neither dark nor pale.
    assert!((80.0..150.0).contains(&mean), "mean grey value {mean}");
}
