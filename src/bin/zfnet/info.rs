//! `zfnet info`: a network's table of layers.

use std::process::ExitCode;

use serde_json::json;
use zfnet::net::{Layer, LayerOp, Plan, preset};
use zfnet::train::Config;

use crate::print::answer;
use crate::table::{aligned, bytes, grouped};

/// Parameters and activations of a training step on the CPU are f32.
const ELEMENT_BYTES: usize = 4;

/// ImageNet's number of classes, which the paper's networks score.
const IMAGENET_CLASSES: usize = 1000;

/// Layers, parameters, multiply-accumulates, receptive fields and memory of a network.
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// A preset, a description (*.toml), or the folder of a run
    #[arg(value_name = "PRESET|FILE|RUN")]
    network: String,

    /// Number of classes [default: what the description says, or 1000]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    classes: Option<u32>,

    /// Images in a batch, for the memory column [default: what the description says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: Option<u32>,

    /// Print JSON: `layers[]`, `total_params`, `total_macs`, `memory`
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    format!(
        "Presets: {}\n\nExamples:\n  zfnet info zfnet\n  zfnet info small --classes 5 --batch 64\n  \
         zfnet info mine.toml --json",
        preset::names().join(", ")
    )
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::open(&args.network)?;
    let asked = args.classes.map(|c| c as usize);
    let classes = asked.or(config.net.classes()).unwrap_or(IMAGENET_CLASSES);
    let batch = args.batch.map_or(config.train.batch, |b| b as usize);
    let plan = Plan::new(&config.net, classes)?;
    if args.json {
        answer!("{:#}", as_json(&plan, batch))?;
    } else {
        print!("{}", as_text(&plan, batch));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(plan: &Plan, batch: usize) -> serde_json::Value {
    let layers: Vec<_> = plan
        .layers
        .iter()
        .map(|l| {
            json!({
                "name": l.name,
                "kind": l.kind(),
                "definition": l.definition(),
                "output": [l.output.H, l.output.W, l.output.C],
                "params": l.params(),
                "macs": l.macs(),
                "receptive_field": l.receptive_field,
                "jump": l.jump,
                "memory_bytes": l.memory(batch, |_| ELEMENT_BYTES),
            })
        })
        .collect();
    let memory = plan.memory(batch, |_| ELEMENT_BYTES);
    json!({
        "name": plan.name,
        "input": [plan.input.H, plan.input.W, plan.input.C],
        "classes": plan.classes,
        "batch": batch,
        "layers": layers,
        "total_params": plan.total_params(),
        "total_macs": plan.total_macs(),
        "memory": memory,
        "total_memory_bytes": memory.total(),
    })
}

fn as_text(plan: &Plan, batch: usize) -> String {
    let header = ["layer", "output", "definition", "parameters", "MACs", "field / jump", "memory"];
    let mut rows = vec![header.map(String::from)];
    rows.push(["input", &plan.input.to_string(), "RGB crop, mean subtracted", "", "", "", ""].map(String::from));
    rows.extend(plan.layers.iter().map(|l| row(l, batch)));
    let (params, macs, memory) =
        (grouped(plan.total_params() as u64), grouped(plan.total_macs()), plan.memory(batch, |_| ELEMENT_BYTES));
    rows.push(["total", "", "", &params, &macs, "", &bytes(memory.total())].map(String::from));

    let mut text = format!("{}, {} classes, memory for a training batch of {batch}\n\n", plan.name, plan.classes);
    text += &aligned(&rows, 3);
    text += &format!(
        "\nMemory: parameters {}, gradients {}, momentum {}, activations {}, switches {}, activation gradients {}.\n",
        bytes(memory.parameters),
        bytes(memory.gradients),
        bytes(memory.momentum),
        bytes(memory.activations),
        bytes(memory.switches),
        bytes(memory.activation_gradients),
    );
    text
}

fn row(l: &Layer, batch: usize) -> [String; 7] {
    let count = |n: u64| if n == 0 { String::new() } else { grouped(n) };
    // One position has no neighbour to jump to.
    let single = l.output.H * l.output.W == 1 && matches!(l.op, LayerOp::Linear { .. });
    let field =
        if single { format!("{} / -", l.receptive_field) } else { format!("{} / {}", l.receptive_field, l.jump) };
    let memory = bytes(l.memory(batch, |_| ELEMENT_BYTES));
    [l.name.clone(), l.output.to_string(), l.definition(), count(l.params() as u64), count(l.macs()), field, memory]
}
