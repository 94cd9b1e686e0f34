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
//   wide                     whether 16 bytes of neighbours are all there or all 0, and aligned
//   data                     an aligned address that may be read
#pragma once

#include "cp_async.cuh"
#include "numbers.cuh"

// A block computes kLines x kLines outputs, kDepth<T> terms of each at a time; src/ops/product.rs
// has the same numbers.
constexpr int kLines = 128;

template <class T>
constexpr int kVector = 16 / sizeof(T);
template <class T>
constexpr int kDepth = 64 / sizeof(T);

// What a loader gives for a coordinate outside an image: no offset brings it back inside.
constexpr int kOutside = 1 << 29;

// As the operand lies in memory, so that 16 bytes stay together.
template <class T, bool across>
struct Tile;

// Rows of 80 bytes: the eight that ldmatrix, or the eight lanes that load a float4 at a time, read
// lie in different banks.
template <class T>
struct Tile<T, false> {
  T at[kLines][kDepth<T> + kVector<T>];
};

// Rows of 16 bytes more than a multiple of 128 in bf16, for ldmatrix; of 32 more in f32, where
// the lanes of an mma read 8 lines of 4 depths.
template <class T>
struct Tile<T, true> {
  T at[kDepth<T>][kLines + 8];
};

// ---------------------------------------------------------------------------
// Copies. Those of cp.async land when the thread waits for them, the others before the barrier.

template <class T>
__device__ __forceinline__ void copy_vector(T* to, const T* from, const T* data) {
  cp_async<16>(to, from ? from : data, from != nullptr);
}

// cp.async moves no less than 4 bytes: bf16 goes through registers, in runs that a thread reads
// before it writes the first.
constexpr int kRun = 8;

__device__ __forceinline__ void store_along(bf16* to, const bf16 (&run)[kRun]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(pack(run[0], run[1]), pack(run[2], run[3]), pack(run[4], run[5]),
                                             pack(run[6], run[7]));
}

// A thread's share of every tile of one operand. Its lines stay the same over the whole depth.
template <class Gather, int kThreads>
struct Loader {
  using T = typename Gather::Number;
  using Operand = Tile<T, Gather::across>;
  static constexpr int kAlong = kDepth<T> / kVector<T>, kAcross = kLines / kVector<T>;
  static constexpr int kLinesOfAThread = kLines * kAlong / kThreads;

  const Gather& gather;
  int inside;  // lines of the tile that the operand has
  typename Gather::Line lines[kLinesOfAThread];

  __device__ __forceinline__ Loader(const Gather& gather, int line0)
      : gather(gather), inside(gather.lines - line0) {
    const int thread = threadIdx.x;
    const bool one = !gather.wide || Gather::across;
    const int first = !gather.wide ? thread % kLines : Gather::across ? thread % kAcross * kVector<T> : thread / kAlong;
#pragma unroll
    for (int i = 0; i < kLinesOfAThread; i++) {
      lines[i] = gather.line(line0 + first + (one ? 0 : i * (kThreads / kAlong)));
    }
  }

  __device__ __forceinline__ void load(Operand& tile, int depth0) const {
    if (!gather.wide) {
      load_elements(tile, depth0);
    } else if constexpr (Gather::across) {
      load_across(tile, depth0);
    } else {
      load_along(tile, depth0);
    }
  }

 private:
  __device__ __forceinline__ void load_along(Operand& tile, int depth0) const {
    const int line = threadIdx.x / kAlong, d = threadIdx.x % kAlong * kVector<T>;
    const auto depth = gather.depth(depth0 + d);
#pragma unroll
    for (int i = 0; i < kLinesOfAThread; i++) {
      copy_vector(&tile.at[line + i * (kThreads / kAlong)][d], gather.at(lines[i], depth), gather.data);
    }
  }

  __device__ __forceinline__ void load_across(Operand& tile, int depth0) const {
    const int line = threadIdx.x % kAcross * kVector<T>;
#pragma unroll
    for (int i = 0; i < kDepth<T> * kAcross / kThreads; i++) {
      const int d = threadIdx.x / kAcross + i * (kThreads / kAcross);
      copy_vector(&tile.at[d][line], gather.at(lines[0], gather.depth(depth0 + d)), gather.data);
    }
  }

  // One line a thread, so that neighbours read neighbouring lines, and what changes from depth to
  // depth is the same for all of a warp. Lines outside stay unwritten: nobody reads their sums.
  __device__ __forceinline__ void load_elements(Operand& tile, int depth0) const {
    constexpr int kDepths = kDepth<T> * kLines / kThreads;
    const int line = threadIdx.x % kLines, first = threadIdx.x / kLines * kDepths;
    if (line >= inside) return;
    auto depth = gather.depth(depth0 + first);
    const auto next = [&](int d) {
      const T* from = depth0 + d < gather.depths ? gather.at(lines[0], depth) : nullptr;
      gather.next(depth, depth0 + d + 1);
      return from;
    };
    if constexpr (sizeof(T) == 4) {
#pragma unroll 4
      for (int d = first; d < first + kDepths; d++) {
        const T* from = next(d);
        cp_async<4>(Gather::across ? &tile.at[d][line] : &tile.at[line][d], from ? from : gather.data, from != nullptr);
      }
    } else {
#pragma unroll 1
      for (int d = first; d < first + kDepths; d += kRun) {
        T run[kRun];
#pragma unroll
        for (int i = 0; i < kRun; i++) {
          const T* from = next(d + i);
          run[i] = from ? *from : from_f32<T>(0.0f);
        }
        if constexpr (Gather::across) {
#pragma unroll
          for (int i = 0; i < kRun; i++) tile.at[d + i][line] = run[i];
        } else {
          store_along(&tile.at[line][d], run);
        }
      }
    }
  }
};
