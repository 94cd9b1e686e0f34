//! `zfnet bench`: speed and memory.

use std::process::ExitCode;

use serde_json::json;
use zfnet::bench::convs::{self, ConvTime, Convs};
use zfnet::bench::{Entry, Profile, Timing, Workload, process};
use zfnet::error::Result;
use zfnet::net::Plan;
use zfnet::ops::Backend;
use zfnet::ops::roof::Roof;
use zfnet::train::Config;
use zfnet::train::device::Job;

use crate::machine::Machine;
use crate::print::{answer, talk};
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
    /// register, and y += x for large arrays. An operation's floor is its
    /// arithmetic or its memory traffic at the roof, whichever takes longer; the
    /// traffic counts every operand once and no cache, so where an array stays in
    /// a cache a share above 100 % is possible.
    #[command(after_help = "Example: zfnet bench ops --preset zfnet --batch 32")]
    Ops(WorkArgs),
    /// Each convolution by itself on a GPU, in all directions, beside cuDNN where it is installed.
    ///
    /// Results are verified first: one image against the CPU, and cuDNN's, by the algorithm that its
    /// own search finds fastest, against ours. Same precision, same NHWC layout, operands that
    /// take turns so that the cache does not answer.
    #[command(after_help = "Example: zfnet bench convs --device cuda:0 --precision bf16 --batch 128")]
    Convs(WorkArgs),
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

/// Passes before the clock starts: the first one grows working buffers.
const WARM_UP: usize = 1;

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Step(args) => step(args)?,
        What::Ops(args) => ops(args)?,
        What::Convs(args) => time_convs(args)?,
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

/// Forward pass and training step, as wholes.
struct StepTimes {
    device: String,
    passes: [PassTime; 2],
    loss: f64,
    peak_bytes: Option<u64>,
    /// Multiply-add peak in GFLOP/s.
    peak_gflops: f64,
}

struct PassTime {
    name: &'static str,
    timing: Timing,
    images_per_s: f64,
    gflops: f64,
}

impl PassTime {
    fn new(name: &'static str, timing: Timing, batch: usize, flops: u64) -> Self {
        let Timing { median, .. } = timing;
        PassTime { name, timing, images_per_s: batch as f64 / median, gflops: flops as f64 / median / 1e9 }
    }
}

struct TimeStep<'a>(&'a Task);

impl Job for TimeStep<'_> {
    type Output = StepTimes;

    fn run<B: Backend>(self, mut backend: B) -> Result<StepTimes> {
        let &Task { ref config, classes, batch, steps } = self.0;
        let roof = backend.roof()?;
        let mut work = Workload::new(backend, config, classes, batch)?;
        let forward = Timing::of(WARM_UP, steps, || work.forward())?;
        let mut loss = f64::NAN;
        let train = Timing::of(WARM_UP, steps, || {
            loss = work.train()?;
            Ok(())
        })?;
        Ok(StepTimes {
            device: work.net().backend().describe(),
            passes: [
                PassTime::new("forward", forward, batch, work.forward_flops()),
                PassTime::new("train", train, batch, work.train_flops()),
            ],
            loss,
            peak_bytes: process::peak_bytes(),
            peak_gflops: roof.flops / 1e9,
        })
    }
}

fn step(args: &WorkArgs) -> anyhow::Result<()> {
    let task = args.task()?;
    let times = args.machine.open()?.run(TimeStep(&task))?;
    let StepTimes { device, passes, loss, peak_bytes, peak_gflops } = &times;
    if args.json {
        let mut answer = task.as_json(device);
        for PassTime { name, timing, images_per_s, gflops } in passes {
            answer[format!("{name}_images_per_s")] = json!(images_per_s);
            answer[format!("{name}_ms")] = json!(1e3 * timing.median);
            answer[format!("{name}_cpu_s")] = json!(timing.cpu);
            answer[format!("{name}_gflops")] = json!(gflops);
        }
        answer["peak_gflops"] = json!(peak_gflops);
        answer["peak_bytes"] = json!(peak_bytes);
        answer["loss"] = json!(loss);
        answer!("{answer:#}")?;
        return Ok(());
    }
    let mut rows = vec![["pass", "ms", "images/s", "GFLOP/s", "of peak"].map(String::from)];
    rows.extend(passes.iter().map(|PassTime { name, timing, images_per_s, gflops }| {
        [
            (*name).into(),
            format!("{:.1}", 1e3 * timing.median),
            format!("{images_per_s:.1}"),
            format!("{gflops:.0}"),
            format!("{:.0} %", 100.0 * gflops / peak_gflops),
        ]
    }));
    let memory = peak_bytes.map_or("unknown".into(), bytes);
    answer!("{}; median of {}\n\n{}", task.title(device), task.steps, aligned(&rows, 1))?;
    answer!("Multiply-add peak {peak_gflops:.0} GFLOP/s; peak memory {memory}.")?;
    Ok(())
}

