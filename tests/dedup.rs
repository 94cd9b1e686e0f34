//! Duplicates: correlation itself, all pairs against a loop in f64, and what was planted among photographs.

use std::fs;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use serde_json::Value;
use zfnet::data::decode::{Rgb, decode_file};
use zfnet::data::packed::{Labels, PackWriter, Recipe, Split};
use zfnet::device::Device;
use zfnet::ops::{Backend, Cpu, Gpu};
use zfnet::philox::{Purpose, Stream};
use zfnet::transfer::duplicates::thumbnails::PIXELS;
use zfnet::transfer::duplicates::{
    Candidate, Comparison, Grey, Part, Pictures, Thumbnails, View, confirm, correlation, repeated,
};

use crate::common::compare::{Tolerance, assert_close};
use crate::common::gpu::on_gpus;
use crate::fixture::{outcome, zfnet};

/// Smooth noise: a picture like no other.
fn picture(seed: u32, H: usize, W: usize) -> Grey {
    let stream = Stream::new(7, Purpose::Test, seed);
    let wave = |k: u64| {
        let at = |i: u64, bound: u32| f64::from(stream.below(k, i, bound));
        (0.1 + at(0, 1000) / 1000.0, 0.1 + at(1, 1000) / 1000.0, at(2, 1000) / 100.0, 10.0 + at(3, 20))
    };
    let waves: Vec<_> = (0..5).map(wave).collect();
    let value = |h: usize, w: usize| {
        let sum: f64 = waves.iter().map(|(y, x, phase, size)| size * (y * h as f64 + x * w as f64 + phase).sin()).sum();
        (120.0 + sum) as f32
    };
    Grey { H, W, pixels: (0..H * W).map(|i| value(i / W, i % W)).collect() }
}

#[test]
fn correlation_by_hand() {
    let grey = |pixels: &[f32]| Grey { H: 2, W: 3, pixels: pixels.to_vec() };
    let x = grey(&[10.0, 20.0, 30.0, 40.0, 50.0, 90.0]);
    let y = grey(&[30.0, 10.0, 20.0, 60.0, 40.0, 80.0]);
    // Both have mean 40. About it: products 300 + 600 + 200 + 0 + 0 + 2000, squares 4000 and 3400.
    let expected = 3100.0 / (4000.0f64 * 3400.0).sqrt();
    assert_close("r", &[correlation(&x, &y).unwrap().unwrap()], &[expected], Tolerance::rel(1e-14));
    let flat = grey(&[77.0, 77.0, 77.0, 77.0, 77.0, 77.4]);
    assert_eq!(correlation(&x, &flat).unwrap(), None);
    assert_eq!(correlation(&flat, &flat).unwrap(), None, "a flat picture is not even like itself");
    let broken = grey(&[77.0, f32::NAN, 3.0, 77.0, 9.0, 77.4]);
    assert_eq!(correlation(&x, &broken).unwrap(), None);
}

#[test]
fn brightness_and_contrast_do_not_matter() {
    let (x, y) = (picture(1, 41, 67), picture(2, 83, 59));
    let r = correlation(&x, &y).unwrap().unwrap();
    assert!(r.abs() < 0.8, "{r}");
    for (a, b) in [(0.3, 0.0), (1.0, -55.0), (1.7, 20.0)] {
        let changed = Grey { pixels: x.pixels.iter().map(|p| a * p + b).collect(), ..x };
        // Pixels are f32: a relative error of 2^-24 on each of them, and of those of the resized one.
        assert_close("r", &[correlation(&changed, &y).unwrap().unwrap()], &[r], Tolerance::abs(1e-5));
        assert_close("r with itself", &[correlation(&changed, &x).unwrap().unwrap()], &[1.0], Tolerance::abs(1e-5));
    }
    let negative = Grey { pixels: x.pixels.iter().map(|p| 255.0 - p).collect(), ..x };
    assert_close("negative", &[correlation(&negative, &x).unwrap().unwrap()], &[-1.0], Tolerance::abs(1e-5));
}

#[test]
fn squares_and_mirrors() {
    let x = Grey { H: 2, W: 5, pixels: (0..10).map(|i| i as f32).collect() };
    assert_eq!(x.centre_square(), Grey { H: 2, W: 2, pixels: vec![1.0, 2.0, 6.0, 7.0] });
    assert_eq!(x.mirrored().pixels, [4.0, 3.0, 2.0, 1.0, 0.0, 9.0, 8.0, 7.0, 6.0, 5.0]);
    assert_eq!(x.mirrored().mirrored(), x);
}

/// Side of the packed pictures.
const S: usize = 13;

