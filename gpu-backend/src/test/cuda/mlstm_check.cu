// Checks and times the mLSTM kernels without Java: fp64 references on the CPU, fresh random inputs, poisoned outputs.
//
// Build: nvcc -std=c++17 -O3 --split-compile=0 -gencode=arch=compute_90a,code=sm_90a mlstm_check.cu -lcublas
//             -o mlstm_check
// Run:   mlstm_check [check|small|time|all] [seed]
//        small: narrow heads only, for compute-sanitizer. Exit code 1 if any case fails.
#define LRAM_TEMPLATES_ONLY
#include "../../main/cuda/mlstm_backward.cu"
#include "../../main/cuda/mlstm_forward.cu"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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
using Numbers = std::vector<double>;

struct Case {
    const char* gates;  // "n01": N(0,1); "30": each +30 or -30
    int batch, tokens, heads, dimQk, dimHv, chunk;
    bool sigmoid, normalize, initial, last;
};

template <typename T>
static T* deviceAlloc(size_t n, int poison = 0xff) {
    T* p = nullptr;
    CUDA(cudaMalloc(&p, std::max<size_t>(n, 1) * sizeof(T)));
    CUDA(cudaMemset(p, poison, std::max<size_t>(n, 1) * sizeof(T)));
    return p;
}

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

template <typename T>
static cudaError_t launchStates(const MlstmForward& p, int pairs, cudaStream_t stream) {
    auto kernel = lram::mlstmStatesKernel<T>;
    int bytes = lram::statesSharedBytes();
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) {
        return error;
    }
    constexpr int width = lram::Unit<T>::WIDTH;
    kernel<<<dim3((p.dimQk + width - 1) / width, (p.dimHv + width - 1) / width, pairs), 2 * width, bytes, stream>>>(p);
    return cudaGetLastError();
}

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
static cudaError_t forward(const MlstmForward& p, int pairs, cudaStream_t stream) {
    if (p.chunks == 1 && p.initialC == nullptr && p.lastC == nullptr) {
        return launchBySize<T, false>(p, pairs, stream);
    }
    cudaError_t error = launchStates<T>(p, pairs, stream);
    if (error != cudaSuccess) {
        return error;
    }
    return p.chunks == 1 && p.initialC == nullptr ? launchBySize<T, false>(p, pairs, stream)
                                                  : launchBySize<T, true>(p, pairs, stream);
}

template <typename T, int GROUPS>
static cudaError_t launchBackward(const MlstmBackward& p, int pairs, cudaStream_t stream) {
    auto kernel = lram::mlstmBackwardKernel<T, GROUPS>;
    int bytes = lram::backwardSharedBytes(GROUPS, lram::Unit<T>::WIDTH);
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) {
        return error;
    }
    kernel<<<pairs, 32 * GROUPS, bytes, stream>>>(p);
    return cudaGetLastError();
}

template <typename T>
static cudaError_t backward(const MlstmBackward& p, int pairs, cudaStream_t stream) {
    constexpr int most = sizeof(T) == 2 ? 10 : 6;
    return p.tokens <= 64 ? launchBackward<T, 4>(p, pairs, stream) : launchBackward<T, most>(p, pairs, stream);
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

    MlstmForward p = {};
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
    p.states = deviceAlloc<T>(pairs * p.chunks * cells);
    p.statesN = deviceAlloc<float>(static_cast<size_t>(pairs) * p.chunks * x.dimQk);
    p.statesM = deviceAlloc<float>(static_cast<size_t>(pairs) * p.chunks);
    if (x.initial) {
        p.initialC = upload(c0);
        p.initialN = upload(n0);
        p.initialM = upload(m0);
    }
    if (x.last) {
        p.lastC = deviceAlloc<float>(pairs * cells);
        p.lastN = deviceAlloc<float>(static_cast<size_t>(pairs) * x.dimQk);
        p.lastM = deviceAlloc<float>(pairs);
    }
    p.scale = 1.f / std::sqrt(static_cast<float>(x.dimQk));
    p.eps = eps;
    p.sigmoid = x.sigmoid;
    p.normalize = x.normalize;
    CUDA(forward<T>(p, pairs, nullptr));
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
        const std::vector<float> c = download(p.lastC, pairs * cells);
        const std::vector<float> n = download(p.lastN, static_cast<size_t>(pairs) * x.dimQk);
        const std::vector<float> m = download(p.lastM, pairs);
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
    for (const void* d :
         {p.q, p.k, p.v, static_cast<const void*>(p.gateI), static_cast<const void*>(p.gateF),
          static_cast<const void*>(p.h), static_cast<const void*>(p.normaliser), static_cast<const void*>(p.states),
          static_cast<const void*>(p.statesN), static_cast<const void*>(p.statesM),
          static_cast<const void*>(p.initialC), static_cast<const void*>(p.initialN),
          static_cast<const void*>(p.initialM), static_cast<const void*>(p.lastC), static_cast<const void*>(p.lastN),
          static_cast<const void*>(p.lastM)}) {
        CUDA(cudaFree(const_cast<void*>(d)));
    }
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
};

