//! The sections that put questions to the network: filters, occlusion, scores, diagnosis.

use std::path::Path;

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::report::correspondence::Correspondence;
use crate::report::diagnose::{DIAGNOSES, Diagnosed, rows};
use crate::report::invariance::Invariance;
use crate::report::json as file;
use crate::report::occluder::Occluder;
use crate::report::page::chart::{Chart, Series};
use crate::report::page::figures::{named, png_url};

/// Fig 5: the pictures of the first layer's filters.
pub fn filters(folder: &Path) -> Result<Option<Markup>> {
    let mut pictures = Vec::new();
    for path in named(folder, "filters", ".png")? {
        let url = png_url(&path)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        pictures.push(html! { figure { img src=(url) alt=(name); } });
    }
    Ok((!pictures.is_empty()).then(|| html! { div.pictures { @for picture in &pictures { (picture) } } }))
}

/// Fig 6: an occluder to move over each image.
pub fn occlusion(folder: &Path) -> Result<Option<Markup>> {
    let mut panels = Vec::new();
    for path in named(folder, "occlusion-", ".json")? {
        let Some(occluder) = file::read::<Occluder>(&path, "visualize occlusion")? else { continue };
        occluder.check().map_err(|reason| Error::format(&path, reason))?;
        let (crop, figure) = (png_url(&folder.join(&occluder.crop))?, png_url(&folder.join(&occluder.panels))?);
        let class = &occluder.classes[occluder.class];
        let (side, name) = (occluder.side, &occluder.name);
        panels.push(html! {
            div.occluder data-occluder=(json!(occluder)) {
                h3 { (name) small { (class) ", p = " (format!("{:.3}", occluder.clear)) " with nothing hidden" } }
                div.panels {
                    figure { figcaption { "image, with the square" }
                        canvas.seen tabindex="0" role="application"
                            aria-label={ "Image " (name) ". Arrow keys move the square." } {} }
                    figure { figcaption { "probability of " (class) } canvas.p {} div.bar {} }
                    figure { figcaption { "most probable class" } canvas.label {} div.legend {} }
                }
                output aria-live="polite" {}
                img.crop src=(crop) alt="" hidden;
                details { summary { "all panels, with " (occluder.layer) " map " (occluder.map) }
                    div.scroll { img.plain src=(figure) alt={ "Occlusion panels of " (name) ", square of " (side) " px" }; } }
            }
        });
    }
    Ok((!panels.is_empty()).then(|| {
        html! {
            p { "A square hides part of the image; the maps tell what the network says with the square at each place. Drag it, or point at a map, or use the arrow keys, and read "
                "what the network then takes the image for. Where the probability falls, the network needs what "
                "is hidden." }
            @for panel in &panels { (panel) }
        }
    }))
}

/// The scores on data whose discriminating part is known.
pub fn score(folder: &Path) -> Result<Option<Markup>> {
    let Some(score) = file::read::<Value>(&folder.join("score.json"), "visualize score")? else { return Ok(None) };
    let rows = |key: &str| score[key].as_array().cloned().unwrap_or_default();
    let number = |means: &Value, key: &str| means[key].as_f64().map_or("-".to_owned(), |v| format!("{v:.3}"));
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
    let table = |rows: &[Value], heads: &[&str], keys: &[&str]| {
        html! {
            div.scroll { table {
                thead { tr { th { "method" } th { "layer" } @for head in heads { th.n { (head) } } } }
                tbody { @for row in rows { tr {
                    td { (text(row, "method")) } td { (text(row, "layer")) }
                    @for key in keys { td.n { (number(&row["means"], key)) } }
                } } }
            } }
        }
    };
    let (projections, occlusion) = (rows("projections"), rows("occlusion"));
    Ok(Some(html! {
        p { "The synthetic images have one part that tells the class. Over the images that the network recognises: "
            "the share of a projection's energy inside that part, and how often its strongest point lies there, "
            "beside the part's share of the area, which is what chance would give." }
        (table(&projections, &["energy inside", "points inside", "area of the part"], &["energy", "pointing", "area"]))
        p { "Occlusion: rank correlation of the harm that hiding a place does with how much of the part is hidden "
            "there, how often the most harmful place lies in the part, and how often chance would." }
        (table(&occlusion, &["rank correlation", "minimum inside", "by chance"], &["correlation", "inside", "chance"]))
    }))
}