/// Packs pictures `seeds`, each with a brightness of its own so that no two are equal; a
/// seed beyond 10,000 is the mirror image of the one 10,000 before.
fn pack(out: &Path, seeds: &[u32]) -> Pictures {
    let recipe = Recipe {
        classes: vec!["any".into()],
        size: S,
        masks: false,
        multi_label: false,
        source: "test".into(),
        preprocessing: "none".into(),
    };
    let mut writer = PackWriter::create(out, recipe, false).unwrap();
    for (split, seeds) in [(Split::Train, &seeds[..seeds.len() / 3]), (Split::Val, &seeds[seeds.len() / 3..])] {
        for (shard, seeds) in seeds.chunks(1024).enumerate() {
            let image = |(i, &seed): (usize, &u32)| {
                let grey = picture(seed % 10_000, S, S);
                let grey = if seed < 10_000 { grey } else { grey.mirrored() };
                let shift = ((i + shard) % 3) as f32;
                grey.pixels.iter().flat_map(|p| [(p + shift) as u8; 3]).collect::<Vec<u8>>()
            };
            let images: Vec<u8> = seeds.iter().enumerate().flat_map(image).collect();
            let names: Vec<String> = (0..seeds.len()).map(|i| format!("{split}/{shard}-{i}.png")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writer.write_named_shard(split, &images, Labels::One(&vec![0; seeds.len()]), &names).unwrap();
        }
    }
    writer.finish().unwrap();
    Pictures::open(out, Part::Both).unwrap()
}

fn thumbnails(pictures: &Pictures) -> Thumbnails {
    let thumbnails = Thumbnails::of(pictures, View::Square, &mut |_| ());
    assert_eq!((thumbnails.len(), thumbnails.bad.len(), thumbnails.flat.len()), (pictures.len(), 0, 0));
    thumbnails
}

fn units(thumbnails: &Thumbnails, mirrored: bool) -> Vec<f32> {
    let mut unit = vec![f32::NAN; thumbnails.len() * PIXELS];
    thumbnails.unit(0..thumbnails.len(), mirrored, &mut unit);
    unit
}

/// Correlations (a, b) by a loop in f64.
fn by_loop(a: &Thumbnails, b: &Thumbnails, mirrored: bool) -> Vec<f64> {
    let (x, y) = (units(a, false), units(b, mirrored));
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
    x.chunks(PIXELS).flat_map(|x| y.chunks(PIXELS).map(move |y| dot(x, y))).collect()
}

/// By how much an f32 product of 1024 terms of vectors of length 1 may be off: far less than this.
const BORDER: f64 = 1e-4;

/// Found is what correlates with at least `first` by the loop, but for what is at the border.
fn assert_found(found: &[Candidate], comparison: Comparison, first: f32) {
    let Comparison { a, b, mirrored } = comparison;
    let columns = b.unwrap_or(a);
    let loops: Vec<Vec<f64>> = (0..1 + usize::from(mirrored)).map(|m| by_loop(a, columns, m == 1)).collect();
    let of = |c: &Candidate| loops[usize::from(c.mirrored)][c.a as usize * columns.len() + c.b as usize];
    let clear = |c: &Candidate| (of(c) - f64::from(first)).abs() > BORDER;
    let mut expected = Vec::new();
    for (mirrored, r) in [false, true].into_iter().zip(&loops) {
        let pairs = r.iter().enumerate().map(|(i, r)| (i / columns.len(), i % columns.len(), *r));
        let wanted = pairs.filter(|&(i, j, r)| (b.is_some() || i < j) && r >= f64::from(first) + BORDER);
        expected.extend(wanted.map(|(i, j, _)| Candidate { a: i as u32, b: j as u32, mirrored }));
    }
    expected.sort();
    assert!(found.is_sorted() && found.iter().all(|c| of(c) >= f64::from(first) - BORDER), "too many were found");
    let found: Vec<Candidate> = found.iter().copied().filter(clear).collect();
    expected.retain(clear);
    assert_eq!(found, expected);
}

fn searched<B: Backend>(backend: &mut B, comparison: Comparison, first: f32) -> Vec<Candidate> {
    let mut seen = vec![0];
    let found = comparison.candidates(backend, first, &mut |pairs| seen.push(pairs)).unwrap();
    assert!(seen.is_sorted_by(|p, q| p < q), "{seen:?}");
    let b = comparison.b.map(Thumbnails::len);
    assert_eq!(*seen.last().unwrap(), Comparison::pairs(comparison.a.len(), b, comparison.mirrored));
    found
}

/// More pictures than a block has rows or columns, so that pairs lie on both sides of every border.
#[test]
fn all_pairs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let mut seeds: Vec<u32> = (0..2100).collect();
    // Copies of the first and the last, across blocks and within one; a mirror image.
    [(5, 2090), (2049, 2055), (255, 257), (2047, 2048)].into_iter().for_each(|(i, j)| seeds[j] = i as u32);
    seeds[77] = 10_300;
    let all = pack(&folder.path().join("all"), &seeds);
    let some = pack(&folder.path().join("some"), &seeds[..261]);
    // The names that they were packed with: 87 of the 261 are training images.
    assert_eq!((some.name(86), some.name(88)), ("train/0-86.png".into(), "val/0-1.png".into()));
    let (a, b) = (thumbnails(&some), thumbnails(&all));
    let mut cpu = Cpu::<f32>::new();
    let first = 0.99;
    for mirrored in [false, true] {
        let two = Comparison { a: &a, b: Some(&b), mirrored };
        let found = searched(&mut cpu, two, first);
        assert!(found.contains(&Candidate { a: 5, b: 2090, mirrored: false }), "{found:?}");
        assert_eq!(found.contains(&Candidate { a: 77, b: 300, mirrored: true }), mirrored);
        assert_found(&found, two, first);
    }
    let itself = Comparison { a: &a, b: None, mirrored: false };
    assert_found(&searched(&mut cpu, itself, first), itself, first);
    let found = searched(&mut cpu, Comparison { a: &b, b: None, mirrored: false }, first);
    for pair in [(5, 2090), (2049, 2055), (255, 257), (2047, 2048)] {
        assert!(found.contains(&Candidate { a: pair.0, b: pair.1, mirrored: false }), "{pair:?}: {found:?}");
    }
    assert!(found.iter().all(|pair| pair.a < pair.b), "a pair was found twice, or a picture is its own duplicate");

    // At full size the planted ones remain, and B loses each but the first.
    let matches = confirm(&all, &all, View::Square, &found, 0.999, &mut |_| ()).unwrap();
    let left_out = repeated(&matches);
    assert!([2090, 2055, 257, 2048].iter().all(|i| left_out.contains(i)) && left_out.is_sorted(), "{left_out:?}");
}

