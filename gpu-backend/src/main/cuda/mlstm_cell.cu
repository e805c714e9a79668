// The mLSTM cell in fp32 arithmetic for every case of its contract: any length, chunk and head size, initial and last
// states, all gates, exact gradients. Chunkwise; plain tiles of 32 x 32, no tensor cores. With LRAM_BF16 q, k, v, h and
// their gradients are stored in bf16, converted where a tile is loaded or a result is stored; all else is the same.
//
// Contract: ai.lram.backend.ops.MlstmOps.forward and backward. Scores, denominators and the gates' gradients are summed in
// fp64, because a denominator may cancel to a small part of its terms and h and all gradients then carry its relative
// error; products with values are fp32. The tensor-core kernels of mlstm_forward.cu and mlstm_backward.cu cover part of
// this, faster.
//
// In the terms of one chunk, b_t the sum of log forget gates up to t, m0 and m_t the stabiliser before the chunk and at t:
//   P_ts = scale q_t.k_s exp((b_t - m_t) + (i_s - b_s)), s <= t           inter_t = exp(b_t + m0 - m_t)
//   den_t = sum_s P_ts + inter_t scale q_t.n     h_t = (sum_s P_ts v_s + inter_t scale q_t C) / (max(|den_t|, exp(-m_t)) + eps)
//   C' = carry C + sum_s write_s k_s v_s^T       write_s = exp(b_L + i_s - b_s - m_L), carry = exp(b_L + m0 - m_L)
// Backward, with D_ts = dh_t.v_s / div_t + dden_t and W_ts = D_ts P_ts / (q_t.k_s scale) the gradient of the weighted scores:
//   dq = scale (W k + inter (dh C^T / div + dden n))    dk = scale W^T q + write (G v + g)    dv = (P / div)^T dh + write k G
//   where G, g are the gradients of the state after the chunk; gates from row and column sums of P D.
//
// Compile:  as elementwise.cu; -DLRAM_BF16 for bf16 operands. Dynamic shared memory of mlstm_key_gradients: keyGradientsSharedBytes().
#include "lram_common.cuh"

namespace lram {

constexpr int TILE = 32;
constexpr int LONGEST = 256;          // tokens of a chunk
constexpr int PANEL = LONGEST + 1;    // a row of a panel; odd, so that a column falls into different banks
constexpr int ROWS = TILE / LRAM_WARPS;  // rows of a tile that a thread owns, LRAM_WARPS apart

__host__ __device__ constexpr int keyGradientsSharedBytes() { return (2 * TILE * PANEL + 2 * TILE * (TILE + 1)) * 4; }

#ifdef LRAM_BF16
using Operand = Bf16;
#else
using Operand = float;
#endif

struct Cell {
    const Operand* q;
    const Operand* k;
    const Operand* v;
    const float* i;
    const float* f;
    const float* initialC;  // null for the fresh state
    const float* initialN;
    const float* initialM;
    Operand* h;
    float* lastC;  // null when not wanted
    float* lastN;
    float* lastM;
    float* states;   // (B NH, chunks - 1, DHQK DHHV): C before every chunk but the first
    float* statesN;  // (B NH, chunks - 1, DHQK)
    float* den;      // (B NH, S), signed denominators; null when no backward pass follows

    // Of every token, (B NH, S).
    double* row;  // b_t - m_t
    double* col;  // i_s - b_s
    float* inter;
    float* write;
    float* floor;  // exp(-m_t), the least denominator
    float* path;   // 1 where m_t comes from m_{t-1}, 0 where from i_t
    float* sigF;   // sigmoid(-f), the slope of the log gate
    float* sigI;
    float* carry;  // (B NH, chunks)
    float* m;      // (B NH, chunks + 1): stabiliser before every chunk, and after the last

    int batch;
    int tokens;
    int heads;
    int dimQk;
    int dimHv;
    int chunk;
    int chunks;
    float scale;
    float eps;
    int sigmoid;
    int normalize;
};

struct CellBackward {
    Cell c;
    const Operand* dh;
    const float* dLastC;  // null for zero
    const float* dLastN;
    Operand* dq;
    Operand* dk;
    Operand* dv;
    float* di;
    float* df;
    float* dInitialC;  // null when not wanted
    float* dInitialN;
    float* dInitialM;
    float* gradients;   // (B NH, chunks - 1, DHQK DHHV): gradient of C after every chunk but the last
    float* gradientsN;  // (B NH, chunks - 1, DHQK)

    // Of every token, (B NH, S).
    float* inverse;  // 1 / divisor
    float* dden;
    float* epsGrad;    // gradient of the stabiliser through eps
    double* rowSums;   // q . dq
    double* colSums;   // k . dk within the chunk
    double* tailSums;  // k . dk through the state after the chunk
    double* dots;      // (B NH, 2): state . gradient, for the last chunk's start and for the initial state

    int exact;          // through the normaliser
    int exactGradient;  // as the specification says, also where there is no normaliser
};

// Where a chunk lies.
struct Place {
    int pair;
    int chunk;
    int from;
    int count;
    long long token;  // in (B, S, NH) rows
    long long index;  // in (B NH, S)

