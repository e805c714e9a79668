// The control step: mLSTM with deferred folding, causal convolution, the check of slots, and the choice among logits.
//
// Contract: ai.lram.backend.ops.SessionOps. Bytes of an mLSTM step: the matrix state once (DHQK DHHV elements of fp32 or bf16 a
// head, twice when it is folded) and the ring's keys and values, as wide as it, once; every block of 64 value columns reads the keys
// again, from the caches.
//
// Compile:  as elementwise.cu. Dynamic shared memory: mlstmStepSharedBytes().
#include "lram_common.cuh"
#include "mlstm_step_tensors.cuh"
#include "step_choice.cuh"

namespace lram {

constexpr int COLUMNS = 64;  // value columns of a block
constexpr int PARTS = LRAM_THREADS / COLUMNS;
constexpr int FOLD = 8;    // rows of C that a thread folds at once
constexpr int GROUP = 4;   // tokens answered at once

// Doubles: gate sums, log input gates, weights of the ring in the normaliser, the normaliser. Floats: fold weights, scores,
// queries, divisors, sums over the parts.
__host__ __device__ constexpr long long mlstmStepSharedBytes(int ring, int tokens, int dimQk) {
    return 8LL * (3 * (ring + tokens) + dimQk) +
           4LL * (ring + static_cast<long long>(tokens) * (ring + tokens + dimQk + 1) + PARTS * GROUP * COLUMNS);
}

struct CheckRows {
    const int* slots;
    const int* counts;
    int rows;
    int pool;
    int tokens;
    Faults faults;
};

struct MlstmStep : MlstmStepTensors {
    int rows;
    int tokens;
    int heads;
    int dimQk;
    int dimHv;
    int ring;
    int first;
    int period;
    int stagger;
    int layer;
    float scale;
    float eps;
    int sigmoid;
    int normalize;
    Faults faults;
};

struct ConvStep {
    const int* slots;
    const int* counts;
    const float* x;
    const float* w;
    const float* bias;  // may be null
    float* history;
    float* y;
    long long n;  // rows times channels
    int tokens;
    int channels;
    int taps;
    Faults faults;
};

// One row and head of the step.
struct Unit {
    int head;
    int cell;
    int n;
    int held;
    int folding;  // ring tokens that are folded first; 0 for none
    bool hasC;
    long long token;  // of the first new one in (B, L, NH) rows

    __device__ Unit(const MlstmStep& p) {
        int row = static_cast<int>(blockIdx.x) / p.heads;
        head = static_cast<int>(blockIdx.x) - row * p.heads;
        n = p.counts[row];
        cell = p.slots[row] * p.heads + head;
        held = p.ringLength[cell];
        hasC = p.folded[cell] != 0;
        int limit = hasC ? p.period : firstFold(p.first, p.stagger, p.layer * p.heads + head);
        folding = held > 0 && held + n > limit ? held : 0;
        token = (static_cast<long long>(row) * p.tokens + p.tokens - n) * p.heads + head;
    }
};

struct Shared {
    double* sums;     // log forget gates, summed
    double* inputs;   // log input gates
    double* factors;  // of the ring in the normaliser
    double* normaliser;
    float* writes;
    float* weights;   // tokens x (ring + tokens)
    float* queries;   // tokens x DHQK
    float* divisors;
    float* parts;

