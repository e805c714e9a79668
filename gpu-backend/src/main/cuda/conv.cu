// Causal depthwise convolution along tokens, 2-D convolution and pooling: plain, one thread an output.
//
// Contract: ai.lram.backend.ops.ConvOps. The 2-D convolution is direct (each output reads its C k k inputs through the
// caches); it is here for completeness and small images, not for speed.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

namespace lram {

struct CausalConv {
    const float* x;
    const float* w;
    const float* bias;     // may be null
    const float* history;  // may be null
    float* y;
    long long n;
    int tokens;
    int channels;
    int taps;
};

struct CausalConvBackward {
    const float* dy;
    const float* w;
    float* dx;
    float* dhistory;  // may be null
    long long n;      // of dx and dhistory together
    int batch;
    int tokens;
    int channels;
    int taps;
};

struct CausalConvSums {
    const float* dy;
    const float* x;
    const float* history;
    double* partials;  // columns: tap by tap, then the bias
    int batch;
    int tokens;
    int channels;
    int taps;
};

struct FinishCausalConv {
    const double* partials;
    float* dw;
    float* dbias;  // may be null
    int shares;
    int channels;
    int taps;
};

struct CausalConvTerm {
    CausalConvSums p;
    __device__ double operator()(long long r, long long column) const {
        long long tap = column / p.channels;
        long long c = column - tap * p.channels;
        float d = p.dy[r * p.channels + c];
        if (tap == p.taps) {
            return d;
        }
        long long b = r / p.tokens;
        int t = static_cast<int>(r - b * p.tokens) - p.taps + 1 + static_cast<int>(tap);
        if (t >= 0) {
            return static_cast<double>(d) * p.x[(b * p.tokens + t) * p.channels + c];
        }
        return p.history == nullptr
                       ? 0
                       : static_cast<double>(d) * p.history[(b * (p.taps - 1) + t + p.taps - 1) * p.channels + c];
    }
};

struct Conv2d {
    const float* x;
    const float* w;
    const float* bias;  // may be null
    float* y;
    long long n;
    int channels;
    int height;
    int width;
    int outputs;
    int outHeight;
    int outWidth;
    int kernel;
    int stride;
    int pad;
};

struct Conv2dInput {
    const float* dy;
    const float* w;
    float* dx;
    long long n;
    int channels;
    int height;
    int width;
    int outputs;
    int outHeight;
    int outWidth;
    int kernel;
    int stride;
    int pad;
};

struct Conv2dWeight {
    const float* dy;
    const float* x;
    float* dw;
    int images;
    int channels;
    int height;
    int width;
    int outputs;
    int outHeight;
    int outWidth;
    int kernel;
    int stride;
    int pad;
};

struct Conv2dBias {
    const float* dy;
    float* dbias;
    int images;
    int outputs;
    int pixels;
};

struct MaxPool {
    const float* x;
    float* y;
    int* index;
    long long n;
    int height;
    int width;
    int outHeight;
    int outWidth;
    int kernel;
    int stride;
    int pad;
};

struct MaxPoolBackward {
    const float* dy;
    const int* index;
    float* dx;
    int planes;
    int in;
    int out;
};

}  // namespace lram

using namespace lram;

// The taps are added in one order whatever lies in the history, so that a sequence cut anywhere gives the same bits.
LRAM_KERNEL(causal_conv, CausalConv) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        long long row = i / p.channels;
        int c = static_cast<int>(i - row * p.channels);
        long long b = row / p.tokens;
        int t = static_cast<int>(row - b * p.tokens);
        float sum = p.bias == nullptr ? 0.f : p.bias[c];
        for (int j = 0; j < p.taps; j++) {
            int at = t - p.taps + 1 + j;
            float x;
            if (at >= 0) {
                x = p.x[(b * p.tokens + at) * p.channels + c];
            } else if (p.history != nullptr) {
                x = p.history[(b * (p.taps - 1) + at + p.taps - 1) * p.channels + c];
            } else {
                x = 0.f;
            }
            sum = fmaf(p.w[c * p.taps + j], x, sum);
        }
        p.y[i] = sum;
    }
}