    __device__ Place(const Cell& p, long long pairAndChunk) {
        pair = static_cast<int>(pairAndChunk / p.chunks);
        chunk = static_cast<int>(pairAndChunk - static_cast<long long>(pair) * p.chunks);
        from = chunk * p.chunk;
        count = min(p.chunk, p.tokens - from);
        int batch = pair / p.heads;
        token = (static_cast<long long>(batch) * p.tokens + from) * p.heads + (pair - batch * p.heads);
        index = static_cast<long long>(pair) * p.tokens + from;
    }
};

__device__ __forceinline__ const float* stateBefore(const Cell& p, const Place& x) {
    long long size = static_cast<long long>(p.dimQk) * p.dimHv;
    if (x.chunk == 0) {
        return p.initialC == nullptr ? nullptr : p.initialC + x.pair * size;
    }
    return p.states + (static_cast<long long>(x.pair) * (p.chunks - 1) + x.chunk - 1) * size;
}

__device__ __forceinline__ const float* normaliserBefore(const Cell& p, const Place& x) {
    if (x.chunk == 0) {
        return p.initialN == nullptr ? nullptr : p.initialN + static_cast<long long>(x.pair) * p.dimQk;
    }
    return p.statesN + (static_cast<long long>(x.pair) * (p.chunks - 1) + x.chunk - 1) * p.dimQk;
}

__device__ __forceinline__ const float* gradientAfter(const CellBackward& p, const Place& x) {
    long long size = static_cast<long long>(p.c.dimQk) * p.c.dimHv;
    if (x.chunk == p.c.chunks - 1) {
        return p.dLastC == nullptr ? nullptr : p.dLastC + x.pair * size;
    }
    return p.gradients + (static_cast<long long>(x.pair) * (p.c.chunks - 1) + x.chunk) * size;
}

__device__ __forceinline__ const float* normaliserGradientAfter(const CellBackward& p, const Place& x) {
    if (x.chunk == p.c.chunks - 1) {
        return p.dLastN == nullptr || !p.exactGradient ? nullptr
                                                       : p.dLastN + static_cast<long long>(x.pair) * p.c.dimQk;
    }
    return p.gradientsN + (static_cast<long long>(x.pair) * (p.c.chunks - 1) + x.chunk) * p.c.dimQk;
}

using Tile = float[TILE + 1];

// tile[r][c] = from[(row + r) stride + column + c], zero outside of rows x columns.
template <typename T>
__device__ __forceinline__ void load(Tile* tile, const T* from, long long stride, int row, int rows, int column,
                                     int columns) {
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int r = warp() + LRAM_WARPS * j;
        bool valid = row + r < rows && column + lane() < columns;
        tile[r][lane()] = valid ? widened(from[(row + r) * stride + column + lane()]) : 0.f;
    }
}

// acc[j] += a[rowA + own row j] . b[rowB + lane], over `depth` columns. All threads of the block.
__device__ __forceinline__ void addDots(double (&acc)[ROWS], Tile* ta, Tile* tb, const Operand* a, long long strideA,
                                        int rowA, int rowsA, const Operand* b, long long strideB, int rowB, int rowsB,
                                        int depth) {
    for (int d = 0; d < depth; d += TILE) {
        __syncthreads();
        load(ta, a, strideA, rowA, rowsA, d, depth);
        load(tb, b, strideB, rowB, rowsB, d, depth);
        __syncthreads();
        const int most = min(TILE, depth - d);
        for (int x = 0; x < most; x++) {
            double y = tb[lane()][x];
#pragma unroll
            for (int j = 0; j < ROWS; j++) {
                acc[j] += ta[warp() + LRAM_WARPS * j][x] * y;
            }
        }
    }
}

// acc[j] += sum over x of a[rowA + own row j][x] b[x][columnB + lane].
__device__ __forceinline__ void addProduct(float (&acc)[ROWS], Tile* ta, Tile* tb, const Operand* a, long long strideA,
                                           int rowA, int rowsA, const float* b, long long strideB, int columnB,
                                           int columnsB, int depth) {
    for (int d = 0; d < depth; d += TILE) {
        __syncthreads();
        load(ta, a, strideA, rowA, rowsA, d, depth);
        load(tb, b, strideB, d, depth, columnB, columnsB);
        __syncthreads();
        const int most = min(TILE, depth - d);
        for (int x = 0; x < most; x++) {
            float y = tb[x][lane()];
#pragma unroll
            for (int j = 0; j < ROWS; j++) {
                acc[j] = fmaf(ta[warp() + LRAM_WARPS * j][x], y, acc[j]);
            }
        }
    }
}

