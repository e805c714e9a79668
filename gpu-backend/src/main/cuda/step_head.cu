// The end of a control step: a token's norm, the logits, and what they are decided to be.
//
// Contract: ai.lram.backend.ops.SessionOps.decide. In every block eight warps norm the tokens of all rows while the weights
// are on their way to the eight that have a logit each: they were asked for before the kernel ahead had ended. The block of an
// action dimension that ends last decides for all rows, so nothing waits and the same inputs give the same bits; across the bus
// goes what was chosen.
//
// Bytes: the weights once.
//
// Compile:  as elementwise.cu, with the sizes that StepEnds.java defines.
#ifndef HEAD_WIDTH  // the sizes of a small model, for a look at the machine code
#define LRAM_THREADS 512
#define HEAD_WIDTH 512
#define HEAD_ROWS 1
#define HEAD_LOGITS 274
#define HEAD_DIMS 1
#define HEAD_TYPE 1
#define HEAD_CENTRED 1
#define HEAD_RESIDUAL 1
#endif
#include "step_choice.cuh"
#include "step_fetch.cuh"

namespace lram {

constexpr int D = HEAD_WIDTH;
constexpr int B = HEAD_ROWS;
constexpr int N = HEAD_LOGITS;
constexpr int RUN = LRAM_WARPS / 2;  // logits of a block, and most rows
constexpr int QUADS = D / 4;
constexpr int SPAN = (QUADS + 31) / 32;  // of a lane

#if HEAD_TYPE == 0
using Weight = float;
using Quad = float4;
#elif HEAD_TYPE == 1
using Weight = Bf16;
using Quad = uint2;
#else
using Weight = signed char;
using Quad = unsigned;
#endif

constexpr int AHEAD_REGISTERS = 40;  // of a thread for weights on their way
constexpr int FIRST = SPAN < AHEAD_REGISTERS * 4 / static_cast<int>(sizeof(Quad))
                              ? SPAN
                              : AHEAD_REGISTERS * 4 / static_cast<int>(sizeof(Quad));

struct StepHead {
    const float* x;  // of the first row
    const float* normWeight;
    const float* normBias;  // may be null
    const Weight* weight;   // (N, D)
    const float* scale;     // int8 alone
    const float* bias;      // may be null
    float* logits;          // (B, N)
    int stride;             // from a row to the next
    float eps;
    unsigned* arrived;  // blocks of a dimension that have ended: zero between launches
    Choice choice;
};

__device__ __forceinline__ float scaled(float hat, float weight, float bias) {
    return fmaf(hat, HEAD_RESIDUAL ? 1.f + weight : weight, bias);
}

// A lane's; beyond the last, that again, so that all are read alike.
__device__ __forceinline__ int quad(int i) { return min(lane() + 32 * i, QUADS - 1); }

// One row, by a warp that has the norm's weights.
__device__ __forceinline__ void normRow(const StepHead& p, const float* x, const float4 (&weight)[SPAN], float4* to) {
    float4 value[SPAN];
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        value[i] = load4(x + 4 * quad(i));
    }
    float mean = 0.f;
    if (HEAD_CENTRED) {
        float sum = 0.f;
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            if (lane() + 32 * i < QUADS) {
                sum += value[i].x + value[i].y + (value[i].z + value[i].w);
            }
        }
        mean = warpSum(sum) / D;
    }
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        if (lane() + 32 * i < QUADS) {
            value[i].x -= mean;
            value[i].y -= mean;
            value[i].z -= mean;
            value[i].w -= mean;
            squares = dot4(value[i], value[i], squares);
        }
    }
    const float rstd = 1.f / sqrtf(warpSum(squares) / D + p.eps);
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int q = lane() + 32 * i;
        if (q < QUADS) {
            float4 b = p.normBias == nullptr ? none() : load4(p.normBias + 4 * q);
            b.x = scaled(value[i].x * rstd, weight[i].x, b.x);
            b.y = scaled(value[i].y * rstd, weight[i].y, b.y);
            b.z = scaled(value[i].z * rstd, weight[i].z, b.z);
            b.w = scaled(value[i].w * rstd, weight[i].w, b.w);
            to[q] = b;
        }
    }
}

