// The products of a transformer block of the control step, with what stands around them: norms before, bias, GELU and
// residual behind.
//
// Contract: ai.lram.backend.ops.AttentionOps.transformerBlocks for the few tokens of up to twelve tokens (four sessions of three). Each kernel reads its
// weights once, a warp R rows or, where few rows are long, a share of each. They are on their way before anything else is
// done. The norm's token rows are normed in every block, by a warp each, and lie in shared memory; other rows go from the
// cache to the lanes that need them. Lanes, then warps, are added in order: the same inputs give the same bits.
//   block_qkv   q, k, v of the normed x
//   block_out   x += the attention's output layer; counts the cache's new tokens
//   block_up    GELU of the first layer of the normed x
//   block_down  x += the second layer
//
// Bytes: the weights once, 12 D^2 elements a block of layers of 4 D. At the end each kernel asks for what follows.
//
// Compile:  as elementwise.cu, with the sizes that TransformerSteps.java defines.
#ifndef BLOCK_WIDTH  // the sizes of a small model, for a look at the machine code
#define BLOCK_WIDTH 512
#define BLOCK_INNER 2048
#define BLOCK_ROWS 3
#define BLOCK_TYPE 1
#define BLOCK_CENTRED 1
#define BLOCK_RESIDUAL 0
#endif
#include "step_common.cuh"
#include "step_fetch.cuh"

namespace lram {

constexpr int D = BLOCK_WIDTH;
constexpr int INNER = BLOCK_INNER;
constexpr int M = BLOCK_ROWS;  // tokens of all sessions
constexpr int CHUNK = 256;     // elements of a row that a warp reads at once, 8 a lane
constexpr int RESIDENT = BLOCK_TYPE == 0 || M > 8 ? 1 : 2;  // blocks of a multiprocessor: without the number loads are not asked for at once

#if BLOCK_TYPE == 0
using Weight = float;
struct Octet {
    float4 half[2];
};
#elif BLOCK_TYPE == 1
using Weight = Bf16;
struct Octet {
    uint2 half[2];
};
#else
using Weight = signed char;
struct Octet {
    unsigned half[2];
};
#endif

struct alignas(sizeof(Octet) < 16 ? sizeof(Octet) : 16) Eight {
    Octet of;
};

__host__ __device__ constexpr int chunks(int k) { return (k + CHUNK - 1) / CHUNK; }

__host__ __device__ constexpr int padded(int n) { return n <= 1 ? 1 : 2 * padded((n + 1) / 2); }

struct BlockProduct {
    const float* x;           // (M, K)
    const float* normWeight;  // of the kernels with a norm
    const float* normBias;    // may be null
    const Weight* weight[3];  // (N, K); q, k and v have one each
    const float* scale[3];    // int8 alone
    const float* bias[3];     // may be null
    float* y[3];              // (M, N)
    Fetched next;
    float eps;
};

struct BlockOut {
    BlockProduct product;
    const int* slots;
    const int* counts;
    int* length;
    int rows;
    int capacity;
    Faults faults;
};

// Normed rows in shared memory: of a chunk's eight columns a lane, the first fours of all lanes, then the second.
struct Normed {
    const float4* rows;

    __device__ __forceinline__ static int place(int quad) { return quad / 64 * 64 + quad % 2 * 32 + quad % 64 / 2; }

    __device__ __forceinline__ void read(int m, int chunk, float4 (&x)[2]) const {
        const float4* at = rows + (m * chunks(D) + chunk) * 64 + lane();
        x[0] = at[0];
        x[1] = at[32];
    }
};

// Rows in device memory.
template <int K>
struct Plain {
    const float* x;

    __device__ __forceinline__ void read(int m, int chunk, float4 (&to)[2]) const {
        const float* at = x + m * K + chunk * CHUNK + 8 * lane();
        to[0] = load4(at);
        to[1] = load4(at + 4);
    }
};

constexpr int SPAN = (D / 4 + 31) / 32;  // quads of a lane
constexpr bool EARLY = SPAN <= 5;        // registers for the norm's weights while x is waited for

// A lane's.
struct NormWeights {
    float4 weight[EARLY ? SPAN : 1];
    float4 bias[EARLY ? SPAN : 1];

