//! Some of the images of a data set, as a data set of its own.
//!
//! Protocols draw their own splits. A selection counts the images of a data set from 0, those
//! of `train` before those of `val`, and shares the mapped shards: it costs twelve bytes an
//! image, and one pass over the images to learn from, for their mean.

use std::sync::Arc;

use super::{Dataset, Manifest, Records, Split, SplitEntry, presence};
use crate::error::{Error, Result};

impl Dataset {
    /// Number of images in both splits.
    pub fn images(&self) -> usize {
        Split::ALL.iter().map(|&split| self.split(split).len()).sum()
    }

    /// Image `i` of both splits, `train` before `val`: its split and its number there.
    pub fn locate(&self, i: usize) -> (Split, usize) {
        match i.checked_sub(self.train.len()) {
            None => (Split::Train, i),
            Some(i) => (Split::Val, i),
        }
    }

    /// Class of image `i` of both splits.
    pub fn label_of(&self, i: usize) -> usize {
        let (split, i) = self.locate(i);
        self.split(split).label(i)
    }

    /// The data set whose training images are `train`, in that order, and whose validation
    /// images are `val`; its mean image is that of `train`. It has no shards of its own: its
    /// [`Dataset::fingerprint`] is that of no images, and [`Dataset::verify`] has nothing to read.
    ///
    /// # Errors
    /// [`Error::Usage`] if `train` is empty or an image is not there.
    pub fn select(&self, train: &[usize], val: &[usize]) -> Result<Dataset> {
        if train.is_empty() {
            return Err(Error::Usage(format!("a selection of no image of {} to learn from", self.root.display())));
        }
        let (train, val) = (self.choose(train)?, self.choose(val)?);
        let entry = |records: &Records| {
            let mut per_class = vec![0; self.classes().len()];
            for i in 0..records.len() {
                match records.presence(i) {
                    None => per_class[records.label(i)] += 1,
                    Some(classes) => {
                        per_class.iter_mut().zip(classes).for_each(|(n, &p)| *n += usize::from(p == presence::PRESENT))
                    }
                }
            }
            SplitEntry { images: records.len(), per_class, shards: Vec::new() }
        };
        let manifest = Manifest { train: entry(&train), val: entry(&val), ..self.manifest.clone() };
        Ok(Dataset { root: self.root.clone(), manifest, mean: train.mean(), train, val })
    }

    fn choose(&self, images: &[usize]) -> Result<Records> {
        let first_val = self.train.shards.len() as u32;
        let shards = self.train.shards.iter().chain(&self.val.shards).map(Arc::clone).collect();
        let (mut places, mut labels) = (Vec::with_capacity(images.len()), Vec::with_capacity(images.len()));
        for &i in images {
            if i >= self.images() {
                let (root, there) = (self.root.display(), self.images());
                return Err(Error::Usage(format!("image {i} of {root}, which has {there} images")));
            }
            let (split, i) = self.locate(i);
            let records = self.split(split);
            let (shard, row) = records.places[i];
            places.push((shard + if split == Split::Val { first_val } else { 0 }, row));
            labels.push(records.labels[i]);
        }
        Ok(Records { size: self.size(), classes: self.classes().len(), shards, places, labels })
    }
}

impl Records {
    /// Per-pixel mean, (S, S, 3): sums of whole numbers, so that no order of the images matters.
    fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0u64; self.size * self.size * 3];
        for i in 0..self.len() {
            sums.iter_mut().zip(self.record(i)).for_each(|(sum, &pixel)| *sum += u64::from(pixel));
        }
        sums.iter().map(|&sum| (sum as f64 / self.len() as f64) as f32).collect()
    }
}
