// mLSTM backward of one chunk with a fresh state and no use of the last state: the training window of a LRAM.
// Sequences of several chunks, initial states and gradients of the last state are not covered here.
//
// Contract: ai.lram.backend.ops.MlstmOps.backward. Layouts q, k, dq, dk (B, S, NH, DHQK), v, dh, dv (B, S, NH, DHHV),
// gates fp32. exact: through the normaliser; the stabiliser's path through eps (relative size eps / denominator) is
// left out.
//
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_backward.cu   (or compute_80, sm_80)
//           NVRTC as mlstm_forward.cu. -DLRAM_FP32 builds the fp32 kernel.
//           -DLRAM_GROUPS: tokens / 16, at most 10 in bf16 and 6 in fp32. Shared memory by backwardSharedBytes():
//           225 KiB at 10 groups, which only sm_90 has; 6 groups fit sm_80 (163 KiB), 5 fit sm_86 and sm_89 (99 KiB).
// Tried:    nvcc 13.0.88 and NVRTC 13.0 to sm_80 and sm_90a; run on an H100 (driver 580) only.
// Cost:     a token and head: 2 (4 DHQK + 3 DHHV) + 20 bytes, if the second reading of q, k and dh comes from L2;
//           S (3 DHQK + 2 DHHV) FLOP.
// Measured: bf16, H100 80GB HBM3, copy 3.01 TB/s: B128 S150 NH4 d256 0.256 ms (floor 0.092), d640 0.53 ms (0.229),
//           both floors by bytes. How: src/test/cuda/mlstm_check.cu; why: docs/performance.md.
#include "mlstm_common.cuh"

