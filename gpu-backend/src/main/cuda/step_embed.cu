// The tokens of a control step from what the host wrote: a linear layer for each token, and one norm.
//
// Contract: ai.lram.backend.ops.SessionOps.embed. A token whose vector is short is one block's. The others are split over
// blocks by channels; the block that ends last has the norm, so nothing waits and the same inputs give the same bits. The
// input is read across the bus by every block that needs it, once, while the block's weights are on their way; slots and
// counts go to device memory beside it.
//
// Bytes: the weights once a row, from the second-level cache.
//
// Compile:  as elementwise.cu, with the sizes that StepEnds.java defines.
#ifndef EMBED_WIDTH  // the sizes of a small model, for a look at the machine code
#define LRAM_THREADS 512
#define EMBED_WIDTH 512
#define EMBED_TOKENS 3
#define EMBED_INPUT_0 1
#define EMBED_INPUT_1 204
#define EMBED_INPUT_2 1
#define EMBED_INPUT_3 0
#define EMBED_LANES 16
#define EMBED_CENTRED 1
#define EMBED_RESIDUAL 0
#endif
#include "step_fetch.cuh"

namespace lram {

constexpr int D = EMBED_WIDTH;
constexpr int TOKENS = EMBED_TOKENS;
constexpr int LANES = EMBED_LANES;               // that share a channel
constexpr int CHANNELS = LRAM_THREADS / LANES;   // of a block, where a token is split
constexpr int OWN = (D + LRAM_THREADS - 1) / LRAM_THREADS;  // channels of a thread, where it is not
constexpr int SHORT = 4;                         // a vector that one block takes

__host__ __device__ constexpr int inputs(int token) {
    return token == 0 ? EMBED_INPUT_0 : token == 1 ? EMBED_INPUT_1 : token == 2 ? EMBED_INPUT_2 : EMBED_INPUT_3;
}

__host__ __device__ constexpr int pieces(int token) { return inputs(token) <= SHORT ? 1 : (D + CHANNELS - 1) / CHANNELS; }

struct EmbedToken {
    const float* input;   // (B, K), the host's
    const float* weight;  // (D, K)
    const float* bias;
};

struct StepEmbed {
    EmbedToken token[TOKENS];
    const float* normWeight;
    const float* normBias;  // may be null
    float* x;               // (B, TOKENS, D)
    float* encoded;         // likewise, before the norm
    const int* slots;       // (B), the host's
    const int* counts;
    int* slotsTo;  // null where they stay
    int* countsTo;
    unsigned* arrived;  // blocks of a token that have ended, (B, TOKENS): zero between launches
    float eps;
};

// Of a thread.
__device__ __forceinline__ int channel(int i) { return static_cast<int>(threadIdx.x) + i * LRAM_THREADS; }

// The norm's weights of a thread's channels: asked for long before they are needed.
struct Affine {
    float weight[OWN];
    float bias[OWN];

    __device__ __forceinline__ void begin(const StepEmbed& p) {
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            weight[i] = channel(i) < D ? p.normWeight[channel(i)] : 0.f;
            bias[i] = channel(i) < D && p.normBias != nullptr ? p.normBias[channel(i)] : 0.f;
        }
    }

    // Of one token, by a whole block; channels beyond D hold zero.
    __device__ __forceinline__ void norm(const float* value, float eps, float* to) const {
        float mean = 0.f;
        if (EMBED_CENTRED) {
            float sum = 0.f;
#pragma unroll
            for (int i = 0; i < OWN; i++) {
                sum += value[i];
            }
            mean = blockSum(sum) / D;
        }
        float squares = 0.f;
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            const float d = channel(i) < D ? value[i] - mean : 0.f;
            squares = fmaf(d, d, squares);
        }
        const float rstd = 1.f / sqrtf(blockSum(squares) / D + eps);
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            if (channel(i) < D) {
                to[channel(i)] =
                        fmaf((value[i] - mean) * rstd, EMBED_RESIDUAL ? 1.f + weight[i] : weight[i], bias[i]);
            }
        }
    }
};

template <int K>
__device__ __forceinline__ void shortToken(const StepEmbed& p, const EmbedToken& t, int row, float* to) {
    __shared__ float vector[SHORT];
    const int at = static_cast<int>(threadIdx.x);
    const float mine = at < K ? t.input[row * K + at] : 0.f;
    float weight[OWN][K];
    float value[OWN];
    Affine affine;
    affine.begin(p);
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        value[i] = channel(i) < D ? t.bias[channel(i)] : 0.f;
#pragma unroll
        for (int k = 0; k < K; k++) {
            weight[i][k] = channel(i) < D ? t.weight[channel(i) * K + k] : 0.f;
        }
    }
    if (at < K) {  // not before the weights are asked for: it waits for the host's memory
        vector[at] = mine;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < OWN; i++) {
#pragma unroll
        for (int k = 0; k < K; k++) {
            value[i] = fmaf(weight[i][k], vector[k], value[i]);
        }
    }
    affine.norm(value, p.eps, to);
}

