// The mLSTM cell of the control step for many sessions: what a head's ring and state weigh, then answers and folds by columns.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmStep for up to 3 tokens a session, DHQK and DHHV multiples of 4. Two kernels, and
// between them the Report of each head in device memory:
//   cell_weights  a head: products of queries and keys, weights of ring and state; all that the head keeps but what follows
//   cell_answers  a run of a head's value columns: answers, folds of C and of a share of the normaliser, the ring's values
// What cell_weights keeps, cell_answers must not read from the state: it finds it in the report, with the first keys of a ring
// that is folded, in whose places the new ones are.
//
// Each may begin before the kernel ahead of it has ended. What cell_weights needs of the past it reads before it waits. Then it
// says what each head is about to do (Turn) and lets cell_answers begin: that reads C while the weights are reckoned, and waits
// for the report when it has asked for the last of C. Turns are in the order in which cell_answers takes the heads: those that
// fold come first, since one of these that began last would keep everybody waiting.
//
// Bytes: the ring's keys and values once and C once, twice where it is folded. A fold takes DHQK DHHV multiply-adds a token, as
// six products of bf16 parts on tensor cores: keys times weights, and values, are sums of three bf16 numbers each, and what is
// left out is below fp32's last place.
//
// C and the ring's keys and values are fp32, or bf16 (CELL_BF16). C is rounded once at a fold, from sums in fp32, and answers are
// those of the rounded C; a key and a value are rounded as they go into the ring, and the answers of the step that brings them
// are those of the numbers it brings. Values of bf16 are parts as they are, and two parts of keys times weights are enough: two
// products, 2^-16 of a term is lost at most, where rounding takes up to 2^-8 of the sum.
//
// Compile:  as elementwise.cu, with the sizes that CellSteps.java defines. Dynamic shared memory: weightsBytes and
// answersBytes there.
#ifndef CELL_QK  // the sizes of a large model, for a look at the machine code
#define CELL_QK 640
#define CELL_HV 640
#define CELL_COLUMNS 128
#define CELL_SIGMOID 0
#define CELL_NORMALIZE 1
#define CELL_BF16 0
#endif
#include "mlstm_ring_weights.cuh"
#include "mlstm_step_tensors.cuh"
#include "step_common.cuh"
#include "step_fetch.cuh"
#include "step_mma.cuh"

namespace lram {

constexpr int DQ = CELL_QK;
constexpr int DV = CELL_HV;
constexpr int COLUMNS = CELL_COLUMNS;  // value columns of a block, a multiple of 4, of 8 where rows of C in bf16 are
constexpr bool SIGMOID = CELL_SIGMOID;
constexpr bool NORMALIZE = CELL_NORMALIZE;
constexpr int CHUNKS = (DV + COLUMNS - 1) / COLUMNS;

// What an element and four columns of C are in memory.
#if CELL_BF16
using StateElement = Bf16;
using StateQuad = uint2;
#else
using StateElement = float;
using StateQuad = float4;
#endif
constexpr bool NARROW = sizeof(StateElement) < sizeof(float);

// The ring's keys and values are as wide as C.
using RingElement = StateElement;
using RingQuad = StateQuad;
#if CELL_BF16
using RingPair = unsigned;
#else
using RingPair = uint2;
#endif

__device__ __forceinline__ StateQuad stateQuad(const float* x) {
#if CELL_BF16
    return pack4(x);
#else
    return packFloats(x);
#endif
}

// Four numbers of a new token as they go into the ring.
__device__ __forceinline__ RingQuad ringQuad(const float* from) {
#if CELL_BF16
    float x[4];
    unpack(load4(from), x);
    return pack4(x);
#else
    return load4(from);
#endif
}

__device__ __forceinline__ float firstOf(const uint2& pair) { return __uint_as_float(pair.x); }

__device__ __forceinline__ float firstOf(unsigned pair) { return lowHalf(pair); }

__device__ __forceinline__ float secondOf(const uint2& pair) { return __uint_as_float(pair.y); }

__device__ __forceinline__ float secondOf(unsigned pair) { return highHalf(pair); }

__device__ __forceinline__ RingQuad loadRing(const RingElement* from) { return *reinterpret_cast<const RingQuad*>(from); }

// Nobody reads C again in this step.
__device__ __forceinline__ void storeState(StateElement* to, const StateQuad& x) {
#ifdef LRAM_EMULATED
    *reinterpret_cast<StateQuad*>(to) = x;
#else
    __stcs(reinterpret_cast<StateQuad*>(to), x);
#endif
}

struct CellStep : MlstmStepTensors {
    float* reports;
    unsigned* begun;  // heads that have said what they do, those that fold before the others: zero between launches
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

    __device__ __forceinline__ RingElement* keys() const { return static_cast<RingElement*>(ringK); }

    __device__ __forceinline__ RingElement* values() const { return static_cast<RingElement*>(ringV); }
};

// What a head is about to do. A head's turn is the next one of its kind, whichever head is there first; who has which changes no
// answer.
//
// cell_weights may still be running when a turn is read. What it has put is seen because it lets the next kernel begin after a
// fence of its own, which is how devices behave and not promised: so a turn says whose it is by a sum, which one that is torn or of
// another layer does not have, and what was acted upon is held against what is there when cell_weights has ended.
struct alignas(16) Turn {
    int n;  // new tokens; where there are none, the rest means nothing
    int cell;
    int held;
    int folding;  // ring tokens that are folded first; 0 for none
    int hasC;
    int pair;  // of a row of this launch and a head
    int sum;
    int unused;

    __device__ __forceinline__ int sumOf(const CellStep& p) const {
        const unsigned x = 31u * (31u * n + cell) + held;
        const unsigned y = 31u * (31u * (31u * x + folding) + hasC) + pair;
        return static_cast<int>(31u * (31u * (31u * y + p.layer) + p.firstRow) + p.ring + 0x5eedu);
    }

    // Of this launch's layer, and such as acting upon it stays within its memory.
    __device__ __forceinline__ bool whole(const CellStep& p) const {
        return sum == sumOf(p) && held >= 0 && held <= p.ring && pair >= 0 && pair < static_cast<int>(gridDim.y) * p.heads;
    }