// acc[j] += sum over x of a[rowA + own row j][x] b[rowB + lane][x].
__device__ __forceinline__ void addTransposed(float (&acc)[ROWS], Tile* ta, Tile* tb, const Operand* a, long long strideA,
                                              int rowA, int rowsA, const float* b, long long strideB, int rowB,
                                              int rowsB, int depth) {
    for (int d = 0; d < depth; d += TILE) {
        __syncthreads();
        load(ta, a, strideA, rowA, rowsA, d, depth);
        load(tb, b, strideB, rowB, rowsB, d, depth);
        __syncthreads();
        const int most = min(TILE, depth - d);
        for (int x = 0; x < most; x++) {
            float y = tb[lane()][x];
#pragma unroll
            for (int j = 0; j < ROWS; j++) {
                acc[j] = fmaf(ta[warp() + LRAM_WARPS * j][x], y, acc[j]);
            }
        }
    }
}

}  // namespace lram

using namespace lram;

// One warp a pair of batch row and head, chunk after chunk.
LRAM_KERNEL(mlstm_gates, Cell) {
    const int pair = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    if (pair >= p.batch * p.heads) {
        return;
    }
    const double lowest = -static_cast<double>(__int_as_float(0x7f800000));
    float m0 = p.initialM == nullptr || p.sigmoid ? 0.f : p.initialM[pair];
    for (int chunk = 0; chunk < p.chunks; chunk++) {
        const Place x(p, static_cast<long long>(pair) * p.chunks + chunk);
        if (lane() == 0) {
            p.m[static_cast<long long>(pair) * (p.chunks + 1) + chunk] = m0;
        }
        double sum = 0;
        double top = m0;
        float m = m0;
        for (int s = 0; s < x.count; s += 32) {
            const int t = s + lane();
            const bool valid = t < x.count;
            const long long at = x.token + static_cast<long long>(valid ? t : 0) * p.heads;
            const double f = p.f[at];
            const double gate = p.i[at];
            const double b = sum + warpScan(valid ? logSigmoidOf(f) : 0.0);
            const double u = valid ? (p.sigmoid ? logSigmoidOf(gate) : gate) - b : lowest;
            double running = u;
#pragma unroll
            for (int d = 1; d < 32; d *= 2) {
                double y = __shfl_up_sync(0xffffffffu, running, d);
                if (lane() >= d) {
                    running = fmax(running, y);
                }
            }
            double before = __shfl_up_sync(0xffffffffu, running, 1);
            before = lane() == 0 ? top : fmax(before, top);
            running = fmax(running, top);
            m = p.sigmoid ? 0.f : static_cast<float>(b + running);
            if (valid) {
                const long long o = x.index + t;
                p.row[o] = b - m;
                p.col[o] = u;
                p.inter[o] = static_cast<float>(exp(b + m0 - m));
                p.floor[o] = p.sigmoid ? 1.f : expf(-m);
                p.path[o] = before >= u ? 1.f : 0.f;
                p.sigF[o] = sigmoidOf(static_cast<float>(-f));
                p.sigI[o] = sigmoidOf(static_cast<float>(-gate));
            }
            // Lanes beyond the last token repeat its sum and maximum.
            sum = __shfl_sync(0xffffffffu, b, 31);
            top = __shfl_sync(0xffffffffu, running, 31);
            m = __shfl_sync(0xffffffffu, m, 31);
        }
        for (int t = lane(); t < x.count; t += 32) {
            p.write[x.index + t] = static_cast<float>(exp(sum + p.col[x.index + t] - m));
        }
        if (lane() == 0) {
            p.carry[static_cast<long long>(pair) * p.chunks + chunk] = static_cast<float>(exp(sum + m0 - m));
        }
        m0 = m;
    }
    if (lane() == 0) {
        p.m[static_cast<long long>(pair) * (p.chunks + 1) + p.chunks] = m0;
    }
}