namespace lram {

struct MlstmBackward {
    const void* q;
    const void* k;
    const void* v;
    const float* gateI;
    const float* gateF;
    const float* normaliser;  // (B NH, S) from the forward pass
    const void* dh;
    void* dq;
    void* dk;
    void* dv;
    float* di;
    float* df;
    int tokens;  // at most 16 GROUPS
    int heads;
    int dimQk;
    int dimHv;
    float scale;
    float eps;
    int sigmoid;
    int normalize;
    int exact;
};

__host__ __device__ constexpr int backwardSharedBytes(int groups, int width) {
    return (4 + 2 * ((16 * groups + width - 1) / width)) * 16 * groups * ROW + groups * 16 * ROW +
           (2 * groups + 2) * 8 + 7 * 16 * groups * 4;
}

__device__ __forceinline__ float sigmoidOf(float x) { return 1.f / (1.f + expf(-x)); }

// One block a head, one warp for 16 tokens. In the forward pass's terms (w = weights times scale, P = w times scores):
//   dP = dh V^T / den + dn      G = P dP, the gradient of the log weights      W = w dP
//   dq = W k      dk = W^T q      dv = (P / den)^T dh
//   di = column sums of G      db = row sums - column sums      df = sigmoid(-f) times the suffix sums of db
//
// dn needs dh.h = sum_s P (dh.v_s) / den, so h is not read. P and dP are formed once and serve all five gradients; G is
// taken before any rounding, so that df does not gather bf16 noise over the window. Its sums are fp32: df resolves
// about 1e-7 of sigmoid(-f) times the sum of |G| from its token on.
//
// P and W leave the registers once, to shared memory, because their transposes are needed: a tile read through
// ldmatrix.trans. Row w of W times K costs w + 1 groups, row w of W^T times Q costs the other GROUPS - w: done from one
// item of the ring every warp has equal work.
template <typename T, int GROUPS>
__device__ __forceinline__ void backwardBlock(const MlstmBackward& p, unsigned char* shared) {
    using U = Unit<T>;
    constexpr int THREADS = 32 * GROUPS;
    constexpr int ROWS = 16 * GROUPS;
    constexpr int TILE = ROWS * ROW;
    constexpr int STAGE = 2 * TILE;
    constexpr int TILES = U::WIDTH / 8;
    constexpr int PARTS = 16 / U::STEP;
    constexpr int PANEL = (ROWS + U::WIDTH - 1) / U::WIDTH * TILE;
    constexpr int PER_PANEL_SLICE = U::WIDTH / 16;  // groups of 16 columns in a slice of a panel
    static_assert(GROUPS * ROWS * 4 <= GROUPS * 16 * ROW, "column sums must fit the strips");

    const int pair = blockIdx.x;
    const int batch = pair / p.heads;
    const int head = pair % p.heads;
    const int count = p.tokens;
    const int rows16 = (count + 15) & ~15;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int row = 16 * warp;
    const int active = rows16 / 16;
    const int groups = warp < active ? warp + 1 : 0;

    const long long token = static_cast<long long>(batch) * p.tokens * p.heads + head;
    const T* q = static_cast<const T*>(p.q) + token * p.dimQk;
    const T* k = static_cast<const T*>(p.k) + token * p.dimQk;
    const T* v = static_cast<const T*>(p.v) + token * p.dimHv;
    const T* dh = static_cast<const T*>(p.dh) + token * p.dimHv;
    const int strideQk = p.heads * p.dimQk;
    const int strideHv = p.heads * p.dimHv;

    const unsigned ring = sharedAddress(shared);
    const unsigned panelP = ring + 2 * STAGE;
    const unsigned panelW = panelP + PANEL;
    const unsigned strip = panelW + PANEL + warp * 16 * ROW;
    float* columnSums = reinterpret_cast<float*>(shared + 2 * STAGE +
                                                 2 * PANEL);  // [GROUPS][ROWS], spent before the strips are used
    double* totals = reinterpret_cast<double*>(shared + 2 * STAGE + 2 * PANEL + GROUPS * 16 * ROW);
    float* floats = reinterpret_cast<float*>(totals + 2 * GROUPS + 2);
    const Gates gates = {floats,           floats + ROWS, floats + 2 * ROWS, floats + 3 * ROWS, floats + 4 * ROWS,
                         floats + 5 * ROWS};
    float* rowSums = floats + 6 * ROWS;

    const int slicesQk = (p.dimQk + U::WIDTH - 1) / U::WIDTH;
    const int slicesHv = (p.dimHv + U::WIDTH - 1) / U::WIDTH;
    const int items = 2 * (slicesQk + slicesHv);

    // Items: (Q, K) slices, (dH, V) slices, dH slices, (Q, K) slices. dH comes again first: it is the freshest in L2.
    int issued = 0;
    auto issue = [&]() {
        if (issued < items) {
            unsigned a = ring + (issued & 1) * STAGE;
            int x = issued;
            bool keys = x < slicesQk || x >= slicesQk + 2 * slicesHv;
            if (keys) {
                int column = (x < slicesQk ? x : x - slicesQk - 2 * slicesHv) * U::WIDTH;
                loadTile<T, THREADS>(a, q, strideQk, rows16, count, column, p.dimQk);
                loadTile<T, THREADS>(a + TILE, k, strideQk, rows16, count, column, p.dimQk);
            } else {
                x -= slicesQk;
                int column = (x < slicesHv ? x : x - slicesHv) * U::WIDTH;
                loadTile<T, THREADS>(a, dh, strideHv, rows16, count, column, p.dimHv);
                if (x < slicesHv) {
                    loadTile<T, THREADS>(a + TILE, v, strideHv, rows16, count, column, p.dimHv);
                }
            }
            issued++;
        }
        commitCopies();
    };
    int consumed = 0;
    auto next = [&]() -> unsigned {
        awaitCopies<0>();
        __syncthreads();
        issue();
        return ring + (consumed++ & 1) * STAGE;
    };

    GateScan<THREADS, ROWS> scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
    issue();
    scan.scan(gates, totals, count, 0.f, p.sigmoid != 0);

    float s[GROUPS][8];
    float dp[GROUPS][8];
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
#pragma unroll
        for (int c = 0; c < 8; c++) {
            s[j][c] = 0.f;
            dp[j][c] = 0.f;
        }
    }
    auto scores = [&](float (&to)[GROUPS][8], int slices) {
#pragma unroll 1
        for (int slice = 0; slice < slices; slice++) {
            unsigned tileA = next();
#pragma unroll
            for (int step = 0; step < U::WIDTH / U::STEP; step++) {
                typename U::A a = U::loadA(tileA, row, step, lane);
#pragma unroll
                for (int j = 0; j < GROUPS; j++) {
                    if (j < groups) {
                        typename U::B b = U::loadBRowsN(tileA + TILE, 16 * j, step, lane);
                        U::mma(to[j], a, b, 0);
                        U::mma(to[j] + 4, a, b, 1);
                    }
                }
            }
        }
    };
    scores(s, slicesQk);
    scores(dp, slicesHv);

