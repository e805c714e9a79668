// What an mLSTM block of the control step does around its products and its cell, for many sessions.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmBlock for bf16 weights and up to 3 tokens a session. Products are cuBLASLt's, of
// x as three bf16 numbers whose sum it is, stacked as rows: every kernel here adds the three results as it reads them.
//   many_norm   x += the block before; its norm, in three parts
//   many_conv   convolution, SiLU, q, k, v, and shares of the gates, which the cell adds in order
//   many_skip   head norm, skip, gate, in three parts
//
// Bytes a token: 26 D and 106 I, from the second-level cache.
//
// Compile:  as elementwise.cu, with the sizes that ManySteps.java defines.
#ifndef MANY_WIDTH  // the sizes of a large model, for a look at the machine code
#define MANY_WIDTH 1280
#define MANY_INNER 2560
#define MANY_HEADS 4
#define MANY_TOKENS 3
#define MANY_CENTRED 1
#define MANY_RESIDUAL 1
#define MANY_HEAD_CENTRED 1
#define MANY_HEAD_RESIDUAL 1
#endif
#define LRAM_THREADS 128
#include "lram_bf16.cuh"
#include "step_common.cuh"

namespace lram {

constexpr int WIDTH = MANY_WIDTH;
constexpr int INNER = MANY_INNER;
constexpr int HEADS = MANY_HEADS;
constexpr int STEPS = MANY_TOKENS;  // of a session
constexpr int TAPS = 4;
constexpr int PAST = TAPS - 1;
constexpr int DIM = INNER / HEADS;
constexpr int RUNS = (INNER / 4 + 31) / 32;  // of 128 channels
constexpr int GATES = STEPS * 2 * HEADS;     // of a session: tokens, input and forget, heads
constexpr int ROUNDS = (GATES + 31) / 32;

struct NormOfMany {
    float* x;
    const float* sums;    // (3, rows, WIDTH); may be null
    const float* weight;  // null where no norm follows
    Bf16* parts;          // (3, rows, WIDTH)
    int rows;             // of tokens
    float eps;
    Faults faults;
};

struct ConvOfMany {
    const int* slots;
    const int* counts;
    const float* u;  // (3, tokens, INNER)
    const float* conv;
    const float* bias;  // may be null
    float* history;
    const float* wq;
    const float* wk;
    const float* wv;
    const float* wi;
    const float* wf;
    float* c;
    float* q;
    float* k;
    float* v;
    float* shares;  // (sessions, RUNS, GATES)
    int rows;       // sessions
    Faults faults;
};

struct SkipOfMany {
    const int* counts;
    const float* h;
    const float* c;
    const float* z;  // (3, tokens, INNER)
    const float* weight;
    const float* skip;
    Bf16* parts;  // (3, tokens, INNER)
    int rows;     // of tokens
    float eps;
    Faults faults;
};

// The sum of three products.
__device__ __forceinline__ float4 addThree(const float* at, long long apart) {
    float4 a = load4(at);
    const float4 b = load4(at + apart);
    const float4 c = load4(at + 2 * apart);
    a.x += b.x + c.x;
    a.y += b.y + c.y;
    a.z += b.z + c.z;
    a.w += b.w + c.w;
    return a;
}

__device__ __forceinline__ void storeParts(float (&x)[4], Bf16* at, long long apart) {
    uint2 parts[3];
    splitInThree(x, parts);
#pragma unroll
    for (int part = 0; part < 3; part++) {
        store(at + part * apart, parts[part]);
    }
}

// Lane l gets the sum of x[l] over all lanes: each exchange halves what a lane still adds.
template <int HALF>
__device__ __forceinline__ void sumsOfLanes(float (&x)[32]) {
    const bool upper = (lane() & HALF) != 0;
#pragma unroll
    for (int j = 0; j < HALF; j++) {
        const float other = upper ? x[j] : x[j + HALF];
        x[j] = (upper ? x[j + HALF] : x[j]) + __shfl_xor_sync(0xffffffffu, other, HALF);
    }
    if constexpr (HALF > 1) {
        sumsOfLanes<HALF / 2>(x);
    }
}

// A block of four on the diagonal.
__device__ __forceinline__ void timesFour(const float4 (&w)[4], const float (&x)[4], float (&y)[4]) {
    float4 in;
    in.x = x[0];
    in.y = x[1];
    in.z = x[2];
    in.w = x[3];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        y[j] = dot4(w[j], in, 0.f);
    }
}

