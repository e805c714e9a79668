// What an mLSTM block of the control step does around its products and its cell, for many sessions.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmBlock for bf16 weights and up to 3 tokens a session. Products are cuBLASLt's, of
// x in MANY_PARTS parts whose sum it is, stacked as rows: every kernel here adds their results as it reads them. Three are bf16
// numbers. Two are fp16 numbers of x times a power of two of its token, weights are in fp16 times one of their row, and results are
// divided by both. One is the first of these two: x rounded to 11 bits.
//   many_norm   x += the block before; its norm, in parts
//   many_conv   convolution, SiLU, q, k, v, and shares of the gates, which the cell adds in order
//   many_skip   head norm, skip, gate, in parts
// Each begins as soon as the one before has ended, without a launch between them: weights, and what earlier steps left, are on
// their way before it waits.
//
// Bytes a token: 26 D and 106 I in three parts, 20 D and 96 I in two, 14 D and 86 I in one, from the second-level cache.
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
#define MANY_PARTS 3
#endif
#define LRAM_THREADS 128
#include "lram_fp16.cuh"
#include "step_common.cuh"
#include "step_fetch.cuh"

namespace lram {

constexpr int WIDTH = MANY_WIDTH;
constexpr int INNER = MANY_INNER;
constexpr int HEADS = MANY_HEADS;
constexpr int STEPS = MANY_TOKENS;  // of a session
constexpr int TAPS = 4;
constexpr int PAST = TAPS - 1;
constexpr int DIM = INNER / HEADS;
constexpr int RUN = 128;  // channels of a warp, four a lane
constexpr int RUNS = (INNER + RUN - 1) / RUN;
constexpr int GATES = STEPS * 2 * HEADS;     // of a session: tokens, input and forget, heads
constexpr int ROUNDS = (GATES + 31) / 32;

constexpr int PARTS = MANY_PARTS;
constexpr bool FP16 = PARTS < 3;

#if MANY_PARTS < 3
using Part = Fp16;
#else
using Part = Bf16;
#endif

// Results of a product's parts. What they are multiples of is for fp16 alone.
struct Sums {
    const float* at;        // (PARTS, tokens, pitch); may be null
    const float* ofToken;   // (tokens)
    const float* ofWeight;  // (results)
};

// What the next product multiplies.
struct Parts {
    Part* at;        // (PARTS, tokens, columns)
    float* ofToken;  // (tokens): what they are multiples of, for fp16 alone
};

struct NormOfMany {
    float* x;
    Sums sums;            // of pitch WIDTH
    const float* weight;  // null where no norm follows
    Parts parts;
    int rows;  // of tokens
    float eps;
    Faults faults;
};

struct ConvOfMany {
    const int* slots;
    const int* counts;
    Sums u;
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
    int pool;       // slots that there are
    int pitch;      // from a token's u to the next one's
    Faults faults;
};

struct SkipOfMany {
    const int* counts;
    const float* h;
    const float* c;
    Sums z;
    const float* weight;
    const float* skip;
    Parts parts;
    int rows;   // of tokens
    int pitch;  // from a token's z to the next one's
    float eps;
    Faults faults;
};

// A quad of each part's results on their way, of which the sum is wanted. Loads stand apart from sums, so that all of a thread's
// are under way at once.
struct QuadOfSums {
    float4 part[PARTS];

    __device__ __forceinline__ void ask(bool wanted, const float* at, long long apart) {
#pragma unroll
        for (int i = 0; i < PARTS; i++) {
            part[i] = none();
            if (wanted) {
                part[i] = load4(at + i * apart);
            }
        }
    }