__host__ __device__ constexpr int padded(int n) { return n <= 1 ? 1 : 2 * padded((n + 1) / 2); }

constexpr int OF_DIM = N / HEAD_DIMS;          // logits of an action dimension
constexpr int GROUP = LRAM_WARPS / padded(B);  // warps that decide a row
constexpr int SHARE = (OF_DIM + 32 * GROUP - 1) / (32 * GROUP);
constexpr int AHEAD = SHARE < 8 ? SHARE : 8;

// A logit's weights on their way to a warp.
struct Logit {
    Quad ahead[FIRST];
    float scale;
    float bias;

    __device__ __forceinline__ static const Quad* row(const StepHead& p, int n) {
        return reinterpret_cast<const Quad*>(p.weight + static_cast<long long>(n) * D);
    }

    __device__ __forceinline__ void begin(const StepHead& p, int n) {
        const Quad* w = row(p, n);
#pragma unroll
        for (int i = 0; i < FIRST; i++) {
            ahead[i] = w[quad(i)];
        }
        scale = p.scale == nullptr ? 1.f : p.scale[n];
        bias = p.bias == nullptr ? 0.f : p.bias[n];
    }

    // Of row i % padded(B) for lane i.
    __device__ __forceinline__ float finish(const StepHead& p, int n, const float4 (*normed)[QUADS]) const {
        float sum[padded(B)];
#pragma unroll
        for (int r = 0; r < padded(B); r++) {
            sum[r] = 0.f;
        }
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            const int q = lane() + 32 * i;
            if (q < QUADS) {
                const float4 a = widened(i < FIRST ? ahead[i < FIRST ? i : 0] : row(p, n)[q]);
#pragma unroll
                for (int r = 0; r < B; r++) {
                    sum[r] = dot4(a, normed[r][q], sum[r]);
                }
            }
        }
        return sumsOf(sum) * scale + bias;
    }
};

}  // namespace lram

using namespace lram;

// Grid (runs of a dimension's logits, dimensions).
LRAM_KERNEL(step_head, StepHead) {
    __shared__ float4 normed[B][QUADS];
    __shared__ bool last;
    const int dim = static_cast<int>(blockIdx.y);
    const int at = static_cast<int>(blockIdx.x) * RUN + warp();
    const int n = dim * OF_DIM + at;
    const bool mine = warp() < RUN && at < OF_DIM;
    const int row = min(warp() / GROUP, B - 1);
    const bool norms = warp() >= RUN && warp() - RUN < B;
    Logit logit = {};
    float4 weight[SPAN] = {};
    if (mine) {
        logit.begin(p, n);
    } else if (norms) {
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            weight[i] = load4(p.normWeight + 4 * quad(i));
        }
    }
    awaitBefore();
    const int slot = p.choice.slots[row];
    if (norms) {
        normRow(p, p.x + (warp() - RUN) * p.stride, weight, normed[warp() - RUN]);
    }
    const ChoiceRange range = choiceRange(p.choice, slot, OF_DIM);
    __syncthreads();
    if (mine) {
        const float answer = logit.finish(p, n, normed);
        if (lane() < B) {
            p.logits[lane() * N + n] = answer;
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        last = arrive(p.arrived + dim) == (OF_DIM + RUN - 1) / RUN - 1u;
        if (last) {
            p.arrived[dim] = 0;
        }
    }
    __syncthreads();
    if (last) {
        choose<GROUP, AHEAD, (SHARE > AHEAD)>(p.choice, p.logits + row * N + dim * OF_DIM, OF_DIM, range, slot, row, dim,
                                              HEAD_DIMS, warp() / GROUP < B);
    }
}
