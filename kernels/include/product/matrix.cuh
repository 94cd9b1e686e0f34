// A gather (tile.cuh) from a matrix that lies in memory as it is.
#pragma once

#include "product/tile.cuh"

// m (lines, depths), or (depths, lines) if `transposed`; `pitch` elements from one row to the next.
template <class T, bool transposed>
struct Matrix {
  using Number = T;
  using Line = const T*;
  using Depth = long long;
  static constexpr bool across = transposed;

  const T* data;
  int lines, depths, pitch;
  int together;

  __device__ __forceinline__ Line line(int i) const {
    return i < lines ? data + (transposed ? i : size_t(i) * pitch) : nullptr;
  }
  __device__ __forceinline__ Depth depth(int d) const {
    return d >= depths ? -1 : transposed ? (long long)d * pitch : d;
  }
  __device__ __forceinline__ void next(Depth& depth, int d) const { depth = this->depth(d); }
  __device__ __forceinline__ const T* at(Line line, Depth depth) const {
    return line && depth >= 0 ? line + depth : nullptr;
  }
};