    __device__ Shared(const MlstmStep& p, double* memory) {
        int all = p.ring + p.tokens;
        sums = memory;
        inputs = sums + all;
        factors = inputs + all;
        normaliser = factors + all;
        writes = reinterpret_cast<float*>(normaliser + p.dimQk);
        weights = writes + p.ring;
        queries = weights + p.tokens * all;
        divisors = queries + p.tokens * p.dimQk;
        parts = divisors + p.tokens;
    }
};

__device__ __forceinline__ double logInput(const MlstmStep& p, float gate) {
    return p.sigmoid ? logSigmoidOf(gate) : static_cast<double>(gate);
}

// Gate sums of `held` ring tokens and `n` new ones. A new token's log gate is rounded as the ring stores it.
__device__ __forceinline__ void gateSums(const MlstmStep& p, const Unit& u, const Shared& w, int held, int n) {
    const long long ring = static_cast<long long>(u.cell) * p.ring;
    __syncthreads();
    for (int s = static_cast<int>(threadIdx.x); s < held + n; s += LRAM_THREADS) {
        if (s < held) {
            w.sums[s] = p.ringF[ring + s];
            w.inputs[s] = logInput(p, p.ringI[ring + s]);
        } else {
            long long at = u.token + static_cast<long long>(s - held) * p.heads;
            w.sums[s] = static_cast<float>(logSigmoidOf(p.f[at]));
            w.inputs[s] = logInput(p, p.i[at]);
        }
    }
    __syncthreads();
    if (warp() == 0) {
        double before = 0;
        for (int s = 0; s < held + n; s += 32) {
            bool valid = s + lane() < held + n;
            double sum = before + warpScan(valid ? w.sums[s + lane()] : 0.0);
            if (valid) {
                w.sums[s + lane()] = sum;
            }
            before = __shfl_sync(0xffffffffu, sum, 31);
        }
    }
    __syncthreads();
}

struct Fold {
    double keep;
    float m;
};

// First of a head's keys in the ring.
template <typename State>
__device__ __forceinline__ State* ringKeys(const MlstmStep& p, const Unit& u) {
    return static_cast<State*>(p.ringK) + static_cast<long long>(u.cell) * p.ring * p.dimQk;
}

// Stabiliser, normaliser (in shared memory) and weights of the ring's tokens as they are folded.
template <typename State>
__device__ __forceinline__ Fold prepareFold(const MlstmStep& p, const Unit& u, const Shared& w) {
    gateSums(p, u, w, u.folding, 0);
    const double total = w.sums[u.folding - 1];
    const double m0 = p.scaM[u.cell];
    double top = total + m0;
    for (int s = static_cast<int>(threadIdx.x); s < u.folding; s += LRAM_THREADS) {
        top = fmax(top, total - w.sums[s] + w.inputs[s]);
    }
    top = blockMax(top);
    Fold fold;
    fold.m = p.sigmoid ? 0.f : static_cast<float>(top);
    fold.keep = u.hasC ? exp(total + m0 - fold.m) : 0;
    for (int s = static_cast<int>(threadIdx.x); s < u.folding; s += LRAM_THREADS) {
        w.factors[s] = exp(total - w.sums[s] + w.inputs[s] - fold.m);
        w.writes[s] = static_cast<float>(w.factors[s]);
    }
    __syncthreads();
    const State* keys = ringKeys<State>(p, u);
    for (int d = static_cast<int>(threadIdx.x); d < p.dimQk; d += LRAM_THREADS) {
        double n = u.hasC ? fold.keep * p.vecN[static_cast<long long>(u.cell) * p.dimQk + d] : 0;
        for (int s = 0; s < u.folding; s++) {
            n += w.factors[s] * widened(keys[static_cast<long long>(s) * p.dimQk + d]);
        }
        w.normaliser[d] = n;
    }
    __syncthreads();
    return fold;
}

// A query times a key, by a warp.
template <typename Element>
__device__ __forceinline__ float dotKey(const float* query, const Element* key, int dim) {
    float dot = 0.f;
    for (int d = lane(); d < dim; d += 32) {
        dot = fmaf(query[d], widened(key[d]), dot);
    }
    return warpSum(dot);
}

// Weights of state and ring in the new tokens' answers, and the answers' divisors.
template <typename State>
__device__ __forceinline__ void weigh(const MlstmStep& p, const Unit& u, const Shared& w, int held, double m0,
                                      bool hasC, bool prepared) {
    const int all = held + u.n;
    const int pitch = p.ring + p.tokens;
    gateSums(p, u, w, held, u.n);
    const double before = held == 0 ? 0 : w.sums[held - 1];
    double m = 0;
    if (!p.sigmoid) {
        double top = before + m0;
        for (int s = static_cast<int>(threadIdx.x); s < held; s += LRAM_THREADS) {
            top = fmax(top, before - w.sums[s] + w.inputs[s]);
        }
        m = blockMax(top);
    }
    for (int s = static_cast<int>(threadIdx.x); s < held; s += LRAM_THREADS) {
        w.factors[s] = exp(before - m - w.sums[s] + w.inputs[s]);
    }
    const double keep = hasC ? exp(before + m0 - m) : 0;
    const State* keys = ringKeys<State>(p, u);
    __syncthreads();
    for (int d = static_cast<int>(threadIdx.x); d < p.dimQk; d += LRAM_THREADS) {
        double n = 0;
        if (hasC) {
            n = keep * (prepared ? w.normaliser[d] : p.vecN[static_cast<long long>(u.cell) * p.dimQk + d]);
        }
        for (int s = 0; s < held; s++) {
            n += w.factors[s] * widened(keys[static_cast<long long>(s) * p.dimQk + d]);
        }
        w.normaliser[d] = n;
    }
    for (int t = 0; t < u.n; t++) {
        const int at = held + t;
        const long long token = (u.token + static_cast<long long>(t) * p.heads) * p.dimQk;
        const double kept = w.sums[at] - (at == 0 ? 0 : w.sums[at - 1]) + m;
        const double next = p.sigmoid ? 0 : fmax(kept, w.inputs[at]);
        const double decay = exp(kept - next);
        const double write = exp(w.inputs[at] - next);
        double den = 0;
        for (int d = static_cast<int>(threadIdx.x); d < p.dimQk; d += LRAM_THREADS) {
            double n = decay * w.normaliser[d] + write * p.k[token + d];
            w.normaliser[d] = n;
            den += n * p.q[token + d];
        }
        const float magnitude = fabsf(static_cast<float>(p.scale * blockSum(den)));
        const float least = p.sigmoid ? 1.f : static_cast<float>(exp(-next));
        if (threadIdx.x == 0) {
            w.divisors[t] = p.normalize ? (magnitude < least ? least : magnitude) + p.eps : 1.f;
        }
        const double base = w.sums[at] - next;
        for (int s = warp(); s < all; s += LRAM_WARPS) {
            float weight = 0.f;
            if (s <= at) {
                const float* fresh = p.k + (u.token + static_cast<long long>(s - held) * p.heads) * p.dimQk;
                const float dot = s < held ? dotKey(p.q + token, keys + static_cast<long long>(s) * p.dimQk, p.dimQk)
                                           : dotKey(p.q + token, fresh, p.dimQk);
                weight = static_cast<float>(exp(base - w.sums[s] + w.inputs[s])) * p.scale * dot;
            }
            if (lane() == 0) {
                w.weights[t * pitch + s] = weight;
            }
        }
        if (hasC) {
            const float carried = static_cast<float>(p.scale * exp(w.sums[at] + m0 - next));
            for (int d = static_cast<int>(threadIdx.x); d < p.dimQk; d += LRAM_THREADS) {
                w.queries[t * p.dimQk + d] = p.q[token + d] * carried;
            }
        }
        m = next;
    }
    __syncthreads();
}

// Answers and the columns of C and the ring's values. What all blocks of a head read stays as it is until mlstm_commit. C is
// rounded where a fold writes it, and read again by the thread that wrote; values are rounded as they go into the ring, of which
// this step reads what earlier ones left.
template <typename State>
__device__ __forceinline__ void stepColumns(const MlstmStep& p, double* memory) {
    if (faulted(p.faults)) {
        return;
    }
    const Unit u(p);
    if (u.n == 0) {
        return;
    }
    const Shared w(p, memory);
    const int column = static_cast<int>(threadIdx.x) % COLUMNS;
    const int part = static_cast<int>(threadIdx.x) / COLUMNS;
    const int e = static_cast<int>(blockIdx.y) * COLUMNS + column;
    const bool inside = e < p.dimHv;
    State* c = static_cast<State*>(p.matC) + static_cast<long long>(u.cell) * p.dimQk * p.dimHv + e;
    State* values = static_cast<State*>(p.ringV) + static_cast<long long>(u.cell) * p.ring * p.dimHv + e;
    const State* keys = ringKeys<State>(p, u);
    int held = u.held;
    bool hasC = u.hasC;
    double m0 = p.scaM[u.cell];
    if (u.folding > 0) {
        const Fold fold = prepareFold<State>(p, u, w);
        const float keep = static_cast<float>(fold.keep);
        for (int d0 = part * FOLD; d0 < p.dimQk && inside; d0 += PARTS * FOLD) {
            float sum[FOLD];
#pragma unroll
            for (int j = 0; j < FOLD; j++) {
                sum[j] = hasC && d0 + j < p.dimQk ? keep * widened(c[static_cast<long long>(d0 + j) * p.dimHv]) : 0.f;
            }
            for (int s = 0; s < u.folding; s++) {
                float value = w.writes[s] * widened(values[static_cast<long long>(s) * p.dimHv]);
                const State* key = keys + static_cast<long long>(s) * p.dimQk + d0;
#pragma unroll
                for (int j = 0; j < FOLD; j++) {
                    if (d0 + j < p.dimQk) {
                        sum[j] = fmaf(widened(key[j]), value, sum[j]);
                    }
                }
            }
#pragma unroll
            for (int j = 0; j < FOLD; j++) {
                if (d0 + j < p.dimQk) {
                    store(c[static_cast<long long>(d0 + j) * p.dimHv], sum[j]);
                }
            }
        }
        held = 0;
        hasC = true;
        m0 = fold.m;
    }
    weigh<State>(p, u, w, held, m0, hasC, u.folding > 0);
    const int pitch = p.ring + p.tokens;
    for (int t = 0; t < u.n; t += GROUP) {
        const int more = min(GROUP, u.n - t);
        float sum[GROUP] = {0.f, 0.f, 0.f, 0.f};
        if (inside && hasC) {
            for (int d0 = part * FOLD; d0 < p.dimQk; d0 += PARTS * FOLD) {
                for (int d = d0; d < min(d0 + FOLD, p.dimQk); d++) {
                    float x = widened(c[static_cast<long long>(d) * p.dimHv]);
#pragma unroll
                    for (int j = 0; j < GROUP; j++) {
                        if (j < more) {
                            sum[j] = fmaf(w.queries[(t + j) * p.dimQk + d], x, sum[j]);
                        }
                    }
                }
            }
        }
        for (int s = part; s < held + u.n && inside; s += PARTS) {
            float x = s < held ? widened(values[static_cast<long long>(s) * p.dimHv])
                               : p.v[(u.token + static_cast<long long>(s - held) * p.heads) * p.dimHv + e];
#pragma unroll
            for (int j = 0; j < GROUP; j++) {
                if (j < more && s <= held + t + j) {  // a later token's NaN stays out
                    sum[j] = fmaf(w.weights[(t + j) * pitch + s], x, sum[j]);
                }
            }
        }
#pragma unroll
        for (int j = 0; j < GROUP; j++) {
            w.parts[(part * GROUP + j) * COLUMNS + column] = sum[j];
        }
        __syncthreads();
        if (part < more && inside) {  // thread group `part` finishes token t + part
            float total = 0.f;
#pragma unroll
            for (int x = 0; x < PARTS; x++) {
                total += w.parts[(x * GROUP + part) * COLUMNS + column];
            }
            p.h[(u.token + static_cast<long long>(t + part) * p.heads) * p.dimHv + e] = total / w.divisors[t + part];
        }
        __syncthreads();
    }
    for (int t = part; t < u.n && inside; t += PARTS) {
        store(values[static_cast<long long>(held + t) * p.dimHv],
              p.v[(u.token + static_cast<long long>(t) * p.heads) * p.dimHv + e]);
    }
}

// What the blocks of a head share: normaliser, stabiliser, keys, gates and lengths.
template <typename State>
__device__ __forceinline__ void commit(const MlstmStep& p, double* memory) {
    if (faulted(p.faults)) {
        return;
    }
    const Unit u(p);
    if (u.n == 0) {
        return;
    }
    const Shared w(p, memory);
    int held = u.held;
    if (u.folding > 0) {
        const Fold fold = prepareFold<State>(p, u, w);
        for (int d = static_cast<int>(threadIdx.x); d < p.dimQk; d += LRAM_THREADS) {
            p.vecN[static_cast<long long>(u.cell) * p.dimQk + d] = static_cast<float>(w.normaliser[d]);
        }
        if (threadIdx.x == 0) {
            p.scaM[u.cell] = fold.m;
            p.folded[u.cell] = 1;
        }
        held = 0;
    }
    State* keys = ringKeys<State>(p, u);
    __syncthreads();
    for (int t = 0; t < u.n; t++) {
        const long long from = u.token + static_cast<long long>(t) * p.heads;
        const long long to = static_cast<long long>(u.cell) * p.ring + held + t;
        for (int d = static_cast<int>(threadIdx.x); d < p.dimQk; d += LRAM_THREADS) {
            store(keys[static_cast<long long>(held + t) * p.dimQk + d], p.k[from * p.dimQk + d]);
        }
        if (threadIdx.x == 0) {
            p.ringI[to] = p.i[from];
            p.ringF[to] = static_cast<float>(logSigmoidOf(p.f[from]));
        }
    }
    if (threadIdx.x == 0) {
        p.ringLength[u.cell] = held + u.n;
    }
}

}  // namespace lram

