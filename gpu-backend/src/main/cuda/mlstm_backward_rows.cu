// mLSTM backward, per token: what the gradients of the states and of the chunks need before they can start.
//
// Order: mlstm_backward_rows, the state kernels of mlstm_states.cu in reverse, mlstm_backward_chunk (mlstm_backward.cu),
// mlstm_without_last where gradients are not exact and that of the last state is given.
// Contract, compiling: as mlstm_backward.cu; -DLRAM_FP32 for fp32.
// Tried:    nvcc 13.0.88 to sm_80 and sm_90a; run on an H200 (driver 580).
// Cost:     h and dh read once.
#include "mlstm_backward.cuh"

namespace lram {

constexpr int ROWS_THREADS = 256;
constexpr int ROWS_CHUNK = 256;  // tokens at most

// One block a chunk, p.rows:
//   1 / den     dn = -sign(n) (dh . h) / den, where |n| decides the denominator     a / den, a dn
// with a = exp(m0 - M_t) scale, the weight of the state before the chunk.
template <typename T>
__device__ __forceinline__ void backwardRowsBlock(const MlstmBackward& p) {
    using U = Unit<T>;
    using Scan = GateScan<ROWS_THREADS, ROWS_CHUNK>;
    __shared__ double totals[Scan::TOTALS];
    __shared__ float floats[6 * ROWS_CHUNK];
    const Gates gates = {floats,
                         floats + ROWS_CHUNK,
                         floats + 2 * ROWS_CHUNK,
                         floats + 3 * ROWS_CHUNK,
                         floats + 4 * ROWS_CHUNK,
                         floats + 5 * ROWS_CHUNK};
    const int pair = blockIdx.x / p.chunks;
    const int chunk = blockIdx.x % p.chunks;
    const int from = chunk * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const long long token =
            (static_cast<long long>(pair / p.heads) * p.tokens + from) * p.heads + pair % p.heads;
    const float m0 = p.statesM[blockIdx.x];
    Scan scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
    scan.scan(gates, totals, count, m0, p.sigmoid != 0);
    __syncthreads();
    const long long all = static_cast<long long>(gridDim.x / p.chunks) * p.tokens;
    const int lane = threadIdx.x % 32;
    for (int t = threadIdx.x / 32; t < count; t += ROWS_THREADS / 32) {
        const long long at = (token + static_cast<long long>(t) * p.heads) * p.dimHv;
        float dot = 0.f;
        if (p.normalize && p.exact) {
            const T* h = static_cast<const T*>(p.h) + at;
            const T* dh = static_cast<const T*>(p.dh) + at;
            for (int d = U::VECTOR * lane; d < p.dimHv; d += U::VECTOR * 32) {
                dot += U::dot16(*reinterpret_cast<const float4*>(h + d), *reinterpret_cast<const float4*>(dh + d));
            }
#pragma unroll
            for (int d = 16; d > 0; d /= 2) {
                dot += __shfl_xor_sync(0xffffffffu, dot, d);
            }
        }
        if (lane == 0) {
            const long long own = static_cast<long long>(pair) * p.tokens + from + t;
            float inverse = 1.f;
            float dn = 0.f;
            if (p.normalize) {
                const float n = p.normaliser[own];
                inverse = 1.f / (fmaxf(fabsf(n), gates.floor[t]) + p.eps);
                dn = p.exact && fabsf(n) > gates.floor[t] ? (n < 0.f ? dot : -dot) * inverse : 0.f;
            }
            const float carry = gates.carry[t] * p.scale;
            p.rows[own] = inverse;
            p.rows[all + own] = dn;
            p.rows[2 * all + own] = carry * inverse;
            p.rows[3 * all + own] = carry * dn;
        }
    }
}

// df without what goes straight to the last state, for gradients that are not exact. Grid (S NH / ROWS_THREADS, B).
__device__ __forceinline__ void withoutLast(const MlstmBackward& p) {
    const long long row = static_cast<long long>(blockIdx.x) * ROWS_THREADS + threadIdx.x;
    const long long rows = static_cast<long long>(p.tokens) * p.heads;
    if (row < rows) {
        const long long at = blockIdx.y * rows + row;
        p.df[at] -= p.straight[static_cast<long long>(blockIdx.y) * p.heads + row % p.heads] * sigmoidOf(-p.gateF[at]);
    }
}

template <typename T>
__global__ void __launch_bounds__(ROWS_THREADS) mlstmBackwardRowsKernel(const __grid_constant__ MlstmBackward p) {
    backwardRowsBlock<T>(p);
}

}  // namespace lram

#ifndef LRAM_TEMPLATES_ONLY
#ifdef LRAM_FP32
#define LRAM_TYPE float
#else
#define LRAM_TYPE __nv_bfloat16
#endif
extern "C" __global__ void __launch_bounds__(lram::ROWS_THREADS)
        mlstm_backward_rows(const __grid_constant__ lram::MlstmBackward p) {
    lram::backwardRowsBlock<LRAM_TYPE>(p);
}

extern "C" __global__ void __launch_bounds__(lram::ROWS_THREADS)
        mlstm_without_last(const __grid_constant__ lram::MlstmBackward p) {
    lram::withoutLast(p);
}
#endif
