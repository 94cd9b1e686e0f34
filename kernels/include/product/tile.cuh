// Tiles of a matrix product's operands in shared memory, and the copies that fill them.
//
// A product sums over `depth`: out[row][column] = sum_d a[row][d] b[column][d]. For a the lines are
// rows, for b they are columns. Neither operand need be a matrix in memory. A gather says where
// a[line][d] lies:
//
//   Number                   the type of an element
//   lines, depths            how many there are; beyond them the operand is 0
//   Line, line(i)            what is worth knowing of line i before the loop over the depth
//   Depth, depth(d)          the same of a depth
//   next(Depth, d)           makes depth d of depth d - 1
//   at(Line, Depth)          its address, null where the operand is 0
//   across                   whether neighbours in memory are neighbouring lines, not depths
//   together                 how many neighbours are all there or all 0, and aligned: together<T>()
//   data                     an aligned address that may be read
#pragma once

#include "cp_async.cuh"
#include "numbers.cuh"
#include "vector.cuh"

// A block computes kLines x kLines outputs, kDepth<T> terms of each at a time; src/ops/product.rs
// has the same numbers.
constexpr int kLines = 128;

template <class T>
constexpr int kHalf = 8 / sizeof(T);
template <class T>
constexpr int kDepth = 64 / sizeof(T);

// Elements that one copy moves where runs of `length` neighbours are there or not: 16 bytes, 8, or one.
template <class T>
__device__ __forceinline__ int together(int length) {
  return length % kVector<T> == 0 ? kVector<T> : length % kHalf<T> == 0 ? kHalf<T> : 1;
}

// What a loader gives for a coordinate outside an image: no offset brings it back inside.
constexpr int kOutside = 1 << 29;

// As the operand lies in memory, so that 16 bytes stay together: kTileLines lines of kTileDepth,
// and where in shared memory `place` has line and depth.
template <class T, bool across>
struct Tile;

// Rows of 80 bytes: the eight that ldmatrix, or the eight lanes that load a float4 at a time, read
// lie in different banks.
template <class T>
struct Tile<T, false> {
  static constexpr int kTileLines = kLines, kTileDepth = kDepth<T>;
  T at[kLines][kDepth<T> + kVector<T>];

  __device__ __forceinline__ T* place(int line, int d) { return &at[line][d]; }
  __device__ __forceinline__ const T* place(int line, int d) const { return &at[line][d]; }
};

// Rows of 16 bytes more than a multiple of 128 in bf16, for ldmatrix; of 32 more in f32, where
// the lanes of an mma read 8 lines of 4 depths.
template <class T>
struct Tile<T, true> {
  static constexpr int kTileLines = kLines, kTileDepth = kDepth<T>;
  T at[kDepth<T>][kLines + 8];

  __device__ __forceinline__ T* place(int line, int d) { return &at[d][line]; }
  __device__ __forceinline__ const T* place(int line, int d) const { return &at[d][line]; }
};

// ---------------------------------------------------------------------------
// Copies. Those of cp.async land when the thread waits for them, the others before the barrier.

template <int n, class T>
__device__ __forceinline__ void copy(T* to, const T* from, const T* data) {
  cp_async<n * sizeof(T)>(to, from ? from : data, from != nullptr);
}

// cp.async moves no less than 4 bytes: bf16 goes through registers, in runs that a thread reads
// before it writes the first.
constexpr int kRun = 8;

__device__ __forceinline__ void store_along(bf16* to, const bf16 (&run)[kRun]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(pack(run[0], run[1]), pack(run[2], run[3]), pack(run[4], run[5]),
                                             pack(run[6], run[7]));
}

// A thread's share of every tile of one operand. Its lines stay the same over the whole depth.
// The block's first kThreads threads load.
template <class Gather, class Operand, int kThreads>
struct Loader {
  using T = typename Gather::Number;
  static constexpr int kTileLines = Operand::kTileLines, kTileDepth = Operand::kTileDepth;
  // Along the depth: threads side by side share a line, and each has several lines. 8 bytes at a time
  // they have one half of the line, then the other.
  static constexpr int kAlong = kTileDepth / kVector<T>, kLinesAlong = kTileLines * kAlong / kThreads;
  // Across it: threads side by side share a depth of a band of lines, and each has 16 bytes of each
  // band, or 8 of each of its halves.
  static constexpr int kBand = kTileLines % 128 == 0 ? 128 : 64, kBands = (kTileLines + kBand - 1) / kBand;
  static constexpr int kAcross = kBand / kVector<T>;
  // Element by element: a line a thread, or several; where there are threads enough, parts of a depth.
  static constexpr int kSideBySide = kTileLines < kThreads ? kTileLines : kThreads;
  static constexpr int kParts = kThreads / kSideBySide;
  static constexpr int kLinesApart = (kTileLines + kThreads - 1) / kThreads;
  static constexpr int kMost = 2 * kBands > kLinesApart ? 2 * kBands : kLinesApart;

