//! `zfnet bench`: speed and memory.

use std::process::ExitCode;

use serde_json::json;
use zfnet::bench::{Entry, Profile, Roof, Timing, Workload, process, roof};
use zfnet::ops::{Backend, Cpu};
use zfnet::train::Config;

use crate::table::{aligned, bytes};

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
    #[command(after_help = "Example: zfnet bench step --device cpu --preset zfnet --batch 32 --json")]
    Step(WorkArgs),
    /// Each operation inside the training step, against the machine's roof.
    ///
    /// The roof is measured in the same run: multiply-adds from register to
    /// register, and the copy of a large array. An operation's floor is its
    /// arithmetic or its memory traffic at the roof, whichever takes longer; the
    /// traffic counts every operand once and no cache, so where an array stays in
    /// a cache a share above 100 % is possible.
    #[command(after_help = "Example: zfnet bench ops --preset zfnet --batch 32")]
    Ops(WorkArgs),
}

#[derive(clap::Args)]
struct WorkArgs {
    /// Where to run; auto takes the fastest there is
    #[arg(long, value_parser = ["auto", "cpu"], default_value = "auto")]
    device: String,

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
}

/// ImageNet's number of classes, which the paper's networks score.
const IMAGENET_CLASSES: usize = 1000;

/// Passes before the clock starts: the first one grows working buffers.
const WARM_UP: usize = 1;

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Step(args) => step(args, Cpu::<f32>::new())?,
        What::Ops(args) => ops(args, Cpu::<f32>::new())?,
    }
    Ok(ExitCode::SUCCESS)
}

impl WorkArgs {
    fn open(&self) -> anyhow::Result<(Config, usize)> {
        let config = Config::open(&self.preset)?;
        let classes = self.classes.map(|c| c as usize).or(config.net.classes()).unwrap_or(IMAGENET_CLASSES);
        Ok((config, classes))
    }
}

fn step<B: Backend>(args: &WorkArgs, backend: B) -> anyhow::Result<()> {
    let (config, classes) = args.open()?;
    let (batch, steps) = (args.batch as usize, args.steps as usize);
    let mut work = Workload::new(backend, &config, classes, batch)?;
    let forward = Timing::of(WARM_UP, steps, || work.forward())?;
    let mut loss = f64::NAN;
    let train = Timing::of(WARM_UP, steps, || {
        loss = work.train()?;
        Ok(())
    })?;
    let peak_bytes = process::peak_bytes();
    // Measured last, and without the large arrays of the copy, to stay out of the memory's peak.
    let peak = roof::arithmetic::<f32>() / 1e9;

    let passes = [("forward", forward, work.forward_flops()), ("train", train, work.train_flops())];
    let images_per_s = passes.map(|(_, timing, _)| batch as f64 / timing.median);
    let gflops = passes.map(|(_, timing, flops)| flops as f64 / timing.median / 1e9);
    let device = work.net().backend().describe();
    if args.json {
        let answer = json!({
            "preset": work.net().plan().name,
            "device": device,
            "threads": rayon::current_num_threads(),
            "batch": batch,
            "classes": classes,
            "steps": steps,
            "forward_images_per_s": images_per_s[0],
            "train_images_per_s": images_per_s[1],
            "forward_ms": 1e3 * forward.median,
            "train_ms": 1e3 * train.median,
            "forward_cpu_s": forward.cpu,
            "train_cpu_s": train.cpu,
            "forward_gflops": gflops[0],
            "train_gflops": gflops[1],
            "peak_gflops": peak,
            "peak_bytes": peak_bytes,
            "loss": loss,
        });
        println!("{answer:#}");
        return Ok(());
    }
    let title = format!("{}, {classes} classes, batch {batch}, on {device}", work.net().plan().name);
    println!("{title}; median of {steps}\n");
    let mut rows = vec![["pass", "ms", "images/s", "GFLOP/s", "of peak"].map(String::from)];
    for (((name, timing, _), images_per_s), gflops) in passes.into_iter().zip(images_per_s).zip(gflops) {
        rows.push([
            name.into(),
            format!("{:.1}", 1e3 * timing.median),
            format!("{images_per_s:.1}"),
            format!("{gflops:.0}"),
            format!("{:.0} %", 100.0 * gflops / peak),
        ]);
    }
    print!("{}", aligned(&rows, 1));
    println!("\nMultiply-add peak {peak:.0} GFLOP/s; peak memory {}.", peak_bytes.map_or("unknown".into(), bytes));
    Ok(())
}