    __device__ __forceinline__ static Turn of(const Turn* from) {
        const volatile Turn* t = from;
        return {t->n, t->cell, t->held, t->folding, t->hasC, t->pair, t->sum, 0};
    }

    __device__ __forceinline__ bool operator==(const Turn& o) const {
        return n == o.n && cell == o.cell && held == o.held && folding == o.folding && hasC == o.hasC && pair == o.pair;
    }

    // One thread, before it lets cell_answers begin.
    __device__ __forceinline__ void put(const CellStep& p, Turn* to) const {
        volatile Turn* t = to;
        t->n = n;
        t->cell = cell;
        t->held = held;
        t->folding = folding;
        t->hasC = hasC;
        t->pair = pair;
        t->sum = sumOf(p);
#ifndef LRAM_EMULATED
        asm volatile("fence.acq_rel.gpu;" ::: "memory");
#endif
    }
};

// Of one head, from cell_weights to cell_answers. Then follow quads (answers' weights of the 3 tokens, fold's weight) for each
// token of ring and step, and the first 3 keys of a ring that is folded.
struct alignas(16) Report {
    float keep;
    float carried[TOKENS];
    float divisors[TOKENS];
};

constexpr int TURN_FLOATS = sizeof(Turn) / 4;
constexpr int REPORT_FLOATS = sizeof(Report) / 4;
constexpr int FIRST_KEYS_FLOATS = (TOKENS * DQ * static_cast<int>(sizeof(RingElement)) + 15) / 16 * 4;

// The turn of this number, and a head's report, which have nothing else in common.
struct ReportOf {
    Turn* turn;
    Report* head;
    float* weights;
    RingElement* keys;

    __device__ __forceinline__ ReportOf(const CellStep& p, int pair) {
        const int most = p.ring + TOKENS;
        float* at = p.reports + static_cast<long long>(pair) * (TURN_FLOATS + REPORT_FLOATS + 4 * most + FIRST_KEYS_FLOATS);
        turn = reinterpret_cast<Turn*>(at);
        head = reinterpret_cast<Report*>(at + TURN_FLOATS);
        weights = at + TURN_FLOATS + REPORT_FLOATS;
        keys = reinterpret_cast<RingElement*>(weights + 4 * most);
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
        const int limit = hasC ? p.period : firstFold(p.first, p.stagger, index + phase(p));
        folds = held > 0 && held + n > limit;
        token = (static_cast<long long>(row) * p.tokens + p.tokens - n) * p.heads + head;
    }

