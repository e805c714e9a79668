// Phases of an mLSTM block of the control step, as parts of any grid of blocks.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmBlock for blocks of four in q, k and v, up to 3 tokens a session. Three
// phases, each of which reads what the whole grid wrote in the one before:
//   up    norm of x; a block's channels of u and z; their convolution, q, k, v and shares of the gates
//   cell  of a session's head a run of value columns and a band of rows: gates, weights of state and new tokens, answers, what goes into C
//   down  head norm, skip and gate of all channels; a block's rows of the down-projection, added to x; what heads keep
// A block owns its channels, columns and rows, so nothing is added up by atomics: sums depend on sizes and the grid alone.
// Each phase has a beginning, which needs nothing of the phase before and runs while the grid still works on that: bf16
// weights go into registers, normaliser and the small weights into shared memory, the state into registers.
// New tokens go into C in the step that brings them, where each block has one unit while the grid waits for the last phase: it has
// its part of C in registers and writes it once. A ring that other kernels left is folded first.
//
// Products of bf16 weights run on tensor cores (STEP_MMA): x as the sum of three bf16 numbers, which hold all of its 24 bits,
// is the left side, eight rows of weights the right one. Other weights are rows of dot products.
//
// Bytes: the weights once, the matrix state read and written; x and the heads' answers, queries and keys once a block of the
// grid, from the second-level cache. Time is not bytes but what follows one after the other: so sizes are constants of the
// compilation (BlockSteps.java gives them), and a warp has little to do in each phase.
#pragma once
#include "step_common.cuh"
#include "step_mma.cuh"

namespace lram {

constexpr int TAPS = 4;
constexpr int D = STEP_WIDTH;
constexpr int I = STEP_INNER;
constexpr int NH = STEP_HEADS;
constexpr int DH = I / NH;
constexpr int B = STEP_ROWS;
constexpr int L = STEP_TOKENS;
constexpr int BLOCKS = STEP_BLOCKS;  // of the grid
constexpr int RING = STEP_RING;
constexpr int COLUMNS = STEP_COLUMNS;  // value columns of a unit of the cell, a multiple of 4
constexpr bool SIGMOID = STEP_SIGMOID;

#if STEP_TYPE == 0
using Weight = float;
#elif STEP_TYPE == 1
using Weight = Bf16;
#else
using Weight = signed char;
#endif

constexpr int ALL = B * L;
constexpr int PADDED = (ALL + TOKENS - 1) / TOKENS * TOKENS;
constexpr int CHANNELS = 4 * ((I / 4 + BLOCKS - 1) / BLOCKS);  // most of a block
constexpr int ROWS = (D + BLOCKS - 1) / BLOCKS;
constexpr int CHUNKS = (DH + COLUMNS - 1) / COLUMNS;
constexpr int BANDS = STEP_BANDS;  // of the rows of C, whose answers `down` adds up
constexpr int BAND = (DH + BANDS - 1) / BANDS;  // rows
constexpr int HEAD_UNITS = CHUNKS * BANDS;
constexpr int UNITS = B * NH * HEAD_UNITS;
constexpr int QUADS = COLUMNS / 4;
constexpr int HEAD_QUADS = (DH + 127) / 128;  // of a head, a lane's
constexpr int LINES = LRAM_THREADS / QUADS;
constexpr bool WARP_QUADS = QUADS <= 8 && 8 % QUADS == 0;  // a warp has whole lines, and adds them up
constexpr int STATE_QUADS = (BAND + LINES - 1) / LINES;  // of the matrix state, a thread's
constexpr int PIECE = STATE_QUADS <= 10 ? STATE_QUADS : 8;  // of these in registers at once
constexpr int LAST_PIECE = (STATE_QUADS - 1) / PIECE * PIECE;
constexpr int FOLD_ROWS = 4;                               // of these, where a ring is folded

// The weights and the kept state of one block, as SessionOps names them.
struct StepLayer {
    const float* normWeight;
    const Weight* upU;
    const float* upUScale;  // int8 alone, as the others
    const Weight* upZ;
    const float* upZScale;
    const float* conv;
    const float* convBias;
    const float* wq;
    const float* wk;
    const float* wv;
    const float* wi;
    const float* bi;
    const float* wf;
    const float* bf;
    const float* headNorm;
    const float* skip;
    const Weight* down;
    const float* downScale;
    float* matC;
    float* vecN;
    float* scaM;
    float* ringK;
    float* ringV;
    float* ringI;
    float* ringF;
    int* ringLength;
    int* folded;
    float* history;
};

constexpr int STEP_LAYERS = 32;  // most blocks of one launch
constexpr int LAYERS_FLOATS = STEP_LAYERS * static_cast<int>(sizeof(StepLayer) / sizeof(float));

struct StepShape {
    const int* slots;
    const int* counts;
    float* x;
    float* times;  // gates: what a channel's normed answer is multiplied with, (B, L, I), as the rest
    float* plus;   // and what is added
    float* q;
    float* k;
    float* v;
    float* h;
    float* shares;  // of the gates: (T, NH, 2, BLOCKS); behind them of each head a HeadAfter, then what bandAnswers gives
    int pool;
    float scale;
    float cellEps;
    float normEps;
    float headEps;
    Faults faults;
};

// Where a block stands in its grid: channels [c0, c0 + channels) of the inner width and rows [r0, r0 + rows) of x are its own.
struct Place {
    int block;
    int c0;
    int channels;
    int r0;
    int rows;

