// Checks and times the mLSTM kernels without Java: fp64 references on the CPU, fresh random inputs, poisoned outputs.
//
// Build: nvcc -std=c++17 -O3 --split-compile=0 -gencode=arch=compute_90a,code=sm_90a mlstm_check.cu -lcublas
//             -o mlstm_check
// Run:   mlstm_check [check|small|chunks|time|all] [seed]
//        small: small heads only, for compute-sanitizer. chunks: the gradients of several chunks only. Exit code 1 if any
//        case fails.
#define LRAM_TEMPLATES_ONLY
#include "../../main/cuda/mlstm_backward.cu"
#include "../../main/cuda/mlstm_backward_kept_sm90.cu"
#include "../../main/cuda/mlstm_backward_lean_sm90.cu"
#include "../../main/cuda/mlstm_backward_rows.cu"
#include "../../main/cuda/mlstm_forward.cu"
#include "../../main/cuda/mlstm_states.cu"
#include "../../main/cuda/mlstm_states_sm90.cu"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>
#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>
#define LRAM_HAS_CUBLAS
#endif

#define CUDA(call)                                                                               \
    do {                                                                                         \
        cudaError_t error = (call);                                                              \
        if (error != cudaSuccess) {                                                              \
            std::printf("%s:%d %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error)); \
            std::exit(1);                                                                        \
        }                                                                                        \
    } while (0)

using lram::MlstmBackward;
using lram::MlstmForward;
using lram::MlstmGates;
using lram::MlstmStates;
using Numbers = std::vector<double>;

struct Case {
    const char* gates;  // "n01": N(0,1); "30": each +30 or -30
    int batch, tokens, heads, dimQk, dimHv, chunk;
    bool sigmoid, normalize, initial, last;
};

static std::vector<void*> allocated;

template <typename T>
static T* deviceAlloc(size_t n, int poison = 0xff) {
    T* p = nullptr;
    CUDA(cudaMalloc(&p, std::max<size_t>(n, 1) * sizeof(T)));
    CUDA(cudaMemset(p, poison, std::max<size_t>(n, 1) * sizeof(T)));
    allocated.push_back(p);
    return p;
}

// Frees what was allocated since it was made.
struct Memory {
    size_t from = allocated.size();
    ~Memory() {
        for (size_t j = from; j < allocated.size(); j++) CUDA(cudaFree(allocated[j]));
        allocated.resize(from);
    }
};

template <typename T>
static T* upload(const std::vector<T>& x) {
    T* p = deviceAlloc<T>(x.size());
    CUDA(cudaMemcpy(p, x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}

template <typename T>
static std::vector<T> download(const T* p, size_t n) {
    std::vector<T> x(n);
    CUDA(cudaMemcpy(x.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
    return x;
}

static float toFloat(float x) { return x; }
static float toFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
template <typename T>
static T fromFloat(float x);
template <>
float fromFloat<float>(float x) {
    return x;
}
template <>
__nv_bfloat16 fromFloat<__nv_bfloat16>(float x) {
    return __float2bfloat16(x);
}

template <typename T>
static Numbers widen(const std::vector<T>& y) {
    Numbers z(y.size());
    for (size_t j = 0; j < y.size(); j++) z[j] = toFloat(y[j]);
    return z;
}

template <typename T, int WARPS, int GROUPS, int STAGES, bool STATE, int BLOCKS>
static cudaError_t launchForward(const MlstmForward& p, int pairs, cudaStream_t stream) {
    auto kernel = lram::mlstmForwardKernel<T, WARPS, GROUPS, STAGES, STATE, BLOCKS>;
    int bytes = lram::forwardSharedBytes(WARPS, GROUPS, STAGES, p.dimQk, STATE);
    static int allowed = 0;
    if (bytes > allowed) {
        cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        if (error != cudaSuccess) {
            return error;
        }
        allowed = bytes;
    }
    int queryTiles = (p.chunk + 16 * WARPS - 1) / (16 * WARPS);
    kernel<<<pairs * p.chunks * queryTiles, 32 * WARPS, bytes, stream>>>(p);
    return cudaGetLastError();
}

// Warpgroup products where they run; off, the kernels of every other device are checked on this one.
static bool warpgroups = true;

template <typename T>
static cudaError_t launchChunkStates(const MlstmStates& p, cudaStream_t stream) {
    if (sizeof(T) == 2 && warpgroups && p.chunk <= lram::SM90_TOKENS) {
        int bytes = lram::chunkStatesSm90SharedBytes();
        cudaError_t error =
                cudaFuncSetAttribute(mlstm_chunk_states_sm90, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        if (error != cudaSuccess) {
            return error;
        }
        mlstm_chunk_states_sm90<<<(p.dimQk + 127) / 128 * ((p.dimHv + 127) / 128) * p.pairs * p.chunks, 256, bytes,
                                  stream>>>(p);
        return cudaGetLastError();
    }
    auto kernel = lram::mlstmChunkStatesKernel<T>;
    int bytes = lram::chunkStatesSharedBytes(p.chunk);
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) {
        return error;
    }
    constexpr int tile = 2 * lram::Unit<T>::WIDTH;
    kernel<<<(p.dimQk + tile - 1) / tile * ((p.dimHv + tile - 1) / tile) * p.pairs * p.chunks, 32 * lram::STATE_WARPS, bytes,
             stream>>>(p);
    return cudaGetLastError();
}

template <typename T>
static cudaError_t launchScanStates(const MlstmStates& p, cudaStream_t stream) {
    const int blocks = lram::scanStatesBlocks(p.dimQk, p.dimHv, lram::Unit<T>::VECTOR) +
                       (p.dimQk + lram::SCAN_THREADS - 1) / lram::SCAN_THREADS;
    lram::mlstmScanStatesKernel<T><<<dim3(blocks, p.pairs), lram::SCAN_THREADS, 0, stream>>>(p);
    return cudaGetLastError();
}

template <typename T>
static cudaError_t launchStates(const MlstmStates& p, cudaStream_t stream) {
    cudaError_t error = launchChunkStates<T>(p, stream);
    return error == cudaSuccess ? launchScanStates<T>(p, stream) : error;
}

static cudaError_t launchGates(const MlstmGates& p, cudaStream_t stream) {
    lram::mlstmChunkGatesKernel<<<p.pairs * p.chunks, lram::GATE_THREADS, 0, stream>>>(p);
    lram::mlstmScanGatesKernel<<<p.pairs, 32, 0, stream>>>(p);
    return cudaGetLastError();
}

// A forward pass with what it needs between chunks; nothing of that where chunks is 1 and no state is given or wanted.
struct Pass {
    MlstmForward p = {};
    MlstmGates gates = {};
    MlstmStates states = {};
};

template <typename T, bool STATE>
static cudaError_t launchBySize(const MlstmForward& p, int pairs, cudaStream_t stream) {
    if (p.chunk <= 64) {
        return launchForward<T, 4, 4, 2, STATE, 1>(p, pairs, stream);
    }
    if (p.chunk > 80 && p.chunk <= 128) {
        return launchForward<T, 8, 8, 2, STATE, sizeof(T) == 2 ? 2 : 1>(p, pairs, stream);
    }
    if (p.chunk <= 160) {
        return launchForward < T, 5, 10, 2, STATE, sizeof(T) == 2 && !STATE ? 3 : 1 > (p, pairs, stream);
    }
    return launchForward<T, 4, 16, 2, STATE, 1>(p, pairs, stream);
}

template <typename T>
static cudaError_t forward(const Pass& x, int pairs, cudaStream_t stream) {
    if (x.states.states == nullptr) {
        return launchBySize<T, false>(x.p, pairs, stream);
    }
    cudaError_t error = launchGates(x.gates, stream);
    if (error == cudaSuccess) {
        error = launchStates<T>(x.states, stream);
    }
    return error == cudaSuccess ? launchBySize<T, true>(x.p, pairs, stream) : error;
}

template <typename T, int GROUPS, bool STATE>
static cudaError_t launchBackward(const MlstmBackward& p, int pairs, cudaStream_t stream) {
    auto kernel = lram::mlstmBackwardKernel<T, GROUPS, STATE>;
    int bytes = lram::backwardSharedBytes(GROUPS, lram::Unit<T>::WIDTH, STATE);
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) {
        return error;
    }
    kernel<<<pairs * (STATE ? p.chunks : 1), 32 * GROUPS, bytes, stream>>>(p);
    return cudaGetLastError();
}

template <typename T>
static cudaError_t launchBackwardRows(const MlstmBackward& p, int pairs, cudaStream_t stream) {
    lram::mlstmBackwardRowsKernel<T><<<pairs * p.chunks, lram::ROWS_THREADS, 0, stream>>>(p);
    return cudaGetLastError();
}

template <typename T>
static cudaError_t launchBackwardChunks(const MlstmBackward& p, int pairs, cudaStream_t stream) {
    if (sizeof(T) == 2 && warpgroups && p.chunk <= lram::KEPT_ROWS) {
        static_assert(lram::KEPT_ROWS == lram::LEAN_ROWS, "one longest chunk");
        const bool kept = p.dimQk <= lram::KEPT_KEYS;
        auto kernel = kept ? mlstm_backward_chunk_kept_sm90 : mlstm_backward_chunk_lean_sm90;
        int bytes = kept ? lram::backwardKeptSharedBytes() : lram::backwardLeanSharedBytes();
        cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        if (error != cudaSuccess) {
            return error;
        }
        kernel<<<pairs * p.chunks, lram::PRODUCERS + lram::CONSUMERS, bytes, stream>>>(p);
        return cudaGetLastError();
    }
    constexpr int most = sizeof(T) == 2 ? 8 : 6;
    return p.chunk <= 64 ? launchBackward<T, 4, true>(p, pairs, stream) : launchBackward<T, most, true>(p, pairs, stream);
}

template <typename T>
static cudaError_t backwardChunks(const MlstmBackward& p, const MlstmStates& states, int pairs, cudaStream_t stream) {
    cudaError_t error = launchBackwardRows<T>(p, pairs, stream);
    if (error == cudaSuccess) {
        error = launchStates<T>(states, stream);
    }
    return error == cudaSuccess ? launchBackwardChunks<T>(p, pairs, stream) : error;
}

template <typename T>
static cudaError_t backward(const MlstmBackward& p, int pairs, cudaStream_t stream) {
    constexpr int most = sizeof(T) == 2 ? 10 : 6;
    return p.tokens <= 64 ? launchBackward<T, 4, false>(p, pairs, stream)
                          : launchBackward<T, most, false>(p, pairs, stream);
}

// Scratch between chunks for a pass; the state is returned in last[0..2] where `last`.
template <typename T>
static void addStates(Pass& x, int pairs, const float* const (&initial)[3], float* const (&last)[3]) {
    MlstmForward& p = x.p;
    const size_t slots = static_cast<size_t>(pairs) * p.chunks;
    MlstmGates& g = x.gates;
    g = {};
    g.gateI = p.gateI;
    g.gateF = p.gateF;
    g.initialM = initial[2];
    g.weights = deviceAlloc<float>(static_cast<size_t>(pairs) * p.tokens);
    g.own = deviceAlloc<double>(2 * slots);
    g.statesM = deviceAlloc<float>(slots);
    g.decays = deviceAlloc<float>(slots);
    g.factors = deviceAlloc<float>(slots);
    g.lastM = last[2];
    g.tokens = p.tokens;
    g.heads = p.heads;
    g.chunk = p.chunk;
    g.chunks = p.chunks;
    g.pairs = pairs;
    g.sigmoid = p.sigmoid;
    MlstmStates& s = x.states;
    s = {};
    s.rows = p.k;
    s.columns = p.v;
    s.weights = s.weightsN = g.weights;
    s.factors = g.factors;
    s.decays = g.decays;
    s.states = deviceAlloc<T>(slots * p.dimQk * p.dimHv);
    s.statesN = deviceAlloc<float>(slots * p.dimQk);
    s.firstC = initial[0];
    s.firstN = initial[1];
    s.lastC = last[0];
    s.lastN = last[1];
    s.tokens = p.tokens;
    s.heads = p.heads;
    s.dimQk = p.dimQk;
    s.dimHv = p.dimHv;
    s.chunk = p.chunk;
    s.chunks = p.chunks;
    s.pairs = pairs;
    p.states = s.states;
    p.statesN = s.statesN;
    p.statesM = g.statesM;
}

// The states' gradients of a pass. `last`: gradient of the last state, `initial`: receives that of the initial one.
template <typename T>
static MlstmStates reverseStates(const Pass& x, MlstmBackward& b, int pairs, const float* const (&last)[2],
                                 float* const (&initial)[2]) {
    const size_t slots = static_cast<size_t>(pairs) * x.p.chunks;
    MlstmStates s = x.states;
    b.chunk = x.p.chunk;
    b.chunks = x.p.chunks;
    b.h = x.p.h;
    b.states = x.p.states;
    b.statesN = x.p.statesN;
    b.statesM = x.p.statesM;
    b.decays = x.gates.decays;
    b.rows = deviceAlloc<float>(4 * static_cast<size_t>(pairs) * x.p.tokens);
    s.rows = b.q;
    s.columns = b.dh;
    s.weights = b.rows + 2 * static_cast<size_t>(pairs) * x.p.tokens;
    s.weightsN = b.rows + 3 * static_cast<size_t>(pairs) * x.p.tokens;
    s.factors = nullptr;
    s.states = deviceAlloc<T>(slots * x.p.dimQk * x.p.dimHv);
    s.statesN = deviceAlloc<float>(slots * x.p.dimQk);
    s.firstC = last[0];
    s.firstN = last[1];
    s.lastC = initial[0];
    s.lastN = initial[1];
    s.reverse = 1;
    b.dStates = s.states;
    b.dStatesN = s.statesN;
    return s;
}

static double logSigmoid(double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::fabs(x))); }

struct Reference {
    std::vector<double> h, normaliser, condition, c, n, m;
};

// The recurrence of MlstmOps token by token. condition: |denominator| / sum of |terms|, how far the denominator has
// cancelled.
static Reference recurrent(const Case& x, const Numbers& q, const Numbers& k, const Numbers& v, const Numbers& gi,
                           const Numbers& gf, const Numbers& c0, const Numbers& n0, const Numbers& m0, double eps) {
    const int pairs = x.batch * x.heads;
    const size_t cells = static_cast<size_t>(x.dimQk) * x.dimHv;
    Reference out;
    out.h.resize(static_cast<size_t>(pairs) * x.tokens * x.dimHv);
    out.normaliser.resize(static_cast<size_t>(pairs) * x.tokens);
    out.condition.resize(out.normaliser.size());
    out.c.resize(pairs * cells);
    out.n.resize(static_cast<size_t>(pairs) * x.dimQk);
    out.m.resize(pairs);
    auto one = [&](int pair) {
        const int batch = pair / x.heads;
        const int head = pair % x.heads;
        std::vector<double> c(cells, 0.0), n(x.dimQk, 0.0), size(x.dimQk, 0.0);
        double m = 0;
        if (x.initial) {
            m = m0[pair];
            for (size_t j = 0; j < cells; j++) c[j] = c0[pair * cells + j];
            for (int d = 0; d < x.dimQk; d++) size[d] = std::fabs(n[d] = n0[static_cast<size_t>(pair) * x.dimQk + d]);
        }
        for (int t = 0; t < x.tokens; t++) {
            const size_t token = (static_cast<size_t>(batch) * x.tokens + t) * x.heads + head;
            const double* qt = &q[token * x.dimQk];
            const double* kt = &k[token * x.dimQk];
            const double* vt = &v[token * x.dimHv];
            const double lf = logSigmoid(gf[token]);
            const double i = x.sigmoid ? logSigmoid(gi[token]) : gi[token];
            const double next = x.sigmoid ? 0 : std::max(lf + m, i);
            const double decay = std::exp(lf + m - next);
            const double write = std::exp(i - next);
            m = next;
            std::vector<double> num(x.dimHv, 0.0);
            double den = 0, terms = 0;
            for (int d = 0; d < x.dimQk; d++) {
                const double key = write * kt[d];
                n[d] = decay * n[d] + key;
                size[d] = decay * size[d] + std::fabs(key);
                const double query = qt[d] / std::sqrt(static_cast<double>(x.dimQk));
                den += query * n[d];
                terms += std::fabs(query) * size[d];
                double* row = &c[static_cast<size_t>(d) * x.dimHv];
                for (int e = 0; e < x.dimHv; e++) {
                    row[e] = decay * row[e] + key * vt[e];
                    num[e] += query * row[e];
                }
            }
            out.normaliser[static_cast<size_t>(pair) * x.tokens + t] = den;
            const double least = x.sigmoid ? 1.0 : std::exp(-m);
            const double by = x.normalize ? std::max(std::fabs(den), least) + eps : 1.0;
            out.condition[static_cast<size_t>(pair) * x.tokens + t] =
                    x.normalize ? std::min(1.0, by * std::sqrt(x.dimQk) / terms) : 1.0;
            for (int e = 0; e < x.dimHv; e++) out.h[token * x.dimHv + e] = num[e] / by;
        }
        std::copy(c.begin(), c.end(), out.c.begin() + pair * cells);
        std::copy(n.begin(), n.end(), out.n.begin() + static_cast<size_t>(pair) * x.dimQk);
        out.m[pair] = m;
    };
    std::vector<std::thread> threads;
    const int workers = std::max(1u, std::min(16u, std::thread::hardware_concurrency()));
    for (int w = 0; w < workers; w++) {
        threads.emplace_back([&, w] {
            for (int pair = w; pair < pairs; pair += workers) one(pair);
        });
    }
    for (auto& t : threads) t.join();
    return out;
}

struct Error {
    double max = 0, ref = 0, sum2 = 0, ref2 = 0;
    bool finite = true;
    void add(double got, double want, double weight = 1) {
        if (!std::isfinite(got)) finite = false;
        max = std::max(max, std::fabs(got - want) * weight);
        ref = std::max(ref, std::fabs(want) * weight);
        sum2 += (got - want) * (got - want) * weight * weight;
        ref2 += want * want * weight * weight;
    }
    double relative() const { return finite ? max / std::max(ref, 1e-30) : INFINITY; }
    double norm() const { return finite ? std::sqrt(sum2 / std::max(ref2, 1e-60)) : INFINITY; }
};

template <typename T>
static bool check(const Case& x, std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    const int pairs = x.batch * x.heads;
    const size_t cells = static_cast<size_t>(x.dimQk) * x.dimHv;
    auto operand = [&](size_t n) {
        std::vector<T> y(n);
        for (auto& e : y) e = fromFloat<T>(normal(random));
        return y;
    };
    auto gate = [&](size_t n) {
        std::vector<float> y(n);
        for (auto& e : y) e = std::strcmp(x.gates, "30") == 0 ? (random() & 1 ? 30.f : -30.f) : normal(random);
        return y;
    };
    auto floats = [&](size_t n) {
        std::vector<float> y(n);
        for (auto& e : y) e = normal(random);
        return y;
    };
    const std::vector<T> q = operand(tokens * x.dimQk), k = operand(tokens * x.dimQk), v = operand(tokens * x.dimHv);
    const std::vector<float> gi = gate(tokens), gf = gate(tokens);
    std::vector<float> c0, n0, m0;
    if (x.initial) {
        c0 = floats(pairs * cells);
        n0 = floats(static_cast<size_t>(pairs) * x.dimQk);
        m0 = x.sigmoid ? std::vector<float>(pairs, 0.f) : floats(pairs);
    }
    const float eps = 1e-6f;
    const Reference ref =
            recurrent(x, widen(q), widen(k), widen(v), widen(gi), widen(gf), widen(c0), widen(n0), widen(m0), eps);

    Memory memory;
    Pass pass;
    MlstmForward& p = pass.p;
    T* h = deviceAlloc<T>(tokens * x.dimHv);
    p.q = upload(q);
    p.k = upload(k);
    p.v = upload(v);
    p.gateI = upload(gi);
    p.gateF = upload(gf);
    p.h = h;
    p.normaliser = deviceAlloc<float>(tokens);
    p.tokens = x.tokens;
    p.heads = x.heads;
    p.dimQk = x.dimQk;
    p.dimHv = x.dimHv;
    p.chunk = std::min(x.chunk, x.tokens);
    p.chunks = (x.tokens + p.chunk - 1) / p.chunk;
    p.scale = 1.f / std::sqrt(static_cast<float>(x.dimQk));
    p.eps = eps;
    p.sigmoid = x.sigmoid;
    p.normalize = x.normalize;
    const float* initial[3] = {};
    float* last[3] = {};
    if (x.initial) {
        initial[0] = upload(c0);
        initial[1] = upload(n0);
        initial[2] = upload(m0);
    }
    if (x.last) {
        last[0] = deviceAlloc<float>(pairs * cells);
        last[1] = deviceAlloc<float>(static_cast<size_t>(pairs) * x.dimQk);
        last[2] = deviceAlloc<float>(pairs);
    }
    if (x.initial || x.last || p.chunks > 1) {
        addStates<T>(pass, pairs, initial, last);
    }
    CUDA(forward<T>(pass, pairs, nullptr));
    CUDA(cudaDeviceSynchronize());

    const std::vector<T> got = download(h, tokens * x.dimHv);
    const std::vector<float> den = download(p.normaliser, tokens);
    Error raw, denominator, state;
    double backward =
            0;  // |difference| by what rounding of the operands alone may do where the denominator has cancelled
    for (int pair = 0; pair < pairs; pair++) {
        for (int t = 0; t < x.tokens; t++) {
            const size_t token = (static_cast<size_t>(pair / x.heads) * x.tokens + t) * x.heads + pair % x.heads;
            const size_t own = static_cast<size_t>(pair) * x.tokens + t;
            denominator.add(den[own], ref.normaliser[own]);
            double largest = 1;
            for (int e = 0; e < x.dimHv; e++) {
                raw.add(toFloat(got[token * x.dimHv + e]), ref.h[token * x.dimHv + e]);
                largest = std::max(largest, std::fabs(ref.h[token * x.dimHv + e]));
            }
            for (int e = 0; e < x.dimHv; e++) {
                double difference = std::fabs(toFloat(got[token * x.dimHv + e]) - ref.h[token * x.dimHv + e]);
                backward = std::max(backward, difference * ref.condition[own] / largest);
            }
        }
    }
    if (x.last) {
        const std::vector<float> c = download(last[0], pairs * cells);
        const std::vector<float> n = download(last[1], static_cast<size_t>(pairs) * x.dimQk);
        const std::vector<float> m = download(last[2], pairs);
        for (int pair = 0; pair < pairs; pair++) {
            const double same = std::exp(m[pair] - ref.m[pair]);
            for (size_t j = 0; j < cells; j++) state.add(c[pair * cells + j] * same, ref.c[pair * cells + j]);
            for (int d = 0; d < x.dimQk; d++) {
                state.add(n[static_cast<size_t>(pair) * x.dimQk + d] * same,
                          ref.n[static_cast<size_t>(pair) * x.dimQk + d]);
            }
        }
    }
    const bool bf16 = sizeof(T) == 2;
    const double most = bf16 ? 1e-2 : 2e-5;
    // With gates of +-30 nothing bounds the denominator from below, and a token whose q.n cancels has any h: there the
    // limit holds for the backward error, |difference| (|q.n| / typical |q.n|) / max(1, largest |h| of the token).
    const bool ok = (std::strcmp(x.gates, "30") == 0 || raw.relative() <= most) && backward <= 2 * most &&
                    denominator.relative() <= 2e-5 && (!x.last || state.relative() <= most) && raw.finite;
    std::printf(
            "%-4s %-4s gate=%s%s gates=%-3s B%d S%-3d NH%d %d/%d chunk %-3d%s%s  h %.2e (norm %.2e, backward %.2e)  "
            "q.n %.2e",
            ok ? "ok" : "FAIL", bf16 ? "bf16" : "fp32", x.sigmoid ? "sig" : "exp", x.normalize ? "" : "-raw", x.gates,
            x.batch, x.tokens, x.heads, x.dimQk, x.dimHv, p.chunk, x.initial ? " initial" : "", x.last ? " last" : "",
            raw.relative(), raw.norm(), backward, denominator.relative());
    if (x.last) {
        std::printf("  state %.2e", state.relative());
    }
    std::printf("\n");
    return ok;
}

static int checkAllBackward(std::mt19937_64& random, bool small);

static int checkAll(unsigned long long seed, bool small) {
    std::mt19937_64 random(seed);
    std::vector<Case> cases;
    const int tokens[] = {1, 63, 65, 150, 257};
    const int widths[][2] = {{64, 64}, {256, 256}, {640, 640}};
    for (const char* gates : {"n01", "30"}) {
        for (int s : tokens) {
            for (auto& w : widths) {
                if (small && w[0] > 64) continue;
                for (bool sigmoid : {false, true}) {
                    cases.push_back({gates, 2, s, 3, w[0], w[1], s <= 160 ? s : 128, sigmoid, true, false, false});
                }
            }
        }
        cases.push_back({gates, 1, 150, 2, 72, 200, 150, false, true, false, false});  // head sizes off the tile
        cases.push_back({gates, 1, 150, 2, 16, 48, 37, false, true, true, true});      // odd chunk
        cases.push_back({gates, 1, 257, 2, 128, 256, 64, false, true, true, true});
        cases.push_back({gates, 1, 257, 2, 128, 256, 64, true, true, true, true});
        cases.push_back({gates, 1, 257, 2, 128, 256, 64, true, false, true, true});
        cases.push_back({gates, 1, 256, 2, 128, 128, 256, false, true, false, false});
        cases.push_back({gates, 1, 255, 2, 128, 128, 255, false, true, true, true});
        cases.push_back({gates, 2, 150, 1, 128, 128, 150, true, false, false, true});
        cases.push_back({gates, 1, 3, 2, 64, 64, 1, false, true, true, true});  // a chunk per token
    }
    int failed = 0;
    for (const Case& x : cases) {
        failed += !check<__nv_bfloat16>(x, random);
        failed += !check<float>(x, random);
    }
    std::printf("%zu forward cases in two types, %d failed, seed %llu\n", cases.size(), failed, seed);
    return failed + checkAllBackward(random, small);
}

struct Gradients {
    Numbers dq, dk, dv, di, df;
    Numbers terms;  // by token: what cancels in df, sigmoid(-f) times the sum of |gradients of log weights| from the
                    // token on
    double magnified = 1;  // the largest sum of |terms| of q.n over the denominator
};

// Limit of an error relative to the largest gradient. With the exponential gate nothing bounds a denominator from below:
// the rounding of bf16 operands, 2^-9, is magnified by as much as its terms cancel, and so is that token's gradient, often
// the largest.
static double limitOf(double usual, bool bf16, bool sigmoid, const Gradients& reference) {
    return bf16 && !sigmoid ? std::max(usual, reference.magnified / 512) : usual;
}

// Gradients in the quadratic form, fp64; itself checked against differences of recurrent().
static Gradients quadratic(const Case& x, bool exact, const Numbers& q, const Numbers& k, const Numbers& v,
                           const Numbers& gi, const Numbers& gf, const Numbers& dh, double eps) {
    Gradients out = {Numbers(q.size()),  Numbers(k.size()),  Numbers(v.size()),
                     Numbers(gi.size()), Numbers(gf.size()), Numbers(gf.size())};
    const double scale = 1 / std::sqrt(static_cast<double>(x.dimQk));
    std::mutex lock;
    auto one = [&](int pair) {
        auto token = [&](int t) {
            return (static_cast<size_t>(pair / x.heads) * x.tokens + t) * x.heads + pair % x.heads;
        };
        Numbers b(x.tokens), u(x.tokens), change(x.tokens);
        double sum = 0, top = 0, most = 1;
        for (int t = 0; t < x.tokens; t++) {
            b[t] = sum += logSigmoid(gf[token(t)]);
            u[t] = (x.sigmoid ? logSigmoid(gi[token(t)]) : gi[token(t)]) - b[t];
        }
        for (int t = 0; t < x.tokens; t++) {
            const size_t a = token(t);
            top = x.sigmoid ? -b[t] : std::max(top, u[t]);
            Numbers w(t + 1), score(t + 1), value(t + 1);
            double n = 0, dot = 0, nTerms = 0;
            for (int s = 0; s <= t; s++) {
                const size_t c = token(s);
                w[s] = scale * std::exp(u[s] - top);
                for (int d = 0; d < x.dimQk; d++) {
                    const double term = q[a * x.dimQk + d] * k[c * x.dimQk + d];
                    score[s] += term;
                    nTerms += w[s] * std::fabs(term);
                }
                for (int e = 0; e < x.dimHv; e++) value[s] += dh[a * x.dimHv + e] * v[c * x.dimHv + e];
                n += score[s] * w[s];
                dot += score[s] * w[s] * value[s];
            }
            const double least = std::exp(-(b[t] + top));
            const double den = x.normalize ? std::max(std::fabs(n), least) + eps : 1;
            const double dn = x.normalize && exact && std::fabs(n) > least ? -(n > 0 ? 1 : -1) * dot / (den * den) : 0;
            if (x.normalize) most = std::max(most, nTerms / den);
            for (int s = 0; s <= t; s++) {
                const size_t c = token(s);
                const double gradient = value[s] / den + dn;
                const double weight = gradient * w[s];
                for (int d = 0; d < x.dimQk; d++) {
                    out.dq[a * x.dimQk + d] += weight * k[c * x.dimQk + d];
                    out.dk[c * x.dimQk + d] += weight * q[a * x.dimQk + d];
                }
                for (int e = 0; e < x.dimHv; e++)
                    out.dv[c * x.dimHv + e] += score[s] * w[s] / den * dh[a * x.dimHv + e];
                out.di[c] += weight * score[s] * (x.sigmoid ? std::exp(logSigmoid(-gi[c])) : 1);
                out.terms[a] += std::fabs(weight * score[s]);
                change[t] += weight * score[s];
                change[s] -= weight * score[s];
            }
        }
        double after = 0, terms = 0;
        for (int t = x.tokens - 1; t >= 0; t--) {
            after += change[t];
            out.terms[token(t)] = (terms += out.terms[token(t)]) * std::exp(logSigmoid(-gf[token(t)]));
            out.df[token(t)] = after * std::exp(logSigmoid(-gf[token(t)]));
        }
        std::lock_guard<std::mutex> guard(lock);
        out.magnified = std::max(out.magnified, most);
    };
    std::vector<std::thread> threads;
    const int pairs = x.batch * x.heads;
    const int workers = std::max(1u, std::min(16u, std::thread::hardware_concurrency()));
    for (int w = 0; w < workers; w++) {
        threads.emplace_back([&, w] {
            for (int pair = w; pair < pairs; pair += workers) one(pair);
        });
    }
    for (auto& t : threads) t.join();
    return out;
}

static bool checkGradientReference(bool sigmoid, bool normalize, std::mt19937_64& random) {
    const Case x = {"n01", 1, 9, 2, 16, 24, 9, sigmoid, normalize, false, false};
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    std::normal_distribution<double> normal;
    auto draw = [&](size_t n) {
        Numbers y(n);
        for (auto& e : y) e = normal(random);
        return y;
    };
    const size_t sizes[] = {tokens * x.dimQk, tokens * x.dimQk, tokens * x.dimHv, tokens, tokens};
    Numbers in[5], along[5];
    for (int j = 0; j < 5; j++) {
        in[j] = draw(sizes[j]);
        along[j] = draw(sizes[j]);
    }
    const Numbers dh = draw(tokens * x.dimHv);
    const double eps = 1e-6, step = 1e-6;
    auto loss = [&](double by) {
        Numbers y[5];
        for (int j = 0; j < 5; j++) {
            y[j] = in[j];
            for (size_t e = 0; e < y[j].size(); e++) y[j][e] += by * along[j][e];
        }
        const Reference r = recurrent(x, y[0], y[1], y[2], y[3], y[4], {}, {}, {}, eps);
        double sum = 0;
        for (size_t e = 0; e < dh.size(); e++) sum += dh[e] * r.h[e];
        return sum;
    };
    const Gradients g = quadratic(x, true, in[0], in[1], in[2], in[3], in[4], dh, eps);
    const Numbers* got[] = {&g.dq, &g.dk, &g.dv, &g.di, &g.df};
    double slope = 0, size = 0;
    for (int j = 0; j < 5; j++) {
        for (size_t e = 0; e < got[j]->size(); e++) {
            slope += (*got[j])[e] * along[j][e];
            size += std::fabs((*got[j])[e] * along[j][e]);
        }
    }
    const double difference = std::fabs((loss(step) - loss(-step)) / (2 * step) - slope) / size;
    const bool ok = difference < 1e-6;
    std::printf("%-4s fp64 gradient against differences, gate=%s%s: %.1e\n", ok ? "ok" : "FAIL",
                sigmoid ? "sig" : "exp", normalize ? "" : "-raw", difference);
    return ok;
}

template <typename T>
static bool checkBackward(const Case& x, bool exact, std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    const int pairs = x.batch * x.heads;
    auto operand = [&](size_t n) {
        std::vector<T> y(n);
        for (auto& e : y) e = fromFloat<T>(normal(random));
        return y;
    };
    auto gate = [&](size_t n) {
        std::vector<float> y(n);
        for (auto& e : y) e = std::strcmp(x.gates, "30") == 0 ? (random() & 1 ? 30.f : -30.f) : normal(random);
        return y;
    };
    const std::vector<T> q = operand(tokens * x.dimQk), k = operand(tokens * x.dimQk), v = operand(tokens * x.dimHv),
                         dh = operand(tokens * x.dimHv);
    const std::vector<float> gi = gate(tokens), gf = gate(tokens);
    Memory memory;
    Pass pass;
    MlstmForward& f = pass.p;
    f.q = upload(q);
    f.k = upload(k);
    f.v = upload(v);
    f.gateI = upload(gi);
    f.gateF = upload(gf);
    f.h = deviceAlloc<T>(tokens * x.dimHv);
    f.normaliser = deviceAlloc<float>(tokens);
    f.tokens = f.chunk = x.tokens;
    f.chunks = 1;
    f.heads = x.heads;
    f.dimQk = x.dimQk;
    f.dimHv = x.dimHv;
    f.scale = 1.f / std::sqrt(static_cast<float>(x.dimQk));
    f.eps = 1e-6f;
    f.sigmoid = x.sigmoid;
    f.normalize = x.normalize;
    T* grads[] = {deviceAlloc<T>(tokens * x.dimQk), deviceAlloc<T>(tokens * x.dimQk), deviceAlloc<T>(tokens * x.dimHv)};
    float* gates[] = {deviceAlloc<float>(tokens), deviceAlloc<float>(tokens)};
    const MlstmBackward p = {f.q,      f.k,      f.v,      f.gateI,  f.gateF,   f.normaliser, upload(dh),
                             grads[0], grads[1], grads[2], gates[0], gates[1],  f.tokens,     f.heads,
                             f.dimQk,  f.dimHv,  f.scale,  f.eps,    f.sigmoid, f.normalize,  exact};
    CUDA(forward<T>(pass, pairs, nullptr));
    CUDA(backward<T>(p, pairs, nullptr));
    CUDA(cudaDeviceSynchronize());
    const Gradients want = quadratic(x, exact, widen(q), widen(k), widen(v), widen(gi), widen(gf), widen(dh), 1e-6);
    const Numbers got[] = {widen(download(grads[0], tokens * x.dimQk)), widen(download(grads[1], tokens * x.dimQk)),
                           widen(download(grads[2], tokens * x.dimHv)), widen(download(gates[0], tokens)),
                           widen(download(gates[1], tokens))};
    const Numbers* ref[] = {&want.dq, &want.dk, &want.dv, &want.di, &want.df};
    // With gates of +-30 and the exponential gate the largest gradients are those of tokens whose q.n cancels, to any
    // degree.
    const bool loose = std::strcmp(x.gates, "30") == 0 && !x.sigmoid;
    const double most = sizeof(T) == 2 ? (loose ? 5e-2 : 1e-2) : (loose ? 5e-2 : 1e-4);
    double errors[5];
    bool ok = true;
    for (int j = 0; j < 5; j++) {
        Error e;
        for (size_t n = 0; n < got[j].size(); n++) e.add(got[j][n], (*ref[j])[n]);
        // One token: with the exact gradient dq, dk and both gates' gradients cancel to nothing where |q.n| decides; no
        // scale is left to compare with. df is a difference of sums that at gates of +-30 cancel to 1e-13 of their
        // terms: there the error is taken by the terms.
        double least = x.tokens == 1 ? 1 : 0;
        if (j == 4 && std::strcmp(x.gates, "30") == 0)
            least = std::max(least, *std::max_element(want.terms.begin(), want.terms.end()));
        errors[j] = e.finite ? e.max / std::max(std::max(e.ref, least), 1e-30) : INFINITY;
        ok &= errors[j] <= limitOf(most * (x.tokens == 1 ? 10 : 1), sizeof(T) == 2, x.sigmoid, want);
    }
    std::printf(
            "%-4s %-4s backward%s gate=%s%s gates=%-3s B%d S%-3d NH%d %d/%d  dq %.1e dk %.1e dv %.1e di %.1e df %.1e\n",
            ok ? "ok" : "FAIL", sizeof(T) == 2 ? "bf16" : "fp32", exact ? "" : "-published", x.sigmoid ? "sig" : "exp",
            x.normalize ? "" : "-raw", x.gates, x.batch, x.tokens, x.heads, x.dimQk, x.dimHv, errors[0], errors[1],
            errors[2], errors[3], errors[4]);
    return ok;
}

struct StateGradients {
    Gradients tokens;
    Numbers c, n, m;  // of the initial state
    // The largest sum of |terms| of each: what one relative error of an operand, of h or of q.n's terms may move. A
    // denominator that cancels magnifies the rounding of its terms, so its tokens count for more.
    double termsQ = 0, termsK = 0, termsV = 0, termsI = 0, termsC = 0, termsN = 0;
};

// Gradients through time, fp64: the loss is dh . h + lastC . C + lastN . n over the states of recurrent(). The stabiliser is
// held fixed, which changes nothing but eps.
static StateGradients throughTime(const Case& x, const Numbers& q, const Numbers& k, const Numbers& v, const Numbers& gi,
                                  const Numbers& gf, const Numbers& c0, const Numbers& n0, const Numbers& m0,
                                  const Numbers& dh, const Numbers& lastC, const Numbers& lastN, double eps) {
    const int pairs = x.batch * x.heads;
    const size_t cells = static_cast<size_t>(x.dimQk) * x.dimHv;
    StateGradients out;
    out.tokens = {Numbers(q.size()),  Numbers(k.size()),  Numbers(v.size()),
                  Numbers(gi.size()), Numbers(gf.size()), Numbers(gf.size())};
    out.c.resize(pairs * cells);
    out.n.resize(static_cast<size_t>(pairs) * x.dimQk);
    out.m.resize(pairs);
    const double scale = 1 / std::sqrt(static_cast<double>(x.dimQk));
    std::mutex lock;
    auto one = [&](int pair) {
        auto token = [&](int t) {
            return (static_cast<size_t>(pair / x.heads) * x.tokens + t) * x.heads + pair % x.heads;
        };
        std::vector<Numbers> c(x.tokens + 1, Numbers(cells)), n(x.tokens + 1, Numbers(x.dimQk));
        Numbers m(x.tokens + 1), decay(x.tokens), write(x.tokens);
        if (x.initial) {
            m[0] = m0[pair];
            std::copy_n(c0.begin() + pair * cells, cells, c[0].begin());
            std::copy_n(n0.begin() + static_cast<size_t>(pair) * x.dimQk, x.dimQk, n[0].begin());
        }
        for (int t = 0; t < x.tokens; t++) {
            const size_t a = token(t);
            const double lf = logSigmoid(gf[a]);
            const double i = x.sigmoid ? logSigmoid(gi[a]) : gi[a];
            m[t + 1] = x.sigmoid ? 0 : std::max(lf + m[t], i);
            decay[t] = std::exp(lf + m[t] - m[t + 1]);
            write[t] = std::exp(i - m[t + 1]);
            for (int d = 0; d < x.dimQk; d++) {
                const double key = write[t] * k[a * x.dimQk + d];
                n[t + 1][d] = decay[t] * n[t][d] + key;
                for (int e = 0; e < x.dimHv; e++) {
                    c[t + 1][d * x.dimHv + e] = decay[t] * c[t][d * x.dimHv + e] + key * v[a * x.dimHv + e];
                }
            }
        }
        Numbers dc(cells), dn(x.dimQk), dcTerms(cells), dnTerms(x.dimQk), vTerms(x.dimHv);
        double most[6] = {}, mostMagnified = 1;
        if (x.last) {
            std::copy_n(lastC.begin() + pair * cells, cells, dc.begin());
            std::copy_n(lastN.begin() + static_cast<size_t>(pair) * x.dimQk, x.dimQk, dn.begin());
            for (size_t j = 0; j < cells; j++) dcTerms[j] = std::fabs(dc[j]);
            for (int d = 0; d < x.dimQk; d++) dnTerms[d] = std::fabs(dn[d]);
        }
        double terms = 0;
        for (int t = x.tokens - 1; t >= 0; t--) {
            const size_t a = token(t);
            const Numbers& now = c[t + 1];
            Numbers num(x.dimHv);
            double den = 0, denTerms = 0;
            for (int d = 0; d < x.dimQk; d++) {
                const double query = scale * q[a * x.dimQk + d];
                den += query * n[t + 1][d];
                denTerms += std::fabs(query * n[t + 1][d]);
                for (int e = 0; e < x.dimHv; e++) num[e] += query * now[d * x.dimHv + e];
            }
            const double least = x.sigmoid ? 1 : std::exp(-m[t + 1]);
            const double by = x.normalize ? std::max(std::fabs(den), least) + eps : 1;
            const double magnified = x.normalize ? std::max(1.0, denTerms / by) : 1;
            mostMagnified = std::max(mostMagnified, magnified);
            double dot = 0, dotTerms = 0;
            for (int e = 0; e < x.dimHv; e++) {
                dot += dh[a * x.dimHv + e] * num[e];
                dotTerms += std::fabs(dh[a * x.dimHv + e] * num[e]);
            }
            std::fill(vTerms.begin(), vTerms.end(), 0.0);
            double ownTerms = 0;
            const double dden = x.normalize && std::fabs(den) > least ? -(den > 0 ? 1 : -1) * dot / (by * by) : 0;
            double before = 0, own = 0, read = 0;
            for (int d = 0; d < x.dimQk; d++) {
                const double query = scale * q[a * x.dimQk + d];
                const double key = k[a * x.dimQk + d];
                double dq = n[t + 1][d] * dden, dk = 0;
                const double ddenTerms = dden != 0 ? magnified * dotTerms / (by * by) : 0;
                double dqTerms = std::fabs(n[t + 1][d]) * ddenTerms, dkTerms = 0;
                dn[d] += query * dden;
                dnTerms[d] += std::fabs(query) * ddenTerms;
                for (int e = 0; e < x.dimHv; e++) {
                    const double dnum = dh[a * x.dimHv + e] / by;
                    double& g = dc[d * x.dimHv + e];
                    g += query * dnum;
                    dq += now[d * x.dimHv + e] * dnum;
                    dk += g * v[a * x.dimHv + e];
                    out.tokens.dv[a * x.dimHv + e] += write[t] * key * g;
                    double& gTerms = dcTerms[d * x.dimHv + e];
                    gTerms += magnified * std::fabs(query * dnum);
                    dqTerms += magnified * std::fabs(now[d * x.dimHv + e] * dnum);
                    dkTerms += gTerms * std::fabs(v[a * x.dimHv + e]);
                    vTerms[e] += write[t] * std::fabs(key) * gTerms;
                    gTerms *= decay[t];
                    before += c[t][d * x.dimHv + e] * g;
                    g *= decay[t];
                }
                before += n[t][d] * dn[d];
                out.tokens.dq[a * x.dimQk + d] = scale * dq;
                out.tokens.dk[a * x.dimQk + d] = write[t] * (dk + dn[d]);
                own += key * write[t] * (dk + dn[d]);
                read += query * dq;
                dn[d] *= decay[t];
                dkTerms = write[t] * (dkTerms + dnTerms[d]);
                dnTerms[d] *= decay[t];
                ownTerms += std::fabs(key) * dkTerms;
                most[0] = std::max(most[0], scale * dqTerms);
                most[1] = std::max(most[1], dkTerms);
            }
            most[2] = std::max(most[2], *std::max_element(vTerms.begin(), vTerms.end()));
            most[3] = std::max(most[3], ownTerms);
            out.tokens.di[a] = own * (x.sigmoid ? std::exp(logSigmoid(-gi[a])) : 1);
            out.tokens.df[a] = decay[t] * before * std::exp(logSigmoid(-gf[a]));
            terms += std::fabs(own) + std::fabs(read);
            out.tokens.terms[a] = terms * std::exp(logSigmoid(-gf[a]));
        }
        std::copy(dc.begin(), dc.end(), out.c.begin() + pair * cells);
        std::copy(dn.begin(), dn.end(), out.n.begin() + static_cast<size_t>(pair) * x.dimQk);
        for (size_t j = 0; j < cells && !x.sigmoid; j++) out.m[pair] += dc[j] * c[0][j];
        for (int d = 0; d < x.dimQk && !x.sigmoid; d++) out.m[pair] += dn[d] * n[0][d];
        most[4] = *std::max_element(dcTerms.begin(), dcTerms.end());
        most[5] = *std::max_element(dnTerms.begin(), dnTerms.end());
        std::lock_guard<std::mutex> guard(lock);
        double* to[] = {&out.termsQ, &out.termsK, &out.termsV, &out.termsI, &out.termsC, &out.termsN};
        for (int j = 0; j < 6; j++) *to[j] = std::max(*to[j], most[j]);
        out.tokens.magnified = std::max(out.tokens.magnified, mostMagnified);
    };
    std::vector<std::thread> threads;
    const int workers = std::max(1u, std::min(16u, std::thread::hardware_concurrency()));
    for (int w = 0; w < workers; w++) {
        threads.emplace_back([&, w] {
            for (int pair = w; pair < pairs; pair += workers) one(pair);
        });
    }
    for (auto& t : threads) t.join();
    return out;
}

// The reference through time against the quadratic one, which itself was checked against differences.
static bool checkThroughTime(bool sigmoid, bool normalize, std::mt19937_64& random) {
    const Case x = {"n01", 1, 9, 2, 16, 24, 9, sigmoid, normalize, false, false};
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    std::normal_distribution<double> normal;
    auto draw = [&](size_t n) {
        Numbers y(n);
        for (auto& e : y) e = normal(random);
        return y;
    };
    const Numbers q = draw(tokens * x.dimQk), k = draw(tokens * x.dimQk), v = draw(tokens * x.dimHv), gi = draw(tokens),
                  gf = draw(tokens), dh = draw(tokens * x.dimHv);
    const Gradients a = quadratic(x, true, q, k, v, gi, gf, dh, 1e-6);
    const Gradients b = throughTime(x, q, k, v, gi, gf, {}, {}, {}, dh, {}, {}, 1e-6).tokens;
    double worst = 0;
    for (auto part : {&Gradients::dq, &Gradients::dk, &Gradients::dv, &Gradients::di, &Gradients::df}) {
        Error e;
        for (size_t j = 0; j < (a.*part).size(); j++) e.add((b.*part)[j], (a.*part)[j]);
        worst = std::max(worst, e.relative());
    }
    const bool ok = worst < 1e-6;
    std::printf("%-4s fp64 gradient through time against the quadratic one, gate=%s%s: %.1e\n", ok ? "ok" : "FAIL",
                sigmoid ? "sig" : "exp", normalize ? "" : "-raw", worst);
    return ok;
}

template <typename T>
static bool checkBackwardChunks(const Case& x, std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    const int pairs = x.batch * x.heads;
    const size_t cells = static_cast<size_t>(x.dimQk) * x.dimHv;
    auto operand = [&](size_t n) {
        std::vector<T> y(n);
        for (auto& e : y) e = fromFloat<T>(normal(random));
        return y;
    };
    auto floats = [&](size_t n, float by) {
        std::vector<float> y(n);
        for (auto& e : y) e = by * normal(random);
        return y;
    };
    auto gate = [&](size_t n) {
        std::vector<float> y(n);
        for (auto& e : y) e = std::strcmp(x.gates, "30") == 0 ? (random() & 1 ? 30.f : -30.f) : normal(random);
        return y;
    };
    const std::vector<T> q = operand(tokens * x.dimQk), k = operand(tokens * x.dimQk), v = operand(tokens * x.dimHv),
                         dh = operand(tokens * x.dimHv);
    const std::vector<float> gi = gate(tokens), gf = gate(tokens);
    std::vector<float> c0, n0, m0, lastC, lastN;
    if (x.initial) {
        c0 = floats(pairs * cells, 1);
        n0 = floats(static_cast<size_t>(pairs) * x.dimQk, 1);
        m0 = x.sigmoid ? std::vector<float>(pairs, 0.f) : floats(pairs, 1);
    }
    if (x.last) {
        lastC = floats(pairs * cells, 0.1f);
        lastN = floats(static_cast<size_t>(pairs) * x.dimQk, x.normalize ? 0.1f : 0.f);
    }
    Memory memory;
    Pass pass;
    MlstmForward& f = pass.p;
    f.q = upload(q);
    f.k = upload(k);
    f.v = upload(v);
    f.gateI = upload(gi);
    f.gateF = upload(gf);
    f.h = deviceAlloc<T>(tokens * x.dimHv);
    f.normaliser = deviceAlloc<float>(tokens);
    f.tokens = x.tokens;
    f.chunk = std::min(x.chunk, x.tokens);
    f.chunks = (x.tokens + f.chunk - 1) / f.chunk;
    f.heads = x.heads;
    f.dimQk = x.dimQk;
    f.dimHv = x.dimHv;
    f.scale = 1.f / std::sqrt(static_cast<float>(x.dimQk));
    f.eps = 1e-6f;
    f.sigmoid = x.sigmoid;
    f.normalize = x.normalize;
    const float* initial[3] = {};
    float* const none[3] = {};
    if (x.initial) {
        initial[0] = upload(c0);
        initial[1] = upload(n0);
        initial[2] = upload(m0);
    }
    addStates<T>(pass, pairs, initial, none);
    MlstmBackward p = {};
    T* grads[] = {deviceAlloc<T>(tokens * x.dimQk), deviceAlloc<T>(tokens * x.dimQk), deviceAlloc<T>(tokens * x.dimHv)};
    p.q = f.q;
    p.k = f.k;
    p.v = f.v;
    p.gateI = f.gateI;
    p.gateF = f.gateF;
    p.normaliser = f.normaliser;
    p.dh = upload(dh);
    p.dq = grads[0];
    p.dk = grads[1];
    p.dv = grads[2];
    p.di = deviceAlloc<float>(tokens);
    p.df = deviceAlloc<float>(tokens);
    p.tokens = f.tokens;
    p.heads = f.heads;
    p.dimQk = f.dimQk;
    p.dimHv = f.dimHv;
    p.scale = f.scale;
    p.eps = f.eps;
    p.sigmoid = f.sigmoid;
    p.normalize = f.normalize;
    p.exact = 1;
    const float* dLast[2] = {};
    float* dInitial[2] = {};
    if (x.last) {
        dLast[0] = upload(lastC);
        dLast[1] = upload(lastN);
    }
    if (x.initial) {
        dInitial[0] = deviceAlloc<float>(pairs * cells);
        dInitial[1] = deviceAlloc<float>(static_cast<size_t>(pairs) * x.dimQk);
        p.initialM = deviceAlloc<float>(pairs);
    }
    const MlstmStates reverse = reverseStates<T>(pass, p, pairs, dLast, dInitial);
    CUDA(forward<T>(pass, pairs, nullptr));
    CUDA(backwardChunks<T>(p, reverse, pairs, nullptr));
    CUDA(cudaDeviceSynchronize());
    const StateGradients want = throughTime(x, widen(q), widen(k), widen(v), widen(gi), widen(gf), widen(c0), widen(n0),
                                            widen(m0), widen(dh), widen(lastC), widen(lastN), 1e-6);
    std::vector<Numbers> got = {widen(download(grads[0], tokens * x.dimQk)), widen(download(grads[1], tokens * x.dimQk)),
                                widen(download(grads[2], tokens * x.dimHv)), widen(download(p.di, tokens)),
                                widen(download(p.df, tokens))};
    std::vector<const Numbers*> ref = {&want.tokens.dq, &want.tokens.dk, &want.tokens.dv, &want.tokens.di,
                                       &want.tokens.df};
    if (x.initial) {
        got.push_back(widen(download(dInitial[0], pairs * cells)));
        got.push_back(widen(download(dInitial[1], static_cast<size_t>(pairs) * x.dimQk)));
        got.push_back(widen(download(p.initialM, pairs)));
        ref.insert(ref.end(), {&want.c, &want.n, &want.m});
    }
    const bool bf16 = sizeof(T) == 2;
    // Two limits: of the largest value, and of the largest sum of |terms|. With N(0,1) gates both hold. At +-30 every token
    // may be alone with its own key: its exact gradients then cancel to nothing, and only the second limit has a scale. dn0
    // is such a difference at any gates, formed from the rounded h.
    const bool extreme = std::strcmp(x.gates, "30") == 0;
    const double most = limitOf(bf16 ? (x.sigmoid ? 2e-2 : 5e-2) : 1e-4, bf16, x.sigmoid, want.tokens);
    const double mostOfTerms = bf16 ? 4e-3 : 4e-6;
    const double terms = *std::max_element(want.tokens.terms.begin(), want.tokens.terms.end());
    const double ofTerms[] = {want.termsQ, want.termsK, want.termsV, want.termsI, std::max(terms, want.termsI),
                              want.termsC, want.termsN, std::max(terms, want.termsI)};
    const char* names[] = {"dq", "dk", "dv", "di", "df", "dC0", "dn0", "dm0"};
    std::string line;
    bool ok = true;
    for (size_t j = 0; j < got.size(); j++) {
        Error e;
        for (size_t n = 0; n < got[j].size(); n++) e.add(got[j][n], (*ref[j])[n]);
        const double error = e.finite ? e.max / std::max(e.ref, 1e-30) : INFINITY;
        const double byTerms = e.finite ? e.max / std::max(ofTerms[j], 1e-30) : INFINITY;
        ok &= byTerms <= mostOfTerms && (extreme || j >= 6 || error <= most);
        char part[40];
        std::snprintf(part, sizeof part, " %s %.1e (%.0e)", names[j], error, byTerms);
        line += part;
    }
    std::printf("%-4s %-4s%s backward gate=%s%s gates=%-3s B%d S%-3d NH%d %d/%d chunk %-3d%s%s %s magnified %.0f\n", ok ? "ok" : "FAIL",
                sizeof(T) == 2 ? "bf16" : "fp32", sizeof(T) == 2 && warpgroups ? " warpgroups" : "", x.sigmoid ? "sig" : "exp", x.normalize ? "" : "-raw", x.gates, x.batch,
                x.tokens, x.heads, x.dimQk, x.dimHv, p.chunk, x.initial ? " initial" : "", x.last ? " last" : "",
                line.c_str(), want.tokens.magnified);
    return ok;
}

static int checkAllChunks(std::mt19937_64& random, bool small) {
    int failed = 0, done = 0;
    for (bool sigmoid : {false, true}) failed += !checkThroughTime(sigmoid, true, random);
    failed += !checkThroughTime(true, false, random);
    const int shapes[][4] = {{64, 64, 65, 64},   {64, 64, 150, 75},  {72, 200, 150, 50}, {16, 48, 3, 1},
                             {16, 48, 37, 16},   {128, 256, 257, 64}, {128, 256, 257, 96}, {64, 128, 96, 96},
                             {256, 512, 70, 32}, {640, 640, 40, 16}, {64, 64, 257, 128}, {128, 256, 300, 128}, {256, 256, 257, 128},
                             {264, 48, 37, 16},  {512, 512, 150, 128}};
    for (const char* gates : {"n01", "30"}) {
        for (auto& s : shapes) {
            if (small && s[0] * s[1] > 72 * 200) continue;
            for (int variant = 0; variant < 5; variant++) {
                const bool sigmoid = variant >= 3, normalize = variant != 4;
                const bool initial = variant != 0, last = variant == 2 || variant >= 3;
                if (!initial && !last && s[2] <= s[3]) continue;  // a window, checked above
                const Case x = {gates, 2, s[2], 2, s[0], s[1], s[3], sigmoid, normalize, initial, last};
                for (bool on : {true, false}) {
                    warpgroups = on;
                    failed += !checkBackwardChunks<__nv_bfloat16>(x, random);
                    done++;
                }
                warpgroups = true;
                if (s[3] <= 96) {
                    failed += !checkBackwardChunks<float>(x, random);
                    done++;
                }
            }
        }
    }
    std::printf("%d backward cases of several chunks or with states, %d failed\n", done, failed);
    return failed;
}

static int checkAllBackward(std::mt19937_64& random, bool small) {
    int failed = 0, done = 0;
    for (bool sigmoid : {false, true}) failed += !checkGradientReference(sigmoid, true, random);
    failed += !checkGradientReference(true, false, random);
    const int widths[][2] = {{64, 64}, {256, 256}, {640, 640}, {72, 200}, {16, 48}};
    for (const char* gates : {"n01", "30"}) {
        for (auto& w : widths) {
            if (small && w[0] > 72) continue;
            for (int s : {1, 15, 63, 65, 96, 150, 160}) {
                for (int variant = 0; variant < 4; variant++) {
                    const bool sigmoid = variant >= 2, normalize = variant != 3, exact = variant != 1;
                    if (variant % 2 == 1 && s != 65) continue;
                    const Case x = {gates, 2, s, 3, w[0], w[1], s, sigmoid, normalize, false, false};
                    failed += !checkBackward<__nv_bfloat16>(x, exact, random);
                    done++;
                    if (s <= 96) {
                        failed += !checkBackward<float>(x, exact, random);
                        done++;
                    }
                }
            }
        }
    }
    std::printf("%d backward cases, %d failed\n", done, failed);
    return failed + checkAllChunks(random, small);
}

template <typename F>
static double medianMs(F work, int launches, int rounds = 30) {
    cudaEvent_t from, to;
    CUDA(cudaEventCreate(&from));
    CUDA(cudaEventCreate(&to));
    for (int r = 0; r < 3; r++) work();
    std::vector<float> ms;
    for (int r = 0; r < rounds; r++) {
        CUDA(cudaEventRecord(from));
        work();
        CUDA(cudaEventRecord(to));
        CUDA(cudaEventSynchronize(to));
        float x;
        CUDA(cudaEventElapsedTime(&x, from, to));
        ms.push_back(x / launches);
    }
    std::sort(ms.begin(), ms.end());
    CUDA(cudaEventDestroy(from));
    CUDA(cudaEventDestroy(to));
    return ms[ms.size() / 2];
}

static __global__ void fillNormal(__nv_bfloat16* bf, float* fl, size_t n, unsigned long long seed) {
    for (size_t j = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; j < n;
         j += static_cast<size_t>(gridDim.x) * blockDim.x) {
        unsigned long long x = (j + 1) * 0x9E3779B97F4A7C15ull + seed;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
        x ^= x >> 31;
        float u = ((x >> 40) + 1) * (1.f / 16777217.f);
        float y = sqrtf(-2.f * logf(u)) * cospif(2.f * ((x & 0xffffff) * (1.f / 16777216.f)));
        if (bf != nullptr) {
            bf[j] = __float2bfloat16(y);
        } else {
            fl[j] = y;
        }
    }
}

static unsigned long long fillSeed = 1;

static __nv_bfloat16* randomBf16(size_t n) {
    __nv_bfloat16* p = deviceAlloc<__nv_bfloat16>(n);
    fillNormal<<<2048, 256>>>(p, nullptr, n, fillSeed++ * 0x632BE59BD9B4E019ull);
    CUDA(cudaGetLastError());
    return p;
}

static float* randomFloat(size_t n) {
    float* p = deviceAlloc<float>(n);
    fillNormal<<<2048, 256>>>(nullptr, p, n, fillSeed++ * 0x632BE59BD9B4E019ull);
    CUDA(cudaGetLastError());
    return p;
}

static double copyTerabytes, matmulTeraflops;

static void ceilings() {
    Memory memory;
    const size_t bytes = size_t(2) << 30;
    __nv_bfloat16* from = randomBf16(bytes / 2);
    char* to = deviceAlloc<char>(bytes);
    double ms = medianMs([&] { CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice)); }, 1, 15);
    copyTerabytes = 2.0 * bytes / ms * 1e-9;
    std::printf("copy of 2 GiB, bytes read and written: %.3f TB/s\n", copyTerabytes);
#ifdef LRAM_HAS_CUBLAS
    const int n = 8192;
    __nv_bfloat16* a = randomBf16(static_cast<size_t>(n) * n);
    __nv_bfloat16* b = randomBf16(static_cast<size_t>(n) * n);
    __nv_bfloat16* c = deviceAlloc<__nv_bfloat16>(static_cast<size_t>(n) * n);
    cublasHandle_t handle;
    if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) {
        std::printf("cublasCreate failed\n");
        std::exit(1);
    }
    float one = 1, zero = 0;
    ms = medianMs(
            [&] {
                if (cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, a, CUDA_R_16BF, n, b, CUDA_R_16BF, n,
                                 &zero, c, CUDA_R_16BF, n, CUBLAS_COMPUTE_32F,
                                 CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS) {
                    std::printf("cublasGemmEx failed\n");
                    std::exit(1);
                }
            },
            1, 15);
    matmulTeraflops = 2.0 * n * n * n / ms * 1e-9;
    std::printf("bf16 matmul 8192^3, random data: %.0f TFLOP/s\n", matmulTeraflops);
#endif
}

struct Problem {
    const char* name;
    int batch, tokens, heads, dimQk, dimHv, chunk;
    bool sigmoid;
    double published;
};

static std::vector<Pass> problemInputs(const Problem& x, int sets) {
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    std::vector<Pass> in(sets);
    for (Pass& pass : in) {
        MlstmForward& p = pass.p;
        p.q = randomBf16(tokens * x.dimQk);
        p.k = randomBf16(tokens * x.dimQk);
        p.v = randomBf16(tokens * x.dimHv);
        p.gateI = randomFloat(tokens);
        p.gateF = randomFloat(tokens);
        p.h = deviceAlloc<__nv_bfloat16>(tokens * x.dimHv);
        p.normaliser = deviceAlloc<float>(tokens);
        p.tokens = x.tokens;
        p.heads = x.heads;
        p.dimQk = x.dimQk;
        p.dimHv = x.dimHv;
        p.chunk = x.chunk;
        p.chunks = (x.tokens + x.chunk - 1) / x.chunk;
        p.scale = 1.f / std::sqrt(static_cast<float>(x.dimQk));
        p.eps = 1e-6f;
        p.sigmoid = x.sigmoid;
        p.normalize = 1;
        if (p.chunks > 1) {
            const float* const initial[3] = {};
            float* const last[3] = {};
            addStates<__nv_bfloat16>(pass, x.batch * x.heads, initial, last);
        }
    }
    return in;
}

// Leading terms: the triangle of both products, and with several chunks the state update and its product with q.
static double flops(const Problem& x) {
    double tokens = static_cast<double>(x.batch) * x.tokens * x.heads;
    double inside = tokens * x.chunk * (x.dimQk + x.dimHv);
    return x.chunk >= x.tokens ? inside : inside + 4 * tokens * x.dimQk * x.dimHv;
}

static double bytes(const Problem& x) {
    double tokens = static_cast<double>(x.batch) * x.tokens * x.heads;
    return tokens * (2.0 * (2 * x.dimQk + 2 * x.dimHv) + 8 + 4);
}

template <typename L>
static void timeOne(const Problem& x, size_t sets, const char* variant, double floor, double published, L launch) {
    auto all = [&] {
        for (size_t s = 0; s < sets; s++) CUDA(launch(s));
    };
    CUDA(launch(0));
    CUDA(cudaDeviceSynchronize());
    double first = medianMs(all, static_cast<int>(sets));
    double again = medianMs(all, static_cast<int>(sets));
    std::printf("%-16s %-24s %.4f ms (again %.4f)  floor %.4f  ratio %.2f  published %.2f (%.1fx)\n", x.name, variant,
                first, again, floor, first / floor, published, published / first);
}

static double forwardFloor(const Problem& x) {
    return std::max(bytes(x) / copyTerabytes * 1e-9, matmulTeraflops > 0 ? flops(x) / matmulTeraflops * 1e-9 : 0.0);
}

// q, k, v, dh read, dq, dk, dv written, gates and their gradients; five products of the triangle.
static double backwardFloor(const Problem& x) {
    double tokens = static_cast<double>(x.batch) * x.tokens * x.heads;
    double bytes = tokens * (2.0 * (4 * x.dimQk + 3 * x.dimHv) + 8 + 8 + 4);
    double flops = tokens * x.chunk * (3.0 * x.dimQk + 2.0 * x.dimHv);
    return std::max(bytes / copyTerabytes * 1e-9, matmulTeraflops > 0 ? flops / matmulTeraflops * 1e-9 : 0.0);
}

static void timeBackward(const Problem& x, std::vector<Pass>& in, double published) {
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    std::vector<MlstmBackward> back;
    for (auto& pass : in) {
        const MlstmForward& f = pass.p;
        back.push_back({f.q,
                        f.k,
                        f.v,
                        f.gateI,
                        f.gateF,
                        f.normaliser,
                        randomBf16(tokens * x.dimHv),
                        deviceAlloc<__nv_bfloat16>(tokens * x.dimQk),
                        deviceAlloc<__nv_bfloat16>(tokens * x.dimQk),
                        deviceAlloc<__nv_bfloat16>(tokens * x.dimHv),
                        deviceAlloc<float>(tokens),
                        deviceAlloc<float>(tokens),
                        f.tokens,
                        f.heads,
                        f.dimQk,
                        f.dimHv,
                        f.scale,
                        f.eps,
                        f.sigmoid,
                        f.normalize,
                        1});
    }
    const int pairs = x.batch * x.heads;
    timeOne(x, in.size(), "backward", backwardFloor(x), published - x.published,
            [&](size_t s) { return backward<__nv_bfloat16>(back[s], pairs, nullptr); });
    timeOne(x, in.size(), "forward + backward", forwardFloor(x) + backwardFloor(x), published, [&](size_t s) {
        cudaError_t error = forward<__nv_bfloat16>(in[s], pairs, nullptr);
        return error == cudaSuccess ? backward<__nv_bfloat16>(back[s], pairs, nullptr) : error;
    });
}

// Bytes: q, k, v, h, dh read, dq, dk, dv written, each state and its gradient written and read once. FLOP: the window's, the
// gradients of the states, three products with states.
static double backwardChunksFloor(const Problem& x) {
    double tokens = static_cast<double>(x.batch) * x.tokens * x.heads;
    double states = tokens / x.chunk * x.dimQk * x.dimHv * 2.0;
    double bytes = tokens * (2.0 * (4 * x.dimQk + 4 * x.dimHv) + 8 + 8 + 4) + 3 * states;
    double flops = tokens * (x.chunk * (3.0 * x.dimQk + 2.0 * x.dimHv) + 8.0 * x.dimQk * x.dimHv);
    return std::max(bytes / copyTerabytes * 1e-9, matmulTeraflops > 0 ? flops / matmulTeraflops * 1e-9 : 0.0);
}

static void timeBackwardChunks(const Problem& x, std::vector<Pass>& in, double published) {
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    const int pairs = x.batch * x.heads;
    std::vector<MlstmBackward> back;
    std::vector<MlstmStates> reverse;
    for (auto& pass : in) {
        const MlstmForward& f = pass.p;
        MlstmBackward p = {};
        p.q = f.q;
        p.k = f.k;
        p.v = f.v;
        p.gateI = f.gateI;
        p.gateF = f.gateF;
        p.normaliser = f.normaliser;
        p.dh = randomBf16(tokens * x.dimHv);
        p.dq = deviceAlloc<__nv_bfloat16>(tokens * x.dimQk);
        p.dk = deviceAlloc<__nv_bfloat16>(tokens * x.dimQk);
        p.dv = deviceAlloc<__nv_bfloat16>(tokens * x.dimHv);
        p.di = deviceAlloc<float>(tokens);
        p.df = deviceAlloc<float>(tokens);
        p.tokens = f.tokens;
        p.heads = f.heads;
        p.dimQk = f.dimQk;
        p.dimHv = f.dimHv;
        p.scale = f.scale;
        p.eps = f.eps;
        p.sigmoid = f.sigmoid;
        p.normalize = f.normalize;
        p.exact = 1;
        const float* const last[2] = {};
        float* const initial[2] = {};
        reverse.push_back(reverseStates<__nv_bfloat16>(pass, p, pairs, last, initial));
        back.push_back(p);
    }
    const double floor = backwardChunksFloor(x);
    timeOne(x, in.size(), "backward", floor, published - x.published,
            [&](size_t s) { return backwardChunks<__nv_bfloat16>(back[s], reverse[s], pairs, nullptr); });
    timeOne(x, in.size(), "backward, rows alone", floor, published - x.published,
            [&](size_t s) { return launchBackwardRows<__nv_bfloat16>(back[s], pairs, nullptr); });
    timeOne(x, in.size(), "backward, chunk states", floor, published - x.published,
            [&](size_t s) { return launchChunkStates<__nv_bfloat16>(reverse[s], nullptr); });
    timeOne(x, in.size(), "backward, scan of states", floor, published - x.published,
            [&](size_t s) { return launchScanStates<__nv_bfloat16>(reverse[s], nullptr); });
    timeOne(x, in.size(), "backward, chunks alone", floor, published - x.published,
            [&](size_t s) { return launchBackwardChunks<__nv_bfloat16>(back[s], pairs, nullptr); });
    timeOne(x, in.size(), "forward + backward", forwardFloor(x) + floor, published, [&](size_t s) {
        cudaError_t error = forward<__nv_bfloat16>(in[s], pairs, nullptr);
        return error == cudaSuccess ? backwardChunks<__nv_bfloat16>(back[s], reverse[s], pairs, nullptr) : error;
    });
}

template <int WARPS, int GROUPS, int STAGES, int BLOCKS>
static void timeVariant(const Problem& x, std::vector<Pass>& in) {
    char name[64];
    std::snprintf(name, sizeof name, "warps %d stages %d/%d", WARPS, STAGES, BLOCKS);
    timeOne(x, in.size(), name, forwardFloor(x), x.published, [&](size_t s) {
        return launchForward<__nv_bfloat16, WARPS, GROUPS, STAGES, false, BLOCKS>(in[s].p, x.batch * x.heads, nullptr);
    });
}

static void timeWindows() {
    const Problem windows[] = {{"lram16m", 128, 150, 4, 256, 256, 150, false, 0.56},
                               {"lram206m", 128, 150, 4, 640, 640, 150, false, 2.78}};
    for (const Problem& x : windows) {
        Memory memory;
        auto in = problemInputs(x, 4);
        timeVariant<5, 10, 2, 2>(x, in);
        timeVariant<5, 10, 2, 3>(x, in);
        timeVariant<5, 10, 3, 2>(x, in);
        timeVariant<10, 10, 2, 1>(x, in);
        timeVariant<10, 10, 3, 1>(x, in);
        timeVariant<3, 10, 2, 4>(x, in);
        timeBackward(x, in, x.dimQk == 256 ? 2.48 : 9.84);
    }
}

static void timeChunks() {
    const Problem large[] = {{"7b-s8192-exp", 8, 8192, 8, 256, 512, 128, false, 6.85},
                             {"7b-s8192-sig", 8, 8192, 8, 256, 512, 128, true, 4.31},
                             {"7b-s65536-sig", 1, 65536, 8, 256, 512, 128, true, 4.63}};
    const double published[] = {23.0, 14.8, 15.4};
    for (const Problem& x : large) {
        Memory memory;
        auto in = problemInputs(x, 2);
        const int pairs = x.batch * x.heads;
        timeOne(x, in.size(), "forward", forwardFloor(x), x.published,
                [&](size_t s) { return forward<__nv_bfloat16>(in[s], pairs, nullptr); });
        timeOne(x, in.size(), "forward, gates", forwardFloor(x), x.published,
                [&](size_t s) { return launchGates(in[s].gates, nullptr); });
        timeOne(x, in.size(), "forward, chunk states", forwardFloor(x), x.published,
                [&](size_t s) { return launchChunkStates<__nv_bfloat16>(in[s].states, nullptr); });
        timeOne(x, in.size(), "forward, scan of states", forwardFloor(x), x.published,
                [&](size_t s) { return launchScanStates<__nv_bfloat16>(in[s].states, nullptr); });
        timeBackwardChunks(x, in, published[&x - large]);
    }
}

int main(int count, char** arguments) {
    std::string what = count > 1 ? arguments[1] : "all";
    unsigned long long seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : std::random_device{}();
    cudaDeviceProp device;
    CUDA(cudaGetDeviceProperties(&device, 0));
    std::printf("%s, %d multiprocessors, L2 %d MiB, %zu KiB shared a block\n", device.name, device.multiProcessorCount,
                device.l2CacheSize >> 20, device.sharedMemPerBlockOptin >> 10);
    int failed = 0;
    if (what == "chunks") {
        std::mt19937_64 random(seed);
        failed = checkAllChunks(random, false);
    } else if (what != "time") {
        failed = checkAll(seed, what == "small");
    }
    if (failed == 0 && (what == "all" || what == "time")) {
        ceilings();
        timeWindows();
        timeChunks();
    }
    return failed == 0 ? 0 : 1;
}
