// The mLSTM cell of the control step for many sessions: what a head's ring and state weigh, then answers and folds by columns.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmStep for up to 3 tokens a session, DHQK and DHHV multiples of 4. Two kernels, and
// between them the Report of each head in device memory:
//   cell_weights  a head: products of queries and keys, weights of ring and state; all that the head keeps but C and values
//   cell_answers  a run of a head's value columns: answers, folds, the ring's values
// What cell_weights keeps, cell_answers must not read from the state: it finds it in the report, with the first keys of a ring
// that is folded, in whose places the new ones are.
//
// Bytes: the ring's keys and values once and C once, twice where it is folded. A fold takes DHQK DHHV multiply-adds a token.
//
// C is fp32, or bf16 (CELL_BF16): rounded once at a fold, from sums in fp32, and answers are those of the rounded C.
//
// Compile:  as elementwise.cu, with the sizes that CellSteps.java defines. Dynamic shared memory: weightsFloats and
// answersFloats there.
#ifndef CELL_QK  // the sizes of a large model, for a look at the machine code
#define CELL_QK 640
#define CELL_HV 640
#define CELL_COLUMNS 128
#define CELL_SIGMOID 0
#define CELL_NORMALIZE 1
#define CELL_BF16 0
#endif
#include "lram_bf16.cuh"
#include "mlstm_ring_weights.cuh"
#include "mlstm_step_tensors.cuh"

namespace lram {

constexpr int DQ = CELL_QK;
constexpr int DV = CELL_HV;
constexpr int COLUMNS = CELL_COLUMNS;  // value columns of a block, a multiple of 4
constexpr bool SIGMOID = CELL_SIGMOID;
constexpr bool NORMALIZE = CELL_NORMALIZE;
constexpr int CHUNKS = (DV + COLUMNS - 1) / COLUMNS;
constexpr int QUADS = COLUMNS / 4;
constexpr int LINES = LRAM_THREADS / QUADS;  // rows of C that a block reads at once
constexpr int WORDS = 32;                    // that a thread has on their way

// What four columns of C are in memory.
#if CELL_BF16
using StateElement = Bf16;
using StateQuad = uint2;
#else
using StateElement = float;
using StateQuad = float4;
#endif
constexpr bool NARROW = sizeof(StateElement) < sizeof(float);

__device__ __forceinline__ StateQuad stateQuad(const float* x) {
#if CELL_BF16
    return pack4(x);
#else
    return packFloats(x);
#endif
}

// A fold's tile: a thread has 8 rows and 4 columns of C, and DEPTH tokens are in shared memory, twice.
constexpr int FOLD_ROWS = 8;
constexpr int FOLD_LINES = LINES * FOLD_ROWS < DQ ? LINES : (DQ + FOLD_ROWS - 1) / FOLD_ROWS;
constexpr int TILE = FOLD_LINES * FOLD_ROWS;
constexpr int DEPTH = TILE > 128 ? 8 : 16;
constexpr int KEY_LOADS = (DEPTH * TILE / 4 + LRAM_THREADS - 1) / LRAM_THREADS;
constexpr int VALUE_LOADS = (DEPTH * QUADS + LRAM_THREADS - 1) / LRAM_THREADS;

struct CellStep : MlstmStepTensors {
    float* reports;
    const float* shares;  // of the gates, (B, runs, L, 2, NH); null where i and f are the gates
    const float* bi;
    const float* bf;
    int firstRow;  // of this launch; a grid has rows from there on
    int tokens;
    int heads;
    int ring;
    int first;
    int period;
    int stagger;
    int layer;
    int runs;
    float scale;
    float eps;
    Faults faults;
};

// Of one head, from cell_weights to cell_answers; then follow quads (answers' weights of the 3 tokens, fold's weight) for each
// token of ring and step, and the first 3 keys of a ring that is folded.
struct alignas(16) Report {
    int n;  // new tokens; where there are none, the rest is not written
    int cell;
    int held;
    int folding;  // ring tokens that are folded first; 0 for none
    int hasC;
    float keep;
    float carried[TOKENS];
    float divisors[TOKENS];
};

constexpr int REPORT_FLOATS = sizeof(Report) / 4;

struct ReportOf {
    Report* head;
    float* weights;
    float* keys;