template <int VEC>
struct Weights;

template <>
struct Weights<1> {
    float x;
    __device__ __forceinline__ void load(const float* w) { x = *w; }
    __device__ __forceinline__ void clear() { x = 0.f; }
    __device__ __forceinline__ float times(const float* v, float sum) const { return fmaf(x, *v, sum); }
};

template <>
struct Weights<4> {
    float4 x;
    __device__ __forceinline__ void load(const float* w) { x = *reinterpret_cast<const float4*>(w); }
    __device__ __forceinline__ void clear() { x.x = x.y = x.z = x.w = 0.f; }
    __device__ __forceinline__ float times(const float* v, float sum) const {
        const float4 y = *reinterpret_cast<const float4*>(v);
        return fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, sum))));
    }
};

template <int K>
__device__ __forceinline__ void longToken(const StepEmbed& p, const EmbedToken& t, int row, int unit, int piece,
                                          int all, float* encoded, float* to) {
    constexpr int VEC = K % 4 == 0 ? 4 : 1;
    constexpr int N = (K / VEC + LANES - 1) / LANES;  // of a lane
    constexpr int FIRST = N < 32 / VEC ? N : 32 / VEC;  // of these on their way at once
    constexpr int SHARE = (K + LRAM_THREADS - 1) / LRAM_THREADS;
    __shared__ float4 vectors[(K + 3) / 4];
    __shared__ bool last;
    float* const vector = reinterpret_cast<float*>(vectors);
    float mine[SHARE];
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        mine[i] = channel(i) < K ? t.input[row * K + channel(i)] : 0.f;
    }
    const int at = static_cast<int>(threadIdx.x) % LANES;
    const int c = piece * CHANNELS + static_cast<int>(threadIdx.x) / LANES;
    const float* w = t.weight + c * K;
    Weights<VEC> ahead[FIRST];
#pragma unroll
    for (int i = 0; i < FIRST; i++) {
        const int j = at + i * LANES;
        if (c < D && j < K / VEC) {
            ahead[i].load(w + j * VEC);
        } else {
            ahead[i].clear();
        }
    }
    const float bias = c < D ? t.bias[c] : 0.f;
    Affine affine;
    affine.begin(p);
#pragma unroll
    for (int i = 0; i < SHARE; i++) {  // not before the weights are asked for: it waits for the host's memory
        if (channel(i) < K) {
            vector[channel(i)] = mine[i];
        }
    }
    __syncthreads();
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < FIRST; i++) {
        const int j = at + i * LANES;
        sum = ahead[i].times(vector + (j < K / VEC ? j * VEC : 0), sum);
    }
    if (c < D) {
        for (int j = at + FIRST * LANES; j < K / VEC; j += LANES) {
            Weights<VEC> more;
            more.load(w + j * VEC);
            sum = more.times(vector + j * VEC, sum);
        }
    }
#pragma unroll
    for (int d = LANES / 2; d > 0; d /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, d);
    }
    if (at == 0 && c < D) {
        encoded[c] = sum + bias;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        last = arrive(p.arrived + unit) == static_cast<unsigned>(all - 1);
        if (last) {
            p.arrived[unit] = 0;
        }
    }
    __syncthreads();
    if (last) {
        float value[OWN];
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            value[i] = channel(i) < D ? encoded[channel(i)] : 0.f;
        }
        affine.norm(value, p.eps, to);
    }
}

// The block's token and which part of it.
template <int T>
__device__ __forceinline__ void embedToken(const StepEmbed& p, int row, int piece) {
    if (T + 1 == TOKENS || piece < pieces(T)) {
        const int unit = row * TOKENS + T;
        if constexpr (inputs(T) <= SHORT) {
            shortToken<inputs(T)>(p, p.token[T], row, p.x + unit * D);
        } else {
            longToken<inputs(T)>(p, p.token[T], row, unit, piece, pieces(T), p.encoded + unit * D, p.x + unit * D);
        }
    } else if constexpr (T + 1 < TOKENS) {
        embedToken<T + 1>(p, row, piece - pieces(T));
    }
}

}  // namespace lram

using namespace lram;

// Grid (pieces of all tokens, rows).
LRAM_KERNEL(step_embed, StepEmbed) {
    const int row = static_cast<int>(blockIdx.y);
    letNextBegin();
    const bool copies = blockIdx.x == 0 && p.slotsTo != nullptr && threadIdx.x == LRAM_THREADS - 1;
    const int slot = copies ? p.slots[row] : 0;
    const int count = copies ? p.counts[row] : 0;
    embedToken<0>(p, row, static_cast<int>(blockIdx.x));
    if (copies) {
        p.slotsTo[row] = slot;
        p.countsTo[row] = count;
    }
}
