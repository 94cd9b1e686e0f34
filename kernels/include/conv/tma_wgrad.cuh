// The weight gradient of a convolution by bulk copies (conv/by_tma.cuh), in bf16.
#pragma once

#include "conv/tma_taps.cuh"
#include "product/swizzled.cuh"

// `product` is the group.
template <int N>
struct WgradWork {
  using Number = bf16;
  static constexpr bool a_across = true, b_across = true;

  const Conv& conv;
  const ConvTiles& tiles;
  const tensor_map& x;   // pixels of (C, W, H, N)
  const tensor_map& dy;  // boxes of (K/groups, groups, N P Q)
  float* dw;             // (K, R, S, C/groups)
  float* dbias;          // (K)
  float* sums;           // (splits, split_pitch): dw, then dbias
  LineSum sum = {false};

  __device__ __forceinline__ int units() const { return tiles.units; }
  __device__ __forceinline__ int columns() const { return conv.R * conv.by_SC.value; }
  __device__ __forceinline__ Unit unit(int u) {
    const int steps = (conv.N * conv.by_PQ.value + 63) / 64;
    const Unit unit = unit_of(tiles, u, [&](int) { return steps; });
    sum = LineSum{unit.column == 0};
    return unit;
  }
  __device__ __forceinline__ Staged<true> a() const { return {128, kStageDepth}; }
  __device__ __forceinline__ Staged<true> b() const { return {N, tiles.piece * 2}; }
  __device__ __forceinline__ void observe(const Unit&, const unsigned char* a) {
    sum(*reinterpret_cast<const Swizzled<128, true>*>(a), int(threadIdx.x) - 128);
  }

  __device__ __forceinline__ void load(const Unit& unit, int step, unsigned char* a, unsigned char* b,
                                       mbarrier& full) const {
    const int pixel = step * 64, bytes = 64 * tiles.piece * 2;
    const Window at = window_of(conv, pixel);
    const int lines = min((conv.group_K - unit.row + 63) / 64, 2);
    const int blocks = min(N, columns() - unit.column) / tiles.piece;
    mbarrier_arrive_expecting(full, lines * 64 * kStageDepth + blocks * bytes);
    for (int j = 0; j < lines; j++) {
      tensor_load(a + j * 64 * kStageDepth, dy, unit.row + 64 * j, unit.product, pixel, full);
    }
    for (int j = 0; j < blocks; j++) {
      const Piece piece = piece_of(tiles, unit.column / tiles.piece + j, columns() / tiles.piece, conv.S);
      tensor_load_pixels(b + j * bytes, x, unit.product * conv.group_C + piece.c, at.w, at.h, at.n, piece.s, piece.r,
                         full);
    }
  }

  __device__ __forceinline__ void finish(const Unit& unit, const WgmmaSums<N>& of, int half,
                                         unsigned char (*)[64 * kStoreColumns<N> * 2], int&) const {
    float *to = dw, *bias = dbias;
    if (unit.part >= 0) {
      to = sums + size_t(unit.part % tiles.splits) * conv.split_pitch;
      bias = to + size_t(conv.K) * columns();
    }
    const int k0 = unit.product * conv.group_K, row0 = unit.row + 64 * half;
    each_pair(of, 0, N, [&](int row, int column, float first, float second) {
      const int left = columns() - unit.column - column;
      if (row0 + row >= conv.group_K) return;
      store_pair(to + size_t(k0 + row0 + row) * columns() + unit.column + column, first, second, left, true);
    });
    sum.store(bias + k0, unit.row, conv.group_K, int(threadIdx.x) - 128, 128);
  }
};