    // Of the session, one of the schedule's. It follows from the bits of the first token's gate, so that sessions that began
    // together fold in different steps where their first observations differ, and a session folds alike in every slot.
    __device__ __forceinline__ int phase(const CellStep& p) const {
        const unsigned bits = 0x9e3779b1u * __float_as_uint(p.ringI[ring(p)]);
        return static_cast<int>(static_cast<unsigned long long>(bits) * static_cast<unsigned>(p.stagger) >> 32);
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

// One warp: running sums of log forget gates and log input gates of the ring.
__device__ __forceinline__ void scanRing(const CellStep& p, const HeadOfCell& u, double* sums, double* inputs) {
    const long long ring = u.ring(p);
    const int held = u.held;
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
    __syncwarp();
}

// A lane's new token: what of its gates goes into the ring.
struct NewGates {
    float input = 0.f;
    float forget = 0.f;

    __device__ __forceinline__ void put(const CellStep& p, const HeadOfCell& u) const {
        const long long to = u.ring(p) + u.stay() + lane();
        p.ringI[to] = input;
        p.ringF[to] = forget;
    }
};

// The same warp: those of the new tokens. Their gates may go into the ring once all threads know whether the head folds, which
// follows from the gate that the first one replaces.
__device__ __forceinline__ NewGates scanNew(const CellStep& p, const HeadOfCell& u, int row, int head, double* sums,
                                            double* inputs) {
    const int held = u.held;
    const int n = u.n;
    float newInput = 0.f;
    float newForget = 0.f;
    if (p.shares != nullptr) {
        addShares(p, row, head, n, newInput, newForget);
    } else if (lane() < n) {
        newInput = p.i[u.token + static_cast<long long>(lane()) * p.heads];
        newForget = p.f[u.token + static_cast<long long>(lane()) * p.heads];
    }
    newForget = logSigmoidFloat(newForget);
    double sum = held == 0 ? 0 : sums[held - 1];
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
    NewGates gates;
    gates.input = newInput;
    gates.forget = newForget;
    return gates;
}

// Number of this head's turn: from the first on where it folds, else from the last one back.
__device__ __forceinline__ int nextTurn(const CellStep& p, bool folds) {
    const int all = static_cast<int>(gridDim.x * gridDim.y);
    const int before = static_cast<int>(takeNumber(p.begun + (folds ? 0 : 1)));
#ifndef LRAM_EMULATED
    if (before < 0 || before >= all) {  // the counts were not zero
        __trap();
    }
#endif
    return folds ? before : all - 1 - before;
}

// The ring's first keys and the normaliser, into the second-level cache: more than these would take longer to ask for than they
// save.
__device__ __forceinline__ void fetchKeys(const CellStep& p, const HeadOfCell& u, int thread, int threads) {
    const char* keys = reinterpret_cast<const char*>(p.keys() + u.ring(p) * DQ);
    constexpr int KEY_BYTES = DQ * static_cast<int>(sizeof(RingElement));
    const int bytes = min(u.held, 48 * 4 * DQ / KEY_BYTES) * KEY_BYTES;
    for (int at = 128 * thread; at < bytes; at += 128 * threads) {
        fetchLine(keys + at);
    }
    if (u.hasC && 128 * thread < 4 * DQ) {
        fetchLine(reinterpret_cast<const char*>(p.vecN + static_cast<long long>(u.cell) * DQ) + 128 * thread);
    }
}

// What a lane has of a row of DQ elements: KEY_WIDE beside each other, 16 bytes of a key where the ring is narrow and rows allow
// it, from 32 KEY_WIDE elements to the next.
constexpr int KEY_WIDE = NARROW && DQ % 8 == 0 ? 8 : 4;
constexpr int KEY_LOADS = (DQ + 32 * KEY_WIDE - 1) / (32 * KEY_WIDE);

template <typename Quad>
struct alignas(16 < KEY_WIDE / 4 * sizeof(Quad) ? 16 : KEY_WIDE / 4 * sizeof(Quad)) Piece {
    Quad quads[KEY_WIDE / 4];
};

// Quads between a lane's first and second one of the queries, which lie so that lanes read quads beside each other.
__host__ __device__ constexpr int queryStep(int load) {
    return DQ / 8 - 32 * load < 32 ? DQ / 8 - 32 * load : 32;
}

// Where quad i of the queries' rows lies.
__device__ __forceinline__ int queryPlace(int i) {
    if (KEY_WIDE == 4) {
        return i;
    }
    const int own = i % (DQ / 4);
    const int load = own / 64;
    return i - own + 64 * load + own % 2 * queryStep(load) + own % 64 / 2;
}

// Products of the queries with rows of DQ elements, up to the last row, which is taken for zeros unless `hasLast`. A warp a row,
// and its next ones beside it, ROWS in all, whose loads are on their way at once.
template <typename Quad, int WARPS, int ROWS, typename RowOf>
__device__ __forceinline__ void dotRows(int first, int last, int hasLast, const RowOf& rowOf, const float* queries, float* dots,
                                        int pitch) {
#pragma unroll 1
    for (int s0 = first; s0 <= last; s0 += WARPS * ROWS) {
        Piece<Quad> x[ROWS][KEY_LOADS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int s = s0 + i * WARPS;
            const auto* row = rowOf(s, last);
#pragma unroll
            for (int j = 0; j < KEY_LOADS; j++) {
                const int d = KEY_WIDE * (32 * j + lane());
                x[i][j] = d < DQ && (s < last || (s == last && hasLast)) ? *reinterpret_cast<const Piece<Quad>*>(row + d)
                                                                         : Piece<Quad>();
            }
        }
        float sum[ROWS][TOKENS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            sum[i][0] = sum[i][1] = sum[i][2] = 0.f;
        }
#pragma unroll
        for (int j = 0; j < KEY_LOADS; j++) {
            const int d = KEY_WIDE * (32 * j + lane());
            if (d < DQ) {
#pragma unroll
                for (int k = 0; k < KEY_WIDE / 4; k++) {
#pragma unroll
                    for (int t = 0; t < TOKENS; t++) {
                        const float4 query = load4(queries + t * DQ + 4 * (KEY_WIDE / 4 * 32 * j + k * queryStep(j) + lane()));
#pragma unroll
                        for (int i = 0; i < ROWS; i++) {
                            sum[i][t] = dot4(widened(x[i][j].quads[k]), query, sum[i][t]);
                        }
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const int s = s0 + i * WARPS;
            const float dot = threeSums(lane(), sum[i][0], sum[i][1], sum[i][2]);
            if (lane() < TOKENS && s <= last) {
                dots[lane() * pitch + s] = dot;
            }
        }
    }
}

// One head, by THREADS threads; at least 2 warps.
template <int THREADS>
__device__ __forceinline__ void weighHead(const CellStep& p, double* memory) {
    constexpr int WARPS = THREADS / 32;
    if (faulted(p.faults)) {
        awaitBefore();
        return;
    }
    const int head = static_cast<int>(blockIdx.x);
    const int row = p.firstRow + static_cast<int>(blockIdx.y);
    const HeadOfCell u(p, row, head);
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
    if (u.n > 0) {
        if (warp() == WARPS - 1) {
            scanRing(p, u, sums, inputs);
        } else {
            fetchKeys(p, u, static_cast<int>(threadIdx.x), THREADS - 32);
        }
    }
    awaitBefore();
    if (threadIdx.x == 0) {
        const int pair = static_cast<int>(blockIdx.y) * p.heads + head;
        const Turn turn = {u.n, u.cell, u.held, u.folds ? u.held : 0, u.hasC, pair, 0, 0};
        turn.put(p, ReportOf(p, nextTurn(p, u.folds != 0)).turn);
        letNextBegin();
        *m0 = p.scaM[u.cell];
        *again = u;
    }
    if (u.n == 0) {
        return;
    }
    for (int i = static_cast<int>(threadIdx.x); i < TOKENS * DQ / 4; i += THREADS) {
        const int t = i / (DQ / 4);
        const float* q = p.q + (u.token + static_cast<long long>(t) * p.heads) * DQ;
        reinterpret_cast<float4*>(queries)[queryPlace(i)] = t < u.n ? load4(q + 4 * (i % (DQ / 4))) : none();
    }
    NewGates gates;
    if (warp() == WARPS - 1) {
        gates = scanNew(p, u, row, head, sums, inputs);
    }
    __syncthreads();
    if (warp() == WARPS - 1 && lane() < u.n) {
        gates.put(p, u);
    }
    // The ring's keys, then the new ones and the normaliser, which are fp32: where the ring is narrow, by the warps that have the fewest
    // of its keys. KEYS at once are as many as registers hold.
    const auto fullRow = [&](int s, int last) {
        return s < last ? p.k + (u.token + static_cast<long long>(s - u.held) * p.heads) * DQ
                        : p.vecN + static_cast<long long>(u.cell) * DQ;
    };
#if CELL_BF16
    constexpr int ROOM = (THREADS > 128 ? 90 : 45) / (KEY_LOADS * KEY_WIDE / 2 + TOKENS);  // a key's elements and sums
    constexpr int KEYS = ROOM < 1 ? 1 : (ROOM > 6 ? 6 : ROOM);
    dotRows<RingQuad, WARPS, KEYS>(
            warp(), u.held - 1, true, [&](int s, int) { return p.keys() + (u.ring(p) + s) * DQ; }, queries, dots, pitch);
    dotRows<float4, WARPS, 1>(u.held + WARPS - 1 - warp(), all, u.hasC, fullRow, queries, dots, pitch);
#else
    constexpr int KEYS = KEY_LOADS <= 2 ? 3 : (KEY_LOADS > 5 ? 1 : (THREADS > 128 ? 4 : 2));
    dotRows<float4, WARPS, KEYS>(
            warp(), all, u.hasC,
            [&](int s, int last) { return s < u.held ? p.keys() + (u.ring(p) + s) * DQ : fullRow(s, last); }, queries, dots, pitch);
#endif
    __syncthreads();
    const HeadOfCell v = *again;  // rather than in registers all the time
    const int held = v.held;
    const int n = v.n;
    const bool folds = v.folds;
    const ReportOf report(p, static_cast<int>(blockIdx.y) * p.heads + static_cast<int>(blockIdx.x));
    const RingTokens tokens = {held, n, folds, v.hasC != 0, *m0, sums, inputs, dots, pitch};
    if (threadIdx.x == 0) {
        p.ringLength[v.cell] = v.stay() + n;
    }
    const RingTop top = ringTop<SIGMOID>(tokens);
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
#pragma unroll 1
    for (int t = warp(); t < n; t += WARPS) {
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
    RingElement* keys = p.keys() + v.ring(p) * DQ;
    RingElement* newKeysTo = keys + static_cast<long long>(v.stay()) * DQ;
    const float* newKeys = p.k + v.token * DQ;
    const long long apart = static_cast<long long>(p.heads) * DQ;
    if (folds) {
        for (int i = static_cast<int>(threadIdx.x); i < min(n, held) * (DQ / 4); i += THREADS) {
            *reinterpret_cast<RingQuad*>(report.keys + 4 * i) = loadRing(keys + 4 * i);
        }
        __syncthreads();  // the first keys are kept
    }
    for (int i = static_cast<int>(threadIdx.x); i < n * (DQ / 4); i += THREADS) {
        const int t = i / (DQ / 4);
        const int d = 4 * (i % (DQ / 4));
        *reinterpret_cast<RingQuad*>(newKeysTo + t * DQ + d) = ringQuad(newKeys + t * apart + d);
    }
}

}  // namespace lram

using namespace lram;

// Grid (NH, rows). The fewer heads a multiprocessor has, the more threads has one.
LRAM_KERNEL_OF(cell_weights_256, CellStep, 256, 2) {
    LRAM_DYNAMIC_SHARED(double, memory);
    weighHead<256>(p, memory);
}

LRAM_KERNEL_OF(cell_weights_128, CellStep, 128, 8) {
    LRAM_DYNAMIC_SHARED(double, memory);
    weighHead<128>(p, memory);
}

LRAM_KERNEL_OF(cell_weights_64, CellStep, 64, 16) {
    LRAM_DYNAMIC_SHARED(double, memory);
    weighHead<64>(p, memory);
}

namespace lram {

// Where a block reads what it answers from: a thread owns WIDE columns of C and the rows line, line + LINES, ..., then the same
// columns of the ring's values, so that a warp reads whole lines of both. WORDS times 16 bytes of a thread are a stage, and the
// next STAGES - 1 of these are on their way into the thread's own places of shared memory while it adds one up.
constexpr int WIDE = NARROW && DV % 8 == 0 ? 8 : 4;
constexpr int ACROSS = COLUMNS / WIDE;
constexpr int LINES = LRAM_THREADS / ACROSS;
constexpr int WORDS = 4;
constexpr int STAGES = 4;
constexpr int STAGE_ROWS = WORDS * LINES;
constexpr int STATE_STAGES = (DQ + STAGE_ROWS - 1) / STAGE_ROWS;
static_assert(COLUMNS % WIDE == 0 && ACROSS <= LRAM_THREADS, "a thread's columns are a block's");

// How a fold is shared: a warp has 16 rows and a group of 64 columns of C at a time, and SLAB tokens' values are in shared memory
// as the parts that tensor cores take.
constexpr int GROUP = 64;
constexpr int GROUPS = (COLUMNS + GROUP - 1) / GROUP;
constexpr int ROW_WARPS = LRAM_WARPS / GROUPS;
constexpr int PAIRS = GROUP / 16;  // of tiles of eight columns, of a group
constexpr int DEPTH = 16;          // tokens of an instruction
constexpr int KEY_PARTS = NARROW ? 2 : 3;  // of keys times weights
constexpr int PARTS = NARROW ? 1 : 3;      // of values
constexpr int SLAB = COLUMNS > 128 ? 48 : 64;
static_assert(GROUPS <= LRAM_WARPS, "a warp for each group of columns");

// Stages, or a slab, are the first in shared memory, at a multiple of 128 bytes: 64 behind one, answers from C of a block of 206M x 64
// take 114 us in place of 107, 80 behind one 130.
constexpr int STAGE_QUADS = STAGES * WORDS * LRAM_THREADS;
constexpr int SLAB_QUADS = SLAB / DEPTH * (GROUPS * PAIRS) * PARTS * 32;
constexpr int WORK_QUADS = most(STAGE_QUADS, SLAB_QUADS);

constexpr int TURN_QUADS = TURN_FLOATS / 4;
constexpr int REPORT_QUADS = REPORT_FLOATS / 4;

__device__ __forceinline__ void copyWord(void* to, const StateElement* from) {
    if (WIDE * sizeof(StateElement) == 16) {
        copySixteenOnce(to, from);
    } else {
        copyEight(to, from);
    }
}

__device__ __forceinline__ void copyValues(void* to, const RingElement* from) {
    if (WIDE * sizeof(RingElement) == 16) {
        copySixteen(to, from);
    } else {
        copyEight(to, from);
    }
}

template <int N>
__device__ __forceinline__ void addThree(const float4& a, const float4& x, float (&sum)[TOKENS][N], int from) {
    addTimes(a.x, x, sum[0] + from);
    addTimes(a.y, x, sum[1] + from);
    addTimes(a.z, x, sum[2] + from);
}

template <int N>
__device__ __forceinline__ void clear(float (&sum)[TOKENS][N]) {
#pragma unroll
    for (int e = 0; e < N; e++) {
        sum[0][e] = sum[1][e] = sum[2][e] = 0.f;
    }
}

// Of C, or of values, which are as wide.
__device__ __forceinline__ void addWord(float4 a, const float4* word, float (&sum)[TOKENS][WIDE]) {
    const StateQuad* x = reinterpret_cast<const StateQuad*>(word);
#pragma unroll
    for (int i = 0; i < WIDE / 4; i++) {
        addThree(a, widened(x[i]), sum, 4 * i);
    }
}

__device__ __forceinline__ void putLine(float* to, const float (&sum)[WIDE]) {
#pragma unroll
    for (int i = 0; i < WIDE / 4; i++) {
        store(to + 4 * i, packFloats(sum + 4 * i));
    }
}

struct Stream {
    const StateElement* c;      // own columns of row `line`; null where this thread has none
    const RingElement* values;  // likewise
    float4* own;
    int line;
    int stateStages;
    int stages;
    int held;

    __device__ __forceinline__ float4* place(int b) const { return own + b % STAGES * (WORDS * LRAM_THREADS); }

    __device__ __forceinline__ void ask(int b) const {
        float4* to = place(b);
        if (b < stateStages) {
            const int row = line + b * STAGE_ROWS;
            const StateElement* from = c + static_cast<long long>(b) * (STAGE_ROWS * DV);
#pragma unroll
            for (int j = 0; j < WORDS; j++) {
                if (c != nullptr && (DQ % STAGE_ROWS == 0 || row + j * LINES < DQ)) {
                    copyWord(to + j * LRAM_THREADS, from + j * (LINES * DV));
                }
            }
        } else if (b < stages && values != nullptr) {
            const int row = line + (b - stateStages) * STAGE_ROWS;
            const RingElement* from = values + static_cast<long long>(b - stateStages) * (STAGE_ROWS * DV);
#pragma unroll
            for (int j = 0; j < WORDS; j++) {
                if (row + j * LINES < held) {
                    copyValues(to + j * LRAM_THREADS, from + j * (LINES * DV));
                }
            }
        }
        endCopies();
    }

    __device__ __forceinline__ void addState(int b, const float4* queries, float (&sum)[TOKENS][WIDE]) const {
        const float4* from = place(b);
        const int row = line + b * STAGE_ROWS;
        if (c == nullptr) {
            return;
        }
#pragma unroll
        for (int j = 0; j < WORDS; j++) {
            if (DQ % STAGE_ROWS == 0 || row + j * LINES < DQ) {
                addWord(queries[row + j * LINES], from + j * LRAM_THREADS, sum);
            }
        }
    }

    __device__ __forceinline__ void addValues(int b, const float4* weights, float (&sum)[TOKENS][WIDE]) const {
        const float4* from = place(b);
        const int row = line + (b - stateStages) * STAGE_ROWS;
        if (values == nullptr) {
            return;
        }
#pragma unroll
        for (int j = 0; j < WORDS; j++) {
            if (row + j * LINES < held) {
                addWord(weights[row + j * LINES], from + j * LRAM_THREADS, sum);
            }
        }
    }
};

// Column `at` of four tokens' quads as parts.
__device__ __forceinline__ void columnParts(const float4 (&x)[4], int at, uint2 (&parts)[3]) {
    float column[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        float quad[4];
        unpack(x[j], quad);
        column[j] = quad[at];
    }
    inBf16(column, parts);
}

__device__ __forceinline__ void columnParts(const uint2 (&x)[4], int at, uint2 (&parts)[1]) {
    unsigned bits[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const unsigned pair = at < 2 ? x[j].x : x[j].y;
        bits[j] = at % 2 == 0 ? pair & 0xffffu : pair >> 16;
    }
    parts[0].x = bits[0] | bits[1] << 16;
    parts[0].y = bits[2] | bits[3] << 16;
}

// A block's columns of a head that folds.
struct Fold {
    const RingElement* oldKeys;  // of the first `newTokens` of the ring
    const RingElement* keys;
    const RingElement* values;  // at the block's first column
    StateElement* c;            // likewise
    const float4* weights;
    const float4* queries;
    int newTokens;
    int folding;
    int width;  // of this block, in elements
    bool hasC;
    float keep;

    // Values of the tokens [s0, s0 + SLAB) as parts: for 16 tokens and 16 columns, each part of a lane's two tiles is four words.
    // Column 4 i + 2 j + k of the 16 is column 2 i + k of tile j, so that a thread has quads of columns of C, and it has four
    // tokens that follow each other.
    __device__ __forceinline__ void splitValues(int s0, uint4* slab) const {
        const int depth = (min(SLAB, folding - s0) + DEPTH - 1) / DEPTH;
#pragma unroll 1
        for (int item = static_cast<int>(threadIdx.x); item < depth * (GROUPS * PAIRS) * 16; item += LRAM_THREADS) {
            const int four = item % 4;
            const int quad = item / 4 % 4;
            const int at = item / 16;  // of the slab's squares of 16
            const int s = s0 + DEPTH * (at / (GROUPS * PAIRS)) + 4 * four;
            const int e = 16 * (at % (GROUPS * PAIRS)) + 4 * quad;
            RingQuad x[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[j] = s + j < folding && e < width ? loadRing(values + static_cast<long long>(s + j) * DV + e) : RingQuad();
            }
#pragma unroll
            for (int k = 0; k < 2; k++) {
                uint2 a[PARTS];
                uint2 b[PARTS];
                columnParts(x, k, a);
                columnParts(x, k + 2, b);
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    uint4 words;
                    words.x = a[part].x;
                    words.y = a[part].y;
                    words.z = b[part].x;
                    words.w = b[part].y;
                    slab[(PARTS * at + part) * 32 + 4 * (2 * quad + k) + four] = words;
                }
            }
        }
    }

    // This lane's keys of 16 tokens from s on, two rows from d on.
    __device__ __forceinline__ void askKeys(int s, int d, RingPair (&x)[4]) const {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int own = s + 4 * (lane() % 4) + j;
            x[j] = RingPair();
            if (own < folding && d < DQ) {
                x[j] = *reinterpret_cast<const RingPair*>((own < newTokens ? oldKeys : keys) +
                                                          static_cast<long long>(own) * DQ + d);
            }
        }
    }

    // Adds tokens of the slab to a warp's tile: keys times weights are the left side, values the right one. The first keys are
    // at hand, and afterwards those that follow: of the next slab, or of the next rows.
    __device__ __forceinline__ void addSlab(int s0, int d, const uint4* slab, RingPair (&x)[4], float (&acc)[PAIRS][2][4]) const {
        const int depth = (min(SLAB, folding - s0) + DEPTH - 1) / DEPTH;
#pragma unroll 1
        for (int step = 0; step < depth; step++) {
            float upper[4];
            float lower[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int own = s0 + DEPTH * step + 4 * (lane() % 4) + j;
                const float weight = own < folding ? weights[own].w : 0.f;
                upper[j] = weight * firstOf(x[j]);
                lower[j] = weight * secondOf(x[j]);
            }
            uint2 a[KEY_PARTS];
            uint2 b[KEY_PARTS];
            inBf16(upper, a);
            inBf16(lower, b);
            const int next = s0 + DEPTH * (step + 1);
            const bool done = next >= folding;
            askKeys(done ? 0 : next, done ? d + 16 * ROW_WARPS : d, x);
            const uint4* from = slab + step * (GROUPS * PAIRS * PARTS * 32) + warp() % GROUPS * (PAIRS * PARTS * 32) + lane();
#pragma unroll
            for (int i = 0; i < PAIRS; i += 2) {  // four tiles beside each other, so that none waits for its own last product
                uint4 v[2][PARTS];
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    v[0][part] = from[(PARTS * i + part) * 32];
                    v[1][part] = from[(PARTS * i + PARTS + part) * 32];
                }
                // The smallest products first; those below the last part's last place are left out.
#pragma unroll
                for (int both = KEY_PARTS - 1; both >= 0; both--) {
#pragma unroll
                    for (int part = both; part >= 0; part--) {
#pragma unroll
                        for (int j = 0; j < 2 && both - part < PARTS; j++) {
                            const uint4& right = v[j][both - part];
                            mma(acc[i + j][0], a[part].x, b[part].x, a[part].y, b[part].y, right.x, right.y);
                            mma(acc[i + j][1], a[part].x, b[part].x, a[part].y, b[part].y, right.z, right.w);
                        }
                    }
                }
            }
        }
    }

    // A warp's tile of C, 16 rows from d0 on, into the second-level cache.
    __device__ __forceinline__ void fetchTile(int d0) const {
        constexpr int LINES_OF_ROW = GROUP * static_cast<int>(sizeof(StateElement)) / 128;
        const int row = d0 + lane() / LINES_OF_ROW;
        const int column = GROUP * (warp() % GROUPS) + 128 / static_cast<int>(sizeof(StateElement)) * (lane() % LINES_OF_ROW);
        if (hasC && lane() < 16 * LINES_OF_ROW && row < DQ && column < width) {
            fetchLine(reinterpret_cast<const char*>(c + static_cast<long long>(row) * DV + column));
        }
    }

    // Folds the ring into the block's share of the normaliser. A warp has quads beside each other, and for each of these several
    // lanes a share of the tokens.
    __device__ __forceinline__ void foldNormaliser(float* normaliser, int chunk) const {
        constexpr int SHARE = (DQ / 4 + CHUNKS - 1) / CHUNKS;
        constexpr int BESIDE = SHARE <= 4 * LRAM_WARPS ? 4 : 8;
        constexpr int SHARES = 32 / BESIDE;
        constexpr int BATCH = 8;  // keys of a lane on their way at once
        const int end = min(DQ / 4, (chunk + 1) * SHARE);
#pragma unroll 1
        for (int first = chunk * SHARE + BESIDE * warp(); first < end; first += BESIDE * LRAM_WARPS) {
            const int quad = first + lane() % BESIDE;
            const bool is = quad < end;
            float4 old = none();
            if (is && hasC) {
                old = load4(normaliser + 4 * quad);
            }
            double sum[4] = {0, 0, 0, 0};
#pragma unroll 1
            for (int s0 = lane() / BESIDE; s0 < folding; s0 += BATCH * SHARES) {
                RingQuad x[BATCH];
#pragma unroll
                for (int i = 0; i < BATCH; i++) {
                    const int s = min(s0 + i * SHARES, folding - 1);
                    x[i] = loadRing((s < newTokens ? oldKeys : keys) + static_cast<long long>(s) * DQ + 4 * min(quad, end - 1));
                }
#pragma unroll
                for (int i = 0; i < BATCH; i++) {
                    const int s = s0 + i * SHARES;
                    if (s < folding) {
                        const double write = weights[s].w;
                        const float4 key = widened(x[i]);
                        sum[0] += write * key.x;
                        sum[1] += write * key.y;
                        sum[2] += write * key.z;
                        sum[3] += write * key.w;
                    }
                }
            }
#pragma unroll
            for (int d = BESIDE; d < 32; d *= 2) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], d);
                }
            }
            if (is && lane() < BESIDE) {
                const double kept = keep;
                float4 now;
                now.x = static_cast<float>(kept * old.x + sum[0]);
                now.y = static_cast<float>(kept * old.y + sum[1]);
                now.z = static_cast<float>(kept * old.z + sum[2]);
                now.w = static_cast<float>(kept * old.w + sum[3]);
                store(normaliser + 4 * quad, now);
            }
        }
    }

