//! Permutation, crop windows, and the batches made of them.

use std::collections::HashSet;
use std::sync::Arc;

use zfnet::data::augment::{Cropper, Crops, Window};
use zfnet::data::loader::{Batch, Loader, Order, Source, SplitSource};
use zfnet::data::packed::{Dataset, Split};
use zfnet::data::permutation::Permutation;
use zfnet::error::{Error, Result};

use crate::packed::{S, records, write_small};

#[test]
fn permutations_are_bijections() {
    for len in [1, 2, 3, 4, 5, 63, 64, 65, 1000, 1025, 4097, 100_003] {
        for (seed, epoch) in [(0, 0), (1, 0), (0, 1), (u64::MAX, 1 << 40)] {
            let permutation = Permutation::new(seed, epoch, len);
            let mut seen = vec![false; len];
            for i in 0..len {
                let at = permutation.at(i);
                assert!(!std::mem::replace(&mut seen[at], true), "len {len}: {at} comes twice");
            }
        }
    }
}

/// Over many epochs every element comes to every place equally often, and
/// neighbours do not stay neighbours.
#[test]
fn permutations_mix() {
    let (len, epochs) = (13, 13_000);
    let mut counts = vec![[0u32; 13]; len];
    let mut neighbours = 0;
    for epoch in 0..epochs {
        let permutation = Permutation::new(5, epoch, len);
        (0..len).for_each(|i| counts[i][permutation.at(i)] += 1);
        neighbours += (1..len).filter(|&i| permutation.at(i) == permutation.at(i - 1) + 1).count();
    }
    // 1000 expected, standard deviation sqrt(1000 * 12/13) = 30.4; five of them for 169 cells.
    for (i, row) in counts.iter().enumerate() {
        for (at, &count) in row.iter().enumerate() {
            assert!(count.abs_diff(1000) < 152, "element {i} comes to place {at} {count} times of 1000 expected");
        }
    }
    // 12 pairs, each followed with probability 1/13: 12000 expected, deviation near 110.
    assert!(neighbours.abs_diff(12_000) < 600, "{neighbours} neighbours, 12000 expected");
}

