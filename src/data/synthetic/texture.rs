//! The textures that make the classes.

use std::f32::consts::{FRAC_1_SQRT_2, TAU};

use super::draws::Draws;

/// What fills a badge. Every one has two tones, about half of each, and is the
/// same texture when it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texture {
    /// Stripes from left to right.
    Horizontal,
    /// Stripes from top to bottom.
    Vertical,
    /// Stripes at 45 degrees, either way.
    Diagonal,
    /// A checkerboard.
    Checker,
    /// Discs on a square grid.
    Dots,
    /// Circles round the centre.
    Rings,
    /// Stripes from left to right, broken into zigzags.
    Zigzag,
    /// Sectors round the centre.
    Spokes,
    /// Crossing lines.
    Lattice,
    /// One arm that winds round the centre, either way.
    Spiral,
}

impl Texture {
    /// All of them; class c of a data set is the c-th.
    pub const ALL: [Texture; 10] = [
        Texture::Horizontal,
        Texture::Vertical,
        Texture::Diagonal,
        Texture::Checker,
        Texture::Dots,
        Texture::Rings,
        Texture::Zigzag,
        Texture::Spokes,
        Texture::Lattice,
        Texture::Spiral,
    ];

    /// The class name.
    pub const fn name(self) -> &'static str {
        match self {
            Texture::Horizontal => "horizontal",
            Texture::Vertical => "vertical",
            Texture::Diagonal => "diagonal",
            Texture::Checker => "checker",
            Texture::Dots => "dots",
            Texture::Rings => "rings",
            Texture::Zigzag => "zigzag",
            Texture::Spokes => "spokes",
            Texture::Lattice => "lattice",
            Texture::Spiral => "spiral",
        }
    }
}

/// A texture with its chance parameters.
pub(super) struct Weave {
    texture: Texture,
    /// Length of one repeat, where the badge's radius is 1.
    period: f32,
    /// Shifts in repeats.
    phase: [f32; 2],
    /// 1 or -1: which way a diagonal or a spiral goes.
    hand: f32,
    spokes: f32,
}

impl Weave {
    pub(super) fn new(texture: Texture, draws: &mut Draws) -> Self {
        Weave {
            texture,
            period: draws.range(0.46, 0.60),
            phase: [draws.range(0.0, 1.0), draws.range(0.0, 1.0)],
            hand: if draws.coin() { 1.0 } else { -1.0 },
            spokes: 6.0 + draws.below(3) as f32,
        }
    }

    /// Which of the two tones stands at (u, v), u to the right and v down from the badge's centre.
    pub(super) fn tone(&self, u: f32, v: f32) -> bool {
        let (p, [a, b]) = (self.period, self.phase);
        let half = |repeats: f32| repeats.rem_euclid(1.0) < 0.5;
        match self.texture {
            Texture::Horizontal => half(v / p + a),
            Texture::Vertical => half(u / p + a),
            Texture::Diagonal => half((u + self.hand * v) * FRAC_1_SQRT_2 / p + a),
            Texture::Checker => half(u / (1.4 * p) + a) != half(v / (1.4 * p) + b),
            Texture::Dots => {
                let centred = |repeats: f32| repeats.rem_euclid(1.0) - 0.5;
                centred(u / (1.1 * p) + a).hypot(centred(v / (1.1 * p) + b)) < 0.34
            }
            Texture::Rings => half(u.hypot(v) / p + a),
            Texture::Zigzag => {
                let triangle = ((u / (1.8 * p) + b).rem_euclid(1.0) - 0.5).abs() * 2.0;
                half(v / p + triangle * 0.9 + a)
            }
            Texture::Spokes => half(v.atan2(u) / TAU * self.spokes + a),
            Texture::Lattice => {
                let line = |repeats: f32| repeats.rem_euclid(1.0) < 0.3;
                line(u / (1.1 * p) + a) || line(v / (1.1 * p) + b)
            }
            Texture::Spiral => half(u.hypot(v) / (1.15 * p) + self.hand * v.atan2(u) / TAU + a),
        }
    }
}