  const Gather& gather;
  int inside;  // lines of the tile that the operand has
  typename Gather::Line lines[kLinesAlong > kMost ? kLinesAlong : kMost];

  __device__ __forceinline__ Loader(const Gather& gather, int line0)
      : gather(gather), inside(gather.lines - line0) {
    const int thread = threadIdx.x;
    if (gather.together == 1) {
#pragma unroll
      for (int i = 0; i < kLinesApart; i++) lines[i] = gather.line(line0 + thread % kSideBySide + i * kThreads);
    } else if constexpr (!Gather::across) {
#pragma unroll
      for (int i = 0; i < kLinesAlong; i++) lines[i] = gather.line(line0 + thread / kAlong + i * (kThreads / kAlong));
    } else if (gather.together == kHalf<T>) {
      lines_across<kHalf<T>>(line0);
    } else {
      lines_across<kVector<T>>(line0);
    }
  }

  __device__ __forceinline__ void load(Operand& tile, int depth0) const {
    if (gather.together == kVector<T>) {
      load_together<kVector<T>>(tile, depth0);
    } else if (gather.together == kHalf<T>) {
      load_together<kHalf<T>>(tile, depth0);
    } else {
#pragma unroll
      for (int i = 0; i < kLinesApart; i++) load_elements(tile, depth0, i);
    }
  }

 private:
  // n elements a copy.
  template <int n>
  __device__ __forceinline__ void lines_across(int line0) {
    constexpr int kCopies = kVector<T> / n;
#pragma unroll
    for (int i = 0; i < kBands * kCopies; i++) {
      lines[i] = gather.line(line0 + threadIdx.x % kAcross * n + i * (kBand / kCopies));
    }
  }

  template <int n>
  __device__ __forceinline__ void load_together(Operand& tile, int depth0) const {
    if constexpr (Gather::across) {
      load_across<n>(tile, depth0);
    } else {
      load_along<n>(tile, depth0);
    }
  }

  template <int n>
  __device__ __forceinline__ void load_along(Operand& tile, int depth0) const {
    constexpr int kCopies = kVector<T> / n;
    const int line = threadIdx.x / kAlong;
#pragma unroll 1
    for (int j = 0; j < kCopies; j++) {
      // Odd lines begin with their second half: the lines that lie in the same banks, but for the
      // swizzle, are then written one half each.
      const int half = (j + line) % kCopies, d = (threadIdx.x % kAlong + half * kAlong) * n;
      const auto depth = gather.depth(depth0 + d);
#pragma unroll
      for (int i = 0; i < kLinesAlong; i++) {
        copy<n>(tile.place(line + i * (kThreads / kAlong), d), gather.at(lines[i], depth), gather.data);
      }
    }
  }

  template <int n>
  __device__ __forceinline__ void load_across(Operand& tile, int depth0) const {
    constexpr int kCopies = kVector<T> / n;
    const int line = threadIdx.x % kAcross * n;
    constexpr int kTurns = kTileDepth * kAcross / kThreads;
#pragma unroll(kCopies == 1 ? kTurns : 1)
    for (int i = 0; i < kTurns; i++) {
      const int d = threadIdx.x / kAcross + i * (kThreads / kAcross);
      const auto depth = gather.depth(depth0 + d);
#pragma unroll
      for (int band = 0; band < kBands * kCopies; band++) {
        copy<n>(tile.place(line + band * (kBand / kCopies), d), gather.at(lines[band], depth), gather.data);
      }
    }
  }

  // One line a thread, so that neighbours read neighbouring lines, and what changes from depth to
  // depth is the same for all of a warp. Lines outside stay unwritten: nobody reads their sums.
  __device__ __forceinline__ void load_elements(Operand& tile, int depth0, int i) const {
    constexpr int kDepths = kTileDepth / kParts;
    const int line = threadIdx.x % kSideBySide + i * kThreads, first = threadIdx.x / kSideBySide * kDepths;
    if (line >= inside || line >= kTileLines || first >= kTileDepth) return;
    auto depth = gather.depth(depth0 + first);
    const auto next = [&](int d) {
      const T* from = depth0 + d < gather.depths ? gather.at(lines[i], depth) : nullptr;
      gather.next(depth, depth0 + d + 1);
      return from;
    };
    if constexpr (sizeof(T) == 4) {
#pragma unroll 4
      for (int d = first; d < first + kDepths; d++) {
        const T* from = next(d);
        cp_async<4>(tile.place(line, d), from ? from : gather.data, from != nullptr);
      }
    } else {
#pragma unroll 1
      for (int d = first; d < first + kDepths; d += kRun) {
        T run[kRun];
#pragma unroll
        for (int j = 0; j < kRun; j++) {
          const T* from = next(d + j);
          run[j] = from ? *from : from_f32<T>(0.0f);
        }
        if constexpr (Gather::across) {
#pragma unroll
          for (int j = 0; j < kRun; j++) *tile.place(line, d + j) = run[j];
        } else {
          store_along(tile.place(line, d), run);
        }
      }
    }
  }
};