// States before the chunks, one tile of C a block, chunks in order. Grid (DHQK tiles DHHV tiles, B NH).
LRAM_KERNEL(mlstm_states, Cell) {
    __shared__ float ta[TILE][TILE + 1];
    __shared__ float tb[TILE][TILE + 1];
    const int pair = static_cast<int>(blockIdx.y);
    const int across = (p.dimHv + TILE - 1) / TILE;
    const int d0 = static_cast<int>(blockIdx.x) / across * TILE;
    const int e = static_cast<int>(blockIdx.x) % across * TILE + lane();
    const bool ownsN = static_cast<int>(blockIdx.x) % across == 0 && threadIdx.x < TILE;
    const int dn = d0 + static_cast<int>(threadIdx.x);
    const long long strideQk = static_cast<long long>(p.heads) * p.dimQk;
    const long long strideHv = static_cast<long long>(p.heads) * p.dimHv;
    const long long size = static_cast<long long>(p.dimQk) * p.dimHv;
    float c[ROWS];
    double n = 0;
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int d = d0 + warp() + LRAM_WARPS * j;
        c[j] = p.initialC != nullptr && d < p.dimQk && e < p.dimHv
                       ? p.initialC[pair * size + static_cast<long long>(d) * p.dimHv + e]
                       : 0.f;
    }
    if (ownsN && dn < p.dimQk && p.initialN != nullptr) {
        n = p.initialN[static_cast<long long>(pair) * p.dimQk + dn];
    }
    const int ends = p.lastC == nullptr ? p.chunks - 1 : p.chunks;
    for (int chunk = 0; chunk < ends; chunk++) {
        const Place x(p, static_cast<long long>(pair) * p.chunks + chunk);
        const float carry = p.carry[static_cast<long long>(pair) * p.chunks + chunk];
        float sum[ROWS] = {0.f, 0.f, 0.f, 0.f};
        double added = 0;
        for (int s = 0; s < x.count; s += TILE) {
            __syncthreads();
            load(ta, p.k + x.token * p.dimQk, strideQk, s, x.count, d0, p.dimQk);
            load(tb, p.v + x.token * p.dimHv, strideHv, s, x.count, e - lane(), p.dimHv);
            __syncthreads();
            const int most = min(TILE, x.count - s);
            for (int t = 0; t < most; t++) {
                float w = p.write[x.index + s + t];
                float y = tb[t][lane()] * w;
#pragma unroll
                for (int j = 0; j < ROWS; j++) {
                    sum[j] = fmaf(ta[t][warp() + LRAM_WARPS * j], y, sum[j]);
                }
                if (ownsN) {
                    added += static_cast<double>(w) * ta[t][threadIdx.x];
                }
            }
        }
        const bool last = chunk == p.chunks - 1;
        float* to = last ? p.lastC + pair * size
                         : p.states + (static_cast<long long>(pair) * (p.chunks - 1) + chunk) * size;
        const bool fresh = chunk == 0 && p.initialC == nullptr;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int d = d0 + warp() + LRAM_WARPS * j;
            c[j] = fresh ? sum[j] : fmaf(carry, c[j], sum[j]);
            if (d < p.dimQk && e < p.dimHv) {
                to[static_cast<long long>(d) * p.dimHv + e] = c[j];
            }
        }
        if (ownsN && dn < p.dimQk) {
            n = fresh ? added : carry * n + added;
            (last ? p.lastN + static_cast<long long>(pair) * p.dimQk
                  : p.statesN + (static_cast<long long>(pair) * (p.chunks - 1) + chunk) * p.dimQk)[dn] =
                    static_cast<float>(n);
        }
    }
    if (p.lastC != nullptr && blockIdx.x == 0 && threadIdx.x == 0) {
        p.lastM[pair] = p.m[static_cast<long long>(pair) * (p.chunks + 1) + p.chunks];
    }
}

// h of 32 tokens. Grid (token tiles of a chunk, chunks, B NH), folded into x.
LRAM_KERNEL(mlstm_output, Cell) {
    __shared__ float ta[TILE][TILE + 1];
    __shared__ float tb[TILE][TILE + 1];
    __shared__ float panel[TILE][PANEL];
    const int tiles = (p.chunk + TILE - 1) / TILE;
    const Place x(p, blockIdx.x / tiles);
    const int t0 = static_cast<int>(blockIdx.x % tiles) * TILE;
    if (t0 >= x.count) {
        return;
    }
    const long long strideQk = static_cast<long long>(p.heads) * p.dimQk;
    const long long strideHv = static_cast<long long>(p.heads) * p.dimHv;
    const Operand* q = p.q + x.token * p.dimQk;
    const Operand* k = p.k + x.token * p.dimQk;
    const Operand* v = p.v + x.token * p.dimHv;
    const float* state = stateBefore(p, x);
    const float* normaliser = normaliserBefore(p, x);
    double den[ROWS] = {0, 0, 0, 0};
    for (int s0 = 0; s0 <= t0; s0 += TILE) {
        double score[ROWS] = {0, 0, 0, 0};
        addDots(score, ta, tb, q, strideQk, t0, x.count, k, strideQk, s0, x.count, p.dimQk);
        const int s = s0 + lane();
        const double col = s < x.count ? p.col[x.index + s] : 0;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int t = t0 + warp() + LRAM_WARPS * j;
            double w = 0;
            if (s <= t && t < x.count) {
                w = score[j] * p.scale * exp(p.row[x.index + t] + col);
            }
            den[j] += w;
            panel[warp() + LRAM_WARPS * j][s] = static_cast<float>(w);
        }
    }
    float inverse[ROWS];
    float inter[ROWS];
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int t = t0 + warp() + LRAM_WARPS * j;
        bool valid = t < x.count;
        inter[j] = valid && state != nullptr ? p.inter[x.index + t] * p.scale : 0.f;
        if (state != nullptr && valid) {
            double dot = 0;
            for (int d = lane(); d < p.dimQk; d += 32) {
                dot += static_cast<double>(widened(q[t * strideQk + d])) * normaliser[d];
            }
            den[j] += inter[j] * dot;
        }
        double sum = warpSum(den[j]);
        float least = valid ? p.floor[x.index + t] : 1.f;
        float rounded = static_cast<float>(sum);
        float magnitude = fabsf(rounded);
        inverse[j] = p.normalize ? 1.f / ((magnitude < least ? least : magnitude) + p.eps) : 1.f;
        if (valid && p.den != nullptr && lane() == 0) {
            p.den[x.index + t] = rounded;
        }
    }
    for (int e0 = 0; e0 < p.dimHv; e0 += TILE) {
        float out[ROWS] = {0.f, 0.f, 0.f, 0.f};
        if (state != nullptr) {
            addProduct(out, ta, tb, q, strideQk, t0, x.count, state, p.dimHv, e0, p.dimHv, p.dimQk);
#pragma unroll
            for (int j = 0; j < ROWS; j++) {
                out[j] *= inter[j];
            }
        }
        for (int s0 = 0; s0 <= t0; s0 += TILE) {
            __syncthreads();
            load(tb, v, strideHv, s0, x.count, e0, p.dimHv);
            __syncthreads();
            const int most = min(TILE, x.count - s0);
            for (int y = 0; y < most; y++) {
                float value = tb[y][lane()];
#pragma unroll
                for (int j = 0; j < ROWS; j++) {
                    int own = warp() + LRAM_WARPS * j;
                    if (s0 + y <= t0 + own) {  // a NaN of a later token stays out
                        out[j] = fmaf(panel[own][s0 + y], value, out[j]);
                    }
                }
            }
        }
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int t = t0 + warp() + LRAM_WARPS * j;
            if (t < x.count && e0 + lane() < p.dimHv) {
                store(p.h[x.token * p.dimHv + t * strideHv + e0 + lane()], out[j] * inverse[j]);
            }
        }
    }
}

