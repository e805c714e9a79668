// Pointwise kernels, strided copies and sums over rows.
//
// Contract: ai.lram.backend.ops.ElementwiseOps, and the parts of others that are pointwise. Bound by memory: each
// input is read once, each output written once. Outputs may be inputs, so nothing is __restrict__.
//
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a elementwise.cu   (or compute_80, sm_80)
//           NVRTC: --std=c++17 --gpu-architecture=sm_90a
#include "lram_common.cuh"

namespace lram {

// In the order of ai.lram.backend.ops.Activation.
enum Activation { NONE, RELU, SILU, GELU, SIGMOID, TANH };

// Comparisons are written so that NaN stays NaN. The normal distribution's tail needs fp64: in fp32 the rounding of its
// argument alone costs 20 units in the last place at -6.
__device__ __forceinline__ float valueOf(int act, float x) {
    switch (act) {
        case RELU:
            return x < 0.f ? 0.f : x;
        case SILU:
            return x * sigmoidOf(x);
        case GELU:
            return static_cast<float>(0.5 * x * erfc(-0.70710678118654752440 * x));
        case SIGMOID:
            return sigmoidOf(x);
        case TANH:
            return tanhf(x);
        default:
            return x;
    }
}

__device__ __forceinline__ float slopeOf(int act, float x) {
    switch (act) {
        case RELU:
            return x > 0.f ? 1.f : (x <= 0.f ? 0.f : x);
        case SILU:
            return sigmoidOf(x) * (1.f + x / (1.f + expf(x)));
        case GELU: {
            double a = x;
            return static_cast<float>(0.5 * erfc(-0.70710678118654752440 * a) +
                                      a * exp(-0.5 * a * a) * 0.39894228040143267794);
        }
        case SIGMOID: {
            float e = expf(-fabsf(x));
            return e / ((1.f + e) * (1.f + e));
        }
        case TANH: {
            float e = expf(-2.f * fabsf(x));
            return 4.f * e / ((1.f + e) * (1.f + e));
        }
        default:
            return x == x ? 1.f : x;
    }
}

struct Unary {
    const float* x;
    float* y;
    long long n;
    int act;
};

struct UnaryBackward {
    const float* x;
    const float* dy;
    float* dx;
    long long n;
    int act;
};

struct Binary {
    const float* a;
    const float* b;
    float* y;
    long long n;
};

struct Scaled {
    const float* x;
    float* y;
    long long n;
    float alpha;
};

struct ScaledBackward {
    const float* y;
    const float* dy;
    float* dx;
    long long n;
    float alpha;
};

struct Gate {
    const float* g;
    const float* u;
    float* y;
    long long n;
    int act;
};

struct GateBackward {
    const float* g;
    const float* u;
    const float* dy;
    float* dg;
    float* du;
    long long n;
    int act;
};

struct SkipGate {
    const float* h;
    const float* skip;
    const float* c;
    const float* z;
    float* y;
    long long n;
    int width;
};

struct SkipGateBackward {
    const float* h;
    const float* skip;
    const float* c;
    const float* z;
    const float* dy;
    float* dh;
    float* dc;
    float* dz;
    long long n;
    int width;
};

struct SkipSums {
    const float* c;
    const float* z;
    const float* dy;
    double* partials;
    int rows;
    int width;
};

struct Fill {
    float* y;
    long long n;
    float value;
};

struct CopyRows {
    const float* src;
    float* dst;
    long long srcOffset;
    long long srcStride;
    long long dstOffset;
    long long dstStride;
    long long n;
    int cols;
    int accumulate;
};

struct FromBytes {
    const unsigned char* x;
    float* y;
    long long n;
    float factor;
};

struct FirstNonFinite {
    const float* x;
    long long n;
    unsigned long long* where;  // starts at the largest number
};

struct ColumnSums {
    const float* x;
    double* partials;
    int rows;
    int width;
};

struct FinishColumns {
    const double* partials;
    float* sums;  // added to
    long long columns;
    int shares;
};

struct AddBias {
    const float* bias;
    float* y;
    long long n;
    int width;
};

struct SkipTerm {
    SkipSums p;
    __device__ double operator()(long long r, long long j) const {
        long long i = r * p.width + j;
        double z = p.z[i];
        return p.dy[i] * (z / (1 + exp(-z))) * p.c[i];
    }
};

struct PlainTerm {
    ColumnSums p;
    __device__ double operator()(long long r, long long j) const { return p.x[r * p.width + j]; }
};

}  // namespace lram

