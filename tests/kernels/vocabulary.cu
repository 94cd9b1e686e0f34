// Kernels that use one word of the vocabulary each, for tests/emulator.rs.

#include "mbarrier.cuh"
#include "mma.cuh"
#include "numbers.cuh"
#include "shared.cuh"

extern "C" __global__ void vocabulary_identity(unsigned* y) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

extern "C" __global__ void vocabulary_shuffles(const int* x, int* y) {
  const int i = threadIdx.x, v = x[i];
  y[i] = __shfl_sync(0xffffffff, v, 3, 8);
  y[64 + i] = __shfl_up_sync(0xffffffff, v, 2, 16);
  y[128 + i] = __shfl_down_sync(0xffffffff, v, 5);
  y[192 + i] = __shfl_xor_sync(0xffffffff, v, 9);
  y[256 + i] = int(__ballot_sync(0xffffffff, v % 3 == 0));
  y[320 + i] = __any_sync(0xffffffff, v == 40) + 2 * __all_sync(0xffffffff, v < 32);
}

extern "C" __global__ void vocabulary_atomics(unsigned* count, float* sum, int* most) {
  atomicAdd(count, 1u);
  atomicAdd(sum, 0.5f);
  atomicMax(most, int(blockIdx.x * blockDim.x + threadIdx.x));
}

extern "C" __global__ void vocabulary_bf16(const float* x, bf16* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = from_f32<bf16>(x[i]);
}

extern "C" __global__ void vocabulary_f16(const float* x, f16* y, float* back, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  y[i] = from_f32<f16>(x[i]);
  back[i] = to_f32(y[i]);
}

struct Matrices {
  unsigned short rows[32][8];
};

// x (32, 8): four matrices of 8 x 8; y (2, 4, 32) registers.
extern "C" __global__ void vocabulary_ldmatrix(const unsigned short* x, unsigned* y) {
  Matrices& matrices = shared<Matrices>();
  const int lane = threadIdx.x;
  for (int c = 0; c < 8; c++) matrices.rows[lane][c] = x[lane * 8 + c];
  __syncwarp();
  unsigned plain[4], transposed[4];
  ldmatrix_x4(plain, matrices.rows[lane]);
  ldmatrix_x4_trans(transposed, matrices.rows[lane]);
  for (int m = 0; m < 4; m++) {
    y[m * 32 + lane] = plain[m];
    y[(4 + m) * 32 + lane] = transposed[m];
  }
}

// Half a block at each barrier, twice.
extern "C" __global__ void vocabulary_named_barriers(int* y) {
  Matrices& matrices = shared<Matrices>();
  auto* words = reinterpret_cast<int*>(&matrices);
  const int half = threadIdx.x / 32;
  words[threadIdx.x] = int(threadIdx.x);
  named_barrier_sync(1 + half, 32);
  y[threadIdx.x] = words[threadIdx.x ^ 31];
}

struct Ring {
  mbarrier full, empty;
  int slot[32];
};

// Warp 0 hands `rounds` rows of 32 numbers to warp 1 through one slot; y (rounds, 32).
extern "C" __global__ void vocabulary_mbarrier(int* y, int rounds) {
  Ring& ring = shared<Ring>();
  const int lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    mbarrier_init(ring.full, 32);
    mbarrier_init(ring.empty, 32);
  }
  __syncthreads();
  for (int round = 0; round < rounds; round++) {
    if (threadIdx.x < 32) {
      if (round > 0) mbarrier_wait(ring.empty, (round - 1) % 2);
      ring.slot[lane] = round * 100 + lane;
      mbarrier_arrive(ring.full);
    } else {
      mbarrier_wait(ring.full, round % 2);
      y[round * 32 + lane] = ring.slot[31 - lane];
      mbarrier_arrive(ring.empty);
    }
  }
}