struct TakeApart<'a>(&'a Task);

impl Job for TakeApart<'_> {
    type Output = Profile;

    fn run<B: Backend>(self, backend: B) -> Result<Profile> {
        let &Task { ref config, classes, batch, steps } = self.0;
        Profile::measure(backend, config, classes, batch, steps)
    }
}

fn ops(args: &WorkArgs) -> anyhow::Result<()> {
    let task = args.task()?;
    let profile = args.machine.open()?.run(TakeApart(&task))?;
    if args.json {
        let mut answer = task.as_json(&profile.device);
        answer["train_ms"] = json!(1e3 * profile.seconds);
        answer["floor_ms"] = json!(1e3 * profile.floor());
        answer["peak_gflops"] = json!(profile.roof.flops / 1e9);
        answer["memory_gbytes_per_s"] = json!(profile.roof.bandwidth / 1e9);
        answer["ops"] = profile.entries.iter().map(|e| entry_json(&profile, e)).collect();
        answer!("{answer:#}")?;
    } else {
        let title = task.title(&profile.device);
        answer!("{title}; median of {} training steps\n\n{}", task.steps, as_text(&profile))?;
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
        "{}\nRoof: multiply-adds {:.0} GFLOP/s, memory {:.1} GB/s (read + written).",
        aligned(&rows, 2),
        flops / 1e9,
        bandwidth / 1e9
    )
}

fn time_convs(args: &WorkArgs) -> anyhow::Result<()> {
    let task = args.task()?;
    let plan = Plan::new(&task.config.net, task.classes)?;
    let device = args.machine.open()?;
    let Convs { device: name, times, without_rival } = convs::measure_on(device, &plan, task.batch, task.steps)?;
    if let Some(reason) = without_rival {
        talk!("without cuDNN: {reason}");
    }
    if args.json {
        let mut answer = task.as_json(&name);
        answer["convs"] = times.iter().map(conv_json).collect();
        answer!("{answer:#}")?;
        return Ok(());
    }
    let header = ["layer", "direction", "ms", "portable ms", "TFLOP/s", "of roof", "cuDNN ms", "zfnet is"];
    let header = header.map(String::from);
    let rows = times.iter().map(|t| {
        let rival = |f: fn(&ConvTime, f64) -> String| t.rival.as_ref().map_or("-".into(), |r| f(t, r.seconds));
        [
            t.layer.clone(),
            t.direction.to_string(),
            format!("{:.3}", 1e3 * t.seconds),
            t.portable.map_or("-".into(), |seconds| format!("{:.3}", 1e3 * seconds)),
            format!("{:.1}", t.cost.flops as f64 / t.seconds / 1e12),
            format!("{:.0} %", 100.0 * t.floor / t.seconds),
            rival(|_, seconds| format!("{:.3}", 1e3 * seconds)),
            rival(|t, seconds| format!("{:.2} x", seconds / t.seconds)),
        ]
    });
    let table: Vec<_> = [header].into_iter().chain(rows).collect();
    answer!("{}; mean of {} runs\n\n{}", task.title(&name), task.steps, aligned(&table, 2))?;
    Ok(())
}

fn conv_json(t: &ConvTime) -> serde_json::Value {
    json!({
        "layer": t.layer,
        "direction": t.direction.to_string(),
        "ms": 1e3 * t.seconds,
        "portable_ms": t.portable.map(|seconds| 1e3 * seconds),
        "tflops": t.cost.flops as f64 / t.seconds / 1e12,
        "share_of_roof": t.floor / t.seconds,
        "cudnn_ms": t.rival.as_ref().map(|r| 1e3 * r.seconds),
        "cudnn_algorithm": t.rival.as_ref().map(|r| &r.algorithm),
    })
}