// Divisors and their gradients, one warp a token. Grid (tokens / 8).
LRAM_KERNEL(mlstm_token_gradients, CellBackward) {
    const Cell& c = p.c;
    const long long index = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp();
    if (index >= static_cast<long long>(c.batch) * c.heads * c.tokens) {
        return;
    }
    const int pair = static_cast<int>(index / c.tokens);
    const int t = static_cast<int>(index - static_cast<long long>(pair) * c.tokens);
    const long long row = ((static_cast<long long>(pair / c.heads) * c.tokens + t) * c.heads + pair % c.heads) * c.dimHv;
    float inverse = 1.f;
    float dden = 0.f;
    float epsGrad = 0.f;
    if (c.normalize) {
        double along = 0;
        for (int e = lane(); e < c.dimHv; e += 32) {
            along += static_cast<double>(widened(p.dh[row + e])) * widened(c.h[row + e]);
        }
        along = warpSum(along);
        float den = c.den[index];
        float least = c.floor[index];
        float magnitude = fabsf(den);
        inverse = 1.f / ((magnitude < least ? least : magnitude) + c.eps);
        if (p.exact) {
            along *= inverse;
            dden = magnitude > least ? static_cast<float>(den < 0.f ? along : -along) : 0.f;
            epsGrad = c.sigmoid ? 0.f : static_cast<float>(-along * c.eps);
        }
    }
    if (lane() == 0) {
        p.inverse[index] = inverse;
        p.dden[index] = dden;
        p.epsGrad[index] = epsGrad;
    }
}

// Gradients of the states after the chunks, chunks backwards. Grid as mlstm_states.
LRAM_KERNEL(mlstm_state_gradients, CellBackward) {
    __shared__ float ta[TILE][TILE + 1];
    __shared__ float tb[TILE][TILE + 1];
    const Cell& c = p.c;
    const int pair = static_cast<int>(blockIdx.y);
    const int across = (c.dimHv + TILE - 1) / TILE;
    const int d0 = static_cast<int>(blockIdx.x) / across * TILE;
    const int e = static_cast<int>(blockIdx.x) % across * TILE + lane();
    const bool ownsN = static_cast<int>(blockIdx.x) % across == 0 && threadIdx.x < TILE;
    const int dn = d0 + static_cast<int>(threadIdx.x);
    const long long strideQk = static_cast<long long>(c.heads) * c.dimQk;
    const long long strideHv = static_cast<long long>(c.heads) * c.dimHv;
    const long long size = static_cast<long long>(c.dimQk) * c.dimHv;
    float g[ROWS];
    double gn = 0;
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int d = d0 + warp() + LRAM_WARPS * j;
        g[j] = p.dLastC != nullptr && d < c.dimQk && e < c.dimHv
                       ? p.dLastC[pair * size + static_cast<long long>(d) * c.dimHv + e]
                       : 0.f;
    }
    if (ownsN && dn < c.dimQk && p.dLastN != nullptr && p.exactGradient) {
        gn = p.dLastN[static_cast<long long>(pair) * c.dimQk + dn];
    }
    bool zero = p.dLastC == nullptr;  // nothing comes from later: do not multiply a carry that may be infinite or NaN
    for (int chunk = c.chunks - 1; chunk >= (p.dInitialC == nullptr ? 1 : 0); chunk--) {
        const Place x(c, static_cast<long long>(pair) * c.chunks + chunk);
        const float carry = c.carry[static_cast<long long>(pair) * c.chunks + chunk];
        float sum[ROWS] = {0.f, 0.f, 0.f, 0.f};
        double added = 0;
        for (int s = 0; s < x.count; s += TILE) {
            __syncthreads();
            load(ta, c.q + x.token * c.dimQk, strideQk, s, x.count, d0, c.dimQk);
            load(tb, p.dh + x.token * c.dimHv, strideHv, s, x.count, e - lane(), c.dimHv);
            __syncthreads();
            const int most = min(TILE, x.count - s);
            for (int t = 0; t < most; t++) {
                long long at = x.index + s + t;
                float w = c.inter[at] * c.scale;
                float y = tb[t][lane()] * w * p.inverse[at];
#pragma unroll
                for (int j = 0; j < ROWS; j++) {
                    sum[j] = fmaf(ta[t][warp() + LRAM_WARPS * j], y, sum[j]);
                }
                if (ownsN) {
                    added += static_cast<double>(w) * p.dden[at] * ta[t][threadIdx.x];
                }
            }
        }
        float* to = chunk == 0 ? p.dInitialC + pair * size
                               : p.gradients + (static_cast<long long>(pair) * (c.chunks - 1) + chunk - 1) * size;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int d = d0 + warp() + LRAM_WARPS * j;
            g[j] = zero ? sum[j] : fmaf(carry, g[j], sum[j]);
            if (d < c.dimQk && e < c.dimHv) {
                to[static_cast<long long>(d) * c.dimHv + e] = g[j];
            }
        }
        if (ownsN && dn < c.dimQk) {
            gn = zero ? added : carry * gn + added;
            (chunk == 0 ? p.dInitialN + static_cast<long long>(pair) * c.dimQk
                        : p.gradientsN + (static_cast<long long>(pair) * (c.chunks - 1) + chunk - 1) * c.dimQk)[dn] =
                    static_cast<float>(gn);
        }
        zero = false;
    }
}

