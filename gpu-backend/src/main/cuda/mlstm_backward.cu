// mLSTM backward: all gradients of one chunk in one block. A window that is one chunk with a fresh state needs nothing
// else (mlstm_backward); several chunks, an initial state or a gradient of the last state take the kernels of
// mlstm_backward_rows.cu and mlstm_states.cu first, then mlstm_backward_chunk.
//
// Contract: ai.lram.backend.ops.MlstmOps.backward. Layouts q, k, dq, dk (B, S, NH, DHQK), v, dh, dv (B, S, NH, DHHV),
// gates fp32. exact: through the normaliser; the stabiliser's path through eps (relative size eps / denominator) is
// left out. Where a gradient of the last state is given, df holds what goes straight to that state;
// mlstm_without_last (mlstm_backward_rows.cu) takes it out again.
//
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_backward.cu   (or compute_80, sm_80)
//           NVRTC as mlstm_forward.cu. -DLRAM_FP32 builds the fp32 kernels.
//           -DLRAM_WINDOW_ONLY and -DLRAM_STATE_ONLY leave one kernel out. -DLRAM_GROUPS: tokens / 16, at most 10 in bf16 and 6 in fp32 for a window, 8 and 6 for chunks. Shared memory
//           by backwardSharedBytes(): 225 KiB for a window of 10 groups, 180 KiB for chunks of 8, which only sm_90 has; 6
//           groups of a window fit sm_80 (163 KiB), 5 fit sm_86 and sm_89 (99 KiB).
// Tried:    nvcc 13.0.88 and NVRTC 13.0 to sm_80 and sm_90a; run on an H100 and an H200 (driver 580).
// Cost:     window, a token and head: 2 (4 DHQK + 3 DHHV) + 20 bytes, if the second reading of q, k and dh comes from
//           L2; S (3 DHQK + 2 DHHV) FLOP. Chunks of L: L in place of S, and 6 DHQK DHHV FLOP for the states.
// Measured: bf16, H100 80GB HBM3, copy 3.01 TB/s: B128 S150 NH4 d256 0.256 ms (floor 0.092), d640 0.53 ms (0.229),
//           both floors by bytes. How: src/test/cuda/mlstm_check.cu; why: docs/performance.md.
#include "mlstm_backward.cuh"

