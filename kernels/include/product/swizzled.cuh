// Tiles as a warpgroup's products read them (wgmma.cuh): rows of 128 bytes, whose 16 bytes number i
// of row r lie at i ^ (r % 8), so that the same 16 bytes of eight rows are in different banks.
#pragma once

#include "product/tile.cuh"

// 64 depths of bf16. Along the depth a row is a line; across it a row is a depth of 64 lines, and
// blocks of 64 such rows follow each other.
template <int lines, bool across>
struct __align__(1024) Swizzled {
  static constexpr int kTileLines = lines, kTileDepth = 64;
  static constexpr int kBlock = 64 * 128;
  unsigned char bytes[across ? (lines + 63) / 64 * kBlock : lines * 128];

  __device__ __forceinline__ bf16* place(int line, int d) { return reinterpret_cast<bf16*>(bytes + offset(line, d)); }
  __device__ __forceinline__ const bf16* place(int line, int d) const {
    return reinterpret_cast<const bf16*>(bytes + offset(line, d));
  }

 private:
  static __device__ __forceinline__ int offset(int line, int d) {
    const int row = across ? d : line, element = across ? line % 64 : d;
    return (across ? line / 64 * kBlock : 0) + row * 128 + ((element / 8 ^ row % 8) * 16) + element % 8 * 2;
  }
};
