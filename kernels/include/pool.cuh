// What the kernels of a pooling share: kernels/pool.cu has the formulas.
#pragma once

#include "geometry/pool.cuh"
#include "numbers.cuh"
#include "vector.cuh"

// A NaN beats every number: pooling must not hide that a value above it has diverged.
__device__ __forceinline__ bool beats(float v, float best) { return v > best || v != v; }

// The windows along one axis that cover position i: first .. end, of `count`.
__device__ __forceinline__ int first_window(const Pool& pool, int i) {
  return (max(i + 1 - pool.R, 0) + pool.stride - 1) / pool.stride;
}
__device__ __forceinline__ int end_window(const Pool& pool, int i, int count) {
  return min(i / pool.stride + 1, count);
}

// The maximum of n windows side by side, and where it was found.
template <int n>
struct Pooled {
  Vector<float, n> largest;
  Vector<unsigned char, n> code;
};

// Window (p, q) of n channels, the first of which x_nc is.
template <int n, class T>
__device__ __forceinline__ Pooled<n> pool_window(const Pool& pool, const T* __restrict__ x_nc /* (H, W, C) */, int p,
                                                 int q) {
  const int h = p * pool.stride, w = q * pool.stride;
  const T* window = x_nc + (size_t(h) * pool.W + w) * pool.C;
  const int rows = min(pool.R, pool.H - h), columns = min(pool.R, pool.W - w);
  Pooled<n> best = {};
#pragma unroll
  for (int j = 0; j < n; j++) best.largest.v[j] = -INFINITY;
  for (int r = 0; r < rows; r++) {
#pragma unroll 3  // The usual width: three loads under way.
    for (int s = 0; s < columns; s++) {
      const Vector<T, n> tap = load<n>(window + (size_t(r) * pool.W + s) * pool.C);
#pragma unroll
      for (int j = 0; j < n; j++) {
        if (beats(to_f32(tap.v[j]), best.largest.v[j])) {
          best.largest.v[j] = to_f32(tap.v[j]);
          best.code.v[j] = r * pool.R + s;
        }
      }
    }
  }
  return best;
}

// What position (h, w) receives of n channels: value(p, q) points to those of a window, switches_nc to
// their codes.
template <int n, class Value>
__device__ __forceinline__ Vector<float, n> unpool_gather(const Pool& pool, int h, int w,
                                                          const unsigned char* __restrict__ switches_nc /* (P, Q, C) */,
                                                          Value value) {
  Vector<float, n> sum = {};
  for (int p = first_window(pool, h); p < end_window(pool, h, pool.P); p++) {
#pragma unroll 2  // Seldom more windows.
    for (int q = first_window(pool, w); q < end_window(pool, w, pool.Q); q++) {
      const int here = (h - p * pool.stride) * pool.R + w - q * pool.stride;
      const auto code = load<n>(switches_nc + (size_t(p) * pool.Q + q) * pool.C);
      const auto values = load<n>(value(p, q));
#pragma unroll
      for (int j = 0; j < n; j++) {
        const float v = to_f32(values.v[j]);
        if (code.v[j] == here) sum.v[j] = pool.set ? v : sum.v[j] + v;
      }
    }
  }
  return sum;
}