using namespace lram;

// One block, before any kernel that uses slots.
LRAM_KERNEL(check_rows, CheckRows) {
    __shared__ int others[LRAM_THREADS];
    for (int first = 0; first < p.rows; first += LRAM_THREADS) {
        const int b = first + static_cast<int>(threadIdx.x);
        int slot = 0;
        if (b < p.rows) {
            slot = p.slots[b];
            const int count = p.counts[b];
            if (slot < 0 || slot >= p.pool) {
                reportFault(p.faults, FAULT_SLOT, b, slot, p.pool - 1);
            }
            if (count < 0 || count > p.tokens) {
                reportFault(p.faults, FAULT_COUNT, b, count, p.tokens);
            }
        }
        for (int from = 0; from <= first; from += LRAM_THREADS) {
            const int other = from + static_cast<int>(threadIdx.x);
            __syncthreads();
            others[threadIdx.x] = other < p.rows ? p.slots[other] : 0;
            __syncthreads();
            const int before = b < p.rows ? min(LRAM_THREADS, b - from) : 0;
            bool twice = false;
#pragma unroll 8
            for (int i = 0; i < before; i++) {
                twice |= others[i] == slot;
            }
            if (twice) {
                reportFault(p.faults, FAULT_DUPLICATE, b, slot, p.rows);
            }
        }
    }
}