    __device__ Place(int at) : block(at) {
        c0 = 4 * (at * (I / 4) / BLOCKS);
        channels = 4 * ((at + 1) * (I / 4) / BLOCKS) - c0;
        r0 = at * D / BLOCKS;
        rows = (at + 1) * D / BLOCKS - r0;
    }
};

// This thread's number, of which the compiler may not know that it stays the same: what a phase reckons from it takes no
// registers in the others. Found once, before the loop over blocks, it took over a hundred.
__device__ __forceinline__ int thread() {
    int self = static_cast<int>(threadIdx.x);
#ifndef LRAM_EMULATED
    asm volatile("" : "+r"(self));
#endif
    return self;
}

// How the warps share N rows of bf16 weights of depth K: tiles of eight rows by groups of warps, the depth by the warps of a
// group. A warp keeps its tiles for one product in registers.
constexpr int TILE_TOKENS = ALL < 5 ? ALL : 5;  // whose three parts are the sixteen rows of an instruction, but for one
constexpr int TOKEN_TILES = (ALL + TILE_TOKENS - 1) / TILE_TOKENS;

__host__ __device__ constexpr int heldBy(int tiles, int steps, int groups) {
    const int splits = LRAM_WARPS / groups;
    return (tiles + groups - 1) / groups * ((steps + splits - 1) / splits);
}

__host__ __device__ constexpr int groupsOf(int tiles, int steps) {
    int best = 1;
    for (int g = 2; g <= LRAM_WARPS; g *= 2) {
        if (heldBy(tiles, steps, g) <= heldBy(tiles, steps, best)) {
            best = g;
        }
    }
    return best;
}

// Words of 16 bytes of weights that a thread holds ahead, at most, without running out of registers.
constexpr int UP_EARLY = 9 * 512 / LRAM_THREADS;
constexpr int DOWN_EARLY = 5 * 512 / LRAM_THREADS;

template <int N_ROWS, int K, int MOST_EARLY>
struct Tiles {
    static constexpr int N = N_ROWS;
    static constexpr int TILES = (N + 7) / 8;
    static constexpr int STEPS = K / 32;
    static constexpr int GROUPS = groupsOf(TILES, STEPS);
    static constexpr int SPLITS = LRAM_WARPS / GROUPS;
    static constexpr int HELD_TILES = (TILES + GROUPS - 1) / GROUPS;
    static constexpr int HELD_STEPS = (STEPS + SPLITS - 1) / SPLITS;
    static constexpr int PITCH = K % 64 == 0 ? K + 32 : K;  // of the parts: two rows fill all banks
    static constexpr int LINE = 8 * (TILES | 1);            // of the partial sums
    static constexpr int SPLIT = 16 * LINE + 4;
    static constexpr int PARTS_FLOATS = (3 * ALL * PITCH + 7) / 8 * 4;
    static constexpr int FLOATS = PARTS_FLOATS + SPLITS * SPLIT;
    static constexpr int EARLY = least(HELD_STEPS, most(1, MOST_EARLY / HELD_TILES));  // steps
};

using UpTiles = Tiles<2 * CHANNELS, D, UP_EARLY>;
using DownTiles = Tiles<ROWS, I, DOWN_EARLY>;

// Shared memory in fp32 words, as BlockSteps.java reckons: what the phases work with in turn; gates; weights of `up`, the large ones
// where they are copied; a head's normaliser and stabiliser; addresses of the blocks. What most is copied to comes first and at
// multiples of 128 bytes: a warp's copy takes longer where its lines are not lines of shared memory.
constexpr int RING4 = (RING + 3) / 4 * 4;
constexpr int SCALARS = 64;
constexpr int SMALL_FLOATS = D + CHANNELS * (19 + 6 * NH);
constexpr int LARGE_FLOATS =
        STEP_KEPT ? (int) ((sizeof(Weight) * (2LL * CHANNELS * D + static_cast<long long>(ROWS) * I) + 15) / 16 * 4) : 0;
constexpr int UP_FLOATS = (STEP_MMA ? UpTiles::FLOATS : PADDED * D) + 6 * CHANNELS * PADDED;
constexpr int PARTS_FLOATS = TOKENS * COLUMNS * (WARP_QUADS ? LRAM_WARPS : LINES);
constexpr int CELL_FLOATS =
        most(SCALARS + TOKENS * COLUMNS + 2 * TOKENS * DH + PARTS_FLOATS, 4 + 3 * RING4);  // the second to fold a ring
constexpr int MIXED = (STEP_MMA ? ALL : PADDED) * NH;              // heads of tokens that `down` norms, one a warp
constexpr bool HELD_GATES = MIXED <= LRAM_WARPS && HEAD_QUADS <= 2;  // read into registers while the grid waits
constexpr bool COPIED_GATES = STEP_COPIED;                           // or in shared memory
constexpr int DOWN_FLOATS = (STEP_MMA ? DownTiles::FLOATS : PADDED * I + 8 * ROWS * TOKENS) + ALL * ROWS;
constexpr int WORK_FLOATS = (most(most(UP_FLOATS, CELL_FLOATS), DOWN_FLOATS) + 31) / 32 * 32;
constexpr int HEAD_FLOATS = 4 + DH;
constexpr int GATE_BYTES = 4 * ALL * I;  // of what channels' answers are multiplied with, and of what is added
constexpr int GATES_FLOATS = COPIED_GATES ? 2 * GATE_BYTES / 4 : 0;
constexpr int STEP_FLOATS =
        SMALL_FLOATS + LARGE_FLOATS + WORK_FLOATS + HEAD_FLOATS + GATES_FLOATS + LAYERS_FLOATS;
static_assert(!COPIED_GATES || !HELD_GATES, "in one place");
static_assert(LRAM_WARPS > TOKENS + 1, "a warp for each new key, one for the normaliser, one for weights");
static_assert(LRAM_WARPS > 8, "a warp for each kind of small weights, and others for the gates'");
#ifdef STEP_SHARED
static_assert(4 * STEP_FLOATS == STEP_SHARED, "BlockSteps.java reckons other shared memory than the phases take");
#endif
#if STEP_MMA
static_assert(STEP_TYPE == 1 && D % 32 == 0 && I % 32 == 0 && !STEP_KEPT, "rows of whole instructions");
#endif

// A block's part of shared memory. The large weights stay in device memory where there is no room.
struct StepWeights {
    float* work;        // of a phase
    float* gateTimes;   // (ALL, I), where gates are copied
    float* gatePlus;    // (ALL, I)
    Weight* up;         // rows of u, then of z
    Weight* down;
    float* norm;        // (D)
    float* conv;        // (channels, 4)
    float* convBias;    // (channels)
    float* maps;        // q, k, v: (3, channels, 4)
    float* headNorm;    // (channels)
    float* skip;        // (channels)
    float* gates;       // (NH, i and f, 3, channels)
    float* stabiliser;  // (1)
    float* normaliser;  // (DH)

    __device__ StepWeights(float* memory) {
        work = memory;
        gateTimes = work + WORK_FLOATS;
        gatePlus = gateTimes + GATES_FLOATS / 2;
        up = reinterpret_cast<Weight*>(work + WORK_FLOATS + GATES_FLOATS);
        down = up + 2 * CHANNELS * D;
        norm = work + WORK_FLOATS + GATES_FLOATS + LARGE_FLOATS;
        conv = norm + D;
        convBias = conv + 4 * CHANNELS;
        maps = convBias + CHANNELS;
        headNorm = maps + 12 * CHANNELS;
        skip = headNorm + CHANNELS;
        gates = skip + CHANNELS;
        stabiliser = norm + SMALL_FLOATS;
        normaliser = stabiliser + 4;
    }
};

// What the cell works with.
struct CellMemory {
    float* gates;        // i, then f, of the new tokens: (2, 4)
    float* factors;      // of the state in a new token's answer
    float* least;        // of a normaliser
    float* stabilisers;  // after each new token
    float* fresh;        // of new tokens in new tokens' answers, (TOKENS, 4)
    float* dots;         // queries times new keys, and times the normaliser: (TOKENS, 4)
    float* values;       // of the new tokens, (TOKENS, COLUMNS)
    float* queries;      // (TOKENS, DH)
    float* keys;         // (TOKENS, DH)
    float* parts;        // of sums

    __device__ __forceinline__ CellMemory(float* memory) {
        gates = memory;
        factors = memory + 8;
        least = memory + 12;
        stabilisers = memory + 16;
        fresh = memory + 20;
        dots = memory + 32;
        values = memory + SCALARS;
        queries = values + TOKENS * COLUMNS;
        keys = queries + TOKENS * DH;
        parts = keys + TOKENS * DH;
    }
};

// Begins to copy; bytes and both addresses are multiples of 16.
__device__ __forceinline__ void copyBegin(void* to, const void* from, int bytes) {
    const int self = thread();
#pragma unroll 1
    for (int i = 16 * self; i < bytes; i += 16 * LRAM_THREADS) {
        copySixteen(static_cast<unsigned char*>(to) + i, static_cast<const unsigned char*>(from) + i);
    }
}

// As copyBegin, by one warp: what others copy meanwhile costs it nothing.
__device__ __forceinline__ void warpCopies(int warp, void* to, const void* from, int bytes) {
    const int self = thread();
    if ((self >> 5) == warp) {
#pragma unroll 1
        for (int i = 16 * (self & 31); i < bytes; i += 16 * 32) {
            copySixteen(static_cast<unsigned char*>(to) + i, static_cast<const unsigned char*>(from) + i);
        }
    }
}

__device__ __forceinline__ float4 load4(const Bf16* w) { return widened(*reinterpret_cast<const uint2*>(w)); }

__device__ __forceinline__ float4 load4(const signed char* w) { return widened(*reinterpret_cast<const unsigned*>(w)); }

__device__ __forceinline__ float4 minus(const float4& a, float b) {
    float4 x;
    x.x = a.x - b;
    x.y = a.y - b;
    x.z = a.z - b;
    x.w = a.w - b;
    return x;
}

// To two units of the last place, without the instructions of an exact quotient.
__device__ __forceinline__ float stepSigmoid(float x) {
#ifdef LRAM_EMULATED
    return sigmoidOf(x);
#else
    return __fdividef(1.f, 1.f + expf(-x));
#endif
}

// 1 / sqrt(x) to two units of the last place, without the instructions of an exact root and quotient.
__device__ __forceinline__ float rootOf(float x) {
#ifdef LRAM_EMULATED
    return 1.f / sqrtf(x);
#else
    const float y = rsqrtf(x);
    return fmaf(y * fmaf(-x * y, y, 1.f), 0.5f, y);
#endif
}

// w[0..N) times three rows of x in shared memory; lane t gets row t's. N is a multiple of 4.
template <int N, typename W>
__device__ __forceinline__ float dotRow(const W* w, const float* x, int pitch) {
    const int self = thread();
    float sum[TOKENS] = {0.f, 0.f, 0.f};
#pragma unroll
    for (int k0 = 0; k0 < N; k0 += 128) {
        const int k = k0 + 4 * (self & 31);
        if (k0 + 128 <= N || k < N) {
            const float4 a = load4(w + k);
            sum[0] = dot4(a, load4(x + k), sum[0]);
            sum[1] = dot4(a, load4(x + pitch + k), sum[1]);
            sum[2] = dot4(a, load4(x + 2 * pitch + k), sum[2]);
        }
    }
    return threeSums(self & 31, sum[0], sum[1], sum[2]);
}

// Four numbers into a row of x: as they are, or as the sum of three bf16 numbers in three rows.
template <int PITCH>
__device__ __forceinline__ void putRow(float* to, const float4& x) {
    *reinterpret_cast<float4*>(to) = x;
}

template <int PITCH>
__device__ __forceinline__ void putRow(Bf16* to, const float4& x) {
    float rest[4];
    unpack(x, rest);
#pragma unroll
    for (int part = 0; part < 3; part++) {
        const uint2 bits = pack4(rest);
        store(to + part * PITCH, bits);
        float gone[4];
        unpack4(bits, gone);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            rest[j] -= gone[j];
        }
    }
}

