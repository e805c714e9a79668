// The end of a control step: a token's norm, the logits, and what they are decided to be.
//
// Contract: ai.lram.backend.ops.SessionOps.decide. In every block eight warps norm the tokens of all rows while the weights
// are on their way to the eight that have a logit each: they were asked for before the kernel ahead had ended. The block of an
// action dimension that ends last decides for all rows, so nothing waits and the same inputs give the same bits; across the bus
// goes what was chosen. Of many rows (HEAD_MANY), eight are a group of their own with such blocks: their warps norm a row and
// then have four logits each. The block that decides last tells the host so, which sees it before the kernel has ended; nothing
// that the host writes is read after that.
//
// Bytes: the weights once for eight rows, beyond the first eight from the second-level cache.
//
// Compile:  as elementwise.cu, with the sizes that StepEnds.java defines.
#ifndef HEAD_WIDTH  // the sizes of a small model, for a look at the machine code
#define LRAM_THREADS 512
#define HEAD_WIDTH 512
#define HEAD_ROWS 1
#define HEAD_MANY 0
#define HEAD_LOGITS 274
#define HEAD_DIMS 1
#define HEAD_TYPE 1
#define HEAD_CENTRED 1
#define HEAD_RESIDUAL 1
#endif
#include "step_choice.cuh"
#include "step_common.cuh"
#include "step_fetch.cuh"

namespace lram {

constexpr int D = HEAD_WIDTH;
constexpr int B = HEAD_ROWS;
constexpr int N = HEAD_LOGITS;
constexpr bool MANY = HEAD_MANY;
constexpr int TOGETHER = MANY ? 4 : 1;                               // logits of a warp
constexpr int RUN = MANY ? LRAM_WARPS * TOGETHER : LRAM_WARPS / 2;   // logits of a block
constexpr int NORMS = MANY ? 0 : RUN;                                // warps before those that norm
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

constexpr int AHEAD_REGISTERS = 40 / TOGETHER;  // of a thread for weights of a logit on their way
constexpr int FIRST = SPAN < AHEAD_REGISTERS * 4 / static_cast<int>(sizeof(Quad))
                              ? SPAN
                              : AHEAD_REGISTERS * 4 / static_cast<int>(sizeof(Quad));

// As DecidedSteps.java has them.
struct Decided {
    unsigned* counts;  // blocks that have decided, zero between launches; steps
    unsigned* word;    // the host's: steps
};

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
    unsigned* arrived;  // blocks of a group's dimension that have ended: zero between launches
    Choice choice;
    Decided decided;
    int rows;  // of all groups
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

    __device__ __forceinline__ float4 quadOf(const StepHead& p, int n, int i) const {
        return widened(i < FIRST ? ahead[i < FIRST ? i : 0] : row(p, n)[lane() + 32 * i]);
    }
};

// A warp's logits.
struct Logits {
    Logit logit[TOGETHER];
    int n[TOGETHER];  // beyond the dimension's last, that again, so that all are read alike

    __device__ __forceinline__ void begin(const StepHead& p, int dim, int at) {
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            n[k] = dim * OF_DIM + min(at + k, OF_DIM - 1);
            logit[k].begin(p, n[k]);
        }
    }

    // Of row i % padded(B) for lane i.
    __device__ __forceinline__ void finish(const StepHead& p, const float4 (*normed)[QUADS], float (&answer)[TOGETHER]) const {
        float sum[TOGETHER][padded(B)];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
#pragma unroll
            for (int r = 0; r < padded(B); r++) {
                sum[k][r] = 0.f;
            }
        }
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            const int q = lane() + 32 * i;
            if (q < QUADS) {
                float4 a[TOGETHER];
#pragma unroll
                for (int k = 0; k < TOGETHER; k++) {
                    a[k] = logit[k].quadOf(p, n[k], i);
                }
#pragma unroll
                for (int r = 0; r < B; r++) {
                    const float4 x = normed[r][q];
#pragma unroll
                    for (int k = 0; k < TOGETHER; k++) {
                        sum[k][r] = dot4(a[k], x, sum[k][r]);
                    }
                }
            }
        }
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            answer[k] = sumsOf(sum[k]) * logit[k].scale + logit[k].bias;
        }
    }
};

}  // namespace lram

using namespace lram;

// Grid (runs of a dimension's logits, dimensions, groups of rows).
LRAM_KERNEL_OF(step_head, StepHead, LRAM_THREADS, MANY ? 2 : 1) {
    __shared__ float4 normed[B][QUADS];
    __shared__ bool last;
    const int dim = static_cast<int>(blockIdx.y);
    const int first = MANY ? static_cast<int>(blockIdx.z) * B : 0;
    const int rows = MANY ? min(B, p.rows - first) : B;
    const int at = static_cast<int>(blockIdx.x) * RUN + warp() * TOGETHER;
    const bool mine = warp() * TOGETHER < RUN && at < OF_DIM;
    const bool norms = warp() >= NORMS && warp() - NORMS < B;
    const int row = first + min(warp() / GROUP, rows - 1);
    Logits logits = {};
    float4 weight[SPAN] = {};
    if (mine) {
        logits.begin(p, dim, at);
    }
    if (norms) {
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            weight[i] = load4(p.normWeight + 4 * quad(i));
        }
    }
    awaitBefore();
    const int slot = p.choice.slots[row];
    if (norms) {  // beyond the last row, that again
        const int own = min(warp() - NORMS, rows - 1);
        normRow(p, p.x + static_cast<long long>(first + own) * p.stride, weight, normed[warp() - NORMS]);
    }
    const ChoiceRange range = choiceRange(p.choice, slot, OF_DIM);
    __syncthreads();
    if (mine) {
        float answer[TOGETHER];
        logits.finish(p, normed, answer);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (lane() < rows && at + k < OF_DIM) {
                p.logits[static_cast<long long>(first + lane()) * N + dim * OF_DIM + at + k] = answer[k];
            }
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned* const arrived = p.arrived + (MANY ? blockIdx.z * HEAD_DIMS : 0) + dim;
        last = arrive(arrived) == (OF_DIM + RUN - 1) / RUN - 1u;
        if (last) {
            *arrived = 0;
        }
    }
    __syncthreads();
    if (last) {
        const unsigned step = p.decided.counts[1] + 1;
        choose<GROUP, AHEAD, (SHARE > AHEAD)>(p.choice, p.logits + static_cast<long long>(row) * N + dim * OF_DIM, OF_DIM,
                                              range, slot, row, dim, HEAD_DIMS, warp() / GROUP < rows);
        const unsigned deciding = HEAD_DIMS * (MANY ? gridDim.z : 1);
        __syncthreads();
        if (threadIdx.x == 0 && (deciding == 1 || arrive(p.decided.counts) == deciding - 1)) {
            tellHost(p.decided.word, step);
            p.decided.counts[0] = 0;
            p.decided.counts[1] = step;
        }
    }
}