// dq of 32 tokens and q.dq. Grid as mlstm_output.
LRAM_KERNEL(mlstm_query_gradients, CellBackward) {
    __shared__ float ta[TILE][TILE + 1];
    __shared__ float tb[TILE][TILE + 1];
    __shared__ float panel[TILE][PANEL];
    const Cell& c = p.c;
    const int tiles = (c.chunk + TILE - 1) / TILE;
    const Place x(c, blockIdx.x / tiles);
    const int t0 = static_cast<int>(blockIdx.x % tiles) * TILE;
    if (t0 >= x.count) {
        return;
    }
    const long long strideQk = static_cast<long long>(c.heads) * c.dimQk;
    const long long strideHv = static_cast<long long>(c.heads) * c.dimHv;
    const Operand* q = c.q + x.token * c.dimQk;
    const Operand* k = c.k + x.token * c.dimQk;
    const Operand* v = c.v + x.token * c.dimHv;
    const Operand* dh = p.dh + x.token * c.dimHv;
    const float* state = stateBefore(c, x);
    const float* normaliser = normaliserBefore(c, x);
    double sums[ROWS] = {0, 0, 0, 0};
    float inverse[ROWS];
    float dden[ROWS];
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int t = t0 + warp() + LRAM_WARPS * j;
        inverse[j] = t < x.count ? p.inverse[x.index + t] : 0.f;
        dden[j] = t < x.count ? p.dden[x.index + t] : 0.f;
    }
    for (int s0 = 0; s0 <= t0; s0 += TILE) {
        double score[ROWS] = {0, 0, 0, 0};
        double slope[ROWS] = {0, 0, 0, 0};
        addDots(score, ta, tb, q, strideQk, t0, x.count, k, strideQk, s0, x.count, c.dimQk);
        addDots(slope, ta, tb, dh, strideHv, t0, x.count, v, strideHv, s0, x.count, c.dimHv);
        const int s = s0 + lane();
        const double col = s < x.count ? c.col[x.index + s] : 0;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int t = t0 + warp() + LRAM_WARPS * j;
            double w = 0;
            if (s <= t && t < x.count) {
                double decay = exp(c.row[x.index + t] + col);
                double d = slope[j] * inverse[j] + dden[j];
                w = d * decay;
                sums[j] += w * score[j] * c.scale;
            }
            panel[warp() + LRAM_WARPS * j][s] = static_cast<float>(w);
        }
    }
    for (int d0 = 0; d0 < c.dimQk; d0 += TILE) {
        const int d = d0 + lane();
        float out[ROWS] = {0.f, 0.f, 0.f, 0.f};
        float through[ROWS] = {0.f, 0.f, 0.f, 0.f};
        if (state != nullptr) {
            addTransposed(through, ta, tb, dh, strideHv, t0, x.count, state, c.dimHv, d0, c.dimQk, c.dimHv);
        }
        for (int s0 = 0; s0 <= t0; s0 += TILE) {
            __syncthreads();
            load(tb, k, strideQk, s0, x.count, d0, c.dimQk);
            __syncthreads();
            const int most = min(TILE, x.count - s0);
            for (int y = 0; y < most; y++) {
                float value = tb[y][lane()];
#pragma unroll
                for (int j = 0; j < ROWS; j++) {
                    int own = warp() + LRAM_WARPS * j;
                    if (s0 + y <= t0 + own) {
                        out[j] = fmaf(panel[own][s0 + y], value, out[j]);
                    }
                }
            }
        }
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int t = t0 + warp() + LRAM_WARPS * j;
            if (t < x.count && d < c.dimQk) {
                if (state != nullptr) {
                    float carried = c.inter[x.index + t] * fmaf(through[j], inverse[j], dden[j] * normaliser[d]);
                    sums[j] += static_cast<double>(c.scale) * widened(q[t * strideQk + d]) * carried;
                    out[j] += carried;
                }
                store(p.dq[x.token * c.dimQk + t * strideQk + d], c.scale * out[j]);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int t = t0 + warp() + LRAM_WARPS * j;
        double sum = warpSum(sums[j]);
        if (t < x.count && lane() == 0) {
            p.rowSums[x.index + t] = sum;
        }
    }
}