    __device__ __forceinline__ ReportOf(const CellStep& p, int pair) {
        const int most = p.ring + TOKENS;
        float* at = p.reports + static_cast<long long>(pair) * (REPORT_FLOATS + 4 * most + TOKENS * DQ);
        head = reinterpret_cast<Report*>(at);
        weights = at + REPORT_FLOATS;
        keys = weights + 4 * most;
    }
};

// A row's head: what it held before this step, which these kernels change.
struct HeadOfCell {
    long long token;  // of the first new one in (B, L, NH)
    int n;
    int cell;
    int held;
    int hasC;
    int folds;

    __device__ __forceinline__ HeadOfCell(const CellStep& p, int row, int head) {
        n = p.counts[row];
        cell = p.slots[row] * p.heads + head;
        held = p.ringLength[cell];
        hasC = p.folded[cell] != 0;
        const int index = p.layer * p.heads + head;
        const int phase = (index % p.stagger + p.stagger) % p.stagger;
        const int limit = hasC ? p.period : max(3, p.first - 3 * phase);
        folds = held > 0 && held + n > limit;
        token = (static_cast<long long>(row) * p.tokens + p.tokens - n) * p.heads + head;
    }

    // First token of its ring.
    __device__ __forceinline__ long long ring(const CellStep& p) const { return static_cast<long long>(cell) * p.ring; }

    // Tokens of the ring that stay in it.
    __device__ __forceinline__ int stay() const { return folds ? 0 : held; }
};

// One warp: the input and the forget gate of new token `lane()`, where it has one, from their shares. Five lanes a gate.
__device__ __forceinline__ void addShares(const CellStep& p, int row, int head, int n, float& input, float& forget) {
    constexpr int SUMS = 2 * TOKENS;
    constexpr int PARTS = 32 / SUMS;
    const int sum = lane() % SUMS;
    const int part = lane() / SUMS;
    const int t = sum / 2;
    const bool ofForget = sum % 2 != 0;
    float x = 0.f;
    if (t < n && part < PARTS) {
        const int gates = 2 * p.tokens * p.heads;  // of a run
        const float* share = p.shares + static_cast<long long>(row) * p.runs * gates +
                             (2 * (p.tokens - n + t) + ofForget) * p.heads + head;
        if (part == 0) {
            x = (ofForget ? p.bf : p.bi)[head];
        }
#pragma unroll 4
        for (int r = part; r < p.runs; r += PARTS) {
            x += share[static_cast<long long>(r) * gates];
        }
    }
    float total = 0.f;
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
        total += __shfl_sync(0xffffffffu, x, sum + SUMS * i);
    }
    input = __shfl_sync(0xffffffffu, total, 2 * lane());
    forget = __shfl_sync(0xffffffffu, total, 2 * lane() + 1);
}