#if STEP_MMA
using Row = Bf16;
constexpr int UP_PITCH = UpTiles::PITCH;
constexpr int DOWN_PITCH = DownTiles::PITCH;
constexpr int TOKEN_ROWS = 3;  // of a token
#else
using Row = float;
constexpr int UP_PITCH = D;
constexpr int DOWN_PITCH = I;
constexpr int TOKEN_ROWS = 1;
#endif

// A warp's tiles of a product's rows of weights. A thread takes eight elements of a row at once, as words of the left side's rows do: the
// order of the depth within 32 is the same on both sides and any. At most MOST_EARLY words of 16 bytes, but one step at least, are
// held while something else goes on; the others follow at the product's start.
template <typename T>
struct HeldTiles {
    static constexpr int N = T::N;
    static constexpr int EARLY = T::EARLY;
    uint4 words[EARLY][T::HELD_TILES];

    static __device__ __forceinline__ int step(int self, int j) { return (self >> 5) / T::GROUPS * T::HELD_STEPS + j; }

    static __device__ __forceinline__ int tile(int self, int i) { return (self >> 5) % T::GROUPS * T::HELD_TILES + i; }

    static __device__ __forceinline__ bool works(int self, int j) {
        return T::STEPS % T::SPLITS == 0 || step(self, j) < T::STEPS;
    }

    template <int FROM, int TO, typename RowOf>
    static __device__ __forceinline__ void load(const RowOf& row, uint4 (*to)[T::HELD_TILES]) {
        const int self = thread();
#pragma unroll
        for (int i = 0; i < T::HELD_TILES; i++) {
            const Bf16* from = row(min(8 * tile(self, i) + (self & 31) / 4, N - 1)) + 8 * (self & 3);
#pragma unroll
            for (int j = FROM; j < TO; j++) {
                if (works(self, j)) {
                    to[j - FROM][i] = load16Bytes(from + 32 * step(self, j));
                }
            }
        }
    }

    // `row` gives the address of a row of the weights.
    template <typename RowOf>
    __device__ __forceinline__ void begin(const RowOf& row) {
        load<0, EARLY>(row, words);
    }

    // parts: three rows a token; the block has met a barrier since they were written. One thread for each sum calls
    // take(token, row, sum).
    template <typename RowOf, typename Take>
    __device__ __forceinline__ void multiply(const RowOf& weights, const Bf16* parts, float* sums, const Take& take) {
        const int self = thread();
        constexpr int helpers = T::SPLITS;
        constexpr int outputs = TILE_TOKENS * N;
        const int r = (self & 31) / 4;
        const int t = self & 3;
        uint4 late[most(1, T::HELD_STEPS - EARLY)][T::HELD_TILES];
        load<EARLY, T::HELD_STEPS>(weights, late);
#pragma unroll 1
        for (int m = 0; m < TOKEN_TILES; m++) {
            const int first = 3 * TILE_TOKENS * m + r;
            const Bf16* low = parts + min(first, 3 * ALL - 1) * T::PITCH + 8 * t;
            const Bf16* high = parts + min(first + 8, 3 * ALL - 1) * T::PITCH + 8 * t;
            float even[T::HELD_TILES][4];
            float odd[T::HELD_TILES][4];  // two chains of a tile, where a warp has one alone
#pragma unroll
            for (int i = 0; i < T::HELD_TILES; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    even[i][j] = odd[i][j] = 0.f;
                }
            }
#pragma unroll
            for (int j = 0; j < T::HELD_STEPS; j++) {
                if (works(self, j)) {
                    const uint4 a = load16Bytes(low + 32 * step(self, j));
                    const uint4 b = load16Bytes(high + 32 * step(self, j));
#pragma unroll
                    for (int i = 0; i < T::HELD_TILES; i++) {
                        const uint4& x = j < EARLY ? words[j < EARLY ? j : 0][i] : late[j < EARLY ? 0 : j - EARLY][i];
                        mma(even[i], a.x, b.x, a.y, b.y, x.x, x.y);
                        mma(T::HELD_TILES == 1 ? odd[i] : even[i], a.z, b.z, a.w, b.w, x.z, x.w);
                    }
                }
            }
            float* to = sums + (self >> 5) / T::GROUPS * T::SPLIT + r * T::LINE + 2 * t;
#pragma unroll
            for (int i = 0; i < T::HELD_TILES; i++) {
                if (T::GROUPS * T::HELD_TILES == T::TILES || tile(self, i) < T::TILES) {
                    float* at = to + 8 * tile(self, i);
                    at[0] = even[i][0] + odd[i][0];
                    at[1] = even[i][1] + odd[i][1];
                    at[8 * T::LINE] = even[i][2] + odd[i][2];
                    at[8 * T::LINE + 1] = even[i][3] + odd[i][3];
                }
            }
            __syncthreads();
#pragma unroll
            for (int o0 = 0; o0 < outputs; o0 += LRAM_THREADS / helpers) {
                const int o = o0 + self / helpers;
                const int token = min(o, outputs - 1) / N;
                const int row = min(o, outputs - 1) % N;
                const float* from =
                        sums + self % helpers * T::SPLIT + 3 * token * T::LINE + row;
                const float sum = groupSum<helpers>(from[2 * T::LINE] + from[T::LINE] + from[0]);
                if (self % helpers == 0 && o < outputs && TILE_TOKENS * m + token < ALL) {
                    take(TILE_TOKENS * m + token, row, sum);
                }
            }
            if (m + 1 < TOKEN_TILES) {
                __syncthreads();
            }
        }
    }
};

// Every warp of every block finds the same faults, so all leave a faulty step alone.
__device__ __forceinline__ bool refused(const StepShape& p) {
    bool wrong = faulted(p.faults);
    const int b = static_cast<int>(threadIdx.x) & 31;
    static_assert(B <= 32, "a lane for each row");
    if (b < B) {
        const int slot = p.slots[b];
        const int count = p.counts[b];
        if (slot < 0 || slot >= p.pool) {
            reportFault(p.faults, FAULT_SLOT, b, slot, p.pool - 1);
            wrong = true;
        }
        if (count < 0 || count > L) {
            reportFault(p.faults, FAULT_COUNT, b, count, L);
            wrong = true;
        }
        for (int other = 0; other < b; other++) {
            if (p.slots[other] == slot) {
                reportFault(p.faults, FAULT_DUPLICATE, b, slot, B);
                wrong = true;
            }
        }
    }
    return __any_sync(0xffffffffu, wrong);
}

// ---- up

// Begins to copy what the next upPhase needs.
__device__ __forceinline__ void upCopies(const StepLayer& w, const Place& at, const StepWeights& to) {
    const int self = thread();
#if STEP_KEPT
    const long long from = static_cast<long long>(at.c0) * D;
    const int bytes = at.channels * D * static_cast<int>(sizeof(Weight));
    copyBegin(to.up, w.upU + from, bytes);
    copyBegin(to.up + CHANNELS * D, w.upZ + from, bytes);
#endif
    warpCopies(0, to.norm, w.normWeight, 4 * D);
    warpCopies(1, to.conv, w.conv + TAPS * at.c0, 16 * at.channels);
    if (w.convBias != nullptr) {
        warpCopies(2, to.convBias, w.convBias + at.c0, 4 * at.channels);
    }
    warpCopies(3, to.maps, w.wq + 4 * at.c0, 16 * at.channels);
    warpCopies(4, to.maps + 4 * CHANNELS, w.wk + 4 * at.c0, 16 * at.channels);
    warpCopies(5, to.maps + 8 * CHANNELS, w.wv + 4 * at.c0, 16 * at.channels);
    warpCopies(6, to.headNorm, w.headNorm + at.c0, 4 * at.channels);
    warpCopies(7, to.skip, w.skip + at.c0, 4 * at.channels);
    constexpr int first = 8 * 32;  // of the other warps
#pragma unroll 1
    for (int i = self - first; i >= 0 && i < 6 * NH * CHANNELS / 4; i += LRAM_THREADS - first) {
        const int line = i / (CHANNELS / 4);
        const int j = 4 * (i % (CHANNELS / 4));
        const int gate = line / 3;  // head and which
        if (j < at.channels) {
            copySixteen(to.gates + line * CHANNELS + j,
                        (gate % 2 == 0 ? w.wi : w.wf) + (gate / 2 * 3 + line % 3) * I + at.c0 + j);
        }
    }
}

// Norm of x: the warps share a row where there are few.
constexpr int NORM_WARPS = most(1, least(LRAM_WARPS / ALL, (D + 127) / 128));  // of a row
constexpr int NORM_ROWS = LRAM_WARPS / NORM_WARPS;                              // at a time
constexpr int NORM_QUADS = (D + 128 * NORM_WARPS - 1) / (128 * NORM_WARPS);     // of a lane

