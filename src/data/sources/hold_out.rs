//! A seeded share of every class for validation, where a data set has no split of its own.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use super::Item;
use crate::data::permutation::Permutation;
use crate::error::{Error, Result};

/// What to hold out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoldOut {
    /// Share of each class, in 0..1.
    pub share: f64,
    /// Keys the choice.
    pub seed: u64,
}

impl Default for HoldOut {
    fn default() -> Self {
        HoldOut { share: 0.1, seed: 0 }
    }
}

impl fmt::Display for HoldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of each class held out for val with seed {}", self.share, self.seed)
    }
}

impl HoldOut {
    /// Refuses a share that cannot be one.
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.share) {
            let share = self.share;
            return Err(Error::Usage(format!("the share held out for val is {share}: expected 0 <= share < 1")));
        }
        Ok(())
    }

    /// Divides `items` into train and val, each in the given order: of each
    /// class the rounded share, but at least one image and not all of them.
    pub(super) fn divide(&self, root: &Path, classes: &[String], items: Vec<Item>) -> Result<(Vec<Item>, Vec<Item>)> {
        self.check()?;
        if self.share == 0.0 {
            return Ok((items, Vec::new()));
        }
        let mut by_class = vec![Vec::new(); classes.len()];
        for (i, item) in items.iter().enumerate() {
            by_class[usize::from(item.label)].push(i);
        }
        let mut chosen = HashSet::new();
        for (c, members) in by_class.iter().enumerate() {
            let n = members.len();
            if n < 2 {
                let class = &classes[c];
                let advice = "so none can be held out: add images, or set the share for val to 0";
                return Err(Error::format(root, format!("class \"{class}\" has {n} images, {advice}")));
            }
            let held = ((n as f64 * self.share).round() as usize).clamp(1, n - 1);
            let permutation = Permutation::new(self.seed, c as u64, n);
            chosen.extend((0..held).map(|i| members[permutation.at(i)]));
        }
        let (mut train, mut val) = (Vec::new(), Vec::new());
        for (i, item) in items.into_iter().enumerate() {
            if chosen.contains(&i) { val.push(item) } else { train.push(item) }
        }
        Ok((train, val))
    }
}
