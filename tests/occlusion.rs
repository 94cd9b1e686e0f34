//! Occlusion: batches against single copies, what a square can and cannot change, and the figure.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::Value;
use zfnet::data::packed::{Dataset, Split};
use zfnet::net::{Net, Pass};
use zfnet::ops::{Backend, Cpu, Real};
use zfnet::tensor::Extent;
use zfnet::train::model::Model;
use zfnet::understand::occlusion::{Answers, Fill, Sweep, View, batch_for, clear, occlude, top_convolution};

use crate::common::compare::{Tolerance, assert_close, assert_same_bits, roundoff};
use crate::common::on_cpu;
use crate::fixture::{self, CLASSES, S};

/// The fixture's crops are 9 x 9 in the middle of 11 x 11.
const INPUT: Extent = Extent::new(9, 9, 3);

/// The fixture's network with weights that let every place of the image through to the
/// classes: He's, shared out between pixels near 64 and logits near 1.
fn net<T: Real>(out: &Path, batch: usize) -> Net<Cpu<T>>
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let mut net = Model::open(out, "last").unwrap().net(Cpu::<T>::new(), batch).unwrap();
    net.init(|fan_in| 0.25 * (2.0 / fan_in as f64).sqrt()).unwrap();
    net
}

fn view(data: &Dataset, i: usize) -> View<'_> {
    View::centre(data.split(Split::Val).record(i), S, INPUT).unwrap()
}

#[test]
fn squares_are_whole_and_in_the_middle() {
    let paper = Sweep::new(Extent::new(224, 224, 3), None, None).unwrap();
    assert_eq!((paper.side, paper.stride, paper.len()), (50, 8, 484));
    assert_eq!((paper.tops[0], paper.tops[21]), (3, 171), "3 px free before the first, 3 behind the last");
    let small = Sweep::new(Extent::new(64, 64, 3), None, None).unwrap();
    assert_eq!((small.side, small.stride), (14, 2));
    let oblong = Sweep::new(Extent::new(9, 14, 3), Some(4), Some(3)).unwrap();
    assert_eq!((&oblong.tops[..], &oblong.lefts[..]), (&[1, 4][..], &[0, 3, 6, 9][..]));
    let square = oblong.square(5);
    assert_eq!((square.top, square.left, square.height, square.width), (4, 3, 4, 4));
    assert_eq!(Sweep::new(INPUT, Some(9), Some(1)).unwrap().len(), 1);
    for (side, stride) in [(10, 1), (0, 1), (3, 0)] {
        let message = Sweep::new(INPUT, Some(side), Some(stride)).unwrap_err().to_string();
        assert!(message.contains("9 x 9") && message.contains("at least 1"), "{message}");
    }
}

/// Copies built here by hand and seen one at a time say what a batch of five says.
///
/// Only the order of sums may depend on the batch: the longest has 30 terms, four layers
/// deep, and the square root of it suffices for sums whose errors are of both signs.
fn a_batch_says_what_each_copy_says<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let (_folder, data, out) = fixture::trained();
    let sweep = Sweep::new(INPUT, Some(3), Some(2)).unwrap();
    assert_eq!(sweep.len(), 16);
    let hiding = Fill::Grey.record(data.mean());
    let (map, layer) = (3, "conv1");
    let mut batched = Answers { activity: Vec::new(), p: Vec::new(), classes: 0 };
    let mut seen = Vec::new();
    for batch in [5, 16] {
        seen.clear();
        let mut done = |n| seen.push(n);
        batched =
            occlude(&mut net::<T>(&out, batch), view(&data, 2), &hiding, &sweep, (layer, map), &mut done).unwrap();
    }
    assert_eq!(seen, [16]);
    let (mut activity, mut p) = (Vec::new(), Vec::new());
    let mut alone = net::<T>(&out, 1);
    for i in 0..sweep.len() {
        // Rows 1, 3, 5, 7 of the record, as the crop begins in row 1.
        let (top, left) = (1 + 2 * (i / 4), 1 + 2 * (i % 4));
        let mut record = data.split(Split::Val).record(2).to_vec();
        for (h, w) in (top..top + 3).flat_map(|h| (left..left + 3).map(move |w| (h, w))) {
            record[(h * S + w) * 3..][..3].fill(128);
        }
        let single = clear(&mut alone, View { record: &record, ..view(&data, 2) }, layer).unwrap();
        activity.push(single.activity[map]);
        p.extend(single.p);
    }
    let sums = 4.0 * 30f64.sqrt() * roundoff::<f32>();
    assert_close("probabilities", &batched.p, &p, Tolerance::rel(8.0 * sums));
    assert_close("activity", &batched.activity, &activity, Tolerance::rel(sums));
    let spread = |v: &[f64]| v.iter().fold(f64::MIN, |m, v| m.max(*v)) - v.iter().fold(f64::MAX, |m, v| m.min(*v));
    assert!(spread(&batched.probability(1)) > 1e-3 && spread(&activity) > 1e-3, "nothing depends on the place");
}