// Gradients in the quadratic form, fp64; itself checked against differences of recurrent().
static Gradients quadratic(const Case& x, bool exact, const Numbers& q, const Numbers& k, const Numbers& v,
                           const Numbers& gi, const Numbers& gf, const Numbers& dh, double eps) {
    Gradients out = {Numbers(q.size()),  Numbers(k.size()),  Numbers(v.size()),
                     Numbers(gi.size()), Numbers(gf.size()), Numbers(gf.size())};
    const double scale = 1 / std::sqrt(static_cast<double>(x.dimQk));
    auto one = [&](int pair) {
        auto token = [&](int t) {
            return (static_cast<size_t>(pair / x.heads) * x.tokens + t) * x.heads + pair % x.heads;
        };
        Numbers b(x.tokens), u(x.tokens), change(x.tokens);
        double sum = 0, top = 0;
        for (int t = 0; t < x.tokens; t++) {
            b[t] = sum += logSigmoid(gf[token(t)]);
            u[t] = (x.sigmoid ? logSigmoid(gi[token(t)]) : gi[token(t)]) - b[t];
        }
        for (int t = 0; t < x.tokens; t++) {
            const size_t a = token(t);
            top = x.sigmoid ? -b[t] : std::max(top, u[t]);
            Numbers w(t + 1), score(t + 1), value(t + 1);
            double n = 0, dot = 0;
            for (int s = 0; s <= t; s++) {
                const size_t c = token(s);
                w[s] = scale * std::exp(u[s] - top);
                for (int d = 0; d < x.dimQk; d++) score[s] += q[a * x.dimQk + d] * k[c * x.dimQk + d];
                for (int e = 0; e < x.dimHv; e++) value[s] += dh[a * x.dimHv + e] * v[c * x.dimHv + e];
                n += score[s] * w[s];
                dot += score[s] * w[s] * value[s];
            }
            const double least = std::exp(-(b[t] + top));
            const double den = x.normalize ? std::max(std::fabs(n), least) + eps : 1;
            const double dn = x.normalize && exact && std::fabs(n) > least ? -(n > 0 ? 1 : -1) * dot / (den * den) : 0;
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
    MlstmForward f = {};
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
    CUDA(forward<T>(f, pairs, nullptr));
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
        ok &= errors[j] <= most * (x.tokens == 1 ? 10 : 1);
    }
    std::printf(
            "%-4s %-4s backward%s gate=%s%s gates=%-3s B%d S%-3d NH%d %d/%d  dq %.1e dk %.1e dv %.1e di %.1e df %.1e\n",
            ok ? "ok" : "FAIL", sizeof(T) == 2 ? "bf16" : "fp32", exact ? "" : "-published", x.sigmoid ? "sig" : "exp",
            x.normalize ? "" : "-raw", x.gates, x.batch, x.tokens, x.heads, x.dimQk, x.dimHv, errors[0], errors[1],
            errors[2], errors[3], errors[4]);
    for (const void* d :
         {f.q, f.k, f.v, static_cast<const void*>(f.gateI), static_cast<const void*>(f.gateF),
          static_cast<const void*>(f.h), static_cast<const void*>(f.normaliser), p.dh, static_cast<const void*>(p.dq),
          static_cast<const void*>(p.dk), static_cast<const void*>(p.dv), static_cast<const void*>(p.di),
          static_cast<const void*>(p.df)}) {
        CUDA(cudaFree(const_cast<void*>(d)));
    }
    return ok;
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
    return failed;
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
    const size_t bytes = size_t(2) << 30;
    __nv_bfloat16* from = randomBf16(bytes / 2);
    char* to = deviceAlloc<char>(bytes);
    double ms = medianMs([&] { CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice)); }, 1, 15);
    copyTerabytes = 2.0 * bytes / ms * 1e-9;
    std::printf("copy of 2 GiB, bytes read and written: %.3f TB/s\n", copyTerabytes);
    CUDA(cudaFree(from));
    CUDA(cudaFree(to));
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
    CUDA(cudaFree(a));
    CUDA(cudaFree(b));
    CUDA(cudaFree(c));
#endif
}

struct Problem {
    const char* name;
    int batch, tokens, heads, dimQk, dimHv, chunk;
    bool sigmoid;
    double published;
};

