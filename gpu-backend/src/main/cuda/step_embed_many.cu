// The tokens of a control step of many rows, from what the host wrote: a linear layer for each token, and one norm.
//
// Contract: ai.lram.backend.ops.SessionOps.embed. A block has one token of four rows, with all of its channels, so that the
// input crosses the bus once and the norm follows without another block. Each block asks the second-level cache for a share
// of the weights before it waits for the input. Eight lanes share a channel, four channels at once, for four rows.
//
// Bytes: the weights once for four rows, from the second-level cache.
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
#define EMBED_ROWS 4
#define EMBED_CENTRED 1
#define EMBED_RESIDUAL 0
#endif
#include "step_common.cuh"
#include "step_fetch.cuh"

namespace lram {

constexpr int D = EMBED_WIDTH;
constexpr int ALL = EMBED_TOKENS;  // of a row
constexpr int ROWS = EMBED_ROWS;   // of a block
constexpr int LANES = 8;           // that share a channel
constexpr int TOGETHER = 4;        // channels of such lanes
constexpr int AHEAD = 2;           // weights of a channel on their way to a lane
constexpr int UNITS = LRAM_THREADS / LANES;
constexpr int ROW = LRAM_THREADS / ROWS;    // threads that norm a row
constexpr int OWN = (D + ROW - 1) / ROW;    // channels of such a thread
constexpr int SHORT = 4;                    // a vector whose layer needs no sums over lanes

__host__ __device__ constexpr int inputs(int token) {
    return token == 0 ? EMBED_INPUT_0 : token == 1 ? EMBED_INPUT_1 : token == 2 ? EMBED_INPUT_2 : EMBED_INPUT_3;
}

// Blocks of the token with the longest vector come first.
__host__ __device__ constexpr int longest() {
    int most = 0;
    for (int t = 1; t < ALL; t++) {
        most = inputs(t) > inputs(most) ? t : most;
    }
    return most;
}

// Turns of a lane over a long vector, and the floats they take with what is added to come out even.
__host__ __device__ constexpr int together(int k) { return k % 4 == 0 ? 4 : 1; }

__host__ __device__ constexpr int turns(int k) {
    return (k / together(k) + LANES * AHEAD - 1) / (LANES * AHEAD) * AHEAD;
}

__host__ __device__ constexpr int padded(int k) { return k <= SHORT ? 0 : turns(k) * LANES * together(k); }

__host__ __device__ constexpr int mostPadded() {
    int most = 4;
    for (int t = 0; t < ALL; t++) {
        most = padded(inputs(t)) > most ? padded(inputs(t)) : most;
    }
    return most;
}

// Of a block, for the token it has.
struct Memory {
    float4 vectors[ROWS * mostPadded() / 4];
    float values[ROWS][D];
};

struct EmbedToken {
    const float* input;   // (B, K), the host's
    const float* weight;  // (D, K)
    const float* bias;
};

struct StepEmbedMany {
    EmbedToken token[ALL];
    const float* normWeight;
    const float* normBias;  // may be null
    float* x;               // (B, ALL, D)
    const int* slots;       // (B), the host's
    const int* counts;
    int* slotsTo;  // null where they stay
    int* countsTo;
    int rows;
    float eps;
};

// Of a thread in the norm: channel i of its row.
__device__ __forceinline__ int channel(int i) { return static_cast<int>(threadIdx.x) % ROW + i * ROW; }

__device__ __forceinline__ int ownRow() { return static_cast<int>(threadIdx.x) / ROW; }

// Over the threads of a row, for all of them. Starts with a barrier, so that it may follow itself.
__device__ __forceinline__ float rowSum(float x) {
    __shared__ float parts[LRAM_WARPS];
    x = warpSum(x);
    __syncthreads();
    if (lane() == 0) {
        parts[warp()] = x;
    }
    __syncthreads();
    float sum = 0.f;
#pragma unroll
    for (int w = 0; w < ROW / 32; w++) {
        sum += parts[ownRow() * (ROW / 32) + w];
    }
    return sum;
}

// The norm's weights of a thread's channels: asked for long before they are needed.
struct Affine {
    float weight[OWN];
    float bias[OWN];