// An input token collects from the outputs that saw it; tokens of the history come after those of x.
LRAM_KERNEL(causal_conv_backward, CausalConvBackward) {
    const long long inside = static_cast<long long>(p.batch) * p.tokens * p.channels;
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        bool past = i >= inside;
        long long e = past ? i - inside : i;
        int rows = past ? p.taps - 1 : p.tokens;
        long long row = e / p.channels;
        int c = static_cast<int>(e - row * p.channels);
        long long b = row / rows;
        int t = static_cast<int>(row - b * rows) - (past ? p.taps - 1 : 0);
        float sum = 0.f;
        for (int j = 0; j < p.taps; j++) {
            int out = t + p.taps - 1 - j;
            if (out >= 0 && out < p.tokens) {
                sum = fmaf(p.w[c * p.taps + j], p.dy[(b * p.tokens + out) * p.channels + c], sum);
            }
        }
        (past ? p.dhistory : p.dx)[e] = sum;
    }
}

LRAM_KERNEL(causal_conv_sums, CausalConvSums) {
    partialColumns(CausalConvTerm{p}, p.batch * p.tokens, static_cast<long long>(p.taps + 1) * p.channels, p.partials);
}

LRAM_KERNEL(finish_causal_conv, FinishCausalConv) {
    const long long columns = static_cast<long long>(p.taps + 1) * p.channels;
    for (long long j = gridStart(); j < columns; j += gridStride()) {
        int tap = static_cast<int>(j / p.channels);
        int c = static_cast<int>(j - static_cast<long long>(tap) * p.channels);
        float* to = tap < p.taps ? p.dw + c * p.taps + tap : (p.dbias == nullptr ? nullptr : p.dbias + c);
        if (to != nullptr) {
            *to = static_cast<float>(*to + finishColumn(p.partials, p.shares, columns, j));
        }
    }
}

LRAM_KERNEL(conv2d, Conv2d) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        int ox = static_cast<int>(i % p.outWidth);
        long long rest = i / p.outWidth;
        int oy = static_cast<int>(rest % p.outHeight);
        rest /= p.outHeight;
        int o = static_cast<int>(rest % p.outputs);
        long long image = rest / p.outputs;
        double sum = p.bias == nullptr ? 0 : p.bias[o];
        for (int c = 0; c < p.channels; c++) {
            const float* x = p.x + (image * p.channels + c) * p.height * p.width;
            const float* w = p.w + (static_cast<long long>(o) * p.channels + c) * p.kernel * p.kernel;
            float part = 0.f;
            for (int ky = 0; ky < p.kernel; ky++) {
                int y = oy * p.stride - p.pad + ky;
                for (int kx = 0; kx < p.kernel; kx++) {
                    int xx = ox * p.stride - p.pad + kx;
                    if (y >= 0 && y < p.height && xx >= 0 && xx < p.width) {
                        part = fmaf(w[ky * p.kernel + kx], x[static_cast<long long>(y) * p.width + xx], part);
                    }
                }
            }
            sum += part;
        }
        p.y[i] = static_cast<float>(sum);
    }
}

LRAM_KERNEL(conv2d_input, Conv2dInput) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        int x = static_cast<int>(i % p.width);
        long long rest = i / p.width;
        int y = static_cast<int>(rest % p.height);
        rest /= p.height;
        int c = static_cast<int>(rest % p.channels);
        long long image = rest / p.channels;
        double sum = 0;
        for (int o = 0; o < p.outputs; o++) {
            const float* dy = p.dy + (image * p.outputs + o) * p.outHeight * p.outWidth;
            const float* w = p.w + (static_cast<long long>(o) * p.channels + c) * p.kernel * p.kernel;
            float part = 0.f;
            for (int ky = 0; ky < p.kernel; ky++) {
                int up = y + p.pad - ky;
                for (int kx = 0; kx < p.kernel; kx++) {
                    int left = x + p.pad - kx;
                    if (up >= 0 && left >= 0 && up % p.stride == 0 && left % p.stride == 0) {
                        int oy = up / p.stride;
                        int ox = left / p.stride;
                        if (oy < p.outHeight && ox < p.outWidth) {
                            part = fmaf(w[ky * p.kernel + kx], dy[static_cast<long long>(oy) * p.outWidth + ox], part);
                        }
                    }
                }
            }
            sum += part;
        }
        p.dx[i] = static_cast<float>(sum);
    }
}

