//! `zfnet visualize invariance`.

use std::path::PathBuf;
use std::process::ExitCode;

use zfnet::error::Result;
use zfnet::ops::Backend;
use zfnet::report::invariance::{Invariance, KindResponses};
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::understand::invariance::{Kind, compared, responses};
use zfnet::understand::occlusion::{View, clear};

use super::occlusion::{class_of, read_record};
use crate::bar::Bar;
use crate::print::answer;
use crate::visualize::{Common, folder};

/// Images in a pass.
const BATCH: usize = 32;

/// What moving, enlarging and turning an image does to its features
///
/// For vertical translation, scale and rotation: how far the features of the first layer and
/// of the one below the classifier go from those of the image as it is, and what becomes of
/// the probability of its class. The class is the name of the image's folder if it is one of
/// the classes, and otherwise what the network takes the image for.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet visualize invariance runs/photos roses/a.jpg tulips/b.jpg")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    #[command(flatten)]
    common: Common,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.common.machine.open()?;
    let model = Model::open(&args.run, &args.common.checkpoint)?;
    compared(&model.plan)?;
    let records = args.images.iter().map(|file| read_record(file, &model)).collect::<Result<Vec<_>>>()?;
    let out = folder(args.common.out.as_deref(), &model)?;
    let figure = device.run(Follow { args, model: &model, records: &records })?;
    figure.draw(&out)?;
    match args.common.json {
        true => answer!("{}", serde_json::to_string(&figure)?)?,
        false => answer!("{}", out.join("invariance.png").display())?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Follow<'a> {
    args: &'a Args,
    model: &'a Model,
    records: &'a [Vec<u8>],
}

impl Job for Follow<'_> {
    type Output = Invariance;

    fn run<B: Backend>(self, backend: B) -> Result<Invariance> {
        let Follow { args, model, records } = self;
        let (input, size, classes) =
            (model.plan.input, model.checkpoint.header.record, &model.checkpoint.header.classes);
        let mut net = model.net(backend, BATCH)?;
        let layers = compared(&model.plan)?;
        let mut kinds = Kind::ALL.map(|kind| KindResponses::new(kind, kind.amounts(input.H)));
        let mut images = Vec::new();
        let bar = Bar::new(records.len() as u64, "images");
        for (i, (file, record)) in args.images.iter().zip(records).enumerate() {
            let predicted = clear(&mut net, View::centre(record, size, input)?, layers[0])?.labels()[0];
            let class = class_of(None, file, classes).unwrap_or(predicted);
            for (kind, found) in Kind::ALL.into_iter().zip(&mut kinds) {
                let responses = responses(&mut net, record, size, class, kind, &found.amounts.clone())?;
                found.add(&responses);
            }
            let name =
                file.file_name().map_or_else(|| file.display().to_string(), |n| n.to_string_lossy().into_owned());
            images.push(format!("{name} ({})", classes[class]));
            bar.at(i as u64 + 1);
        }
        drop(bar);
        Ok(Invariance { layers: layers.map(str::to_owned), images, kinds: kinds.to_vec() })
    }
}
