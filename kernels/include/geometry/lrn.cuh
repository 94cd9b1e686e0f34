// The geometry of a normalisation, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Lrn {
  int rows, C;
  // Channels of a window below and above its own.
  int below, above;
  float k;
  // alpha / n, or alpha.
  float scale;
  float beta;
};
static_assert(sizeof(Lrn) == 28, "seven words, no padding");
