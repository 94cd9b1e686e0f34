//! Crop windows: which part of a record the network sees, and whether mirrored.
//!
//! Records are squares of side `record`; a crop of `H` rows and `W` columns has
//! margins `record - H` and `record - W`. The ten fixed crops are the four
//! corners and the centre, each plain and mirrored: offsets `{0, m} x {0, m}`
//! and `m / 2`. With even margins the ten crops of a mirrored image are the
//! same set of pictures as those of the image itself.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::philox::{Purpose, Stream};

/// Where a crop lies in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Whether the crop is mirrored left to right.
    pub flip: bool,
}

impl Window {
    /// The layout that the crop op reads: top, left, 1 if flipped.
    pub fn to_ints(self) -> [i32; 3] {
        [self.top as i32, self.left as i32, i32::from(self.flip)]
    }
}

/// How training crops are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crops {
    /// Any offset inside the record, mirrored half of the time.
    #[default]
    Random,
    /// One of the ten fixed crops.
    Ten,
}

impl FromStr for Crops {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "random" => Ok(Crops::Random),
            "ten" => Ok(Crops::Ten),
            _ => Err(Error::Usage(format!("crops is \"{name}\": expected \"random\" or \"ten\""))),
        }
    }
}

/// Sizes of the crops of a data set. Build it with [`Cropper::new`], which checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cropper {
    /// Rows that can be left out: record - H.
    margin_h: usize,
    /// Columns that can be left out: record - W.
    margin_w: usize,
}

impl Cropper {
    /// Crops of `H` x `W` pixels from square records of side `record`.
    pub fn new(record: usize, H: usize, W: usize) -> Result<Self> {
        match (record.checked_sub(H), record.checked_sub(W)) {
            (Some(margin_h), Some(margin_w)) => Ok(Cropper { margin_h, margin_w }),
            _ => Err(Error::shape(
                "crop",
                format!(
                    "the network wants {H} x {W} crops but the records are {record} x {record}: pack at a larger --size"
                ),
            )),
        }
    }

    /// The middle of the record, not mirrored.
    pub fn centre(&self) -> Window {
        Window { top: self.margin_h / 2, left: self.margin_w / 2, flip: false }
    }

    /// The four corners and the centre, first plain, then mirrored.
    pub fn ten(&self) -> [Window; 10] {
        std::array::from_fn(|i| Window { flip: i >= 5, ..self.five(i % 5) })
    }

    /// Corner `i` in row-major order, or the centre for 4.
    fn five(&self, i: usize) -> Window {
        if i == 4 {
            return self.centre();
        }
        Window { top: (i / 2) * self.margin_h, left: (i % 2) * self.margin_w, flip: false }
    }

    /// The training crop of the image at place `position` of epoch `epoch`:
    /// a pure function of these and the seed.
    pub fn draw(&self, seed: u64, crops: Crops, epoch: u64, position: u64) -> Window {
        let words = Stream::new(seed, Purpose::Augment, 0).block(epoch, position);
        let below = |word: u32, bound: usize| ((u64::from(word) * bound as u64) >> 32) as usize;
        match crops {
            Crops::Random => Window {
                top: below(words[0], self.margin_h + 1),
                left: below(words[1], self.margin_w + 1),
                flip: words[2] >> 31 == 1,
            },
            Crops::Ten => self.ten()[below(words[0], 10)],
        }
    }
}
