//! `zfnet bench`: speed and memory.

mod convs;
mod step;
mod tune;

use std::process::ExitCode;

use serde_json::json;
use zfnet::train::Config;

use crate::machine::Machine;

/// Measure speed and memory.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The forward pass and the whole training step, on random records.
    ///
    /// Timed are, forward: copying a batch of 8-bit records in, crop, flip and mean
    /// subtraction, all layers without dropout; training: the same with dropout, then
    /// loss, backward pass, and the update of all parameters with momentum, weight
    /// decay and RMS clip. Reading and decoding are not in it.
    ///
    /// With --profile the step is also taken apart: each operation, and on a GPU its kernels, beside
    /// its floor. That is its arithmetic or its memory traffic at the machine's roof, whichever takes
    /// longer; the roof is measured in the same run: multiply-adds from register to register, and
    /// y += x for large arrays. The traffic counts every operand once and no cache, so
    /// where an array stays in a cache a share above 100 % is possible.
    #[command(after_help = "Example: zfnet bench step --preset zfnet --batch 32 --profile")]
    Step(step::Args),
    /// Each convolution by itself on a GPU, in all directions, beside cuDNN where it is installed.
    ///
    /// Results are verified first: one image against the CPU, and cuDNN's, by the algorithm that its
    /// own search finds fastest, against ours. Same precision, same NHWC layout, operands that
    /// take turns so that the cache does not answer.
    #[command(after_help = "Example: zfnet bench convs --device cuda:0 --precision bf16 --batch 128")]
    Convs(convs::Args),
    /// Every kernel that could compute a layer's matrix products, and which of them to take.
    ///
    /// Of the convolutions and linear layers in all directions. Candidates are verified, on one image
    /// against the CPU and on the whole batch against each other, then launched in turns; the table of
    /// tiles in src/ops/tile_table.toml is made of what this finds, GPU by GPU and batch by batch.
    #[command(
        after_help = "Example: zfnet bench tune --preset zfnet --batch 128 --device cuda:0 --precision bf16 --steps 50 --write src/ops/tile_table.toml"
    )]
    Tune(tune::Args),
}

#[derive(clap::Args)]
struct WorkArgs {
    /// A preset, a description (*.toml), or the folder of a run
    #[arg(long, value_name = "PRESET|FILE|RUN", default_value = "zfnet")]
    preset: String,

    /// Images in a batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,

    /// Number of classes [default: what the description says, or 1000]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    classes: Option<u32>,

    /// Runs of which the median is taken, after a warm-up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// ImageNet's number of classes, which the paper's networks score.
const IMAGENET_CLASSES: usize = 1000;

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Step(args) => step::run(args)?,
        What::Convs(args) => convs::run(args)?,
        What::Tune(args) => tune::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The network, the batch and how often.
struct Task {
    config: Config,
    classes: usize,
    batch: usize,
    steps: usize,
}

impl WorkArgs {
    fn task(&self) -> anyhow::Result<Task> {
        let config = Config::open(&self.preset)?;
        let classes = self.classes.map(|c| c as usize).or(config.net.classes()).unwrap_or(IMAGENET_CLASSES);
        Ok(Task { config, classes, batch: self.batch as usize, steps: self.steps as usize })
    }
}

impl Task {
    fn title(&self, device: &str) -> String {
        format!("{}, {} classes, batch {}, on {device}", self.config.net.name, self.classes, self.batch)
    }

    /// What every answer begins with.
    fn as_json(&self, device: &str) -> serde_json::Value {
        json!({
            "preset": self.config.net.name,
            "device": device,
            "threads": rayon::current_num_threads(),
            "batch": self.batch,
            "classes": self.classes,
            "steps": self.steps,
        })
    }
}
