//! The `zfnet` program: one file a subcommand, no numerics.
//!
//! Results go to stdout, talk to stderr. Exit status: 0 done, 1 failed,
//! 2 bad usage, 130 interrupted with everything saved.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bar;
mod bench;
mod dedup;
mod demo;
mod eval;
mod figure;
mod gradcheck;
mod info;
mod kernels;
mod machine;
mod pack;
mod predict;
mod print;
mod probe;
mod report;
mod table;
mod tables;
mod terminal;
mod train;
mod visualize;

/// Train ZFNet (Zeiler & Fergus 2013) end to end, and look at what it learned.
#[derive(Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Pack(pack::Args),
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Info(info::Args),
    Dedup(dedup::Args),
    Gradcheck(gradcheck::Args),
    Kernels(kernels::Args),
    Visualize(visualize::Args),
    Probe(probe::Args),
    Report(report::Args),
    Table(tables::Args),
    Figure(figure::Args),
    Bench(bench::Args),
}

/// Runs one command.
fn dispatch(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Info(args) => info::run(args),
        Command::Dedup(args) => dedup::run(args),
        Command::Gradcheck(args) => gradcheck::run(args),
        Command::Kernels(args) => kernels::run(args),
        Command::Visualize(args) => visualize::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Report(args) => report::run(args),
        Command::Table(args) => tables::run(args),
        Command::Figure(args) => figure::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

fn main() -> ExitCode {
    let result = dispatch(&Cli::parse().command);
    match result {
        Ok(code) => code,
        Err(error) => {
            if hung_up(&error) {
                return ExitCode::SUCCESS;
            }
            print::talk!("zfnet: {error:#}");
            match error.downcast_ref::<zfnet::error::Error>() {
                Some(zfnet::error::Error::Interrupted(_)) => ExitCode::from(130),
                Some(zfnet::error::Error::Usage(_) | zfnet::error::Error::Config { .. }) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether whoever read our output has had enough of it, which is no failure.
fn hung_up(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(|e| e.kind());
    error.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
