// Norms of a training step in mixed precision: of the residual stream, and of the heads together with skip and gate.
//
// Contract: ai.lram.backend.ops.MixedOps. Bound by memory. One warp a row (and head), which it keeps in registers:
// everything is read once and written once. Warps walk down the rows with the same columns, so that the sums for the
// weights stay in registers too; finish_sums adds what blocks or warps leave.
//
// Compile:  as elementwise.cu. norm_N takes rows of up to 128 N elements, head_N heads of up to 256 N.
#include "lram_bf16.cuh"

namespace lram {

struct MixedNorm {
    const float* x;
    const float* weight;
    const float* bias;  // may be null
    Bf16* y;
    float* mean;
    float* rstd;
    int rows;
    int width;
    float eps;
    int centred;
    int residual;
};

struct MixedNormBackward {
    const Bf16* dy;
    const float* x;
    const float* weight;
    const float* mean;  // zero where not centred
    const float* rstd;
    const float* stream;  // gradient that goes past the norm; may be null
    float* dx;
    Bf16* narrow;  // dx once more; may be null
    float* partials;  // [blocks][width, or 2 width]: of weight, of bias
    int rows;
    int width;
    int centred;
    int residual;
    int biased;
};

template <int N>
__device__ __forceinline__ void normForward(const MixedNorm& p) {
    const int first = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    const int step = static_cast<int>(gridDim.x) * LRAM_WARPS;
    const float share = 1.f / static_cast<float>(p.width);
    for (int row = first; row < p.rows; row += step) {
        const float* from = p.x + static_cast<long long>(row) * p.width;
        float x[N][4];
        float sum = 0.f;
#pragma unroll
        for (int c = 0; c < N; c++) {
            const int at = 4 * (lane() + 32 * c);
            if (at < p.width) {
                unpack(loadFloats(from + at), x[c]);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    sum += x[c][j];
                }
            }
        }
        const float mean = p.centred ? warpSum(sum) * share : 0.f;
        float squares = 0.f;
#pragma unroll
        for (int c = 0; c < N; c++) {
            if (4 * (lane() + 32 * c) < p.width) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    x[c][j] -= mean;
                    squares = fmaf(x[c][j], x[c][j], squares);
                }
            }
        }
        const float rstd = 1.f / sqrtf(warpSum(squares) * share + p.eps);
        Bf16* to = p.y + static_cast<long long>(row) * p.width;
#pragma unroll
        for (int c = 0; c < N; c++) {
            const int at = 4 * (lane() + 32 * c);
            if (at < p.width) {
                float w[4];
                float b[4] = {0.f, 0.f, 0.f, 0.f};
                unpack(loadFloats(p.weight + at), w);
                if (p.bias != nullptr) {
                    unpack(loadFloats(p.bias + at), b);
                }
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    x[c][j] = fmaf(x[c][j] * rstd, p.residual ? 1.f + w[j] : w[j], b[j]);
                }
                store(to + at, pack4(x[c]));
            }
        }
        if (lane() == 0) {
            p.mean[row] = mean;
            p.rstd[row] = rstd;
        }
    }
}

// to[first + j] = the sum over the block's warps of column j of 128.
__device__ __forceinline__ void addWarps(const float* x, int first, int width, float* to) {
    __shared__ float4 parts[LRAM_WARPS][32];
    __syncthreads();
    parts[warp()][lane()] = packFloats(x);
    __syncthreads();
    const int column = first + static_cast<int>(threadIdx.x);
    if (threadIdx.x < 128 && column < width) {
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < LRAM_WARPS; w++) {
            sum += reinterpret_cast<const float*>(parts[w])[threadIdx.x];
        }
        to[column] = sum;
    }
}

