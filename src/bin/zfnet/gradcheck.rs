//! `zfnet gradcheck`.

use std::process::ExitCode;

use serde_json::json;
use zfnet::check::{self, Row, Tolerance};
use zfnet::error::Result;
use zfnet::ops::{Backend, Role};
use zfnet::train::device::{Device, Job};

use crate::machine::Machine;
use crate::print::answer;
use crate::table::aligned;

/// Check every gradient, against finite differences and against f64
///
/// For each operation and for a small network: how far the hand-derived gradient in f64
/// is from differences of the forward pass (the formula), and how far the device's
/// gradient is from that in f64 (the kernels). Exit status 1 if one is too far.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet gradcheck --device cpu")]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let Checked { name, rows } = device.run(Check(device))?;
    let failed = rows.iter().filter(|row| !row.passed()).count();
    if args.json {
        let rows: Vec<_> = rows.iter().map(as_json).collect();
        answer!("{}", json!({ "device": name, "failed": failed, "gradients": rows }))?;
    } else {
        print(&name, &rows)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Checked {
    name: String,
    rows: Vec<Row>,
}

struct Check(Device);

impl Job for Check {
    type Output = Checked;

    fn run<B: Backend>(self, mut backend: B) -> Result<Checked> {
        let name = backend.describe();
        let tolerance = Tolerance::new(self.0.operand_roundoff(), backend.element_bytes(Role::Activation));
        let mut rows = check::ops(&mut backend, tolerance)?;
        rows.extend(check::net(backend, tolerance)?);
        Ok(Checked { name, rows })
    }
}

fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "case": row.case,
        "by": row.by,
        "components": row.components,
        "derivation": row.derivation,
        "derivation_allowed": check::DERIVATION,
        "backend": row.backend,
        "backend_allowed": row.allowed,
        "passed": row.passed(),
    })
}

fn print(device: &str, rows: &[Row]) -> anyhow::Result<()> {
    let heading = ["operation", "by", "components", "formula", "device", "allowed", ""].map(String::from);
    let cells = rows.iter().map(|row| {
        [
            row.case.clone(),
            row.by.clone(),
            row.components.to_string(),
            format!("{:.1e}", row.derivation),
            format!("{:.1e}", row.backend),
            format!("{:.1e}", row.allowed),
            if row.passed() { "ok".into() } else { "WRONG".into() },
        ]
    });
    answer!("Gradients on {device}. Distances are relative to a gradient's largest component:")?;
    answer!("formula: f64 against finite differences, {:.0e} allowed; device: against f64.\n", check::DERIVATION)?;
    let table: Vec<_> = [heading].into_iter().chain(cells).collect();
    answer!("{}", aligned(&table, 2))?;
    let failed = rows.iter().filter(|row| !row.passed()).count();
    match failed {
        0 => answer!("All {} gradients are right.", rows.len())?,
        _ => answer!("{failed} of {} gradients are WRONG.", rows.len())?,
    }
    Ok(())
}