// `stats`: 2 * LRAM_WARPS floats of shared memory. Ends without a barrier.
__device__ __forceinline__ void normRows(const StepShape& p, const float* weight, float* stats, Row* to) {
    const int self = thread();
    constexpr int span = 128 * NORM_QUADS;  // elements of a warp
    constexpr float one = STEP_RESIDUAL ? 1.f : 0.f;
    const int group = (self >> 5) / NORM_WARPS;
    const int from = (self >> 5) % NORM_WARPS * span + 4 * (self & 31);
#pragma unroll 1
    for (int t0 = 0; t0 < ALL; t0 += NORM_ROWS) {
        const int t = t0 + group;
        const bool mine = t < ALL && group < NORM_ROWS;
        float4 v[NORM_QUADS];
        float sum = 0.f;
#pragma unroll
        for (int i = 0; i < NORM_QUADS; i++) {
            v[i] = mine && from + 128 * i < D ? load4(p.x + t * D + from + 128 * i) : none();
        }
#pragma unroll
        for (int i = 0; i < NORM_QUADS; i++) {
            sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
        }
        const int count = D % span == 0 ? span : min(span, D - (self >> 5) % NORM_WARPS * span);
        const float own = STEP_CENTRED && count > 0 ? groupSum<32>(sum) / static_cast<float>(count) : 0.f;
        float squares = 0.f;
#pragma unroll
        for (int i = 0; i < NORM_QUADS; i++) {
            if (from + 128 * i < D) {
                const float4 x = minus(v[i], own);
                squares = dot4(x, x, squares);
            }
        }
        squares = groupSum<32>(squares);
        if (NORM_WARPS > 1) {
            if ((self & 31) == 0) {
                stats[2 * (self >> 5)] = own;
                stats[2 * (self >> 5) + 1] = squares;
            }
            __syncthreads();
        }
        float mean = own;
        if (NORM_WARPS > 1) {
            const float* of = stats + 2 * group * NORM_WARPS;
            mean = 0.f;
            squares = 0.f;
            if (mine) {
#pragma unroll
                for (int i = 0; i < NORM_WARPS; i++) {
                    mean = fmaf(of[2 * i], static_cast<float>(most(0, least(span, D - i * span))), mean);
                }
                mean /= D;
#pragma unroll
                for (int i = 0; i < NORM_WARPS; i++) {
                    const float away = of[2 * i] - mean;
                    squares += fmaf(away * away, static_cast<float>(most(0, least(span, D - i * span))), of[2 * i + 1]);
                }
            }
        }
        const float rstd = rootOf(squares / D + p.normEps);
#pragma unroll
        for (int i = 0; i < NORM_QUADS; i++) {
            const int j = from + 128 * i;
            if (mine && j < D) {
                const float4 scale = load4(weight + j);
                float4 y = minus(v[i], mean);
                y.x *= rstd * (one + scale.x);
                y.y *= rstd * (one + scale.y);
                y.z *= rstd * (one + scale.z);
                y.w *= rstd * (one + scale.w);
                putRow<UP_PITCH>(to + TOKEN_ROWS * t * UP_PITCH + j, y);
            }
        }
        if (NORM_WARPS > 1 && ALL > NORM_ROWS) {
            __syncthreads();
        }
    }
}

// Addresses of a block's rows of u and z; beyond its last, any row's.
struct UpRow {
    const Weight* u;
    const Weight* z;
    int c0;

    __device__ __forceinline__ UpRow(const StepLayer& w, const Place& at) : u(w.upU), z(w.upZ), c0(at.c0) {}

    __device__ __forceinline__ const Weight* operator()(int i) const {
        return (i < CHANNELS ? u : z) + static_cast<long long>(min(c0 + i % CHANNELS, I - 1)) * D;
    }
};

// A thread convolves a channel of one token where there are as many threads, else of all of a session's.
constexpr int CONV_TOKENS = B * CHANNELS * TOKENS <= LRAM_THREADS ? 1 : TOKENS;

// What a thread holds for the next upPhase: weights, and the earlier inputs of a channel's convolution.
struct UpAhead {
    static constexpr int PAST = TAPS - 1;
    float line[PAST];
    int n;
    int slot;
#if STEP_MMA
    HeldTiles<UpTiles> tiles;
#endif

    __device__ __forceinline__ void begin(const StepShape& p, const StepLayer& w, const Place& at) {
        beginPast(p, w, at);
        beginTiles(w, at);
    }

    __device__ __forceinline__ void beginTiles(const StepLayer& w, const Place& at) {
#if STEP_MMA
        tiles.begin(UpRow(w, at));
#endif
    }

    __device__ __forceinline__ void beginPast(const StepShape& p, const StepLayer& w, const Place& at) {
        const int self = thread();
        const int b = self / CHANNELS % B;
        const int channel = self % CHANNELS;
        n = 0;
        slot = 0;
        if (self < B * CHANNELS * (TOKENS / CONV_TOKENS) && channel < at.channels) {
            n = p.counts[b];
            slot = p.slots[b];
            const float* history = w.history + static_cast<long long>(slot) * PAST * I + at.c0 + channel;
#pragma unroll
            for (int h = 0; h < PAST; h++) {
                line[h] = history[h * I];
            }
        }
    }
};

// From u and z, (CHANNELS, PADDED) each: the convolution c of u, what the answers are gated with, then q, k and v, then this block's
// shares of the heads' gates. The block meets a barrier first.
__device__ __forceinline__ void mixChannels(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept,
                                            const UpAhead& ahead, const float* u, const float* z, float* c, float* maps) {
    const int self = thread();
    constexpr int past = TAPS - 1;
    static_assert(past == TOKENS, "a thread's token is also its place in the history");
    static_assert(B * CHANNELS <= LRAM_THREADS, "a thread for each channel of each session");
    const int b = self / CHANNELS % B;
    const int channel = self % CHANNELS;
    const int firstToken = self / (B * CHANNELS) * CONV_TOKENS;
    const bool convolves = firstToken < TOKENS && channel < at.channels;
    const int n = ahead.n;
    __syncthreads();
    if (convolves) {
        const int from = b * L + L - n;
        const float4 taps = load4(kept.conv + TAPS * channel);
        const float bias = w.convBias == nullptr ? 0.f : kept.convBias[channel];
        // The j-th of the past and this step's inputs.
        const float* news = u + channel * PADDED + from - past;
        const auto input = [&](int j) {
            return j >= past ? news[j] : (j == 0 ? ahead.line[0] : (j == 1 ? ahead.line[1] : ahead.line[2]));
        };
        float* history = w.history + static_cast<long long>(ahead.slot) * past * I + at.c0 + channel;
#pragma unroll
        for (int i = 0; i < CONV_TOKENS; i++) {
            const int t = firstToken + i;
            if (t < n) {
                float sum = fmaf(taps.x, input(t), bias);
                sum = fmaf(taps.y, input(t + 1), sum);
                sum = fmaf(taps.z, input(t + 2), sum);
                sum = fmaf(taps.w, input(t + 3), sum);
                sum = sum * stepSigmoid(sum);
                c[channel * PADDED + from + t] = sum;
                constexpr float one = STEP_HEAD_RESIDUAL ? 1.f : 0.f;
                float gate = z[channel * PADDED + from + t];
                gate *= stepSigmoid(gate);
                const int to = (from + t) * I + at.c0 + channel;
                p.times[to] = (one + kept.headNorm[channel]) * gate;
                p.plus[to] = kept.skip[channel] * sum * gate;
            }
            if (n > 0) {
                history[t * I] = input(n + t);
            }
        }
    }
    __syncthreads();
#pragma unroll 1
    for (int i = self; i < 3 * CHANNELS * ALL; i += LRAM_THREADS) {
        const int e = i % (3 * CHANNELS);
        const int t = i / (3 * CHANNELS);
        const int part = e / CHANNELS;
        const int j = e % CHANNELS;
        if (j < at.channels) {
            const float4 weights = load4(kept.maps + 4 * e);
            const float* x = (part == 2 ? u : c) + (j & ~3) * PADDED + t;
            float sum = weights.x * x[0];
            sum = fmaf(weights.y, x[PADDED], sum);
            sum = fmaf(weights.z, x[2 * PADDED], sum);
            sum = fmaf(weights.w, x[3 * PADDED], sum);
            maps[e * PADDED + t] = sum;
            (part == 0 ? p.q : (part == 1 ? p.k : p.v))[t * I + at.c0 + j] = sum;
        }
    }
    __syncthreads();
    // Sixteen lanes a gate and token.
    constexpr int lines = 2 * NH * ALL;
#pragma unroll
    for (int i0 = 0; i0 < lines; i0 += LRAM_THREADS / 16) {
        const int i = i0 + self / 16;
        const int gate = i % (2 * NH);
        const int t = i / (2 * NH);
        float sum = 0.f;
#pragma unroll
        for (int e0 = 0; e0 < 3 * CHANNELS; e0 += 16) {
            const int e = e0 + (self & 15);
            if (i < lines && e < 3 * CHANNELS && e % CHANNELS < at.channels) {
                sum = fmaf(kept.gates[gate * 3 * CHANNELS + e], maps[e * PADDED + t], sum);
            }
        }
        sum = groupSum<16>(sum);
        if ((self & 15) == 0 && i < lines) {
            p.shares[i * BLOCKS + at.block] = sum;
        }
    }
}

