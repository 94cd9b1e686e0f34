//! Numbers on pictures, without a font: digits of 3 x 5 dots.

use image::{Rgb, RgbImage};

/// Pixels along a dot.
const DOT: usize = 2;
/// Pixels from one digit to the next.
const ADVANCE: usize = 4 * DOT;
/// Height of a number, in pixels.
pub const HEIGHT: usize = 5 * DOT;

const INK: Rgb<u8> = Rgb([70, 70, 70]);

/// Rows of dots of each digit, from the top; the left dot is the highest bit.
const GLYPHS: [[u8; 5]; 10] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b111, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b001, 0b010, 0b010],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
];

/// Width of `number`, in pixels.
pub fn width(number: usize) -> usize {
    number.to_string().len() * ADVANCE - DOT
}

/// Draws `number` with its upper left corner at (left, top); it must fit the canvas.
pub fn draw(canvas: &mut RgbImage, number: usize, left: usize, top: usize) {
    for (i, digit) in number.to_string().bytes().enumerate() {
        let glyph = GLYPHS[usize::from(digit - b'0')];
        for (y, x) in (0..HEIGHT).flat_map(|y| (0..3 * DOT).map(move |x| (y, x))) {
            if glyph[y / DOT] >> (2 - x / DOT) & 1 == 1 {
                canvas.put_pixel((left + i * ADVANCE + x) as u32, (top + y) as u32, INK);
            }
        }
    }
}
