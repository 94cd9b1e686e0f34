// What the products of a convolution by bulk copies share (conv/by_tma.cuh): units of work, pieces of taps,
// and the way of fprop's and dgrad's results to memory.
#pragma once

#include "conv/gather.cuh"
#include "geometry/conv_tiles.cuh"
#include "product/multiply_tma.cuh"

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
