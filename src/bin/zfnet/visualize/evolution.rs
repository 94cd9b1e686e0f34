//! `zfnet visualize evolution`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::net::{Net, Part, Reverse};
use zfnet::ops::Backend;
use zfnet::report::evolution::{self, Figure};
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::train::run::kept_epochs;
use zfnet::understand::Maps;
use zfnet::understand::evolution::{EPOCHS, LayerEvolution};
use zfnet::understand::search::{self, Search};

use crate::machine::Machine;
use crate::print::answer;
use crate::table::aligned;
use crate::visualize::{folder, layers, open_data, search as watched};

/// Images, and projections, in a pass.
const BATCH: usize = 32;

/// How features come about: the strongest activation of each map, epoch by epoch
///
/// Needs checkpoints of several epochs: train with --keep-epochs. For each of them one
/// pass over the training images finds the strongest activation of each map, which is
/// projected to pixels. Tiles are framed where another image than before excites the map
/// most. evolution.csv and evolution.json say how a layer approaches what it is in the end:
/// the mean cosine similarity of its projections to those of the last epoch.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    zfnet train --preset small --data data/photos --out runs/photos --keep-epochs 1,2,5,10,20,30,40\n  \
    zfnet visualize evolution runs/photos --data data/photos")]
pub struct Args {
    /// Folder of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Packed data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Epochs, which the run must have kept [default: those kept of 1,2,5,10,20,30,40,64]
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    epochs: Vec<u64>,

    /// Layers, by name, or all [default: the convolutions]
    #[arg(long, value_name = "NAME,..|all", value_delimiter = ',')]
    layers: Vec<String>,

    /// Maps of each layer: random:N, all, or numbers
    #[arg(long, value_name = "random:N|all|K,..", default_value = "random:8")]
    maps: Maps,

    /// Which images: train or val
    #[arg(long, default_value = "train")]
    split: Split,

    /// Rules of the way down: deconvnet, gradient or guided
    #[arg(long, value_name = "NAME", default_value = "deconvnet")]
    method: Reverse,

    /// Folder for the figures [default: RUN/figures]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: Machine,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let epochs = epochs(&args.run, &args.epochs)?;
    let models = epochs.iter().map(|epoch| Model::open(&args.run, &format!("epoch-{epoch}")));
    let models = models.collect::<Result<Vec<_>>>()?;
    let Some((first, others)) = models.split_first() else { return Ok(ExitCode::SUCCESS) };
    if let Some(other) = others.iter().find(|m| m.checkpoint.header.config != first.checkpoint.header.config) {
        let (a, b) = (first.path.display(), other.path.display());
        anyhow::bail!("{a} and {b} come from runs with different settings: choose --epochs of one of them");
    }
    let data = open_data(&args.data, first)?;
    if data.split(args.split).is_empty() {
        anyhow::bail!("{} has no {} images: choose another --split", args.data.display(), args.split);
    }
    let mut evolutions = Vec::new();
    for name in layers(&args.layers, &first.plan)? {
        let layer = &first.plan.layers[first.plan.layer_index(&name)?];
        let maps = args.maps.of(layer, first.config.train.seed)?;
        evolutions.push(LayerEvolution::new(&first.plan, &name, maps)?);
    }
    let out = folder(args.out.as_deref(), first)?;
    let figure =
        device.run(Draw { args, models: &models, epochs: &epochs, layers: evolutions, data: &data, out: &out })?;
    match args.json {
        true => answer!("{}", serde_json::to_string(&figure)?)?,
        false => tell(&figure, &out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The epochs to show, ascending: those asked for, or the paper's, of those that the run has kept.
fn epochs(run: &Path, asked: &[u64]) -> Result<Vec<u64>> {
    let kept = kept_epochs(run)?;
    let listed = |epochs: &[u64]| epochs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let there = match kept.is_empty() {
        true => "no epoch".to_owned(),
        false => format!("only {}", listed(&kept)),
    };
    let missing: Vec<u64> = asked.iter().copied().filter(|epoch| !kept.contains(epoch)).collect();
    let mut epochs = match asked {
        [] => EPOCHS.iter().copied().filter(|epoch| kept.contains(epoch)).collect(),
        asked => asked.to_vec(),
    };
    epochs.sort_unstable();
    epochs.dedup();
    let run = run.display();
    if !missing.is_empty() || epochs.is_empty() {
        let missing = if asked.is_empty() { &EPOCHS[..] } else { &missing };
        return Err(Error::Usage(format!(
            "{run} has kept {there}, so epoch {} cannot be shown: train with --keep-epochs {}",
            listed(missing),
            listed(missing).replace(' ', "")
        )));
    }
    if epochs.len() < 2 {
        let only = listed(&epochs);
        return Err(Error::Usage(format!("{run}: epoch {only} alone shows no evolution: give two or more (--epochs)")));
    }
    Ok(epochs)
}

struct Draw<'a> {
    args: &'a Args,
    models: &'a [Model],
    epochs: &'a [u64],
    layers: Vec<LayerEvolution>,
    data: &'a Dataset,
    out: &'a Path,
}

impl Job for Draw<'_> {
    type Output = Figure;

    fn run<B: Backend>(self, backend: B) -> Result<Figure> {
        let Draw { args, models, epochs, mut layers, data, out } = self;
        let (split, names) = (args.split, layers.iter().map(|l| l.layer.name.clone()).collect::<Vec<_>>());
        let mut net: Net<B> = models[0].net(backend, BATCH)?;
        for (model, epoch) in models.iter().zip(epochs) {
            net.import(Part::Value, &model.checkpoint.weights)?;
            let subject = search::subject(model, data, split);
            let wanted = Search::new(subject, &model.plan, &names, 0..data.split(split).len())?;
            let path = out.join(format!("search-{split}-epoch-{epoch:03}.json"));
            let search = watched::finished(&path, &format!("epoch {epoch}"), wanted, &mut net, data, split)?;
            layers.iter_mut().try_for_each(|layer| layer.add(&mut net, data, split, &search, &args.method))?;
        }
        evolution::draw(&layers, epochs, data, split, &models[0].plan, &args.method, out)
    }
}

/// The grids, and a table of similarities.
fn tell(figure: &Figure, out: &Path) -> std::io::Result<()> {
    figure.layers.iter().try_for_each(|layer| answer!("{}", out.join(&layer.png).display()))?;
    answer!("\nMean cosine similarity to epoch {}, and jumps:\n", figure.epochs.last().unwrap_or(&0))?;
    let mut rows = vec![["layer", "epoch", "similarity", "jumps", ""].map(String::from)];
    for layer in &figure.layers {
        for (i, epoch) in figure.epochs.iter().enumerate() {
            let similarity = layer.similarity[i].map_or("-".to_owned(), |s| format!("{s:.3}"));
            let note = if layer.converged == Some(*epoch) { "converged" } else { "" };
            let jumps = format!("{}/{}", layer.jumps[i], layer.maps.len());
            rows.push([layer.layer.clone(), epoch.to_string(), similarity, jumps, note.to_owned()]);
        }
    }
    answer!("{}", aligned(&rows, 1).trim_end())
}