// dk and dv of 32 tokens and k.dk. Grid as mlstm_output.
LRAM_KERNEL(mlstm_key_gradients, CellBackward) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Cell& c = p.c;
    const int tiles = (c.chunk + TILE - 1) / TILE;
    const Place x(c, blockIdx.x / tiles);
    const int s0 = static_cast<int>(blockIdx.x % tiles) * TILE;
    if (s0 >= x.count) {
        return;
    }
    float(*panelP)[PANEL] = reinterpret_cast<float(*)[PANEL]>(memory);
    float(*panelW)[PANEL] = panelP + TILE;
    Tile* ta = reinterpret_cast<Tile*>(memory + 2 * TILE * PANEL);
    Tile* tb = ta + TILE;
    const long long strideQk = static_cast<long long>(c.heads) * c.dimQk;
    const long long strideHv = static_cast<long long>(c.heads) * c.dimHv;
    const Operand* q = c.q + x.token * c.dimQk;
    const Operand* k = c.k + x.token * c.dimQk;
    const Operand* v = c.v + x.token * c.dimHv;
    const Operand* dh = p.dh + x.token * c.dimHv;
    const float* after = gradientAfter(p, x);
    const float* afterN = normaliserGradientAfter(p, x);
    double sums[ROWS] = {0, 0, 0, 0};
    double tails[ROWS] = {0, 0, 0, 0};
    float write[ROWS];
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int s = s0 + warp() + LRAM_WARPS * j;
        write[j] = s < x.count ? c.write[x.index + s] : 0.f;
    }
    for (int t0 = s0; t0 < x.count; t0 += TILE) {
        double score[ROWS] = {0, 0, 0, 0};
        double slope[ROWS] = {0, 0, 0, 0};
        addDots(score, ta, tb, k, strideQk, s0, x.count, q, strideQk, t0, x.count, c.dimQk);
        addDots(slope, ta, tb, v, strideHv, s0, x.count, dh, strideHv, t0, x.count, c.dimHv);
        const int t = t0 + lane();
        const bool inside = t < x.count;
        const double row = inside ? c.row[x.index + t] : 0;
        const double inverse = inside ? p.inverse[x.index + t] : 0;
        const double dden = inside ? p.dden[x.index + t] : 0;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int s = s0 + warp() + LRAM_WARPS * j;
            double w = 0;
            double weight = 0;
            if (s <= t && inside) {
                double decay = exp(row + c.col[x.index + s]);
                weight = score[j] * c.scale * decay;
                double d = slope[j] * inverse + dden;
                w = d * decay;
                sums[j] += weight * d;
            }
            panelP[warp() + LRAM_WARPS * j][t] = static_cast<float>(weight * inverse);
            panelW[warp() + LRAM_WARPS * j][t] = static_cast<float>(w);
        }
    }
    for (int e0 = 0; e0 < c.dimHv; e0 += TILE) {
        float out[ROWS] = {0.f, 0.f, 0.f, 0.f};
        if (after != nullptr) {
            addProduct(out, ta, tb, k, strideQk, s0, x.count, after, c.dimHv, e0, c.dimHv, c.dimQk);
#pragma unroll
            for (int j = 0; j < ROWS; j++) {
                out[j] *= write[j];
            }
        }
        for (int t0 = s0; t0 < x.count; t0 += TILE) {
            __syncthreads();
            load(tb, dh, strideHv, t0, x.count, e0, c.dimHv);
            __syncthreads();
            const int most = min(TILE, x.count - t0);
            for (int y = 0; y < most; y++) {
                float value = tb[y][lane()];
#pragma unroll
                for (int j = 0; j < ROWS; j++) {
                    int own = warp() + LRAM_WARPS * j;
                    if (s0 + own <= t0 + y) {
                        out[j] = fmaf(panelP[own][t0 + y], value, out[j]);
                    }
                }
            }
        }
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int s = s0 + warp() + LRAM_WARPS * j;
            if (s < x.count && e0 + lane() < c.dimHv) {
                store(p.dv[x.token * c.dimHv + s * strideHv + e0 + lane()], out[j]);
            }
        }
    }
    for (int d0 = 0; d0 < c.dimQk; d0 += TILE) {
        const int d = d0 + lane();
        float out[ROWS] = {0.f, 0.f, 0.f, 0.f};
        float through[ROWS] = {0.f, 0.f, 0.f, 0.f};
        if (after != nullptr) {
            addTransposed(through, ta, tb, v, strideHv, s0, x.count, after, c.dimHv, d0, c.dimQk, c.dimHv);
        }
        for (int t0 = s0; t0 < x.count; t0 += TILE) {
            __syncthreads();
            load(tb, q, strideQk, t0, x.count, d0, c.dimQk);
            __syncthreads();
            const int most = min(TILE, x.count - t0);
            for (int y = 0; y < most; y++) {
                float value = tb[y][lane()];
#pragma unroll
                for (int j = 0; j < ROWS; j++) {
                    int own = warp() + LRAM_WARPS * j;
                    if (s0 + own <= t0 + y) {
                        out[j] = fmaf(panelW[own][t0 + y], value, out[j]);
                    }
                }
            }
        }
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            int s = s0 + warp() + LRAM_WARPS * j;
            if (s < x.count && d < c.dimQk) {
                out[j] *= c.scale;
                if (after != nullptr) {
                    float tail = write[j] * (through[j] + (afterN == nullptr ? 0.f : afterN[d]));
                    tails[j] += static_cast<double>(widened(k[s * strideQk + d])) * tail;
                    out[j] += tail;
                }
                store(p.dk[x.token * c.dimQk + s * strideQk + d], out[j]);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int s = s0 + warp() + LRAM_WARPS * j;
        double sum = warpSum(sums[j]);
        double tail = warpSum(tails[j]);
        if (s < x.count && lane() == 0) {
            p.colSums[x.index + s] = sum;
            p.tailSums[x.index + s] = tail;
        }
    }
}

