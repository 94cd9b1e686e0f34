//! `zfnet bench step`: the forward pass and the training step, as wholes and taken apart.

use serde_json::json;
use zfnet::bench::{Entry, Profile, Timing, Workload, process};
use zfnet::error::Result;
use zfnet::ops::Backend;
use zfnet::ops::roof::Roof;
use zfnet::train::device::Job;

use super::{Task, WorkArgs};
use crate::print::answer;
use crate::table::{aligned, bytes};

#[derive(clap::Args)]
pub struct Args {
    /// Take the training step apart, beside the machine's roof
    #[arg(long)]
    profile: bool,

    /// Run every operation of a training step by itself, as `zfnet train --unfused` does
    #[arg(long)]
    unfused: bool,

    #[command(flatten)]
    work: WorkArgs,
}

/// Passes before the clock starts: the first one grows working buffers.
const WARM_UP: usize = 1;

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

struct TimeStep<'a> {
    task: &'a Task,
    fused: bool,
}

impl Job for TimeStep<'_> {
    type Output = StepTimes;

    fn run<B: Backend>(self, mut backend: B) -> Result<StepTimes> {
        let &Task { ref config, classes, batch, steps } = self.task;
        let roof = backend.roof()?;
        let mut work = Workload::new(backend, config, classes, batch, self.fused)?;
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

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let task = args.work.task()?;
    let device = args.work.machine.open()?;
    let fused = !args.unfused;
    let times = device.run(TimeStep { task: &task, fused })?;
    let Task { config, classes, batch, steps } = &task;
    let profile = match args.profile {
        true => Some(Profile::measure(device, config, *classes, *batch, fused, *steps)?),
        false => None,
    };
    if args.work.json {
        let mut answer = task.as_json(&times.device);
        answer["fused"] = json!(fused);
        times.add_to(&mut answer);
        if let Some(profile) = &profile {
            answer["profile"] = profile_json(profile);
        }
        answer!("{answer:#}")?;
        return Ok(());
    }
    answer!("{}; median of {steps}\n\n{}", task.title(&times.device), times.as_text())?;
    if let Some(profile) = &profile {
        answer!("\n{}", profile_text(profile))?;
    }
    Ok(())
}

impl StepTimes {
    fn add_to(&self, answer: &mut serde_json::Value) {
        for PassTime { name, timing, images_per_s, gflops } in &self.passes {
            answer[format!("{name}_images_per_s")] = json!(images_per_s);
            answer[format!("{name}_ms")] = json!(1e3 * timing.median);
            answer[format!("{name}_cpu_s")] = json!(timing.cpu);
            answer[format!("{name}_gflops")] = json!(gflops);
        }
        answer["peak_gflops"] = json!(self.peak_gflops);
        answer["peak_bytes"] = json!(self.peak_bytes);
        answer["loss"] = json!(self.loss);
    }

    fn as_text(&self) -> String {
        let peak_gflops = self.peak_gflops;
        let mut rows = vec![["pass", "ms", "images/s", "GFLOP/s", "of peak"].map(String::from)];
        rows.extend(self.passes.iter().map(|PassTime { name, timing, images_per_s, gflops }| {
            [
                (*name).into(),
                format!("{:.1}", 1e3 * timing.median),
                format!("{images_per_s:.1}"),
                format!("{gflops:.0}"),
                format!("{:.0} %", 100.0 * gflops / peak_gflops),
            ]
        }));
        let memory = self.peak_bytes.map_or("unknown".into(), bytes);
        let rows = aligned(&rows, 1);
        format!("{rows}\nMultiply-add peak {peak_gflops:.0} GFLOP/s; peak memory {memory}.")
    }
}

fn profile_json(profile: &Profile) -> serde_json::Value {
    json!({
        "sum_ms": 1e3 * profile.seconds(),
        "floor_ms": 1e3 * profile.floor(),
        "memory_gbytes_per_s": profile.roof.bandwidth / 1e9,
        "ops": profile.entries.iter().map(|e| entry_json(profile, e)).collect::<Vec<_>>(),
    })
}

fn entry_json(profile: &Profile, e: &Entry) -> serde_json::Value {
    let traffic = e.cost.traffic(profile.element_bytes);
    json!({
        "layer": e.layer,
        "op": e.op,
        "kernels": e.kernels,
        "ms": 1e3 * e.seconds,
        "share_of_sum": e.seconds / profile.seconds(),
        "flops": e.cost.flops,
        "bytes": traffic,
        "gflops": e.cost.flops as f64 / e.seconds / 1e9,
        "gbytes_per_s": traffic as f64 / e.seconds / 1e9,
        "floor_ms": 1e3 * e.floor,
        "share_of_roof": e.floor / e.seconds,
    })
}

fn profile_text(profile: &Profile) -> String {
    let (all, floor) = (profile.seconds(), profile.floor());
    let has_kernels = profile.entries.iter().any(|e| !e.kernels.is_empty());
    let ms = |seconds: f64| format!("{:.3}", 1e3 * seconds);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let header = ["layer", "operation", "kernels", "ms", "of all", "GFLOP/s", "GB/s", "floor ms", "of roof", "lost ms"];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(profile.entries.iter().map(|e| {
        let gflops = e.cost.flops as f64 / e.seconds / 1e9;
        let gbytes = e.cost.traffic(profile.element_bytes) as f64 / e.seconds / 1e9;
        vec![
            e.layer.clone(),
            e.op.into(),
            e.kernels.join(" "),
            ms(e.seconds),
            percent(e.seconds / all),
            if e.cost.flops == 0 { String::new() } else { format!("{gflops:.0}") },
            format!("{gbytes:.1}"),
            ms(e.floor),
            percent(e.floor / e.seconds),
            ms(e.seconds - e.floor),
        ]
    }));
    let total = [&ms(all), "100.0 %", "", "", &ms(floor), &percent(floor / all), &ms(all - floor)];
    rows.push(["all", "", ""].into_iter().chain(total).map(String::from).collect());
    if !has_kernels {
        rows.iter_mut().for_each(|row| drop(row.remove(2)));
    }
    let Roof { flops, bandwidth } = profile.roof;
    let (gflops, gbytes) = (flops / 1e9, bandwidth / 1e9);
    let rows = aligned(&rows, if has_kernels { 3 } else { 2 });
    format!("{rows}\nRoof: multiply-adds {gflops:.0} GFLOP/s, memory {gbytes:.1} GB/s (read + written).")
}