/// A square that shows the pixels beneath it changes nothing.
fn hiding_with_the_image_itself_changes_nothing<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let (_folder, data, out) = fixture::trained();
    let (view, sweep) = (view(&data, 2), Sweep::new(INPUT, Some(4), Some(1)).unwrap());
    // In batches of one each copy takes the very path that the image takes.
    let mut net = net::<T>(&out, 1);
    let same = |net: &mut Net<Cpu<T>>, hiding: &[u8]| {
        let unhidden = clear(net, view, "conv1").unwrap();
        let answers = occlude(net, view, hiding, &sweep, ("conv1", 3), &mut |_| ()).unwrap();
        let changed = answers.p.chunks(CLASSES.len()).filter(|p| *p != unhidden.p.as_slice()).count();
        let moved = answers.activity.iter().filter(|a| **a != unhidden.activity[3]).count();
        (changed, moved)
    };
    assert_eq!(same(&mut net, view.record), (0, 0));
    let (changed, moved) = same(&mut net, &Fill::Grey.record(data.mean()));
    assert!(changed > 0 && moved > 0, "grey changes nothing either: {changed} {moved}");
}

/// A unit of conv1 sees 3 x 3 pixels: squares beside them leave it bit for bit as it was,
/// and one over them does not.
fn a_square_outside_the_field_leaves_the_unit<T: Real>()
where
    Cpu<T>: Backend<Buf = Vec<T>>,
{
    let (_folder, data, out) = fixture::trained();
    let mut net = net::<T>(&out, 1);
    let layer = net.plan().layers[0].clone();
    let sweep = Sweep::new(INPUT, Some(3), Some(1)).unwrap();
    let hiding = Fill::Grey.record(data.mean());
    let whole = view(&data, 1);
    net.load_records(whole.record, &whole.window.to_ints(), &[0]).unwrap();
    net.forward(Pass::Eval).unwrap();
    let before = net.blob("conv1").unwrap();
    let (mut outside, mut changed) = (0, 0);
    for i in 0..sweep.len() {
        let one = Sweep { tops: vec![sweep.square(i).top], lefts: vec![sweep.square(i).left], ..sweep.clone() };
        occlude(&mut net, whole, &hiding, &one, ("conv1", 0), &mut |_| ()).unwrap();
        let after = net.blob("conv1").unwrap();
        let units = before.chunks(layer.output.C).zip(after.chunks(layer.output.C)).enumerate();
        for (at, (before, after)) in units {
            let field = layer.field(at / layer.output.W, at % layer.output.W, INPUT);
            let square = sweep.square(i);
            let apart = |a: usize, b: usize| a.abs_diff(b) >= 3;
            if apart(field.top, square.top) || apart(field.left, square.left) {
                assert_same_bits("a unit outside", after, before);
                outside += 1;
            } else {
                changed += usize::from(before != after);
            }
        }
    }
    assert!(outside > 300 && changed > 100, "{outside} outside, {changed} changed");
}

#[test]
fn a_batch_fits_the_memory() {
    let (_folder, _, out) = fixture::trained();
    let model = Model::open(&out, "last").unwrap();
    assert_eq!(top_convolution(&model.plan).unwrap().name, "conv1");
    // A network of a few kilobytes takes the most there is.
    assert_eq!(batch_for(&Cpu::<f32>::new(), &model.plan), 256);
}

#[test]
fn what_fills_the_square() {
    assert_eq!(Fill::Grey.record(&[1.0; 4]), [128; 4]);
    assert_eq!(Fill::Mean.record(&[0.4, 0.6, 254.7]), [0, 1, 255]);
    assert_eq!("mean".parse::<Fill>().unwrap(), Fill::Mean);
    assert!("black".parse::<Fill>().unwrap_err().to_string().contains("grey or mean"));
}

fn program(run: &Path, images: &[&Path], more: &[&str]) -> (Option<i32>, String, String) {
    fixture::outcome(
        fixture::zfnet(["visualize", "occlusion"]).arg(run).args(images).args(["--checkpoint", "last"]).args(more),
    )
}

/// Validation record `i` as an image file in a folder called `folder`.
fn file(folder: &Path, class: &str, i: usize, data: &Dataset) -> PathBuf {
    let folder = folder.join(class);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{i}.png"));
    RgbImage::from_raw(S as u32, S as u32, data.split(Split::Val).record(i).to_vec()).unwrap().save(&path).unwrap();
    path
}

