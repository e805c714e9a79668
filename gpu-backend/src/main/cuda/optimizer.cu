// AdamW and the sum of squares for clipping.
//
// Contract: ai.lram.backend.ops.OptimizerOps. adamw reads 16 and writes 12 bytes an element, 14 with a
// bf16 copy of the parameters; sum_squares reads 4.
//
// Compile:  as elementwise.cu.
#include "lram_bf16.cuh"

namespace lram {

struct SumSquares {
    const float* x;
    double* partials;
    long long n;
};

struct FinishSum {
    const double* partials;
    float* out;
    int count;
};

struct AdamW {
    const float* hyper;
    const float* sumSquares;  // may be null
    float* param;
    const float* grad;
    float* m;
    float* v;
    Bf16* copy;  // may be null
    long long n;
    int decay;
};

struct Rates {
    float factor;
    float b1;
    float b2;
    float c1;
    float c2;
    float keep;
    float rate;
    float root;
    float eps;

    __device__ __forceinline__ void step(float& param, float grad, float& m, float& v) const {
        const float g = grad * factor;
        m = fmaf(b1, m, c1 * g);
        v = fmaf(b2, v, c2 * g * g);
        param = fmaf(param, keep, -rate * m / fmaf(sqrtf(v), root, eps));
    }
};

}  // namespace lram

using namespace lram;

LRAM_KERNEL(sum_squares, SumSquares) {
    double sum = 0;
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        double x = p.x[i];
        sum += x * x;
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        p.partials[blockIdx.x] = sum;
    }
}

// One block.
LRAM_KERNEL(finish_sum, FinishSum) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < p.count; i += LRAM_THREADS) {
        sum += p.partials[i];
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        *p.out = static_cast<float>(*p.out + sum);
    }
}

// hyper = {lr, beta1, beta2, eps, weightDecay, 1 - beta1^t, 1 - beta2^t, maxNorm}
LRAM_KERNEL(adamw, AdamW) {
    const double lr = p.hyper[0];
    const double maxNorm = p.hyper[7];
    double clip = 1;
    if (p.sumSquares != nullptr) {
        const float squares = *p.sumSquares;
        if (squares - squares != 0.f) {
            return;
        }
        if (maxNorm != 0) {
            clip = maxNorm / (sqrt(static_cast<double>(squares)) + 1e-6);
            clip = clip > 1 ? 1 : clip;  // NaN stays
        }
    }
    Rates rates;
    rates.factor = static_cast<float>(clip);
    rates.b1 = p.hyper[1];
    rates.b2 = p.hyper[2];
    rates.c1 = static_cast<float>(1 - static_cast<double>(rates.b1));
    rates.c2 = static_cast<float>(1 - static_cast<double>(rates.b2));
    rates.keep = static_cast<float>(p.decay ? 1 - lr * p.hyper[4] : 1);
    rates.rate = static_cast<float>(lr / p.hyper[5]);
    rates.root = static_cast<float>(1 / sqrt(static_cast<double>(p.hyper[6])));
    rates.eps = p.hyper[3];
    const bool aligned = ((reinterpret_cast<unsigned long long>(p.param) | reinterpret_cast<unsigned long long>(p.grad) |
                           reinterpret_cast<unsigned long long>(p.m) | reinterpret_cast<unsigned long long>(p.v)) &
                          15) == 0 &&
                         (reinterpret_cast<unsigned long long>(p.copy) & 7) == 0;
    const long long vectors = aligned ? p.n / 4 : 0;
    for (long long i = gridStart(); i < vectors; i += gridStride()) {
        float param[4];
        float grad[4];
        float m[4];
        float v[4];
        unpack(loadFloats(p.param + 4 * i), param);
        unpack(loadFloats(p.grad + 4 * i), grad);
        unpack(loadFloats(p.m + 4 * i), m);
        unpack(loadFloats(p.v + 4 * i), v);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            rates.step(param[j], grad[j], m[j], v[j]);
        }
        store(p.param + 4 * i, packFloats(param));
        store(p.m + 4 * i, packFloats(m));
        store(p.v + 4 * i, packFloats(v));
        if (p.copy != nullptr) {
            store(p.copy + 4 * i, pack4(param));
        }
    }
    for (long long i = 4 * vectors + gridStart(); i < p.n; i += gridStride()) {
        float param = p.param[i];
        float m = p.m[i];
        float v = p.v[i];
        rates.step(param, p.grad[i], m, v);
        p.param[i] = param;
        p.m[i] = m;
        p.v[i] = v;
        if (p.copy != nullptr) {
            store(p.copy[i], param);
        }
    }
}
