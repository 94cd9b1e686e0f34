//! Tables 1 and 2: rows, networks, and the published numbers.

use crate::error::{Error, Result};

/// What a column shows: errors in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// On the training images, the most probable class.
    TrainTop1,
    /// On the validation images, the most probable class.
    ValTop1,
    /// On the validation images, the five most probable classes.
    ValTop5,
    /// On ImageNet's test images, whose labels were never published: not ours to measure.
    TestTop5,
}

impl Measure {
    /// Its heading.
    pub fn name(self) -> &'static str {
        match self {
            Measure::TrainTop1 => "train top-1",
            Measure::ValTop1 => "val top-1",
            Measure::ValTop5 => "val top-5",
            Measure::TestTop5 => "test top-5",
        }
    }
}

/// A network of a row, with its seed counted from the seed of the repetition.
pub type Member = (&'static str, u64);

/// A row: one network, or several whose probabilities are averaged.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As the paper calls it.
    pub label: &'static str,
    /// Its networks.
    pub members: &'static [Member],
    /// What the paper reports, in the order of the columns.
    pub published: &'static [Option<f64>],
}

/// A table of the paper.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its number.
    pub number: u32,
    /// What it shows.
    pub title: &'static str,
    /// Its columns.
    pub measures: &'static [Measure],
    /// Its rows.
    pub rows: &'static [Row],
}

const fn row(label: &'static str, members: &'static [Member], published: &'static [Option<f64>]) -> Row {
    Row { label, members, published }
}

/// Table 1: single networks and ensembles on ImageNet 2012.
pub const TABLE_1: Table = Table {
    number: 1,
    title: "ImageNet 2012: single networks, and ensembles by the mean of their probabilities; error in %",
    measures: &[Measure::ValTop1, Measure::ValTop5, Measure::TestTop5],
    rows: &[
        row("Krizhevsky et al., replicated, 1 convnet", &[("alexnet", 0)], &[Some(40.5), Some(18.1), None]),
        row("1 convnet as per Fig. 3", &[("zfnet", 0)], &[Some(38.4), Some(16.5), None]),
        row("5 convnets as per Fig. 3 (a)", &FIVE, &[Some(36.7), Some(15.3), Some(15.3)]),
        row("1 convnet, layers 3,4,5: 512,1024,512 maps (b)", &[WIDE], &[Some(37.5), Some(16.0), Some(16.1)]),
        row("6 convnets, (a) and (b) together", &SIX, &[Some(36.0), Some(14.7), Some(14.8)]),
    ],
};

const FIVE: [Member; 5] = [("zfnet", 0), ("zfnet", 1), ("zfnet", 2), ("zfnet", 3), ("zfnet", 4)];
const WIDE: Member = ("zfnet-wide", 0);
const SIX: [Member; 6] = [FIVE[0], FIVE[1], FIVE[2], FIVE[3], FIVE[4], WIDE];

/// Table 2: what the layers are worth, each network trained from scratch.
pub const TABLE_2: Table = Table {
    number: 2,
    title: "ImageNet 2012: architectures changed, and trained from scratch; error in %",
    measures: &[Measure::TrainTop1, Measure::ValTop1, Measure::ValTop5],
    rows: &[
        row("Krizhevsky et al., replicated", &[("alexnet", 0)], &[Some(35.1), Some(40.5), Some(18.1)]),
        row("  layers 3,4 removed", &[("alexnet-no34", 0)], &[Some(41.8), Some(45.4), Some(22.1)]),
        row("  layer 7 removed", &[("alexnet-no7", 0)], &[Some(27.4), Some(40.0), Some(18.4)]),
        row("  layers 6,7 removed", &[("alexnet-no67", 0)], &[Some(27.4), Some(44.8), Some(22.4)]),
        row("  layers 3,4,6,7 removed", &[("alexnet-no3467", 0)], &[Some(71.1), Some(71.3), Some(50.1)]),
        row("  layers 6,7: 2048 units", &[("alexnet-fc2048", 0)], &[Some(40.3), Some(41.7), Some(18.8)]),
        row("  layers 6,7: 8192 units", &[("alexnet-fc8192", 0)], &[Some(26.8), Some(40.0), Some(18.1)]),
        row("Our model as per Fig. 3", &[("zfnet", 0)], &[Some(33.1), Some(38.4), Some(16.5)]),
        row("  layers 6,7: 2048 units", &[("zfnet-fc2048", 0)], &[Some(38.2), Some(40.2), Some(17.6)]),
        row("  layers 6,7: 8192 units", &[("zfnet-fc8192", 0)], &[Some(22.0), Some(38.8), Some(17.0)]),
        row("  layers 3,4,5: 512,1024,512 maps", &[WIDE], &[Some(18.8), Some(37.5), Some(16.0)]),
        row("  both: 8192 units, 512,1024,512", &[("zfnet-wide-fc8192", 0)], &[Some(10.0), Some(38.3), Some(16.9)]),
    ],
};

/// The tables of networks trained from scratch.
pub const TABLES: [&Table; 2] = [&TABLE_1, &TABLE_2];

impl Table {
    /// Table `number`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is none of [`TABLES`].
    pub fn numbered(number: u32) -> Result<&'static Table> {
        TABLES
            .into_iter()
            .find(|table| table.number == number)
            .ok_or_else(|| Error::Usage(format!("the paper has no table {number} that can be made: expected 1 to 6")))
    }
}
