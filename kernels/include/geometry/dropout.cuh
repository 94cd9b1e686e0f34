// The geometry of a dropout, field for field as the launcher's #[repr(C)] struct.
#pragma once

#include "philox.cuh"

struct Dropout {
  unsigned long long len;
  Stream stream;
  // An element is kept if its word is at least this.
  unsigned threshold;
  // What survivors are multiplied by.
  float scale;
  unsigned unused;
};
static_assert(sizeof(Dropout) == 32, "no padding but what is named");
