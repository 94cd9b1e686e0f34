//! `zfnet visualize score`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use zfnet::data::packed::{Dataset, Split};
use zfnet::error::{Error, Result};
use zfnet::net::init::normal;
use zfnet::net::{Net, Part, Reverse};
use zfnet::ops::Backend;
use zfnet::tensor::NamedTensor;
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::train::replace::replace_file;
use zfnet::understand::occlusion::{Fill, Sweep, batch_for, top_convolution};
use zfnet::understand::score::{Harm, HarmMeans, Means, Overlap, harms, mask, overlaps, recognised};

use crate::bar::Bar;
use crate::print::answer;
use crate::table::aligned;
use crate::visualize::{Common, folder, open_data};

/// Whether projections and occlusion find the part that tells the class
///
/// On data that has masks (zfnet pack synthetic), and on the images that the network
/// recognises. In each the strongest unit of a layer is projected to pixels by each method;
/// the table tells which share of the projection's energy lies inside the part, and how
/// often its strongest pixel does. Networks with random weights are the control: what they
/// show is the contrast of the image. Below it, for a square that hides parts of the image:
/// rank correlation of harm with how much of the part is hidden, and how often the most
/// harmful place of the square has its centre in the part.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  zfnet visualize score runs/demo/run --data runs/demo/data")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Packed data set with masks
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Layers whose strongest unit is projected [default: the highest convolution and the classes]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    layers: Vec<String>,

    /// Validation images to look at: the first so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,

    /// Side of the square that hides, in pixels of the network's input [default: a quarter of it]
    #[arg(long, value_name = "PX")]
    square: Option<usize>,

    /// Pixels from one place to the next [default: a sixteenth of the input]
    #[arg(long, value_name = "PX")]
    stride: Option<usize>,

    #[command(flatten)]
    common: Common,
}

/// The methods that are judged.
const METHODS: [(&str, Reverse); 3] =
    [("deconvnet", Reverse::DECONVNET), ("guided", Reverse::GUIDED), ("gradient", Reverse::GRADIENT)];

/// The controls' names.
const RANDOM_DECONVNET: &str = "deconvnet, random weights";
const RANDOM_OCCLUSION: &str = "occlusion, random weights";

/// Networks with random weights over which the control is averaged.
const CONTROLS: u64 = 3;

/// Images projected in a pass.
const BATCH: usize = 32;

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.common.machine.open()?;
    let model = Model::open(&args.run, &args.common.checkpoint)?;
    let data = open_data(&args.data, &model)?;
    let input = model.plan.input;
    let images: Vec<usize> = (0..data.split(Split::Val).len().min(args.images as usize)).collect();
    if images.is_empty() {
        return Err(Error::Usage(format!("{} has no val images", args.data.display())).into());
    }
    mask(&data, Split::Val, 0, input)?;
    let layers = match args.layers.as_slice() {
        [] => [Some(top_convolution(&model.plan)?), model.plan.layers.last()]
            .into_iter()
            .flatten()
            .map(|layer| layer.name.clone())
            .collect(),
        names => {
            names.iter().try_for_each(|name| model.plan.layer_index(name).map(|_| ()))?;
            names.to_vec()
        }
    };
    let side = args.square.unwrap_or(input.H / 4).max(1);
    let sweep = Sweep::new(input, Some(side), Some(args.stride.unwrap_or((input.H / 16).max(1))))?;
    let out = folder(args.common.out.as_deref(), &model)?;
    let judge = Judge { model: &model, data: &data, images: &images, layers: &layers, sweep: &sweep };
    let scores = device.run(judge)?;
    let csv = out.join("score.csv");
    replace_file(&csv, |file| file.write_all(scores.csv().as_bytes()))?;
    let (path, text) = (out.join("score.json"), scores.json(&sweep).to_string());
    replace_file(&path, |file| file.write_all(text.as_bytes()))?;
    match args.common.json {
        true => answer!("{}", scores.json(&sweep))?,
        false => answer!("{}\n{}", scores.table(images.len(), &sweep), csv.display())?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Judge<'a> {
    model: &'a Model,
    data: &'a Dataset,
    images: &'a [usize],
    layers: &'a [String],
    sweep: &'a Sweep,
}

