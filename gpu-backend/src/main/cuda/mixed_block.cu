// The middle of the original mLSTM block in mixed precision: convolution, SiLU, block-diagonal q, k and v, gates.
//
// Contract: ai.lram.backend.ops.MixedOps. A thread owns the four columns of one block on the diagonal and walks down the
// tokens of a sequence: the convolution's window, all its weights and the sums of their gradients stay in registers, so
// that u is read once forward, and backward c, q, k and v need not be read at all. A block is 64 threads, 256 columns.
//
// Bytes a token and column: forward 2 read, 8 written; backward 10 read, 2 written; sums of the gates' weights 6 read.
//
// Compile:  as elementwise.cu.
#include "lram_bf16.cuh"

namespace lram {

constexpr int COLUMN_THREADS = 64;
constexpr int TAPS = 4;
constexpr int GATES = 8;  // i and f of up to four heads

struct ConvQkv {
    const Bf16* uz;        // u: first half of each row
    const float* conv;     // (width, 4)
    const float* bias;     // (width)
    const float* history;  // (batch, 3, width); may be null
    const float* wq;       // (width / 4, 4, 4)
    const float* wk;
    const float* wv;
    const float* wi;  // (heads, 3 width)
    const float* wf;
    Bf16* c;
    Bf16* q;
    Bf16* k;
    Bf16* v;
    float* partials;  // [blocks of columns][tokens][8]: sums for i and f
    int batch;
    int tokens;
    int width;
    int heads;
};

struct FinishMixedGates {
    const float* partials;
    const float* bi;
    const float* bf;
    float* i;
    float* f;
    long long rows;
    int heads;
    int shares;
};

struct ConvQkvBackward {
    const Bf16* uz;
    const float* conv;
    const float* bias;
    const float* history;
    const float* wq;
    const float* wk;
    const float* wv;
    const float* wi;
    const float* wf;
    const Bf16* dq;
    const Bf16* dk;
    const Bf16* dv;
    const float* di;  // (rows, heads)
    const float* df;
    const Bf16* dc;   // what the skip connection brings
    Bf16* duz;        // the first half of each row is written
    float* partials;  // [shares][17 width]: of wq, wk, wv, conv, bias
    int batch;
    int tokens;
    int width;
    int heads;
};

struct GateSums {
    const Bf16* q;
    const Bf16* k;
    const Bf16* v;
    const float* di;
    const float* df;
    float* partials;  // [shares][2 heads 3 width + 2 heads]: of wi, wf, bi, bf
    int rows;
    int width;
    int heads;
};

struct CarryHistory {
    const Bf16* uz;
    float* history;
    int batch;
    int tokens;
    int width;
};

// The gates' weights of a thread's four columns of q, k and v: [column][i or f] of four heads.
__device__ __forceinline__ void loadGateWeights(float4 (*to)[2][COLUMN_THREADS], const float* wi, const float* wf,
                                                int group, int width, int heads) {
    for (int part = 0; part < 3; part++) {
        for (int j = 0; j < 4; j++) {
            const long long column = static_cast<long long>(part) * width + 4 * group + j;
            float i[4] = {0.f, 0.f, 0.f, 0.f};
            float f[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
            for (int h = 0; h < 4; h++) {
                if (h < heads) {
                    i[h] = wi[static_cast<long long>(h) * 3 * width + column];
                    f[h] = wf[static_cast<long long>(h) * 3 * width + column];
                }
            }
            to[4 * part + j][0][threadIdx.x] = packFloats(i);
            to[4 * part + j][1][threadIdx.x] = packFloats(f);
        }
    }
}

// Lane l receives the warp's sum of x[l / 4].
__device__ __forceinline__ float sumEight(const float* x) {
    const bool upper = (lane() & 16) != 0;
    float four[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const float keep = upper ? x[4 + j] : x[j];
        const float give = upper ? x[j] : x[4 + j];
        four[j] = keep + __shfl_xor_sync(0xffffffffu, give, 16);
    }
    const bool second = (lane() & 8) != 0;
    float two[2];
#pragma unroll
    for (int j = 0; j < 2; j++) {
        const float keep = second ? four[2 + j] : four[j];
        const float give = second ? four[j] : four[2 + j];
        two[j] = keep + __shfl_xor_sync(0xffffffffu, give, 8);
    }
    const bool third = (lane() & 4) != 0;
    float one = (third ? two[1] : two[0]) + __shfl_xor_sync(0xffffffffu, third ? two[0] : two[1], 4);
    one += __shfl_xor_sync(0xffffffffu, one, 2);
    one += __shfl_xor_sync(0xffffffffu, one, 1);
    return one;
}

// The convolution's weights of four columns, and the three inputs before the one at hand, oldest first.
struct Window {
    float w[4][TAPS];
    float bias[4];
    float x[TAPS - 1][4];

    __device__ __forceinline__ void load(const float* conv, const float* b, int column) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            unpack(loadFloats(conv + static_cast<long long>(column + j) * TAPS), w[j]);
        }
        unpack(loadFloats(b + column), bias);
    }

