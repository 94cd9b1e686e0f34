//! The drawn data set: reproducible, balanced, masked, and told apart by the badge alone.

use std::fs;

use zfnet::data::packed::{Dataset, Split};
use zfnet::data::synthetic::{Drawing, Synthetic, Texture};

fn small() -> Synthetic {
    Synthetic { classes: 10, first: 0, train: 31, val: 13, size: 48, seed: 5, force: false }
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn any_number_of_threads_draws_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let [one, three] = [1, 3].map(|threads| {
        let out = dir.path().join(format!("{threads}"));
        in_pool(threads, || small().pack(&out, &|_| {})).unwrap();
        out
    });
    for file in ["dataset.json", "mean.safetensors", "train/shard-00000.safetensors", "val/shard-00000.safetensors"] {
        assert!(fs::read(one.join(file)).unwrap() == fs::read(three.join(file)).unwrap(), "{file} differs");
    }
    let dataset = Dataset::open(&one).unwrap();
    dataset.verify().unwrap();
    assert_eq!(dataset.manifest().train.per_class, [4, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
    for split in Split::ALL {
        let records = dataset.split(split);
        for i in 0..records.len() {
            let Drawing { image, mask, label } = small().draw(split, i);
            assert!(records.record(i) == image && records.mask(i) == Some(&mask[..]) && records.label(i) == label);
        }
    }
}

#[test]
fn seed_split_and_index_each_change_the_image() {
    let reference = small().draw(Split::Train, 3).image;
    assert_ne!(small().draw(Split::Val, 3).image, reference);
    assert_ne!(small().draw(Split::Train, 13).image, reference);
    assert_ne!(Synthetic { seed: 6, ..small() }.draw(Split::Train, 3).image, reference);
    let grown = Synthetic { train: 99, val: 50, ..small() };
    assert_eq!(grown.draw(Split::Train, 3).image, reference, "the number of images changes an image");
}

#[test]
fn masks_are_whole_discs_in_varied_places() {
    let config = small();
    let S = config.size;
    let (mut rows, mut columns, mut areas) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..300 {
        let mask = config.draw(Split::Train, i).mask;
        assert!(mask.iter().all(|&value| value == 0 || value == 255));
        let on: Vec<(usize, usize)> = (0..S * S).filter(|&p| mask[p] == 255).map(|p| (p / S, p % S)).collect();
        let area = on.len() as f64;
        // Radius 0.19 to 0.27 of the side, and stretching keeps the area; a pixel's width at the edge for rounding.
        let disc = |r: f64| std::f64::consts::PI * (r * S as f64).powi(2);
        assert!(area > 0.9 * disc(0.16) && area < 1.1 * disc(0.23), "image {i} has a badge of {area} pixels");
        assert!(on.iter().all(|&(h, w)| h > 0 && h < S - 1 && w > 0 && w < S - 1), "image {i}: badge at the edge");
        rows.push(on.iter().map(|p| p.0 as f64).sum::<f64>() / area);
        columns.push(on.iter().map(|p| p.1 as f64).sum::<f64>() / area);
        areas.push(area);
    }
    for (what, values) in [("row", rows), ("column", columns)] {
        let spread = values.iter().copied().fold(0.0, f64::max) - values.iter().copied().fold(f64::MAX, f64::min);
        assert!(spread > 0.4 * S as f64, "centres spread over {spread} {what}s only");
    }
    let largest = areas.iter().copied().fold(0.0, f64::max);
    let smallest = areas.iter().copied().fold(f64::MAX, f64::min);
    assert!(largest > 1.6 * smallest, "badges of {smallest} to {largest} pixels");
}

/// Colour tells nothing: the class means of each channel, inside and outside
/// of the badge, differ by no more than chance allows.
#[test]
fn colour_carries_no_class() {
    const EACH: usize = 100;
    let config = Synthetic { classes: 8, size: 32, ..small() };
    // values[class][region and channel]: the mean of each image.
    let mut values = vec![vec![Vec::new(); 6]; 8];
    for i in 0..8 * EACH {
        let Drawing { image, mask, label } = config.draw(Split::Train, i);
        let (mut sums, mut counts) = ([0.0; 6], [0.0; 6]);
        for (k, &value) in image.iter().enumerate() {
            let region = k % 3 + if mask[k / 3] == 255 { 0 } else { 3 };
            sums[region] += f64::from(value);
            counts[region] += 1.0;
        }
        (0..6).for_each(|region| values[label][region].push(sums[region] / counts[region]));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for region in 0..6 {
        let all: Vec<f64> = values.iter().flat_map(|class| class[region].clone()).collect();
        let squares: Vec<f64> = all.iter().map(|v| (v - mean(&all)).powi(2)).collect();
        // Four and a half standard errors for 48 comparisons.
        let tol = 4.5 * mean(&squares).sqrt() / (EACH as f64).sqrt();
        for (label, class) in values.iter().enumerate() {
            let off = mean(&class[region]) - mean(&all);
            assert!(off.abs() <= tol, "class {label}, region and channel {region}: {off:.1} off, {tol:.1} allowed");
        }
    }
}

#[test]
fn settings_that_cannot_be_drawn_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |config: Synthetic, part: &str| {
        let message = config.pack(&dir.path().join("set"), &|_| {}).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refuse(Synthetic { classes: 11, ..small() }, "11 classes: expected 2 to 10");
    refuse(Synthetic { classes: 4, first: 7, ..small() }, "4 classes from class 7 on: there are 10");
    refuse(Synthetic { classes: 1, ..small() }, "1 classes");
    refuse(Synthetic { size: 31, ..small() }, "31 px");
    refuse(Synthetic { val: 9, ..small() }, "9 validation images");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(Texture::ALL.map(Texture::name).iter().collect::<std::collections::HashSet<_>>().len(), 10);
}

/// The classes from `first` on are drawn as they are among all, by the names they have there.
#[test]
fn a_choice_of_classes_is_drawn_as_among_all() {
    let dir = tempfile::tempdir().unwrap();
    let some = Synthetic { classes: 3, first: 4, train: 5, val: 4, ..small() };
    let out = dir.path().join("set");
    some.pack(&out, &|_| {}).unwrap();
    let names: Vec<_> = Texture::ALL[4..7].iter().map(|texture| texture.name()).collect();
    assert_eq!(Dataset::open(&out).unwrap().classes(), names);
    // Class 4 + i % 3 here, i % 10 there: where they agree the draws are the same, and so is the image.
    let same = (0..30).find(|i| 4 + i % 3 == i % 10).unwrap();
    assert_eq!(some.draw(Split::Train, same).image, small().draw(Split::Train, same).image);
}
