// sLSTM scan, forward and backward, in one launch over all tokens: the recurrent matrix of a head is read once and stays in
// registers and shared memory. A block has one head of four batch rows.
//
// Contract: ai.lram.backend.ops.SlstmOps; numbers as slstm.cu, whose scans take heads that do not fit. Kernels for heads of up
// to 32, 64 and 128 units; smaller ones are filled up with zeros. A token costs one barrier.
//
// Compile:  as elementwise.cu. Dynamic shared memory by Resident<DIM>: at 128 units 132 and 144 KiB, else below 9 KiB.
// Tried:    nvcc 13.0.88 to sm_80 and sm_90a; not run on a device yet.
// Cost:     a token, block: 16 DIM^2 multiplications and additions, 1/4 of their operands from shared memory; at 128 units
//           half of the matrix (128 KiB) too. Bytes: x and y once, 7 saved planes written or read.
#include "slstm_cell.cuh"

namespace lram {

constexpr int ROWS = 4;  // batch rows of a block: a thread has the cell of one unit and row

// A thread multiplies with DIM weights, four to a vector. Those that do not fit its registers lie in shared memory, where no
// other thread reads them.
template <int DIM>
struct Resident {
    static constexpr int THREADS = 4 * DIM;
    static constexpr int VECTORS = DIM / 4;
    static constexpr int IN_REGISTERS = DIM <= 64 ? VECTORS : VECTORS / 2;
    static constexpr int IN_SHARED = VECTORS - IN_REGISTERS;
    static constexpr int STRIDE_Y = DIM + 8;  // a row of what a token hands to the next; 8 more, so that rows differ in banks
    static constexpr int STRIDE_RAW = 4 * DIM + 8;

    float4 own[IN_REGISTERS];
    float4* others;

    __device__ __forceinline__ void keep(int v, const float4& w) {
#pragma unroll
        for (int x = 0; x < IN_REGISTERS; x++) {
            if (x == v) {
                own[x] = w;
            }
        }
        if (v >= IN_REGISTERS) {
            others[(v - IN_REGISTERS) * THREADS + threadIdx.x] = w;
        }
    }

