//! Composition of one image: background, shared pieces, badge, light and grain.

use super::canvas::{Canvas, Colour, Noise, mix, tint};
use super::draws::Draws;
use super::texture::{Texture, Weave};

/// Radius of a badge, as a share of the image's side.
///
/// Badges and pieces are as large, and as contrasted, as keeps an untrained network from finding
/// the badge: its strongest units sit where the contrast is. With badges of 0.19 to 0.27 and pieces
/// of 0.09 to 0.17 without patches, random weights put 0.70 (conv4 of `small`) and 0.45 (fc6) of a
/// projection's energy onto the badge; as it is now 0.48 and 0.33.
const BADGE_RADIUS: (f32, f32) = (0.16, 0.23);
/// Radius of a shared piece.
const PIECE_RADIUS: (f32, f32) = (0.12, 0.22);
/// Most shared pieces in an image.
const PIECES: usize = 4;
/// Largest tilt in radians: 13 degrees, well below the 45 between stripe classes.
const TILT: f32 = 0.23;
/// Width of the rim as a share of the radius.
const RIM: f32 = 0.13;
/// Standard deviation of the grain, of 255.
const GRAIN: f32 = 6.0;

/// Where a shape lies and how it is turned.
struct Pose {
    centre: [f32; 2],
    radius: f32,
    /// Cosine and sine of the tilt.
    turn: [f32; 2],
    /// Widens the shape by this and narrows it across.
    stretch: f32,
}

impl Pose {
    fn new(draws: &mut Draws, (low, high): (f32, f32), tilt: f32, margin: f32) -> Self {
        let radius = draws.range(low, high);
        let (from, to) = (radius + margin, 1.0 - radius - margin);
        let centre = [draws.range(from, to), draws.range(from, to)];
        let angle = draws.range(-tilt, tilt);
        Pose { centre, radius, turn: [angle.cos(), angle.sin()], stretch: draws.range(0.92, 1.08) }
    }

    /// An offset from the centre in the shape's own coordinates, where its radius is 1.
    fn own(&self, dx: f32, dy: f32) -> (f32, f32) {
        let [cos, sin] = self.turn;
        let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
        (u / (self.radius * self.stretch), v * self.stretch / self.radius)
    }

    fn reach(&self) -> f32 {
        self.radius * 1.1
    }
}

/// Draws one image and the mask of its badge.
pub(super) fn paint(
    mut draws: Draws,
    texture: Texture,
    size: usize,
    image: &mut [u8], // (S, S, 3)
    mask: &mut [u8],  // (S, S)
) {
    let draws = &mut draws;
    let mut canvas = background(draws, size);
    // Crops of 8/9 of the side cut at most the outermost ninth: little of the badge can be lost.
    let badge = Pose::new(draws, BADGE_RADIUS, TILT, 0.03);
    let mut taken = vec![(badge.centre, badge.radius)];
    for _ in 0..1 + draws.below(PIECES) {
        lay_piece(draws, &mut canvas, &mut taken);
    }
    mask.fill(0);
    lay_badge(draws, &mut canvas, &badge, texture, mask);
    develop(draws, &canvas, image);
}

/// Two soft colours mixed by smooth noise of two scales.
fn background(draws: &mut Draws, size: usize) -> Canvas {
    let middle = draws.range(0.25, 0.75);
    let spread = draws.range(0.05, 0.2);
    let (a, b) = (tint(draws, middle - spread, 0.5), tint(draws, middle + spread, 0.5));
    let (coarse, fine) = (Noise::new(draws, 3), Noise::new(draws, 13));
    let fineness = draws.range(0.1, 0.4);
    Canvas::new(size, |x, y| mix(a, b, coarse.at(x, y) + fineness * (fine.at(x, y) - 0.5)))
}

/// Light and dark, in either order, of any hues: what carries a pattern.
fn two_tones(draws: &mut Draws) -> [Colour; 2] {
    let (dark, light) = (draws.range(0.08, 0.32), draws.range(0.68, 0.92));
    let tones = [tint(draws, dark, 0.6), tint(draws, light, 0.6)];
    if draws.coin() { tones } else { [tones[1], tones[0]] }
}