template <int N>
__device__ __forceinline__ void normBackward(const MixedNormBackward& p) {
    const int first = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    const int step = static_cast<int>(gridDim.x) * LRAM_WARPS;
    const float share = 1.f / static_cast<float>(p.width);
    float dw[N][4] = {};
    float db[N][4] = {};
    for (int row = first; row < p.rows; row += step) {
        const long long from = static_cast<long long>(row) * p.width;
        const float mean = p.mean[row];
        const float rstd = p.rstd[row];
        float x[N][4];
        float g[N][4];
        float sum = 0.f;
        float dot = 0.f;
#pragma unroll
        for (int c = 0; c < N; c++) {
            const int at = 4 * (lane() + 32 * c);
            if (at < p.width) {
                unpack(loadFloats(p.x + from + at), x[c]);
                unpack4(load8Bytes(p.dy + from + at), g[c]);
            }
        }
#pragma unroll
        for (int c = 0; c < N; c++) {
            const int at = 4 * (lane() + 32 * c);
            if (at < p.width) {
                float w[4];
                unpack(loadFloats(p.weight + at), w);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    x[c][j] = (x[c][j] - mean) * rstd;
                    dw[c][j] = fmaf(g[c][j], x[c][j], dw[c][j]);
                    db[c][j] += g[c][j];
                    g[c][j] *= p.residual ? 1.f + w[j] : w[j];
                    sum += g[c][j];
                    dot = fmaf(g[c][j], x[c][j], dot);
                }
            }
        }
        sum = p.centred ? warpSum(sum) * share : 0.f;
        dot = warpSum(dot) * share;
#pragma unroll
        for (int c = 0; c < N; c++) {
            const int at = 4 * (lane() + 32 * c);
            if (at < p.width) {
                float past[4] = {0.f, 0.f, 0.f, 0.f};
                if (p.stream != nullptr) {
                    unpack(loadFloats(p.stream + from + at), past);
                }
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    g[c][j] = fmaf(rstd, g[c][j] - sum - x[c][j] * dot, past[j]);
                }
                store(p.dx + from + at, packFloats(g[c]));
                if (p.narrow != nullptr) {
                    store(p.narrow + from + at, pack4(g[c]));
                }
            }
        }
    }
    const int columns = p.biased ? 2 * p.width : p.width;
    float* sums = p.partials + static_cast<long long>(blockIdx.x) * columns;
#pragma unroll
    for (int c = 0; c < N; c++) {
        addWarps(dw[c], 128 * c, p.width, sums);
        if (p.biased) {
            addWarps(db[c], 128 * c, p.width, sums + p.width);
        }
    }
}

// y = (norm(h) scale + skip c) silu(z), of one head of one row; z lies behind u in rows of twice the width.
struct HeadGate {
    const Bf16* h;
    const Bf16* c;
    const Bf16* uz;
    const float* weight;
    const float* skip;
    Bf16* y;
    float* mean;  // [rows][heads]
    float* rstd;
    int rows;
    int heads;
    int dim;  // of a head
    float eps;
    int centred;
    int residual;
};

struct HeadGateBackward {
    const Bf16* h;
    const Bf16* c;
    const Bf16* uz;
    const Bf16* dy;
    const float* weight;
    const float* skip;
    const float* mean;
    const float* rstd;
    Bf16* dh;
    Bf16* dc;
    Bf16* duz;  // the second half of each row is written
    float* partials;  // [warps / heads][2 width]: of weight, of skip
    int rows;
    int heads;
    int dim;
    int centred;
    int residual;
};

template <int N>
__device__ __forceinline__ void headGate(const HeadGate& p) {
    const int first = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    const int head = first % p.heads;
    const int step = static_cast<int>(gridDim.x) * LRAM_WARPS / p.heads;
    const int width = p.heads * p.dim;
    const float share = 1.f / static_cast<float>(p.dim);
    for (int row = first / p.heads; row < p.rows; row += step) {
        const long long from = static_cast<long long>(row) * width + head * p.dim;
        const long long gate = static_cast<long long>(row) * 2 * width + width + head * p.dim;
        float x[N][8];
        float sum = 0.f;
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int at = 8 * (lane() + 32 * k);
            if (at < p.dim) {
                unpack8(load16Bytes(p.h + from + at), x[k]);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    sum += x[k][j];
                }
            }
        }
        const float mean = p.centred ? warpSum(sum) * share : 0.f;
        float squares = 0.f;
#pragma unroll
        for (int k = 0; k < N; k++) {
            if (8 * (lane() + 32 * k) < p.dim) {
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    x[k][j] -= mean;
                    squares = fmaf(x[k][j], x[k][j], squares);
                }
            }
        }
        const float rstd = 1.f / sqrtf(warpSum(squares) * share + p.eps);
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int at = 8 * (lane() + 32 * k);
            if (at < p.dim) {
                float c[8];
                float z[8];
                float w[8];
                float skip[8];
                unpack8(load16Bytes(p.c + from + at), c);
                unpack8(load16Bytes(p.uz + gate + at), z);
                const int column = head * p.dim + at;
                unpack(loadFloats(p.weight + column), w);
                unpack(loadFloats(p.weight + column + 4), w + 4);
                unpack(loadFloats(p.skip + column), skip);
                unpack(loadFloats(p.skip + column + 4), skip + 4);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    const float normed = x[k][j] * rstd * (p.residual ? 1.f + w[j] : w[j]);
                    x[k][j] = fmaf(skip[j], c[j], normed) * (z[j] * quickSigmoid(z[j]));
                }
                store(p.y + from + at, pack8(x[k]));
            }
        }
        if (lane() == 0) {
            p.mean[static_cast<long long>(row) * p.heads + head] = mean;
            p.rstd[static_cast<long long>(row) * p.heads + head] = rstd;
        }
    }
}