// Grid (rows NH, DHHV / 64).
LRAM_KERNEL(mlstm_step, MlstmStep) {
    LRAM_DYNAMIC_SHARED(double, memory);
    stepColumns<float>(p, memory);
}

// With C and the ring's keys and values in bf16.
LRAM_KERNEL(mlstm_step_bf16, MlstmStep) {
    LRAM_DYNAMIC_SHARED(double, memory);
    stepColumns<Bf16>(p, memory);
}

// What the blocks of a head share. Grid (rows NH).
LRAM_KERNEL(mlstm_commit, MlstmStep) {
    LRAM_DYNAMIC_SHARED(double, memory);
    commit<float>(p, memory);
}

LRAM_KERNEL(mlstm_commit_bf16, MlstmStep) {
    LRAM_DYNAMIC_SHARED(double, memory);
    commit<Bf16>(p, memory);
}

// One thread a row and channel, which owns its column of the history.
LRAM_KERNEL(conv_step, ConvStep) {
    if (faulted(p.faults)) {
        return;
    }
    for (long long unit = gridStart(); unit < p.n; unit += gridStride()) {
        long long row = unit / p.channels;
        int c = static_cast<int>(unit - row * p.channels);
        const int n = p.counts[row];
        const int past = p.taps - 1;
        float* history = p.history + static_cast<long long>(p.slots[row]) * past * p.channels + c;
        const float* x = p.x + (row * p.tokens + p.tokens - n) * p.channels + c;
        float* y = p.y + (row * p.tokens + p.tokens - n) * p.channels + c;
        for (int t = 0; t < n; t++) {
            float sum = p.bias == nullptr ? 0.f : p.bias[c];
            for (int j = 0; j < p.taps; j++) {
                int at = t - past + j;
                float value = at >= 0 ? x[static_cast<long long>(at) * p.channels]
                                      : history[static_cast<long long>(at + past) * p.channels];
                sum = fmaf(p.w[c * p.taps + j], value, sum);
            }
            y[static_cast<long long>(t) * p.channels] = sum;
        }
        for (int h = 0; h < past; h++) {
            int at = h + n;  // in history and tokens, one after the other
            history[static_cast<long long>(h) * p.channels] =
                    at < past ? history[static_cast<long long>(at) * p.channels]
                              : x[static_cast<long long>(at - past) * p.channels];
        }
    }
}

struct Choose {
    const float* logits;  // (B, A, V)
    int size;             // V
    int dims;             // A
    Choice choice;
};

// Grid (dimensions, rows).
LRAM_KERNEL(choose, Choose) {
    const int dim = static_cast<int>(blockIdx.x) % p.dims;
    const int row = static_cast<int>(blockIdx.x) / p.dims;
    const int slot = p.choice.slots[row];
    const long long first = (static_cast<long long>(row) * p.dims + dim) * p.size;
    lram::choose<LRAM_WARPS, 2, true>(p.choice, p.logits + first, p.size, choiceRange(p.choice, slot, p.size), slot, row,
                                      dim, p.dims, true);
}
