//! Figures, drawn for people, and beside each the numbers that it shows.
//!
//! | module | what it does |
//! |---|---|
//! | [`grid`] | image tiles in rows and columns, as PNG |
//! | [`contrast`] | signed projections as colours |
//! | `digits` | numbers on pictures |
//! | `csv` | fields of the tables beside the figures |
//! | [`plot`] | heat maps, label maps, line charts |
//! | [`occlusion`] | Fig 6: a square that hides part of the image |
//! | [`top9`] | Fig 2: the strongest activations, projected, beside their image patches |

pub mod contrast;
mod csv;
mod digits;
pub mod grid;
pub mod occlusion;
pub mod plot;
pub mod top9;
