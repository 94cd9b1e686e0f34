// The three products of a convolution by bulk copies (product/multiply_tma.cuh): which boxes a stage
// takes, and where the sums go. Rows, columns and depths are those of conv/gather.cuh.
//
//   direction  a: rows of           b: columns of
//   fprop      x, pixels by taps    w, along (r, s, c)
//   dgrad      dy, pixels by taps   w across c; tf32: w turned to (C, R, S, K/groups), along (r, s, k)
//   wgrad      dy across k          x, pixels by taps, across c
//
// A tap's channels come in pieces, a row of a box each; a stage of fprop and dgrad has one or two.
#pragma once

#include "conv/tma_taps.cuh"
#include "conv/tma_wgrad.cuh"

// ---------------------------------------------------------------------------
// fprop: `product` is the group

template <int N, class T>
struct FpropWork : TapWork<N, T> {
  using Base = TapWork<N, T>;
  static constexpr bool b_across = false;

  const tensor_map& x;        // pixels of (C, W, H, N)
  const tensor_map& w;        // boxes of (C/groups, S, R, K)
  const float* bias;          // (K)
  const tensor_map* y_boxes;  // of (K/groups, groups, N P Q), in bf16
  T* y;                       // (N, P, Q, K), in f32

  __device__ __forceinline__ FpropWork(const Conv& conv, const ConvTiles& tiles, float* sums, const tensor_map& x,
                                       const tensor_map& w, const float* bias, const tensor_map* y_boxes, T* y)
      : Base{conv, tiles, sums}, x(x), w(w), bias(bias), y_boxes(y_boxes), y(y) {}

  __device__ __forceinline__ int pieces() const { return this->conv.R * this->conv.S * this->tiles.tap_pieces; }
  __device__ __forceinline__ Unit unit(int u) const {
    return unit_of(this->tiles, u, [&](int) { return this->steps_of(pieces()); });
  }
  __device__ __forceinline__ Staged<false> b() const { return {N, this->row_bytes()}; }

  __device__ __forceinline__ void load(const Unit& unit, int step, unsigned char* a, unsigned char* b,
                                       mbarrier& full) const {
    const Conv& conv = this->conv;
    const Window at = window_of(conv, unit.row);
    const int c0 = unit.product * conv.group_C, k0 = unit.product * conv.group_K + unit.column;
    const int bytes = this->row_bytes(), count = this->pieces_of_stage();
    mbarrier_arrive_expecting(full, (128 + N) * kStageDepth);
    for (int i = 0; i < count; i++) {
      const Piece piece = piece_of(this->tiles, step * count + i, pieces(), conv.S);
      tensor_load_pixels(a + i * 128 * bytes, x, c0 + piece.c, at.w, at.h, at.n, piece.s, piece.r, full);
      tensor_load(b + i * N * bytes, w, piece.c, piece.s, piece.r, k0, full);
    }
  }

  __device__ __forceinline__ void finish(const Unit& unit, const WgmmaSums<N>& of, int half,
                                         typename Base::Buffers buffers, int& stores) const {
    if (unit.part >= 0) return this->finish_part(unit, of, half);
    const Conv& conv = this->conv;
    const int rows = conv.N * conv.by_PQ.value, k0 = unit.product * conv.group_K;
    this->finish_whole(unit, of, half, buffers, stores, {bias + k0, conv.relu != 0}, conv.group_K, y_boxes,
                       unit.product, [&](int row) { return row < rows ? y + size_t(row) * conv.K + k0 : nullptr; });
  }
};

// ---------------------------------------------------------------------------
// dgrad: `product` counts the groups of one parity, then of the next

// A map for each parity; an array would be indexed in local memory.
struct ParityMaps {
  const tensor_map &first, &second, &third, &fourth;
};

template <int N, class T>
struct DgradWork : TapWork<N, T> {
  using Base = TapWork<N, T>;
  static constexpr bool b_across = sizeof(T) == 2;

  const ParityMaps dy;         // pixels of (K, Q, P, N)
  const tensor_map& w;         // boxes of (C/groups, S, R, K); tf32: of (K/groups, S, R, C)
  T* dx;                       // (N, H, W, C)

  __device__ __forceinline__ DgradWork(const Conv& conv, const ConvTiles& tiles, float* sums,
                                       const ParityMaps& dy, const tensor_map& w, T* dx)
      : Base{conv, tiles, sums}, dy(dy), w(w), dx(dx) {}