// The block has met a barrier since upCopies were done.
__device__ __forceinline__ void upPhase(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept,
                                        UpAhead& ahead) {
    Row* normed = reinterpret_cast<Row*>(kept.work);
    float* u = kept.work + UP_FLOATS - 6 * CHANNELS * PADDED;  // channel after channel, (CHANNELS, PADDED), as the rest
    float* z = u + CHANNELS * PADDED;
    float* c = z + CHANNELS * PADDED;
    float* maps = c + CHANNELS * PADDED;  // q, k and v
    static_assert(ROWS * TOKENS <= LRAM_THREADS, "a thread for each row of x and token");
    normRows(p, kept.norm, u, normed);
#if !STEP_MMA
    const int self = thread();
    for (int j = 4 * self; j < (PADDED - ALL) * D; j += 4 * LRAM_THREADS) {
        putRow<UP_PITCH>(normed + ALL * D + j, none());
    }
#endif
    __syncthreads();
#if STEP_MMA
    ahead.tiles.multiply(UpRow(w, at), normed, kept.work + UpTiles::PARTS_FLOATS, [&](int token, int row, float sum) {
        const int r = row % CHANNELS;
        if (r < at.channels) {
            (row < CHANNELS ? u : z)[r * PADDED + token] = sum;
        }
    });
#else
    for (int i = (self >> 5); i < 2 * CHANNELS; i += LRAM_WARPS) {
        const bool isU = i < CHANNELS;
        const int r = isU ? i : i - CHANNELS;
        if (r >= at.channels) {
            continue;
        }
        const int row = at.c0 + r;
#if STEP_KEPT
        const Weight* from = kept.up + i * D;
#else
        const Weight* from = (isU ? w.upU : w.upZ) + static_cast<long long>(row) * D;
#endif
        float scale = 1.f;
        if (STEP_TYPE == 2) {
            scale = (isU ? w.upUScale : w.upZScale)[row];
        }
#pragma unroll 1
        for (int t = 0; t < ALL; t += TOKENS) {
            const float sum = dotRow<D>(from, normed + t * D, D) * scale;
            if ((self & 31) < TOKENS && t + (self & 31) < ALL) {
                (isU ? u : z)[r * PADDED + t + (self & 31)] = sum;
            }
        }
    }
#endif
    mixChannels(p, w, at, kept, ahead, u, z, c, maps);
}

// ---- cell

// A session's head: what it held before this step.
struct HeadOfStep {
    int n;  // new tokens
    int cell;
    int held;  // ring tokens of steps that other kernels took
    bool hasC;
    int token;  // row of the first new one in (B, L)

    __device__ HeadOfStep() {}

    // What is read of it, in one number.
    static __device__ __forceinline__ int read(const StepLayer& w, int cell) {
        return 2 * w.ringLength[cell] + (w.folded[cell] != 0);
    }

    // From that number.
    __device__ __forceinline__ HeadOfStep(int row, int head, int slot, int count, int kept) {
        n = count;
        cell = slot * NH + head;
        held = kept >> 1;
        hasC = kept & 1;
        token = row * L + L - n;
    }
};

__device__ __forceinline__ float stepInput(float gate) { return SIGMOID ? logSigmoidFloat(gate) : gate; }

// Normaliser and stabiliser of a head after this step, where a later phase keeps them: in device memory, and of one layer at a
// time.
struct HeadAfter {
    static constexpr int FLOATS = 4 + DH;
    float* m;
    float* normaliser;

    __device__ __forceinline__ HeadAfter(const StepShape& p, int pair) {
        m = p.shares + 2 * NH * ALL * BLOCKS + pair * FLOATS;
        normaliser = m + 4;
    }
};

// What a ring's tokens weigh after them all, by one warp: `weights`, and, as doubles at `top`, the stabiliser then and what the
// state of before them weighs. `sums`: a number for each token.
__device__ __forceinline__ void weighRing(const float* ringI, const float* ringF, int held, bool hasC, float m0, double* sums,
                                          float* weights, double* top) {
    const int self = thread() & 31;
    const int each = (held + 31) >> 5;
    const int from = self * each;
    const int to = min(from + each, held);
    double sum = 0;
#pragma unroll 1
    for (int s = from; s < to; s++) {
        sum += ringF[s];
    }
    const double upTo = warpScan(sum);
    const double total = __shfl_sync(0xffffffffu, upTo, 31);
    double most = total + m0;
    double after = total - (upTo - sum);  // of the log forget gates, what follows a token
#pragma unroll 1
    for (int s = from; s < to; s++) {
        after -= ringF[s];
        const double weight = after + stepInput(ringI[s]);
        sums[s] = weight;
        most = fmax(most, weight);
    }
    const double m = SIGMOID ? 0 : static_cast<float>(warpTop(most));
#pragma unroll 1
    for (int s = from; s < to; s++) {
        weights[s] = expOf(sums[s] - m);
    }
    if (self == 0) {
        top[0] = m;
        top[1] = hasC ? expOf(total + m0 - m) : 0;
    }
}

// Folds a ring that other kernels left into a unit's part of C, and into the copies of stabiliser and normaliser. A thread has
// the elements of C that it has in CellUnit. Not inlined: hardly a step does it, and its code would stand between those that do not.
__device__ __noinline__ void foldRing(const StepLayer* w, int cell, int held, bool hasC, int chunk, int band, float* memory,
                                      float* stabiliser, float* normaliser) {
    const int self = thread();
    double* top = reinterpret_cast<double*>(memory);
    double* sums = top + 2;
    float* weights = memory + 4 + 2 * RING4;
    const long long ring = static_cast<long long>(cell) * RING;
    __syncthreads();  // the memory is free
    if (self < 32) {
        weighRing(w->ringI + ring, w->ringF + ring, held, hasC, *stabiliser, sums, weights, top);
    }
    __syncthreads();
    const float* keys = w->ringK + ring * DH;
    const int e = chunk * COLUMNS + 4 * (self % QUADS);
    const float* values = w->ringV + ring * DH + e;
    float* c = w->matC + static_cast<long long>(cell) * DH * DH + e;
    const float keep = static_cast<float>(top[1]);
    const int end = min((band + 1) * BAND, DH);
    if (e < DH && self < LINES * QUADS) {
#pragma unroll 1
        for (int d0 = band * BAND + self / QUADS; d0 < end; d0 += FOLD_ROWS * LINES) {
            float sum[FOLD_ROWS][4];
#pragma unroll
            for (int i = 0; i < FOLD_ROWS; i++) {
                const int d = d0 + i * LINES;
                const float4 old = hasC && d < end ? load4(c + d * DH) : none();
                sum[i][0] = keep * old.x;
                sum[i][1] = keep * old.y;
                sum[i][2] = keep * old.z;
                sum[i][3] = keep * old.w;
            }
#pragma unroll 2
            for (int s = 0; s < held; s++) {
                float4 value = load4(values + s * DH);
                value.x *= weights[s];
                value.y *= weights[s];
                value.z *= weights[s];
                value.w *= weights[s];
#pragma unroll
                for (int i = 0; i < FOLD_ROWS; i++) {
                    addTimes(keys[s * DH + min(d0 + i * LINES, end - 1)], value, sum[i]);
                }
            }
#pragma unroll
            for (int i = 0; i < FOLD_ROWS; i++) {
                if (d0 + i * LINES < end) {
                    *reinterpret_cast<float4*>(c + (d0 + i * LINES) * DH) = packFloats(sum[i]);
                }
            }
        }
    }
#pragma unroll 1
    for (int d = self; d < DH; d += LRAM_THREADS) {
        double sum = hasC ? top[1] * normaliser[d] : 0;
#pragma unroll 4
        for (int s = 0; s < held; s++) {
            sum += static_cast<double>(weights[s]) * keys[s * DH + d];
        }
        normaliser[d] = static_cast<float>(sum);
    }
    if (self == 0) {
        *stabiliser = static_cast<float>(top[0]);
    }
    __syncthreads();
}