// One warp: running sums of log forget gates and log input gates of the ring and the new tokens, whose gates go into the ring.
__device__ __forceinline__ void scanGates(const CellStep& p, const HeadOfCell& u, int row, int head, double* sums,
                                          double* inputs) {
    const long long ring = u.ring(p);
    const long long token = u.token;
    const int held = u.held;
    const int n = u.n;
    float newInput = 0.f;
    float newForget = 0.f;
    if (p.shares != nullptr) {
        addShares(p, row, head, n, newInput, newForget);
    } else if (lane() < n) {
        newInput = p.i[token + static_cast<long long>(lane()) * p.heads];
        newForget = p.f[token + static_cast<long long>(lane()) * p.heads];
    }
    newForget = logSigmoidFloat(newForget);
    double before = 0;
#pragma unroll 1
    for (int s0 = 0; s0 < held; s0 += 128) {
        const int s = s0 + 4 * lane();
        float gates[4];
        double f[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            f[j] = s + j < held ? p.ringF[ring + s + j] : 0.f;
            gates[j] = s + j < held ? p.ringI[ring + s + j] : 0.f;
        }
#pragma unroll
        for (int j = 1; j < 4; j++) {
            f[j] += f[j - 1];
        }
        const double upTo = before + warpScan(f[3]);
        double from = __shfl_up_sync(0xffffffffu, upTo, 1);
        if (lane() == 0) {
            from = before;
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (s + j < held) {
                sums[s + j] = from + f[j];
                inputs[s + j] = logInputOf<SIGMOID>(gates[j]);
            }
        }
        before = __shfl_sync(0xffffffffu, upTo, 31);
    }
    double sum = before;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const float forget = __shfl_sync(0xffffffffu, newForget, t);
        if (t < n) {
            sum += forget;
            if (lane() == t) {
                sums[held + t] = sum;
                inputs[held + t] = logInputOf<SIGMOID>(newInput);
            }
        }
    }
    __syncwarp();  // other lanes have read what is overwritten here
    if (lane() < n) {
        p.ringI[ring + u.stay() + lane()] = newInput;
        p.ringF[ring + u.stay() + lane()] = newForget;
    }
}

// One head, by THREADS threads; at least 4 warps.
template <int THREADS>
__device__ __forceinline__ void weighHead(const CellStep& p, double* memory) {
    constexpr int WARPS = THREADS / 32;
    if (faulted(p.faults)) {
        return;
    }
    const HeadOfCell u(p, p.firstRow + static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.x));
    if (u.n == 0) {
        if (threadIdx.x == 0) {
            ReportOf(p, static_cast<int>(blockIdx.y) * p.heads + static_cast<int>(blockIdx.x)).head->n = 0;
        }
        return;
    }
    const int all = u.held + u.n;
    const int most = p.ring + TOKENS;
    const int pitch = most + 1;
    double* m0 = memory;
    HeadOfCell* again = reinterpret_cast<HeadOfCell*>(memory + 1);
    double* sums = memory + 6;
    double* inputs = sums + most;
    float* queries = reinterpret_cast<float*>(inputs + most);
    float* writes = queries + TOKENS * DQ;
    float* dots = writes + most;
    for (int i = static_cast<int>(threadIdx.x); i < TOKENS * DQ / 4; i += THREADS) {
        const int t = i / (DQ / 4);
        const float* q = p.q + (u.token + static_cast<long long>(t) * p.heads) * DQ;
        reinterpret_cast<float4*>(queries)[i] = t < u.n ? load4(q + 4 * (i % (DQ / 4))) : none();
    }
    if (threadIdx.x == 0) {
        *m0 = p.scaM[u.cell];
        *again = u;
    }
    if (warp() == WARPS - 1) {
        scanGates(p, u, p.firstRow + static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.x), sums, inputs);
    }
    __syncthreads();
    // Eight lanes a key: those of the ring, the new ones, then the normaliser.
    constexpr int LOADS = (DQ + 31) / 32;  // of a lane
    constexpr int GROUP = LOADS < 4 ? LOADS : 4;
    const int part = lane() & 7;