/// On every device and in every precision: none of these pairs is within 3 x 2^-8 of the threshold.
fn blocks_on<D: Device>(gpu: &mut Gpu<D>) {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (pack(&folder.path().join("a"), &[3, 4, 5, 6, 7]), pack(&folder.path().join("b"), &[9, 5, 10_004, 8]));
    let (a, b) = (thumbnails(&a), thumbnails(&b));
    for mirrored in [false, true] {
        let between = |r: &f64| (*r - 0.95).abs() < 3.0 / 256.0;
        assert!(!by_loop(&a, &b, mirrored).iter().any(between), "a pair is too near to the threshold for a test");
    }
    let found = searched(gpu, Comparison { a: &a, b: Some(&b), mirrored: true }, 0.95);
    let planted = [Candidate { a: 1, b: 2, mirrored: true }, Candidate { a: 2, b: 1, mirrored: false }];
    assert_eq!(found, planted);
}

on_gpus!(blocks_on);

/// The photographs of `split`.
fn flowers(split: &str) -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/flowers").join(split);
    if !folder.is_dir() {
        println!("SKIP: {} is not there", folder.display());
        return None;
    }
    let names = zfnet::data::sources::image_files(&folder).unwrap();
    Some(names.iter().map(|name| folder.join(name)).collect())
}

/// Writes `image` scaled by `scale`, brightened to `a` x + `b`, as a JPEG of `quality`.
fn plant(image: Rgb, to: &Path, scale: f64, (a, b): (f64, f64), quality: u8) {
    let size = |side: usize| (side as f64 * scale).round() as u32;
    let (H, W) = (size(image.H), size(image.W));
    let rgb = image::RgbImage::from_raw(image.W as u32, image.H as u32, image.pixels).unwrap();
    let mut rgb = image::imageops::resize(&rgb, W, H, FilterType::CatmullRom);
    rgb.iter_mut().for_each(|p| *p = (a * f64::from(*p) + b).round().clamp(0.0, 255.0) as u8);
    let mut jpeg = Vec::new();
    rgb.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, quality)).unwrap();
    fs::write(to, jpeg).unwrap();
}