using namespace lram;

LRAM_KERNEL(activation, Unary) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = valueOf(p.act, p.x[i]);
    }
}

LRAM_KERNEL(activation_backward, UnaryBackward) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.dx[i] = p.dy[i] * slopeOf(p.act, p.x[i]);
    }
}

LRAM_KERNEL(add, Binary) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = p.a[i] + p.b[i];
    }
}

LRAM_KERNEL(axpy, Scaled) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = fmaf(p.alpha, p.x[i], p.y[i]);
    }
}

LRAM_KERNEL(scale, Scaled) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = p.alpha * p.x[i];
    }
}

LRAM_KERNEL(gate, Gate) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = valueOf(p.act, p.g[i]) * p.u[i];
    }
}

LRAM_KERNEL(gate_backward, GateBackward) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        float g = p.g[i];
        float u = p.u[i];
        float dy = p.dy[i];
        p.dg[i] = dy * slopeOf(p.act, g) * u;
        p.du[i] = dy * valueOf(p.act, g);
    }
}

LRAM_KERNEL(skip_gate, SkipGate) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = fmaf(p.skip[i % p.width], p.c[i], p.h[i]) * valueOf(SILU, p.z[i]);
    }
}

LRAM_KERNEL(skip_gate_backward, SkipGateBackward) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        float skip = p.skip[i % p.width];
        float z = p.z[i];
        float sum = fmaf(skip, p.c[i], p.h[i]);
        float d = p.dy[i] * valueOf(SILU, z);
        p.dz[i] = p.dy[i] * sum * slopeOf(SILU, z);
        p.dh[i] = d;
        p.dc[i] = d * skip;
    }
}

// Before skip_gate_backward, whose outputs may take the inputs' place.
LRAM_KERNEL(skip_sums, SkipSums) { partialColumns(SkipTerm{p}, p.rows, p.width, p.partials); }

// The slope is known from y; fp64, because 1 - (y / cap)^2 cancels near the cap.
LRAM_KERNEL(soft_cap, Scaled) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = static_cast<float>(p.alpha * tanh(static_cast<double>(p.x[i]) / p.alpha));
    }
}

LRAM_KERNEL(soft_cap_backward, ScaledBackward) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        double t = static_cast<double>(p.y[i]) / p.alpha;
        p.dx[i] = static_cast<float>(p.dy[i] * ((1.0 - t) * (1.0 + t)));
    }
}

LRAM_KERNEL(fill, Fill) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = p.value;
    }
}

LRAM_KERNEL(copy_rows, CopyRows) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        long long r = i / p.cols;
        long long c = i - r * p.cols;
        float x = p.src[p.srcOffset + r * p.srcStride + c];
        float* to = p.dst + p.dstOffset + r * p.dstStride + c;
        *to = p.accumulate ? *to + x : x;
    }
}

LRAM_KERNEL(from_bytes, FromBytes) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] = static_cast<float>(p.x[i]) * p.factor;
    }
}

LRAM_KERNEL(first_non_finite, FirstNonFinite) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        float x = p.x[i];
        if (x - x != 0.f) {  // infinity - infinity is NaN, too
            atomicMin(p.where, static_cast<unsigned long long>(i));
            return;
        }
    }
}

LRAM_KERNEL(column_sums, ColumnSums) { partialColumns(PlainTerm{p}, p.rows, p.width, p.partials); }

LRAM_KERNEL(finish_columns, FinishColumns) {
    for (long long j = gridStart(); j < p.columns; j += gridStride()) {
        p.sums[j] = static_cast<float>(p.sums[j] + finishColumn(p.partials, p.shares, p.columns, j));
    }
}

LRAM_KERNEL(add_bias, AddBias) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        p.y[i] += p.bias[i % p.width];
    }
}