    // Times the powers, for fp16: those of the weights first, so that what is between overflows for no token.
    __device__ __forceinline__ float4 sum(const float4& ofWeights, float ofToken) const {
        float4 a = part[0];
        if constexpr (PARTS == 2) {
            const float4 b = part[PARTS - 1];
            a.x = fmaf(b.x, LOW_PART, a.x);
            a.y = fmaf(b.y, LOW_PART, a.y);
            a.z = fmaf(b.z, LOW_PART, a.z);
            a.w = fmaf(b.w, LOW_PART, a.w);
        }
        if constexpr (FP16) {
            a.x = a.x * ofWeights.x * ofToken;
            a.y = a.y * ofWeights.y * ofToken;
            a.z = a.z * ofWeights.z * ofToken;
            a.w = a.w * ofWeights.w * ofToken;
        } else {
            const float4 b = part[PARTS - 2];
            const float4 c = part[PARTS - 1];
            a.x += b.x + c.x;
            a.y += b.y + c.y;
            a.z += b.z + c.z;
            a.w += b.w + c.w;
        }
        return a;
    }
};

__device__ __forceinline__ float4 powersOf(const Sums& sums, bool wanted, int column) {
    return FP16 && wanted ? load4(sums.ofWeight + column) : none();
}

__device__ __forceinline__ float powerOf(const Sums& sums, bool wanted, long long token) {
    return FP16 && wanted ? sums.ofToken[token] : 0.f;
}

// @param by the power of the row, for fp16
__device__ __forceinline__ void storeParts(float (&x)[4], float by, Part* at, long long apart) {
    uint2 parts[PARTS];
#if MANY_PARTS < 3
    inFp16(x, by, parts);
#else
    inBf16(x, parts);
#endif
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
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

// x times its sigmoid, to two units in the last place, and 0 below some -87.
__device__ __forceinline__ float siluOf(float x) {
#ifdef LRAM_EMULATED
    return x / (1.f + expf(-x));
#else
    return __fdividef(x, 1.f + expf(-x));
#endif
}

// A block of four on the diagonal, times each token's.
__device__ __forceinline__ void timesFour(const float4 (&w)[4], const float4 (&x)[STEPS], float4 (&y)[STEPS]) {
#pragma unroll
    for (int t = 0; t < STEPS; t++) {
        y[t].x = dot4(w[0], x[t], 0.f);
        y[t].y = dot4(w[1], x[t], 0.f);
        y[t].z = dot4(w[2], x[t], 0.f);
        y[t].w = dot4(w[3], x[t], 0.f);
    }
}

// A run's weights in shared memory, for all warps of a block: four quads a lane of the convolution and of each of q, k and v,
// then for each gate a quad a lane of what takes q, k and v.
struct WeightsOfRun {
    static constexpr int TENSORS = 4;
    static constexpr int GATE_QUADS = 3 * 2 * HEADS;  // of a lane
    static constexpr int TURNS = (GATE_QUADS + LRAM_WARPS - 1) / LRAM_WARPS;
    static constexpr int BATCH = TURNS < 6 ? TURNS : 6;
    static_assert(LRAM_THREADS == RUN, "a thread a channel");

    float4* quads;
    float4 channels[TENSORS];
    float4 gates[BATCH];

    // Where a quad of 4 * lane + i lies: lanes that read their i-th at once find them in different banks.
    __device__ __forceinline__ static int place(int quad) { return quad ^ (quad >> 3 & 3); }

    // By the whole block, as is `finish`, after which a barrier must follow.
    __device__ __forceinline__ void begin(const ConvOfMany& p) {
        const int own = RUN * static_cast<int>(blockIdx.x) + static_cast<int>(threadIdx.x);
        const float* const from[TENSORS] = {p.conv, p.wq, p.wk, p.wv};
#pragma unroll
        for (int i = 0; i < TENSORS; i++) {
            channels[i] = own < INNER ? load4(from[i] + 4 * own) : none();
        }
        ask(p, 0);
    }

    __device__ __forceinline__ void finish(const ConvOfMany& p) {
#pragma unroll
        for (int i = 0; i < TENSORS; i++) {
            quads[i * RUN + place(static_cast<int>(threadIdx.x))] = channels[i];
        }
        keep(0);
#pragma unroll 1
        for (int turn = BATCH; turn < TURNS; turn += BATCH) {
            ask(p, turn);
            keep(turn);
        }
    }

    __device__ __forceinline__ void ask(const ConvOfMany& p, int turn) {
        const int channel = RUN * static_cast<int>(blockIdx.x) + 4 * lane();
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int j = warp() + (turn + i) * LRAM_WARPS;
            gates[i] = none();
            if (j < GATE_QUADS && channel < INNER) {
                const long long at = static_cast<long long>(j % (GATE_QUADS / 2)) * INNER + channel;
                gates[i] = load4((j < GATE_QUADS / 2 ? p.wi : p.wf) + at);
            }
        }
    }

    __device__ __forceinline__ void keep(int turn) {
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int j = warp() + (turn + i) * LRAM_WARPS;
            if (j < GATE_QUADS) {
                quads[TENSORS * RUN + 32 * j + lane()] = gates[i];
            }
        }
    }

    // Of convolution, q, k or v.
    __device__ __forceinline__ void read(int tensor, float4 (&w)[4]) const {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w[i] = quads[tensor * RUN + place(4 * lane() + i)];
        }
    }

    __device__ __forceinline__ float4 ofGate(int gate, int part) const {
        return quads[TENSORS * RUN + 32 * (3 * gate + part) + lane()];
    }
};