// State before the last chunk times the gradient after it, and initial state times its gradient. Grid (B NH).
LRAM_KERNEL(mlstm_state_dots, CellBackward) {
    const Cell& c = p.c;
    const int pair = static_cast<int>(blockIdx.x);
    const long long size = static_cast<long long>(c.dimQk) * c.dimHv;
    const Place last(c, static_cast<long long>(pair) * c.chunks + c.chunks - 1);
    double tail = 0;
    const float* state = stateBefore(c, last);
    if (p.dLastC != nullptr && state != nullptr) {
        for (long long j = threadIdx.x; j < size; j += LRAM_THREADS) {
            tail += static_cast<double>(state[j]) * p.dLastC[pair * size + j];
        }
        const float* n = normaliserBefore(c, last);
        const float* gn = normaliserGradientAfter(p, last);
        for (int d = static_cast<int>(threadIdx.x); d < c.dimQk && gn != nullptr; d += LRAM_THREADS) {
            tail += static_cast<double>(n[d]) * gn[d];
        }
    }
    double initial = 0;
    if (p.dInitialC != nullptr && c.initialC != nullptr) {
        for (long long j = threadIdx.x; j < size; j += LRAM_THREADS) {
            initial += static_cast<double>(c.initialC[pair * size + j]) * p.dInitialC[pair * size + j];
        }
        for (int d = static_cast<int>(threadIdx.x); d < c.dimQk; d += LRAM_THREADS) {
            long long at = static_cast<long long>(pair) * c.dimQk + d;
            initial += static_cast<double>(c.initialN[at]) * p.dInitialN[at];
        }
    }
    tail = blockSum(tail);
    initial = blockSum(initial);
    if (threadIdx.x == 0) {
        p.dots[2 * pair] = tail;
        p.dots[2 * pair + 1] = initial;
    }
}

// One thread a pair, tokens backwards: the forget gates take differences of row and column sums over the whole sequence.
LRAM_KERNEL(mlstm_gate_gradients, CellBackward) {
    const Cell& c = p.c;
    const long long pair = gridStart();
    if (pair >= static_cast<long long>(c.batch) * c.heads) {
        return;
    }
    double suffix = 0;
    if (p.dLastC != nullptr && p.exactGradient) {
        const Place last(c, pair * c.chunks + c.chunks - 1);
        for (int s = 0; s < last.count; s++) {
            suffix += p.tailSums[last.index + s];
        }
        if (stateBefore(c, last) != nullptr) {
            suffix += c.carry[pair * c.chunks + c.chunks - 1] * p.dots[2 * pair];
        }
    }
    double stabiliser = 0;
    for (int t = c.tokens - 1; t >= 0; t--) {
        const long long index = pair * c.tokens + t;
        const long long at = ((pair / c.heads) * c.tokens + t) * c.heads + pair % c.heads;
        double kdk = p.colSums[index] + p.tailSums[index];
        suffix += p.rowSums[index] - kdk;
        double df = suffix;
        double di = kdk;
        if (c.sigmoid) {
            di *= c.sigI[index];
        } else {
            stabiliser += p.epsGrad[index];
            if (c.path[index] != 0.f) {
                df += stabiliser;
            } else {
                di += stabiliser;
                stabiliser = 0;
            }
        }
        p.df[at] = static_cast<float>(df * c.sigF[index]);
        p.di[at] = static_cast<float>(di);
    }
    if (p.dInitialM != nullptr) {
        p.dInitialM[pair] = p.exactGradient && !c.sigmoid
                                    ? static_cast<float>(stabiliser + (c.initialC != nullptr ? p.dots[2 * pair + 1] : 0))
                                    : 0.f;
    }
}
