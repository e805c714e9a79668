// sLSTM scan, forward and backward, and its session step: one block a batch row and head, token after token.
//
// Contract: ai.lram.backend.ops.SlstmOps and SessionOps.slstmStep. The recurrent matrix of a head (16 DH^2 bytes) is read
// from the caches once a token: right for every size, fast for none. Dynamic shared memory: 5 DH floats; DH is at most 1024.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

namespace lram {

struct SlstmForward {
    const float* xi;
    const float* xf;
    const float* xz;
    const float* xo;
    const float* r;
    const float* bias;
    const float* initial;  // may be null
    float* y;
    float* last;   // may be null
    float* saved;  // may be null; 7 planes of (B, S, H): input, keep, slope of the forget gate, out, z, c, n
    int batch;
    int tokens;
    int heads;
    int dim;
};

struct SlstmBackward {
    const float* r;
    const float* initial;
    const float* y;
    const float* saved;
    const float* dy;
    const float* dLast;  // may be null
    float* dxi;
    float* dxf;
    float* dxz;
    float* dxo;
    float* dInitial;  // may be null
    int batch;
    int tokens;
    int heads;
    int dim;
};

struct SlstmSums {
    const float* y;
    const float* initial;
    const float* dxi;
    const float* dxf;
    const float* dxz;
    const float* dxo;
    double* partials;  // columns: r in its own order, then the bias
    int batch;
    int tokens;
    int heads;
    int dim;
    long long from;  // first column of this launch
    long long columns;
};

struct FinishSlstm {
    const double* partials;
    float* dr;
    float* dbias;
    int shares;
    int heads;
    int dim;
    long long from;
    long long columns;
};

struct SlstmStep {
    const int* slots;
    const int* counts;
    const float* xi;
    const float* xf;
    const float* xz;
    const float* xo;
    const float* r;
    const float* bias;
    float* state;
    float* y;
    int rows;
    int tokens;
    int heads;
    int dim;
    Faults faults;
};

struct Cell {
    float y;
    float c;
    float n;
    float m;
};

struct Kept {
    float input;
    float keep;
    float slope;
    float out;
    float z;
};

__device__ __forceinline__ float logSigmoidFloat(float x) { return fminf(x, 0.f) - log1pf(expf(-fabsf(x))); }

// exp(a - b) where both may be infinite or NaN must not lose a NaN, and never exceeds 1 but by rounding.
__device__ __forceinline__ float atMostOne(float x) { return x > 1.f ? 1.f : x; }

__device__ __forceinline__ Kept advance(Cell& s, float i, float f, float z, float o) {
    float kept = s.m + logSigmoidFloat(f);
    float m = s.n == 0.f ? i : (kept > i ? kept : i);
    m = kept != kept ? kept : m;
    Kept k;
    k.input = atMostOne(expf(i - m));
    k.keep = atMostOne(expf(kept - m));
    k.slope = sigmoidOf(-f);
    k.out = sigmoidOf(o);
    k.z = tanhf(z);
    s.c = fmaf(k.keep, s.c, k.input * k.z);
    s.n = fmaf(k.keep, s.n, k.input);
    s.m = m;
    s.y = k.out * (s.c / s.n);
    return k;
}

// raw[g DH + o] = sum_d y[d] r[d][g][o], for the head's 4 DH outputs.
__device__ __forceinline__ void recur(const float* r, const float* y, float* raw, int dim) {
    for (int out = static_cast<int>(threadIdx.x); out < 4 * dim; out += LRAM_THREADS) {
        float sum = 0.f;
        for (int d = 0; d < dim; d++) {
            sum = fmaf(y[d], r[static_cast<long long>(d) * 4 * dim + out], sum);
        }
        raw[out] = sum;
    }
}

struct SlstmTerm {
    SlstmSums p;
    __device__ double operator()(long long row, long long column) const {
        const long long width = static_cast<long long>(p.heads) * p.dim;
        const long long weights = width * 4 * p.dim;
        column += p.from;
        long long b = row / p.tokens;
        long long t = row - b * p.tokens;
        long long gate;
        long long out;
        double before = 1;
        if (column < weights) {
            long long in = column / (4 * p.dim);  // head and input unit
            long long rest = column - in * 4 * p.dim;
            gate = rest / p.dim;
            out = in / p.dim * p.dim + (rest - gate * p.dim);
            before = t > 0 ? p.y[(row - 1) * width + in] : (p.initial == nullptr ? 0.f : p.initial[b * width + in]);
        } else {
            gate = (column - weights) / width;
            out = (column - weights) - gate * width;
        }
        const float* dx = gate == 0 ? p.dxi : (gate == 1 ? p.dxf : (gate == 2 ? p.dxz : p.dxo));
        return before * dx[row * width + out];
    }
};

}  // namespace lram