    // Folds the ring into the block's columns of C, and leaves the new rows times the queries in ROW_WARPS lines at `lines`,
    // which may be where the slab is. The first slab is there.
    __device__ __forceinline__ void run(const float (&carried)[TOKENS], uint4* slab, float* lines) const {
        const bool active = warp() < GROUPS * ROW_WARPS;
        const int column = GROUP * (warp() % GROUPS) + 4 * (lane() % 4);
        float sum[PAIRS][TOKENS];
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            sum[i][0] = sum[i][1] = sum[i][2] = 0.f;
        }
        int loaded = 0;
        RingPair x[4];
        askKeys(0, 16 * (warp() / GROUPS) + 2 * (lane() / 4), x);
#pragma unroll 1
        for (int round = 0; round < (DQ + 16 * ROW_WARPS - 1) / (16 * ROW_WARPS); round++) {
            const int d0 = 16 * (warp() / GROUPS + ROW_WARPS * round);
            const int d = d0 + 2 * (lane() / 4);
            const bool mine = active && d0 < DQ;
            float acc[PAIRS][2][4];
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    acc[i][0][j] = acc[i][1][j] = 0.f;
                }
            }
            if (mine) {
                fetchTile(d0);
            }
#pragma unroll 1
            for (int s0 = 0; s0 < folding; s0 += SLAB) {
                if (s0 != loaded) {
                    __syncthreads();
                    splitValues(s0, slab);
                    loaded = s0;
                    __syncthreads();
                }
                if (mine) {
                    addSlab(s0, d, slab, x, acc);
                }
            }
            if (mine) {
                StateQuad old[PAIRS][2];
#pragma unroll
                for (int i = 0; i < PAIRS; i++) {
#pragma unroll
                    for (int r = 0; r < 2; r++) {
                        old[i][r] = StateQuad();
                        if (hasC && d + r < DQ && column + 16 * i < width) {
                            old[i][r] =
                                    *reinterpret_cast<const StateQuad*>(c + static_cast<long long>(d + r) * DV + column + 16 * i);
                        }
                    }
                }
#pragma unroll
                for (int i = 0; i < PAIRS; i++) {
                    float answers[TOKENS][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
#pragma unroll
                    for (int r = 0; r < 2; r++) {
                        if (d + r < DQ && column + 16 * i < width) {
                            float total[4] = {acc[i][0][2 * r], acc[i][0][2 * r + 1], acc[i][1][2 * r],
                                              acc[i][1][2 * r + 1]};
                            addTimes(keep, widened(old[i][r]), total);
                            const StateQuad now = stateQuad(total);
                            storeState(c + static_cast<long long>(d + r) * DV + column + 16 * i, now);
                            const float4 query = queries[d + r];
                            addTimes(query.x, widened(now), answers[0]);
                            addTimes(query.y, widened(now), answers[1]);
                            addTimes(query.z, widened(now), answers[2]);
                        }
                    }
#pragma unroll
                    for (int t = 0; t < TOKENS; t++) {
                        sum[i][t] += sumOfRows(answers[t]);
                    }
                }
            }
        }
        __syncthreads();
        if (active && (lane() & 4) == 0) {
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                const int own = column + 16 * i + lane() / 8;
#pragma unroll
                for (int t = 0; t < TOKENS; t++) {
                    if (own < COLUMNS) {
                        lines[(warp() / GROUPS * TOKENS + t) * COLUMNS + own] = carried[t] * sum[i][t];
                    }
                }
            }
        }
    }

    // Over the lanes that have the same columns, for one of these: number lane() / 8.
    __device__ __forceinline__ static float sumOfRows(const float (&x)[4]) {
        const bool upper = (lane() & 16) != 0;
        const bool odd = (lane() & 8) != 0;
        const float a = (upper ? x[2] : x[0]) + __shfl_xor_sync(0xffffffffu, upper ? x[0] : x[2], 16);
        const float b = (upper ? x[3] : x[1]) + __shfl_xor_sync(0xffffffffu, upper ? x[1] : x[3], 16);
        const float sum = (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 8);
        return sum + __shfl_xor_sync(0xffffffffu, sum, 4);
    }
};