    __device__ __forceinline__ void start(const float* history, int sequence, int width, int column) {
#pragma unroll
        for (int t = 0; t < TAPS - 1; t++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[t][j] = history == nullptr
                                  ? 0.f
                                  : history[(static_cast<long long>(sequence) * (TAPS - 1) + t) * width + column + j];
            }
        }
    }

    __device__ __forceinline__ void value(const float* u, float* y) const {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float sum = bias[j];
#pragma unroll
            for (int t = 0; t < TAPS - 1; t++) {
                sum = fmaf(w[j][t], x[t][j], sum);
            }
            y[j] = fmaf(w[j][TAPS - 1], u[j], sum);
        }
    }

    __device__ __forceinline__ void shift(const float* u) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            x[0][j] = x[1][j];
            x[1][j] = x[2][j];
            x[2][j] = u[j];
        }
    }
};

__device__ __forceinline__ void loadBlock(const float* w, int group, float (*to)[4]) {
#pragma unroll
    for (int o = 0; o < 4; o++) {
        unpack(loadFloats(w + static_cast<long long>(group) * 16 + 4 * o), to[o]);
    }
}

__device__ __forceinline__ void times(const float (*w)[4], const float* x, float* y) {
#pragma unroll
    for (int o = 0; o < 4; o++) {
        y[o] = w[o][0] * x[0];
#pragma unroll
        for (int d = 1; d < 4; d++) {
            y[o] = fmaf(w[o][d], x[d], y[o]);
        }
    }
}

// y += w^T dy
__device__ __forceinline__ void addTransposed(const float (*w)[4], const float* dy, float* y) {
#pragma unroll
    for (int o = 0; o < 4; o++) {
#pragma unroll
        for (int d = 0; d < 4; d++) {
            y[d] = fmaf(w[o][d], dy[o], y[d]);
        }
    }
}

__device__ __forceinline__ void addOuter(const float* dy, const float* x, float (*to)[4]) {
#pragma unroll
    for (int o = 0; o < 4; o++) {
#pragma unroll
        for (int d = 0; d < 4; d++) {
            to[o][d] = fmaf(dy[o], x[d], to[o][d]);
        }
    }
}

__device__ __forceinline__ void addGates(const float4 (*weights)[2][COLUMN_THREADS], const float* x, float* sums) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float4 w = weights[j][half][threadIdx.x];
            sums[4 * half] = fmaf(w.x, x[j], sums[4 * half]);
            sums[4 * half + 1] = fmaf(w.y, x[j], sums[4 * half + 1]);
            sums[4 * half + 2] = fmaf(w.z, x[j], sums[4 * half + 2]);
            sums[4 * half + 3] = fmaf(w.w, x[j], sums[4 * half + 3]);
        }
    }
}

// dx += what the gates' gradients bring to these columns
__device__ __forceinline__ void addGateGradient(const float4 (*weights)[2][COLUMN_THREADS], const float* d, float* dx) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float4 w = weights[j][half][threadIdx.x];
            dx[j] = fmaf(w.x, d[4 * half], dx[j]);
            dx[j] = fmaf(w.y, d[4 * half + 1], dx[j]);
            dx[j] = fmaf(w.z, d[4 * half + 2], dx[j]);
            dx[j] = fmaf(w.w, d[4 * half + 3], dx[j]);
        }
    }
}

__device__ __forceinline__ float gateGradient(const float* di, const float* df, long long row, int value, int heads) {
    const int h = value & 3;
    return h < heads ? (value < 4 ? di : df)[row * heads + h] : 0.f;
}

}  // namespace lram

using namespace lram;

