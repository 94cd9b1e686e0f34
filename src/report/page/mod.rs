//! The page of a run: one HTML file that needs nothing else, opens from the disk, and shows
//! everything that is known about the run. Pictures are `data:` URLs, style and script are inline.
//!
//! A section whose figures are not there says which command makes them: see [`figures`].

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::error::Result;
use crate::net::Plan;
use crate::train::checkpoint::Progress;
use crate::train::metrics::{self, EpochMetrics};
use crate::train::model::Model;

mod chart;
pub mod figures;
mod grids;
mod probes;

use chart::{Chart, Series};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What there is to show, and what is missing.
pub struct Page {
    /// The file's text.
    pub html: String,
    /// Sections left out: title, and the command that makes its figures.
    pub missing: Vec<(&'static str, &'static str)>,
}

/// One section: its anchor, its title, the command that makes its figures, and what it shows.
struct Section {
    id: &'static str,
    title: &'static str,
    command: &'static str,
    body: Option<Markup>,
}

impl Page {
    /// Reads a run's folder and the figures in `folder`, and writes the page. `model` is the
    /// run's checkpoint, whose scores the head of the page tells.
    ///
    /// # Errors
    /// [`crate::error::Error::Io`]; [`crate::error::Error::Format`] with the file and the command that makes it
    /// anew if one is damaged.
    pub fn build(run: &Path, model: &Model, folder: &Path) -> Result<Self> {
        let metrics = metrics::read(&run.join("metrics.jsonl"))?;
        let section = |id, title, command, body| Section { id, title, command, body };
        let sections = [
            section("curves", "Learning curves", "train", curves(&metrics)),
            section("layers", "Layers", "info", Some(layers(&model.plan))),
            section("filters", "First-layer filters", "visualize filters", probes::filters(folder)?),
            section("top9", "What excites a map most", "visualize top9", grids::top9(&model.plan, folder)?),
            section("evolution", "How features come about", "visualize evolution", grids::evolution(folder)?),
            section("occlusion", "What the network looks at", "visualize occlusion", probes::occlusion(folder)?),
            section("scores", "Does it find the part that tells the class?", "visualize score", probes::score(folder)?),
            section("invariance", "Invariance", "visualize invariance", probes::invariance(folder)?),
            section("correspondence", "Correspondence", "visualize correspondence", probes::correspondence(folder)?),
            section("diagnose", "How the layers fare", "visualize diagnose", probes::diagnose(folder)?),
            section("settings", "Settings", "train", Some(settings(model))),
        ];
        let missing = sections.iter().filter(|s| s.body.is_none()).map(|s| (s.title, s.command)).collect();
        Ok(Page { html: document(run, model, &metrics, &sections).into_string(), missing })
    }
}

fn document(run: &Path, model: &Model, metrics: &[EpochMetrics], sections: &[Section]) -> Markup {
    let name = run.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| run.display().to_string());
    let title = format!("{} - {name}", model.plan.name);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (model.plan.name) " " span { (name) } }
                    (summary(model, metrics))
                    nav aria-label="Sections" {
                        @for s in sections.iter().filter(|s| s.body.is_some()) { a href={ "#" (s.id) } { (s.title) } }
                    }
                }
                main {
                    @for s in sections {
                        @if let Some(body) = &s.body {
                            section id=(s.id) { h2 { (s.title) } (body) }
                        }
                    }
                    (absent(sections))
                }
                dialog id="zoom" aria-label="Enlarged tile" {
                    canvas {}
                    p {}
                    form method="dialog" { button { "Close" } }
                }
                div id="lens" hidden { canvas {} p {} }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The run in a few numbers.
fn summary(model: &Model, metrics: &[EpochMetrics]) -> Markup {
    let Progress { epoch, best, .. } = model.checkpoint.header.progress;
    let shown = metrics.iter().find(|m| m.epoch == epoch);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let seconds: f64 = metrics.iter().map(|m| m.seconds).sum();
    let fact = |value: String, what: &str| html! { div { b { (value) } span { (what) } } };
    html! {
        div.facts {
            @if let Some(top1) = shown.and_then(|m| m.val_top1) { (fact(percent(top1), "top-1 on validation")) }
            @if let Some(top5) = shown.and_then(|m| m.val_top5) { (fact(percent(top5), "top-5 on validation")) }
            (fact(format!("{epoch} of {}", model.config.train.epochs), "epochs in this checkpoint"))
            @if let Some(best) = best { (fact(best.epoch.to_string(), "best epoch so far")) }
            (fact(model.plan.classes.to_string(), "classes"))
            (fact(grouped(model.plan.total_params() as u64), "parameters"))
            (fact(duration(seconds), "training and validation"))
        }
    }
}