fn ops<B: Backend>(args: &WorkArgs, backend: B) -> anyhow::Result<()> {
    let (config, classes) = args.open()?;
    let (batch, steps) = (args.batch as usize, args.steps as usize);
    let profile = Profile::measure(backend, &config, classes, batch, steps, Roof::measure::<f32>())?;
    let title = format!("{}, {classes} classes, batch {batch}, on {}", config.net.name, profile.device);
    if args.json {
        let entries: Vec<_> = profile.entries.iter().map(|e| entry_json(&profile, e)).collect();
        let answer = json!({
            "preset": config.net.name,
            "device": profile.device,
            "threads": rayon::current_num_threads(),
            "batch": batch,
            "classes": classes,
            "steps": steps,
            "train_ms": 1e3 * profile.seconds,
            "floor_ms": 1e3 * profile.floor(),
            "peak_gflops": profile.roof.flops / 1e9,
            "copy_gbytes_per_s": profile.roof.bandwidth / 1e9,
            "ops": entries,
        });
        println!("{answer:#}");
    } else {
        print!("{title}; median of {steps} training steps\n\n{}", as_text(&profile));
    }
    Ok(())
}

fn entry_json(profile: &Profile, e: &Entry) -> serde_json::Value {
    let traffic = e.cost.traffic(profile.element_bytes);
    json!({
        "layer": e.layer,
        "op": e.op,
        "ms": 1e3 * e.seconds,
        "share_of_step": e.seconds / profile.seconds,
        "flops": e.cost.flops,
        "bytes": traffic,
        "gflops": e.cost.flops as f64 / e.seconds / 1e9,
        "gbytes_per_s": traffic as f64 / e.seconds / 1e9,
        "floor_ms": 1e3 * e.floor,
        "share_of_roof": e.floor / e.seconds,
    })
}

fn as_text(profile: &Profile) -> String {
    let header = ["layer", "operation", "ms", "of step", "GFLOP/s", "GB/s", "floor ms", "of roof", "lost ms"];
    let mut rows = vec![header.map(String::from)];
    for e in &profile.entries {
        let gflops = e.cost.flops as f64 / e.seconds / 1e9;
        rows.push([
            e.layer.clone(),
            e.op.into(),
            format!("{:.2}", 1e3 * e.seconds),
            format!("{:.1} %", 100.0 * e.seconds / profile.seconds),
            if e.cost.flops == 0 { String::new() } else { format!("{gflops:.0}") },
            format!("{:.1}", e.cost.traffic(profile.element_bytes) as f64 / e.seconds / 1e9),
            format!("{:.2}", 1e3 * e.floor),
            format!("{:.0} %", 100.0 * e.floor / e.seconds),
            format!("{:.2}", 1e3 * (e.seconds - e.floor)),
        ]);
    }
    let (step, floor) = (profile.seconds, profile.floor());
    let [total, at_best] = [step, floor].map(|s| format!("{:.2}", 1e3 * s));
    let share = format!("{:.0} %", 100.0 * floor / step);
    let lost = format!("{:.2}", 1e3 * (step - floor));
    rows.push(["step", "", &total, "100.0 %", "", "", &at_best, &share, &lost].map(String::from));
    let Roof { flops, bandwidth } = profile.roof;
    format!(
        "{}\nRoof: multiply-adds {:.0} GFLOP/s, copy {:.1} GB/s (read + written).\n",
        aligned(&rows, 2),
        flops / 1e9,
        bandwidth / 1e9
    )
}