__device__ __forceinline__ void fourQuads(const float* from, float4 (&w)[4]) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        w[j] = load4(from + 4 * j);
    }
}

}  // namespace lram

using namespace lram;

// One block a token.
LRAM_KERNEL(many_norm, NormOfMany) {
    constexpr int LOADS = (WIDTH / 4 + LRAM_THREADS - 1) / LRAM_THREADS;
    if (faulted(p.faults)) {
        return;
    }
    const long long apart = static_cast<long long>(p.rows) * WIDTH;
    const long long from = static_cast<long long>(blockIdx.x) * WIDTH;
    float x[LOADS][4];
    float4 weight[LOADS];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
        unpack(none(), x[i]);
        weight[i] = none();
        if (j < WIDTH) {
            unpack(load4(p.x + from + j), x[i]);
            if (p.weight != nullptr) {
                weight[i] = load4(p.weight + j);
            }
            if (p.sums != nullptr) {
                addTimes(1.f, addThree(p.sums + from + j, apart), x[i]);
                store(p.x + from + j, packFloats(x[i]));
            }
        }
        sum += (x[i][0] + x[i][1]) + (x[i][2] + x[i][3]);
    }
    if (p.weight == nullptr) {
        return;
    }
    const float mean = MANY_CENTRED ? blockSum(sum) / static_cast<float>(WIDTH) : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
#pragma unroll
        for (int e = 0; e < 4 && j < WIDTH; e++) {
            squares = fmaf(x[i][e] - mean, x[i][e] - mean, squares);
        }
    }
    const float rstd = 1.f / sqrtf(blockSum(squares) / static_cast<float>(WIDTH) + p.eps);
    const float one = MANY_RESIDUAL ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
        if (j < WIDTH) {
            float w[4];
            unpack(weight[i], w);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                x[i][e] = (x[i][e] - mean) * rstd * (one + w[e]);
            }
            storeParts(x[i], p.parts + from + j, apart);
        }
    }
}

// A warp a session and run of 128 channels, four a lane, which owns their history. Grid (RUNS, sessions / warps): a block's
// warps read the same weights.
LRAM_KERNEL(many_conv, ConvOfMany) {
    const int row = static_cast<int>(blockIdx.y) * LRAM_WARPS + warp();
    if (faulted(p.faults) || row >= p.rows) {
        return;
    }
    const int n = p.counts[row];
    if (n == 0) {
        return;
    }
    const int channel = 4 * (32 * static_cast<int>(blockIdx.x) + lane());
    const long long apart = static_cast<long long>(p.rows) * STEPS * INNER;
    const long long from = static_cast<long long>(row) * STEPS * INNER + channel;
    const int first = STEPS - n;  // the row's tokens begin there
    float gates[ROUNDS][32];
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
#pragma unroll
        for (int j = 0; j < 32; j++) {
            gates[r][j] = 0.f;
        }
    }
    if (channel < INNER) {
        float* history = p.history + static_cast<long long>(p.slots[row]) * PAST * INNER + channel;
        float u[PAST + STEPS][4];  // the past stands before the first token
#pragma unroll
        for (int j = 0; j < PAST + STEPS; j++) {
            unpack(none(), u[j]);
            if (j >= PAST && j >= PAST + first) {
                unpack(addThree(p.u + from + static_cast<long long>(j - PAST) * INNER, apart), u[j]);
            } else if (j >= first) {
                unpack(load4(history + static_cast<long long>(j - first) * INNER), u[j]);
            }
        }
        float4 conv[4];
        float4 wq[4];
        float4 wk[4];
        float4 wv[4];
        fourQuads(p.conv + TAPS * channel, conv);
        fourQuads(p.wq + 4 * channel, wq);
        fourQuads(p.wk + 4 * channel, wk);
        fourQuads(p.wv + 4 * channel, wv);
        const float4 bias = p.bias == nullptr ? none() : load4(p.bias + channel);
        float q[STEPS][4];
        float k[STEPS][4];
        float v[STEPS][4];
#pragma unroll
        for (int t = 0; t < STEPS; t++) {
            float c[4];
            unpack(bias, c);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float w[4];
                unpack(conv[e], w);
#pragma unroll
                for (int j = 0; j < TAPS; j++) {
                    c[e] = fmaf(w[j], u[t + j][e], c[e]);
                }
                c[e] *= sigmoidOf(c[e]);
            }
            timesFour(wq, c, q[t]);
            timesFour(wk, c, k[t]);
            timesFour(wv, u[PAST + t], v[t]);
            if (t >= first) {
                const long long at = from + static_cast<long long>(t) * INNER;
                store(p.c + at, packFloats(c));
                store(p.q + at, packFloats(q[t]));
                store(p.k + at, packFloats(k[t]));
                store(p.v + at, packFloats(v[t]));
            }
        }