    if (groups > 0) {
        const int own[2] = {row + (lane >> 2), row + (lane >> 2) + 8};
        float top[2];
        float topRest[2];
        float inverse[2];
        float sign[2];
        float dot[2] = {0.f, 0.f};
#pragma unroll
        for (int r = 0; r < 2; r++) {
            bool valid = own[r] < count;
            top[r] = gates.mHigh[own[r]];
            topRest[r] = gates.mLow[own[r]];
            float n = valid && p.normalize ? p.normaliser[static_cast<long long>(pair) * p.tokens + own[r]] : 0.f;
            float least = gates.floor[own[r]];
            inverse[r] = valid && p.normalize ? 1.f / (fmaxf(fabsf(n), least) + p.eps) : 1.f;
            sign[r] = p.exact && p.normalize && fabsf(n) > least ? copysignf(1.f, n) : 0.f;
        }
        auto weight = [&](int j, int c, int r) {
            int column = 16 * j + 8 * (c >> 1) + 2 * (lane & 3) + (c & 1);
            float w = fastExp((gates.uHigh[column] - top[r]) + (gates.uLow[column] - topRest[r])) * p.scale;
            return column <= own[r] ? w : 0.f;
        };
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
            if (j < groups) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
#pragma unroll
                    for (int r = 0; r < 2; r++) {
                        int at = 4 * (c >> 1) + (c & 1) + 2 * r;
                        dot[r] += s[j][at] * weight(j, c, r) * dp[j][at];
                    }
                }
            }
        }
        float dn[2];
        float sum[2] = {0.f, 0.f};
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int d = 1; d < 4; d *= 2) {
                dot[r] += __shfl_xor_sync(0xffffffffu, dot[r], d);
            }
            dn[r] = -sign[r] * dot[r] * inverse[r] * inverse[r];
        }
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
            if (j < groups) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    float column = 0.f;
#pragma unroll
                    for (int r = 0; r < 2; r++) {
                        int at = 4 * (c >> 1) + (c & 1) + 2 * r;
                        float w = weight(j, c, r);
                        float gradient = dp[j][at] * inverse[r] + dn[r];
                        float score = s[j][at] * w;
                        float g = score * gradient;
                        sum[r] += g;
                        column += g;
                        s[j][at] = score * inverse[r];
                        dp[j][at] = gradient * w;
                    }
#pragma unroll
                    for (int d = 4; d < 32; d *= 2) {
                        column += __shfl_xor_sync(0xffffffffu, column, d);
                    }
                    if (lane < 4) {
                        columnSums[warp * ROWS + 16 * j + 8 * (c >> 1) + 2 * lane + (c & 1)] = column;
                    }
                }
                unsigned slice = j / PER_PANEL_SLICE * TILE;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    int tile = 2 * (j % PER_PANEL_SLICE) + half;
#pragma unroll
                    for (int r = 0; r < 2; r++) {
                        int at = 4 * half + 2 * r;
                        U::storeShared2(panelP + slice, tile, lane, own[r], s[j][at], s[j][at + 1]);
                        U::storeShared2(panelW + slice, tile, lane, own[r], dp[j][at], dp[j][at + 1]);
                    }
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int d = 1; d < 4; d *= 2) {
                sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], d);
            }
            if ((lane & 3) == 0) {
                rowSums[own[r]] = sum[r];
            }
        }
    }
    __syncthreads();
    {
        const int t = threadIdx.x;
        double column = 0;
        double change = 0;
        if (t < count) {
            for (int w = t / 16; w < active; w++) {
                column += columnSums[w * ROWS + t];
            }
            change = rowSums[t] - column;
        }
        double inclusive = change;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            double x = __shfl_up_sync(0xffffffffu, inclusive, d);
            if (lane >= d) {
                inclusive += x;
            }
        }
        if (lane == 31) {
            totals[warp] = inclusive;
        }
        __syncthreads();
        double rest = change - inclusive;
