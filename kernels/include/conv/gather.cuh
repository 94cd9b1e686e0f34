// Where the operands of a convolution's three products lie (the gathers of product/tile.cuh).
//
//   direction  rows            columns    depth           a                 b
//   fprop      (n, p, q)       k          (r, s, c)       FpropImage of x   Matrix of w
//   dgrad      (n, i, j)       c          (r', s', k)     DgradImage of dy  DgradFilter of w
//   wgrad      k               (r, s, c)  (n, p, q)       Matrix of dy      WgradImage of x
//
// all of one group. Padding is never in memory: an address outside the image is null.
#pragma once

#include "geometry/conv.cuh"
#include "product/tile.cuh"

// A place in an image, and what a filter's tap adds to it.
template <class T>
struct Spot {
  const T* at;
  int h, w;
};
struct Tap {
  int offset, r, s;
  int c = 0;  // in its group, where taps are walked one by one
};

template <class T>
__device__ __forceinline__ const T* tapped(const Spot<T>& spot, const Tap& tap, int H, int W) {
  const bool inside = unsigned(spot.h + tap.r) < unsigned(H) && unsigned(spot.w + tap.s) < unsigned(W);
  return inside ? spot.at + tap.offset : nullptr;
}

// ---------------------------------------------------------------------------
// x, under the windows of fprop and wgrad

// The corner of output pixel i's window; in the padding it lies outside x.
template <class T>
__device__ __forceinline__ Spot<T> window(const Conv& conv, const T* x_group, int i) {
  if (i >= conv.N * conv.by_PQ.value) return {x_group, -kOutside, 0};
  const Quotient image = divide_with_remainder(i, conv.by_PQ);
  const Quotient pixel = divide_with_remainder(image.remainder, conv.by_Q);
  const int h = pixel.quotient * conv.stride - conv.pad, w = pixel.remainder * conv.stride - conv.pad;
  return {x_group + ((ptrdiff_t(image.quotient) * conv.H + h) * conv.W + w) * conv.C, h, w};
}

__device__ __forceinline__ Tap tap(const Conv& conv, int i) {
  if (i >= conv.R * conv.by_SC.value) return {0, 2 * kOutside, 0};
  const Quotient row = divide_with_remainder(i, conv.by_SC);
  const Quotient column = divide_with_remainder(row.remainder, conv.by_C);
  const int r = row.quotient, s = column.quotient;
  return {(r * conv.W + s) * conv.C + column.remainder, r, s, column.remainder};
}

template <class T>
struct FpropImage {
  using Number = T;
  using Line = Spot<T>;
  using Depth = Tap;
  static constexpr bool across = false;

  const Conv& conv;
  int lines, depths;
  const T* data;  // (N, H, W, C) from the group's first channel on
  int together;

  __device__ __forceinline__ Line line(int i) const { return window(conv, data, i); }
  __device__ __forceinline__ Depth depth(int d) const { return tap(conv, d); }
  __device__ __forceinline__ void next(Depth& tap, int) const {
    tap.offset++;
    if (++tap.c < conv.group_C) return;
    tap.c = 0, tap.s++, tap.offset += conv.C - conv.group_C;
    if (tap.s < conv.S) return;
    tap.s = 0, tap.r++, tap.offset += (conv.W - conv.S) * conv.C;
  }
  __device__ __forceinline__ const T* at(const Line& line, const Depth& depth) const {
    return tapped(line, depth, conv.H, conv.W);
  }
};

// The same with lines and depths exchanged.
template <class T>
struct WgradImage {
  using Number = T;
  using Line = Tap;
  using Depth = Spot<T>;
  static constexpr bool across = true;

  const Conv& conv;
  int lines, depths;
  const T* data;  // (N, H, W, C) from the group's first channel on
  int together;

  __device__ __forceinline__ Line line(int i) const { return tap(conv, i); }
  __device__ __forceinline__ Depth depth(int d) const { return window(conv, data, d); }
  __device__ __forceinline__ void next(Depth& spot, int) const {
    const int t = conv.stride;
    spot.w += t, spot.at += ptrdiff_t(t) * conv.C;
    if (spot.w < conv.Q * t - conv.pad) return;
    spot.w = -conv.pad, spot.h += t, spot.at += ptrdiff_t(t) * (conv.W - conv.Q) * conv.C;
    if (spot.h < conv.P * t - conv.pad) return;
    spot.h = -conv.pad, spot.at += ptrdiff_t(conv.H - conv.P * t) * conv.W * conv.C;
  }
  __device__ __forceinline__ const T* at(const Line& line, const Depth& depth) const {
    return tapped(depth, line, conv.H, conv.W);
  }
};

