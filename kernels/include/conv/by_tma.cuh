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

#include "conv/gather.cuh"
#include "geometry/conv_tiles.cuh"
#include "product/multiply_tma.cuh"
#include "product/swizzled.cuh"

// Unit u, for products of `steps(product)` steps.
template <class Steps>
__device__ __forceinline__ Unit unit_of(const ConvTiles& tiles, int u, Steps steps) {
  Unit unit;
  int tile = u;
  unit.part = -1, unit.step0 = 0;
  if (u >= tiles.whole && tiles.splits > 1) {
    unit.part = u - tiles.whole;
    tile = tiles.whole + unit.part / tiles.splits;
    unit.step0 = unit.part % tiles.splits * tiles.split_steps;
  }
  const int of_product = tiles.rows * tiles.columns;
  unit.product = tile / of_product;
  unit.row = tile % of_product / tiles.columns * 128;
  unit.column = tile % tiles.columns * tiles.width;
  unit.steps = steps(unit.product) - unit.step0;
  if (unit.part >= 0) unit.steps = max(min(unit.steps, tiles.split_steps), 0);
  return unit;
}

// What fprop and dgrad share: depths that are pieces of taps, results in the type of the operands.
template <int N, class T>
struct TapWork {
  using Number = T;
  using Buffers = unsigned char (*)[64 * kStoreColumns<N> * 2];
  static constexpr bool a_across = false;

  const Conv& conv;
  const ConvTiles& tiles;
  float* sums;  // (parts, 128, N)

  __device__ __forceinline__ int units() const { return tiles.units; }
  __device__ __forceinline__ int row_bytes() const { return tiles.piece * int(sizeof(T)); }
  __device__ __forceinline__ int pieces_of_stage() const { return kStageDepth / row_bytes(); }
  __device__ __forceinline__ int steps_of(int pieces) const {
    return (pieces + pieces_of_stage() - 1) / pieces_of_stage();
  }
  __device__ __forceinline__ Staged<false> a() const { return {128, row_bytes()}; }
  __device__ __forceinline__ void observe(const Unit&, const unsigned char*) const {}

  // Sums of a part as they are.
  __device__ __forceinline__ void finish_part(const Unit& unit, const WgmmaSums<N>& of, int half) const {
    float* const to = sums + (size_t(unit.part) * 128 + 64 * half) * N;
    each_pair(of, 0, N, [&](int row, int column, float first, float second) {
      *reinterpret_cast<float2*>(to + row * N + column) = make_float2(first, second);
    });
  }

  // Whole sums to an output of `columns` in each group. bf16: by boxes of (columns, groups, rows), if there
  // are such. Else row_at(row) is where a row's columns of this group begin, null where it has no place.
  template <class RowAt>
  __device__ __forceinline__ void finish_whole(const Unit& unit, const WgmmaSums<N>& of, int half, Buffers buffers,
                                               int& stores, Epilogue epilogue, int columns, const tensor_map* boxes,
                                               int group, RowAt row_at) const {
    const auto finished = [&](int column, float& first, float& second) {
      const float* const bias = epilogue.bias;
      const int left = columns - unit.column - column;
      first = finish(epilogue, first, bias && left > 0 ? bias[unit.column + column] : 0.0f);
      second = finish(epilogue, second, bias && left > 1 ? bias[unit.column + column + 1] : 0.0f);
    };
    const int row0 = unit.row + 64 * half;
    if constexpr (sizeof(T) == 2) {
      store_through<N>(of, half, buffers, stores, finished, [&](const unsigned char* buffer, int column0) {
        if (boxes) {
          if (threadIdx.x % 128 != 0) return;
          tensor_store(*boxes, buffer, unit.column + column0, group, row0);
          bulk_commit();
        } else {
          store_rows(buffer, columns - unit.column - column0,
                     [&](int row) { return offset(row_at(row0 + row), unit.column + column0); });
        }
      });
    } else {
      const bool even = columns % 2 == 0;
      each_pair(of, 0, N, [&](int row, int column, float first, float second) {
        T* const to = row_at(row0 + row);
        if (!to) return;
        finished(column, first, second);
        store_pair(to + unit.column + column, first, second, columns - unit.column - column, even);
      });
    }
  }

 private:
  static __device__ __forceinline__ T* offset(T* row, int column) { return row ? row + column : nullptr; }

  // A buffer's 64 rows, 16 bytes a thread and turn.
  template <class RowAt>
  static __device__ __forceinline__ void store_rows(const unsigned char* buffer, int columns, RowAt row_at) {
    constexpr int kRow = kStoreColumns<N> * 2, kVectors = kRow / 16;
    for (int i = threadIdx.x % 128; i < 64 * kVectors; i += 128) {
      const int row = i / kVectors, vector = i % kVectors, swizzle = kRow == 128 ? row % 8 : row / 2 % 4;
      T* const to = row_at(row);
      if (!to || vector * 8 >= columns) continue;
      *reinterpret_cast<uint4*>(to + vector * 8) =
          *reinterpret_cast<const uint4*>(buffer + row * kRow + ((vector ^ swizzle) * 16));
    }
  }
};

// A piece of a tap: the tap's row and column, and the piece's first channel. Of a piece behind the last
// the channel is outside every array.
struct Piece {
  int r, s, c;
};
__device__ __forceinline__ Piece piece_of(const ConvTiles& tiles, int index, int pieces, int taps_of_row) {
  if (index >= pieces) return {0, 0, kOutside};
  const int tap = index / tiles.tap_pieces;
  return {tap / taps_of_row, tap % taps_of_row, index % tiles.tap_pieces * tiles.piece};
}

// Where the window of an output pixel begins: image, row and column of x.
struct Window {
  int n, h, w;
};
__device__ __forceinline__ Window window_of(const Conv& conv, int pixel) {
  const Quotient image = divide_with_remainder(pixel, conv.by_PQ);
  const Quotient place = divide_with_remainder(image.remainder, conv.by_Q);
  return {image.quotient, place.quotient * conv.stride - conv.pad, place.remainder * conv.stride - conv.pad};
}

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
// wgrad, in bf16: `product` is the group

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
