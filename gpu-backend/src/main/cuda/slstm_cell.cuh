// The sLSTM cell and the arguments of its scans.
#pragma once
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

}  // namespace lram
