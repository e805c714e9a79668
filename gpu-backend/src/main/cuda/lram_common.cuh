// What our plain kernels share: launch convention, reductions, reports of indices out of range.
//
// Convention. Every kernel takes one record by value, has 256 threads a block (unless its module says otherwise) and uses no toolkit headers (and no
// inline PTX but where its file says so), so that NVRTC needs nothing but these files, and a host compiler can run the same source thread by
// thread (src/test/cuda/emulator). Sums run in an order that depends on sizes alone: the same inputs give the same
// bits.
#pragma once

#ifndef LRAM_THREADS
#define LRAM_THREADS 256
#endif
#define LRAM_WARPS (LRAM_THREADS / 32)

#ifndef LRAM_EMULATED
#define LRAM_KERNEL(name, Record) \
    extern "C" __global__ void __launch_bounds__(LRAM_THREADS) name(const __grid_constant__ Record p)
#define LRAM_KERNEL_OF(name, Record, threads, blocks) \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Record p)
#define LRAM_DYNAMIC_SHARED(Type, name)                             \
    extern __shared__ __align__(16) unsigned char lramShared[]; \
    Type* const name = reinterpret_cast<Type*>(lramShared)
#endif

namespace lram {

__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) & 31; }

__device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x) >> 5; }

// First element of this thread and the distance to its next, for loops over a whole grid.
__device__ __forceinline__ long long gridStart() {
    return static_cast<long long>(blockIdx.x) * LRAM_THREADS + threadIdx.x;
}

__device__ __forceinline__ long long gridStride() { return static_cast<long long>(gridDim.x) * LRAM_THREADS; }

template <typename T>
__device__ __forceinline__ T warpSum(T x) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, d);
    }
    return x;
}

// NaN is not a maximum: it is ignored here and shows in the sums that follow.
__device__ __forceinline__ float warpMax(float x) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    }
    return x;
}

// Of the whole block, for every thread. Starts with a barrier, so that it may follow itself.
template <typename T>
__device__ __forceinline__ T blockSum(T x) {
    __shared__ T parts[LRAM_WARPS];
    x = warpSum(x);
    __syncthreads();
    if (lane() == 0) {
        parts[warp()] = x;
    }
    __syncthreads();
    T sum = 0;
#pragma unroll
    for (int w = 0; w < LRAM_WARPS; w++) {
        sum += parts[w];
    }
    return sum;
}

__device__ __forceinline__ double blockMax(double x) {
    __shared__ double parts[LRAM_WARPS];
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        x = fmax(x, __shfl_xor_sync(0xffffffffu, x, d));
    }
    __syncthreads();
    if (lane() == 0) {
        parts[warp()] = x;
    }
    __syncthreads();
    double top = parts[0];
#pragma unroll
    for (int w = 1; w < LRAM_WARPS; w++) {
        top = fmax(top, parts[w]);
    }
    return top;
}

// Whether four floats can be read at once from each multiple of four on.
__device__ __forceinline__ bool inQuads(const void* p) { return reinterpret_cast<unsigned long long>(p) % 16 == 0; }

__device__ __forceinline__ float4 quadAt(const float* p) { return *reinterpret_cast<const float4*>(p); }

// Sum over the lanes up to this one.
__device__ __forceinline__ double warpScan(double x) {
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        double y = __shfl_up_sync(0xffffffffu, x, d);
        if (lane() >= d) {
            x += y;
        }
    }
    return x;
}

// The upper half of a float: storage only, all arithmetic is fp32 or wider.
struct Bf16 {
    unsigned short bits;
};

// The nearest bf16, ties to even; NaN stays NaN.
__device__ __forceinline__ unsigned short narrow(float x) {
    const unsigned bits = __float_as_uint(x);
    return x == x ? static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16) : 0x7fc0;
}

__device__ __forceinline__ float widened(float x) { return x; }

__device__ __forceinline__ float widened(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

__device__ __forceinline__ void store(float& to, float x) { to = x; }

__device__ __forceinline__ void store(Bf16& to, float x) { to.bits = narrow(x); }

__device__ __forceinline__ double logSigmoidOf(double x) { return fmin(x, 0.0) - log1p(exp(-fabs(x))); }

__device__ __forceinline__ float sigmoidOf(float x) { return 1.f / (1.f + expf(-x)); }

// Tokens that a cache has seen, and some more. A counter near its end starts anew at a multiple of the capacity, so that the
// oldest token stays the oldest.
__device__ __forceinline__ int advanced(int length, int count, int capacity) {
    const long long next = static_cast<long long>(length) + count;
    return static_cast<int>(next < 0x3fffffff ? next : capacity + next % capacity);
}

// Sums over rows, for columns: a block takes 32 columns and a share of the rows, 8 rows at a time, and leaves fp64
// partial sums [shares][columns]; `finishColumns` adds them in order. grid (columns / 32, shares).
template <typename Term>
__device__ __forceinline__ void partialColumns(const Term& term, int rows, long long columns, double* partials) {
    __shared__ double sums[LRAM_WARPS][32];
    const long long column = static_cast<long long>(blockIdx.x) * 32 + lane();
    double sum = 0;
    if (column < columns) {
        for (long long r = static_cast<long long>(blockIdx.y) * LRAM_WARPS + warp(); r < rows;
             r += static_cast<long long>(gridDim.y) * LRAM_WARPS) {
            sum += term(r, column);
        }
    }
    sums[warp()][lane()] = sum;
    __syncthreads();
    if (warp() == 0 && column < columns) {
        double total = 0;
#pragma unroll
        for (int w = 0; w < LRAM_WARPS; w++) {
            total += sums[w][lane()];
        }
        partials[blockIdx.y * columns + column] = total;
    }
}

__device__ __forceinline__ double finishColumn(const double* partials, int shares, long long columns,
                                               long long column) {
    double sum = 0;
    for (int s = 0; s < shares; s++) {
        sum += partials[s * columns + column];
    }
    return sum;
}

// Indices out of range: the first to find one claims a word of device memory and writes a record into host memory; later
// kernels that use indices look at the word and do nothing. Kinds as in Faults.java.
enum FaultKind { FAULT_ID = 1, FAULT_TARGET, FAULT_SLOT, FAULT_COUNT, FAULT_DUPLICATE };

struct Faults {
    int* claimed;
    volatile int* record;
};

__device__ __forceinline__ void reportFault(const Faults& f, int kind, int row, int value, int limit) {
    if (atomicCAS(f.claimed, 0, 1) == 0) {
        f.record[1] = row;
        f.record[2] = value;
        f.record[3] = limit;
        __threadfence_system();
        f.record[0] = kind;
        __threadfence_system();
    }
}

__device__ __forceinline__ bool faulted(const Faults& f) { return *static_cast<volatile int*>(f.claimed) != 0; }

}  // namespace lram
