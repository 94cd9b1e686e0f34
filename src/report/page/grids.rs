//! The sections that are made of tiles: strongest activations, and evolution.

use std::path::Path;

use maud::{Markup, html};
use serde_json::json;

use crate::error::Result;
use crate::net::Plan;
use crate::report::evolution;
use crate::report::page::chart::{Chart, Series};
use crate::report::page::figures::png_url;
use crate::report::top9::{self, Unit};

/// Fig 2, a grid for each layer that has one.
pub fn top9(plan: &Plan, folder: &Path) -> Result<Option<Markup>> {
    let mut grids = Vec::new();
    for layer in &plan.layers {
        let Some(figure) = top9::read(folder, &layer.name)? else { continue };
        let url = png_url(&folder.join(format!("top9-{}.png", layer.name)))?;
        let caption = |map: &usize, unit: &Unit| {
            format!("map {map}, activation {:.3}, {} image {} ({})", unit.value, figure.split, unit.image, unit.class)
        };
        // The same captions for projection and patch.
        let rows = figure.maps.iter().zip(&figure.units).map(|(map, units)| {
            let mut captions: Vec<String> = units.iter().map(|unit| caption(map, unit)).collect();
            captions.resize(figure.layout.columns, format!("map {map}: active on no other image"));
            [captions.clone(), captions].concat()
        });
        let data = json!({ "layout": figure.layout, "captions": rows.collect::<Vec<_>>() }).to_string();
        let title = format!("{}: {} of {} maps", layer.name, figure.maps.len(), layer.output.C);
        let field = format!("receptive field {} px; {} maps silent", layer.receptive_field, figure.silent);
        grids.push(html! {
            h3 { (title) small { (field) } }
            (tiles(&url, &title, &data))
        });
    }
    Ok((!grids.is_empty()).then(|| {
        html! {
            p { "Each row is a map. Left: its strongest activations on different images, the strongest first, each "
                "projected alone to pixels. Right: the image patch it looked at. Point at a tile to enlarge it; "
                "click it, or use the arrow keys and Enter, to keep it." }
            @for grid in &grids { (grid) }
        }
    }))
}

/// A grid whose tiles can be enlarged.
fn tiles(url: &str, title: &str, data: &str) -> Markup {
    html! {
        div.scroll {
            div.tiles data-grid=(data) tabindex="0" role="application"
                aria-label={ (title) ". Arrow keys choose a tile, Enter enlarges it." } {
                img src=(url) alt=(title);
                div.cursor hidden {}
            }
        }
    }
}

/// Fig 4: a slider through the epochs, and how the layers approach what they are in the end.
pub fn evolution(folder: &Path) -> Result<Option<Markup>> {
    let Some(figure) = evolution::read(folder)? else { return Ok(None) };
    let last = figure.epochs.len().saturating_sub(1);
    let series = figure.layers.iter().map(|l| Series { name: l.layer.clone(), ys: l.similarity.clone() });
    let xs: Vec<f64> = figure.epochs.iter().map(|&e| e as f64).collect();
    let chart = Chart {
        title: "Similarity of the projections to those of the last epoch",
        x: "epoch",
        y: "mean cosine similarity",
        xs,
        series: series.collect(),
    };
    let mut layers = Vec::new();
    for layer in &figure.layers {
        let url = png_url(&folder.join(&layer.png))?;
        let jumps = (0..figure.epochs.len()).map(|e| {
            let image = |e: usize, row: usize| layer.units[e][row].as_ref().map(|unit| unit.image);
            let changed = |row: &usize| {
                e > 0 && image(e, *row).is_some() && image(e - 1, *row).is_some_and(|i| Some(i) != image(e, *row))
            };
            (0..layer.maps.len()).filter(changed).collect::<Vec<_>>()
        });
        let data =
            json!({ "layout": layer.layout, "maps": layer.maps, "jumps": jumps.collect::<Vec<_>>() }).to_string();
        let converged = match layer.converged {
            Some(epoch) => format!("above {} from epoch {epoch} on", figure.threshold),
            None => "silent at the end".to_owned(),
        };
        layers.push(html! {
            div.film data-film=(data) {
                h3 { (layer.layer) small { (converged) } }
                canvas role="img" aria-label={ "Projections and patches of " (layer.layer) " at the chosen epoch" } {}
                details { summary { "all epochs side by side" }
                    div.scroll { img src=(url) alt={ "Evolution of " (layer.layer) }; } }
            }
        });
    }
    Ok(Some(html! {
        p { "The strongest activation of each map over " (figure.images) " " (figure.split)
            " images, projected to pixels, and below it the image patch it looked at. An orange frame marks a jump: "
            "another image than at the epoch before excites the map most." }
        div.slider {
            label for="epoch" { "epoch " output id="epoch-now" { (figure.epochs.last().unwrap_or(&0)) } }
            input type="range" id="epoch" min="0" max=(last) value=(last) step="1" data-epochs=(json!(figure.epochs));
        }
        div.films { @for layer in &layers { (layer) } }
        (chart.draw())
    }))
}