    __device__ __forceinline__ void begin(const BlockProduct& p) {
#pragma unroll
        for (int i = 0; EARLY && i < SPAN; i++) {
            const int quad = lane() + 32 * i;
            if (quad < D / 4) {
                weight[i] = load4(p.normWeight + 4 * quad);
                bias[i] = p.normBias != nullptr ? load4(p.normBias + 4 * quad) : none();
            }
        }
    }
};

// One row, by a warp.
__device__ __forceinline__ void normRow(const BlockProduct& p, int m, const NormWeights& weights, float4* rows) {
    float4 value[SPAN];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int quad = lane() + 32 * i;
        value[i] = quad < D / 4 ? load4(p.x + m * D + 4 * quad) : none();
        sum += (value[i].x + value[i].y) + (value[i].z + value[i].w);
    }
    const float mean = BLOCK_CENTRED ? warpSum(sum) / D : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        if (lane() + 32 * i < D / 4) {
            value[i].x -= mean;
            value[i].y -= mean;
            value[i].z -= mean;
            value[i].w -= mean;
            squares = dot4(value[i], value[i], squares);
        }
    }
    const float rstd = 1.f / sqrtf(warpSum(squares) / D + p.eps);
    const float one = BLOCK_RESIDUAL ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int quad = lane() + 32 * i;
        if (quad < D / 4) {
            const float4 w = EARLY ? weights.weight[EARLY ? i : 0] : load4(p.normWeight + 4 * quad);
            float4 y = EARLY ? weights.bias[EARLY ? i : 0] : p.normBias == nullptr ? none() : load4(p.normBias + 4 * quad);
            y.x = fmaf(value[i].x * rstd, one + w.x, y.x);
            y.y = fmaf(value[i].y * rstd, one + w.y, y.y);
            y.z = fmaf(value[i].z * rstd, one + w.z, y.z);
            y.w = fmaf(value[i].w * rstd, one + w.w, y.w);
            rows[m * chunks(D) * 64 + Normed::place(quad)] = y;
        }
    }
}

// A warp's R rows of a weight (N, K), or of these every SHARES-th chunk.
template <int N, int K, int R, int SHARES>
struct Rows {
    static constexpr int OWN = (chunks(K) + SHARES - 1) / SHARES;
    static constexpr int TILE = LRAM_WARPS / SHARES * R;  // rows of a block
    static constexpr int ALL = padded(R * M);
    static constexpr int DEEP = M <= 4 ? 2 : 1;  // chunks of the tokens on their way
    static_assert(ALL <= 32 && TILE * M <= LRAM_THREADS);

    Eight ahead[R][OWN];

    __device__ __forceinline__ static int chunk(int i) { return warp() % SHARES + i * SHARES; }

    __device__ __forceinline__ static bool inside(int i) {
        return (OWN * SHARES == chunks(K) || chunk(i) < chunks(K)) && (K % CHUNK == 0 || chunk(i) * CHUNK + 8 * lane() < K);
    }

    // `row` gives where one begins.
    template <typename Row>
    __device__ __forceinline__ void begin(const Row& row) {
        const int n = static_cast<int>(blockIdx.x) * TILE + warp() / SHARES * R;
#pragma unroll
        for (int r = 0; r < R; r++) {
            const Weight* w = row(min(n + r, N - 1));
#pragma unroll
            for (int i = 0; i < OWN; i++) {
                if (inside(i)) {
                    ahead[r][i] = *reinterpret_cast<const Eight*>(w + chunk(i) * CHUNK + 8 * lane());
                }
            }
        }
    }

    template <typename Source>
    __device__ __forceinline__ static void read(const Source& source, int i, float4 (&x)[M][2]) {
#pragma unroll
        for (int m = 0; m < M; m++) {
            x[m][0] = x[m][1] = none();
            if (inside(i)) {
                source.read(m, chunk(i), x[m]);
            }
        }
    }

    // Of row i / M and token i % M for lane i % ALL.
    template <typename Source>
    __device__ __forceinline__ float finish(const Source& source) const {
        float sum[ALL];
#pragma unroll
        for (int j = 0; j < ALL; j++) {
            sum[j] = 0.f;
        }
        float4 x[DEEP][M][2];
#pragma unroll
        for (int i = 0; i < DEEP && i < OWN; i++) {
            read(source, i, x[i]);
        }
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            if (inside(i)) {
                float4 w[R][2];
#pragma unroll
                for (int r = 0; r < R; r++) {
                    w[r][0] = widened(ahead[r][i].of.half[0]);
                    w[r][1] = widened(ahead[r][i].of.half[1]);
                }
#pragma unroll
                for (int m = 0; m < M; m++) {
                    const float4(&of)[2] = x[i % DEEP][m];
#pragma unroll
                    for (int r = 0; r < R; r++) {
                        sum[r * M + m] = dot4(w[r][1], of[1], dot4(w[r][0], of[0], sum[r * M + m]));
                    }
                }
            }
            if (i + DEEP < OWN) {
                read(source, i + DEEP, x[i % DEEP]);
            }
        }
        return sumsOf<ALL>(sum);
    }

    // Adds a row's shares. `answer` takes a token, a row and the sum; each thread has one at most.
    template <typename Answer>
    __device__ __forceinline__ static void finish(float sum, bool mine, int m, int n, const Answer& answer) {
        __shared__ float sums[LRAM_WARPS][R * M];
        if (lane() < R * M) {
            sums[warp()][lane()] = sum;
        }
        __syncthreads();
        if (mine) {
            const int row = n % TILE;
            float total = 0.f;
#pragma unroll
            for (int s = 0; s < SHARES; s++) {
                total += sums[row / R * SHARES + s][row % R * M + m];
            }
            answer(total);
        }
    }
};

