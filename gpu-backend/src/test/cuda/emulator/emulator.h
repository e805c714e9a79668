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

enum State : unsigned char { AT_BARRIER, AT_WARP, DONE };
enum Error { NONE = 0, STUCK = 1, WARP_INCOMPLETE = 2, TOO_MANY_THREADS = 3, TOO_MUCH_SHARED = 4 };

constexpr int MOST_THREADS = 1024;
constexpr int WARP = 32;
constexpr int SHARED = 232448;
constexpr size_t STACK = 128 << 10;

// Stacks begin so many bytes apart, beside their distance, that those of a block do not share a few lines of a cache.
constexpr size_t SKEW = 5 * 64;
constexpr size_t SKEWS = 64;

alignas(1024) static unsigned char shared[SHARED];
static State states[MOST_THREADS];            // of threads that do not run
static int stopped[3][MOST_THREADS / WARP];   // threads of a warp in each state
static void* at[MOST_THREADS];
static unsigned char* stacks[MOST_THREADS];
static int order[MOST_THREADS];               // of the threads that may go on
static int ready;
static int turn;
static void* scheduler;
static int running;
static void (*kernel)(const void*);
static const void* record;
static unsigned long long slots[2][MOST_THREADS];
static unsigned char side[MOST_THREADS];
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

// The next thread in order, or the scheduler after the last.
static __forceinline__ void* next() {
    if (turn == ready) {
        return scheduler;
    }
    running = order[turn++];
    threadIdx.x = running;
    return at[running];
}

static __attribute__((noinline)) void yield(State state) {
    void** here = &at[running];
    states[running] = state;
    stopped[state][running / WARP]++;
    lram_switch_fiber(here, next());
}

static void body() {
    kernel(record);
    for (;;) {
        yield(DONE);
    }
}

static void prepare(int t) {
    if (stacks[t] == nullptr) {
        stacks[t] = static_cast<unsigned char*>(malloc(STACK));
    }
    size_t end = (reinterpret_cast<size_t>(stacks[t]) + STACK) & ~static_cast<size_t>(15);
    void** top = reinterpret_cast<void**>(end - t % SKEWS * SKEW);
    *--top = nullptr;  // where body would return to, and the alignment a function sees on entry
    *--top = reinterpret_cast<void*>(&body);
    for (int r = 0; r < 6; r++) {
        *--top = nullptr;
    }
    at[t] = top;
}

// 0 to below n.
static __forceinline__ int draw(int n) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((seed >> 32) * static_cast<unsigned>(n) >> 32);
}

// At a random place in order.
static __forceinline__ void add(int t) {
    int j = draw(ready + 1);
    order[ready++] = order[j];
    order[j] = t;
}

// Runs every thread in order up to where it stops.
static void phase() {
    turn = 0;
    lram_switch_fiber(&scheduler, next());
}

// Puts in order who may go on now that all have stopped: warps whose lanes have met, or else the threads at the barrier;
// nobody at the end.
static int release(int threads) {
    int waiting = 0;
    int over = 0;
    ready = 0;
    for (int w = 0; w < threads / WARP; w++) {
        int met = stopped[AT_WARP][w];
        int done = stopped[DONE][w];
        if (met > 0 && done > 0) {
            return WARP_INCOMPLETE;
        }
        if (met == WARP) {
            stopped[AT_WARP][w] = 0;
            for (int t = w * WARP; t < (w + 1) * WARP; t++) {
                add(t);
            }
        }
        over += done;
        waiting += stopped[AT_BARRIER][w];
    }
    if (ready > 0) {
        return NONE;
    }
    if (waiting + over < threads) {
        return STUCK;
    }
    for (int t = 0; t < threads && waiting > 0; t++) {
        if (states[t] == AT_BARRIER) {
            add(t);
        }
    }
    memset(stopped[AT_BARRIER], 0, sizeof stopped[AT_BARRIER]);
    return NONE;
}

static int sharedBytes;

static int block(int threads) {
    memset(shared, 0xff, static_cast<size_t>(sharedBytes));  // NaN
    memset(stopped, 0, sizeof stopped);
    memset(side, 0, sizeof side);
    ready = 0;
    for (int t = 0; t < threads; t++) {
        prepare(t);
        add(t);
    }
    while (ready > 0) {
        phase();
        int error = release(threads);
        if (error != NONE) {
            return error;
        }
    }
    return NONE;
}

// Shows a number to the thread's warp and gives those of its lanes. Two sets of slots in turn: who writes one has seen
// every lane leave it.
static inline unsigned long long* show(const void* x, size_t bytes) {
    unsigned long long* own = slots[side[running] ^= 1];
    memcpy(&own[running], x, bytes);
    yield(AT_WARP);
    return &own[running & ~(WARP - 1)];
}

template <typename T>
static T exchange(T x, int from) {
    static_assert(sizeof(T) <= 8, "a register or two");
    T y;
    memcpy(&y, &show(&x, sizeof x)[from], sizeof y);
    return y;
}

static inline bool any(int x) {
    const unsigned long long* lanes = show(&x, sizeof x);
    for (int lane = 0; lane < WARP; lane++) {
        if (static_cast<int>(lanes[lane]) != 0) {
            return true;
        }
    }
    return false;
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

static inline int __any_sync(unsigned, int x) { return emulator::any(x); }

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
