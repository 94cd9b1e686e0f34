//! `zfnet eval`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::Result;
use zfnet::ops::Backend;
use zfnet::paper::voc;
use zfnet::train::average_precision::{ClassPrecision, mean};
use zfnet::train::device::Job;
use zfnet::train::evaluate::{Ensemble, TestCrops, same_classes};
use zfnet::train::model::Model;
use zfnet::train::score::Evaluation;

use crate::bar::Bar;
use crate::machine::Machine;
use crate::print::answer;
use crate::table::aligned;

/// Score trained networks on a packed data set
///
/// Several runs are judged together: the mean of their probabilities. Where images show several
/// classes (PASCAL VOC), top-1 and top-5 are of the first of them, and the average precision of each class is
/// listed beside the published one (Table 5).
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet eval runs/photos --data data/photos --crops 10")]
pub struct Args {
    /// Folders of runs, or checkpoint files
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Packed data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Which images: train or val
    #[arg(long, default_value = "val")]
    split: Split,

    /// Windows of each image: 1 for the centre, 10 for corners and centre with flips
    #[arg(long, value_name = "1|10", default_value = "1")]
    crops: TestCrops,

    /// Which checkpoint of a run: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Print one JSON object, confusion matrix included
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// One more network of the ensemble.
struct Add<'a> {
    model: Model,
    ensemble: &'a mut Ensemble,
    bar: &'a Bar,
}

impl Job for Add<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let mut net = self.model.net(backend, self.model.config.train.batch)?;
        self.ensemble.add(&mut net, &mut |done| self.bar.at(done as u64))
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let data = Arc::new(Dataset::open(&args.data)?);
    let images = data.split(args.split).len();
    if images == 0 {
        anyhow::bail!("{} has no {} images: choose another --split", args.data.display(), args.split);
    }
    let mut ensemble = Ensemble::new(&data, args.split, args.crops);
    for run in &args.runs {
        let model = Model::open(run, &args.checkpoint)?;
        same_classes(&model.checkpoint.header.classes, data.classes(), &model.path, data.root())?;
        let bar = Bar::new(images as u64, &model.path.display().to_string());
        device.run(Add { model, ensemble: &mut ensemble, bar: &bar })?;
    }
    let precision = ensemble.average_precision()?;
    let evaluation = ensemble.finish();
    if args.json {
        let mut answer = serde_json::to_value(&evaluation)?;
        answer["runs"] = json!(args.runs);
        answer["split"] = json!(args.split.name());
        answer["average_precision"] = json!(precision);
        answer!("{answer}")?;
    } else {
        print(&evaluation)?;
        if let Some(precision) = precision {
            print_precision(&precision)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Table 5: average precision in per cent, by the area as VOC 2012 has it, and by eleven points.
fn print_precision(classes: &[ClassPrecision]) -> std::io::Result<()> {
    let percent = |p: Option<f64>| p.map_or("-".into(), |p| format!("{p:.1}"));
    let hundred = |p: Option<f64>| percent(p.map(|p| 100.0 * p));
    let mut rows = vec![["average precision", "images", "area", "11-point", "paper"].map(String::from)];
    rows.extend(classes.iter().map(|c| {
        let (name, images) = (c.class.clone(), c.images.to_string());
        [name, images, hundred(c.area), hundred(c.eleven_point), percent(voc::published(&c.class))]
    }));
    let area = mean(classes.iter().map(|c| c.area));
    let eleven_point = mean(classes.iter().map(|c| c.eleven_point));
    let paper = classes.iter().all(|c| voc::published(&c.class).is_some()).then_some(voc::MEAN);
    rows.push(["mean".into(), String::new(), hundred(area), hundred(eleven_point), percent(paper)]);
    answer!("\n{}", aligned(&rows, 1))
}

fn print(evaluation: &Evaluation) -> std::io::Result<()> {
    let Evaluation { images, loss, top1, top5, per_class, confusion } = evaluation;
    answer!("images {images}\nloss   {loss:.4}\ntop-1  {top1:.4}\ntop-5  {top5:.4}\n")?;
    let width = per_class.iter().map(|c| c.class.chars().count()).max().unwrap_or(0).max(5);
    answer!("{:width$}  images   top-1   top-5  most often taken for", "class")?;
    let share = |s: Option<f64>| s.map_or("-".to_owned(), |s| format!("{s:.4}"));
    for (c, score) in per_class.iter().enumerate() {
        let others = confusion[c].iter().enumerate().filter(|&(k, &n)| k != c && n > 0);
        // max_by_key takes the last of equals; the first is asked for.
        let taken = others.rev().max_by_key(|&(_, &n)| n);
        let taken = taken.map_or(String::new(), |(k, n)| format!("{} ({n})", per_class[k].class));
        answer!(
            "{:width$}  {:6}  {:>6}  {:>6}  {taken}",
            score.class,
            score.images,
            share(score.top1),
            share(score.top5)
        )?;
    }
    Ok(())
}
