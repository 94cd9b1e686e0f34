// A block's product of two tiles on tensor cores: bf16, or f32 rounded to tf32 on the way.
#pragma once

#include "mma.cuh"
#include "product/tile.cuh"

// Fragments of 32 bytes of depth: 16 bf16 or 8 f32 of each line. ldmatrix moves 16-byte rows,
// whatever they hold, so along the depth both types are read alike.

// 16 rows, from (row0, d) on: rows 0-7 and 8-15 of the first 16 bytes, then of the second.
template <class T>
__device__ __forceinline__ void load_rows(unsigned (&r)[4], const Tile<T, false>& tile, int row0, int d) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4(r, &tile.at[row0 + lane % 16][d + lane / 16 * kVector<T>]);
}
__device__ __forceinline__ void load_rows(unsigned (&r)[4], const Tile<bf16, true>& tile, int row0, int d) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4_trans(r, &tile.at[d + lane / 16 * 8 + lane % 8][row0 + lane / 8 % 2 * 8]);
}
__device__ __forceinline__ void load_rows(unsigned (&r)[4], const Tile<float, true>& tile, int row0, int d) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 4; i++) r[i] = __float_as_uint(tile.at[d + t + i / 2 * 4][row0 + g + i % 2 * 8]);
}

// 16 columns: the two 16 bytes of columns 0-7, then those of 8-15.
template <class T>
__device__ __forceinline__ void load_columns(unsigned (&r)[4], const Tile<T, false>& tile, int column0, int d) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4(r, &tile.at[column0 + lane / 16 * 8 + lane % 8][d + lane / 8 % 2 * kVector<T>]);
}
__device__ __forceinline__ void load_columns(unsigned (&r)[4], const Tile<bf16, true>& tile, int column0, int d) {
  const int lane = threadIdx.x % 32;
  ldmatrix_x4_trans(r, &tile.at[d + lane / 8 % 2 * 8 + lane % 8][column0 + lane / 16 * 8]);
}
__device__ __forceinline__ void load_columns(unsigned (&r)[4], const Tile<float, true>& tile, int column0, int d) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 4; i++) r[i] = __float_as_uint(tile.at[d + t + i % 2 * 4][column0 + g + i / 2 * 8]);
}

// f32 bits to tf32; pairs of bf16 stay as they are.
__device__ __forceinline__ void round_operands(unsigned (&)[4], bf16) {}
__device__ __forceinline__ void round_operands(unsigned (&r)[4], float) {
#pragma unroll
  for (int i = 0; i < 4; i++) r[i] = to_tf32(__uint_as_float(r[i]));
}

__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], bf16) {
  mma_m16n8k16_bf16(c, a, b);
}
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], float) {
  mma_m16n8k8_tf32(c, a, b);
}

template <class T>
struct Mma {
  using Number = T;
  static constexpr int kThreads = 128;

  // 2 x 2 warps of 64 x 64 outputs: 32 mma for every 8 fragments of 512 bytes. Twice as many warps of
  // 64 x 32 would read 12 for the same, and shared memory, not the tensor cores, would set the pace.
  template <bool a_across, bool b_across>
  struct Sums {
    float sums[4][8][4] = {};

    __device__ __forceinline__ void add(const Tile<T, a_across>& a, const Tile<T, b_across>& b) {
#pragma unroll
      for (int d = 0; d < kDepth<T>; d += kDepth<T> / 2) {
        unsigned left[4][4], right[4][4];
#pragma unroll
        for (int m = 0; m < 4; m++) {
          load_rows(left[m], a, row0() + 16 * m, d);
          round_operands(left[m], T());
        }
#pragma unroll
        for (int n = 0; n < 4; n++) {
          load_columns(right[n], b, column0() + 16 * n, d);
          round_operands(right[n], T());
        }
#pragma unroll
        for (int m = 0; m < 4; m++) {
#pragma unroll
          for (int n = 0; n < 8; n++) {
            const unsigned pair[2] = {right[n / 2][n % 2 * 2], right[n / 2][n % 2 * 2 + 1]};
            multiply(sums[m][n], left[m], pair, T());
          }
        }
      }
    }

    template <class Write>
    __device__ __forceinline__ void each(Write write) const {
      const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
      for (int m = 0; m < 4; m++) {
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
          for (int j = 0; j < 4; j++) {
            write(row0() + 16 * m + g + j / 2 * 8, column0() + 8 * n + 2 * t + j % 2, sums[m][n][j]);
          }
        }
      }
    }

   private:
    static __device__ __forceinline__ int row0() { return threadIdx.x / 64 * 64; }
    static __device__ __forceinline__ int column0() { return threadIdx.x / 32 % 2 * 64; }
  };
};
