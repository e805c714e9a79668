// Runs our plain CUDA kernels on the host: one block after the other, its threads as fibers that take turns at barriers
// and warp operations. Between two of these the threads run in an order drawn anew each time, so that results that
// depend on it, as those of a missing barrier do, do not repeat. No concurrency, no memory model: what only a GPU shows
// (speed, races inside one phase, alignment, limits of its resources) does not show here.
//
// Included before the kernels' source (g++ -include); x86-64 only.
#pragma once
#define LRAM_EMULATED 1
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __int_as_float(x) emulator::floatOf(x)
#define __uint_as_float(x) emulator::floatOf(static_cast<int>(x))
#define __float_as_uint(x) emulator::bitsOf(x)
#define __shared__ static
#define LRAM_KERNEL(name, Record)                                                                          \
    static void name##Body(const Record& p);                                                               \
    extern "C" __attribute__((visibility("default"))) void name(const void* record) {                      \
        name##Body(*static_cast<const Record*>(record));                                                   \
    }                                                                                                      \
    static void name##Body(const Record& p)
#define LRAM_KERNEL_OF(name, Record, threads, blocks) LRAM_KERNEL(name, Record)
#define LRAM_DYNAMIC_SHARED(Type, name) Type* const name = reinterpret_cast<Type*>(emulator::shared)

struct EmulatedIndex {
    int x;
    int y;
    int z;
};

struct alignas(8) uint2 {
    unsigned x;
    unsigned y;
};

struct alignas(16) uint4 {
    unsigned x;
    unsigned y;
    unsigned z;
    unsigned w;
};

struct alignas(16) float4 {
    float x;
    float y;
    float z;
    float w;
};

static EmulatedIndex threadIdx;
static EmulatedIndex blockIdx;
static EmulatedIndex blockDim;
static EmulatedIndex gridDim;