// ---------------------------------------------------------------------------
// dgrad, one parity at a time
//
// Row h = first + t i of dx, 0 <= first < t, is reached by the taps r = first_tap + t r', from
// row p = i + shift - r' of dy, with first + pad = shift t + first_tap.

struct Parity {
  int first, first_tap, shift, taps;

  __device__ __forceinline__ Parity(int first, int pad, int stride, int taps_of_all)
      : first(first), first_tap((first + pad) % stride), shift((first + pad) / stride),
        taps(first_tap < taps_of_all ? (taps_of_all - first_tap + stride - 1) / stride : 0) {}
};

struct Parities {
  Parity h, w;

  __device__ __forceinline__ Parities(const Conv& conv, int index)
      : h(index / conv.stride, conv.pad, conv.stride, conv.R), w(index % conv.stride, conv.pad, conv.stride, conv.S) {}
  __device__ __forceinline__ int depths(const Conv& conv) const { return h.taps * w.taps * conv.group_K; }
};

// (r', s', k) of a depth.
struct ParityTap {
  int r, s, k;
};
__device__ __forceinline__ ParityTap parity_tap(const Conv& conv, const Parities& parity, int d) {
  const Quotient channel = divide_with_remainder(d, conv.by_K);
  const Quotient row = divide_with_remainder(channel.quotient, conv.by_taps[parity.w.taps == conv.by_taps[1].value]);
  return {row.quotient, row.remainder, channel.remainder};
}

// (n, h, w) of a row of the product. All parities have as many rows as the largest: h or w may
// lie outside dx.
struct ParityRow {
  int n, i, j;
};
__device__ __forceinline__ ParityRow parity_row(const Conv& conv, int row) {
  const Quotient image = divide_with_remainder(row, conv.by_parity_HW);
  const Quotient pixel = divide_with_remainder(image.remainder, conv.by_parity_W);
  return {image.quotient, pixel.quotient, pixel.remainder};
}

template <class T>
struct DgradImage {
  using Number = T;
  using Line = Spot<T>;
  using Depth = Tap;
  static constexpr bool across = false;

  const Conv& conv;
  Parities parity;
  int lines, depths;
  const T* data;  // (N, P, Q, K) from the group's first channel on
  int together;

  __device__ __forceinline__ Line line(int row) const {
    if (row >= lines) return {data, -kOutside, 0};
    const ParityRow at = parity_row(conv, row);
    const int p = at.i + parity.h.shift, q = at.j + parity.w.shift;
    return {data + ((ptrdiff_t(at.n) * conv.P + p) * conv.Q + q) * conv.K, p, q};
  }
  __device__ __forceinline__ Depth depth(int d) const {
    if (d >= depths) return {0, 2 * kOutside, 0};
    const ParityTap tap = parity_tap(conv, parity, d);
    return {tap.k - (tap.r * conv.Q + tap.s) * conv.K, -tap.r, -tap.s};
  }
  __device__ __forceinline__ void next(Depth& depth, int d) const { depth = this->depth(d); }
  __device__ __forceinline__ const T* at(const Line& line, const Depth& depth) const {
    return tapped(line, depth, conv.P, conv.Q);
  }
};

template <class T>
struct DgradFilter {
  using Number = T;
  using Line = const T*;
  using Depth = int;
  static constexpr bool across = true;

  const Conv& conv;
  Parities parity;
  int lines, depths;
  const T* data;  // (K/groups, R, S, C/groups), filter_pitch from one filter to the next
  int together;

  __device__ __forceinline__ Line line(int c) const { return c < lines ? data + c : nullptr; }
  __device__ __forceinline__ Depth depth(int d) const {
    if (d >= depths) return -1;
    const ParityTap tap = parity_tap(conv, parity, d);
    const int r = parity.h.first_tap + tap.r * conv.stride, s = parity.w.first_tap + tap.s * conv.stride;
    return tap.k * conv.filter_pitch + (r * conv.S + s) * conv.group_C;
  }
  __device__ __forceinline__ void next(Depth& depth, int d) const { depth = this->depth(d); }
  __device__ __forceinline__ const T* at(Line line, Depth depth) const {
    return line && depth >= 0 ? line + depth : nullptr;
  }
};