// Warps of a token's head, so that a lane has two quads at most; in fp16 one, where a block, which has a token's heads, can have
// so many.
constexpr int HEAD_WARPS = FP16 ? least((DIM + RUN - 1) / RUN, 32 / HEADS) : (DIM <= 256 ? 1 : (DIM <= 512 ? 2 : 4));
constexpr int HEAD_LANES = 32 * HEAD_WARPS;
constexpr int SKIP_WARPS = FP16 ? HEADS * HEAD_WARPS : LRAM_WARPS;
constexpr int SKIP_THREADS = 32 * SKIP_WARPS;
constexpr int SKIP_LOADS = (DIM / 4 + HEAD_LANES - 1) / HEAD_LANES;
constexpr int SKIP_BLOCKS = FP16 && SKIP_LOADS == 1 ? least(1536 / SKIP_THREADS, 8) : 1;  // of a multiprocessor

// Over the warps of a head, for all of them. Each use has a number of its own.
template <int USE>
__device__ __forceinline__ float headSum(float x) {
    x = warpSum(x);
    if constexpr (HEAD_WARPS > 1) {
        __shared__ float sums[SKIP_WARPS];
        if (lane() == 0) {
            sums[warp()] = x;
        }
        __syncthreads();
        x = 0.f;
#pragma unroll
        for (int w = 0; w < HEAD_WARPS; w++) {
            x += sums[warp() / HEAD_WARPS * HEAD_WARPS + w];
        }
    }
    return x;
}

// Over a block of so many warps, for every thread; once in a kernel. NaN is not a maximum.
template <int WARPS>
__device__ __forceinline__ float largestOf(float x) {
    __shared__ float tops[WARPS];
    x = warpMax(x);
    if (lane() == 0) {
        tops[warp()] = x;
    }
    __syncthreads();
    x = tops[0];
#pragma unroll
    for (int w = 1; w < WARPS; w++) {
        x = fmaxf(x, tops[w]);
    }
    return x;
}

}  // namespace lram

using namespace lram;

// One block a token.
LRAM_KERNEL(many_norm, NormOfMany) {
    constexpr int LOADS = (WIDTH / 4 + LRAM_THREADS - 1) / LRAM_THREADS;
    const long long apart = static_cast<long long>(p.rows) * WIDTH;
    const long long from = static_cast<long long>(blockIdx.x) * WIDTH;
    float4 weight[LOADS];
    float4 powers[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
        weight[i] = p.weight != nullptr && j < WIDTH ? load4(p.weight + j) : none();
        powers[i] = powersOf(p.sums, p.sums.at != nullptr && j < WIDTH, j);
    }
    awaitBefore();
    if (faulted(p.faults)) {
        return;
    }
    const float power = powerOf(p.sums, p.sums.at != nullptr, blockIdx.x);
    float4 old[LOADS];
    QuadOfSums added[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
        old[i] = j < WIDTH ? load4(p.x + from + j) : none();
        added[i].ask(p.sums.at != nullptr && j < WIDTH, p.sums.at + from + j, apart);
    }
    float x[LOADS][4];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
        unpack(old[i], x[i]);
        addTimes(1.f, added[i].sum(powers[i], power), x[i]);
        sum += (x[i][0] + x[i][1]) + (x[i][2] + x[i][3]);
        if (p.sums.at != nullptr && j < WIDTH) {
            store(p.x + from + j, packFloats(x[i]));
        }
    }
    if (p.weight == nullptr) {
        return;
    }
    const float mean = MANY_CENTRED ? blockSum(sum) / static_cast<float>(WIDTH) : 0.f;
    const float one = MANY_RESIDUAL ? 1.f : 0.f;
    float squares = 0.f;
    float largest = 0.f;  // of what is multiplied by rstd
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = 4 * (static_cast<int>(threadIdx.x) + i * LRAM_THREADS);
        float w[4];
        unpack(weight[i], w);
#pragma unroll
        for (int e = 0; e < 4 && j < WIDTH; e++) {
            squares = fmaf(x[i][e] - mean, x[i][e] - mean, squares);
            if constexpr (FP16) {
                largest = fmaxf(largest, fabsf((x[i][e] - mean) * (one + w[e])));
            }
        }
    }
    const float rstd = 1.f / sqrtf(blockSum(squares) / static_cast<float>(WIDTH) + p.eps);
    if constexpr (FP16) {
        largest = largestOf<LRAM_WARPS>(largest);
    }
    const PowerOfRow own(largest * rstd);
    if (FP16 && threadIdx.x == 0) {
        p.parts.ofToken[blockIdx.x] = own.back;
    }
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
            storeParts(x[i], own.by, p.parts.at + from + j, apart);
        }
    }
}