namespace emulator {

static inline float floatOf(int bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline unsigned bitsOf(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

enum State { READY, AT_BARRIER, AT_WARP, DONE };
enum Error { NONE = 0, STUCK = 1, WARP_INCOMPLETE = 2, TOO_MANY_THREADS = 3, TOO_MUCH_SHARED = 4 };

constexpr int MOST_THREADS = 1024;
constexpr int SHARED = 232448;
constexpr size_t STACK = 128 << 10;

struct Fiber {
    void* at;
    State state;
    unsigned char* stack;
};

alignas(1024) static unsigned char shared[SHARED];
static Fiber fibers[MOST_THREADS];
static void* scheduler;
static int running;
static void (*kernel)(const void*);
static const void* record;
static unsigned long long slots[MOST_THREADS];
static unsigned long long seed = 1;

extern "C" void lram_switch_fiber(void** from, void* to);
asm(".text\n"
    ".local lram_switch_fiber\n"
    "lram_switch_fiber:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n");

static void yield(State state) {
    Fiber& f = fibers[running];
    f.state = state;
    lram_switch_fiber(&f.at, scheduler);
}

static void body() {
    kernel(record);
    for (;;) {
        yield(DONE);
    }
}

static void prepare(Fiber& f) {
    if (f.stack == nullptr) {
        f.stack = static_cast<unsigned char*>(malloc(STACK));
    }
    void** top = reinterpret_cast<void**>((reinterpret_cast<size_t>(f.stack) + STACK) & ~static_cast<size_t>(15));
    *--top = nullptr;  // where body would return to, and the alignment a function sees on entry
    *--top = reinterpret_cast<void*>(&body);
    for (int r = 0; r < 6; r++) {
        *--top = nullptr;
    }
    f.at = top;
    f.state = READY;
}

static unsigned next() {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<unsigned>(seed >> 33);
}

// Runs every ready thread up to its next barrier, in a random order.
static bool phase(int threads) {
    static int order[MOST_THREADS];
    int n = 0;
    for (int t = 0; t < threads; t++) {
        if (fibers[t].state == READY) {
            order[n++] = t;
        }
    }
    for (int i = n - 1; i > 0; i--) {
        int j = static_cast<int>(next() % static_cast<unsigned>(i + 1));
        int t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < n; i++) {
        running = order[i];
        threadIdx = {running, 0, 0};
        lram_switch_fiber(&scheduler, fibers[running].at);
    }
    return n > 0;
}

static int release(int threads) {
    bool released = false;
    for (int w = 0; w < threads; w += 32) {
        int waiting = 0;
        int lanes = threads - w < 32 ? threads - w : 32;
        int done = 0;
        for (int t = w; t < w + lanes; t++) {
            waiting += fibers[t].state == AT_WARP;
            done += fibers[t].state == DONE;
        }
        if (waiting > 0 && done > 0) {
            return WARP_INCOMPLETE;
        }
        if (waiting == lanes) {
            for (int t = w; t < w + lanes; t++) {
                fibers[t].state = READY;
            }
            released = true;
        }
    }
    if (released) {
        return NONE;
    }
    for (int t = 0; t < threads; t++) {
        if (fibers[t].state != AT_BARRIER && fibers[t].state != DONE) {
            return STUCK;
        }
    }
    for (int t = 0; t < threads; t++) {
        if (fibers[t].state == AT_BARRIER) {
            fibers[t].state = READY;
        }
    }
    return NONE;
}

static bool allDone(int threads) {
    for (int t = 0; t < threads; t++) {
        if (fibers[t].state != DONE) {
            return false;
        }
    }
    return true;
}

static int sharedBytes;

static int block(int threads) {
    memset(shared, 0xff, static_cast<size_t>(sharedBytes));  // NaN
    for (int t = 0; t < threads; t++) {
        prepare(fibers[t]);
    }
    while (true) {
        phase(threads);
        if (allDone(threads)) {
            return NONE;
        }
        int error = release(threads);
        if (error != NONE) {
            return error;
        }
    }
}

template <typename T>
static T exchange(T x, int from) {
    static_assert(sizeof(T) <= 8, "a register or two");
    memcpy(&slots[running], &x, sizeof x);
    yield(AT_WARP);
    T y;
    memcpy(&y, &slots[(running & ~31) + from], sizeof y);
    yield(AT_WARP);
    return y;
}

}  // namespace emulator

extern "C" __attribute__((visibility("default"))) int lram_emulate(void (*kernel)(const void*), int gridX, int gridY,
                                                                    int gridZ, int threads, int sharedBytes,
                                                                    const void* record) {
    if (threads < 1 || threads > emulator::MOST_THREADS || threads % 32 != 0) {
        return emulator::TOO_MANY_THREADS;
    }
    if (sharedBytes > emulator::SHARED) {
        return emulator::TOO_MUCH_SHARED;
    }
    emulator::sharedBytes = sharedBytes;
    emulator::kernel = kernel;
    emulator::record = record;
    gridDim = {gridX, gridY, gridZ};
    blockDim = {threads, 1, 1};
    for (int z = 0; z < gridZ; z++) {
        for (int y = 0; y < gridY; y++) {
            for (int x = 0; x < gridX; x++) {
                blockIdx = {x, y, z};
                int error = emulator::block(threads);
                if (error != emulator::NONE) {
                    return error;
                }
            }
        }
    }
    return emulator::NONE;
}

static inline void __syncthreads() { emulator::yield(emulator::AT_BARRIER); }

static inline void __syncwarp() { emulator::yield(emulator::AT_WARP); }

template <typename T>
static inline T __shfl_xor_sync(unsigned, T x, int mask) {
    return emulator::exchange(x, (emulator::running & 31) ^ mask);
}

static inline int __any_sync(unsigned warp, int x) {
    int any = x != 0;
    for (int mask = 16; mask > 0; mask /= 2) {
        any |= __shfl_xor_sync(warp, any, mask);
    }
    return any;
}

template <typename T>
static inline T __shfl_sync(unsigned, T x, int from) {
    return emulator::exchange(x, from & 31);
}

template <typename T>
static inline T __shfl_up_sync(unsigned, T x, int delta) {
    int lane = emulator::running & 31;
    return emulator::exchange(x, lane >= delta ? lane - delta : lane);
}

static inline int atomicCAS(int* at, int expected, int value) {
    int old = *at;
    if (old == expected) {
        *at = value;
    }
    return old;
}

static inline unsigned long long atomicMin(unsigned long long* at, unsigned long long value) {
    unsigned long long old = *at;
    if (value < old) {
        *at = value;
    }
    return old;
}

static inline void __threadfence_system() {}

static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }

static inline int min(int a, int b) { return a < b ? a : b; }

static inline int max(int a, int b) { return a > b ? a : b; }