/// Distances of features, and probabilities, under translation, scale and rotation.
pub fn invariance(folder: &Path) -> Result<Option<Markup>> {
    let path = folder.join("invariance.json");
    let Some(figure) = file::read::<Invariance>(&path, "visualize invariance")? else { return Ok(None) };
    let titles = figure.titles();
    let charts = figure.kinds.iter().flat_map(|kind| titles.iter().enumerate().map(move |panel| (kind, panel)));
    Ok(Some(html! {
        p { "What moving an image does: the Euclidean distance of its features from those of the image as it is, "
            "in the first layer and in the one below the classifier, and the probability of its class." }
        div.charts.three {
            @for (kind, (panel, title)) in charts {
                @let series = figure.images.iter().zip(kind.panel(panel)).map(|(image, ys)| Series {
                    name: image.to_string(),
                    ys: ys.into_iter().map(Some).collect(),
                });
                @let (title, x) = (format!("{}: {title}", kind.name), format!("{} ({})", kind.name, kind.unit));
                @let y = if panel == 2 { "probability" } else { "Euclidean distance" };
                (Chart { title: &title, x: &x, y, xs: kind.amounts.clone(), series: series.collect() }.draw())
            }
        }
    }))
}

/// Hamming scores of parts, against random places.
pub fn correspondence(folder: &Path) -> Result<Option<Markup>> {
    let path = folder.join("correspondence.json");
    let Some(table) = file::read::<Correspondence>(&path, "visualize correspondence")? else { return Ok(None) };
    let score = |value: f64| format!("{value:.3}");
    let spread = |[mean, deviation]: [f64; 2]| format!("{mean:.3} ± {deviation:.3}");
    Ok(Some(html! {
        p { "A square of " (table.square) " px hides the same part on several images. The score is the share of units "
            "that change differently from image to image: below that of random places (mean and standard deviation "
            "of " (table.draws) " draws), the network takes the part for the same thing. The normalised score counts "
            "only units that change in one of the two images." }
        div.scroll { table {
            thead { tr {
                th { "part" } th { "layer" } th.n { "images" } th.n { "raw" } th.n { "raw, random" }
                th.n { "normalised" } th.n { "normalised, random" }
            } }
            tbody { @for row in &table.rows { tr {
                td { (row.part) } td { (row.layer) } td.n { (row.images) }
                td.n { (score(row.raw)) } td.n { (spread(row.raw_random)) }
                td.n { (score(row.normalised)) } td.n { (spread(row.normalised_random)) }
            } } }
        } }
    }))
}

/// Numbers for what the paper saw by eye in its layers, and the frequencies of the first.
pub fn diagnose(folder: &Path) -> Result<Option<Markup>> {
    let command = "visualize diagnose";
    let Some(runs) = file::read::<Vec<Diagnosed>>(&folder.join(DIAGNOSES), command)? else { return Ok(None) };
    let rows = rows(&runs);
    let spectrum = folder.join("spectrum.png");
    let spectrum = if spectrum.exists() { Some(png_url(&spectrum)?) } else { None };
    Ok(Some(html! {
        p { "Dominance: the largest RMS of a layer's filters over the median. Dead: never active on the validation "
            "images. Saturated: active at 99 % of places or more. Sparsity: the share of activations that are 0. "
            "Aliasing: energy of layer-2 projections at the frequencies of layer 1's stride over the energy round "
            "them, 1 where they are nothing special." }
        @if let Some(url) = &spectrum { div.scroll { img.plain src=(url) alt="Energy of layer-1 filters by frequency"; } }
        div.scroll { table {
            @if let Some(head) = rows.first() {
                thead { tr { @for (i, cell) in head.iter().enumerate() { th.n[i > 0] { (cell) } } } }
            }
            tbody { @for row in rows.iter().skip(1) { tr {
                @for (i, cell) in row.iter().enumerate() { td.n[i > 0] { (cell) } }
            } } }
        } }
    }))
}