// A warp a session and run of 128 channels, four a lane, which owns their history. Grid (RUNS, sessions / warps): a block's
// warps share the weights.
LRAM_KERNEL_OF(many_conv, ConvOfMany, LRAM_THREADS, 4) {
    LRAM_DYNAMIC_SHARED(float4, memory);
    letNextBegin();
    // Whose turn it is has been there since before the kernels of this step that may still run, and the history since an
    // earlier step. That slots and counts are right is not known before they have ended.
    const int row = static_cast<int>(blockIdx.y) * LRAM_WARPS + warp();
    const int count = row < p.rows ? p.counts[row] : 0;
    const int named = row < p.rows ? p.slots[row] : 0;
    WeightsOfRun weights;
    weights.quads = memory;
    weights.begin(p);
    const int n = min(max(count, 0), STEPS);
    const int slot = min(max(named, 0), p.pool - 1);
    const int channel = RUN * static_cast<int>(blockIdx.x) + 4 * lane();
    const int first = STEPS - n;  // the row's tokens begin there
    const bool mine = n > 0 && channel < INNER;
    float* const history = p.history + static_cast<long long>(slot) * PAST * INNER + channel;
    float4 u[PAST + STEPS];  // the past stands before the first token
#pragma unroll
    for (int j = 0; j < PAST + STEPS; j++) {
        u[j] = none();
        if (mine && j >= first && j < PAST + first) {
            u[j] = load4(history + (j - first) * INNER);
        }
    }
    const float4 bias = mine && p.bias != nullptr ? load4(p.bias + channel) : none();
    const float4 powers = powersOf(p.u, mine, channel);
    weights.finish(p);
    __syncthreads();
    awaitBefore();
    if (n == 0 || faulted(p.faults)) {
        return;
    }
    const long long apart = static_cast<long long>(p.rows) * STEPS * p.pitch;
    const float* sums = p.u.at + static_cast<long long>(row) * STEPS * p.pitch + channel;
    const long long from = static_cast<long long>(row) * STEPS * INNER + channel;
    QuadOfSums news[STEPS];
    float power[STEPS];
#pragma unroll
    for (int t = 0; t < STEPS; t++) {
        news[t].ask(mine && t >= first, sums + static_cast<long long>(t) * p.pitch, apart);
        power[t] = powerOf(p.u, mine && t >= first, static_cast<long long>(row) * STEPS + t);
    }
#pragma unroll
    for (int t = 0; t < STEPS; t++) {
        const float4 sum = news[t].sum(powers, power[t]);
        if (t >= first) {
            u[PAST + t] = sum;
        }
    }
    if (mine) {
#pragma unroll
        for (int j = 0; j < PAST; j++) {
            store(history + j * INNER, u[STEPS + j]);
        }
    }
    const auto storeTokens = [&](float* to, const float4 (&x)[STEPS]) {
#pragma unroll
        for (int t = 0; t < STEPS; t++) {
            if (mine && t >= first) {
                store(to + from + t * INNER, x[t]);
            }
        }
    };
    float4 w[4];
    float4 c[STEPS];
    weights.read(0, w);
#pragma unroll
    for (int t = 0; t < STEPS; t++) {
        float at[PAST + STEPS][4];
        float sum[4];
        unpack(bias, sum);
#pragma unroll
        for (int j = 0; j < TAPS; j++) {
            unpack(u[t + j], at[j]);
        }
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float taps[TAPS];
            unpack(w[e], taps);
#pragma unroll
            for (int j = 0; j < TAPS; j++) {
                sum[e] = fmaf(taps[j], at[j][e], sum[e]);
            }
            sum[e] = siluOf(sum[e]);
        }
        c[t] = packFloats(sum);
    }
    storeTokens(p.c, c);
    float4 q[STEPS];
    float4 k[STEPS];
    float4 v[STEPS];
    weights.read(1, w);
    timesFour(w, c, q);
    storeTokens(p.q, q);
    weights.read(2, w);
    timesFour(w, c, k);
    storeTokens(p.k, k);
    weights.read(3, w);
