//! `zfnet kernels`.

use std::process::ExitCode;

use serde_json::json;
use zfnet::device::image::{MISSING, USAGE, Usage};
use zfnet::error::Error;

use crate::print::answer;
use crate::table::aligned;

/// List the CUDA kernels with the registers, memory and occupancy that they come to
///
/// As the compiler reports them, for every architecture in this program. Occupancy is the share of a
/// multiprocessor's warps that blocks of --threads threads keep resident, without dynamic shared
/// memory. Registers are never spilled: the build refuses that.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet kernels --arch sm_90a")]
pub struct Args {
    /// One architecture only, e.g. sm_90a
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,

    /// Threads of a block
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,

    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if USAGE.is_empty() {
        return Err(Error::Usage(MISSING.into()).into());
    }
    let wanted = |usage: &&Usage| args.arch.as_ref().is_none_or(|arch| arch == usage.arch);
    let usages: Vec<&Usage> = USAGE.iter().filter(wanted).collect();
    if usages.is_empty() {
        let mut archs: Vec<&str> = USAGE.iter().map(|usage| usage.arch).collect();
        archs.sort();
        archs.dedup();
        let known = archs.join(", ");
        let arch = args.arch.as_deref().unwrap_or_default();
        return Err(Error::Usage(format!("no kernel was compiled for {arch}: this program has {known}")).into());
    }
    if args.json {
        let rows: Vec<_> = usages.iter().map(|usage| as_json(usage, args.threads)).collect();
        answer!("{}", json!(rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    let heading = ["kernel", "arch", "registers", "stack B", "shared B", "occupancy"].map(String::from);
    let rows = usages.iter().map(|usage| row(usage, args.threads));
    answer!("{}", aligned(&[heading].into_iter().chain(rows).collect::<Vec<_>>(), 2))?;
    Ok(ExitCode::SUCCESS)
}

fn row(usage: &Usage, threads: u32) -> [String; 6] {
    let Usage { kernel, arch, registers, stack, shared } = *usage;
    let occupancy = usage.occupancy(threads, 0).map_or("?".into(), |share| format!("{:.0} %", 100.0 * share));
    [kernel.into(), arch.into(), registers.to_string(), stack.to_string(), shared.to_string(), occupancy]
}

fn as_json(usage: &Usage, threads: u32) -> serde_json::Value {
    json!({
        "kernel": usage.kernel,
        "arch": usage.arch,
        "registers": usage.registers,
        "stack_bytes": usage.stack,
        "shared_bytes": usage.shared,
        "threads": threads,
        "occupancy": usage.occupancy(threads, 0),
    })
}
