//! Categories over a plane: a map of labels, with a legend of their names.

use crate::error::Result;
use crate::report::plot::axis::{Axis, Frame};
use crate::report::plot::colour::{CATEGORIES, Colour, INK, OTHER};
use crate::report::plot::figure::{Anchor, Area, Figure, TEXT, shortened};
use crate::report::plot::heat::Cells;

/// Room that the legend takes to the right of the map.
pub const MARGIN: f64 = 165.0;
/// Characters of a name that fit there.
const NAME: usize = 17;

/// A map of labels.
pub struct LabelMap<'a> {
    /// What is shown.
    pub title: &'a str,
    /// The labels.
    pub cells: Cells<'a, usize>,
    /// The labels' names.
    pub names: &'a [String],
    /// A label that comes first in the legend, in the first colour, if it occurs.
    pub first: usize,
    /// Axis to the right.
    pub x: &'a Axis,
    /// Axis upwards.
    pub y: &'a Axis,
}

impl LabelMap<'_> {
    /// The labels that occur, with how often: `first`, then the others, the most frequent first.
    fn order(&self) -> Vec<(usize, usize)> {
        let mut counts = std::collections::BTreeMap::<usize, usize>::new();
        self.cells.values.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
        let mut order: Vec<(usize, usize)> = counts.into_iter().collect();
        order.sort_by_key(|&(label, count)| (label != self.first, std::cmp::Reverse(count), label));
        order
    }

    /// Draws the map in `area` and the legend in [`MARGIN`] to its right: a line for each
    /// label that occurs, with its share of the cells; those beyond the eighth are one.
    pub fn draw(&self, figure: &mut Figure, area: Area) -> Result<()> {
        let order = self.order();
        let place = |label: usize| order.iter().position(|&(l, _)| l == label);
        let colour = |label: usize| colour(place(label));
        let frame = Frame::new(area, self.x, self.y);
        self.cells.draw(figure, &frame, colour)?;
        frame.draw(figure, self.title);
        let mut lines: Vec<(Colour, String, usize)> = Vec::new();
        for (i, &(label, count)) in order.iter().enumerate() {
            match lines.get_mut(CATEGORIES.len()) {
                Some((_, _, others)) => *others += count,
                None if i == CATEGORIES.len() => lines.push((OTHER, "others".into(), count)),
                None => {
                    let name = self.names.get(label).map_or_else(|| label.to_string(), |name| shortened(name, NAME));
                    lines.push((colour(label), name, count));
                }
            }
        }
        let total = self.cells.values.len().max(1) as f64;
        for (i, (colour, name, count)) in lines.into_iter().enumerate() {
            let top = area.top + 1.7 * TEXT * i as f64;
            let patch = Area { left: area.right() + 12.0, top, width: TEXT, height: TEXT };
            figure.fill(patch, colour);
            figure.outline(patch, INK, 0.5);
            let share = 100.0 * count as f64 / total;
            let text = if share >= 0.5 { format!("{name}, {share:.0} %") } else { format!("{name}, < 1 %") };
            figure.text((patch.right() + 5.0, top + 0.86 * TEXT), Anchor::Start, &text);
        }
        Ok(())
    }
}

/// The colour of the category that is number `place` in the legend.
fn colour(place: Option<usize>) -> Colour {
    place.and_then(|place| CATEGORIES.get(place)).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legend_counts() {
        let axis = Axis::new("", 0.0, 1.0);
        let values = [4, 2, 2, 2, 9, 9, 4, 2, 7];
        let cells = Cells { values: &values, columns: 3, corners: [(0.0, 0.0), (1.0, 1.0)] };
        let mut map = LabelMap { title: "", cells, names: &[], first: 7, x: &axis, y: &axis };
        assert_eq!(map.order(), [(7, 1), (2, 4), (4, 2), (9, 2)]);
        map.first = 100;
        assert_eq!(map.order(), [(2, 4), (4, 2), (9, 2), (7, 1)]);
        assert_eq!((colour(Some(0)), colour(Some(8)), colour(None)), (CATEGORIES[0], OTHER, OTHER));
    }
}