#pragma unroll 1
    for (int s0 = 0; s0 <= all; s0 += THREADS / 8) {
        const int s = s0 + static_cast<int>(threadIdx.x) / 8;
        float sum[TOKENS] = {0.f, 0.f, 0.f};
        if (s < all || (s == all && u.hasC)) {
            const float* key = s == all ? p.vecN + static_cast<long long>(u.cell) * DQ
                                        : (s < u.held ? p.ringK + (u.ring(p) + s) * DQ
                                                      : p.k + (u.token + static_cast<long long>(s - u.held) * p.heads) * DQ);
#pragma unroll
            for (int i0 = 0; i0 < LOADS; i0 += GROUP) {
                float4 x[GROUP];
#pragma unroll
                for (int i = 0; i < GROUP; i++) {
                    const int d = 32 * (i0 + i) + 4 * part;
                    x[i] = d < DQ ? load4(key + d) : none();
                }
#pragma unroll
                for (int i = 0; i < GROUP; i++) {
                    const int d = 32 * (i0 + i) + 4 * part;
                    if (d < DQ) {
                        sum[0] = dot4(x[i], load4(queries + d), sum[0]);
                        sum[1] = dot4(x[i], load4(queries + DQ + d), sum[1]);
                        sum[2] = dot4(x[i], load4(queries + 2 * DQ + d), sum[2]);
                    }
                }
            }
        }
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            sum[t] = groupSum<8>(sum[t]);
            if (part == t && s <= all) {
                dots[t * pitch + s] = sum[t];
            }
        }
    }
    __syncthreads();
    const HeadOfCell v = *again;  // rather than in registers all the time
    const int held = v.held;
    const int n = v.n;
    const bool folds = v.folds;
    const ReportOf report(p, static_cast<int>(blockIdx.y) * p.heads + static_cast<int>(blockIdx.x));
    const RingTokens tokens = {held, n, folds, v.hasC != 0, *m0, sums, inputs, dots, pitch};
    if (threadIdx.x == 0) {
        report.head->n = n;
        report.head->cell = v.cell;
        report.head->held = held;
        report.head->hasC = v.hasC;
        report.head->folding = folds ? held : 0;
        p.ringLength[v.cell] = v.stay() + n;
    }
    RingTop top = {0, 0, 0};
    if (folds || warp() < n) {
        top = ringTop<SIGMOID>(tokens);
    }
    if (threadIdx.x == 0) {
        report.head->keep = top.keep;
        if (folds) {
            p.scaM[v.cell] = static_cast<float>(top.m);
            p.folded[v.cell] = 1;
        }
    }
    if (folds) {
#pragma unroll 1
        for (int s = static_cast<int>(threadIdx.x); s < held; s += THREADS) {
            writes[s] = top.write(tokens, s);
        }
    }
    if (warp() < n) {
        const int t = warp();
        const AnswerOfToken answer = weighToken<SIGMOID, NORMALIZE>(
                tokens, top, t, p.scale, p.eps, [&](int s, float weight) { dots[t * pitch + s] = weight; });
        if (lane() == 0) {
            report.head->carried[t] = answer.carried;
            report.head->divisors[t] = answer.divisor;
        }
    }
    __syncthreads();
#pragma unroll 1
    for (int s = static_cast<int>(threadIdx.x); s < all; s += THREADS) {
        float4 x;
        x.x = dots[s];
        x.y = dots[pitch + s];
        x.z = dots[2 * pitch + s];
        x.w = folds && s < held ? writes[s] : 0.f;
        *reinterpret_cast<float4*>(report.weights + 4 * s) = x;
    }
    float* keys = p.ringK + v.ring(p) * DQ;
    float* newKeysTo = keys + static_cast<long long>(v.stay()) * DQ;
    const float* newKeys = p.k + v.token * DQ;
    const long long apart = static_cast<long long>(p.heads) * DQ;
    for (int d = static_cast<int>(threadIdx.x); d < DQ; d += THREADS) {
        if (folds) {
            float* normaliser = p.vecN + static_cast<long long>(v.cell) * DQ + d;
            double sum = v.hasC ? static_cast<double>(top.keep) * *normaliser : 0;
            const float* key = keys + d;
#pragma unroll 8
            for (int s = 0; s < held; s++) {
                sum += static_cast<double>(writes[s]) * *key;
                key += DQ;
            }
            *normaliser = static_cast<float>(sum);
            for (int t = 0; t < min(n, held); t++) {
                report.keys[t * DQ + d] = keys[t * DQ + d];
            }
        }
        for (int t = 0; t < n; t++) {
            newKeysTo[t * DQ + d] = newKeys[t * apart + d];
        }
    }
}

}  // namespace lram