static std::vector<MlstmForward> problemInputs(const Problem& x, int sets) {
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    const int pairs = x.batch * x.heads;
    std::vector<MlstmForward> in;
    for (int s = 0; s < sets; s++) {
        MlstmForward p = {};
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
        if (p.chunks > 1) {
            if (s == 0) {
                p.states = deviceAlloc<__nv_bfloat16>(static_cast<size_t>(pairs) * p.chunks * x.dimQk * x.dimHv);
                p.statesN = deviceAlloc<float>(static_cast<size_t>(pairs) * p.chunks * x.dimQk);
                p.statesM = deviceAlloc<float>(static_cast<size_t>(pairs) * p.chunks);
            } else {
                p.states = in[0].states;
                p.statesN = in[0].statesN;
                p.statesM = in[0].statesM;
            }
        }
        p.scale = 1.f / std::sqrt(static_cast<float>(x.dimQk));
        p.eps = 1e-6f;
        p.sigmoid = x.sigmoid;
        p.normalize = 1;
        in.push_back(p);
    }
    return in;
}

static void release(std::vector<MlstmForward>& in) {
    for (size_t s = 0; s < in.size(); s++) {
        for (const void* d :
             {in[s].q, in[s].k, in[s].v, static_cast<const void*>(in[s].gateI), static_cast<const void*>(in[s].gateF),
              static_cast<const void*>(in[s].h), static_cast<const void*>(in[s].normaliser)}) {
            CUDA(cudaFree(const_cast<void*>(d)));
        }
    }
    CUDA(cudaFree(in[0].states));
    CUDA(cudaFree(in[0].statesN));
    CUDA(cudaFree(in[0].statesM));
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

static void timeBackward(const Problem& x, std::vector<MlstmForward>& in, double published) {
    const size_t tokens = static_cast<size_t>(x.batch) * x.tokens * x.heads;
    std::vector<MlstmBackward> back;
    for (auto& f : in) {
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
    for (auto& p : back) {
        for (const void* d :
             {p.dh, static_cast<const void*>(p.dq), static_cast<const void*>(p.dk), static_cast<const void*>(p.dv),
              static_cast<const void*>(p.di), static_cast<const void*>(p.df)}) {
            CUDA(cudaFree(const_cast<void*>(d)));
        }
    }
}

template <int WARPS, int GROUPS, int STAGES, int BLOCKS>
static void timeVariant(const Problem& x, std::vector<MlstmForward>& in) {
    char name[64];
    std::snprintf(name, sizeof name, "warps %d stages %d/%d", WARPS, STAGES, BLOCKS);
    timeOne(x, in.size(), name, forwardFloor(x), x.published, [&](size_t s) {
        return launchForward<__nv_bfloat16, WARPS, GROUPS, STAGES, false, BLOCKS>(in[s], x.batch * x.heads, nullptr);
    });
}

static void timeAll() {
    ceilings();
    const Problem windows[] = {{"lram16m", 128, 150, 4, 256, 256, 150, false, 0.56},
                               {"lram206m", 128, 150, 4, 640, 640, 150, false, 2.78}};
    for (const Problem& x : windows) {
        auto in = problemInputs(x, 4);
        timeVariant<5, 10, 2, 2>(x, in);
        timeVariant<5, 10, 2, 3>(x, in);
        timeVariant<5, 10, 3, 2>(x, in);
        timeVariant<10, 10, 2, 1>(x, in);
        timeVariant<10, 10, 3, 1>(x, in);
        timeVariant<3, 10, 2, 4>(x, in);
        timeBackward(x, in, x.dimQk == 256 ? 2.48 : 9.84);
        release(in);
    }
    const Problem large[] = {{"7b-s8192-exp", 8, 8192, 8, 256, 512, 128, false, 6.85},
                             {"7b-s8192-sig", 8, 8192, 8, 256, 512, 128, true, 4.31}};
    for (const Problem& x : large) {
        auto in = problemInputs(x, 2);
        const int pairs = x.batch * x.heads;
        timeOne(x, in.size(), "forward", forwardFloor(x), x.published,
                [&](size_t s) { return forward<__nv_bfloat16>(in[s], pairs, nullptr); });
        timeOne(x, in.size(), "forward, states alone", forwardFloor(x), x.published,
                [&](size_t s) { return launchStates<__nv_bfloat16>(in[s], pairs, nullptr); });
        release(in);
    }
}

int main(int count, char** arguments) {
    std::string what = count > 1 ? arguments[1] : "all";
    unsigned long long seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : std::random_device{}();
    cudaDeviceProp device;
    CUDA(cudaGetDeviceProperties(&device, 0));
    std::printf("%s, %d multiprocessors, L2 %d MiB, %zu KiB shared a block\n", device.name, device.multiProcessorCount,
                device.l2CacheSize >> 20, device.sharedMemPerBlockOptin >> 10);
    int failed = what == "time" ? 0 : checkAll(seed, what == "small");
    if (failed == 0 && (what == "all" || what == "time")) {
        timeAll();
    }
    return failed == 0 ? 0 : 1;
}
