//! The data sets that `zfnet pack` reads, and their arguments.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use zfnet::data::report::Summary;
use zfnet::data::sources::{
    self, Caltech, CaltechEdition, Cifar, CifarEdition, Csv, HoldOut, ImageFolder, ImageNet, Options, Voc2012,
};
use zfnet::error::Result;

use super::{DataSet, Progress, Target};

/// Pack a folder of JPEG and PNG images, one subfolder a class.
///
/// With train/ and val/ inside DIR, each of them holds the class folders.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack imagefolder photos -o data/photos --size 72")]
pub struct ImageFolderArgs {
    /// Folder with one subfolder a class, or with train/ and val/ that have them
    dir: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    held: Held,
}

/// Pack ImageNet 2012.
///
/// DIR holds ILSVRC2012_img_train.tar or train/, ILSVRC2012_img_val.tar or val/,
/// and ILSVRC2012_devkit_t12.tar.gz or its folder. Kaggle's edition:
/// ILSVRC/Data/CLS-LOC with LOC_synset_mapping.txt and LOC_val_solution.csv
/// put beside train/ and val/.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack imagenet ILSVRC2012 -o data/imagenet")]
pub struct ImageNetArgs {
    /// Folder with the tar files, or with what was in them
    dir: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Pack Caltech-101.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack caltech101 101_ObjectCategories.tar.gz -o data/caltech101")]
pub struct Caltech101Args {
    /// 101_ObjectCategories, its .tar.gz file, or a folder that has one of them
    path: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    held: Held,
    /// Keep BACKGROUND_Google as a class of its own
    #[arg(long)]
    with_background: bool,
}

/// Pack Caltech-256.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack caltech256 256_ObjectCategories.tar -o data/caltech256")]
pub struct Caltech256Args {
    /// 256_ObjectCategories, its .tar file, or a folder that has one of them
    path: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    held: Held,
    /// Keep 257.clutter as a class of its own
    #[arg(long)]
    with_clutter: bool,
}

/// Pack PASCAL VOC 2012 for classification, with all labels of each image.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack voc2012 VOCtrainval_11-May-2012.tar -o data/voc2012")]
pub struct Voc2012Args {
    /// VOCdevkit, VOC2012 or the .tar file
    path: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Pack CIFAR in its binary version.
///
/// A folder that has other .bin files than the standard ones (and
/// batches.meta.txt or fine_label_names.txt) is packed with a held-out share.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack cifar10 cifar-10-binary.tar.gz -o data/cifar10")]
pub struct CifarArgs {
    /// Folder with the .bin files, or the .tar.gz file
    path: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    held: Held,
}

/// Pack the images that a CSV file lists: columns path, label and, if there is one, split.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet pack csv birds.csv -o data/birds")]
pub struct CsvArgs {
    /// The table; paths in it are relative to its folder
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    held: Held,
}

/// What every source has.
#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    target: Target,
    /// Side of the square records in pixels: 256, or 32 for CIFAR, if nothing is said
    #[arg(long)]
    size: Option<usize>,
    /// Leave out the images that a text file names, one a line
    #[arg(long, value_name = "LIST")]
    exclude: Option<PathBuf>,
    /// Exit with 0 although files could not be decoded
    #[arg(long)]
    skip_bad: bool,
}

/// What is held out where a data set has no split of its own.
#[derive(clap::Args)]
struct Held {
    /// Share of each class held out for validation, where the data set has no split of its own
    #[arg(long, default_value_t = HoldOut::default().share)]
    val_fraction: f64,
    /// Seed of what is held out
    #[arg(long, default_value_t = HoldOut::default().seed)]
    seed: u64,
}

impl Held {
    fn hold_out(&self) -> HoldOut {
        HoldOut { share: self.val_fraction, seed: self.seed }
    }
}

/// A source with its settings.
pub(super) struct Job<'a> {
    source: Box<dyn sources::Source>,
    options: Options,
    pub(super) target: &'a Target,
    pub(super) skip_bad: bool,
}

impl Job<'_> {
    /// Packs it.
    pub(super) fn pack(&self, progress: &Progress, stop: &AtomicBool) -> Result<Summary> {
        sources::pack(&*self.source, &self.options, &self.target.out, &|event| progress.hear(event), stop)
    }
}

/// What the arguments ask for.
pub(super) fn job(set: &DataSet) -> Job<'_> {
    let cifar = |args: &CifarArgs, edition| Cifar { path: args.path.clone(), edition, hold_out: args.held.hold_out() };
    let (common, source): (&Common, Box<dyn sources::Source>) = match set {
        DataSet::Imagefolder(args) => {
            let source = ImageFolder { dir: args.dir.clone(), hold_out: args.held.hold_out() };
            (&args.common, Box::new(source))
        }
        DataSet::Imagenet(args) => (&args.common, Box::new(ImageNet { dir: args.dir.clone() })),
        DataSet::Caltech101(args) => {
            let (path, background, hold_out) = (args.path.clone(), args.with_background, args.held.hold_out());
            let source = Caltech { path, edition: CaltechEdition::C101, background, hold_out };
            (&args.common, Box::new(source))
        }
        DataSet::Caltech256(args) => {
            let (path, background, hold_out) = (args.path.clone(), args.with_clutter, args.held.hold_out());
            let source = Caltech { path, edition: CaltechEdition::C256, background, hold_out };
            (&args.common, Box::new(source))
        }
        DataSet::Voc2012(args) => (&args.common, Box::new(Voc2012 { path: args.path.clone() })),
        DataSet::Cifar10(args) => (&args.common, Box::new(cifar(args, CifarEdition::Ten))),
        DataSet::Cifar100(args) => (&args.common, Box::new(cifar(args, CifarEdition::Hundred))),
        DataSet::Csv(args) => {
            let source = Csv { file: args.file.clone(), hold_out: args.held.hold_out() };
            (&args.common, Box::new(source))
        }
    };
    let usual = match set {
        DataSet::Cifar10(_) | DataSet::Cifar100(_) => Cifar::SIDE,
        _ => Options::default().size,
    };
    let options =
        Options { size: common.size.unwrap_or(usual), force: common.target.force, exclude: common.exclude.clone() };
    Job { source, options, target: &common.target, skip_bad: common.skip_bad }
}