// One block a weight.
LRAM_KERNEL(conv2d_weight, Conv2dWeight) {
    long long rest = blockIdx.x;
    int kx = static_cast<int>(rest % p.kernel);
    rest /= p.kernel;
    int ky = static_cast<int>(rest % p.kernel);
    rest /= p.kernel;
    int c = static_cast<int>(rest % p.channels);
    int o = static_cast<int>(rest / p.channels);
    const long long pixels = static_cast<long long>(p.outHeight) * p.outWidth;
    double sum = 0;
    for (long long i = threadIdx.x; i < p.images * pixels; i += LRAM_THREADS) {
        long long image = i / pixels;
        int pixel = static_cast<int>(i - image * pixels);
        int y = pixel / p.outWidth * p.stride - p.pad + ky;
        int x = pixel % p.outWidth * p.stride - p.pad + kx;
        if (y >= 0 && y < p.height && x >= 0 && x < p.width) {
            sum += static_cast<double>(p.dy[(image * p.outputs + o) * pixels + pixel]) *
                   p.x[((image * p.channels + c) * p.height + y) * p.width + x];
        }
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        p.dw[blockIdx.x] = static_cast<float>(p.dw[blockIdx.x] + sum);
    }
}

// One block an output channel.
LRAM_KERNEL(conv2d_bias, Conv2dBias) {
    const int o = static_cast<int>(blockIdx.x);
    double sum = 0;
    for (long long i = threadIdx.x; i < static_cast<long long>(p.images) * p.pixels; i += LRAM_THREADS) {
        long long image = i / p.pixels;
        sum += p.dy[(image * p.outputs + o) * p.pixels + (i - image * p.pixels)];
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        p.dbias[o] = static_cast<float>(p.dbias[o] + sum);
    }
}

LRAM_KERNEL(max_pool, MaxPool) {
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        int ox = static_cast<int>(i % p.outWidth);
        long long rest = i / p.outWidth;
        int oy = static_cast<int>(rest % p.outHeight);
        const float* x = p.x + rest / p.outHeight * p.height * p.width;
        int best = -1;
        float top = 0.f;
        for (int ky = 0; ky < p.kernel; ky++) {
            int y = oy * p.stride - p.pad + ky;
            for (int kx = 0; kx < p.kernel; kx++) {
                int xx = ox * p.stride - p.pad + kx;
                if (y >= 0 && y < p.height && xx >= 0 && xx < p.width) {
                    float v = x[static_cast<long long>(y) * p.width + xx];
                    // NaN is taken and kept: v > top is false for it, !(v <= top) is not.
                    if (best < 0 || (!(v <= top) && top == top)) {
                        top = v;
                        best = y * p.width + xx;
                    }
                }
            }
        }
        p.y[i] = top;
        p.index[i] = best;
    }
}

// One thread a plane, window after window: several windows may have chosen one pixel, and their order decides the bits.
LRAM_KERNEL(max_pool_backward, MaxPoolBackward) {
    for (long long plane = gridStart(); plane < p.planes; plane += gridStride()) {
        float* dx = p.dx + plane * p.in;
        for (int i = 0; i < p.in; i++) {
            dx[i] = 0.f;
        }
        for (int o = 0; o < p.out; o++) {
            int at = p.index[plane * p.out + o];
            if (at >= 0 && at < p.in) {
                dx[at] += p.dy[plane * p.out + o];
            }
        }
    }
}