#[test]
fn the_program_draws_panels_and_tables() {
    let (folder, data, out) = fixture::trained();
    let images = [file(folder.path(), "green", 1, &data), file(folder.path(), "elsewhere", 1, &data)];
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let (status, stdout, stderr) = program(&out, &paths, &["--json", "--square", "3", "--stride", "2"]);
    assert_eq!(status, Some(0), "{stderr}");
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!((&answers[0]["class"], &answers[0]["places"]), (&"green".into(), &16.into()));
    let mut net = Model::open(&out, "last").unwrap().net(Cpu::<f32>::new(), 16).unwrap();
    let hiding = Fill::Grey.record(data.mean());
    let unhidden = clear(&mut net, view(&data, 1), "conv1").unwrap();
    assert_eq!(answers[1]["class"], CLASSES[unhidden.labels()[0]]);
    let map = answers[0]["map"].as_u64().unwrap() as usize;
    let strongest = unhidden.activity.iter().copied().fold(f64::MIN, f64::max);
    assert_eq!(unhidden.activity[map], strongest);
    let sweep = Sweep::new(INPUT, Some(3), Some(2)).unwrap();
    let expected = occlude(&mut net, view(&data, 1), &hiding, &sweep, ("conv1", map), &mut |_| ()).unwrap();
    let least = expected.probability(1).into_iter().fold(f64::MAX, f64::min);
    assert_eq!(answers[0]["least"]["probability"].as_f64(), Some(least));
    for (answer, stem) in answers.iter().zip(["occlusion-1", "occlusion-1-2"]) {
        let png = out.join(format!("figures/{stem}.png"));
        assert_eq!(answer["png"].as_str(), png.to_str());
        let picture = image::open(png).unwrap().to_rgb8();
        let colours: std::collections::BTreeSet<[u8; 3]> = picture.pixels().map(|p| p.0).collect();
        assert!(picture.width() > 2000 && colours.len() > 100, "{} colours", colours.len());
    }
    let table = fs::read_to_string(out.join("figures/occlusion-1.csv")).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("top,left,height,width,activity,probability,label"));
    for (i, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |j: usize| fields[j].parse::<f64>().unwrap();
        assert_eq!((number(0), number(1)), (2.0 * (i / 4) as f64, 2.0 * (i % 4) as f64));
        assert_eq!((number(4), number(5)), (expected.activity[i], expected.probability(1)[i]));
        assert_eq!(fields[6], CLASSES[expected.labels()[i]]);
    }
    // With the search of top9 there are other images; without it that is said.
    let root = data.root().to_str().unwrap();
    let (_, _, stderr) = program(&out, &paths[..1], &["--data", root]);
    assert!(stderr.contains("zfnet visualize top9"), "{stderr}");
    let (status, _, stderr) = fixture::outcome(fixture::zfnet(["visualize", "top9"]).arg(&out).args([
        "--checkpoint",
        "last",
        "--data",
        root,
        "--layers",
        "conv1",
    ]));
    assert_eq!(status, Some(0), "{stderr}");
    let (_, stdout, stderr) = program(&out, &paths[..1], &["--data", root, "--json", "--class", "blue"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert!(!stderr.contains("top9") && answer["others"].as_u64() > Some(0), "{answer} {stderr}");
    assert_eq!(answer["class"], "blue");
}

#[test]
fn what_cannot_be_hidden_is_said() {
    let (folder, data, out) = fixture::trained();
    let good = file(folder.path(), "green", 1, &data);
    let said = |image: &Path, more: &[&str], status: i32, words: &[&str]| {
        let (found, stdout, stderr) = program(&out, &[image], more);
        assert_eq!(found, Some(status), "{stderr}");
        assert!(stdout.is_empty() && words.iter().all(|word| stderr.contains(word)), "{words:?}: {stderr}");
    };
    said(&folder.path().join("none.jpg"), &[], 1, &["cannot read", "none.jpg"]);
    let small = folder.path().join("small.png");
    RgbImage::new(8, 30).save(&small).unwrap();
    said(&small, &[], 1, &["small.png", "8 x 30", "9 x 9", "larger image"]);
    said(&good, &["--class", "pink"], 2, &["no class pink", "red, green, blue"]);
    said(&good, &["--square", "10"], 2, &["square of 10 px", "9 x 9"]);
    said(&good, &["--stride", "0"], 2, &["every 0 px"]);
    said(&good, &["--fill", "black"], 2, &["grey or mean"]);
    let other = fixture::pack_with(&folder.path().join("other"), &["red", "green", "pink"], 3);
    said(&good, &["--data", other.root().to_str().unwrap()], 2, &["only in the data: pink"]);
}

on_cpu!(
    a_batch_says_what_each_copy_says,
    hiding_with_the_image_itself_changes_nothing,
    a_square_outside_the_field_leaves_the_unit,
);
