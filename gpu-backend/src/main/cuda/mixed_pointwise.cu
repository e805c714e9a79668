// Casts, sums and finished column sums of a training step in mixed precision.
//
// Contract: ai.lram.backend.ops.MixedOps. Bound by memory; four elements a thread and step.
//
// Compile:  as elementwise.cu.
#include "lram_bf16.cuh"

namespace lram {

struct Narrow {
    const float* x;
    Bf16* y;
    long long n;
};

struct Widen {
    const Bf16* x;
    float* y;
    long long n;
};

struct AddNarrow {
    const Bf16* a;
    const Bf16* b;
    Bf16* y;
    long long n;
};

// Up to six runs of columns in one launch; partial sums lie [shares][all columns].
struct FinishSums {
    const float* partials;
    float* to[6];  // added to
    int columns[6];
    int shares;
    int all;
};

}  // namespace lram

using namespace lram;

LRAM_KERNEL(to_bf16, Narrow) {
    const long long vectors = p.n / 4;
    for (long long i = gridStart(); i < vectors; i += gridStride()) {
        float x[4];
        unpack(loadFloats(p.x + 4 * i), x);
        store(p.y + 4 * i, pack4(x));
    }
    for (long long i = 4 * vectors + gridStart(); i < p.n; i += gridStride()) {
        store(p.y[i], p.x[i]);
    }
}

LRAM_KERNEL(from_bf16, Widen) {
    const long long vectors = p.n / 4;
    for (long long i = gridStart(); i < vectors; i += gridStride()) {
        float x[4];
        unpack4(load8Bytes(p.x + 4 * i), x);
        store(p.y + 4 * i, packFloats(x));
    }
    for (long long i = 4 * vectors + gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = widened(p.x[i]);
    }
}

LRAM_KERNEL(add_narrow, AddNarrow) {
    const long long vectors = p.n / 4;
    for (long long i = gridStart(); i < vectors; i += gridStride()) {
        float a[4];
        float b[4];
        unpack4(load8Bytes(p.a + 4 * i), a);
        unpack4(load8Bytes(p.b + 4 * i), b);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            a[j] += b[j];
        }
        store(p.y + 4 * i, pack4(a));
    }
    for (long long i = 4 * vectors + gridStart(); i < p.n; i += gridStride()) {
        store(p.y[i], widened(p.a[i]) + widened(p.b[i]));
    }
}

// A block adds 32 columns: a warp takes every eighth share, in order; then the warps are added in order.
LRAM_KERNEL(finish_sums, FinishSums) {
    __shared__ double sums[LRAM_WARPS][32];
    const int column = static_cast<int>(blockIdx.x) * 32 + lane();
    double sum = 0;
    if (column < p.all) {
#pragma unroll 8
        for (int s = warp(); s < p.shares; s += LRAM_WARPS) {
            sum += p.partials[static_cast<long long>(s) * p.all + column];
        }
    }
    sums[warp()][lane()] = sum;
    __syncthreads();
    if (warp() == 0 && column < p.all) {
#pragma unroll
        for (int w = 1; w < LRAM_WARPS; w++) {
            sum += sums[w][lane()];
        }
        int c = column;
#pragma unroll
        for (int part = 0; part < 6; part++) {
            if (c >= 0 && c < p.columns[part]) {
                if (p.to[part] != nullptr) {
                    p.to[part][c] = static_cast<float>(p.to[part][c] + sum);
                }
                c = -1;
            } else if (c >= 0) {
                c -= p.columns[part];
            }
        }
    }
}