/// Every fiftieth training photograph, disguised, among all validation photographs.
#[test]
fn planted_photographs_are_found() {
    let (Some(train), Some(val)) = (flowers("train"), flowers("val")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (a, b, out) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("out"));
    for (to, files) in [(&a, &train[..]), (&b, &val[..])] {
        for file in files {
            let to = to.join(file.parent().unwrap().file_name().unwrap());
            fs::create_dir_all(&to).unwrap();
            std::os::unix::fs::symlink(file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    let scales = [0.35, 0.6, 1.0, 1.4];
    let tones = [(1.0, 0.0), (1.15, 0.0), (1.0, 20.0), (0.8, 15.0), (1.2, -12.0)];
    let mut planted = Vec::new();
    for (i, file) in train.iter().step_by(50).enumerate() {
        let name = format!("roses/planted-{i:02}.jpg");
        plant(decode_file(file).unwrap(), &b.join(&name), scales[i % 4], tones[i % 5], [30, 55, 80][i % 3]);
        planted.push((file.strip_prefix(file.ancestors().nth(2).unwrap()).unwrap().to_str().unwrap().to_owned(), name));
    }
    assert!(planted.len() >= 20);
    let mut command = zfnet(["dedup"]);
    let (status, stdout, stderr) = outcome(command.args([&a, &b]).arg("--json").arg("--out").arg(&out));
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("FLOP") && stderr.contains("pairs/s"), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: Vec<(String, String)> =
        answer["matches"].as_array().unwrap().iter().map(|m| (text(&m["a"]), text(&m["b"]))).collect();
    for pair in &planted {
        assert!(found.contains(pair), "{pair:?} was not found");
    }
    let others: Vec<_> = found.iter().filter(|pair| !planted.contains(pair)).collect();
    println!("{} planted, {} others: {others:?}", planted.len(), others.len());
    assert!(others.len() * 100 < val.len(), "{others:?}");

    let listed = fs::read_to_string(out.join("exclude.txt")).unwrap();
    assert!(planted.iter().all(|(_, b)| listed.lines().any(|line| line == b)), "{listed}");
    assert_eq!(answer["b"]["repeated"].as_u64(), Some(listed.lines().count() as u64));
    let table = fs::read_to_string(out.join("duplicates.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + found.len());
    assert!(image::open(out.join("duplicates.png")).unwrap().width() > 600);
}

#[test]
fn the_program_says_what_it_costs_and_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir_all(photos.join("deep/er")).unwrap();
    let save = |name: &str, grey: &Grey| {
        let pixels: Vec<u8> = grey.pixels.iter().map(|p| *p as u8).collect();
        image::save_buffer(photos.join(name), &pixels, grey.W as u32, grey.H as u32, image::ColorType::L8).unwrap();
    };
    save("b.png", &picture(1, 40, 70));
    save("deep/er/a, small.png", &picture(1, 40, 70).resized(20, 35).unwrap());
    save("deep/c.png", &picture(2, 40, 70));
    save("flat.png", &Grey { H: 9, W: 8, pixels: vec![80.0; 72] });
    let run = |more: &[&str]| outcome(zfnet(["dedup"]).args([&photos, &photos]).args(more));
    let (status, stdout, stderr) = run(&[]);
    assert_eq!(status, Some(0), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].ends_with("  b.png  deep/er/a, small.png"), "{stdout}");
    assert!(lines[1].contains("1 of 4 pictures are in it twice"), "{stdout}");
    assert!(lines[2].contains("1 of one grey, 0 that cannot be read"), "{stdout}");

    // Without comparing anything: pairs, operations, time.
    let (status, stdout, stderr) = run(&["--dry-run", "--json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let cost: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((cost["pairs"].as_u64(), cost["flop"].as_f64()), (Some(6), Some(6.0 * 2048.0)));
    assert!(cost["seconds"].as_f64().unwrap() > 0.0 && cost["pairs_per_s"].as_f64().unwrap() > 0.0, "{cost}");

    // A file that is no picture is named, and the status says so.
    fs::write(photos.join("broken.jpg"), "no picture").unwrap();
    let out = folder.path().join("out");
    let (status, stdout, stderr) = run(&["--out", out.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("broken.jpg") && stdout.contains("1 that cannot be read"), "{stdout}{stderr}");
    let table = fs::read_to_string(out.join("duplicates.csv")).unwrap();
    assert!(table.lines().nth(1).unwrap().starts_with("b.png,\"deep/er/a, small.png\",0.9"), "{table}");
    assert_eq!(fs::read_to_string(out.join("exclude.txt")).unwrap(), "deep/er/a, small.png\n");
    for threshold in ["0", "1.5", "NaN"] {
        let (status, _, stderr) = run(&["--threshold", threshold]);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains("--threshold"), "{stderr}");
    }
    fs::remove_file(photos.join("broken.jpg")).unwrap();
    let (status, _, stderr) = outcome(zfnet(["dedup"]).args([&out, &photos]));
    assert_eq!(status, Some(0), "duplicates.png is a picture: {stderr}");
    fs::remove_file(out.join("duplicates.png")).unwrap();
    let (status, _, stderr) = outcome(zfnet(["dedup"]).args([&out, &photos]));
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("holds no pictures"), "{stderr}");
}