// Grid (columns / 256, sequences).
LRAM_KERNEL_OF(conv_qkv, ConvQkv, COLUMN_THREADS, 5) {
    constexpr int ROWS = 8;
    __shared__ float4 gateWeights[12][2][COLUMN_THREADS];
    __shared__ float sums[2][ROWS][2][GATES];
    const int thread = static_cast<int>(threadIdx.x);
    const int groups = p.width / 4;
    const int group = static_cast<int>(blockIdx.x) * COLUMN_THREADS + thread;
    const bool active = group < groups;
    const int column = 4 * min(group, groups - 1);
    loadGateWeights(gateWeights, p.wi, p.wf, column / 4, p.width, active ? p.heads : 0);
    Window window;
    window.load(p.conv, p.bias, column);
    float wq[4][4];
    float wk[4][4];
    float wv[4][4];
    loadBlock(p.wq, column / 4, wq);
    loadBlock(p.wk, column / 4, wk);
    loadBlock(p.wv, column / 4, wv);
    const long long all = static_cast<long long>(p.batch) * p.tokens;
    int buffer = 0;
    for (int b = static_cast<int>(blockIdx.y); b < p.batch; b += static_cast<int>(gridDim.y)) {
        window.start(p.history, b, p.width, column);
        for (int from = 0; from < p.tokens; from += ROWS) {
            const int count = min(ROWS, p.tokens - from);
            const long long row = static_cast<long long>(b) * p.tokens + from;
            uint2 loaded[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (r < count) {
                    loaded[r] = load8Bytes(p.uz + (row + r) * 2 * p.width + column);
                }
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (r < count) {
                    float u[4];
                    float c[4];
                    float y[4];
                    float gates[GATES] = {};
                    unpack4(loaded[r], u);
                    window.value(u, c);
                    window.shift(u);
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        c[j] *= quickSigmoid(c[j]);
                    }
                    const uint2 rounded = pack4(c);
                    const long long to = (row + r) * p.width + column;
                    unpack4(rounded, c);
                    times(wq, c, y);
                    addGates(gateWeights, y, gates);
                    const uint2 q = pack4(y);
                    times(wk, c, y);
                    addGates(gateWeights + 4, y, gates);
                    const uint2 k = pack4(y);
                    times(wv, u, y);
                    addGates(gateWeights + 8, y, gates);
                    if (active) {
                        store(p.c + to, rounded);
                        store(p.q + to, q);
                        store(p.k + to, k);
                        store(p.v + to, pack4(y));
                    }
                    const float sum = sumEight(gates);
                    if ((lane() & 3) == 0) {
                        sums[buffer][r][warp()][lane() >> 2] = sum;
                    }
                }
            }
            __syncthreads();
            const int r = thread / GATES;
            const int value = thread % GATES;
            if (r < count) {
                p.partials[(blockIdx.x * all + row + r) * GATES + value] =
                        sums[buffer][r][0][value] + sums[buffer][r][1][value];
            }
            buffer = 1 - buffer;
        }
    }
}

LRAM_KERNEL(finish_mixed_gates, FinishMixedGates) {
    for (long long e = gridStart(); e < p.rows * p.heads; e += gridStride()) {
        const long long row = e / p.heads;
        const int head = static_cast<int>(e - row * p.heads);
        float i = p.bi[head];
        float f = p.bf[head];
        for (int s = 0; s < p.shares; s++) {
            const float* sums = p.partials + (s * p.rows + row) * GATES;
            i += sums[head];
            f += sums[4 + head];
        }
        p.i[e] = i;
        p.f[e] = f;
    }
}