using namespace lram;

// Grid (NH, rows). Where there are few heads for each multiprocessor, one has more threads.
LRAM_KERNEL_OF(cell_weights_128, CellStep, 128, 8) {
    LRAM_DYNAMIC_SHARED(double, memory);
    weighHead<128>(p, memory);
}

LRAM_KERNEL_OF(cell_weights_256, CellStep, 256, 4) {
    LRAM_DYNAMIC_SHARED(double, memory);
    weighHead<256>(p, memory);
}

namespace lram {

// A thread's place among a block's rows and quads of columns. In a fold a warp has 4 rows and 8 quads where it can, which takes
// the fewest reads of shared memory. So it is where fp32 is only read; a warp that reads bf16 has a row, for whole lines.
struct Place {
    static constexpr bool SQUARE = QUADS % 8 == 0 && LRAM_THREADS % QUADS == 0 && LINES % 4 == 0;
    int line;
    int quad;

    __device__ __forceinline__ Place(bool folds) {
        if (SQUARE && (!NARROW || folds)) {
            constexpr int across = QUADS / 8 > 0 ? QUADS / 8 : 1;
            line = lane() / 8 + 4 * (warp() / across);
            quad = lane() % 8 + 8 * (warp() % across);
        } else {
            line = static_cast<int>(threadIdx.x) / QUADS;
            quad = static_cast<int>(threadIdx.x) % QUADS;
        }
    }
};

__device__ __forceinline__ void addThree(const float4& a, const float4& x, float (&sum)[TOKENS][4]) {
    addTimes(a.x, x, sum[0]);
    addTimes(a.y, x, sum[1]);
    addTimes(a.z, x, sum[2]);
}

__device__ __forceinline__ void loadWords(const float* from, unsigned* words) {
    const float4 x = load4(from);
    words[0] = __float_as_uint(x.x);
    words[1] = __float_as_uint(x.y);
    words[2] = __float_as_uint(x.z);
    words[3] = __float_as_uint(x.w);
}

__device__ __forceinline__ void loadWords(const Bf16* from, unsigned* words) {
    const uint2 x = load8Bytes(from);
    words[0] = x.x;
    words[1] = x.y;
}

__device__ __forceinline__ float4 ofWords(const unsigned* words, const float*) {
    float4 x;
    x.x = __uint_as_float(words[0]);
    x.y = __uint_as_float(words[1]);
    x.z = __uint_as_float(words[2]);
    x.w = __uint_as_float(words[3]);
    return x;
}

__device__ __forceinline__ float4 ofWords(const unsigned* words, const Bf16*) {
    uint2 x;
    x.x = words[0];
    x.y = words[1];
    return widened(x);
}

// Words of a quad, and rows on their way.
template <typename T>
struct Quads {
    static constexpr int SIZE = static_cast<int>(sizeof(T));
    static constexpr int BATCH = WORDS / SIZE;
};

// Rows line, line + LINES, ... of four columns, each times its weights for the three tokens. Of one batch of rows and the next
// one is on its way while the other is added. The elements' type is that of the rows at hand.
struct Rows {
    const void* from;
    int rows;
    int line;
    unsigned first[WORDS];

    template <typename T>
    __device__ __forceinline__ void ask(int r0, unsigned (&x)[WORDS]) const {
        const T* at = static_cast<const T*>(from) + static_cast<long long>(r0) * DV;
#pragma unroll
        for (int i = 0; i < Quads<T>::BATCH; i++) {
            if (r0 + i * LINES < rows) {
                loadWords(at + i * LINES * DV, x + i * Quads<T>::SIZE);
            } else {
#pragma unroll
                for (int j = 0; j < Quads<T>::SIZE; j++) {
                    x[i * Quads<T>::SIZE + j] = 0;
                }
            }
        }
    }