// From the second-level cache, whatever this multiprocessor has read there before.
__device__ __forceinline__ float4 freshLoad4(const float* from) {
#ifdef LRAM_EMULATED
    return load4(from);
#else
    return __ldcg(reinterpret_cast<const float4*>(from));
#endif
}

// cell_weights has ended, and the next one counts from nothing.
__device__ __forceinline__ void endTurns(const CellStep& p) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x < 2) {
        p.begun[threadIdx.x] = 0;
    }
}

// All turns are here: another one than was acted upon may not go unnoticed.
__device__ __forceinline__ void requireSame(const Turn& acted, const Turn& said) {
#ifndef LRAM_EMULATED
    if (!(acted == said)) {
        __trap();
    }
#endif
}

// Begins to copy what cell_weights says of a head, behind its turn.
__device__ __forceinline__ void copyReport(const Turn* turn, const ReportOf& of, int tokens, float4* to) {
    const float4* from = reinterpret_cast<const float4*>(of.head) - TURN_QUADS;
    for (int i = static_cast<int>(threadIdx.x); i < TURN_QUADS + REPORT_QUADS + tokens; i += LRAM_THREADS) {
        copySixteen(to + i, i < TURN_QUADS ? reinterpret_cast<const float4*>(turn) + i : from + i);
    }
}

}  // namespace lram