namespace lram {

__host__ __device__ constexpr int backwardSharedBytes(int groups, int width, bool state) {
    return (4 + 2 * ((16 * groups + width - 1) / width)) * 16 * groups * ROW + (state ? 4 * width * ROW : 0) +
           groups * 16 * ROW + (2 * groups + 2) * 8 + (state ? 9 : 7) * 16 * groups * 4;
}

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
//
// With states, C before the chunk and dC after it, a_t the weight of C for query t and e_s that of key s for the state
// after the chunk:
//   dq_t += a_t (C dh_t / den + dn n)      dk_s += e_s (dC v_s + dn')      dv_s += e_s dC^T k_s
// Both gates' sums take what these products bring to the log weights, and b of the chunk's last token what the decayed
// state brings: (C . dC + n . dn') decay, formed from the tiles while they are in shared memory. So df needs no sum over
// later chunks, and gathers no noise from them.
template <typename T, int GROUPS, bool STATE>
__device__ __forceinline__ void backwardBlock(const MlstmBackward& p, unsigned char* shared) {
    using U = Unit<T>;
    constexpr int THREADS = 32 * GROUPS;
    constexpr int ROWS = 16 * GROUPS;
    constexpr int TILE = ROWS * ROW;
    constexpr int SQUARE = U::WIDTH * ROW;  // a tile of a state
    constexpr int STAGE = 2 * TILE + (STATE ? 2 * SQUARE : 0);
    constexpr int TILES = U::WIDTH / 8;
    constexpr int PARTS = 16 / U::STEP;
    constexpr int PANEL = (ROWS + U::WIDTH - 1) / U::WIDTH * TILE;
    constexpr int PER_PANEL_SLICE = U::WIDTH / 16;  // groups of 16 columns in a slice of a panel
    static_assert(GROUPS * ROWS * 4 <= GROUPS * 16 * ROW, "column sums must fit the strips");

    const Place place(blockIdx.x, p.heads, STATE ? p.chunks : 1);
    const int pair = place.pair;
    const int chunk = place.chunk;
    const int batch = pair / p.heads;
    const int head = pair % p.heads;
    const int from = STATE ? chunk * p.chunk : 0;
    const int count = STATE ? min(p.chunk, p.tokens - from) : p.tokens;
    const int rows16 = (count + 15) & ~15;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int row = 16 * warp;
    const int active = rows16 / 16;
    const int groups = warp < active ? warp + 1 : 0;

    const long long token = (static_cast<long long>(batch) * p.tokens + from) * p.heads + head;
    const long long ownRow = static_cast<long long>(pair) * p.tokens + from;  // of the chunk's first token
    const long long allRows = static_cast<long long>(gridDim.x / (STATE ? p.chunks : 1)) * p.tokens;
    const long long stateIndex = static_cast<long long>(pair) * (STATE ? p.chunks : 1) + chunk;
    const T* state = STATE ? static_cast<const T*>(p.states) + stateIndex * p.dimQk * p.dimHv : nullptr;
    const T* dState = STATE ? static_cast<const T*>(p.dStates) + stateIndex * p.dimQk * p.dimHv : nullptr;
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
    float* carriedRows = floats + 7 * ROWS;  // with states: what the carried state and the state left bring to the sums
    float* carriedColumns = floats + 8 * ROWS;

    const int slicesQk = (p.dimQk + U::WIDTH - 1) / U::WIDTH;
    const int slicesHv = (p.dimHv + U::WIDTH - 1) / U::WIDTH;
    const int scoreItems = slicesQk + slicesHv;
    const int perHv = STATE ? slicesQk + 1 : 1;
    const int perQk = STATE ? slicesHv + 1 : 1;
    const int items = scoreItems + slicesHv * perHv + slicesQk * perQk;

    // Items: (Q, K) slices, (dH, V) slices; for dv, each dH slice after its (K, dC) slices; for dq and dk, each (Q, K) slice
    // after its (V, dH, dC, C) slices. dH comes again first: it is the freshest in L2.
    auto loadState = [&](unsigned to, const T* from, int slice, int column) {
        loadTile<T, THREADS>(to, from + static_cast<long long>(slice) * U::WIDTH * p.dimHv, p.dimHv, U::WIDTH,
                             p.dimQk - slice * U::WIDTH, column * U::WIDTH, p.dimHv);
    };
    int issued = 0;
    auto issue = [&]() {
        if (issued < items) {
            const unsigned a = ring + (issued & 1) * STAGE;
            int x = issued++;
            if (x < slicesQk) {
                loadTile<T, THREADS>(a, q, strideQk, rows16, count, x * U::WIDTH, p.dimQk);
                loadTile<T, THREADS>(a + TILE, k, strideQk, rows16, count, x * U::WIDTH, p.dimQk);
            } else if (x < scoreItems) {
                x -= slicesQk;
                loadTile<T, THREADS>(a, dh, strideHv, rows16, count, x * U::WIDTH, p.dimHv);
                loadTile<T, THREADS>(a + TILE, v, strideHv, rows16, count, x * U::WIDTH, p.dimHv);
            } else if (x < scoreItems + slicesHv * perHv) {
                x -= scoreItems;
                const int slice = x / perHv;
                const int part = x % perHv;
                if (STATE && part < slicesQk) {
                    loadTile<T, THREADS>(a, k, strideQk, rows16, count, part * U::WIDTH, p.dimQk);
                    loadState(a + 2 * TILE, dState, part, slice);
                } else {
                    loadTile<T, THREADS>(a, dh, strideHv, rows16, count, slice * U::WIDTH, p.dimHv);
                }
            } else {
                x -= scoreItems + slicesHv * perHv;
                const int slice = x / perQk;
                const int part = x % perQk;
                if (STATE && part < slicesHv) {
                    loadTile<T, THREADS>(a, v, strideHv, rows16, count, part * U::WIDTH, p.dimHv);
                    loadTile<T, THREADS>(a + TILE, dh, strideHv, rows16, count, part * U::WIDTH, p.dimHv);
                    loadState(a + 2 * TILE, dState, slice, part);
                    loadState(a + 2 * TILE + SQUARE, state, slice, part);
                } else {
                    loadTile<T, THREADS>(a, q, strideQk, rows16, count, slice * U::WIDTH, p.dimQk);
                    loadTile<T, THREADS>(a + TILE, k, strideQk, rows16, count, slice * U::WIDTH, p.dimQk);
                }
            }
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
    scan.scan(gates, totals, count, STATE ? p.statesM[stateIndex] : 0.f, p.sigmoid != 0);

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
        formGradients<T, GROUPS, STATE>(p, s, dp, groups, gates, row, count, ownRow, allRows, columnSums, rowSums, panelP,
                                        panelW);
    }
    // The own token's gradient of the log weight it writes with, and the change of b it brings; column sums are spent.
    __syncthreads();
    GateGradients<GROUPS> gradients;
    gradients.take(columnSums, rowSums, count, active);
    double stateLast = 0;
    double topLast = 0;
    if (STATE) {
        stateLast = totals[2 * GROUPS];
        const double m = p.sigmoid ? 0. : static_cast<double>(static_cast<float>(stateLast + totals[2 * GROUPS + 1]));
        topLast = m - stateLast;
        __syncthreads();  // totals are spent
    } else {
        gradients.write(p, totals, 0, scan.i[0], scan.f[0], token, count, nullptr);
    }
    const float endHigh = static_cast<float>(topLast);
    const float endLow = static_cast<float>(topLast - endHigh);
    auto writes = [&](int t) { return fastExp((gates.uHigh[t] - endHigh) + (gates.uLow[t] - endLow)); };

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
    // o += tile[own rows][depth] B; the other tile holds B, its rows the depth, or B^T.
    auto addRows = [&](float (&o)[TILES][4], unsigned tile, unsigned other, bool depthRows) {
#pragma unroll
        for (int step = 0; step < U::WIDTH / U::STEP; step++) {
            typename U::A a = U::loadA(tile, row, step, lane);
#pragma unroll
            for (int x = 0; x < TILES / 2; x++) {
                typename U::B b = depthRows ? U::loadBRowsK(other, step * U::STEP, x, lane)
                                            : U::loadBRowsN(other, 16 * x, step, lane);
                U::mma(o[2 * x], a, b, 0);
                U::mma(o[2 * x + 1], a, b, 1);
            }
        }
    };
    auto scaleRows = [](float (&o)[TILES][4], float low, float high) {
#pragma unroll
        for (int x = 0; x < TILES; x++) {
            o[x][0] *= low;
            o[x][1] *= low;
            o[x][2] *= high;
            o[x][3] *= high;
        }
    };
    // o += W[own rows][keys] tile[keys][slice]
    auto addWeights = [&](float (&o)[TILES][4], unsigned tile) {
#pragma unroll 2
        for (int j = 0; j < groups; j++) {
#pragma unroll
            for (int part = 0; part < PARTS; part++) {
                typename U::A a = U::loadA(panelW + j / PER_PANEL_SLICE * TILE, row, j % PER_PANEL_SLICE * PARTS + part,
                                           lane);
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
        float o[TILES][4];
        clear(o);
        if (STATE) {
#pragma unroll 1
            for (int part = 0; part < slicesQk; part++) {
                const unsigned tileK = next();
                if (groups > 0) {
                    addRows(o, tileK, tileK + 2 * TILE, true);
                }
            }
            scaleRows(o, writes(row + (lane >> 2)), writes(row + (lane >> 2) + 8));
        }
        const unsigned tileH = next();
        if (groups > 0) {
            addTransposed(o, panelP, tileH);
            storeRows<T>(
                    strip, o, 1.f, 1.f,
                    static_cast<T*>(p.dv) + token * p.dimHv + static_cast<long long>(row) * strideHv + slice * U::WIDTH,
                    strideHv, count - row, p.dimHv - slice * U::WIDTH, lane);
        }
    }
    float broughtRow[2] = {0.f, 0.f};
    float broughtColumn[2] = {0.f, 0.f};
    float between = 0.f;
#pragma unroll 1
    for (int slice = 0; slice < slicesQk; slice++) {
        float o[TILES][4];
        float oq[STATE ? TILES : 1][4];
        clear(o);
        if constexpr (STATE) {
            clear(oq);
#pragma unroll 1
            for (int part = 0; part < slicesHv; part++) {
                const unsigned tileV = next();
                const unsigned tileD = tileV + 2 * TILE;
                if (groups > 0) {
                    addRows(o, tileV, tileD, false);
                    addRows(oq, tileV + TILE, tileD + SQUARE, false);
                }
                for (int x = threadIdx.x; x < SQUARE / 16; x += THREADS) {
                    between += U::dot16(loadShared4(tileD + 16 * x), loadShared4(tileD + SQUARE + 16 * x));
                }
            }
        }
        const unsigned tileQ = next();
        const unsigned tileK = tileQ + TILE;
        if (groups > 0) {
            const long long at = token * p.dimQk + static_cast<long long>(row) * strideQk + slice * U::WIDTH;
            if constexpr (STATE) {
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    const int t = row + (lane >> 2) + 8 * r;
                    const bool valid = t < count;
                    const float write = writes(t);
                    const float read = valid ? p.rows[2 * allRows + ownRow + t] : 0.f;
                    const float readN = valid ? p.rows[3 * allRows + ownRow + t] : 0.f;
#pragma unroll
                    for (int x = 0; x < TILES; x++) {
                        const int d = slice * U::WIDTH + 8 * x + 2 * (lane & 3);
                        const float2 dn = d < p.dimQk ? *reinterpret_cast<const float2*>(p.dStatesN + stateIndex * p.dimQk + d)
                                                      : make_float2(0.f, 0.f);
                        const float2 n = d < p.dimQk ? *reinterpret_cast<const float2*>(p.statesN + stateIndex * p.dimQk + d)
                                                     : make_float2(0.f, 0.f);
                        o[x][2 * r] = (o[x][2 * r] + dn.x) * write;
                        o[x][2 * r + 1] = (o[x][2 * r + 1] + dn.y) * write;
                        oq[x][2 * r] = oq[x][2 * r] * read + n.x * readN;
                        oq[x][2 * r + 1] = oq[x][2 * r + 1] * read + n.y * readN;
                        const float2 key = U::loadPair(tileK, t, x, lane);
                        const float2 query = U::loadPair(tileQ, t, x, lane);
                        broughtColumn[r] += o[x][2 * r] * key.x + o[x][2 * r + 1] * key.y;
                        broughtRow[r] += oq[x][2 * r] * query.x + oq[x][2 * r + 1] * query.y;
                    }
                }
            }
            addTransposed(o, panelW, tileQ);
            storeRows<T>(strip, o, 1.f, 1.f, static_cast<T*>(p.dk) + at, strideQk, count - row,
                         p.dimQk - slice * U::WIDTH, lane);
            if constexpr (!STATE) {
                clear(o);
                addWeights(o, tileK);
                storeRows<T>(strip, o, 1.f, 1.f, static_cast<T*>(p.dq) + at, strideQk, count - row,
                             p.dimQk - slice * U::WIDTH, lane);
            } else {
                addWeights(oq, tileK);
                storeRows<T>(strip, oq, 1.f, 1.f, static_cast<T*>(p.dq) + at, strideQk, count - row,
                             p.dimQk - slice * U::WIDTH, lane);
            }
        }
    }
    if constexpr (STATE) {
        const float decay = p.decays[stateIndex];
        for (int d = threadIdx.x; d < p.dimQk; d += THREADS) {
            between += p.statesN[stateIndex * p.dimQk + d] * p.dStatesN[stateIndex * p.dimQk + d];
        }
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            between += __shfl_xor_sync(0xffffffffu, between, d);
        }
        if (lane == 0) {
            totals[GROUPS + warp] = static_cast<double>(between) * decay;
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int d = 1; d < 4; d *= 2) {
                broughtRow[r] += __shfl_xor_sync(0xffffffffu, broughtRow[r], d);
                broughtColumn[r] += __shfl_xor_sync(0xffffffffu, broughtColumn[r], d);
            }
            if (groups > 0 && (lane & 3) == 0) {
                carriedRows[row + (lane >> 2) + 8 * r] = broughtRow[r];
                carriedColumns[row + (lane >> 2) + 8 * r] = broughtColumn[r];
            }
        }
        __syncthreads();
        double atLast = 0;
#pragma unroll
        for (int w = 0; w < GROUPS; w++) {
            atLast += totals[GROUPS + w];
        }
        for (int t = 0; t < count; t++) {
            atLast += carriedColumns[t];
        }
        if (p.straight != nullptr && chunk == p.chunks - 1 && threadIdx.x == 0) {
            p.straight[pair] = static_cast<float>(atLast);
        }
        gradients.add(carriedColumns, carriedRows, count);
        gradients.write(p, totals, atLast, scan.i[0], scan.f[0], token, count,
                        chunk == 0 && p.initialM != nullptr ? p.initialM + pair : nullptr);
    }
}

template <typename T, int GROUPS, bool STATE>
__global__ void __launch_bounds__(32 * GROUPS, 1) mlstmBackwardKernel(const __grid_constant__ MlstmBackward p) {
    backwardBlock<T, GROUPS, STATE>(p, sharedBytes);
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
#define LRAM_CHUNK_GROUPS (LRAM_GROUPS < 8 ? LRAM_GROUPS : 8)
#ifndef LRAM_STATE_ONLY
extern "C" __global__ void __launch_bounds__(32 * LRAM_GROUPS, 1)
        mlstm_backward(const __grid_constant__ lram::MlstmBackward p) {
    lram::backwardBlock<LRAM_TYPE, LRAM_GROUPS, false>(p, lram::sharedBytes);
}
#endif

#ifndef LRAM_WINDOW_ONLY
extern "C" __global__ void __launch_bounds__(32 * LRAM_CHUNK_GROUPS, 1)
        mlstm_backward_chunk(const __grid_constant__ lram::MlstmBackward p) {
    lram::backwardBlock<LRAM_TYPE, LRAM_CHUNK_GROUPS, true>(p, lram::sharedBytes);
}
#endif
#endif