    // `v` is known when compiled, so that `own` stays in registers.
    __device__ __forceinline__ float4 weight(int v) const {
        return v < IN_REGISTERS ? own[v] : others[(v - IN_REGISTERS) * THREADS + threadIdx.x];
    }
};

// What two lanes have of two sums each: the lane without `bit` gets the first, its neighbour the second.
__device__ __forceinline__ float shared2(float first, float second, bool upper, int bit) {
    return (upper ? second : first) + __shfl_xor_sync(0xffffffffu, upper ? first : second, bit);
}

// Four neighbouring lanes have a unit: each a quarter of the depth for all four gates and rows, and after the sums the four
// gates of one row.
template <int DIM>
__device__ __forceinline__ void forwardResident(const SlstmForward& p) {
    using R = Resident<DIM>;
    LRAM_DYNAMIC_SHARED(float4, memory);
    float* before = reinterpret_cast<float*>(memory + R::IN_SHARED * R::THREADS);  // y of the token before, two of them in turn
    const int unit = static_cast<int>(threadIdx.x) >> 2;
    const int part = static_cast<int>(threadIdx.x) & 3;
    const int row = ROWS * static_cast<int>(blockIdx.x) + part;
    const bool inside = unit < p.dim && row < p.batch;
    const long long width = static_cast<long long>(p.heads) * p.dim;
    const long long plane = p.batch * width;
    const long long all = plane * p.tokens;
    const long long own = static_cast<long long>(blockIdx.y) * p.dim + unit;
    const float* r = p.r + static_cast<long long>(blockIdx.y) * p.dim * 4 * p.dim + unit;

    R weights;
    weights.others = memory;
#pragma unroll
    for (int v = 0; v < R::VECTORS; v++) {
        const int d = 16 * (v >> 2) + 4 * part + (v & 3);
        float4 w = {0.f, 0.f, 0.f, 0.f};
        if (unit < p.dim && d < p.dim) {
            const float* from = r + static_cast<long long>(d) * 4 * p.dim;
            w = {from[0], from[p.dim], from[2 * p.dim], from[3 * p.dim]};
        }
        weights.keep(v, w);
    }
    float bias[4] = {0.f, 0.f, 0.f, 0.f};
    float next[4] = {0.f, 0.f, 0.f, 0.f};
    Cell cell = {0.f, 0.f, 0.f, 0.f};
    long long at = row * (p.tokens * width) + own;
    auto load = [&]() {
        next[0] = p.xi[at];
        next[1] = p.xf[at];
        next[2] = p.xz[at];
        next[3] = p.xo[at];
    };
    if (inside) {
#pragma unroll
        for (int g = 0; g < 4; g++) {
            bias[g] = p.bias[g * width + own];
        }
        if (p.initial != nullptr) {
            const float* s = p.initial + row * width + own;
            cell = {s[0], s[plane], s[2 * plane], s[3 * plane]};
        }
        load();
    }
    before[part * R::STRIDE_Y + unit] = cell.y;
#pragma unroll 1
    for (int t = 0; t < p.tokens; t++) {
        __syncthreads();
        const float* y = before + (t & 1) * ROWS * R::STRIDE_Y + 4 * part;
        float x[4];
#pragma unroll
        for (int g = 0; g < 4; g++) {
            x[g] = next[g] + bias[g];
        }
        const long long now = at;
        at += width;
        if (inside && t + 1 < p.tokens) {
            load();
        }
        float sum[4][ROWS] = {};
#pragma unroll
        for (int j = 0; j < DIM / 16; j++) {
            float4 in[ROWS];
#pragma unroll
            for (int b = 0; b < ROWS; b++) {
                in[b] = *reinterpret_cast<const float4*>(y + b * R::STRIDE_Y + 16 * j);
            }
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const float4 w = weights.weight(4 * j + e);
#pragma unroll
                for (int b = 0; b < ROWS; b++) {
                    const float s = e == 0 ? in[b].x : e == 1 ? in[b].y : e == 2 ? in[b].z : in[b].w;
                    sum[0][b] = fmaf(s, w.x, sum[0][b]);
                    sum[1][b] = fmaf(s, w.y, sum[1][b]);
                    sum[2][b] = fmaf(s, w.z, sum[2][b]);
                    sum[3][b] = fmaf(s, w.w, sum[3][b]);
                }
            }
        }
#pragma unroll
        for (int g = 0; g < 4; g++) {
            const bool upper = (part & 2) != 0;
            x[g] += shared2(shared2(sum[g][0], sum[g][2], upper, 2), shared2(sum[g][1], sum[g][3], upper, 2),
                            (part & 1) != 0, 1);
        }
        if (inside) {
            const Kept k = advance(cell, x[0], x[1], x[2], x[3]);
            p.y[now] = cell.y;
            if (p.saved != nullptr) {
                float* s = p.saved + now;
                s[0] = k.input;
                s[all] = k.keep;
                s[2 * all] = k.slope;
                s[3 * all] = k.out;
                s[4 * all] = k.z;
                s[5 * all] = cell.c;
                s[6 * all] = cell.n;
            }
        }
        before[((t + 1) & 1) * ROWS * R::STRIDE_Y + part * R::STRIDE_Y + unit] = cell.y;
    }
    if (inside && p.last != nullptr) {
        float* s = p.last + row * width + own;
        s[0] = cell.y;
        s[plane] = cell.c;
        s[2 * plane] = cell.n;
        s[3 * plane] = cell.m;
    }
}

// What the backward pass reads of a cell and token.
struct SavedCell {
    float input;
    float keep;
    float slope;
    float out;
    float z;
    float c0;  // before the token
    float n0;
    float y;
    float dy;
};

