// How a convolution by bulk copies is cut, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct ConvTiles {
  // Tiles of the rows and columns of one product, 128 by `width`.
  int rows, columns, width;
  // Of all products' tiles, the first are units of work as they are; the depth of the others is cut into
  // `splits` parts of `split_steps` steps each, the last shorter.
  int whole, tiles, units, splits, split_steps;
  // Channels that are copied at once, one row of a box; pieces of them in a tap.
  int piece, tap_pieces;
};
static_assert(sizeof(ConvTiles) == 10 * 4, "words, no padding");