// Grid (columns / 256, shares of the sequences). Token t's du is complete at t + 3, when the last tap has seen it.
LRAM_KERNEL_OF(conv_qkv_backward, ConvQkvBackward, COLUMN_THREADS, 4) {
    constexpr int ROWS = 2;
    constexpr int TILE = 32;
    __shared__ float4 gateWeights[12][2][COLUMN_THREADS];
    __shared__ float4 gates[TILE][2];
    const int thread = static_cast<int>(threadIdx.x);
    const int groups = p.width / 4;
    const int group = static_cast<int>(blockIdx.x) * COLUMN_THREADS + thread;
    const bool active = group < groups;
    const int column = 4 * min(group, groups - 1);
    loadGateWeights(gateWeights, p.wi, p.wf, column / 4, p.width, p.heads);
    Window window;
    window.load(p.conv, p.bias, column);
    float wq[4][4];
    float wk[4][4];
    float wv[4][4];
    loadBlock(p.wq, column / 4, wq);
    loadBlock(p.wk, column / 4, wk);
    loadBlock(p.wv, column / 4, wv);
    float dwq[4][4] = {};
    float dwk[4][4] = {};
    float dwv[4][4] = {};
    float dconv[4][TAPS] = {};
    float dbias[4] = {};
    for (int b = static_cast<int>(blockIdx.y); b < p.batch; b += static_cast<int>(gridDim.y)) {
        window.start(p.history, b, p.width, column);
        const long long start = static_cast<long long>(b) * p.tokens;
        float waiting[TAPS - 1][4] = {};  // du of the three tokens before, as far as it is known
        for (int from = 0; from < p.tokens; from += ROWS) {
            if (from % TILE == 0) {
                __syncthreads();
                for (int e = thread; e < TILE * GATES; e += COLUMN_THREADS) {
                    const int t = from + e / GATES;
                    reinterpret_cast<float*>(gates)[e] =
                            t < p.tokens ? gateGradient(p.di, p.df, start + t, e % GATES, p.heads) : 0.f;
                }
                __syncthreads();
            }
            uint2 us[ROWS];
            uint2 dqs[ROWS];
            uint2 dks[ROWS];
            uint2 dvs[ROWS];
            uint2 dcs[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (from + r < p.tokens) {
                    const long long row = start + from + r;
                    const long long at = row * p.width + column;
                    us[r] = load8Bytes(p.uz + 2 * row * p.width + column);
                    dqs[r] = load8Bytes(p.dq + at);
                    dks[r] = load8Bytes(p.dk + at);
                    dvs[r] = load8Bytes(p.dv + at);
                    dcs[r] = load8Bytes(p.dc + at);
                }
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const int t = from + r;
                if (t < p.tokens) {
                    float gate[GATES];
                    unpack(gates[t % TILE][0], gate);
                    unpack(gates[t % TILE][1], gate + 4);
                    float u[4];
                    float before[4];
                    float c[4];
                    float slope[4];
                    unpack4(us[r], u);
                    window.value(u, before);
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        const float sigmoid = quickSigmoid(before[j]);
                        c[j] = before[j] * sigmoid;
                        slope[j] = sigmoid * (1.f + before[j] * (1.f - sigmoid));
                    }
                    unpack4(pack4(c), c);  // as the forward pass rounded it
                    float d[4];
                    float dc[4];
                    float du[4] = {};
                    unpack4(dcs[r], dc);
                    unpack4(dqs[r], d);
                    addGateGradient(gateWeights, gate, d);
                    addOuter(d, c, dwq);
                    addTransposed(wq, d, dc);
                    unpack4(dks[r], d);
                    addGateGradient(gateWeights + 4, gate, d);
                    addOuter(d, c, dwk);
                    addTransposed(wk, d, dc);
                    unpack4(dvs[r], d);
                    addGateGradient(gateWeights + 8, gate, d);
                    addOuter(d, u, dwv);
                    addTransposed(wv, d, du);
                    float finished[4];
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        const float g = dc[j] * slope[j];
                        dbias[j] += g;
#pragma unroll
                        for (int tap = 0; tap < TAPS - 1; tap++) {
                            dconv[j][tap] = fmaf(g, window.x[tap][j], dconv[j][tap]);
                        }
                        dconv[j][TAPS - 1] = fmaf(g, u[j], dconv[j][TAPS - 1]);
                        finished[j] = fmaf(window.w[j][0], g, waiting[0][j]);
                        waiting[0][j] = fmaf(window.w[j][1], g, waiting[1][j]);
                        waiting[1][j] = fmaf(window.w[j][2], g, waiting[2][j]);
                        waiting[2][j] = fmaf(window.w[j][3], g, du[j]);
                    }
                    window.shift(u);
                    if (active && t >= TAPS - 1) {
                        store(p.duz + 2 * (start + t - (TAPS - 1)) * p.width + column, pack4(finished));
                    }
                }
            }
        }
