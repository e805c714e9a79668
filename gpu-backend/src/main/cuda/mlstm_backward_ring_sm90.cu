// mLSTM backward of one chunk with states: mlstm_backward_sm90.cu with a ring of four stages of 32 KiB, three of them in
// flight, in place of two of 64 KiB, one in flight.
//
// Contract, order, formulas, sums: as mlstm_backward_sm90.cu.
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_backward_ring_sm90.cu; on another target the
//           body traps. Shared memory by backwardRingSharedBytes(): 213 KiB.
// Tried:    nvcc 13.0.88; not run on a device yet.
#include "mlstm_backward.cuh"
#include "mlstm_wgmma.cuh"

namespace lram {

constexpr int RING_ROWS = 128;  // tokens of a chunk at most; one thread for 2 rows of accumulators, 256 in all
constexpr int RING_STAGES = 4;

__host__ __device__ constexpr int backwardRingSharedBytes() {
    return 12 * RING_ROWS * ROW + 8 * 16 * ROW + 18 * 8 + 9 * RING_ROWS * 4;
}

// The same with the rest of its line on the way to L2: the next stage reads it.
__device__ __forceinline__ void copyAsync16Line(unsigned to, const void* from, bool valid) {
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// A tile of 128 rows whose columns 0 to 31 are 32 columns of `left`, 32 to 63 the same of `right`.
template <int THREADS>
__device__ __forceinline__ void loadHalves(unsigned tile, const __nv_bfloat16* left, const __nv_bfloat16* right, int stride,
                                           int validRows, int column, int columns) {
    const int c = threadIdx.x & 7;
    const __nv_bfloat16* from = c < 4 ? left : right;
    const int at = column + (c & 3) * 8;
#pragma unroll
    for (int row = threadIdx.x >> 3; row < RING_ROWS; row += THREADS / 8) {
        const bool valid = at < columns && row < validRows;
        copyAsync16Line(tile + swizzled(row, c), valid ? from + static_cast<long long>(row) * stride + at : left, valid);
    }
}

template <int WHICH>
struct SliceHalf {
    static constexpr int HALF = WHICH;
};

// Outputs two slices of 64 columns at a time. A ring stage holds 32 KiB, two tiles of 128 rows:
//   scores:    a slice of Q and of K, or of dH and of V
//   dv:        a slice of K and the two tiles of dC that turn it into two slices of dv; after the last, two slices of dH
//   dk, dq:    32 columns of V beside 32 of dH, and 128 rows of dC beside C that turn them into two slices of dk and of dq;
//              after the last, twice a slice of Q and of K
// Warpgroup w owns tokens from 64 w: its queries meet keys up to 64 (w + 1), its keys meet queries from 64 w.
__device__ __forceinline__ void backwardRingSm90(const MlstmBackward& p, unsigned char* shared) {
    using T = __nv_bfloat16;
    using U = Unit<T>;
    constexpr int THREADS = 256;
    constexpr int GROUPS = 8;
    constexpr int TILE = RING_ROWS * ROW;
    constexpr int SQUARE = U::WIDTH * ROW;
    constexpr int STAGE = 2 * TILE;
    constexpr int STEP_ALONG = 32;     // bytes of 16 columns
    constexpr int STEP_ACROSS = 2048;  // bytes of 16 rows

    const Place place(blockIdx.x, p.heads, p.chunks);
    const int pair = place.pair;
    const int chunk = place.chunk;
    const long long stateIndex = static_cast<long long>(pair) * p.chunks + chunk;
    const int from = chunk * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int row = 16 * warp;
    const int half = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);  // so the compiler sees that a warpgroup goes one way

    const long long token = (static_cast<long long>(pair / p.heads) * p.tokens + from) * p.heads + pair % p.heads;
    const long long ownRow = static_cast<long long>(pair) * p.tokens + from;
    const long long allRows = static_cast<long long>(gridDim.x / p.chunks) * p.tokens;
    const T* state = static_cast<const T*>(p.states) + stateIndex * p.dimQk * p.dimHv;
    const T* dState = static_cast<const T*>(p.dStates) + stateIndex * p.dimQk * p.dimHv;
    const float* stateN = p.statesN + stateIndex * p.dimQk;
    const float* dStateN = p.dStatesN + stateIndex * p.dimQk;
    const T* q = static_cast<const T*>(p.q) + token * p.dimQk;
    const T* k = static_cast<const T*>(p.k) + token * p.dimQk;
    const T* v = static_cast<const T*>(p.v) + token * p.dimHv;
    const T* dh = static_cast<const T*>(p.dh) + token * p.dimHv;
    const int strideQk = p.heads * p.dimQk;
    const int strideHv = p.heads * p.dimHv;

    const unsigned ring = sharedAddress(shared);
    const unsigned panelP = ring + RING_STAGES * STAGE;
    const unsigned panelW = panelP + 2 * TILE;
    const unsigned strip = panelW + 2 * TILE + warp * 16 * ROW;
    float* columnSums = reinterpret_cast<float*>(shared + 12 * TILE);  // spent before the strips are used
    double* totals = reinterpret_cast<double*>(shared + 12 * TILE + 8 * 16 * ROW);
    float* floats = reinterpret_cast<float*>(totals + 18);
    const Gates gates = {floats,
                         floats + RING_ROWS,
                         floats + 2 * RING_ROWS,
                         floats + 3 * RING_ROWS,
                         floats + 4 * RING_ROWS,
                         floats + 5 * RING_ROWS};
    float* rowSums = floats + 6 * RING_ROWS;
    float* carriedRows = floats + 7 * RING_ROWS;
    float* carriedColumns = floats + 8 * RING_ROWS;

    const int pairsQk = (p.dimQk + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int pairsHv = (p.dimHv + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int slicesQk = (p.dimQk + U::WIDTH - 1) / U::WIDTH;
    const int slicesHv = (p.dimHv + U::WIDTH - 1) / U::WIDTH;
    const int halvesHv = (p.dimHv + U::WIDTH / 2 - 1) / (U::WIDTH / 2);
    const int scoreItems = slicesQk + slicesHv;
    const int perHv = slicesQk + 1;
    const int perQk = halvesHv + 2;
    const int items = scoreItems + pairsHv * perHv + pairsQk * perQk;

    auto loadRows = [&](unsigned to, const T* from, int stride, int slice, int columns) {
        loadTile<T, THREADS>(to, from, stride, RING_ROWS, count, slice * U::WIDTH, columns);
    };
    int issued = 0;
    auto issue = [&]() {
        if (issued < items) {
            const unsigned a = ring + issued % RING_STAGES * STAGE;
            int x = issued++;
            if (x < scoreItems) {
                const bool keys = x < slicesQk;
                x -= keys ? 0 : slicesQk;
                loadRows(a, keys ? q : dh, keys ? strideQk : strideHv, x, keys ? p.dimQk : p.dimHv);
                loadRows(a + TILE, keys ? k : v, keys ? strideQk : strideHv, x, keys ? p.dimQk : p.dimHv);
            } else if (x < scoreItems + pairsHv * perHv) {
                x -= scoreItems;
                const int slice = x / perHv;
                const int part = x % perHv;
                if (part < slicesQk) {
                    loadRows(a, k, strideQk, part, p.dimQk);
#pragma unroll
                    for (int y = 0; y < 2; y++) {
                        loadTile<T, THREADS>(a + TILE + y * SQUARE,
                                             dState + static_cast<long long>(part) * U::WIDTH * p.dimHv, p.dimHv, U::WIDTH,
                                             p.dimQk - part * U::WIDTH, (2 * slice + y) * U::WIDTH, p.dimHv);
                    }
                } else {
                    loadRows(a, dh, strideHv, 2 * slice, p.dimHv);
                    loadRows(a + TILE, dh, strideHv, 2 * slice + 1, p.dimHv);
                }
            } else {
                x -= scoreItems + pairsHv * perHv;
                const int slice = x / perQk;
                const int part = x % perQk;
                if (part < halvesHv) {
                    const long long rows = 2LL * slice * U::WIDTH * p.dimHv;
                    loadHalves<THREADS>(a, v, dh, strideHv, count, part * U::WIDTH / 2, p.dimHv);
                    loadHalves<THREADS>(a + TILE, dState + rows, state + rows, p.dimHv, p.dimQk - 2 * slice * U::WIDTH,
                                        part * U::WIDTH / 2, p.dimHv);
                } else {
                    loadRows(a, q, strideQk, 2 * slice + part - halvesHv, p.dimQk);
                    loadRows(a + TILE, k, strideQk, 2 * slice + part - halvesHv, p.dimQk);
                }
            }
        }
        commitCopies();
    };
    int consumed = 0;
    auto next = [&]() -> unsigned {
        awaitCopies<RING_STAGES - 2>();
        publishShared();
        __syncthreads();
        issue();  // into the stage that everybody has left
        return ring + consumed++ % RING_STAGES * STAGE;
    };
    auto clear = [](float (&c)[64]) {
#pragma unroll
        for (int x = 0; x < 64; x++) {
            c[x] = 0.f;
        }
    };
    // One slice of the own rows of a warp, to global memory.
    auto store = [&](const float (&c)[64], int y, T* to, int stride, int columns) {
        float o[8][4];
#pragma unroll
        for (int x = 0; x < 8; x++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                o[x][e] = c[32 * y + 4 * x + e];
            }
        }
        storeRows<T>(strip, o, 1.f, 1.f, to + y * U::WIDTH, stride, count - row, columns - y * U::WIDTH, lane);
    };

    GateScan<THREADS, RING_ROWS> scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
#pragma unroll 1
    for (int x = 1; x < RING_STAGES; x++) {
        issue();
    }
    scan.scan(gates, totals, count, p.statesM[stateIndex], p.sigmoid != 0);

    GateGradients<GROUPS> gradients;
    {
        float s[64];
        float dp[64];
        auto scores = [&](float (&c)[64], int slices) {
            clear(c);
#pragma unroll 1
            for (int x = 0; x < slices; x++) {
                const unsigned tiles = next();
                beginProducts();
#pragma unroll
                for (int step = 0; step < 4; step++) {
                    product<false, false>(c, alongRows(tiles + half * SQUARE + step * STEP_ALONG),
                                          alongRows(tiles + TILE + step * STEP_ALONG));
                }
                endProducts();
            }
        };
        scores(s, slicesQk);
        scores(dp, slicesHv);
        formGradients<T, GROUPS, true>(p, reinterpret_cast<float(&)[GROUPS][8]>(s),
                                       reinterpret_cast<float(&)[GROUPS][8]>(dp), 4 * (half + 1), gates, row, count,
                                       ownRow, allRows, columnSums, rowSums, panelP, panelW);
        __syncthreads();
        gradients.take(columnSums, rowSums, count, GROUPS);
    }
    const double bLast = totals[2 * GROUPS];
    const double m = p.sigmoid ? 0. : static_cast<double>(static_cast<float>(bLast + totals[2 * GROUPS + 1]));
    const double top = m - bLast;
    const float endHigh = static_cast<float>(top);
    const float endLow = static_cast<float>(top - endHigh);
    auto writes = [&](int t) { return fastExp((gates.uHigh[t] - endHigh) + (gates.uLow[t] - endLow)); };

    // c += (panel^T)[own keys][queries] tiles[queries][two slices]
    const int depthFrom = half * 64;
    auto addTransposed = [&](float (&c)[64], unsigned panel, unsigned tiles) {
#pragma unroll 1
        for (int t = depthFrom; t < RING_ROWS; t += 16) {
            product<true, true>(c, acrossRows(panel + half * TILE + t * ROW, 0), acrossRows(tiles + t * ROW, TILE));
        }
    };
#pragma unroll 1
    for (int slice = 0; slice < pairsHv; slice++) {
        float o[64];
        clear(o);
#pragma unroll 1
        for (int part = 0; part < slicesQk; part++) {
            const unsigned tiles = next();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                product<false, true>(o, alongRows(tiles + half * SQUARE + step * STEP_ALONG),
                                     acrossRows(tiles + TILE + step * STEP_ACROSS, SQUARE));
            }
            endProducts();
        }
        const float low = writes(row + (lane >> 2));
        const float high = writes(row + (lane >> 2) + 8);
#pragma unroll
        for (int x = 0; x < 16; x++) {
            o[4 * x] *= low;
            o[4 * x + 1] *= low;
            o[4 * x + 2] *= high;
            o[4 * x + 3] *= high;
        }
        const unsigned tiles = next();
        beginProducts();
        addTransposed(o, panelP, tiles);
        endProducts();
        T* to = static_cast<T*>(p.dv) + token * p.dimHv + static_cast<long long>(row) * strideHv +
                2 * slice * U::WIDTH;
        store(o, 0, to, strideHv, p.dimHv - 2 * slice * U::WIDTH);
        store(o, 1, to, strideHv, p.dimHv - 2 * slice * U::WIDTH);
    }

    float broughtRow[2] = {0.f, 0.f};
    float broughtColumn[2] = {0.f, 0.f};
    float between = 0.f;
#pragma unroll 1
    for (int slice = 0; slice < pairsQk; slice++) {
        float dk[64];
        float dq[64];
        clear(dk);
        clear(dq);
#pragma unroll 1
        for (int part = 0; part < halvesHv; part++) {
            const unsigned tiles = next();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 2; step++) {
                product<false, false>(dk, alongRows(tiles + half * SQUARE + step * STEP_ALONG),
                                      alongRows(tiles + TILE + step * STEP_ALONG));
                product<false, false>(dq, alongRows(tiles + half * SQUARE + (2 + step) * STEP_ALONG),
                                      alongRows(tiles + TILE + (2 + step) * STEP_ALONG));
            }
#pragma unroll
            for (int x = 0; x < RING_ROWS * 4; x += THREADS) {
                const int r = (x + static_cast<int>(threadIdx.x)) / 4;
                const int c = threadIdx.x % 4;
                between += U::dot16(loadShared4(tiles + TILE + swizzled(r, c)), loadShared4(tiles + TILE + swizzled(r, c + 4)));
            }
            endProducts();
        }
        auto finish = [&](auto which) {
            constexpr int Y = decltype(which)::HALF;
            const unsigned tiles = next();
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int t = row + (lane >> 2) + 8 * r;
                const bool valid = t < count;
                const float write = writes(t);
                const float read = valid ? p.rows[2 * allRows + ownRow + t] : 0.f;
                const float readN = valid ? p.rows[3 * allRows + ownRow + t] : 0.f;
#pragma unroll
                for (int x = 0; x < 8; x++) {
                    const int d = (2 * slice + Y) * U::WIDTH + 8 * x + 2 * (lane & 3);
                    const bool inside = d < p.dimQk;
                    const float2 dn = inside ? *reinterpret_cast<const float2*>(dStateN + d) : make_float2(0.f, 0.f);
                    const float2 n = inside ? *reinterpret_cast<const float2*>(stateN + d) : make_float2(0.f, 0.f);
                    float* keyPart = dk + 32 * Y + 4 * x + 2 * r;
                    float* queryPart = dq + 32 * Y + 4 * x + 2 * r;
                    keyPart[0] = (keyPart[0] + dn.x) * write;
                    keyPart[1] = (keyPart[1] + dn.y) * write;
                    queryPart[0] = queryPart[0] * read + n.x * readN;
                    queryPart[1] = queryPart[1] * read + n.y * readN;
                    const float2 query = U::loadPair(tiles, t, x, lane);
                    const float2 key = U::loadPair(tiles + TILE, t, x, lane);
                    broughtColumn[r] += keyPart[0] * key.x + keyPart[1] * key.y;
                    broughtRow[r] += queryPart[0] * query.x + queryPart[1] * query.y;
                }
            }
            beginProducts();
#pragma unroll 1
            for (int t = depthFrom; t < RING_ROWS; t += 16) {
                productHalf<Y, true, true>(dk, acrossRows(panelW + half * TILE + t * ROW, 0), acrossRows(tiles + t * ROW, 0));
            }
#pragma unroll 1
            for (int t = 0; t < 64 * (half + 1); t += 16) {
                productHalf<Y, false, true>(dq, alongRows(panelW + t / 64 * TILE + half * SQUARE + t % 64 * 2),
                                            acrossRows(tiles + TILE + t * ROW, 0));
            }
            endProducts();
        };
        finish(SliceHalf<0>{});
        finish(SliceHalf<1>{});
        const long long at = token * p.dimQk + static_cast<long long>(row) * strideQk + 2 * slice * U::WIDTH;
        const int columns = p.dimQk - 2 * slice * U::WIDTH;
        store(dk, 0, static_cast<T*>(p.dk) + at, strideQk, columns);
        store(dk, 1, static_cast<T*>(p.dk) + at, strideQk, columns);
        store(dq, 0, static_cast<T*>(p.dq) + at, strideQk, columns);
        store(dq, 1, static_cast<T*>(p.dq) + at, strideQk, columns);
    }

    const float decay = p.decays[stateIndex];
    for (int d = threadIdx.x; d < p.dimQk; d += THREADS) {
        between += stateN[d] * dStateN[d];
    }
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        between += __shfl_xor_sync(0xffffffffu, between, d);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int d = 1; d < 4; d *= 2) {
            broughtRow[r] += __shfl_xor_sync(0xffffffffu, broughtRow[r], d);
            broughtColumn[r] += __shfl_xor_sync(0xffffffffu, broughtColumn[r], d);
        }
        if ((lane & 3) == 0) {
            carriedRows[row + (lane >> 2) + 8 * r] = broughtRow[r];
            carriedColumns[row + (lane >> 2) + 8 * r] = broughtColumn[r];
        }
    }
    __syncthreads();
    if (lane == 0) {
        totals[GROUPS + warp] = static_cast<double>(between) * decay;
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

}  // namespace lram

extern "C" __global__ void __launch_bounds__(256, 1)
        mlstm_backward_chunk_ring_sm90(const __grid_constant__ lram::MlstmBackward p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    lram::backwardRingSm90(p, lram::sharedBytes);
#else
    __trap();
#endif
}