#pragma unroll
        for (int j = 0; j < PAST; j++) {
            store(history + static_cast<long long>(j) * INNER, packFloats(u[STEPS + j]));
        }
#pragma unroll
        for (int g = 0; g < 2 * HEADS; g++) {
            const float* weights = (g < HEADS ? p.wi : p.wf) + static_cast<long long>(g % HEADS) * 3 * INNER + channel;
            const float4 ofQ = load4(weights);
            const float4 ofK = load4(weights + INNER);
            const float4 ofV = load4(weights + 2 * INNER);
#pragma unroll
            for (int t = 0; t < STEPS; t++) {
                const int gate = t * 2 * HEADS + g;
                gates[gate / 32][gate % 32] =
                        dot4(ofQ, packFloats(q[t]), dot4(ofK, packFloats(k[t]), dot4(ofV, packFloats(v[t]), 0.f)));
            }
        }
    }
    float* shares = p.shares + (static_cast<long long>(row) * RUNS + blockIdx.x) * GATES;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        sumsOfLanes<16>(gates[r]);
        if (32 * r + lane() < GATES) {
            shares[32 * r + lane()] = gates[r][0];
        }
    }
}

// One warp a token and head.
LRAM_KERNEL(many_skip, SkipOfMany) {
    constexpr int LOADS = (DIM / 4 + 31) / 32;
    const int unit = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    if (faulted(p.faults) || unit >= p.rows * HEADS) {
        return;
    }
    const long long apart = static_cast<long long>(p.rows) * INNER;
    const long long from = static_cast<long long>(unit) * DIM;
    const int column = unit % HEADS * DIM;
    const int token = unit / HEADS;
    const bool brought = token % STEPS >= STEPS - p.counts[token / STEPS];  // of the others nobody wrote h and c
    float h[LOADS][4];
    float4 c[LOADS];
    float4 z[LOADS];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (lane() + 32 * i);
        unpack(none(), h[i]);
        c[i] = z[i] = none();
        if (brought && j < DIM) {
            unpack(load4(p.h + from + j), h[i]);
            c[i] = load4(p.c + from + j);
            z[i] = addThree(p.z + from + j, apart);
        }
        sum += (h[i][0] + h[i][1]) + (h[i][2] + h[i][3]);
    }
    const float mean = MANY_HEAD_CENTRED ? warpSum(sum) / static_cast<float>(DIM) : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
        for (int e = 0; e < 4 && 4 * (lane() + 32 * i) < DIM; e++) {
            squares = fmaf(h[i][e] - mean, h[i][e] - mean, squares);
        }
    }
    const float rstd = 1.f / sqrtf(warpSum(squares) / static_cast<float>(DIM) + p.eps);
    const float one = MANY_HEAD_RESIDUAL ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (lane() + 32 * i);
        if (j < DIM) {
            float weight[4];
            float skip[4];
            float ofC[4];
            float ofZ[4];
            unpack(load4(p.weight + column + j), weight);
            unpack(load4(p.skip + column + j), skip);
            unpack(c[i], ofC);
            unpack(z[i], ofZ);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const float normed = (h[i][e] - mean) * rstd * (one + weight[e]);
                h[i][e] = fmaf(skip[e], ofC[e], normed) * (ofZ[e] * sigmoidOf(ofZ[e]));
            }
            storeParts(h[i], p.parts + from + j, apart);
        }
    }
}
