//! `zfnet predict`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rayon::prelude::*;
use serde_json::json;
use zfnet::data::decode::decode_file;
use zfnet::data::resize::centre_square;
use zfnet::error::{Error, Result};
use zfnet::ops::Backend;
use zfnet::train::device::Job;
use zfnet::train::evaluate::{TestCrops, probabilities};
use zfnet::train::model::Model;
use zfnet::train::score::most_probable;

use crate::machine::Machine;
use crate::print::{answer, talk};

/// Images decoded and judged at a time.
const BATCH: usize = 32;

/// Classes listed for each image.
const TOP: usize = 5;

/// Name what image files show
///
/// A file that cannot be read is reported by name, the others are still judged,
/// and the exit status is 1.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet predict runs/photos rose.jpg tulip.jpg --crops 10")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Windows of each image: 1 for the centre, 10 for corners and centre with flips
    #[arg(long, value_name = "1|10", default_value = "1")]
    crops: TestCrops,

    /// Which checkpoint of the run: best, last, epoch-N
    #[arg(long, value_name = "WHICH", default_value = "best")]
    checkpoint: String,

    /// Print one JSON object for each image
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let model = Model::open(&args.run, &args.checkpoint)?;
    let all_good = device.run(Predict { args, model })?;
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Predict<'a> {
    args: &'a Args,
    model: Model,
}

impl Job for Predict<'_> {
    /// Whether every file could be read.
    type Output = bool;

    fn run<B: Backend>(self, backend: B) -> Result<bool> {
        let Predict { args, model } = self;
        let mut net = model.net(backend, BATCH.min(args.images.len()))?;
        let (record, input) = (model.checkpoint.header.record, model.plan.input);
        let windows = args.crops.windows(record, input.H, input.W)?;
        let mut all_good = true;
        for files in args.images.chunks(BATCH) {
            let records: Vec<Result<Vec<u8>>> = files.par_iter().map(|file| read_record(file, record)).collect();
            // A black record stands in for a bad file, so that rows and files match.
            let black = vec![0; record * record * 3];
            let pixels: Vec<u8> = records.iter().flat_map(|r| r.as_ref().unwrap_or(&black)).copied().collect();
            let p = probabilities(&mut net, &pixels, &vec![0; files.len()], &windows)?;
            for ((file, record), p) in files.iter().zip(records).zip(p.chunks_exact(model.plan.classes)) {
                all_good &= record.is_ok();
                print(args, file, record.map(|_| p), &model.checkpoint.header.classes)
                    .map_err(Error::io("write to", "the standard output"))?;
            }
        }
        Ok(all_good)
    }
}

/// An image file as packing would store it: (record, record, 3).
fn read_record(file: &Path, record: usize) -> Result<Vec<u8>> {
    let mut pixels = vec![0; record * record * 3];
    centre_square(&decode_file(file)?, record, &mut pixels)?;
    Ok(pixels)
}

/// The answer for one file: its most probable classes, or why there is none.
fn print(args: &Args, file: &Path, answer: Result<&[f64]>, classes: &[String]) -> io::Result<()> {
    let file = file.display().to_string();
    let p = match answer {
        Ok(p) => p,
        Err(error) => {
            talk!("zfnet: {error}");
            if args.json {
                answer!("{}", json!({ "file": file, "error": error.to_string() }))?;
            }
            return Ok(());
        }
    };
    let top = most_probable(p, TOP);
    if args.json {
        let top: Vec<_> = top.iter().map(|&c| json!({ "class": classes[c], "probability": p[c] })).collect();
        answer!("{}", json!({ "file": file, "predictions": top }))?;
        return Ok(());
    }
    answer!("{file}")?;
    for c in top {
        answer!("  {:.4}  {}", p[c], classes[c])?;
    }
    Ok(())
}