    __device__ __forceinline__ void begin(const StepEmbedMany& p) {
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            weight[i] = channel(i) < D ? p.normWeight[channel(i)] : 0.f;
            bias[i] = channel(i) < D && p.normBias != nullptr ? p.normBias[channel(i)] : 0.f;
        }
    }

    // Of each row, by its threads; channels beyond D hold zero.
    __device__ __forceinline__ void norm(const float* value, float eps, float* to, bool writes) const {
        float mean = 0.f;
        if (EMBED_CENTRED) {
            float sum = 0.f;
#pragma unroll
            for (int i = 0; i < OWN; i++) {
                sum += value[i];
            }
            mean = rowSum(sum) / D;
        }
        float squares = 0.f;
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            const float d = channel(i) < D ? value[i] - mean : 0.f;
            squares = fmaf(d, d, squares);
        }
        const float rstd = 1.f / sqrtf(rowSum(squares) / D + eps);
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            if (writes && channel(i) < D) {
                to[channel(i)] =
                        fmaf((value[i] - mean) * rstd, EMBED_RESIDUAL ? 1.f + weight[i] : weight[i], bias[i]);
            }
        }
    }
};

template <int K>
__device__ __forceinline__ void shortToken(const StepEmbedMany& p, const EmbedToken& t, int first, int rows, Memory& memory,
                                           float* to) {
    const int at = static_cast<int>(threadIdx.x);
    const float mine = at < rows * K ? t.input[first * K + at] : 0.f;
    float* const vectors = reinterpret_cast<float*>(memory.vectors);
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
    if (at < ROWS * K) {  // not before the weights are asked for: it waits for the host's memory
        vectors[at] = mine;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < OWN; i++) {
#pragma unroll
        for (int k = 0; k < K; k++) {
            value[i] = fmaf(weight[i][k], vectors[ownRow() * K + k], value[i]);
        }
    }
    affine.norm(value, p.eps, to, ownRow() < rows);
}

// Weights and inputs, as many as are read at once.
template <int VEC>
struct Some;

template <>
struct Some<1> {
    using Type = float;
    static __device__ __forceinline__ float zero() { return 0.f; }
    static __device__ __forceinline__ float dot(float a, float b, float sum) { return fmaf(a, b, sum); }
};

template <>
struct Some<4> {
    using Type = float4;
    static __device__ __forceinline__ float4 zero() { return none(); }
    static __device__ __forceinline__ float dot(const float4& a, const float4& b, float sum) { return dot4(a, b, sum); }
};

template <int K>
struct LongToken {
    static constexpr int VEC = together(K);
    using Vector = Some<VEC>;
    using Type = typename Vector::Type;
    static constexpr int COUNT = K / VEC;
    static constexpr int TURNS = turns(K);
    static constexpr int PADDED = padded(K);
    static constexpr int REST = PADDED - K;

    // What turn i of the channels from `from` on reads; beyond the last turn, the first ones of the next channels.
    static __device__ __forceinline__ void load(const EmbedToken& t, int from, int i, Type (&w)[TOGETHER]) {
        const int c = from + (i < TURNS ? 0 : UNITS * TOGETHER) + static_cast<int>(threadIdx.x) / LANES;
        const int j = (i < TURNS ? i : i - TURNS) * LANES + static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            w[k] = Vector::zero();
            if (c + k * UNITS < D && j < COUNT) {
                w[k] = reinterpret_cast<const Type*>(t.weight)[(c + k * UNITS) * COUNT + j];
            }
        }
    }

    static __device__ __forceinline__ void run(const StepEmbedMany& p, const EmbedToken& t, int first, int rows,
                                               Memory& memory, float* to) {
        constexpr int LOADS = (ROWS * K + LRAM_THREADS - 1) / LRAM_THREADS;
        const int thread = static_cast<int>(threadIdx.x);
        float mine[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const int at = thread + i * LRAM_THREADS;
            mine[i] = at < rows * K ? t.input[first * K + at] : 0.f;
        }
        const char* const weights = reinterpret_cast<const char*>(t.weight);
        for (int line = static_cast<int>(blockIdx.x) * LRAM_THREADS + thread; line < D * K / 32;
             line += static_cast<int>(gridDim.x) * LRAM_THREADS) {
            fetchLine(weights + 128LL * line);
        }
        Type w[AHEAD][TOGETHER];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            load(t, 0, i, w[i]);
        }
        float* const vectors = reinterpret_cast<float*>(memory.vectors);
        if constexpr (REST > 0) {
            for (int at = thread; at < ROWS * REST; at += LRAM_THREADS) {
                vectors[at / REST * PADDED + K + at % REST] = 0.f;
            }
        }
