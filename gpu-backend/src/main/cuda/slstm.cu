// sLSTM scan, forward and backward, and its session step: one block a batch row and head, token after token. Gradients of
// the recurrent matrix and the bias, for these and the scans of slstm_resident.cu.
//
// Contract: ai.lram.backend.ops.SlstmOps and SessionOps.slstmStep. In the scans the recurrent matrix of a head (16 DH^2
// bytes) is read from the caches once a token: right for every size, fast for none. Dynamic shared memory: 5 DH floats; DH
// is at most 1024.
//
// Compile:  as elementwise.cu.
#include "slstm_cell.cuh"

namespace lram {

struct SlstmSums {
    const float* y;
    const float* initial;
    const float* dx[4];  // dxi, dxf, dxz, dxo
    double* partials;    // [shares][columns]: r of the heads from `firstHead` in its own order, or the bias
    int batch;
    int tokens;
    int heads;
    int dim;
    int firstHead;
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

constexpr int SUM_TILE = 64;    // inputs and outputs of a block
constexpr int SUM_DEPTH = 32;   // tokens at a time
constexpr int SUM_FLUSH = 4;    // of these, fp32 sums go to fp64

// Of y before a token times the gradients of its gates, over a share of the tokens of all batch rows: a tile of 64 x 64, a
// thread 4 x 4 of it.
__device__ __forceinline__ void weightSums(const SlstmSums& p) {
    __shared__ float4 before[SUM_DEPTH][SUM_TILE / 4];
    __shared__ float4 after[SUM_DEPTH][SUM_TILE / 4];
    const int outs = 4 * p.dim;
    const int tilesOut = (outs + SUM_TILE - 1) / SUM_TILE;
    const int in0 = static_cast<int>(blockIdx.x) / tilesOut * SUM_TILE;
    const int out0 = static_cast<int>(blockIdx.x) % tilesOut * SUM_TILE;
    const int head = p.firstHead + static_cast<int>(blockIdx.z);
    const long long width = static_cast<long long>(p.heads) * p.dim;
    const long long unit0 = static_cast<long long>(head) * p.dim;
    const int rows = p.batch * p.tokens;
    const int share = (rows + static_cast<int>(gridDim.y) - 1) / static_cast<int>(gridDim.y);
    const int from = static_cast<int>(blockIdx.y) * share;
    const int to = min(rows, from + share);
    const int thread = static_cast<int>(threadIdx.x);
    const int column = thread % SUM_TILE;  // of both tiles, when they are filled
    const int in = in0 + column;
    const int out = out0 + column;
    const int gate = out < outs ? out / p.dim : 0;
    const float* dx = p.dx[gate] + unit0 + (out - gate * p.dim);
    const int inner = thread / 16;  // in fours
    const int outer = thread % 16;
    double total[4][4] = {};
    float sum[4][4] = {};
    int slabs = 0;
    for (int r0 = from; r0 < to; r0 += SUM_DEPTH) {
        for (int d = thread / SUM_TILE; d < SUM_DEPTH; d += LRAM_THREADS / SUM_TILE) {
            const int row = r0 + d;
            float x = 0.f;
            float g = 0.f;
            if (row < to) {
                if (in < p.dim) {
                    if (row % p.tokens > 0) {
                        x = p.y[(row - 1) * width + unit0 + in];
                    } else if (p.initial != nullptr) {
                        x = p.initial[row / p.tokens * width + unit0 + in];
                    }
                }
                g = out < outs ? dx[row * width] : 0.f;
            }
            reinterpret_cast<float*>(before[d])[column] = x;
            reinterpret_cast<float*>(after[d])[column] = g;
        }
        __syncthreads();
#pragma unroll 4
        for (int d = 0; d < SUM_DEPTH; d++) {
            const float4 x = before[d][inner];
            const float4 g = after[d][outer];
            const float xs[4] = {x.x, x.y, x.z, x.w};
            const float gs[4] = {g.x, g.y, g.z, g.w};
#pragma unroll
            for (int a = 0; a < 4; a++) {
#pragma unroll
                for (int b = 0; b < 4; b++) {
                    sum[a][b] = fmaf(xs[a], gs[b], sum[a][b]);
                }
            }
        }
        __syncthreads();
        slabs++;
        if (slabs % SUM_FLUSH == 0 || r0 + SUM_DEPTH >= to) {
#pragma unroll
            for (int a = 0; a < 4; a++) {
#pragma unroll
                for (int b = 0; b < 4; b++) {
                    total[a][b] += sum[a][b];
                    sum[a][b] = 0.f;
                }
            }
        }
    }
    double* partials = p.partials + static_cast<long long>(blockIdx.y) * p.columns;
#pragma unroll
    for (int a = 0; a < 4; a++) {
#pragma unroll
        for (int b = 0; b < 4; b++) {
            const int d = in0 + 4 * inner + a;
            const int o = out0 + 4 * outer + b;
            if (d < p.dim && o < outs) {
                partials[(static_cast<long long>(blockIdx.z) * p.dim + d) * outs + o] = total[a][b];
            }
        }
    }
}

struct BiasTerm {
    const SlstmSums& p;
    __device__ double operator()(long long row, long long column) const {
        const long long width = static_cast<long long>(p.heads) * p.dim;
        const long long gate = column / width;
        return p.dx[gate][row * width + (column - gate * width)];
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

// Grid (tiles of a head's matrix, shares, heads).
LRAM_KERNEL(slstm_weight_sums, SlstmSums) { weightSums(p); }

LRAM_KERNEL(slstm_bias_sums, SlstmSums) { partialColumns(BiasTerm{p}, p.batch * p.tokens, p.columns, p.partials); }

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