  __device__ __forceinline__ const tensor_map& pixels_of(int parity) const {
    return parity == 0 ? dy.first : parity == 1 ? dy.second : parity == 2 ? dy.third : dy.fourth;
  }
  __device__ __forceinline__ int parity_of(int product) const { return product / this->conv.groups; }
  __device__ __forceinline__ int pieces(int product) const {
    const Parities parity(this->conv, parity_of(product));
    return parity.h.taps * parity.w.taps * this->tiles.tap_pieces;
  }
  __device__ __forceinline__ Unit unit(int u) const {
    return unit_of(this->tiles, u, [&](int product) { return this->steps_of(pieces(product)); });
  }
  __device__ __forceinline__ Staged<b_across> b() const { return {N, b_across ? kStageDepth : this->row_bytes()}; }

  __device__ __forceinline__ void load(const Unit& unit, int step, unsigned char* a, unsigned char* b,
                                       mbarrier& full) const {
    const Conv& conv = this->conv;
    const int index = parity_of(unit.product), group = unit.product % conv.groups;
    const Parities parity(conv, index);
    const ParityRow at = parity_row(conv, unit.row);
    const int k0 = group * conv.group_K, bytes = this->row_bytes(), count = this->pieces_of_stage();
    // Rows of a box across are 64 columns; those beyond the group are not wanted.
    const int blocks = b_across ? min((N + 63) / 64, (conv.group_C - unit.column + 63) / 64) : 0;
    const int across = this->tiles.piece * kStageDepth;
    mbarrier_arrive_expecting(full, (128 + (b_across ? blocks * 64 : N)) * kStageDepth);
    // A copy shifts its pixels forth, a tap of dgrad reaches back.
    const int h = at.i + parity.h.shift - (parity.h.taps - 1), column = at.j + parity.w.shift - (parity.w.taps - 1);
    for (int i = 0; i < count; i++) {
      const Piece piece = piece_of(this->tiles, step * count + i, pieces(unit.product), parity.w.taps);
      tensor_load_pixels(a + i * 128 * bytes, pixels_of(index), k0 + piece.c, column, h, at.n,
                         parity.w.taps - 1 - piece.s, parity.h.taps - 1 - piece.r, full);
      const int r = parity.h.first_tap + piece.r * conv.stride, s = parity.w.first_tap + piece.s * conv.stride;
      if constexpr (b_across) {
        for (int j = 0; j < blocks; j++) {
          tensor_load(b + j * 64 * kStageDepth + i * across, w, unit.column + 64 * j, s, r, k0 + piece.c, full);
        }
      } else {
        tensor_load(b + i * N * bytes, w, piece.c, s, r, group * conv.group_C + unit.column, full);
      }
    }
  }

  __device__ __forceinline__ void finish(const Unit& unit, const WgmmaSums<N>& of, int half,
                                         typename Base::Buffers buffers, int& stores) const {
    if (unit.part >= 0) return this->finish_part(unit, of, half);
    const Conv& conv = this->conv;
    const int group = unit.product % conv.groups, rows = conv.N * conv.by_parity_HW.value;
    const Parities parity(conv, parity_of(unit.product));
    this->finish_whole(unit, of, half, buffers, stores, {nullptr, false}, conv.group_C, nullptr, group,
                       [&](int row) -> T* {
                         if (row >= rows) return nullptr;
                         const ParityRow at = parity_row(conv, row);
                         const int h = parity.h.first + at.i * conv.stride, w = parity.w.first + at.j * conv.stride;
                         if (h >= conv.H || w >= conv.W) return nullptr;
                         return dx + ((size_t(at.n) * conv.H + h) * conv.W + w) * conv.C + group * conv.group_C;
                       });
  }
};

// ---------------------------------------------------------------------------
// Tiles whose depth was cut, from their parts in order: the same bits every time. A thread an element;
// for products whose rows lie one behind the other.

template <class T>
__device__ __forceinline__ void sum_parts(const Conv& conv, const ConvTiles& tiles, const float* sums, int rows,
                                          int columns, const float* bias, bool relu, T* to) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x, of_tile = 128ll * tiles.width;
  const int index = int(i / of_tile), tile = tiles.whole + index, of_product = tiles.rows * tiles.columns;
  if (tile >= tiles.tiles) return;
  const int group = tile / of_product, rest = int(i % of_tile);
  const int row = tile % of_product / tiles.columns * 128 + rest / tiles.width;
  const int column = tile % tiles.columns * tiles.width + rest % tiles.width;
  if (row >= rows || column >= columns) return;
  float sum = 0.0f;
  for (int part = 0; part < tiles.splits; part++) sum += sums[(size_t(index) * tiles.splits + part) * of_tile + rest];
  const int at = group * columns + column;
  to[size_t(row) * columns * conv.groups + at] = from_f32<T>(finish({bias, relu}, sum, bias ? bias[at] : 0.0f));
}