// Answers of the bands of C's rows but for the first one, whose are in `h`: (BANDS - 1, B, L, I).
__device__ __forceinline__ float* bandAnswers(const StepShape& p, int band) {
    constexpr int before = (2 * NH * ALL * BLOCKS + B * NH * HeadAfter::FLOATS + 3) / 4 * 4;
    return BANDS == 1 || band == 0 ? p.h : p.shares + before + (band - 1) * (ALL * I);
}

// A unit of the cell: a session's head, a chunk of its value columns and a band of its rows.
struct CellUnit {
    HeadOfStep u;
    int head;
    int chunk;
    int band;
    float4 state[PIECE];  // this thread's of C; the first ones are read ahead

    // HeadOfStep.read of a unit's head.
    static __device__ __forceinline__ int read(const StepLayer& w, int unit, int slot) {
        return HeadOfStep::read(w, slot * NH + unit / HEAD_UNITS % NH);
    }

    // Begins to copy a head's normaliser and stabiliser; what `to` held there must be done with.
    static __device__ __forceinline__ void copies(const StepLayer& w, int unit, int slot, int count, const StepWeights& to) {
        const int cell = slot * NH + unit / HEAD_UNITS % NH;
        if (count > 0) {
            if (thread() == LRAM_THREADS - 1) {
                copyFour(to.stabiliser, w.scaM + cell);
            }
            copyBegin(to.normaliser, w.vecN + static_cast<long long>(cell) * DH, 4 * DH);
        }
    }

    __device__ __forceinline__ int end() const { return min((band + 1) * BAND, DH); }  // of its rows

    __device__ __forceinline__ bool owns(int line, int quad) const {
        return line < LINES && chunk * COLUMNS + 4 * quad < DH;
    }

    // Of the state what stays as it is while this step's tokens are on their way. C is read before it is known to hold anything.
    __device__ __forceinline__ void begin(const StepLayer& w, int unit, int slot, int count, int kept) {
        const int pair = unit / HEAD_UNITS;
        chunk = unit % CHUNKS;
        band = unit / CHUNKS % BANDS;
        head = pair % NH;
        u = HeadOfStep(pair / NH, head, slot, count, kept);
        loadState(w, 0);
    }

    // Folds what is left of a ring. The block has met a barrier since its copies were done.
    __device__ __forceinline__ void fold(const StepLayer& w, const StepWeights& to) {
        if (u.n > 0 && u.held > 0) {
            foldRing(&w, u.cell, u.held, u.hasC, chunk, band, to.work, to.stabiliser, to.normaliser);
            u.hasC = true;
            loadState(w, 0);
        }
    }

    // Rows line, line + LINES, ... of a column of quads from the `from`-th of a thread on; beyond the last one zero.
    __device__ __forceinline__ void loadState(const StepLayer& w, int from) {
        const int self = thread();
        const int line = band * BAND + self / QUADS + from * LINES;
        const int e = chunk * COLUMNS + 4 * (self % QUADS);
        const float* c = w.matC + static_cast<long long>(u.cell) * DH * DH + e;
        const bool mine = e < DH && self < LINES * QUADS;
#pragma unroll
        for (int i = 0; i < PIECE; i++) {
            const int d = line + i * LINES;
            state[i] = mine && d < end() ? load4(c + d * DH) : none();
        }
    }

    // After `fold`, and before `answer`.
    __device__ __forceinline__ void ask(const StepShape& p, const StepLayer& w, const StepWeights& kept) {
        if (u.n > 0) {
            copyInputs(p, w, CellMemory(kept.work));
        }
    }

    // The answers. What the head keeps follows by `keep`, before the memory of `kept` is used for anything else.
    __device__ __forceinline__ void answer(const StepShape& p, const StepLayer& w, const StepWeights& kept) {
        if (u.n > 0) {
            __syncthreads();
            answerInputs(p, w, kept);
        }
    }

    // Queries, keys, values and gates of the new tokens, from what all blocks wrote.
    __device__ __forceinline__ void copyInputs(const StepShape& p, const StepLayer& w, const CellMemory& at) const {
        const int self = thread();
        constexpr int quads = TOKENS * DH / 4;
        const int e0 = chunk * COLUMNS;
        const int offset = head * DH;
        constexpr int copies = (2 * quads + LRAM_THREADS - 1) / LRAM_THREADS;
        float4 got[copies];
#pragma unroll
        for (int i = 0; i < copies; i++) {
            const int j = i * LRAM_THREADS + self;
            const int t = j % quads / (DH / 4);
            got[i] = j < 2 * quads && t < u.n
                             ? load4((j < quads ? p.q : p.k) + (u.token + t) * I + offset + 4 * (j % quads % (DH / 4)))
                             : none();
        }
#pragma unroll 1
        for (int i = LRAM_WARPS - 1 - (self >> 5); i < 2 * u.n; i += LRAM_WARPS) {
            const int t = i / 2;
            const float* share = p.shares + (((u.token + t) * NH + head) * 2 + i % 2) * BLOCKS;
            const float bias = (i % 2 == 0 ? w.bi : w.bf)[head];
            float sum = 0.f;
#pragma unroll
            for (int b0 = 0; b0 < BLOCKS; b0 += 32) {
                if (b0 + (self & 31) < BLOCKS) {
                    sum += share[b0 + (self & 31)];
                }
            }
            sum = groupSum<32>(sum) + bias;
            if ((self & 31) == 0) {
                at.gates[i % 2 * 4 + t] = sum;
            }
        }
#pragma unroll
        for (int i = 0; i < copies; i++) {
            const int j = i * LRAM_THREADS + self;
            if (j < 2 * quads) {
                reinterpret_cast<float4*>(at.queries)[j] = got[i];
            }
        }
#pragma unroll 1
        for (int i = LRAM_THREADS - 1 - self; i < TOKENS * QUADS; i += LRAM_THREADS) {
            const int t = i / QUADS;
            const int e = e0 + 4 * (i % QUADS);
            *reinterpret_cast<float4*>(at.values + t * COLUMNS + 4 * (i % QUADS)) =
                    t < u.n && e < DH ? load4(p.v + (u.token + t) * I + offset + e) : none();
        }
    }

    // From these.
    __device__ __forceinline__ void answerInputs(const StepShape& p, const StepLayer& w, const StepWeights& kept) {
        const int self = thread();
        const int e0 = chunk * COLUMNS;
        const CellMemory at(kept.work);
        if ((self >> 5) == LRAM_WARPS - 1) {
            weighNew(*kept.stabiliser, at);
        } else if ((self >> 5) <= TOKENS) {  // a warp for a new key, and one for the normaliser
            const int j = self >> 5;
            dotKey(j < TOKENS ? at.keys + j * DH : kept.normaliser, at.queries, at.dots + j);
        }
        const int line = self / QUADS;
        const int quad = self % QUADS;
        float sum[TOKENS][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
        if (owns(line, quad) && u.hasC) {
#pragma unroll 1
            for (int from = 0; from < STATE_QUADS; from += PIECE) {
                if (from != 0) {
                    loadState(w, from);
                }
#pragma unroll
                for (int i = 0; i < PIECE; i++) {
                    const int d = min(band * BAND + line + (from + i) * LINES, DH - 1);  // beyond, the state is zero
#pragma unroll
                    for (int t = 0; t < TOKENS; t++) {
                        addTimes(at.queries[t * DH + d], state[i], sum[t]);
                    }
                }
            }
        }
        if (WARP_QUADS) {
            sumLines(sum, at.parts + (self >> 5) * TOKENS * COLUMNS);
        } else if (line < LINES) {
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                *reinterpret_cast<float4*>(at.parts + (line * TOKENS + t) * COLUMNS + 4 * quad) = packFloats(sum[t]);
            }
        }
        __syncthreads();
        constexpr int lines = WARP_QUADS ? LRAM_WARPS : LINES;  // of which sums are left
        constexpr int outputs = TOKENS * COLUMNS;
        constexpr int wanted = least(LRAM_THREADS / outputs, lines);
        constexpr int helpers = wanted >= 16 ? 16 : (wanted >= 8 ? 8 : (wanted >= 4 ? 4 : (wanted >= 2 ? 2 : 1)));
#pragma unroll
        for (int i0 = 0; i0 < outputs; i0 += LRAM_THREADS / helpers) {
            const int i = i0 + self / helpers;
            const int helper = self % helpers;
            float answer = 0.f;
            if (i < outputs) {
#pragma unroll 16
                for (int l = helper; l < lines; l += helpers) {
                    answer += at.parts[l * outputs + i];
                }
            }
            answer = groupSum<helpers>(answer);
            const int t = i / COLUMNS;
            const int e = i % COLUMNS;
            if (helper == 0 && i < outputs && t < u.n && e0 + e < DH) {
                answer *= at.factors[t];
                const bool first = BANDS == 1 || band == 0;  // answers for the new tokens
                double den = u.hasC ? static_cast<double>(at.factors[t]) * at.dots[4 * t + TOKENS] : 0;
#pragma unroll
                for (int j = 0; j < TOKENS; j++) {
                    if (j <= t) {  // a later token's NaN stays out
                        const float weight = at.fresh[4 * t + j];
                        const float dot = at.dots[4 * t + j];
                        den += static_cast<double>(weight) * dot;
                        answer = first ? fmaf(weight * dot, at.values[j * COLUMNS + e], answer) : answer;
                    }
                }
                const float magnitude = fabsf(static_cast<float>(p.scale * den));
                const float divisor =
                        STEP_NORMALIZE ? (magnitude < at.least[t] ? at.least[t] : magnitude) + p.cellEps : 1.f;
                bandAnswers(p, band)[(u.token + t) * I + head * DH + e0 + e] = answer * (p.scale / divisor);
            }
        }
    }

