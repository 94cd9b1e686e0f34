// Tiles of a matrix product's operands in shared memory, and the copies that fill them.
//
// A product sums over `depth`: out[row][column] = sum_d a[row][d] b[column][d]. For a the lines are
// rows, for b they are columns. Neither operand need be a matrix in memory. A gather says where
// a[line][d] lies:
//
//   Number                   the type of an element
//   Line, line(i)            what is worth knowing of line i before the loop over the depth
//   Depth, depth(d)          the same of a depth
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

__device__ __forceinline__ void copy_element(float* to, const float* from, const float* data) {
  cp_async<4>(to, from ? from : data, from != nullptr);
}

// cp.async moves no less than 4 bytes.
__device__ __forceinline__ void copy_element(bf16* to, const bf16* from, const bf16*) {
  *to = from ? *from : from_f32<bf16>(0.0f);
}

// A thread's share of every tile of one operand. Its lines stay the same over the whole depth.
template <class Gather, int kThreads>
struct Loader {
  using T = typename Gather::Number;
  using Operand = Tile<T, Gather::across>;
  static constexpr int kAlong = kDepth<T> / kVector<T>, kAcross = kLines / kVector<T>;
  static constexpr int kLinesOfAThread = kLines * kAlong / kThreads;

  const Gather& gather;
  typename Gather::Line lines[kLinesOfAThread];

  __device__ __forceinline__ Loader(const Gather& gather, int line0) : gather(gather) {
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

  // One line a thread, so that what differs between depths is the same for a warp.
  __device__ __forceinline__ void load_elements(Operand& tile, int depth0) const {
    constexpr int kDepths = kDepth<T> * kLines / kThreads;
    const int line = threadIdx.x % kLines, first = threadIdx.x / kLines * kDepths;
#pragma unroll 4
    for (int d = first; d < first + kDepths; d++) {
      T* to = Gather::across ? &tile.at[d][line] : &tile.at[line][d];
      copy_element(to, gather.at(lines[0], gather.depth(depth0 + d)), gather.data);
    }
  }
};