/// What was found on the images that were recognised.
struct Scores {
    recognised: usize,
    projections: Vec<(String, &'static str, Vec<Overlap>)>, // layer, method
    occlusion: Vec<(&'static str, Vec<Harm>)>,
}

impl Job for Judge<'_> {
    type Output = Scores;

    fn run<B: Backend>(self, backend: B) -> Result<Scores> {
        let batch = batch_for(&backend, &self.model.plan).min(self.sweep.len().max(BATCH));
        let mut net = self.model.net(backend, batch)?;
        let images = recognised(&mut net, self.data, Split::Val, self.images, &mut |_| ())?;
        if images.is_empty() {
            return Err(Error::Usage(format!(
                "the network recognises none of {} images, so there is nothing to judge: train it first",
                self.images.len()
            )));
        }
        let mut projections = Vec::new();
        for layer in self.layers {
            for (method, reverse) in METHODS {
                projections.push((layer.clone(), method, self.project(&mut net, &images, layer, &reverse)?));
            }
            projections.push((layer.clone(), RANDOM_DECONVNET, Vec::new()));
        }
        let mut occlusion = vec![("occlusion", self.hide(&mut net, &images, "occlusion")?)];
        for control in 1..=CONTROLS {
            net.import(Part::Value, &self.random(control))?;
            for (layer, _, found) in projections.iter_mut().filter(|(_, method, _)| *method == RANDOM_DECONVNET) {
                found.extend(self.project(&mut net, &images, layer, &Reverse::DECONVNET)?);
            }
        }
        occlusion.push((RANDOM_OCCLUSION, self.hide(&mut net, &images, RANDOM_OCCLUSION)?));
        Ok(Scores { recognised: images.len(), projections, occlusion })
    }
}

impl Judge<'_> {
    fn project<B: Backend>(
        &self,
        net: &mut Net<B>,
        images: &[usize],
        layer: &str,
        reverse: &Reverse,
    ) -> Result<Vec<Overlap>> {
        let bar = Bar::new(images.len() as u64, layer);
        overlaps(net, self.data, Split::Val, images, layer, reverse, &mut |n| bar.at(n as u64))
    }

    fn hide<B: Backend>(&self, net: &mut Net<B>, images: &[usize], name: &str) -> Result<Vec<Harm>> {
        let hiding = Fill::Grey.record(&self.model.checkpoint.mean.data);
        let bar = Bar::new(images.len() as u64, name);
        harms(net, self.data, Split::Val, images, &hiding, self.sweep, &mut |n| bar.at(n as u64))
    }

    /// Weights as the run might have begun with: its initialisation, other draws.
    fn random(&self, control: u64) -> Vec<NamedTensor> {
        let (train, depth) = (&self.model.config.train, self.model.plan.depth());
        let mut tensors = self.model.checkpoint.weights.clone();
        for (lane, tensor) in tensors.iter_mut().enumerate() {
            let fan_in = tensor.shape[1..].iter().product();
            match tensor.shape.len() {
                1 => tensor.data.fill(0.0),
                _ => normal(train.seed + control, lane as u32, train.init.std(fan_in, depth), &mut tensor.data),
            }
        }
        tensors
    }
}

impl Scores {
    fn table(&self, images: usize, sweep: &Sweep) -> String {
        let share = |v: f64| format!("{v:.3}");
        let head = ["unit", "method", "energy inside", "points inside", "area of the part"].map(str::to_owned);
        let row = |(layer, method, found): &(String, &str, Vec<Overlap>)| {
            let Means { energy, pointing, area } = Means::of(found);
            [format!("strongest of {layer}"), (*method).to_owned(), share(energy), share(pointing), share(area)]
        };
        let rows: Vec<_> = std::iter::once(head).chain(self.projections.iter().map(row)).collect();
        let mut text = format!("{} of {images} images are recognised; these count\n\n", self.recognised);
        text += &aligned(&rows, 2);
        let head = ["", "rank correlation", "minimum inside", "by chance"].map(str::to_owned);
        let row = |(name, found): &(&str, Vec<Harm>)| {
            let HarmMeans { correlation, inside, chance } = HarmMeans::of(found);
            [(*name).to_owned(), share(correlation), share(inside), share(chance)]
        };
        let rows: Vec<_> = std::iter::once(head).chain(self.occlusion.iter().map(row)).collect();
        let (side, stride) = (sweep.side, sweep.stride);
        text += &format!("\na grey square of {side} px every {stride} px\n\n{}", aligned(&rows, 1));
        text
    }

    fn json(&self, sweep: &Sweep) -> serde_json::Value {
        let projections = self.projections.iter().map(|(layer, method, found)| {
            json!({ "layer": layer, "unit": "strongest", "method": method, "means": Means::of(found) })
        });
        let occlusion =
            self.occlusion.iter().map(|(name, found)| json!({ "method": name, "means": HarmMeans::of(found) }));
        json!({
            "recognised": self.recognised,
            "square": sweep.side,
            "stride": sweep.stride,
            "controls": CONTROLS,
            "projections": projections.collect::<Vec<_>>(),
            "occlusion": occlusion.collect::<Vec<_>>(),
        })
    }

    /// A line for each image and method; what a method does not tell is left empty.
    fn csv(&self) -> String {
        let mut csv = String::from("layer,method,image,energy,pointing,area,correlation,inside,chance\n");
        // Writing to a string cannot fail.
        for (layer, method, found) in &self.projections {
            for Overlap { image, area, energy, pointing } in found {
                let _ = writeln!(csv, "{layer},\"{method}\",{image},{energy},{},{area},,,", u8::from(*pointing));
            }
        }
        for (method, found) in &self.occlusion {
            for Harm { image, correlation, inside, chance } in found {
                let _ = writeln!(csv, ",\"{method}\",{image},,,,{correlation},{},{chance}", u8::from(*inside));
            }
        }
        csv
    }
}