    // The new tokens go into the unit's part of C; units of the first rows have a part of the normaliser each, and that of the first
    // columns sees to what the head keeps once. KEEPS: all units have read that. Else it waits for keepHeads.
    template <bool KEEPS>
    __device__ __forceinline__ void keep(const StepShape& p, const StepLayer& w, const StepWeights& kept) {
        const int self = thread();
        if (u.n == 0) {
            return;
        }
        const CellMemory at(kept.work);
        const float* fresh = at.fresh + 4 * (u.n - 1);
        const float old = u.hasC ? at.factors[u.n - 1] : 0.f;
        const int line = self / QUADS;
        const int quad = self % QUADS;
        if (owns(line, quad)) {
            float4 value[TOKENS];
#pragma unroll
            for (int j = 0; j < TOKENS; j++) {
                value[j] = none();
                if (j < u.n) {
                    const float weight = fresh[j];
                    value[j] = load4(at.values + j * COLUMNS + 4 * quad);
                    value[j].x *= weight;
                    value[j].y *= weight;
                    value[j].z *= weight;
                    value[j].w *= weight;
                }
            }
            float* c = w.matC + static_cast<long long>(u.cell) * DH * DH + chunk * COLUMNS + 4 * quad;
#pragma unroll 1
            for (int from = LAST_PIECE; from >= 0; from -= PIECE) {  // the last one is there
                if (from != LAST_PIECE) {
                    loadState(w, from);
                }
#pragma unroll
                for (int i = 0; i < PIECE; i++) {
                    const int d = band * BAND + line + (from + i) * LINES;
                    if (d < end()) {
                        float now[4] = {0.f, 0.f, 0.f, 0.f};
                        if (u.hasC) {  // what lies there otherwise may be anything
                            addTimes(old, state[i], now);
                        }
#pragma unroll
                        for (int j = 0; j < TOKENS; j++) {
                            addTimes(at.keys[j * DH + d], value[j], now);
                        }
                        *reinterpret_cast<float4*>(c + d * DH) = packFloats(now);
                    }
                }
            }
        }
        const HeadAfter after(p, u.token / L * NH + head);
        if (band != 0) {
            return;
        }
        const int d = chunk * COLUMNS + self - (LRAM_THREADS - COLUMNS);  // the last threads, of the normaliser the unit's part
        if (self >= LRAM_THREADS - COLUMNS && d < DH) {
            float sum = u.hasC ? old * kept.normaliser[d] : 0.f;
#pragma unroll
            for (int j = 0; j < TOKENS; j++) {
                if (j < u.n) {
                    sum = fmaf(fresh[j], at.keys[j * DH + d], sum);
                }
            }
            (KEEPS ? w.vecN + static_cast<long long>(u.cell) * DH : after.normaliser)[d] = sum;
        }
        if (chunk == 0 && self == LRAM_THREADS - 64) {
            *(KEEPS ? w.scaM + u.cell : after.m) = at.stabilisers[u.n - 1];
            if (KEEPS) {
                w.folded[u.cell] = 1;
                w.ringLength[u.cell] = 0;
            }
        }
    }

    // Adds up the lines of a warp, and puts the sums to `to`, as three tokens' columns.
    static __device__ __forceinline__ void sumLines(const float (&sum)[TOKENS][4], float* to) {
        const int own = thread() & 31;
        const bool upper = own & 16;
        const bool second = own & 8;
        float six[6];
        float three[3];
#pragma unroll
        for (int i = 0; i < 6; i++) {  // each exchange halves what a lane still adds
            const float low = sum[i / 4][i % 4];
            const float high = sum[(i + 6) / 4][(i + 6) % 4];
            six[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, 16);
        }
#pragma unroll
        for (int i = 0; i < 3; i++) {
            three[i] = (second ? six[i + 3] : six[i]) + __shfl_xor_sync(0xffffffffu, second ? six[i] : six[i + 3], 8);
        }
#pragma unroll
        for (int d = 4; d >= QUADS; d /= 2) {
#pragma unroll
            for (int i = 0; i < 3; i++) {
                three[i] += __shfl_xor_sync(0xffffffffu, three[i], d);
            }
        }
        if ((own & 7) < QUADS) {
#pragma unroll
            for (int i = 0; i < 3; i++) {
                const int j = (upper ? 6 : 0) + (second ? 3 : 0) + i;
                to[j / 4 * COLUMNS + 4 * (own & 7) + j % 4] = three[i];
            }
        }
    }

    // A key times the three queries, by one warp; of token t at dots[4 * t].
    static __device__ __forceinline__ void dotKey(const float* key, const float* queries, float* dots) {
        const int own = thread() & 31;
        float sum[TOKENS] = {0.f, 0.f, 0.f};
#pragma unroll
        for (int d0 = 0; d0 < DH; d0 += 128) {
            const int d = d0 + 4 * own;
            if (d0 + 128 <= DH || d < DH) {
                const float4 x = load4(key + d);
#pragma unroll
                for (int t = 0; t < TOKENS; t++) {
                    sum[t] = dot4(x, load4(queries + t * DH + d), sum[t]);
                }
            }
        }
        const float dot = threeSums(own, sum[0], sum[1], sum[2]);
        if (own < TOKENS) {
            dots[4 * own] = dot;
        }
    }

    // What state and new tokens weigh in each new token's answer, from stabiliser m on; those of the last one are what is kept. By one
    // warp, a lane a number; its first lanes take a token's gates each. Stabilisers are rounded to what is kept of them, and
    // weights follow them.
    __device__ __forceinline__ void weighNew(float m, const CellMemory& at) const {
        const int self = thread();
        const int t = (self & 31) / 4;
        const int j = (self & 31) & 3;
        const int own = min(self & 31, TOKENS - 1);
        const bool mine = own < u.n;
        const float forget = mine ? logSigmoidFloat(at.gates[4 + own]) : 0.f;
        const float input = mine ? stepInput(at.gates[own]) : 0.f;
        double last = 0;
        double since = 0;
        float next = m;
        float from = 0.f;
#pragma unroll
        for (int i = 0; i < TOKENS; i++) {
            const float f = __shfl_sync(0xffffffffu, forget, i);
            const float in = __shfl_sync(0xffffffffu, input, i);
            if (i <= t && i < u.n) {
                last += f;
                next = SIGMOID ? 0.f : fmaxf(f + next, in);
                since = i == j ? 0 : since + f;
                from = i == j ? in : from;
            }
        }
        if (t < u.n) {
            const float weight = expOf((j == TOKENS ? last + m : since + from) - next);
            if (j == TOKENS) {
                at.factors[t] = weight;
                at.least[t] = SIGMOID ? 1.f : expf(-next);
                at.stabilisers[t] = next;
            } else if (j <= t) {
                at.fresh[4 * t + j] = weight;
            }
        }
    }
};

// ---- down

// Keeps what CellUnit::keep<false> left of the heads: all blocks have answered.
__device__ __forceinline__ void keepHeads(const StepShape& p, const StepLayer& w, const Place& at) {
#pragma unroll 1
    for (int pair = at.block; pair < B * NH; pair += BLOCKS) {
        const int row = pair / NH;
        if (p.counts[row] > 0) {
            const int cell = p.slots[row] * NH + pair % NH;
            const HeadAfter from(p, pair);
            for (int d = thread(); d < DH; d += LRAM_THREADS) {
                w.vecN[static_cast<long long>(cell) * DH + d] = from.normaliser[d];
            }
            if (threadIdx.x == 0) {
                w.scaM[cell] = *from.m;
                w.folded[cell] = 1;
                w.ringLength[cell] = 0;
            }
        }
    }
}