#pragma unroll
        for (int tap = 0; tap < TAPS - 1; tap++) {
            const int t = p.tokens - (TAPS - 1) + tap;
            if (active && t >= 0) {
                store(p.duz + 2 * (start + t) * p.width + column, pack4(waiting[tap]));
            }
        }
    }
    if (active) {
        float* sums = p.partials + static_cast<long long>(blockIdx.y) * 17 * p.width;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            store(sums + 4LL * column + 4 * j, packFloats(dwq[j]));
            store(sums + 4LL * p.width + 4LL * column + 4 * j, packFloats(dwk[j]));
            store(sums + 8LL * p.width + 4LL * column + 4 * j, packFloats(dwv[j]));
            store(sums + 12LL * p.width + 4LL * column + 4 * j, packFloats(dconv[j]));
        }
        store(sums + 16LL * p.width + column, packFloats(dbias));
    }
}

// Grid (columns / 256, shares of the rows, one of q, k and v).
LRAM_KERNEL_OF(gate_sums, GateSums, COLUMN_THREADS, 8) {
    constexpr int ROWS = 8;
    constexpr int TILE = 32;
    __shared__ float4 gates[TILE][2];
    const int thread = static_cast<int>(threadIdx.x);
    const int groups = p.width / 4;
    const int group = static_cast<int>(blockIdx.x) * COLUMN_THREADS + thread;
    const bool active = group < groups;
    const int column = 4 * min(group, groups - 1);
    const int part = static_cast<int>(blockIdx.z);
    const Bf16* x = part == 0 ? p.q : part == 1 ? p.k : p.v;
    const bool biases = blockIdx.x == 0 && part == 0 && thread < GATES;
    float sums[4][GATES] = {};
    float bias = 0.f;
    for (int tile = static_cast<int>(blockIdx.y) * TILE; tile < p.rows; tile += static_cast<int>(gridDim.y) * TILE) {
        __syncthreads();
        for (int e = thread; e < TILE * GATES; e += COLUMN_THREADS) {
            const int row = tile + e / GATES;
            reinterpret_cast<float*>(gates)[e] =
                    row < p.rows ? gateGradient(p.di, p.df, row, e % GATES, p.heads) : 0.f;
        }
        __syncthreads();
        if (biases) {
            for (int r = 0; r < TILE; r++) {
                bias += reinterpret_cast<const float*>(gates[r])[thread];
            }
        }
        for (int from = 0; from < TILE; from += ROWS) {
            uint2 loaded[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const int row = min(tile + from + r, p.rows - 1);  // beyond the last row the gradient is zero
                loaded[r] = load8Bytes(x + static_cast<long long>(row) * p.width + column);
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float gate[GATES];
                float value[4];
                unpack(gates[from + r][0], gate);
                unpack(gates[from + r][1], gate + 4);
                unpack4(loaded[r], value);
#pragma unroll
                for (int j = 0; j < 4; j++) {
#pragma unroll
                    for (int g = 0; g < GATES; g++) {
                        sums[j][g] = fmaf(gate[g], value[j], sums[j][g]);
                    }
                }
            }
        }
    }
    const long long each = 3LL * p.width;
    float* to = p.partials + blockIdx.y * 2LL * p.heads * (each + 1);
    if (active) {
#pragma unroll
        for (int g = 0; g < GATES; g++) {
            if ((g & 3) < p.heads) {
                const int value = g < 4 ? g : p.heads + g - 4;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    to[value * each + static_cast<long long>(part) * p.width + column + j] = sums[j][g];
                }
            }
        }
    }
    if (biases && (thread & 3) < p.heads) {
        to[2 * p.heads * each + (thread < 4 ? thread : p.heads + thread - 4)] = bias;
    }
}

// Where a sequence is shorter than the window, what is older moves up; one thread a sequence and column.
LRAM_KERNEL(carry_history, CarryHistory) {
    const long long n = static_cast<long long>(p.batch) * p.width;
    for (long long e = gridStart(); e < n; e += gridStride()) {
        const long long b = e / p.width;
        const long long column = e - b * p.width;
        float* history = p.history + b * (TAPS - 1) * p.width + column;
        for (int t = 0; t < TAPS - 1; t++) {
            const int from = p.tokens - (TAPS - 1) + t;
            history[static_cast<long long>(t) * p.width] =
                    from >= 0 ? widened(p.uz[2 * (b * p.tokens + from) * p.width + column])
                              : history[static_cast<long long>(t + p.tokens) * p.width];
        }
    }
}
