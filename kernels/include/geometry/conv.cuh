// The geometry of a convolution, field for field as the launcher's #[repr(C)] struct.
#pragma once

#include "division.cuh"

struct Conv {
  int N, H, W, C, K, R, S, P, Q;
  int stride, pad;
  int groups, group_C, group_K;
  // Channels of a filter in memory, and elements from one filter to the next as products read them. Images
  // of padded pixels: C and group_C count the padding, filter_C does not (src/ops/pixels.rs).
  int filter_C, filter_pitch;
  // Whether y is max(y, 0).
  int relu;
  // wgrad: its sum over the pixels is cut into this many parts, each so many steps of the product
  // long, whose results lie so many floats apart; 0 where they are dw and dbias themselves.
  int splits, split_steps, split_pitch;
  // A pixel of y is (n, p, q); an element of a filter (r, s, c), c in its group.
  Divisor by_PQ, by_Q, by_SC, by_C;
  // dgrad: rows and columns of the largest parity, a tap's channels, and the taps in a row of a
  // parity, which are S / stride or one more.
  Divisor by_parity_HW, by_parity_W, by_K, by_taps[2];
};
static_assert(sizeof(Conv) == 20 * 4 + 9 * 12, "words, no padding");
