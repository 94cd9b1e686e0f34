//! `zfnet pack synthetic`.

use zfnet::data::report::Summary;
use zfnet::data::synthetic::Synthetic;
use zfnet::error::Result;

use super::{Progress, Target};

/// Draw a data set whose discriminating part has a known place, and pack it with masks.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack synthetic -o data/synthetic --classes 8 --train 6000 --val 400")]
pub struct Args {
    #[command(flatten)]
    pub(super) target: Target,
    /// Number of classes, 2 to 10
    #[arg(long, default_value_t = Synthetic::default().classes)]
    classes: usize,
    /// The first of them, counted from 0: with it two data sets need share no class
    #[arg(long, default_value_t = Synthetic::default().first)]
    first: usize,
    /// Number of training images
    #[arg(long, default_value_t = Synthetic::default().train)]
    train: usize,
    /// Number of validation images
    #[arg(long, default_value_t = Synthetic::default().val)]
    val: usize,
    /// Side of the square records in pixels
    #[arg(long, default_value_t = Synthetic::default().size)]
    size: usize,
    /// Seed of every draw
    #[arg(long, default_value_t = Synthetic::default().seed)]
    seed: u64,
}

impl Args {
    /// Draws and packs.
    pub(super) fn pack(&self, progress: &Progress) -> Result<Summary> {
        let &Args { ref target, classes, first, train, val, size, seed } = self;
        let pack = Synthetic { classes, first, train, val, size, seed, force: target.force };
        pack.pack(&target.out, &|event| progress.hear(event))
    }
}