#[test]
fn the_ten_crops_are_those_of_the_paper() {
    let ten = Cropper::new(256, 224, 224).unwrap().ten();
    let offsets: HashSet<(usize, usize)> = ten.iter().map(|w| (w.top, w.left)).collect();
    assert_eq!(offsets, HashSet::from([(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]));
    assert_eq!(ten.iter().collect::<HashSet<_>>().len(), 10);
    assert_eq!(ten.iter().filter(|w| w.flip).count(), 5);
}

/// Pixels of one crop of a single-channel image.
fn cut(image: &[u8], record: usize, H: usize, W: usize, window: Window) -> Vec<u8> {
    let mut pixels = Vec::new();
    for h in 0..H {
        for w in 0..W {
            let column = if window.flip { W - 1 - w } else { w };
            pixels.push(image[(window.top + h) * record + window.left + column]);
        }
    }
    pixels
}

#[test]
fn ten_crops_of_a_mirrored_image_are_the_same_set() {
    // Even margins (4 and 2), different by direction.
    let (record, H, W) = (11, 7, 9);
    let image: Vec<u8> = (0..record * record).map(|i| (i * 97 % 251) as u8).collect();
    let mirrored: Vec<u8> = image.chunks(record).flat_map(|row| row.iter().rev().copied()).collect();
    let cropper = Cropper::new(record, H, W).unwrap();
    let set = |image: &[u8]| -> HashSet<Vec<u8>> {
        cropper.ten().iter().map(|&window| cut(image, record, H, W, window)).collect()
    };
    assert_eq!(set(&image), set(&mirrored));
    assert_eq!(set(&image).len(), 10);
    assert_ne!(cut(&image, record, H, W, cropper.centre()), cut(&mirrored, record, H, W, cropper.centre()));
}

#[test]
fn random_windows_reach_every_offset() {
    let cropper = Cropper::new(9, 6, 8).unwrap();
    let windows: HashSet<Window> = (0..600).map(|i| cropper.draw(3, Crops::Random, 2, i)).collect();
    assert_eq!(windows.len(), 4 * 2 * 2);
    assert!(windows.iter().all(|w| w.top <= 3 && w.left <= 1));
    let ten: HashSet<Window> = (0..600).map(|i| cropper.draw(3, Crops::Ten, 2, i)).collect();
    assert_eq!(ten, cropper.ten().into_iter().collect());
    let message = Cropper::new(64, 65, 10).unwrap_err().to_string();
    assert!(message.contains("65 x 10") && message.contains("64 x 64"), "{message}");
}

fn small() -> (tempfile::TempDir, Arc<Dataset>) {
    let dir = tempfile::tempdir().unwrap();
    write_small(&dir.path().join("set"), false).unwrap();
    let dataset = Arc::new(Dataset::open(dir.path().join("set")).unwrap());
    (dir, dataset)
}

fn train(epoch: u64, step: u64) -> Order {
    Order::Train { seed: 11, crops: Crops::Random, epoch, step }
}

fn take(loader: &mut Loader, n: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    for _ in 0..n {
        let batch = loader.next_batch().unwrap().unwrap();
        batches.push(batch.clone());
        loader.recycle(batch);
    }
    batches
}

#[test]
fn the_sequence_does_not_depend_on_threads_or_start() {
    let (_dir, dataset) = small();
    let loader =
        |order, threads| Loader::new(SplitSource::new(&dataset, Split::Train), order, 3, (5, 6), threads).unwrap();
    // 8 images in batches of 3: two full ones an epoch.
    let reference = take(&mut loader(train(0, 0), 1), 40);
    for threads in [2, 5] {
        assert!(take(&mut loader(train(0, 0), threads), 40) == reference, "{threads} threads change the sequence");
    }
    for (start, (epoch, step)) in [(1, (0, 1)), (2, (1, 0)), (35, (17, 1))] {
        assert!(take(&mut loader(train(epoch, step), 2), 5) == reference[start..start + 5], "start at {epoch}, {step}");
    }
    for (b, batch) in reference.iter().enumerate() {
        assert_eq!((batch.epoch, batch.step, batch.len()), (b as u64 / 2, b as u64 % 2, 3));
        for (n, &index) in batch.indices.iter().enumerate() {
            assert_eq!(batch.records()[n * S * S * 3..][..S * S * 3], records(index, 1), "batch {b}, image {n}");
            assert_eq!(batch.labels[n], [0, 1, 2, 0, 1, 2, 0, 0][index]);
            let window = &batch.windows[3 * n..3 * n + 3];
            assert!(window[0] <= 2 && window[1] <= 1 && window[2] <= 1 && window.iter().all(|&v| v >= 0));
        }
    }
    for epoch in reference.chunks(2) {
        let seen: HashSet<usize> = epoch.iter().flat_map(|batch| batch.indices.iter().copied()).collect();
        assert_eq!(seen.len(), 6, "an image came twice in epoch {}", epoch[0].epoch);
    }
    assert_ne!(reference[0].indices, reference[2].indices, "epochs 0 and 1 begin alike");
}

#[test]
fn sequential_order_keeps_the_last_images() {
    let (_dir, dataset) = small();
    for threads in [1, 3] {
        let source = SplitSource::new(&dataset, Split::Train);
        let mut loader = Loader::new(source, Order::Sequential, 3, (5, 5), threads).unwrap();
        let steps = loader.steps_per_epoch() as usize;
        let batches = take(&mut loader, steps);
        let indices: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(batches[2].len(), 2);
        assert_eq!(batches[2].records().len(), 2 * S * S * 3);
        assert_eq!(batches[2].windows, [1, 1, 0, 1, 1, 0]);
        assert!(loader.next_batch().unwrap().is_none());
        assert!(loader.next_batch().unwrap().is_none());
    }
}

#[test]
fn a_small_split_gives_one_batch_an_epoch() {
    let (_dir, dataset) = small();
    let mut loader = Loader::new(SplitSource::new(&dataset, Split::Val), train(0, 0), 64, (S, S), 2).unwrap();
    assert_eq!(loader.steps_per_epoch(), 1);
    for (epoch, batch) in take(&mut loader, 4).iter().enumerate() {
        assert_eq!((batch.epoch, batch.step, batch.len()), (epoch as u64, 0, 2));
    }
}

/// 100 images, of which one cannot be read or makes the reader panic.
struct Faulty {
    panics: bool,
}

impl Source for Faulty {
    fn images(&self) -> usize {
        100
    }

    fn size(&self) -> usize {
        S
    }

    fn read(&self, i: usize, _record: &mut [u8]) -> Result<usize> {
        match (i, self.panics) {
            (42, true) => panic!("a test of what happens then"),
            (42, false) => Err(Error::format("shard-00042", "record 42 is gone")),
            _ => Ok(0),
        }
    }
}

#[test]
fn a_worker_s_error_reaches_the_consumer_in_its_turn() {
    for (panics, expected) in [(false, "record 42 is gone"), (true, "panicked")] {
        let mut loader = Loader::new(Faulty { panics }, Order::Sequential, 10, (S, S), 3).unwrap();
        for b in 0..4 {
            assert_eq!(loader.next_batch().unwrap().unwrap().indices[0], b * 10);
        }
        let message = loader.next_batch().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(loader.next_batch().is_err(), "batches went on after an error");
    }
}

#[test]
fn dropping_a_loader_ends_its_threads() {
    let (_dir, dataset) = small();
    for taken in [0, 1, 7] {
        let source = SplitSource::new(&dataset, Split::Train);
        let mut loader = Loader::new(source, train(0, 0), 2, (3, 3), 4).unwrap();
        take(&mut loader, taken);
        drop(loader); // joins: the test would hang here
    }
    // Every thread held the data set; all have let go.
    assert_eq!(Arc::strong_count(&dataset), 1);
}

#[test]
fn an_empty_order_is_refused() {
    let (_dir, dataset) = small();
    let new = |batch, size| {
        Loader::new(SplitSource::new(&dataset, Split::Val), Order::Sequential, batch, (size, size), 1).map(|_| ())
    };
    assert!(new(0, S).unwrap_err().to_string().contains("batches of 0"));
    assert!(new(2, S + 1).unwrap_err().to_string().contains("--size"));
}
