//! Which images a fold learns from and is judged on: the protocol of the Caltech data sets.
//!
//! In every fold the images of each class are shuffled. The first N are to learn from; of the
//! rest at most M, counted from the end, are to judge by. So for one fold the images to learn
//! from grow with N and, where a class is large enough, those to judge by stay the same: the
//! points of a curve differ by N alone.

use crate::data::packed::presence::PRESENT;
use crate::data::packed::{Dataset, Split};
use crate::error::{Error, Result};
use crate::philox::{Purpose, Stream};

/// The protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Images of a class to judge by, at most.
    pub max_test: usize,
    /// Keys the shuffles.
    pub seed: u64,
}

/// One draw of images, each part sorted by class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Its number, counted from 0.
    pub number: usize,
    /// Images of each class to learn from.
    pub per_class: usize,
    /// The images to learn from: N of class 0, N of class 1, ...
    pub train: Vec<usize>,
    /// The images to judge by.
    pub test: Vec<usize>,
}

impl Protocol {
    /// Fold `number` with `per_class` images of each class to learn from.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the class with the fewest images if that is too few, or if
    /// there is nothing to tell apart.
    pub fn fold(&self, labels: &[u16], classes: &[String], per_class: usize, number: usize) -> Result<Fold> {
        if per_class < 2 || self.max_test == 0 || classes.len() < 2 {
            return Err(Error::Usage(format!(
                "{per_class} images a class to learn from and {} to judge by, of {} classes: at least 2 (one is held out \
                 to choose the regularisation), 1 and 2 are needed",
                self.max_test,
                classes.len()
            )));
        }
        let mut of_class = vec![Vec::new(); classes.len()];
        labels.iter().enumerate().for_each(|(i, &label)| of_class[usize::from(label)].push(i));
        let fewest = of_class.iter().enumerate().min_by_key(|(_, images)| images.len());
        if let Some((c, images)) = fewest.filter(|(_, images)| images.len() <= per_class) {
            return Err(Error::Usage(format!(
                "class {} has {} images: {per_class} to learn from and 1 to judge by need {}; ask for fewer with --per-class",
                classes[c],
                images.len(),
                per_class + 1
            )));
        }
        let stream = Stream::new(self.seed, Purpose::Protocol, number as u32);
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (c, images) in of_class.iter_mut().enumerate() {
            for i in (1..images.len()).rev() {
                images.swap(i, stream.below(c as u64, i as u64, i as u32 + 1) as usize);
            }
            train.extend_from_slice(&images[..per_class]);
            test.extend_from_slice(&images[images.len().saturating_sub(self.max_test).max(per_class)..]);
        }
        Ok(Fold { number, per_class, train, test })
    }

    /// Folds 0 to `folds` for each number of images a class.
    ///
    /// # Errors
    /// Those of [`Protocol::fold`].
    pub fn folds(&self, labels: &[u16], classes: &[String], per_class: &[usize], folds: usize) -> Result<Vec<Fold>> {
        let each = per_class.iter().flat_map(|&per_class| (0..folds).map(move |number| (per_class, number)));
        each.map(|(per_class, number)| self.fold(labels, classes, per_class, number)).collect()
    }
}

/// Images with the class that each is an example of. An image that shows several classes
/// is there once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examples {
    /// The images, sorted by class.
    pub rows: Vec<usize>,
    /// Their classes.
    pub labels: Vec<usize>,
}

impl Examples {
    /// The images `rows`, which are sorted by class, with the one class that each has in `labels`.
    pub fn of(rows: &[usize], labels: &[u16]) -> Self {
        Examples { rows: rows.to_vec(), labels: rows.iter().map(|&i| labels[i].into()).collect() }
    }

    /// The training images of a data set whose images show several classes, each once for every
    /// class that is present in it: what a softmax over the classes learns from (Table 5).
    ///
    /// # Errors
    /// [`Error::Usage`] if its images show one class each.
    pub fn present(data: &Dataset) -> Result<Self> {
        let records = data.split(Split::Train);
        let presence: Option<Vec<&[u8]>> = (0..records.len()).map(|i| records.presence(i)).collect();
        let presence = presence.filter(|_| data.manifest().multi_label).ok_or_else(|| {
            Error::Usage(format!(
                "the images of {} show one class each: average precision wants several, as zfnet pack voc2012 makes them",
                data.root().display()
            ))
        })?;
        let mut examples = Examples::default();
        for (c, _) in data.classes().iter().enumerate() {
            let rows = (0..records.len()).filter(|&i| presence[i][c] == PRESENT);
            examples.rows.extend(rows);
            examples.labels.resize(examples.rows.len(), c);
        }
        Ok(examples)
    }

    /// Positions to learn from and to hold out while the regularisation is chosen: the last
    /// third of each class is held out.
    pub fn held_out(&self) -> (Vec<usize>, Vec<usize>) {
        let (mut learned, mut held, mut first) = (Vec::new(), Vec::new(), 0);
        for class in self.labels.chunk_by(|a, b| a == b) {
            let middle = first + class.len() - class.len().div_ceil(3);
            learned.extend(first..middle);
            first += class.len();
            held.extend(middle..first);
        }
        (learned, held)
    }
}
