// A piece of an update, field for field as the launcher's #[repr(C)] struct.
#pragma once

#include "numbers.cuh"

// What one block updates: a filter that is clipped, or a chunk of a tensor that is not.
struct SgdSegment {
  const float* g;  // (len)
  float* v;        // (len)
  float* w;        // (len)
  bf16* copy;      // (len), w rounded; null where there is none
  // Largest RMS of w; infinity for no limit.
  double radius;
  int len;
  int decays;
};
static_assert(sizeof(SgdSegment) == 48, "no padding");
