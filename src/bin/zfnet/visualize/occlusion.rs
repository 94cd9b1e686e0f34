//! `zfnet visualize occlusion`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use zfnet::data::decode::decode_file;
use zfnet::data::packed::{Dataset, Split};
use zfnet::data::resize::centre_square;
use zfnet::error::{Error, Result};
use zfnet::net::{Keep, Net, Reverse};
use zfnet::ops::Backend;
use zfnet::report::occlusion::Panels;
use zfnet::train::device::Job;
use zfnet::train::model::Model;
use zfnet::understand::Projection;
use zfnet::understand::occlusion::{Fill, Sweep, View, batch_for, clear, occlude, top_convolution};
use zfnet::understand::projection::project_units;
use zfnet::understand::search::{Search, subject};

use crate::bar::Bar;
use crate::print::{answer, talk};
use crate::visualize::{Common, folder, open_data};

/// What the network says while a grey square hides part of an image
///
/// The square moves over the image; at each place the network sees one copy. Drawn are (a)
/// the image, (b) the activity of the strongest map of the highest convolution, (c) that map
/// projected to pixels, (d) the probability of the class, and (e) the most probable class.
/// The class is that of --class; without it, the name of the image's folder if it is one of
/// the classes, and otherwise what the network takes the image for.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  zfnet visualize occlusion runs/photos rose.jpg\n  \
    zfnet visualize occlusion runs/photos rose.jpg --class roses --square 20 --stride 4 --data data/photos")]
pub struct Args {
    /// Folder of a run, or a checkpoint file
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Class whose probability is shown
    #[arg(long, value_name = "NAME")]
    class: Option<String>,

    /// Side of the square, in pixels of the network's input [default: 50 at 224, scaled with it]
    #[arg(long, value_name = "PX")]
    square: Option<usize>,

    /// Pixels from one place to the next [default: 8 at 224, scaled with it]
    #[arg(long, value_name = "PX")]
    stride: Option<usize>,

    /// What the square shows: grey, or the mean image
    #[arg(long, value_name = "grey|mean", default_value = "grey")]
    fill: Fill,

    /// Packed data set: with its top9 search, show the map's strongest units on other images
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = args.common.machine.open()?;
    let model = Model::open(&args.run, &args.common.checkpoint)?;
    let sweep = Sweep::new(model.plan.input, args.square, args.stride)?;
    let classes = &model.checkpoint.header.classes;
    if let Some(class) = &args.class {
        class_index(class, classes)
            .ok_or_else(|| Error::Usage(format!("no class {class}: the run knows {}", classes.join(", "))))?;
    }
    let records = args.images.iter().map(|file| read_record(file, &model)).collect::<Result<Vec<_>>>()?;
    let data = args.data.as_deref().map(|path| open_data(path, &model)).transpose()?;
    let out = folder(args.common.out.as_deref(), &model)?;
    device.run(Draw { args, model: &model, data: data.as_ref(), records: &records, sweep: &sweep, out: &out })?;
    Ok(ExitCode::SUCCESS)
}

fn class_index(name: &str, classes: &[String]) -> Option<usize> {
    classes.iter().position(|class| class == name)
}

/// An image file as packing would store it: (record, record, 3). One that would have to be
/// enlarged to fill the network's input is refused: what hides what would mean little.
pub(super) fn read_record(file: &Path, model: &Model) -> Result<Vec<u8>> {
    let (record, input) = (model.checkpoint.header.record, model.plan.input);
    let image = decode_file(file)?;
    if image.H.min(image.W) < input.H.max(input.W) {
        return Err(Error::format(
            file,
            format!(
                "{} x {} pixels, and the network sees {} x {}: take a larger image",
                image.W, image.H, input.W, input.H
            ),
        ));
    }
    let mut pixels = vec![0; record * record * 3];
    centre_square(&image, record, &mut pixels)?;
    Ok(pixels)
}

/// The class whose probability is shown: the one asked for, or that of the image's folder;
/// `None` where nobody says.
pub(super) fn class_of(asked: Option<&str>, file: &Path, classes: &[String]) -> Option<usize> {
    let folder = || file.parent()?.file_name()?.to_str();
    class_index(asked.or_else(folder)?, classes)
}

struct Draw<'a> {
    args: &'a Args,
    model: &'a Model,
    data: Option<&'a Dataset>,
    records: &'a [Vec<u8>],
    sweep: &'a Sweep,
    out: &'a Path,
}

impl Job for Draw<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let most = batch_for(&backend, &self.model.plan).min(self.sweep.len().max(zfnet::understand::top::KEPT));
        let mut net = self.model.net(backend, most)?;
        let search = self.search()?;
        let stems = stems(&self.args.images);
        for ((file, record), stem) in self.args.images.iter().zip(self.records).zip(&stems) {
            self.image(&mut net, search.as_ref(), file, record, stem)?;
        }
        Ok(())
    }
}