    template <typename T>
    __device__ __forceinline__ void addBatch(int r0, const unsigned (&x)[WORDS], const float4* weights,
                                             float (&sum)[TOKENS][4]) const {
#pragma unroll
        for (int i = 0; i < Quads<T>::BATCH; i++) {
            if (r0 + i * LINES < rows) {
                addThree(weights[r0 + i * LINES], ofWords(x + i * Quads<T>::SIZE, static_cast<const T*>(nullptr)), sum);
            }
        }
    }

    template <typename T>
    __device__ __forceinline__ void begin(const T* start, int n, int own) {
        from = start;
        rows = n;
        line = own;
        ask<T>(line, first);
    }

    template <typename T>
    __device__ __forceinline__ void add(const float4* weights, float (&sum)[TOKENS][4]) {
        constexpr int STEP = Quads<T>::BATCH * LINES;
#pragma unroll 1
        for (int r = line; r < rows; r += 2 * STEP) {
            unsigned second[WORDS];
            ask<T>(r + STEP, second);
            addBatch<T>(r, first, weights, sum);
            ask<T>(r + 2 * STEP, first);
            addBatch<T>(r + STEP, second, weights, sum);
        }
    }
};

__device__ __forceinline__ void carry(const Report& r, float (&sum)[TOKENS][4]) {
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const float carried = t < r.n ? r.carried[t] : 0.f;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum[t][j] *= carried;
        }
    }
}

// A block's columns of one head.
struct Columns {
    const float* oldKeys;  // of the first `newTokens` of the ring
    const float* keys;
    const float* values;  // at the block's first column
    int newTokens;
    int folding;
    int width;  // of this block, in elements
    const float4* weights;

    // Asks for tokens [s0, s0 + DEPTH) and rows [d0, d0 + TILE).
    __device__ __forceinline__ void ask(int s0, int d0, float4 (&k)[KEY_LOADS], float4 (&v)[VALUE_LOADS]) const {
#pragma unroll
        for (int i = 0; i < KEY_LOADS; i++) {
            const int at = static_cast<int>(threadIdx.x) + i * LRAM_THREADS;
            const int s = s0 + at / (TILE / 4);
            const int d = d0 + 4 * (at % (TILE / 4));
            k[i] = none();
            if (at < DEPTH * TILE / 4 && s < folding && d < DQ) {
                k[i] = load4((s < newTokens ? oldKeys : keys) + static_cast<long long>(s) * DQ + d);
            }
        }
#pragma unroll
        for (int i = 0; i < VALUE_LOADS; i++) {
            const int at = static_cast<int>(threadIdx.x) + i * LRAM_THREADS;
            const int s = s0 + at / QUADS;
            const int e = 4 * (at % QUADS);
            v[i] = none();
            if (at < DEPTH * QUADS && s < folding && e < width) {
                v[i] = load4(values + static_cast<long long>(s) * DV + e);
            }
        }
    }

    // Keys go in times their weights.
    __device__ __forceinline__ void put(int s0, const float4 (&k)[KEY_LOADS], const float4 (&v)[VALUE_LOADS], float* keysTo,
                                        float* valuesTo) const {
#pragma unroll
        for (int i = 0; i < KEY_LOADS; i++) {
            const int at = static_cast<int>(threadIdx.x) + i * LRAM_THREADS;
            const int s = s0 + at / (TILE / 4);
            if (at < DEPTH * TILE / 4) {
                const float write = s < folding ? weights[s].w : 0.f;
                float4 x = k[i];
                x.x *= write;
                x.y *= write;
                x.z *= write;
                x.w *= write;
                reinterpret_cast<float4*>(keysTo)[at] = x;
            }
        }
#pragma unroll
        for (int i = 0; i < VALUE_LOADS; i++) {
            const int at = static_cast<int>(threadIdx.x) + i * LRAM_THREADS;
            if (at < DEPTH * QUADS) {
                reinterpret_cast<float4*>(valuesTo)[at] = v[i];
            }
        }
    }
};

