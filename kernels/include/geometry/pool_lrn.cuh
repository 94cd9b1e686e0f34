// The geometry of a pooling and the normalisation behind it, field for field as the launcher's #[repr(C)] struct.
#pragma once

#include "geometry/lrn.cuh"
#include "geometry/pool.cuh"

struct PoolLrn {
  Pool pool;
  Lrn lrn;
  // Windows of a block: forward it pools them, backward it computes the positions where they start, and as
  // many windows more as reach into these.
  int tile_P, tile_Q;
  // Blocks of an image.
  int tiles_P, tiles_Q;
};
static_assert(sizeof(PoolLrn) == 80, "twenty words, no padding");
