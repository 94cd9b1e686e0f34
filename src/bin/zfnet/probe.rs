//! `zfnet probe`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zfnet::data::packed::Dataset;
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::report::probe::{Method, Outcome, Probe};
use zfnet::train::device::{Device, Job};
use zfnet::train::model::Model;
use zfnet::train::observer::Observer;
use zfnet::train::{Config, TrainEdit};
use zfnet::transfer::extract::{bytes, extract};
use zfnet::transfer::features::{Features, subject};
use zfnet::transfer::keep;
use zfnet::transfer::objective::Classifier;
use zfnet::transfer::retained::Retained;
use zfnet::transfer::scratch;
use zfnet::transfer::split::{Fold, Protocol};
use zfnet::transfer::study::Study;

use crate::bar::Bar;
use crate::machine::Machine;
use crate::print::{answer, talk};
use crate::table;
use crate::terminal::Terminal;

/// Train linear classifiers on the features of a trained network's layers
///
/// The network is frozen, and its classes need not be those of the data. All images, train and
/// val together, go through it once; their features stay in OUT/features.safetensors and are
/// used again. Then, for each number of images a class and each fold, images are drawn anew,
/// and on each layer a classifier is trained: C is chosen between 1e-4 and 1e2 on a third of the
/// images it learns from. The accuracy is the mean over classes, on at most --max-test images of
/// each. OUT gets probe.png, probe.csv and probe.json; what an earlier command with the same
/// network, images, --seed and --max-test found there stays in them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  zfnet probe runs/photos --data data/caltech101 --per-class 15,30
  zfnet probe runs/photos --data data/caltech101 --per-class 15,30 --from-scratch")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Packed data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Layers, counted from the image: 1..7, or 1,5,7, or all
    #[arg(long, value_name = "LAYERS", default_value = "all")]
    layers: String,

    /// What to train on them: softmax, svm or both
    #[arg(long, value_name = "WHICH", default_value = "both", value_parser = ["softmax", "svm", "both"])]
    classifier: String,

    /// Images of each class to learn from
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "15,30")]
    per_class: Vec<usize>,

    /// How often images are drawn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    folds: u32,

    /// Images of each class to judge by, at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_test: usize,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Train the whole network on the same images instead, with the run's own settings
    #[arg(long, conflicts_with_all = ["layers", "classifier", "keep_models"])]
    from_scratch: bool,

    /// Passes over those images [default: as many as in the run]
    #[arg(long, value_name = "N", requires = "from_scratch")]
    epochs: Option<usize>,

    /// Keep every classifier in OUT/models
    #[arg(long)]
    keep_models: bool,

    /// Which checkpoint of the run: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Folder for features and results [default: RUN/probe]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let model = Model::open(&args.run, &args.checkpoint)?;
    let data = Dataset::open(&args.data)?;
    one_class(&data)?;
    model.takes(&data)?;
    let layers = Retained::choose(&model.plan, &args.layers)?;
    let labels: Vec<u16> = (0..data.images()).map(|i| data.label_of(i) as u16).collect();
    let protocol = Protocol { max_test: args.max_test, seed: args.seed };
    let mut per_class = args.per_class.clone();
    per_class.sort_unstable();
    per_class.dedup();
    let folds = protocol.folds(&labels, data.classes(), &per_class, args.folds as usize)?;
    let beside = || model.path.parent().unwrap_or(Path::new(".")).join("probe");
    let out = args.out.clone().unwrap_or_else(beside);
    fs::create_dir_all(&out).map_err(Error::io("create", &out))?;
    let mut probe = new_probe(args, &model, &data).with_earlier(&out)?;
    let mut terminal = Terminal::new()?;
    let task = Task { args, device, model: &model, data: &data, layers: &layers, folds: &folds, out: &out };
    match args.from_scratch {
        true => task.train_scratch(&mut terminal, &mut probe)?,
        false => task.on_layers(&mut terminal, &mut probe)?,
    }
    drop(terminal);
    match args.json {
        true => answer!("{}", probe.to_json()?)?,
        false => print(&probe, &out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Images of one class each.
fn one_class(data: &Dataset) -> Result<()> {
    match data.manifest().multi_label {
        false => Ok(()),
        true => Err(Error::Usage(format!(
            "the images of {} show several classes each, and a probe learns and counts one: zfnet table 5 is for them",
            data.root().display()
        ))),
    }
}

fn new_probe(args: &Args, model: &Model, data: &Dataset) -> Probe {
    Probe {
        subject: subject(model, data),
        run: model.path.display().to_string(),
        data: data.root().display().to_string(),
        classes: data.classes().len(),
        images: data.images(),
        max_test: args.max_test,
        seed: args.seed,
        outcomes: Vec::new(),
    }
}

/// What is asked for, opened and checked.
struct Task<'a> {
    args: &'a Args,
    device: Device,
    model: &'a Model,
    data: &'a Dataset,
    layers: &'a [Retained],
    folds: &'a [Fold],
    out: &'a Path,
}

impl Task<'_> {
    /// Classifiers on frozen layers.
    fn on_layers(&self, terminal: &mut Terminal, probe: &mut Probe) -> anyhow::Result<()> {
        let Task { args, device, model, data, layers, folds, out } = *self;
        let features = features(device, model, data, layers, out, terminal)?;
        let classifiers = match args.classifier.as_str() {
            "both" => Classifier::ALL.to_vec(),
            name => vec![name.parse()?],
        };
        let study =
            Study { features: &features, layers, classes: data.classes().len(), classifiers: &classifiers, folds };
        let models = out.join("models");
        if args.keep_models {
            fs::create_dir_all(&models).map_err(Error::io("create", &models))?;
        }
        let job = Classify { study, models: args.keep_models.then_some(&models), probe, terminal };
        device.in_f32().run(job)?;
        Ok(probe.draw(out)?)
    }

    /// The whole network on the same images. Results are saved after each fold, for each takes long.
    fn train_scratch(&self, terminal: &mut Terminal, probe: &mut Probe) -> anyhow::Result<()> {
        let Task { args, device, model, data, folds, out, .. } = *self;
        let mut config = model.config.clone();
        config.train.apply(&TrainEdit { epochs: args.epochs, ..TrainEdit::default() });
        for fold in folds {
            let folder = out.join("scratch").join(format!("seed{}-n{}-fold{}", args.seed, fold.per_class, fold.number));
            let accuracy = device.run(Scratch { config: &config, data, fold, folder: &folder, terminal })?;
            let (per_class, number) = (fold.per_class, fold.number);
            probe.add(Outcome { method: Method::Scratch, per_class, fold: number, accuracy, training: None });
            probe.draw(out)?;
        }
        Ok(())
    }
}