#pragma unroll
        for (int i = 0; i < LOADS; i++) {  // not before weights are asked for: it waits for the host's memory
            const int at = thread + i * LRAM_THREADS;
            if (at < ROWS * K) {
                vectors[at / K * PADDED + at % K] = mine[i];
            }
        }
        __syncthreads();
        const Type* const x = reinterpret_cast<const Type*>(memory.vectors) + thread % LANES;
        for (int from = 0; from < D; from += UNITS * TOGETHER) {
            float sum[TOGETHER][ROWS];
#pragma unroll
            for (int k = 0; k < TOGETHER; k++) {
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    sum[k][r] = 0.f;
                }
            }
#pragma unroll 4
            for (int i = 0; i < TURNS; i += AHEAD) {
#pragma unroll
                for (int a = 0; a < AHEAD; a++) {
#pragma unroll
                    for (int r = 0; r < ROWS; r++) {
                        const Type of = x[r * (PADDED / VEC) + (i + a) * LANES];
#pragma unroll
                        for (int k = 0; k < TOGETHER; k++) {
                            sum[k][r] = Vector::dot(w[a][k], of, sum[k][r]);
                        }
                    }
                    load(t, from, i + a + AHEAD, w[a]);
                }
            }
#pragma unroll
            for (int k = 0; k < TOGETHER; k++) {
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    sum[k][r] = groupSum<LANES>(sum[k][r]);
                }
                const int c = from + k * UNITS + thread / LANES;
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    if (c < D && thread % LANES == r) {
                        memory.values[r][c] = sum[k][r] + t.bias[c];
                    }
                }
            }
        }
        Affine affine;
        affine.begin(p);
        __syncthreads();
        float value[OWN];
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            value[i] = channel(i) < D ? memory.values[ownRow()][channel(i)] : 0.f;
        }
        affine.norm(value, p.eps, to, ownRow() < rows);
    }
};

template <int T>
__device__ __forceinline__ void embedToken(const StepEmbedMany& p, int token, int first, int rows, Memory& memory) {
    if (T + 1 == ALL || token == T) {
        float* const to = p.x + (static_cast<long long>(first + ownRow()) * ALL + T) * D;
        if constexpr (inputs(T) <= SHORT) {
            shortToken<inputs(T)>(p, p.token[T], first, rows, memory, to);
        } else {
            LongToken<inputs(T)>::run(p, p.token[T], first, rows, memory, to);
        }
    } else if constexpr (T + 1 < ALL) {
        embedToken<T + 1>(p, token, first, rows, memory);
    }
}

}  // namespace lram

using namespace lram;

// Grid (groups of rows, tokens).
LRAM_KERNEL(step_embed_many, StepEmbedMany) {
    __shared__ Memory memory;
    const int first = static_cast<int>(blockIdx.x) * ROWS;
    const int rows = min(ROWS, p.rows - first);
    const int own = static_cast<int>(threadIdx.x);
    const bool copies = blockIdx.y == 0 && p.slotsTo != nullptr && own < rows;
    const int slot = copies ? p.slots[first + own] : 0;
    const int count = copies ? p.counts[first + own] : 0;
    embedToken<0>(p, (static_cast<int>(blockIdx.y) + longest()) % ALL, first, rows, memory);
    if (copies) {
        p.slotsTo[first + own] = slot;
        p.countsTo[first + own] = count;
    }
}
