//! `zfnet visualize correspondence`.

use std::path::PathBuf;
use std::process::ExitCode;

use zfnet::error::{Error, Result};
use zfnet::net::{Field, Net};
use zfnet::ops::Backend;
use zfnet::report::correspondence::{Correspondence, Row};
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::understand::correspondence::{Hamming, Mark, changes, compared, hamming, random_square, square_at};
use zfnet::understand::occlusion::Fill;

use super::marks::{Marks, Place};
use crate::bar::Bar;
use crate::print::answer;
use crate::table::aligned;
use crate::visualize::{Common, folder, open_data};

/// Images in a pass.
const BATCH: usize = 32;

/// Random places are drawn so many times for each part.
const DRAWS: usize = 10;

/// Whether the same part of different images is the same to the network
///
/// A square hides the part on each image. The score is the share of units that change
/// differently from image to image, in the last layer before the linear ones and in the
/// one below the classifier; it is the smaller the better, against places drawn at random.
/// MARKS.toml has a table for each image, with places in pixels of the file:
///
///   [[image]]
///   file = "a.jpg"
///   parts = { nose = [120, 88], left_eye = [70, 60] }    # row, column
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  zfnet visualize correspondence runs/photos dogs.toml\n  \
    zfnet visualize correspondence runs/demo/run --data runs/demo/data",
    verbatim_doc_comment
)]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Parts marked on images
    #[arg(value_name = "MARKS.toml", required_unless_present = "data", conflicts_with = "data")]
    marks: Option<PathBuf>,

    /// Packed data set with masks: the masked part of the first five validation images of each class
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Side of the square that hides, in pixels of the network's input [default: a quarter of it]
    #[arg(long, value_name = "PX")]
    square: Option<usize>,

    #[command(flatten)]
    common: Common,
}

/// Images of each class that --data takes, as many as the paper's.
const IMAGES: usize = 5;

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.common.machine.open()?;
    let model = Model::open(&args.run, &args.common.checkpoint)?;
    let layers = compared(&model.plan)?;
    let marks = match (&args.marks, &args.data) {
        (Some(path), _) => Marks::read(path, &model)?,
        (None, Some(data)) => Marks::of_masks(&open_data(data, &model)?, IMAGES, &model)?,
        (None, None) => anyhow::bail!("give MARKS.toml or --data"),
    };
    if let Some((name, _)) = marks.parts.iter().find(|(_, places)| places.len() < 2) {
        return Err(Error::Usage(format!("{name} is marked on one image: mark it on two or more to compare")).into());
    }
    let side = args.square.unwrap_or(model.plan.input.H / 4);
    let out = folder(args.common.out.as_deref(), &model)?;
    let table = device.run(Compare { model: &model, marks: &marks, layers: &layers, side })?;
    table.save(&out)?;
    match args.common.json {
        true => answer!("{}", serde_json::to_string(&table)?)?,
        false => answer!("{}\n{}", text(&table), out.join("correspondence.csv").display())?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Compare<'a> {
    model: &'a Model,
    marks: &'a Marks,
    layers: &'a [String; 2],
    side: usize,
}

impl Job for Compare<'_> {
    type Output = Correspondence;

    fn run<B: Backend>(self, backend: B) -> Result<Correspondence> {
        let Compare { model, marks, layers, side } = self;
        let (input, seed) = (model.plan.input, model.config.train.seed);
        let mut net = model.net(backend, BATCH)?;
        let mut rows = Vec::new();
        let bar = Bar::new(marks.parts.len() as u64, "parts");
        for (i, (part, places)) in marks.parts.iter().enumerate() {
            let square = |place: &Place| square_at(place.row, place.column, side, input);
            let squares = places.iter().map(square).collect::<Result<Vec<_>>>()?;
            let found = self.scores(&mut net, places, &squares)?;
            let mut random = Vec::new();
            for draw in 0..DRAWS as u64 {
                let square = |place: &Place| random_square(seed, draw, place.record as u64, side, input);
                let squares: Vec<Field> = places.iter().map(square).collect();
                random.push(self.scores(&mut net, places, &squares)?);
            }
            for (l, layer) in layers.iter().enumerate() {
                let spread = |value: &dyn Fn(&Hamming) -> f64| {
                    let values: Vec<f64> = random.iter().map(|both| value(&both[l])).collect();
                    mean_and_deviation(&values)
                };
                rows.push(Row {
                    part: part.clone(),
                    layer: layer.clone(),
                    images: places.len(),
                    raw: found[l].raw,
                    raw_random: spread(&|h| h.raw),
                    normalised: found[l].normalised,
                    normalised_random: spread(&|h| h.normalised),
                });
            }
            bar.at(i as u64 + 1);
        }
        Ok(Correspondence { square: side, draws: DRAWS, rows })
    }
}

impl Compare<'_> {
    /// The scores of both layers when `squares` hide the places' images.
    fn scores<B: Backend>(&self, net: &mut Net<B>, places: &[Place], squares: &[Field]) -> Result<[Hamming; 2]> {
        let checkpoint = &self.model.checkpoint;
        let record = |place: &Place| self.marks.records[place.record].as_slice();
        let marks: Vec<Mark> =
            places.iter().zip(squares).map(|(place, &square)| Mark { record: record(place), square }).collect();
        let hiding = Fill::Grey.record(&checkpoint.mean.data);
        let changes = changes(net, &marks, checkpoint.header.record, &hiding, self.layers)?;
        let score = |changes: &Vec<Vec<i8>>| hamming(changes);
        match [score(&changes[0]), score(&changes[1])] {
            [Some(five), Some(seven)] => Ok([five, seven]),
            _ => Err(Error::Usage("one image alone has nothing to be compared with".into())),
        }
    }
}

/// Mean, and standard deviation of the sample.
fn mean_and_deviation(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    [mean, (squares / (n - 1.0).max(1.0)).sqrt()]
}

fn text(table: &Correspondence) -> String {
    let head = ["part", "layer", "images", "raw", "at random", "normalised", "at random"].map(str::to_owned);
    let spread = |[mean, deviation]: [f64; 2]| format!("{mean:.3} +- {deviation:.3}");
    let row = |row: &Row| {
        let (raw, normalised) = (format!("{:.3}", row.raw), format!("{:.3}", row.normalised));
        let images = row.images.to_string();
        let (raw_random, random) = (spread(row.raw_random), spread(row.normalised_random));
        [row.part.clone(), row.layer.clone(), images, raw, raw_random, normalised, random]
    };
    let rows: Vec<_> = std::iter::once(head).chain(table.rows.iter().map(row)).collect();
    aligned(&rows, 2)
}