// Begins to copy what heads are gated with, where shared memory has it.
__device__ __forceinline__ void gateCopies(const StepShape& p, const StepWeights& to) {
    if (COPIED_GATES) {
        copyBegin(to.gateTimes, p.times, GATE_BYTES);
        copyBegin(to.gatePlus, p.plus, GATE_BYTES);
    }
}

// Begins to copy the large weights of the next downPhase, where they are copied.
__device__ __forceinline__ void downWeights(const StepLayer& w, const Place& at, const StepWeights& to) {
#if STEP_KEPT
    copyBegin(to.down, w.down + static_cast<long long>(at.r0) * I, at.rows * I * static_cast<int>(sizeof(Weight)));
#endif
}

// Skip and gate of four channels: what their normed answers are multiplied with, and what is added.
struct Gate {
    float4 times;
    float4 plus;
};

// Norm of one token's head, whose answers begin at `from`, by one warp; `gateOf` gives the gate of a lane's i-th channels, the j-th of the head.
template <typename GateOf>
__device__ __forceinline__ void mixHead(const StepShape& p, int from, Row* to, const GateOf& gateOf) {
    const int begin = 4 * (thread() & 31);
    float4 bands[BANDS][HEAD_QUADS];
    float4 h[HEAD_QUADS];
    float sum = 0.f;
#pragma unroll
    for (int b = 0; b < BANDS; b++) {
#pragma unroll
        for (int i = 0; i < HEAD_QUADS; i++) {
            bands[b][i] = begin + 128 * i < DH ? load4(bandAnswers(p, b) + from + begin + 128 * i) : none();
        }
    }
#pragma unroll
    for (int i = 0; i < HEAD_QUADS; i++) {
        h[i] = bands[0][i];
#pragma unroll
        for (int b = 1; b < BANDS; b++) {
            h[i].x += bands[b][i].x;
            h[i].y += bands[b][i].y;
            h[i].z += bands[b][i].z;
            h[i].w += bands[b][i].w;
        }
    }
#pragma unroll
    for (int i = 0; i < HEAD_QUADS; i++) {
        sum += (h[i].x + h[i].y) + (h[i].z + h[i].w);
    }
    const float mean = STEP_HEAD_CENTRED ? groupSum<32>(sum) / DH : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < HEAD_QUADS; i++) {
        if (begin + 128 * i < DH) {
            h[i] = minus(h[i], mean);
            squares = dot4(h[i], h[i], squares);
        }
    }
    const float rstd = rootOf(groupSum<32>(squares) / DH + p.headEps);
#pragma unroll
    for (int i = 0; i < HEAD_QUADS; i++) {
        const int j = begin + 128 * i;
        if (j < DH) {
            const Gate g = gateOf(i, j);
            float4 y;
            y.x = fmaf(h[i].x * rstd, g.times.x, g.plus.x);
            y.y = fmaf(h[i].y * rstd, g.times.y, g.plus.y);
            y.z = fmaf(h[i].z * rstd, g.times.z, g.plus.z);
            y.w = fmaf(h[i].w * rstd, g.times.w, g.plus.w);
            putRow<DOWN_PITCH>(to + j, y);
        }
    }
}

// Addresses of a block's rows of the down-projection; beyond its last, any row's.
struct DownRow {
    const Weight* down;
    int r0;

    __device__ __forceinline__ DownRow(const StepLayer& w, const Place& at) : down(w.down), r0(at.r0) {}

    __device__ __forceinline__ const Weight* operator()(int i) const {
        return down + static_cast<long long>(min(r0 + i, D - 1)) * I;
    }
};

// What a thread holds for the next downPhase.
struct DownAhead {
    Gate gates[HELD_GATES ? HEAD_QUADS : 1];
#if STEP_MMA
    HeldTiles<DownTiles> tiles;
#endif

    // Asks for the gates that registers hold.
    __device__ __forceinline__ void askGates(const StepShape& p) {
        if (HELD_GATES) {
            const int self = thread();
            const int unit = min(self >> 5, ALL * NH - 1);
            const int at = unit / NH * I + unit % NH * DH + 4 * (self & 31);
#pragma unroll
            for (int i = 0; i < (HELD_GATES ? HEAD_QUADS : 1); i++) {
                const bool mine = 4 * (self & 31) + 128 * i < DH;
                gates[i].times = mine ? load4(p.times + at + 128 * i) : none();
                gates[i].plus = mine ? load4(p.plus + at + 128 * i) : none();
            }
        }
    }

    __device__ __forceinline__ void askTiles(const StepLayer& w, const Place& at) {
#if STEP_MMA
        tiles.begin(DownRow(w, at));
#endif
    }

    // Of a lane's i-th channels in its warp's head, the `at`-th of all tokens' channels.
    __device__ __forceinline__ Gate gate(const StepShape& p, const StepWeights& kept, int at, int i) const {
        if (HELD_GATES) {
            return gates[HELD_GATES ? i : 0];
        }
        Gate g;
        g.times = load4((COPIED_GATES ? kept.gateTimes : p.times) + at);
        g.plus = load4((COPIED_GATES ? kept.gatePlus : p.plus) + at);
        return g;
    }
};

__host__ __device__ constexpr int splitsOf(int rows) {
    int best = 1;
    int least = 1 << 30;
    for (int s = 1; s <= 8; s *= 2) {
        const int cost = (rows * s + LRAM_WARPS - 1) / LRAM_WARPS * (8 / s);
        if (cost < least && I % (4 * s) == 0) {
            least = cost;
            best = s;
        }
    }
    return best;
}

// The block has met a barrier since the copies were done.
__device__ __forceinline__ void downPhase(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept,
                                          DownAhead& ahead) {
    const int self = thread();
    constexpr int olds = (ALL * ROWS + LRAM_THREADS - 1) / LRAM_THREADS;
    Row* mixed = reinterpret_cast<Row*>(kept.work);
    float* before = kept.work + DOWN_FLOATS - ALL * ROWS;  // this block's rows of x, (ALL, ROWS)
    float old[olds];
#pragma unroll
    for (int i = 0; i < olds; i++) {
        const int j = i * LRAM_THREADS + self;
        old[i] = j < ALL * ROWS && j % ROWS < at.rows ? p.x[j / ROWS * D + at.r0 + j % ROWS] : 0.f;
    }
#pragma unroll 1
    for (int unit = (self >> 5); unit < MIXED; unit += LRAM_WARPS) {
        const int t = unit / NH;
        const int from = unit % NH * DH;
        const int at0 = t * I + from;
        Row* to = mixed + TOKEN_ROWS * t * DOWN_PITCH + from;
        if (t < ALL && t % L >= L - p.counts[min(t, ALL - 1) / L]) {
            mixHead(p, at0, to,
                    [&](int i, int j) { return ahead.gate(p, kept, at0 + j, i); });
        } else {
            for (int j = 4 * (self & 31); j < DH; j += 128) {
                putRow<DOWN_PITCH>(to + j, none());
            }
        }
    }
#pragma unroll
    for (int i = 0; i < olds; i++) {
        const int j = i * LRAM_THREADS + self;
        if (j < ALL * ROWS) {
            before[j] = old[i];
        }
    }
    __syncthreads();
#if STEP_MMA
    ahead.tiles.multiply(DownRow(w, at), mixed, kept.work + DownTiles::PARTS_FLOATS, [&](int token, int row, float sum) {
        if (row < at.rows) {
            p.x[token * D + at.r0 + row] = before[token * ROWS + row] + sum;
        }
    });
#else
    float* parts = mixed + PADDED * I;
    constexpr int splits = splitsOf(ROWS);
    constexpr int share = I / splits;
#pragma unroll 1
    for (int t = 0; t < ALL; t += TOKENS) {
#pragma unroll 1
        for (int i = (self >> 5); i < at.rows * splits; i += LRAM_WARPS) {
            const int r = i / splits;
            const int from = i % splits * share;
#if STEP_KEPT
            const Weight* row = kept.down + r * I + from;
#else
            const Weight* row = w.down + static_cast<long long>(at.r0 + r) * I + from;
#endif
            const float sum = dotRow<share>(row, mixed + t * I + from, I);
            if ((self & 31) < TOKENS) {
                parts[i * TOKENS + (self & 31)] = sum;
            }
        }
        __syncthreads();
        const int i = self;
        const int r = i / TOKENS;
        const int token = t + i % TOKENS;
        if (r < at.rows && token < ALL) {
            float sum = 0.f;
#pragma unroll
            for (int part = 0; part < splits; part++) {
                sum += parts[(r * splits + part) * TOKENS + i % TOKENS];
            }
            if (STEP_TYPE == 2) {
                sum *= w.downScale[at.r0 + r];
            }
            p.x[token * D + at.r0 + r] = before[token * ROWS + r] + sum;
        }
        __syncthreads();
    }
#endif
}

}  // namespace lram
