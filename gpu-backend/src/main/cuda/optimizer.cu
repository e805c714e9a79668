// AdamW and the sum of squares for clipping.
//
// Contract: ai.lram.backend.ops.OptimizerOps. adamw reads 16 and writes 12 bytes an element; sum_squares reads 4.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

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
    long long n;
    int decay;
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
    const float b1 = p.hyper[1];
    const float b2 = p.hyper[2];
    const float eps = p.hyper[3];
    const double maxNorm = p.hyper[7];
    double clip = 1;
    if (p.sumSquares != nullptr && maxNorm != 0) {
        clip = maxNorm / (sqrt(static_cast<double>(*p.sumSquares)) + 1e-6);
        clip = clip > 1 ? 1 : clip;  // NaN stays
    }
    const float factor = static_cast<float>(clip);
    const float c1 = static_cast<float>(1 - static_cast<double>(b1));
    const float c2 = static_cast<float>(1 - static_cast<double>(b2));
    const float keep = static_cast<float>(p.decay ? 1 - lr * p.hyper[4] : 1);
    const float rate = static_cast<float>(lr / p.hyper[5]);
    const float root = static_cast<float>(1 / sqrt(static_cast<double>(p.hyper[6])));
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        float g = p.grad[i] * factor;
        float m = fmaf(b1, p.m[i], c1 * g);
        float v = fmaf(b2, p.v[i], c2 * g * g);
        p.m[i] = m;
        p.v[i] = v;
        p.param[i] = fmaf(p.param[i], keep, -rate * m / fmaf(sqrtf(v), root, eps));
    }
}