/// Loss, top-1 and learning rate; nothing without epochs.
fn curves(metrics: &[EpochMetrics]) -> Option<Markup> {
    if metrics.is_empty() {
        return None;
    }
    let line = |name: &str, value: &dyn Fn(&EpochMetrics) -> Option<f64>| Series {
        name: name.to_owned(),
        ys: metrics.iter().map(value).collect(),
    };
    let percent = |share: f64| 100.0 * share;
    let chart =
        |title, y, series| Chart { title, x: "epoch", y, xs: metrics.iter().map(|m| m.epoch as f64).collect(), series };
    let loss = [line("training", &|m| Some(m.train_loss)), line("validation", &|m| m.val_loss)];
    let accuracy = [
        line("training, top-1", &|m| Some(percent(m.train_top1))),
        line("validation, top-1", &|m| m.val_top1.map(percent)),
        line("validation, top-5", &|m| m.val_top5.map(percent)),
    ];
    let speed = vec![line("training", &|m| Some(m.images_per_s))];
    let rate = vec![line("learning rate", &|m| Some(m.lr))];
    Some(html! {
        p { "Training values are means over the epoch while it was going on, with dropout and random crops. "
            "Point at a chart, or focus it and use the arrow keys, to read its values." }
        div.charts {
            (chart("Loss", "cross-entropy (nats)", known(loss)).draw())
            (chart("Accuracy", "images (%)", known(accuracy)).draw())
            (chart("Learning rate", "learning rate", rate).draw())
            (chart("Speed", "images / s", speed).draw())
        }
    })
}

/// The lines that have a value somewhere: data may have no validation split.
fn known<const N: usize>(series: [Series; N]) -> Vec<Series> {
    series.into_iter().filter(|s| s.ys.iter().any(Option::is_some)).collect()
}

/// As `zfnet info` prints it.
fn layers(plan: &Plan) -> Markup {
    let count = |n: u64| if n == 0 { String::new() } else { grouped(n) };
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { "layer" } th { "output (H x W x C)" } th { "definition" } th.n { "parameters" }
                    th.n { "MACs" } th.n { "receptive field (px)" } th.n { "jump (px)" }
                } }
                tbody {
                    tr { td { "input" } td { (plan.input) } td { "RGB crop, mean subtracted" } td {} td {} td {} td {} }
                    @for layer in &plan.layers { tr {
                        td { (layer.name) } td { (layer.output) } td { (layer.definition()) }
                        td.n { (count(layer.params() as u64)) } td.n { (count(layer.macs())) }
                        td.n { (layer.receptive_field) } td.n { (layer.jump) }
                    } }
                    tr.total { td { "total" } td {} td {} td.n { (grouped(plan.total_params() as u64)) }
                        td.n { (grouped(plan.total_macs())) } td {} td {} }
                }
            }
        }
    }
}

/// Every setting, and the program.
fn settings(model: &Model) -> Markup {
    let version = env!("CARGO_PKG_VERSION");
    let Progress { epoch, step, .. } = model.checkpoint.header.progress;
    html! {
        p { "zfnet " (version) ", checkpoint of epoch " (epoch) ", step " (step) ". Classes: "
            (model.checkpoint.header.classes.join(", ")) "." }
        details { summary { "config.toml: every setting of this run" } pre { (model.checkpoint.header.config) } }
    }
}

/// What is not there yet, and how to get it.
fn absent(sections: &[Section]) -> Markup {
    let absent: Vec<&Section> = sections.iter().filter(|s| s.body.is_none()).collect();
    html! {
        @if !absent.is_empty() {
            section id="absent" {
                h2 { "Not made yet" }
                ul { @for s in absent { li { (s.title) ": " code { "zfnet " (s.command) } } } }
            }
        }
    }
}

/// Digits in threes: `62,357,608`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let threes: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|d| std::str::from_utf8(d).ok()).collect();
    threes.join(",")
}

/// `1 h 05 min`, `12 min`, `48 s`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}