/// The features of all images in `out`: those that are there, or from a pass over the images.
pub fn features(
    device: Device,
    model: &Model,
    data: &Dataset,
    layers: &[Retained],
    out: &Path,
    terminal: &mut Terminal,
) -> anyhow::Result<Features> {
    let subject = format!("{}, {device}", subject(model, data));
    let path = out.join("features.safetensors");
    if let Some(features) = Features::open(&path, &subject, layers)? {
        talk!("the features in {} are taken as they are", path.display());
        return Ok(features);
    }
    talk!("features of {} images: {}", data.images(), table::bytes(bytes(layers, data.images())));
    Ok(device.run(Extract { model, data, layers, subject: &subject, path: &path, terminal })?)
}

/// The pass over the images.
struct Extract<'a> {
    model: &'a Model,
    data: &'a Dataset,
    layers: &'a [Retained],
    subject: &'a str,
    path: &'a Path,
    terminal: &'a mut Terminal,
}

impl Job for Extract<'_> {
    type Output = Features;

    fn run<B: Backend>(self, backend: B) -> Result<Features> {
        let Extract { model, data, layers, subject, path, terminal } = self;
        let mut net = model.net(backend, model.config.train.batch)?;
        let bar = Bar::new(data.images() as u64, "features");
        extract(&mut net, data, layers, subject, path, &mut |done| {
            bar.at(done as u64);
            !terminal.stop()
        })
    }
}

/// The classifiers.
struct Classify<'a> {
    study: Study<'a>,
    models: Option<&'a PathBuf>,
    probe: &'a mut Probe,
    terminal: &'a mut Terminal,
}

impl Job for Classify<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let Classify { study, models, probe, terminal } = self;
        let bar = Bar::new(study.outcomes() as u64, "classifiers");
        let mut done = 0;
        study.run(backend, &mut |outcome| {
            if let Some(models) = models {
                keep::save(&models.join(keep::file_name(outcome)), outcome)?;
            }
            probe.add(Outcome::from(outcome));
            done += 1;
            bar.at(done);
            match terminal.stop() {
                true => Err(Error::Interrupted("the features are kept, the results are not".into())),
                false => Ok(()),
            }
        })
    }
}

struct Scratch<'a> {
    config: &'a Config,
    data: &'a Dataset,
    fold: &'a Fold,
    folder: &'a Path,
    terminal: &'a mut Terminal,
}

impl Job for Scratch<'_> {
    type Output = f64;

    fn run<B: Backend>(self, backend: B) -> Result<f64> {
        scratch::train(backend, self.config, self.data, self.fold, self.folder, self.terminal)
    }
}

/// A row for each method, a column for each number of images.
fn print(probe: &Probe, out: &Path) -> anyhow::Result<()> {
    let means = probe.means();
    let mut columns: Vec<usize> = means.iter().map(|mean| mean.per_class).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut rows = vec![vec!["method".to_owned(), "features".to_owned()]];
    rows[0].extend(columns.iter().map(|n| format!("{n} a class")));
    for of_method in means.chunk_by(|a, b| a.method == b.method) {
        let method = &of_method[0].method;
        let features = match method {
            Method::Probe { blob, d, .. } => format!("{blob}, {}", table::grouped(*d as u64)),
            Method::Scratch => String::new(),
        };
        let mut row = vec![method.name(), features];
        row.extend(columns.iter().map(|n| match of_method.iter().find(|mean| mean.per_class == *n) {
            Some(m) => match m.sd {
                Some(sd) => format!("{:.1} +- {:.1}", 100.0 * m.mean, 100.0 * sd),
                None => format!("{:.1}", 100.0 * m.mean),
            },
            None => "-".to_owned(),
        }));
        rows.push(row);
    }
    let folds = means.iter().map(|mean| mean.folds).max().unwrap_or(0);
    answer!(
        "{} images of {} classes: mean of per-class accuracy in %, over {folds} folds\n",
        probe.images,
        probe.classes
    )?;
    answer!("{}", table::aligned(&rows, 2))?;
    answer!("{}", out.join("probe.png").display())?;
    Ok(())
}
