// A block's product of two tiles on CUDA cores, in f32.
#pragma once

#include "product/tile.cuh"

struct Fma {
  using Number = float;
  static constexpr int kThreads = 256;

  // Of the block's 16 x 16 threads each has 8 rows and 8 columns: every number that it reads from
  // shared memory is used 8 times.
  template <bool a_across, bool b_across>
  struct Sums {
    float sums[8][8] = {};

    __device__ __forceinline__ void add(const Tile<float, a_across>& a, const Tile<float, b_across>& b) {
// Unrolled, it would load so far ahead that registers spill.
#pragma unroll 1
      for (int d = 0; d < kDepth<float>; d += 2) {
        float left[8][2], right[8][2];
        load(left, a, row(), d);
        load(right, b, column(), d);
#pragma unroll
        for (int j = 0; j < 2; j++) {
#pragma unroll
          for (int r = 0; r < 8; r++) {
#pragma unroll
            for (int c = 0; c < 8; c++) sums[r][c] += left[r][j] * right[c][j];
          }
        }
      }
    }

    template <class Write>
    __device__ __forceinline__ void each(Write write) const {
#pragma unroll
      for (int r = 0; r < 8; r++) {
#pragma unroll
        for (int c = 0; c < 8; c++) write(line<a_across>(row(), r), line<b_across>(column(), c), sums[r][c]);
      }
    }

   private:
    // A warp covers 4 x 8 threads: a quarter of it reads 8 different columns, or one row.
    static __device__ __forceinline__ int row() { return threadIdx.x / 64 * 4 + threadIdx.x % 32 / 8; }
    static __device__ __forceinline__ int column() { return threadIdx.x / 32 % 2 * 8 + threadIdx.x % 8; }

    // The i-th of a thread's lines. Along the depth, neighbours read tile rows 80 bytes apart, so
    // different banks; across, 4 lines at a time come as one float4.
    template <bool across>
    static __device__ __forceinline__ int line(int thread, int i) {
      return across ? thread * 4 + i % 4 + i / 4 * 64 : thread + i * 16;
    }

    // Two depths of a thread's 8 lines: four would not fit its registers.
    static __device__ __forceinline__ void load(float (&to)[8][2], const Tile<float, false>& tile, int thread, int d) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const float2 v = *reinterpret_cast<const float2*>(&tile.at[line<false>(thread, i)][d]);
        to[i][0] = v.x, to[i][1] = v.y;
      }
    }
    static __device__ __forceinline__ void load(float (&to)[8][2], const Tile<float, true>& tile, int thread, int d) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
#pragma unroll
        for (int i = 0; i < 8; i += 4) {
          const float4 v = *reinterpret_cast<const float4*>(&tile.at[d + j][line<true>(thread, i)]);
          to[i][j] = v.x, to[i + 1][j] = v.y, to[i + 2][j] = v.z, to[i + 3][j] = v.w;
        }
      }
    }
  };
};
