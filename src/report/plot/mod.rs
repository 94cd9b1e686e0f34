//! Charts for people: axes with units, titles, legends, colours that the colour-blind can
//! tell apart.
//!
//! A chart is drawn into a [`Figure`], which is an SVG picture and is rasterised by `resvg`
//! with a font of its own: no font, and nothing else, of the system is looked for, so that
//! a figure comes out the same everywhere.
//!
//! | module | what it does |
//! |---|---|
//! | [`figure`] | lines, rectangles, text and pictures; PNG and SVG |
//! | [`colour`] | viridis for amounts, the Okabe-Ito colours for categories |
//! | [`axis`] | ranges, round tick marks, the frame of a chart |
//! | [`heat`] | amounts over a plane, with a colour bar |
//! | [`category`] | categories over a plane, with a legend of names |
//! | [`mod@line`] | series of points over a range, with a legend |

pub mod axis;
pub mod category;
pub mod colour;
pub mod figure;
pub mod heat;
pub mod line;

pub use axis::{Axis, Frame};
pub use figure::{Anchor, Area, Figure};
