// The geometry of a convolution with pooling and normalisation behind it, field for field as the launcher's
// #[repr(C)] struct.
#pragma once

#include "geometry/conv.cuh"
#include "geometry/lrn.cuh"
#include "geometry/pool.cuh"

struct ConvPoolLrn {
  Conv conv;
  Pool pool;
  Lrn lrn;
  // Windows of a block, and the pixels of the convolution's output under them, at most 128.
  int tile_P, tile_Q, patch_P, patch_Q;
  // Blocks of an image, of a row of it, and the patch's width.
  Divisor by_tiles, by_tiles_Q, by_patch_Q;
};
static_assert(sizeof(ConvPoolLrn) == sizeof(Conv) + sizeof(Pool) + sizeof(Lrn) + 4 * 4 + 3 * 12, "words, no padding");
