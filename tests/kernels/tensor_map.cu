// Bulk copies, one at a time, and deliberate mistakes with them, for tests/tensor_map.rs.
// architectures: sm_90a

#include "shared.cuh"
#include "tensor_map.cuh"

struct __align__(1024) Box {
  unsigned char bytes[64 * 128];
};
struct Full {
  mbarrier barrier;
};

// The float at `column` of row `row` of a box whose rows have 64 or 128 bytes.
__device__ __forceinline__ float& element(Box& box, int row, int column, int row_bytes) {
  const int swizzle = row_bytes == 128 ? row % 8 : row / 2 % 4;
  const int at = row * row_bytes + ((column / 4 ^ swizzle) * 16) + column % 4 * 4;
  return *reinterpret_cast<float*>(box.bytes + at);
}

__device__ __forceinline__ void write_out(Box& box, float* y, int rows, int row_bytes) {
  for (int i = threadIdx.x; i < rows * row_bytes / 4; i += blockDim.x) {
    y[i] = element(box, i / (row_bytes / 4), i % (row_bytes / 4), row_bytes);
  }
}

// `rows` pixels of x (N, H, W, C), row_bytes of channels each.
extern "C" __global__ void tensor_pixels(const __grid_constant__ tensor_map x, float* y, int c, int w, int h, int n,
                                         int s, int r, int rows, int row_bytes) {
  Box& box = *dynamic_shared<Box>();
  mbarrier& full = shared<Full>().barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    fence_barriers();
    mbarrier_arrive_expecting(full, rows * row_bytes);
    tensor_load_pixels(&box, x, c, w, h, n, s, r, full);
  }
  __syncthreads();
  mbarrier_wait(full, 0);
  write_out(box, y, rows, row_bytes);
}

// A box of x (c1 sizes, c0 sizes ...) of four sizes, as `rows` rows.
extern "C" __global__ void tensor_box(const __grid_constant__ tensor_map x, float* y, int c0, int c1, int c2, int c3,
                                      int rows, int row_bytes) {
  Box& box = *dynamic_shared<Box>();
  mbarrier& full = shared<Full>().barrier;
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    fence_barriers();
    mbarrier_arrive_expecting(full, rows * row_bytes);
    tensor_load(&box, x, c0, c1, c2, c3, full);
  }
  __syncthreads();
  mbarrier_wait(full, 0);
  write_out(box, y, rows, row_bytes);
}

// Rows of 1000 row + column to a box of y of three sizes.
extern "C" __global__ void tensor_out(const __grid_constant__ tensor_map y, int c0, int c1, int c2, int rows,
                                      int row_bytes) {
  Box& box = *dynamic_shared<Box>();
  for (int i = threadIdx.x; i < rows * row_bytes / 4; i += blockDim.x) {
    const int row = i / (row_bytes / 4), column = i % (row_bytes / 4);
    element(box, row, column, row_bytes) = 1000.0f * row + column;
  }
  fence_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    tensor_store(y, &box, c0, c1, c2);
    bulk_commit();
    bulk_wait_read<0>();
  }
}

// Overwrites what a store may still read.
extern "C" __global__ void wrong_store_overwritten(const __grid_constant__ tensor_map y, int rows, int row_bytes) {
  Box& box = *dynamic_shared<Box>();
  if (threadIdx.x != 0) return;
  for (int i = 0; i < rows * row_bytes / 4; i++) element(box, i / (row_bytes / 4), i % (row_bytes / 4), row_bytes) = 1.0f;
  fence_async();
  tensor_store(y, &box, 0, 0, 0);
  bulk_commit();
  element(box, 0, 0, row_bytes) = 2.0f;
  bulk_wait_read<0>();
}

extern "C" __global__ void wrong_store_unread(const __grid_constant__ tensor_map y) {
  if (threadIdx.x != 0) return;
  tensor_store(y, dynamic_shared<Box>(), 0, 0, 0);
  bulk_commit();
}

// Two loads, of which the barrier expects one; or with `expected` 0 nobody waits.
extern "C" __global__ void wrong_load(const __grid_constant__ tensor_map x, int loads, int expected) {
  Box& box = *dynamic_shared<Box>();
  mbarrier& full = shared<Full>().barrier;
  if (threadIdx.x != 0) return;
  mbarrier_init(full, 1);
  mbarrier_arrive_expecting(full, expected);
  for (int i = 0; i < loads; i++) tensor_load(&box, x, 0, 0, 0, 0, full);
  if (expected > 0) mbarrier_wait(full, 0);
}

extern "C" __global__ void wrong_box_misaligned(const __grid_constant__ tensor_map x) {
  Box& box = *dynamic_shared<Box>();
  mbarrier& full = shared<Full>().barrier;
  if (threadIdx.x != 0) return;
  mbarrier_init(full, 1);
  mbarrier_arrive_expecting(full, 128);
  tensor_load(box.bytes + 128, x, 0, 0, 0, 0, full);
}
