// Softmax with cross-entropy: src/ops/softmax/mod.rs has the formulas.
//
//   m = max_k z[k],  L = ln sum_k exp(z[k] - m)
//   loss = L - (z[t] - m),  p[k] = exp(z[k] - m - L),  dz[k] = (p[k] - [k = t]) / N
//
// An image is in the first place (or the first five) if fewer than one (five) logits lie ahead of its own:
// larger, or equal and of an earlier class. Computed in f64, as on the CPU: logits are few. Each image's
// share goes to memory; one warp adds the shares up in a fixed order.
//
//   softmax_forward_1, softmax_loss_1, softmax_backward_1   a thread per image
//   softmax_forward_2, softmax_loss_2, softmax_backward_2   a block per image; _f32, _bf16
//   softmax_sum_1                                           a warp for the batch

#include "geometry/softmax.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

// ---------------------------------------------------------------------------
// Helpers

// What the probabilities of an image share.
struct Row {
  double largest;  // m
  double log_sum;  // L; NaN if a logit is NaN or infinity
};

__device__ __forceinline__ double probability(const Row& row, float z) { return exp(z - row.largest - row.log_sum); }

__device__ __forceinline__ double gradient(const Softmax& softmax, const Row& row, float z, bool own) {
  return (probability(row, z) - (own ? 1.0 : 0.0)) / softmax.N;
}

// The logit of class t. Labels are checked when data is read; one outside makes the loss NaN all the same,
// not a read of someone else's memory.
template <class T>
__device__ __forceinline__ float own_logit(const Softmax& softmax, const T* z /* (C) */, int t) {
  return t >= 0 && t < softmax.C ? to_f32(z[t]) : NAN;
}

__device__ __forceinline__ bool is_ahead(float z, int k, float own, int t) { return z > own || (z == own && k < t); }

// An image whose loss is NaN counts as wrong: its logits have no order.
__device__ __forceinline__ Tally share(const Row& row, float own, int ahead) {
  const double loss = row.log_sum - (own - row.largest);
  return {loss, loss == loss && ahead < 1, loss == loss && ahead < 5};
}

// ---------------------------------------------------------------------------
// 1: a thread per image

__device__ __forceinline__ Row row_of(const Softmax& softmax, const float* z /* (C) */) {
  double largest = -INFINITY, sum = 0.0;
  for (int k = 0; k < softmax.C; k++) largest = fmax(largest, double(z[k]));
  for (int k = 0; k < softmax.C; k++) sum += exp(z[k] - largest);
  return {largest, log(sum)};
}

extern "C" __global__ void softmax_forward_1(Softmax softmax,
                                             const float* __restrict__ z,  // (N, C)
                                             float* __restrict__ p) {      // (N, C)
  const int n = blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= softmax.N) return;
  const size_t first = size_t(n) * softmax.C;
  const Row row = row_of(softmax, z + first);
  for (int k = 0; k < softmax.C; k++) p[first + k] = probability(row, z[first + k]);
}

extern "C" __global__ void softmax_loss_1(Softmax softmax,
                                          const float* __restrict__ z,     // (N, C)
                                          const int* __restrict__ labels,  // (N)
                                          Tally* __restrict__ shares) {    // (N)
  const int n = blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= softmax.N) return;
  const float* z_n = z + size_t(n) * softmax.C;
  const int t = labels[n];
  const float own = own_logit(softmax, z_n, t);
  int ahead = 0;
  for (int k = 0; k < softmax.C; k++) ahead += is_ahead(z_n[k], k, own, t);
  shares[n] = share(row_of(softmax, z_n), own, ahead);
}

extern "C" __global__ void softmax_backward_1(Softmax softmax,
                                              const float* __restrict__ z,     // (N, C)
                                              const int* __restrict__ labels,  // (N)
                                              float* __restrict__ dz,          // (N, C)
                                              Tally* __restrict__ shares) {    // (N)
  const int n = blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= softmax.N) return;
  const size_t first = size_t(n) * softmax.C;
  const Row row = row_of(softmax, z + first);
  const int t = labels[n];
  const float own = own_logit(softmax, z + first, t);
  int ahead = 0;
  for (int k = 0; k < softmax.C; k++) {
    ahead += is_ahead(z[first + k], k, own, t);
    dz[first + k] = gradient(softmax, row, z[first + k], k == t);
  }
  shares[n] = share(row, own, ahead);
}

// ---------------------------------------------------------------------------
// 2: a block per image