/// A rimmed disc filled with the class's texture.
fn lay_badge(draws: &mut Draws, canvas: &mut Canvas, pose: &Pose, texture: Texture, mask: &mut [u8]) {
    let weave = Weave::new(texture, draws);
    let [ink, paper] = two_tones(draws);
    let rim = if draws.coin() { ink } else { paper };
    let paint = |dx: f32, dy: f32| {
        let (u, v) = pose.own(dx, dy);
        match u.hypot(v) {
            r if r > 1.0 => None,
            r if r > 1.0 - RIM => Some(rim),
            _ => Some(if weave.tone(u, v) { ink } else { paper }),
        }
    };
    canvas.lay(pose.centre, pose.reach(), paint, |pixel, share| mask[pixel] = if share < 0.5 { 0 } else { 255 });
}

/// What a piece that all classes share looks like inside.
enum Fill {
    Flat,
    /// From one tone to the other, along a random direction.
    Fade([f32; 2]),
    Clouds(Noise),
    /// Two tones in patches of no order: the contrast of a texture, and none of its class.
    Patches(Noise),
}

/// A rimmed disc, square, triangle or cross with a plain filling, at the first
/// of some random places that is free; if none is, it is left out.
fn lay_piece(draws: &mut Draws, canvas: &mut Canvas, taken: &mut Vec<([f32; 2], f32)>) {
    const TRIES: usize = 12;
    let candidates: Vec<Pose> =
        (0..TRIES).map(|_| Pose::new(draws, PIECE_RADIUS, std::f32::consts::PI, -0.04)).collect();
    let shape = draws.below(4);
    let [ink, paper] = two_tones(draws);
    let angle = draws.range(0.0, std::f32::consts::TAU);
    let fill = match draws.below(6) {
        0 => Fill::Flat,
        1 => Fill::Fade([angle.cos(), angle.sin()]),
        2 => Fill::Clouds(Noise::new(draws, 4)),
        _ => Fill::Patches(Noise::new(draws, 9)),
    };
    let free = |pose: &Pose| {
        taken.iter().all(|(centre, radius)| {
            let distance = (pose.centre[0] - centre[0]).hypot(pose.centre[1] - centre[1]);
            distance > 0.95 * (pose.radius + radius)
        })
    };
    let Some(pose) = candidates.into_iter().find(free) else { return };
    let paint = |dx: f32, dy: f32| {
        let (u, v) = pose.own(dx, dy);
        let depth = depth(shape, u, v);
        if depth < 0.0 {
            return None;
        }
        if depth < RIM {
            return Some(ink);
        }
        Some(match &fill {
            Fill::Flat => paper,
            Fill::Fade([x, y]) => mix(paper, ink, 0.5 + 0.5 * (u * x + v * y)),
            Fill::Clouds(noise) => mix(paper, ink, noise.at(0.5 + 0.5 * u, 0.5 + 0.5 * v)),
            Fill::Patches(noise) if noise.at(0.5 + 0.5 * u, 0.5 + 0.5 * v) < 0.5 => ink,
            Fill::Patches(_) => paper,
        })
    };
    canvas.lay(pose.centre, pose.reach(), paint, |_, _| {});
    taken.push((pose.centre, pose.radius));
}

/// Distance from (u, v) inwards to the edge of a shape that fits the unit
/// circle; negative outside.
fn depth(shape: usize, u: f32, v: f32) -> f32 {
    match shape {
        0 => 1.0 - u.hypot(v),
        1 => 0.72 - u.abs().max(v.abs()),
        // Three edges at distance 0.5 from the centre.
        2 => 0.5 - v.max(-0.5 * v + 0.866 * u).max(-0.5 * v - 0.866 * u),
        // Two bars, the deeper of them.
        _ => {
            let bar = |a: f32, b: f32| (0.9 - a.abs()).min(0.36 - b.abs());
            bar(u, v).max(bar(v, u))
        }
    }
}

/// Uneven light, grain, and rounding to 8 bits.
fn develop(draws: &mut Draws, canvas: &Canvas, image: &mut [u8]) {
    let S = canvas.size;
    let angle = draws.range(0.0, std::f32::consts::TAU);
    let slope = draws.range(0.0, 0.25);
    let exposure = draws.range(0.85, 1.1);
    for (i, (pixel, out)) in canvas.pixels.iter().zip(image.chunks_exact_mut(3)).enumerate() {
        let (x, y) = ((i % S) as f32 / S as f32 - 0.5, (i / S) as f32 / S as f32 - 0.5);
        let light = exposure * (1.0 + slope * (x * angle.cos() + y * angle.sin()));
        for c in 0..3 {
            out[c] = (pixel[c] * light * 255.0 + GRAIN * draws.grain()).round().clamp(0.0, 255.0) as u8;
        }
    }
}