#pragma unroll
    for (int t = 0; t < STEPS; t++) {
        c[t] = u[PAST + t];
    }
    timesFour(w, c, v);
    storeTokens(p.v, v);
    float gates[ROUNDS][32];
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
#pragma unroll
        for (int j = 0; j < 32; j++) {
            gates[r][j] = 0.f;
        }
    }
#pragma unroll
    for (int g = 0; g < 2 * HEADS; g++) {
        const float4 ofQ = weights.ofGate(g, 0);
        const float4 ofK = weights.ofGate(g, 1);
        const float4 ofV = weights.ofGate(g, 2);
#pragma unroll
        for (int t = 0; t < STEPS; t++) {
            const int gate = t * 2 * HEADS + g;
            gates[gate / 32][gate % 32] = dot4(ofQ, q[t], dot4(ofK, k[t], dot4(ofV, v[t], 0.f)));
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

// HEAD_WARPS warps a token and head; in fp16 a block a token, whose power it finds.
LRAM_KERNEL_OF(many_skip, SkipOfMany, SKIP_THREADS, SKIP_BLOCKS) {
    constexpr int LOADS = SKIP_LOADS;
    const int unit = (static_cast<int>(blockIdx.x) * SKIP_WARPS + warp()) / HEAD_WARPS;
    const bool own = unit < p.rows * HEADS;
    const int token = unit / HEADS;
    const int column = unit % HEADS * DIM;
    const int at = 4 * (static_cast<int>(threadIdx.x) % HEAD_LANES);
    // Of tokens that nobody brought nobody wrote h and c.
    const bool brought = own && token % STEPS >= STEPS - p.counts[token / STEPS];
    float4 weight[LOADS];
    float4 skip[LOADS];
    float4 powers[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = at + 4 * HEAD_LANES * i;
        weight[i] = j < DIM ? load4(p.weight + column + j) : none();
        skip[i] = j < DIM ? load4(p.skip + column + j) : none();
        powers[i] = powersOf(p.z, brought && j < DIM, column + j);
    }
    awaitBefore();
    if (faulted(p.faults)) {
        return;
    }
    const long long apart = static_cast<long long>(p.rows) * INNER;
    const long long from = static_cast<long long>(unit) * DIM;
    const float* sums = p.z.at + static_cast<long long>(token) * p.pitch + column;
    const float power = powerOf(p.z, brought, token);
    float4 answer[LOADS];
    float4 c[LOADS];
    QuadOfSums z[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = at + 4 * HEAD_LANES * i;
        const bool wanted = brought && j < DIM;
        answer[i] = wanted ? load4(p.h + from + j) : none();
        c[i] = wanted ? load4(p.c + from + j) : none();
        z[i].ask(wanted, sums + j, static_cast<long long>(p.rows) * p.pitch);
    }
    float h[LOADS][4];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        unpack(answer[i], h[i]);
        sum += (h[i][0] + h[i][1]) + (h[i][2] + h[i][3]);
    }
    const float mean = MANY_HEAD_CENTRED ? headSum<0>(sum) / static_cast<float>(DIM) : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
        for (int e = 0; e < 4 && at + 4 * HEAD_LANES * i < DIM; e++) {
            squares = fmaf(h[i][e] - mean, h[i][e] - mean, squares);
        }
    }
    const float rstd = 1.f / sqrtf(headSum<1>(squares) / static_cast<float>(DIM) + p.eps);
    const float one = MANY_HEAD_RESIDUAL ? 1.f : 0.f;
    float largest = 0.f;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        float ofWeight[4];
        float ofSkip[4];
        float ofC[4];
        float ofZ[4];
        unpack(weight[i], ofWeight);
        unpack(skip[i], ofSkip);
        unpack(c[i], ofC);
        unpack(z[i].sum(powers[i], power), ofZ);
#pragma unroll
        for (int e = 0; e < 4 && at + 4 * HEAD_LANES * i < DIM; e++) {
            const float normed = (h[i][e] - mean) * rstd * (one + ofWeight[e]);
            h[i][e] = fmaf(ofSkip[e], ofC[e], normed) * siluOf(ofZ[e]);
            if constexpr (FP16) {
                largest = fmaxf(largest, fabsf(h[i][e]));
            }
        }
    }
    if constexpr (FP16) {
        largest = largestOf<SKIP_WARPS>(largest);
    }
    const PowerOfRow ofToken(largest);
    if (FP16 && threadIdx.x == 0) {
        p.parts.ofToken[token] = ofToken.back;
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int j = at + 4 * HEAD_LANES * i;
        if (own && j < DIM) {
            storeParts(h[i], ofToken.by, p.parts.at + from + j, apart);
        }
    }
}