// Folds the ring into the block's columns of C, at `c`, and adds the new rows times the queries.
__device__ __forceinline__ void foldAndAnswer(const Columns& from, const Place& at, bool hasC, float keep, StateElement* c,
                                              const float4* queries, float* memory, float (&sum)[TOKENS][4]) {
    constexpr int KEYS = DEPTH * TILE;
    constexpr int BUFFER = KEYS + DEPTH * COLUMNS;
    const bool active = at.line < FOLD_LINES && 4 * at.quad < from.width;
    float4 k[KEY_LOADS];
    float4 v[VALUE_LOADS];
    int buffer = 0;
#pragma unroll 1
    for (int d0 = 0; d0 < DQ; d0 += TILE) {
        float acc[FOLD_ROWS][4];
#pragma unroll
        for (int r = 0; r < FOLD_ROWS; r++) {
            acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = 0.f;
        }
        from.ask(0, d0, k, v);
        from.put(0, k, v, memory + buffer * BUFFER, memory + buffer * BUFFER + KEYS);
        __syncthreads();
#pragma unroll 1
        for (int s0 = 0; s0 < from.folding; s0 += DEPTH) {
            const bool more = s0 + DEPTH < from.folding;
            if (more) {
                from.ask(s0 + DEPTH, d0, k, v);
            }
            if (active) {
                const float* key = memory + buffer * BUFFER + FOLD_ROWS * at.line;
                const float* value = memory + buffer * BUFFER + KEYS + 4 * at.quad;
#pragma unroll
                for (int s = 0; s < DEPTH; s++) {
                    const float4 x = load4(value + s * COLUMNS);
                    const float4 a = load4(key + s * TILE);
                    const float4 b = load4(key + s * TILE + 4);
                    addTimes(a.x, x, acc[0]);
                    addTimes(a.y, x, acc[1]);
                    addTimes(a.z, x, acc[2]);
                    addTimes(a.w, x, acc[3]);
                    addTimes(b.x, x, acc[4]);
                    addTimes(b.y, x, acc[5]);
                    addTimes(b.z, x, acc[6]);
                    addTimes(b.w, x, acc[7]);
                }
            }
            buffer = 1 - buffer;
            if (more) {
                from.put(s0 + DEPTH, k, v, memory + buffer * BUFFER, memory + buffer * BUFFER + KEYS);
            }
            __syncthreads();
        }
        if (active) {
            const int d = d0 + FOLD_ROWS * at.line;
            StateElement* own = c + static_cast<long long>(d) * DV + 4 * at.quad;
            StateQuad old[FOLD_ROWS];
#pragma unroll
            for (int r = 0; r < FOLD_ROWS; r++) {
                old[r] = StateQuad();
                if (hasC && d + r < DQ) {
                    old[r] = *reinterpret_cast<const StateQuad*>(own + r * DV);
                }
            }
#pragma unroll
            for (int r = 0; r < FOLD_ROWS; r++) {
                addTimes(keep, widened(old[r]), acc[r]);
                if (d + r < DQ) {
                    const StateQuad x = stateQuad(acc[r]);
                    *reinterpret_cast<StateQuad*>(own + r * DV) = x;
                    addThree(queries[d + r], widened(x), sum);
                }
            }
        }
    }
}

}  // namespace lram