// Many rows of few columns, and the other way round.
constexpr int wideRows(int n) { return n > 2048 && M <= 8 ? 2 : 1; }
template <int N>
using OfNormed = Rows<N, D, wideRows(N), 1>;
template <int K>
using OfPlain = Rows<D, K, chunks(K) >= 4 && M <= 8 ? 2 : 1, chunks(K) >= 4 ? 4 : chunks(K) >= 2 ? 2 : 1>;

// y (M, N) for N / PARTS rows of each of PARTS weights. The normal distribution is fp32's here: its error is small beside the
// largest value of a row, not beside each.
template <int N, int PARTS, bool GELU>
__device__ __forceinline__ void ofNormed(const BlockProduct& p) {
    using Of = OfNormed<N>;
    LRAM_DYNAMIC_SHARED(float4, normed);
    constexpr int EACH = N / PARTS;
    Of rows = {};
    rows.begin([&](int n) { return p.weight[n / EACH] + n % EACH * D; });
    letNextBegin();
    const int thread = static_cast<int>(threadIdx.x);
    const int m = thread / Of::TILE;
    const int n = static_cast<int>(blockIdx.x) * Of::TILE + thread % Of::TILE;
    const bool mine = m < M && n < N;
    const int part = mine ? n / EACH : 0;
    const float bias = mine && p.bias[part] != nullptr ? p.bias[part][n % EACH] : 0.f;
    const float scale = mine && p.scale[part] != nullptr ? p.scale[part][n % EACH] : 1.f;
    NormWeights weights = {};
    weights.begin(p);
    awaitBefore();
    for (int row = warp(); row < M; row += LRAM_WARPS) {
        normRow(p, row, weights, normed);
    }
    __syncthreads();
    const float sum = rows.finish(Normed{normed});
    p.next.fetch();
    Of::finish(sum, mine, m, n, [&](float total) {
        const float y = fmaf(total, scale, bias);
        p.y[part][m * EACH + n % EACH] = GELU ? 0.5f * y * erfcf(-0.70710678f * y) : y;
    });
}

// y (M, D) += for the rows of x (M, K).
template <int K>
__device__ __forceinline__ void ofPlain(const BlockProduct& p) {
    using Of = OfPlain<K>;
    Of rows = {};
    rows.begin([&](int n) { return p.weight[0] + n * K; });
    letNextBegin();
    const int thread = static_cast<int>(threadIdx.x);
    const int m = thread / Of::TILE;
    const int n = static_cast<int>(blockIdx.x) * Of::TILE + thread % Of::TILE;
    const bool mine = m < M && n < D;
    const float bias = mine && p.bias[0] != nullptr ? p.bias[0][n] : 0.f;
    const float scale = mine && p.scale[0] != nullptr ? p.scale[0][n] : 1.f;
    awaitBefore();
    float* const to = p.y[0] + m * D + n;
    const float before = mine ? *to + bias : 0.f;
    const float sum = rows.finish(Plain<K>{p.x});
    p.next.fetch();
    Of::finish(sum, mine, m, n, [&](float total) { *to = fmaf(total, scale, before); });
}

}  // namespace lram

using namespace lram;

// Grids: (rows of the weight / TILE), as TransformerSteps.java reckons.
LRAM_KERNEL_OF(block_qkv, BlockProduct, LRAM_THREADS, RESIDENT) { ofNormed<3 * D, 3, false>(p); }

LRAM_KERNEL_OF(block_up, BlockProduct, LRAM_THREADS, RESIDENT) { ofNormed<INNER, 1, true>(p); }

LRAM_KERNEL_OF(block_down, BlockProduct, LRAM_THREADS, RESIDENT) { ofPlain<INNER>(p); }

LRAM_KERNEL_OF(block_out, BlockOut, LRAM_THREADS, RESIDENT) {
    ofPlain<D>(p.product);
    const int b = static_cast<int>(threadIdx.x);
    if (blockIdx.x == 0 && b < p.rows && !faulted(p.faults)) {
        const int slot = p.slots[b];
        p.length[slot] = advanced(p.length[slot], p.counts[b], p.capacity);
    }
}
