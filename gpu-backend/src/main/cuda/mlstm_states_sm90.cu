// What a chunk adds to the state by warpgroup products: mlstm_chunk_states (mlstm_states.cu) for bf16, chunks of up to 128
// tokens, sm_90a only.
//
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_states_sm90.cu; on another target the body traps. Shared memory by chunkStatesSm90SharedBytes().
#include "mlstm_states.cuh"
#include "mlstm_wgmma.cuh"

namespace lram {

constexpr int SM90_TOKENS = 128;

__host__ __device__ constexpr int chunkStatesSm90SharedBytes() { return 4 * SM90_TOKENS * ROW + 2 * SM90_TOKENS * 4; }

// 128 x 128 of what one chunk adds a block, a warpgroup 64 rows of it. The whole chunk is in shared memory at once, its rows
// are weighted there; other blocks of the multiprocessor compute meanwhile. Grid as that of mlstm_chunk_states.
__device__ __forceinline__ void chunkStatesSm90(const MlstmStates& p, unsigned char* shared) {
    using T = __nv_bfloat16;
    using U = Unit<T>;
    constexpr int THREADS = 256;
    constexpr int TILE = SM90_TOKENS * ROW;
    const int tilesQk = (p.dimQk + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int tilesHv = (p.dimHv + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int tileQk = blockIdx.x % tilesQk;
    const int tileHv = blockIdx.x / tilesQk % tilesHv;
    const Place place(blockIdx.x / (tilesQk * tilesHv), p.heads, p.chunks);
    const int pair = place.pair;
    const int chunk = place.chunk;
    const int slot = p.reverse ? chunk - 1 : chunk + 1;
    const bool toLast = slot < 0 || slot == p.chunks;
    if (toLast && p.lastC == nullptr) {
        return;
    }
    const int from = chunk * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const int rowFrom = tileQk * 2 * U::WIDTH;
    const int columnFrom = tileHv * 2 * U::WIDTH;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int half = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
    const unsigned tiles = sharedAddress(shared);  // rows, rows, columns, columns
    float* weights = reinterpret_cast<float*>(shared + 4 * TILE);
    float* weightsN = weights + SM90_TOKENS;

    const long long token = (static_cast<long long>(pair / p.heads) * p.tokens + from) * p.heads + pair % p.heads;
    const T* rows = static_cast<const T*>(p.rows) + token * p.dimQk;
    const T* columns = static_cast<const T*>(p.columns) + token * p.dimHv;
#pragma unroll
    for (int y = 0; y < 2; y++) {
        loadTile<T, THREADS>(tiles + y * TILE, rows, p.heads * p.dimQk, SM90_TOKENS, count, rowFrom + y * U::WIDTH, p.dimQk);
        loadTile<T, THREADS>(tiles + (2 + y) * TILE, columns, p.heads * p.dimHv, SM90_TOKENS, count,
                             columnFrom + y * U::WIDTH, p.dimHv);
    }
    commitCopies();
    if (threadIdx.x < SM90_TOKENS) {
        const int t = threadIdx.x;
        const long long own = static_cast<long long>(pair) * p.tokens + from + t;
        weights[t] = t < count ? p.weights[own] : 0.f;
        weightsN[t] = t < count ? p.weightsN[own] : 0.f;
    }
    awaitCopies<0>();
    __syncthreads();
    // Two columns and a quarter of the tokens a thread: n before the rows are weighted.
    float n[2] = {0.f, 0.f};
    const int column = 2 * (threadIdx.x & 63);
    const int quarter = threadIdx.x / 64;
    if (tileHv == 0) {
#pragma unroll 4
        for (int t = quarter * 32; t < quarter * 32 + 32; t++) {
            const float2 x = U::loadPair(tiles + column / 64 * TILE, t, column % 64 / 8, column % 8 / 2);
            n[0] += x.x * weightsN[t];
            n[1] += x.y * weightsN[t];
        }
        __syncthreads();
    }
#pragma unroll
    for (int x = 0; x < 2 * TILE / 16; x += THREADS) {
        const unsigned at = tiles + 16 * (x + threadIdx.x);
        const float w = weights[(x + threadIdx.x) / 8 % SM90_TOKENS];
        float y[8];
        U::unpackVector(loadShared4(at), y);
        asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(U::pack(y[0] * w, y[1] * w)),
                     "r"(U::pack(y[2] * w, y[3] * w)), "r"(U::pack(y[4] * w, y[5] * w)), "r"(U::pack(y[6] * w, y[7] * w))
                     : "memory");
    }
    publishShared();
    __syncthreads();
    float c[64];
#pragma unroll
    for (int x = 0; x < 64; x++) {
        c[x] = 0.f;
    }
    beginProducts();
#pragma unroll
    for (int step = 0; step < SM90_TOKENS / 16; step++) {
        product<true, true>(c, acrossRows(tiles + half * TILE + step * 2048, 0),
                            acrossRows(tiles + 2 * TILE + step * 2048, TILE));
    }
    endProducts();
    __syncthreads();  // the tiles are spent: they serve as strips and for n

    const float factor = p.factors != nullptr ? p.factors[static_cast<long long>(pair) * p.chunks + chunk] : 1.f;
    const long long index = toLast ? pair : static_cast<long long>(pair) * p.chunks + slot;
    const int row = rowFrom + 16 * warp;
    if (toLast) {
#pragma unroll
        for (int x = 0; x < 16; x++) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int d = row + (lane >> 2) + 8 * r;
                const int e = columnFrom + 8 * x + 2 * (lane & 3);
                if (d < p.dimQk && e < p.dimHv) {
                    *reinterpret_cast<float2*>(p.lastC + (index * p.dimQk + d) * p.dimHv + e) =
                            make_float2(c[4 * x + 2 * r] * factor, c[4 * x + 2 * r + 1] * factor);
                }
            }
        }
    } else {
        T* to = static_cast<T*>(p.states) + (index * p.dimQk + row) * p.dimHv + columnFrom;
#pragma unroll
        for (int y = 0; y < 2; y++) {
            float o[8][4];
#pragma unroll
            for (int x = 0; x < 8; x++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    o[x][e] = c[32 * y + 4 * x + e];
                }
            }
            storeRows<T>(tiles + warp * 16 * ROW, o, factor, factor, to + y * U::WIDTH, p.dimHv, p.dimQk - row,
                         p.dimHv - columnFrom - y * U::WIDTH, lane);
        }
    }
    if (tileHv == 0) {
        float* sums = reinterpret_cast<float*>(shared + 2 * TILE);
        sums[quarter * 128 + column] = n[0];
        sums[quarter * 128 + column + 1] = n[1];
        __syncthreads();
        const int d = threadIdx.x;
        if (d < 128 && rowFrom + d < p.dimQk) {
            (toLast ? p.lastN : p.statesN)[index * p.dimQk + rowFrom + d] =
                    (sums[d] + sums[128 + d] + sums[256 + d] + sums[384 + d]) * factor;
        }
    }
}

}  // namespace lram

extern "C" __global__ void __launch_bounds__(256, 2)
        mlstm_chunk_states_sm90(const __grid_constant__ lram::MlstmStates p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    lram::chunkStatesSm90(p, lram::sharedBytes);
#else
    __trap();
#endif
}