using namespace lram;

// Grid (B NH).
LRAM_KERNEL(slstm_forward, SlstmForward) {
    LRAM_DYNAMIC_SHARED(float, memory);
    float* before = memory;       // y of the token before
    float* raw = memory + p.dim;  // 4 DH
    const int b = static_cast<int>(blockIdx.x) / p.heads;
    const int head = static_cast<int>(blockIdx.x) % p.heads;
    const long long width = static_cast<long long>(p.heads) * p.dim;
    const long long plane = p.batch * width;
    const long long unit0 = static_cast<long long>(head) * p.dim;
    const float* r = p.r + unit0 * 4 * p.dim;
    const long long all = static_cast<long long>(p.batch) * p.tokens * width;
    // A thread keeps the cells of its units; more than 4 units a thread do not fit the registers.
    Cell cells[4];
    int count = 0;
    for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS, count++) {
        const float* s = p.initial + b * width + unit0 + u;
        cells[count] = p.initial == nullptr ? Cell{0.f, 0.f, 0.f, 0.f}
                                            : Cell{s[0], s[plane], s[2 * plane], s[3 * plane]};
        before[u] = cells[count].y;
    }
    __syncthreads();
    for (int t = 0; t < p.tokens; t++) {
        recur(r, before, raw, p.dim);
        __syncthreads();
        count = 0;
        for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS, count++) {
            long long at = (static_cast<long long>(b) * p.tokens + t) * width + unit0 + u;
            const float* bias = p.bias + unit0 + u;
            Kept k = advance(cells[count], raw[u] + p.xi[at] + bias[0], raw[p.dim + u] + p.xf[at] + bias[width],
                             raw[2 * p.dim + u] + p.xz[at] + bias[2 * width],
                             raw[3 * p.dim + u] + p.xo[at] + bias[3 * width]);
            before[u] = cells[count].y;
            p.y[at] = cells[count].y;
            if (p.saved != nullptr) {
                float* s = p.saved + at;
                s[0] = k.input;
                s[all] = k.keep;
                s[2 * all] = k.slope;
                s[3 * all] = k.out;
                s[4 * all] = k.z;
                s[5 * all] = cells[count].c;
                s[6 * all] = cells[count].n;
            }
        }
        __syncthreads();
    }
    if (p.last != nullptr) {
        count = 0;
        for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS, count++) {
            float* s = p.last + b * width + unit0 + u;
            s[0] = cells[count].y;
            s[plane] = cells[count].c;
            s[2 * plane] = cells[count].n;
            s[3 * plane] = cells[count].m;
        }
    }
}