#pragma unroll
        for (int w = 0; w < GROUPS; w++) {
            rest += w >= warp ? totals[w] : 0;
        }
        if (t < count) {
            long long at = token + static_cast<long long>(t) * p.heads;
            p.di[at] = static_cast<float>(p.sigmoid ? column * sigmoidOf(-scan.i[0]) : column);
            p.df[at] = static_cast<float>(rest * sigmoidOf(-scan.f[0]));
        }
    }

    auto clear = [](float (&o)[TILES][4]) {
#pragma unroll
        for (int x = 0; x < TILES; x++) {
            o[x][0] = o[x][1] = o[x][2] = o[x][3] = 0.f;
        }
    };
    // o += (panel^T)[own 16 columns][queries] tile[queries][slice]
    auto addTransposed = [&](float (&o)[TILES][4], unsigned panel, unsigned tile) {
        unsigned slice = panel + warp / PER_PANEL_SLICE * TILE;
#pragma unroll 2
        for (int j = warp; j < active; j++) {
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                typename U::A a = U::loadATransposed(slice, 16 * j + part * U::STEP, warp % PER_PANEL_SLICE, lane);
#pragma unroll
                for (int x = 0; x < TILES / 2; x++) {
                    typename U::B b = U::loadBRowsK(tile, 16 * j + part * U::STEP, x, lane);
                    U::mma(o[2 * x], a, b, 0);
                    U::mma(o[2 * x + 1], a, b, 1);
                }
            }
        }
    };
#pragma unroll 1
    for (int slice = 0; slice < slicesHv; slice++) {
        unsigned tileH = next();
        if (groups > 0) {
            float o[TILES][4];
            clear(o);
            addTransposed(o, panelP, tileH);
            storeRows<T>(
                    strip, o, 1.f, 1.f,
                    static_cast<T*>(p.dv) + token * p.dimHv + static_cast<long long>(row) * strideHv + slice * U::WIDTH,
                    strideHv, count - row, p.dimHv - slice * U::WIDTH, lane);
        }
    }
#pragma unroll 1
    for (int slice = 0; slice < slicesQk; slice++) {
        unsigned tileQ = next();
        unsigned tileK = tileQ + TILE;
        if (groups > 0) {
            const long long at = token * p.dimQk + static_cast<long long>(row) * strideQk + slice * U::WIDTH;
            float o[TILES][4];
            clear(o);
            addTransposed(o, panelW, tileQ);
            storeRows<T>(strip, o, 1.f, 1.f, static_cast<T*>(p.dk) + at, strideQk, count - row,
                         p.dimQk - slice * U::WIDTH, lane);
            clear(o);
#pragma unroll 2
            for (int j = 0; j < groups; j++) {
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    typename U::A a = U::loadA(panelW + j / PER_PANEL_SLICE * TILE, row,
                                               j % PER_PANEL_SLICE * PARTS + part, lane);
#pragma unroll
                    for (int x = 0; x < TILES / 2; x++) {
                        typename U::B b = U::loadBRowsK(tileK, 16 * j + part * U::STEP, x, lane);
                        U::mma(o[2 * x], a, b, 0);
                        U::mma(o[2 * x + 1], a, b, 1);
                    }
                }
            }
            storeRows<T>(strip, o, 1.f, 1.f, static_cast<T*>(p.dq) + at, strideQk, count - row,
                         p.dimQk - slice * U::WIDTH, lane);
        }
    }
}

template <typename T, int GROUPS>
__global__ void __launch_bounds__(32 * GROUPS, 1) mlstmBackwardKernel(const __grid_constant__ MlstmBackward p) {
    backwardBlock<T, GROUPS>(p, sharedBytes);
}

}  // namespace lram

#ifndef LRAM_TEMPLATES_ONLY
#ifdef LRAM_FP32
#define LRAM_TYPE float
#ifndef LRAM_GROUPS
#define LRAM_GROUPS 6
#endif
#else
#define LRAM_TYPE __nv_bfloat16
#ifndef LRAM_GROUPS
#define LRAM_GROUPS 10
#endif
#endif
extern "C" __global__ void __launch_bounds__(32 * LRAM_GROUPS, 1)
        mlstm_backward(const __grid_constant__ lram::MlstmBackward p) {
    lram::backwardBlock<LRAM_TYPE, LRAM_GROUPS>(p, lram::sharedBytes);
}
#endif