impl Draw<'_> {
    /// The finished search of `visualize top9` in the run's figures, if --data is given.
    fn search(&self) -> Result<Option<Search>> {
        let Some(data) = self.data else { return Ok(None) };
        let images = data.split(Split::Val).len();
        let layers = [top_convolution(&self.model.plan)?.name.clone()];
        let wanted = Search::new(subject(self.model, data, Split::Val), &self.model.plan, &layers, 0..images)?;
        let path = folder(None, self.model)?.join("top9-val.json");
        let found = Search::load(&path, &wanted, &self.model.plan)?.filter(Search::finished);
        if found.is_none() {
            talk!(
                "no finished search for these weights and images in {}: other images are left out; \
                 `zfnet visualize top9` makes it",
                path.display()
            );
        }
        Ok(found)
    }

    fn image<B: Backend>(
        &self,
        net: &mut Net<B>,
        search: Option<&Search>,
        file: &Path,
        record: &[u8],
        stem: &str,
    ) -> Result<()> {
        let Draw { args, model, sweep, .. } = *self;
        let (classes, input) = (&model.checkpoint.header.classes, model.plan.input);
        let layer = top_convolution(&model.plan)?.name.as_str();
        let view = View::centre(record, model.checkpoint.header.record, input)?;
        let unhidden = clear(net, view, layer)?;
        let sums = unhidden.activity.iter().enumerate();
        let (map, sum) = sums.fold((0, f64::MIN), |best, (k, &sum)| if sum > best.1 { (k, sum) } else { best });
        let projection = net.project(layer, &[Keep::Map(map)], &Reverse::DECONVNET)?;
        let others = self.others(net, search, layer, map)?;
        let class = class_of(args.class.as_deref(), file, classes).unwrap_or(unhidden.labels()[0]);

        let hiding = args.fill.record(&model.checkpoint.mean.data);
        let started = Instant::now();
        let bar = Bar::new(sweep.len() as u64, stem);
        let answers = occlude(net, view, &hiding, sweep, (layer, map), &mut |done| bar.at(done as u64))?;
        drop(bar);
        let seconds = started.elapsed().as_secs_f64();
        let fill = if args.fill == Fill::Grey { "grey" } else { "filled with the mean image" };
        let name = file.file_name().map_or_else(|| file.display().to_string(), |n| n.to_string_lossy().into_owned());
        let panels = Panels {
            name: &name,
            view,
            input,
            sweep,
            fill,
            hiding: &hiding,
            answers: &answers,
            clear: (sum, &unhidden.p),
            class,
            classes,
            map: (layer, map),
            projection: &projection,
            others: &others,
        };
        let files = panels.draw(self.out, stem)?;
        let worst = panels.worst();
        let least = answers.probability(class)[worst];
        talk!("{}: {} places, {:.0} images/s", file.display(), sweep.len(), sweep.len() as f64 / seconds);
        let line: Value = match args.common.json {
            false => format!("{}", files.png.display()).into(),
            true => json!({
                "file": file.display().to_string(),
                "class": classes[class],
                "probability": unhidden.p[class],
                "least": { "probability": least, "square": sweep.square(worst) },
                "layer": layer,
                "map": map,
                "square": sweep.side,
                "stride": sweep.stride,
                "places": sweep.len(),
                "others": others.len(),
                "png": files.png,
                "csv": files.csv,
            }),
        };
        let line = line.as_str().map_or_else(|| line.to_string(), str::to_owned);
        answer!("{line}").map_err(Error::io("write to", "the standard output"))
    }

    /// The map's strongest units in the search, projected.
    fn others<B: Backend>(
        &self,
        net: &mut Net<B>,
        search: Option<&Search>,
        layer: &str,
        map: usize,
    ) -> Result<Vec<Projection>> {
        let (Some(search), Some(data)) = (search, self.data) else { return Ok(Vec::new()) };
        let units: Vec<_> = search.top(layer)?.maps[map].iter().map(|&peak| (map, peak)).collect();
        let mut made = Vec::new();
        project_units(net, data, Split::Val, layer, &units, &Reverse::DECONVNET, &mut |_, projection| {
            made.push(projection);
            Ok(())
        })?;
        Ok(made)
    }
}

/// Names for the files of each image: `occlusion-` and the image's, numbered where two are alike.
fn stems(images: &[PathBuf]) -> Vec<String> {
    let stem = |file: &PathBuf| {
        let name = file.file_stem().map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned());
        format!("occlusion-{name}")
    };
    let mut stems: Vec<String> = Vec::new();
    for file in images {
        let plain = stem(file);
        let numbered = (2..).map(|i| format!("{plain}-{i}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !stems.contains(name));
        stems.push(free.unwrap_or(plain));
    }
    stems
}