// Grid (B NH).
LRAM_KERNEL(slstm_backward, SlstmBackward) {
    LRAM_DYNAMIC_SHARED(float, memory);
    float* raw = memory;              // gradients of the gates before their non-linearities, 4 DH
    float* toY = memory + 4 * p.dim;  // gradient of y that comes through the recurrence
    const int b = static_cast<int>(blockIdx.x) / p.heads;
    const int head = static_cast<int>(blockIdx.x) % p.heads;
    const long long width = static_cast<long long>(p.heads) * p.dim;
    const long long plane = p.batch * width;
    const long long unit0 = static_cast<long long>(head) * p.dim;
    const float* r = p.r + unit0 * 4 * p.dim;
    const long long all = static_cast<long long>(p.batch) * p.tokens * width;
    float gc[4];
    float gn[4];
    int count = 0;
    for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS, count++) {
        const float* s = p.dLast + b * width + unit0 + u;
        toY[u] = p.dLast == nullptr ? 0.f : s[0];
        gc[count] = p.dLast == nullptr ? 0.f : s[plane];
        gn[count] = p.dLast == nullptr ? 0.f : s[2 * plane];
    }
    for (int t = p.tokens - 1; t >= 0; t--) {
        __syncthreads();
        count = 0;
        for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS, count++) {
            long long at = (static_cast<long long>(b) * p.tokens + t) * width + unit0 + u;
            const float* s = p.saved + at;
            float input = s[0];
            float keep = s[all];
            float slope = s[2 * all];
            float out = s[3 * all];
            float z = s[4 * all];
            float n = s[6 * all];
            float c0 = 0.f;
            float n0 = 0.f;
            if (t > 0) {
                c0 = s[5 * all - width];
                n0 = s[6 * all - width];
            } else if (p.initial != nullptr) {
                c0 = p.initial[plane + b * width + unit0 + u];
                n0 = p.initial[2 * plane + b * width + unit0 + u];
            }
            float y = p.y[at];
            float g = p.dy[at] + toY[u];
            gc[count] += g * out / n;
            gn[count] -= g * y / n;
            raw[u] = input * fmaf(z, gc[count], gn[count]);
            raw[p.dim + u] = keep * fmaf(gc[count], c0, gn[count] * n0) * slope;
            raw[2 * p.dim + u] = gc[count] * input * (1.f - z * z);
            raw[3 * p.dim + u] = (1.f - out) * y * g;
            gc[count] *= keep;
            gn[count] *= keep;
            p.dxi[at] = raw[u];
            p.dxf[at] = raw[p.dim + u];
            p.dxz[at] = raw[2 * p.dim + u];
            p.dxo[at] = raw[3 * p.dim + u];
        }
        __syncthreads();
        for (int d = warp(); d < p.dim; d += LRAM_WARPS) {
            const float* row = r + static_cast<long long>(d) * 4 * p.dim;
            float sum = 0.f;
            for (int o = lane(); o < 4 * p.dim; o += 32) {
                sum = fmaf(raw[o], row[o], sum);
            }
            sum = warpSum(sum);
            if (lane() == 0) {
                toY[d] = sum;
            }
        }
    }
    __syncthreads();
    if (p.dInitial != nullptr) {
        count = 0;
        for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS, count++) {
            float* s = p.dInitial + b * width + unit0 + u;
            s[0] = toY[u];
            s[plane] = gc[count];
            s[2 * plane] = gn[count];
            const float* i = p.initial + b * width + unit0 + u;
            s[3 * plane] = p.initial == nullptr ? 0.f : fmaf(gc[count], i[plane], gn[count] * i[2 * plane]);
        }
    }
}

LRAM_KERNEL(slstm_sums, SlstmSums) { partialColumns(SlstmTerm{p}, p.batch * p.tokens, p.columns, p.partials); }

LRAM_KERNEL(finish_slstm, FinishSlstm) {
    const long long weights = static_cast<long long>(p.heads) * p.dim * 4 * p.dim;
    for (long long j = gridStart(); j < p.columns; j += gridStride()) {
        long long column = p.from + j;
        float* to = column < weights ? p.dr + column : p.dbias + (column - weights);
        *to = static_cast<float>(*to + finishColumn(p.partials, p.shares, p.columns, j));
    }
}

// Grid (rows NH). The state of a head is touched by its own block alone.
LRAM_KERNEL(slstm_step, SlstmStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    float* before = memory;
    float* raw = memory + p.dim;
    if (faulted(p.faults)) {
        return;
    }
    const int row = static_cast<int>(blockIdx.x) / p.heads;
    const int head = static_cast<int>(blockIdx.x) % p.heads;
    const int count = p.counts[row];
    const long long width = static_cast<long long>(p.heads) * p.dim;
    const long long unit0 = static_cast<long long>(head) * p.dim;
    float* state = p.state + p.slots[row] * 4LL * width + unit0;
    const float* r = p.r + unit0 * 4 * p.dim;
    for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS) {
        before[u] = state[u];
    }
    __syncthreads();
    for (int t = p.tokens - count; t < p.tokens; t++) {
        recur(r, before, raw, p.dim);
        __syncthreads();
        for (int u = static_cast<int>(threadIdx.x); u < p.dim; u += LRAM_THREADS) {
            long long at = (static_cast<long long>(row) * p.tokens + t) * width + unit0 + u;
            const float* bias = p.bias + unit0 + u;
            Cell cell = {state[u], state[width + u], state[2 * width + u], state[3 * width + u]};
            advance(cell, raw[u] + p.xi[at] + bias[0], raw[p.dim + u] + p.xf[at] + bias[width],
                    raw[2 * p.dim + u] + p.xz[at] + bias[2 * width], raw[3 * p.dim + u] + p.xo[at] + bias[3 * width]);
            state[u] = cell.y;
            state[width + u] = cell.c;
            state[2 * width + u] = cell.n;
            state[3 * width + u] = cell.m;
            before[u] = cell.y;
            p.y[at] = cell.y;
        }
        __syncthreads();
    }
}