// Grid (CHUNKS NH, rows).
LRAM_KERNEL_OF(cell_answers, CellStep, LRAM_THREADS, 2) {
    LRAM_DYNAMIC_SHARED(float4, memory);
    letNextBegin();
    if (faulted(p.faults)) {
        awaitBefore();
        return;
    }
    const int block = static_cast<int>(blockIdx.y * gridDim.x + blockIdx.x);
    const int chunk = block % CHUNKS;
    const Turn* turnAt = ReportOf(p, block / CHUNKS).turn;
    Turn turn = Turn::of(turnAt);
    if (!turn.whole(p)) {
        awaitBefore();
        turn = Turn::of(turnAt);
    }
    const int n = turn.n;
    if (n == 0) {
        awaitBefore();
        endTurns(p);
        return;
    }
    const int row = p.firstRow + turn.pair / p.heads;
    const int head = turn.pair % p.heads;
    const ReportOf report(p, turn.pair);
    const long long token = (static_cast<long long>(row) * p.tokens + p.tokens - n) * p.heads + head;
    const int e0 = chunk * COLUMNS;
    const int width = min(COLUMNS, DV - e0);
    StateElement* c = static_cast<StateElement*>(p.matC) + static_cast<long long>(turn.cell) * DQ * DV + e0;
    RingElement* values = p.values() + static_cast<long long>(turn.cell) * p.ring * DV + e0;
    float4* work = memory;  // stages or a slab, then sums of the lines
    float4* queries = work + WORK_QUADS;
    float4* copied = queries + DQ;
    const Report& said = *reinterpret_cast<const Report*>(copied + TURN_QUADS);
    const float4* weights = copied + TURN_QUADS + REPORT_QUADS;
    float* fresh = reinterpret_cast<float*>(copied + TURN_QUADS + REPORT_QUADS + p.ring + TOKENS);  // values of the new tokens
    const bool folds = turn.folding > 0;
    const int column = WIDE * (static_cast<int>(threadIdx.x) % ACROSS);
    Stream from = {};
    from.line = static_cast<int>(threadIdx.x) / ACROSS;
    from.own = work + threadIdx.x;
    from.c = from.line < LINES && column < width ? c + from.line * DV + column : nullptr;
    from.values = from.line < LINES && column < width ? values + from.line * DV + column : nullptr;
    from.held = turn.held;
    from.stateStages = turn.hasC ? STATE_STAGES : 0;
    from.stages = from.stateStages + (turn.held + STAGE_ROWS - 1) / STAGE_ROWS;
    if (!folds) {
#pragma unroll
        for (int b = 0; b < STAGES - 1; b++) {
            from.ask(b);
        }
    }
    for (int i = static_cast<int>(threadIdx.x); i < DQ / 4; i += LRAM_THREADS) {
        float4 q[TOKENS];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            q[t] = t < n ? freshLoad4(p.q + (token + static_cast<long long>(t) * p.heads) * DQ + 4 * i) : none();
        }
        const float4* const x = q;
        queries[4 * i] = {x[0].x, x[1].x, x[2].x, 0.f};
        queries[4 * i + 1] = {x[0].y, x[1].y, x[2].y, 0.f};
        queries[4 * i + 2] = {x[0].z, x[1].z, x[2].z, 0.f};
        queries[4 * i + 3] = {x[0].w, x[1].w, x[2].w, 0.f};
    }
    for (int i = static_cast<int>(threadIdx.x); i < n * (COLUMNS / 4); i += LRAM_THREADS) {
        const int j = i / (COLUMNS / 4);
        const int e = 4 * (i % (COLUMNS / 4));
        if (e < width) {
            copySixteen(fresh + j * COLUMNS + e, p.v + (token + static_cast<long long>(j) * p.heads) * DV + e0 + e);
        }
    }
    float* lines = reinterpret_cast<float*>(work);
    int ended = 2 * LINES;
    if (folds) {
        Fold fold = {report.keys,  p.keys() + static_cast<long long>(turn.cell) * p.ring * DQ,
                     values,       c,
                     weights,      queries,
                     n,            turn.folding,
                     width,        turn.hasC != 0,
                     0.f};
        uint4* slab = reinterpret_cast<uint4*>(work);
        awaitBefore();
        copyReport(turnAt, report, turn.held + n, copied);
        endCopies();
        fold.splitValues(0, slab);
        awaitCopies<0>();
        __syncthreads();
        requireSame(turn, *reinterpret_cast<const Turn*>(copied));
        fold.keep = said.keep;
        float carried[TOKENS];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            carried[t] = t < n ? said.carried[t] : 0.f;
        }
        fold.foldNormaliser(p.vecN + static_cast<long long>(turn.cell) * DQ, chunk);
        fold.run(carried, slab, lines);
        ended = ROW_WARPS;
    } else {
        __syncthreads();
        float sum[TOKENS][WIDE];
        float valueSum[TOKENS][WIDE];
        clear(sum);
        clear(valueSum);
        const int last = max(0, from.stateStages - (STAGES - 1));
#pragma unroll 1
        for (int b = 0; b < from.stateStages; b++) {
            if (b == last) {  // all of C has been asked for
                awaitBefore();
                copyReport(turnAt, report, turn.held + n, copied);
            }
            awaitCopies<STAGES - 2>();
            from.ask(b + STAGES - 1);
            from.addState(b, queries, sum);
        }
        if (from.stateStages == 0) {
            awaitBefore();
            copyReport(turnAt, report, turn.held + n, copied);
            endCopies();
        }
        awaitCopies<0>();
        __syncthreads();
        requireSame(turn, *reinterpret_cast<const Turn*>(copied));
#pragma unroll 1
        for (int b = from.stateStages; b < from.stages; b++) {
            awaitCopies<STAGES - 2>();
            from.ask(b + STAGES - 1);
            from.addValues(b, weights, valueSum);
        }
        __syncthreads();
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            const float carried = t < n && turn.hasC ? said.carried[t] : 0.f;
            if (from.c != nullptr) {
#pragma unroll
                for (int e = 0; e < WIDE; e++) {
                    sum[t][e] *= carried;
                }
                putLine(lines + (from.line * TOKENS + t) * COLUMNS + column, sum[t]);
            }
            if (from.values != nullptr) {
                putLine(lines + ((LINES + from.line) * TOKENS + t) * COLUMNS + column, valueSum[t]);
            }
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < n * COLUMNS; i += LRAM_THREADS) {
        const int t = i / COLUMNS;
        const int e = i % COLUMNS;
        if (e < width) {
            float answer = 0.f;
#pragma unroll 8
            for (int line = 0; line < ended; line++) {
                answer += lines[line * TOKENS * COLUMNS + i];
            }
            // A later token's NaN stays out of the earlier ones' answers.
            for (int j = 0; j <= t; j++) {
                answer = fmaf(reinterpret_cast<const float*>(weights + turn.held + j)[t], fresh[j * COLUMNS + e], answer);
            }
            p.h[(token + static_cast<long long>(t) * p.heads) * DV + e0 + e] = answer / said.divisors[t];
        }
    }
    endTurns(p);
    const int stay = folds ? 0 : turn.held;
    for (int i = static_cast<int>(threadIdx.x); i < n * (COLUMNS / 4); i += LRAM_THREADS) {
        const int j = i / (COLUMNS / 4);
        const int e = 4 * (i % (COLUMNS / 4));
        if (e < width) {
            store(values + static_cast<long long>(stay + j) * DV + e, ringQuad(fresh + j * COLUMNS + e));
        }
    }
}
