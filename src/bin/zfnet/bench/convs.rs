//! `zfnet bench convs`: convolutions by themselves, beside cuDNN.

use serde_json::json;
use zfnet::bench::convs::{self, ConvTime, Convs};
use zfnet::net::Plan;

use super::WorkArgs;
use crate::print::{answer, talk};
use crate::table::aligned;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    work: WorkArgs,
}

/// Runs the subcommand.
pub fn run(Args { work }: &Args) -> anyhow::Result<()> {
    let task = work.task()?;
    let plan = Plan::new(&task.config.net, task.classes)?;
    let device = work.machine.open()?;
    let Convs { device: name, times, without_rival } = convs::measure_on(device, &plan, task.batch, task.steps)?;
    if let Some(reason) = without_rival {
        talk!("without cuDNN: {reason}");
    }
    if work.json {
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