template <class T>
__device__ __forceinline__ Row row_of_block(const Softmax& softmax, const T* z /* (C) */) {
  double largest = -INFINITY, sum = 0.0;
  for (int k = threadIdx.x; k < softmax.C; k += blockDim.x) largest = fmax(largest, double(to_f32(z[k])));
  largest = block_reduce(largest, Largest());
  for (int k = threadIdx.x; k < softmax.C; k += blockDim.x) sum += exp(to_f32(z[k]) - largest);
  return {largest, log(block_reduce(sum, Sum()))};
}

template <class T>
__device__ __forceinline__ void softmax_forward_2(const Softmax& softmax, const T* __restrict__ z, T* __restrict__ p) {
  const size_t first = size_t(blockIdx.x) * softmax.C;
  const Row row = row_of_block(softmax, z + first);
  for (int k = threadIdx.x; k < softmax.C; k += blockDim.x) {
    p[first + k] = from_f32<T>(probability(row, to_f32(z[first + k])));
  }
}

// The share of the block's image, and its gradient if dz is not null.
template <class T>
__device__ __forceinline__ void softmax_loss_2(const Softmax& softmax, const T* __restrict__ z,
                                               const int* __restrict__ labels, T* __restrict__ dz,
                                               Tally* __restrict__ shares) {
  const size_t first = size_t(blockIdx.x) * softmax.C;
  const Row row = row_of_block(softmax, z + first);
  const int t = labels[blockIdx.x];
  const float own = own_logit(softmax, z + first, t);
  int ahead = 0;
  for (int k = threadIdx.x; k < softmax.C; k += blockDim.x) {
    const float logit = to_f32(z[first + k]);
    ahead += is_ahead(logit, k, own, t);
    if (dz != nullptr) dz[first + k] = from_f32<T>(gradient(softmax, row, logit, k == t));
  }
  ahead = block_reduce(ahead, Sum());
  if (threadIdx.x == 0) shares[blockIdx.x] = share(row, own, ahead);
}

extern "C" __global__ void softmax_forward_2_f32(Softmax softmax,
                                                 const float* __restrict__ z,  // (N, C)
                                                 float* __restrict__ p) {      // (N, C)
  softmax_forward_2(softmax, z, p);
}

extern "C" __global__ void softmax_forward_2_bf16(Softmax softmax,
                                                  const bf16* __restrict__ z,  // (N, C)
                                                  bf16* __restrict__ p) {      // (N, C)
  softmax_forward_2(softmax, z, p);
}

extern "C" __global__ void softmax_loss_2_f32(Softmax softmax,
                                              const float* __restrict__ z,     // (N, C)
                                              const int* __restrict__ labels,  // (N)
                                              Tally* __restrict__ shares) {    // (N)
  softmax_loss_2<float>(softmax, z, labels, nullptr, shares);
}

extern "C" __global__ void softmax_loss_2_bf16(Softmax softmax,
                                               const bf16* __restrict__ z,      // (N, C)
                                               const int* __restrict__ labels,  // (N)
                                               Tally* __restrict__ shares) {    // (N)
  softmax_loss_2<bf16>(softmax, z, labels, nullptr, shares);
}

extern "C" __global__ void softmax_backward_2_f32(Softmax softmax,
                                                  const float* __restrict__ z,     // (N, C)
                                                  const int* __restrict__ labels,  // (N)
                                                  float* __restrict__ dz,          // (N, C)
                                                  Tally* __restrict__ shares) {    // (N)
  softmax_loss_2(softmax, z, labels, dz, shares);
}

extern "C" __global__ void softmax_backward_2_bf16(Softmax softmax,
                                                   const bf16* __restrict__ z,      // (N, C)
                                                   const int* __restrict__ labels,  // (N)
                                                   bf16* __restrict__ dz,           // (N, C)
                                                   Tally* __restrict__ shares) {    // (N)
  softmax_loss_2(softmax, z, labels, dz, shares);
}

// ---------------------------------------------------------------------------
// The batch

extern "C" __global__ void softmax_sum_1(Softmax softmax,
                                         const Tally* __restrict__ shares,  // (N)
                                         Tally* __restrict__ tally) {       // (1)
  Tally sum = {0.0, 0, 0};
  for (int n = threadIdx.x; n < softmax.N; n += 32) {
    sum.loss += shares[n].loss;
    sum.top1 += shares[n].top1;
    sum.top5 += shares[n].top5;
  }
  sum = {warp_reduce(sum.loss, Sum()), warp_reduce(sum.top1, Sum()), warp_reduce(sum.top5, Sum())};
  if (threadIdx.x == 0) *tally = sum;
}
