//! `zfnet visualize top9`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::net::{Net, Reverse};
use zfnet::ops::Backend;
use zfnet::ops::pool::UnpoolMode;
use zfnet::report::top9;
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::understand::search::{self, Search};
use zfnet::understand::{Maps, Top};

use crate::bar::Bar;
use crate::print::answer;
use crate::visualize::{Common, folder, layers, open_data, search as watched};

/// Images, and projections, in a pass.
const BATCH: usize = 32;

/// The nine strongest activations of each map, projected to pixels, beside the image patches
///
/// One pass over the split finds, for every map, the strongest activation of each image,
/// and keeps nine. It is saved in OUT every ten seconds: a search that was stopped goes
/// on where it stood, and one that is finished is not made again. Each activation is then
/// projected to pixels alone, and drawn beside the image patch it looked at.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  zfnet visualize top9 runs/photos --data data/photos\n  \
    zfnet visualize top9 runs/photos --data data/photos --layers conv2,conv4 --maps all --method guided")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Packed data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Layers, by name, or all [default: the convolutions]
    #[arg(long, value_name = "NAME,..|all", value_delimiter = ',')]
    layers: Vec<String>,

    /// Maps of each layer: random:N, all, or numbers
    #[arg(long, value_name = "random:N|all|K,..", default_value = "random:16")]
    maps: Maps,

    /// Which images: train or val
    #[arg(long, default_value = "val")]
    split: Split,

    /// Rules of the way down: deconvnet, gradient or guided
    #[arg(long, value_name = "NAME", default_value = "deconvnet")]
    method: Reverse,

    /// Where pooling windows overlap: add, or set (the last one wins)
    #[arg(long, value_name = "add|set", default_value = "add")]
    unpool: UnpoolMode,

    #[command(flatten)]
    common: Common,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.common.machine.open()?;
    let model = Model::open(&args.run, &args.common.checkpoint)?;
    let data = open_data(&args.data, &model)?;
    if data.split(args.split).is_empty() {
        anyhow::bail!("{} has no {} images: choose another --split", args.data.display(), args.split);
    }
    let layers = layers(&args.layers, &model.plan)?;
    let seed = model.config.train.seed;
    let choose = |name: &String| args.maps.of(&model.plan.layers[model.plan.layer_index(name)?], seed);
    let maps = layers.iter().map(choose).collect::<Result<Vec<_>>>()?;
    let out = folder(args.common.out.as_deref(), &model)?;
    let figures = device.run(Draw { args, model: &model, data: &data, layers: &layers, maps: &maps, out: &out })?;
    if args.common.json {
        let answer = json!({
            "checkpoint": model.path,
            "split": args.split.name(),
            "images": data.split(args.split).len(),
            "reverse": Reverse { unpool: args.unpool, ..args.method },
            "figures": figures,
        });
        answer!("{answer}")?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Draw<'a> {
    args: &'a Args,
    model: &'a Model,
    data: &'a Dataset,
    layers: &'a [String],
    maps: &'a [Vec<usize>],
    out: &'a Path,
}

impl Job for Draw<'_> {
    /// One object a figure.
    type Output = Vec<Value>;

    fn run<B: Backend>(self, backend: B) -> Result<Vec<Value>> {
        let Draw { args, data, out, .. } = self;
        let mut net = self.model.net(backend, BATCH)?;
        let search = self.search(&mut net)?;
        let reverse = Reverse { unpool: args.unpool, ..args.method };
        let mut figures = Vec::new();
        for (layer, maps) in self.layers.iter().zip(self.maps) {
            let top = search.top(layer)?;
            let units: usize = maps.iter().map(|&k| top.maps[k].len()).sum();
            let bar = Bar::new(units as u64, layer);
            let mut done = |projections| bar.at(projections as u64);
            let files = top9::draw(&mut net, data, args.split, top, maps, &reverse, out, &mut done)?;
            drop(bar);
            self.tell(top, &files).map_err(Error::io("write to", "the standard output"))?;
            let (png, csv) = (files.png, files.csv);
            figures.push(json!({ "layer": layer, "maps": maps, "silent": top.silent(), "png": png, "csv": csv }));
        }
        Ok(figures)
    }
}

impl Draw<'_> {
    /// The finished search.
    fn search<B: Backend>(&self, net: &mut Net<B>) -> Result<Search> {
        let (split, images) = (self.args.split, self.data.split(self.args.split).len());
        let new = Search::new(search::subject(self.model, self.data, split), &self.model.plan, self.layers, 0..images)?;
        watched::finished(&self.out.join(format!("top9-{split}.json")), "search", new, net, self.data, split)
    }

    fn tell(&self, top: &Top, files: &top9::Files) -> std::io::Result<()> {
        if self.args.common.json {
            return Ok(());
        }
        let silent = match top.silent() {
            0 => String::new(),
            silent => format!("  ({silent} of {} maps silent on every image)", top.maps.len()),
        };
        answer!("{}{silent}", files.png.display())
    }
}