template <int N>
__device__ __forceinline__ void headGateBackward(const HeadGateBackward& p) {
    const int first = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    const int head = first % p.heads;
    const int step = static_cast<int>(gridDim.x) * LRAM_WARPS / p.heads;
    const int width = p.heads * p.dim;
    const float share = 1.f / static_cast<float>(p.dim);
    float dw[N][8] = {};
    float dskip[N][8] = {};
    for (int row = first / p.heads; row < p.rows; row += step) {
        const long long from = static_cast<long long>(row) * width + head * p.dim;
        const long long gate = static_cast<long long>(row) * 2 * width + width + head * p.dim;
        const float mean = p.mean[static_cast<long long>(row) * p.heads + head];
        const float rstd = p.rstd[static_cast<long long>(row) * p.heads + head];
        float x[N][8];
        float g[N][8];
        float sum = 0.f;
        float dot = 0.f;
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int at = 8 * (lane() + 32 * k);
            if (at < p.dim) {
                float c[8];
                float z[8];
                float w[8];
                float skip[8];
                unpack8(load16Bytes(p.h + from + at), x[k]);
                unpack8(load16Bytes(p.dy + from + at), g[k]);
                unpack8(load16Bytes(p.c + from + at), c);
                unpack8(load16Bytes(p.uz + gate + at), z);
                const int column = head * p.dim + at;
                unpack(loadFloats(p.weight + column), w);
                unpack(loadFloats(p.weight + column + 4), w + 4);
                unpack(loadFloats(p.skip + column), skip);
                unpack(loadFloats(p.skip + column + 4), skip + 4);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    x[k][j] = (x[k][j] - mean) * rstd;
                    const float scale = p.residual ? 1.f + w[j] : w[j];
                    const float sigmoid = quickSigmoid(z[j]);
                    const float silu = z[j] * sigmoid;
                    const float slope = sigmoid * (1.f + z[j] * (1.f - sigmoid));
                    const float inner = fmaf(skip[j], c[j], x[k][j] * scale);
                    z[j] = g[k][j] * inner * slope;
                    const float d = g[k][j] * silu;
                    dskip[k][j] = fmaf(d, c[j], dskip[k][j]);
                    dw[k][j] = fmaf(d, x[k][j], dw[k][j]);
                    c[j] = d * skip[j];
                    g[k][j] = d * scale;
                    sum += g[k][j];
                    dot = fmaf(g[k][j], x[k][j], dot);
                }
                store(p.dc + from + at, pack8(c));
                store(p.duz + gate + at, pack8(z));
            }
        }
        sum = p.centred ? warpSum(sum) * share : 0.f;
        dot = warpSum(dot) * share;
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int at = 8 * (lane() + 32 * k);
            if (at < p.dim) {
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    g[k][j] = rstd * (g[k][j] - sum - x[k][j] * dot);
                }
                store(p.dh + from + at, pack8(g[k]));
            }
        }
    }
    float* sums = p.partials + static_cast<long long>(first / p.heads) * 2 * width + head * p.dim;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int at = 8 * (lane() + 32 * k);
        if (at < p.dim) {
            store(sums + at, packFloats(dw[k]));
            store(sums + at + 4, packFloats(dw[k] + 4));
            store(sums + width + at, packFloats(dskip[k]));
            store(sums + width + at + 4, packFloats(dskip[k] + 4));
        }
    }
}

}  // namespace lram

using namespace lram;

#define NORM_OF(N)                                                                \
    LRAM_KERNEL(mixed_norm_##N, MixedNorm) { normForward<N>(p); }                 \
    LRAM_KERNEL(mixed_norm_backward_##N, MixedNormBackward) { normBackward<N>(p); }

NORM_OF(1)
NORM_OF(2)
NORM_OF(4)
NORM_OF(6)
NORM_OF(8)
NORM_OF(10)
NORM_OF(12)

#define HEAD_OF(N)                                                       \
    LRAM_KERNEL(head_gate_##N, HeadGate) { headGate<N>(p); }             \
    LRAM_KERNEL(head_gate_backward_##N, HeadGateBackward) { headGateBackward<N>(p); }

HEAD_OF(1)
HEAD_OF(2)
HEAD_OF(3)
HEAD_OF(4)