// Sixteen neighbouring lanes have four units: each a sixteenth of the depth (gates and units) for these four and all rows,
// and after the sums one unit of one row, which is its own cell.
template <int DIM>
__device__ __forceinline__ void backwardResident(const SlstmBackward& p) {
    using R = Resident<DIM>;
    LRAM_DYNAMIC_SHARED(float4, memory);
    float* raws = reinterpret_cast<float*>(memory + R::IN_SHARED * R::THREADS);  // gradients of the gates, two tokens in turn
    const int thread = static_cast<int>(threadIdx.x);
    const int unit = thread >> 2;
    const int cellRow = thread & 3;
    const int part = thread & 15;
    const int row = ROWS * static_cast<int>(blockIdx.x) + cellRow;
    const bool inside = unit < p.dim && row < p.batch;
    const long long width = static_cast<long long>(p.heads) * p.dim;
    const long long plane = p.batch * width;
    const long long all = plane * p.tokens;
    const long long own = static_cast<long long>(blockIdx.y) * p.dim + unit;
    const float* r = p.r + static_cast<long long>(blockIdx.y) * p.dim * 4 * p.dim;

    R weights;
    weights.others = memory;
#pragma unroll
    for (int v = 0; v < R::VECTORS; v++) {
        const int d = thread / 16 * 4 + (v & 3);
        const int vector = 16 * (v >> 2) + part;
        const int gate = vector / (DIM / 4);
        const int o = 4 * (vector % (DIM / 4));
        float w[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            w[e] = d < p.dim && o + e < p.dim ? r[(static_cast<long long>(d) * 4 + gate) * p.dim + o + e] : 0.f;
        }
        weights.keep(v, float4{w[0], w[1], w[2], w[3]});
    }

    const float* initial = inside && p.initial != nullptr ? p.initial + row * width + own : nullptr;
    float toY = 0.f;
    float gc = 0.f;
    float gn = 0.f;
    float n = 0.f;
    long long at = (static_cast<long long>(row) * p.tokens + p.tokens - 1) * width + own;
    SavedCell next = {};
    auto load = [&](int t) {
        const float* s = p.saved + at;
        next = {s[0], s[all], s[2 * all], s[3 * all], s[4 * all], 0.f, 0.f, p.y[at], p.dy[at]};
        if (t > 0) {
            next.c0 = s[5 * all - width];
            next.n0 = s[6 * all - width];
        } else if (initial != nullptr) {
            next.c0 = initial[plane];
            next.n0 = initial[2 * plane];
        }
    };
    if (inside) {
        if (p.dLast != nullptr) {
            const float* s = p.dLast + row * width + own;
            toY = s[0];
            gc = s[plane];
            gn = s[2 * plane];
        }
        n = p.saved[6 * all + at];
        load(p.tokens - 1);
    }
#pragma unroll 1
    for (int t = p.tokens - 1; t >= 0; t--) {
        float raw[4] = {0.f, 0.f, 0.f, 0.f};
        float* to = raws + (t & 1) * ROWS * R::STRIDE_RAW;
        if (inside) {
            const SavedCell s = next;
            const float g = s.dy + toY;
            gc += g * s.out / n;
            gn -= g * s.y / n;
            raw[0] = s.input * fmaf(s.z, gc, gn);
            raw[1] = s.keep * fmaf(gc, s.c0, gn * s.n0) * s.slope;
            raw[2] = gc * s.input * (1.f - s.z * s.z);
            raw[3] = (1.f - s.out) * s.y * g;
            gc *= s.keep;
            gn *= s.keep;
            n = s.n0;
            p.dxi[at] = raw[0];
            p.dxf[at] = raw[1];
            p.dxz[at] = raw[2];
            p.dxo[at] = raw[3];
            at -= width;
            if (t > 0) {
                load(t - 1);
            }
        }
#pragma unroll
        for (int g = 0; g < 4; g++) {
            to[cellRow * R::STRIDE_RAW + g * DIM + unit] = raw[g];
        }
        __syncthreads();
        float sum[4][ROWS] = {};
#pragma unroll
        for (int j = 0; j < DIM / 16; j++) {
            float4 in[ROWS];
#pragma unroll
            for (int b = 0; b < ROWS; b++) {
                in[b] = *reinterpret_cast<const float4*>(to + b * R::STRIDE_RAW + 4 * (16 * j + part));
            }
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const float4 w = weights.weight(4 * j + k);
#pragma unroll
                for (int b = 0; b < ROWS; b++) {
                    sum[k][b] = fmaf(in[b].x, w.x, sum[k][b]);
                    sum[k][b] = fmaf(in[b].y, w.y, sum[k][b]);
                    sum[k][b] = fmaf(in[b].z, w.z, sum[k][b]);
                    sum[k][b] = fmaf(in[b].w, w.w, sum[k][b]);
                }
            }
        }
        const bool bit3 = (part & 8) != 0;
        const bool bit2 = (part & 4) != 0;
        const bool bit1 = (part & 2) != 0;
        float rows[ROWS];
#pragma unroll
        for (int b = 0; b < ROWS; b++) {
            rows[b] = shared2(shared2(sum[0][b], sum[2][b], bit3, 8), shared2(sum[1][b], sum[3][b], bit3, 8), bit2, 4);
        }
        toY = shared2(shared2(rows[0], rows[2], bit1, 2), shared2(rows[1], rows[3], bit1, 2), (part & 1) != 0, 1);
    }
    if (inside && p.dInitial != nullptr) {
        float* s = p.dInitial + row * width + own;
        s[0] = toY;
        s[plane] = gc;
        s[2 * plane] = gn;
        s[3 * plane] = initial == nullptr ? 0.f : fmaf(gc, initial[plane], gn * initial[2 * plane]);
    }
}

}  // namespace lram

using namespace lram;

// Grid (batch / 4, heads), 4 DIM threads.
LRAM_KERNEL_OF(slstm_forward_32, SlstmForward, 128, 1) { forwardResident<32>(p); }
LRAM_KERNEL_OF(slstm_forward_64, SlstmForward, 256, 1) { forwardResident<64>(p); }
LRAM_KERNEL_OF(slstm_forward_128, SlstmForward, 512, 1) { forwardResident<128>(p); }
LRAM_KERNEL_OF(slstm_backward_32, SlstmBackward, 128, 1) { backwardResident<32>(p); }
LRAM_KERNEL_OF(slstm_backward_64, SlstmBackward, 256, 1) { backwardResident<64>(p); }
LRAM_KERNEL_OF(slstm_backward_128, SlstmBackward, 512, 1) { backwardResident<128>(p); }