// Grid (CHUNKS NH, rows).
LRAM_KERNEL_OF(cell_answers, CellStep, LRAM_THREADS, 2) {
    LRAM_DYNAMIC_SHARED(float4, memory);
    const int row = p.firstRow + static_cast<int>(blockIdx.y);
    const int chunk = static_cast<int>(blockIdx.x) % CHUNKS;
    const int head = static_cast<int>(blockIdx.x) / CHUNKS;
    if (faulted(p.faults)) {
        return;
    }
    const ReportOf report(p, static_cast<int>(blockIdx.y) * p.heads + head);
    const int n = report.head->n;
    if (n == 0) {
        return;
    }
    const long long cell = report.head->cell;
    const int held = report.head->held;
    const int folding = report.head->folding;
    const bool hasC = report.head->hasC != 0;
    const long long token = (static_cast<long long>(row) * p.tokens + p.tokens - n) * p.heads + head;
    const int e0 = chunk * COLUMNS;
    const Place at(folding > 0);
    const bool active = at.line < LINES && e0 + 4 * at.quad < DV;
    StateElement* c = static_cast<StateElement*>(p.matC) + cell * DQ * DV + e0;
    float* values = p.ringV + cell * p.ring * DV + e0;
    Rows rows;  // of C if it is read, then of the ring's values
    if (folding == 0 && active) {
        if (NARROW && hasC) {
            rows.begin(c + 4 * at.quad, DQ, at.line);
        } else {
            const float* start = hasC ? reinterpret_cast<const float*>(c) : values;
            rows.begin(start + 4 * at.quad, hasC ? DQ : held, at.line);
        }
    }
    float4* queries = memory;
    float4* weights = queries + DQ;
    float* work = reinterpret_cast<float*>(weights + p.ring + TOKENS);  // of folds, then of sums
    for (int d = static_cast<int>(threadIdx.x); d < DQ; d += LRAM_THREADS) {
        float4 x = none();
        x.x = p.q[token * DQ + d];
        if (n > 1) {
            x.y = p.q[(token + p.heads) * DQ + d];
        }
        if (n > 2) {
            x.z = p.q[(token + 2LL * p.heads) * DQ + d];
        }
        queries[d] = x;
    }
    for (int s = static_cast<int>(threadIdx.x); s < held + n; s += LRAM_THREADS) {
        weights[s] = load4(report.weights + 4 * s);
    }
    __syncthreads();
    float sum[TOKENS][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
    if (folding > 0) {
        const Columns from = {report.keys, p.ringK + cell * p.ring * DQ, values, n, folding, min(COLUMNS, DV - e0), weights};
        foldAndAnswer(from, at, hasC, report.head->keep, c, queries, work, sum);
        carry(*report.head, sum);
    } else if (active) {
        if (hasC) {
            rows.add<StateElement>(queries, sum);
            rows.begin(values + 4 * at.quad, held, at.line);
            carry(*report.head, sum);
        }
        rows.add<float>(weights, sum);
    }
    if (active) {
        const int stay = folding > 0 ? 0 : held;
        for (int j = at.line; j < n; j += LINES) {
            const float4 x = load4(p.v + (token + static_cast<long long>(j) * p.heads) * DV + e0 + 4 * at.quad);
            const float4 weight = weights[held + j];
            // A later token's NaN stays out of the earlier ones' answers.
            if (j == 0) {
                addTimes(weight.x, x, sum[0]);
            }
            if (j <= 1) {
                addTimes(weight.y, x, sum[1]);
            }
            addTimes(weight.z, x, sum[2]);
            *reinterpret_cast<float4*>(values + static_cast<long long>(stay + j) * DV + 4 * at.quad) = x;
        }
    }
    if (at.line < LINES) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            float4 x;
            x.x = sum[t][0];
            x.y = sum[t][1];
            x.z = sum[t][2];
            x.w = sum[t][3];
            *reinterpret_cast<float4*>(work + (at.line * TOKENS + t) * COLUMNS + 4 * at.quad) = x;
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < TOKENS * COLUMNS; i += LRAM_THREADS) {
        const int t = i / COLUMNS;
        const int e = e0 + i % COLUMNS;
        if (t < n && e < DV) {
            float answer = 0.f;
#pragma unroll
            for (int line = 0; line < LINES; line++) {
                answer += work[line * TOKENS * COLUMNS + i];
            }
            p.h[(token + static_cast<long long>(t) * p.heads) * DV + e] = answer / report.head->divisors[t];
        }
    }
}
