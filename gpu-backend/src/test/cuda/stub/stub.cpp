// Stands in for libcuda, NVRTC and cuBLASLt, so that the Java bindings themselves are called on a machine without a GPU:
// every entry point that the engine uses, over host memory. A module is a shared library that the emulator's compiler
// made (../emulator); launches run at once, or are kept while a stream is captured. What a call must hand over and get
// back is what NVIDIA's documentation says, so a pointer passed one level too deep or too shallow shows here.
//
// The file names of emulator.h and of g++ come from LRAM_EMULATOR and LRAM_COMPILER.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr int OUT_OF_MEMORY = 2;
constexpr int INVALID = 1;
constexpr size_t TOTAL = size_t(8) << 30;

struct Module {
    void* library;
};

struct Function {
    void (*kernel)(const void*);
    int (*emulate)(void (*)(const void*), int, int, int, int, int, const void*);
};

struct Graph {
    std::vector<std::function<void()>> work;
};

std::map<uint64_t, size_t> memory;
std::map<void*, size_t> pinned;
Graph* capture = nullptr;
void* context = nullptr;
int contexts = 0;
int sticky = 0;

// Within a block that was allocated, or the context breaks, as on a device.
bool inside(uint64_t address, size_t bytes) {
    auto block = memory.upper_bound(address);
    if (block == memory.begin()) {
        return false;
    }
    --block;
    return address + bytes <= block->first + block->second;
}

int checked(uint64_t address, size_t bytes) {
    if (sticky == 0 && !inside(address, bytes)) {
        sticky = 700;
    }
    return sticky;
}

void queue(std::function<void()> work) {
    if (capture != nullptr) {
        capture->work.push_back(std::move(work));
    } else {
        work();
    }
}

std::string temporary(const char* ending) {
    std::string name = std::string("/tmp/lram-stub-XXXXXX") + ending;
    close(mkstemps(name.data(), static_cast<int>(strlen(ending))));
    return name;
}

void writeFile(const std::string& name, const void* bytes, size_t n) {
    FILE* f = fopen(name.c_str(), "wb");
    fwrite(bytes, 1, n, f);
    fclose(f);
}

std::string readFile(const std::string& name) {
    std::string all;
    if (FILE* f = fopen(name.c_str(), "rb")) {
        char part[65536];
        for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) {
            all.append(part, n);
        }
        fclose(f);
    }
    return all;
}

// An ELF file's length, which a module's image does not come with: the end of its section table.
size_t elfLength(const unsigned char* image) {
    uint64_t table;
    uint16_t entry;
    uint16_t count;
    memcpy(&table, image + 40, 8);
    memcpy(&entry, image + 58, 2);
    memcpy(&count, image + 60, 2);
    return table + static_cast<size_t>(entry) * count;
}

// One word of the shell.
std::string quoted(const std::string& name) {
    std::string word = "'";
    for (char c : name) {
        word += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    return word + "'";
}

}  // namespace

extern "C" {

int cuInit(unsigned flags) { return flags == 0 ? 0 : INVALID; }

int cuDriverGetVersion(int* version) {
    *version = 13000;
    return 0;
}

int cuGetErrorName(int status, const char** name) {
    *name = status == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : (status == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_OTHER");
    return 0;
}

int cuDeviceGetCount(int* count) {
    *count = 1;
    return 0;
}

int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? 0 : 101;
}

int cuDeviceGetName(char* name, int length, int) {
    snprintf(name, static_cast<size_t>(length), "Stub GPU");
    return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 132; return 0;
        case 38: *value = 50 << 20; return 0;
        case 75: *value = 9; return 0;
        case 76: *value = 0; return 0;
        case 95: *value = 0; return 0;  // the emulator runs one block after the other
        case 97: *value = 227 << 10; return 0;
        default: return INVALID;
    }
}

int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = TOTAL;
    return 0;
}

int cuDevicePrimaryCtxRetain(void** out, int) {
    contexts++;
    *out = &contexts;
    return 0;
}

int cuDevicePrimaryCtxRelease_v2(int) { return contexts-- > 0 ? 0 : INVALID; }

int cuCtxSetCurrent(void* c) {
    context = c;
    return c == nullptr || c == &contexts ? 0 : INVALID;
}

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    *total = TOTAL;
    *free = TOTAL;
    for (auto& m : memory) {
        *free -= m.second;
    }
    return context == nullptr ? 201 : 0;
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    if (sticky != 0) {
        return sticky;
    }
    if (bytes > TOTAL) {
        return OUT_OF_MEMORY;
    }
    void* p = aligned_alloc(512, (bytes + 511) / 512 * 512);
    *address = reinterpret_cast<uint64_t>(p);
    memory[*address] = bytes;
    return 0;
}

int cuMemFree_v2(uint64_t address) {
    if (memory.erase(address) == 0) {
        return INVALID;
    }
    free(reinterpret_cast<void*>(address));
    return 0;
}

int cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
    *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    pinned[*out] = bytes;
    return flags == 3 ? 0 : INVALID;
}

int cuMemFreeHost(void* p) {
    if (pinned.erase(p) == 0) {
        return INVALID;
    }
    free(p);
    return 0;
}

int cuMemHostGetDevicePointer_v2(uint64_t* device, void* host, unsigned) {
    *device = reinterpret_cast<uint64_t>(host);
    return pinned.count(host) ? 0 : INVALID;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
    if (stream == nullptr || checked(to, bytes) != 0) {
        return stream == nullptr ? INVALID : sticky;
    }
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
}

int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
    if (stream == nullptr || checked(from, bytes) != 0) {
        return stream == nullptr ? INVALID : sticky;
    }
    memcpy(to, reinterpret_cast<void*>(from), bytes);
    return 0;
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
    if (stream == nullptr || checked(from, bytes) != 0 || checked(to, bytes) != 0) {
        return stream == nullptr ? INVALID : sticky;
    }
    queue([=] { memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes); });
    return 0;
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void* stream) {
    if (stream == nullptr || checked(to, bytes) != 0) {
        return stream == nullptr ? INVALID : sticky;
    }
    queue([=] { memset(reinterpret_cast<void*>(to), value, bytes); });
    return 0;
}

int cuStreamCreate(void** stream, unsigned flags) {
    *stream = malloc(1);
    return flags == 1 && context != nullptr ? 0 : INVALID;
}

int cuStreamQuery(void* stream) { return stream == nullptr ? INVALID : sticky; }

int cuStreamSynchronize(void* stream) { return stream == nullptr ? INVALID : sticky; }

int cuStreamDestroy_v2(void* stream) {
    free(stream);
    return 0;
}

int cuEventCreate(void** event, unsigned) {
    *event = malloc(1);
    return 0;
}

int cuEventRecord(void* event, void* stream) { return event == nullptr || stream == nullptr ? INVALID : 0; }

int cuEventSynchronize(void* event) { return event == nullptr ? INVALID : 0; }

int cuEventElapsedTime_v2(float* ms, void* from, void* to) {
    *ms = 1.5f;
    return from == nullptr || to == nullptr ? INVALID : 0;
}

int cuEventDestroy_v2(void* event) {
    free(event);
    return 0;
}

int cuModuleLoadData(void** out, const void* image) {
    std::string file = temporary(".so");
    writeFile(file, image, elfLength(static_cast<const unsigned char*>(image)));
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    unlink(file.c_str());
    if (library == nullptr) {
        return 200;
    }
    *out = new Module{library};
    return 0;
}

int cuModuleUnload(void* module) {
    delete static_cast<Module*>(module);  // its code stays mapped
    return 0;
}

int cuModuleGetFunction(void** out, void* module, const char* name) {
    void* library = static_cast<Module*>(module)->library;
    Function f;
    f.kernel = reinterpret_cast<void (*)(const void*)>(dlsym(library, name));
    f.emulate = reinterpret_cast<decltype(f.emulate)>(dlsym(library, "lram_emulate"));
    if (f.kernel == nullptr || f.emulate == nullptr) {
        return 500;
    }
    *out = new Function(f);
    return 0;
}

int cuFuncSetAttribute(void* function, int attribute, int value) {
    return function != nullptr && attribute == 8 && value <= 227 << 10 ? 0 : INVALID;
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void** extra) {
    if (sticky != 0) {
        return sticky;
    }
    if (stream == nullptr || extra != nullptr || by != 1 || bz != 1 || arguments == nullptr || context == nullptr) {
        return INVALID;
    }
    Function f = *static_cast<Function*>(function);
    std::vector<unsigned char> record(4096);
    memcpy(record.data(), arguments[0], record.size());
    // Its first field is an address for all kernels: one that was never allocated is an illegal access.
    uint64_t first;
    memcpy(&first, record.data(), 8);
    if (first != 0 && checked(first, 1) != 0 && pinned.count(reinterpret_cast<void*>(first)) == 0) {
        return 0;  // asynchronous: the next synchronisation says so
    }
    queue([=] {
        if (f.emulate(f.kernel, static_cast<int>(gx), static_cast<int>(gy), static_cast<int>(gz),
                      static_cast<int>(bx), static_cast<int>(shared), record.data()) != 0) {
            sticky = 719;
        }
    });
    return 0;
}

struct LaunchAttribute {
    int id;
    char pad[4];
    int value[16];
};

struct LaunchConfig {
    unsigned grid[3];
    unsigned block[3];
    unsigned shared;
    void* stream;
    const LaunchAttribute* attributes;
    unsigned count;
};

int cuLaunchKernelEx(const LaunchConfig* c, void* function, void** arguments, void** extra) {
    if (c->count != 1 || c->attributes->id != 6 || c->attributes->value[0] != 1) {
        return INVALID;
    }
    return cuLaunchKernel(function, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1], c->block[2], c->shared,
                          c->stream, arguments, extra);
}

int cuLaunchCooperativeKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                              unsigned shared, void* stream, void** arguments) {
    return cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, stream, arguments, nullptr);
}

int cuStreamBeginCapture_v2(void* stream, int mode) {
    if (stream == nullptr || mode != 1 || capture != nullptr) {
        return INVALID;
    }
    capture = new Graph;
    return 0;
}

int cuStreamEndCapture(void* stream, void** graph) {
    if (stream == nullptr || capture == nullptr) {
        return INVALID;
    }
    *graph = capture;
    capture = nullptr;
    return 0;
}

int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
    *executable = new Graph(*static_cast<Graph*>(graph));
    return flags == 0 ? 0 : INVALID;
}

int cuGraphLaunch(void* executable, void* stream) {
    if (stream == nullptr) {
        return INVALID;
    }
    for (auto& work : static_cast<Graph*>(executable)->work) {
        work();
    }
    return 0;
}

int cuGraphExecDestroy(void* executable) {
    delete static_cast<Graph*>(executable);
    return 0;
}

int cuGraphDestroy(void* graph) {
    delete static_cast<Graph*>(graph);
    return 0;
}

// ---- NVRTC

struct Program {
    std::string source;
    std::string name;
    std::vector<std::string> headers;
    std::vector<std::string> headerNames;
    std::string log;
    std::string image;
};

int nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return 0;
}

const char* nvrtcGetErrorString(int status) { return status == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_OTHER"; }

int nvrtcGetNumSupportedArchs(int* count) {
    *count = 3;
    return 0;
}

int nvrtcGetSupportedArchs(int* architectures) {
    architectures[0] = 80;
    architectures[1] = 90;
    architectures[2] = 100;
    return 0;
}

int nvrtcCreateProgram(void** out, const char* source, const char* name, int count, const char* const* headers,
                       const char* const* names) {
    auto* p = new Program;
    p->source = source;
    p->name = name;
    for (int i = 0; i < count; i++) {
        p->headers.push_back(headers[i]);
        p->headerNames.push_back(names[i]);
    }
    *out = p;
    return 0;
}

int nvrtcCompileProgram(void* program, int count, const char* const* options) {
    auto* p = static_cast<Program*>(program);
    char folder[] = "/tmp/lram-stub-XXXXXX";
    if (mkdtemp(folder) == nullptr) {
        return 5;
    }
    std::string at = std::string(folder) + "/";
    writeFile(at + p->name, p->source.data(), p->source.size());
    for (size_t i = 0; i < p->headers.size(); i++) {
        writeFile(at + p->headerNames[i], p->headers[i].data(), p->headers[i].size());
    }
    std::string command = quoted(getenv("LRAM_COMPILER")) +
                          " -std=c++17 -nostdinc++ -O1 -march=native -ffp-contract=fast -fPIC -shared -fvisibility=hidden -include " +
                          quoted(getenv("LRAM_EMULATOR")) + " -x c++ " + quoted(at + p->name) + " -o " + quoted(at + "image.so");
    bool architecture = false;
    for (int i = 0; i < count; i++) {
        std::string option = options[i];
        architecture |= option == "--gpu-architecture=sm_90a";
        if (option.rfind("-D", 0) == 0) {
            command += " " + option;
        }
    }
    command += " > " + at + "log 2>&1";
    int status = system(command.c_str());
    p->log = readFile(at + "log");
    p->image = readFile(at + "image.so");
    system(("rm -r " + quoted(folder)).c_str());
    return architecture ? (status == 0 ? 0 : 6) : 5;
}

int nvrtcGetProgramLogSize(void* program, size_t* size) {
    *size = static_cast<Program*>(program)->log.size() + 1;
    return 0;
}

int nvrtcGetProgramLog(void* program, char* log) {
    strcpy(log, static_cast<Program*>(program)->log.c_str());
    return 0;
}

int nvrtcGetCUBINSize(void* program, size_t* size) {
    *size = static_cast<Program*>(program)->image.size();
    return 0;
}

int nvrtcGetCUBIN(void* program, char* image) {
    auto& from = static_cast<Program*>(program)->image;
    memcpy(image, from.data(), from.size());
    return 0;
}

int nvrtcDestroyProgram(void** program) {
    delete static_cast<Program*>(*program);
    *program = nullptr;
    return 0;
}

// ---- cuBLASLt, fp32

struct Product {
    int transA;
    int transB;
    int epilogue;
    const float* bias;
};

struct Layout {
    uint64_t rows;
    uint64_t columns;
    int64_t ld;
    int batch;
    int64_t stride;
};

size_t cublasLtGetVersion() { return 130000; }

int cublasLtCreate(void** handle) {
    *handle = malloc(1);
    return context == nullptr ? 1 : 0;
}

int cublasLtDestroy(void* handle) {
    free(handle);
    return 0;
}

int cublasLtMatmulDescCreate(Product** product, int compute, int scale) {
    *product = new Product{0, 0, 1, nullptr};
    return compute == 68 && scale == 0 ? 0 : 7;
}

int cublasLtMatmulDescSetAttribute(Product* p, int attribute, const void* value, size_t bytes) {
    switch (attribute) {
        case 3: memcpy(&p->transA, value, 4); return bytes == 4 ? 0 : 7;
        case 4: memcpy(&p->transB, value, 4); return bytes == 4 ? 0 : 7;
        case 7: memcpy(&p->epilogue, value, 4); return bytes == 4 ? 0 : 7;
        case 8: memcpy(&p->bias, value, 8); return bytes == 8 ? 0 : 7;
        default: return 7;
    }
}

int cublasLtMatmulDescDestroy(Product* p) {
    delete p;
    return 0;
}

int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
    *layout = new Layout{rows, columns, ld, 1, 0};
    return type == 0 && ld >= static_cast<int64_t>(rows) ? 0 : 7;
}

int cublasLtMatrixLayoutSetAttribute(Layout* l, int attribute, const void* value, size_t bytes) {
    switch (attribute) {
        case 5: memcpy(&l->batch, value, 4); return bytes == 4 ? 0 : 7;
        case 6: memcpy(&l->stride, value, 8); return bytes == 8 ? 0 : 7;
        default: return 7;
    }
}

int cublasLtMatrixLayoutDestroy(Layout* l) {
    delete l;
    return 0;
}

int cublasLtMatmulPreferenceCreate(void** preference) {
    *preference = malloc(1);
    return 0;
}

int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void*, size_t bytes) {
    return preference != nullptr && bytes == (attribute == 1 ? 8u : 4u) ? 0 : 7;
}

int cublasLtMatmulPreferenceDestroy(void* preference) {
    free(preference);
    return 0;
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, Product* product, Layout* a, Layout* b, Layout* c, Layout* d,
                                   void* preference, int wanted, void* results, int* found) {
    if (!handle || !product || !a || !b || !c || !d || !preference || wanted != 1) {
        return 7;
    }
    memset(results, 0, 96);
    memset(results, 0x5a, 64);
    *found = 1;
    return 0;
}

int cublasLtMatmul(void* handle, Product* product, const float* alpha, const float* a, Layout* la, const float* b,
                   Layout* lb, const float* beta, const float* c, Layout* lc, float* d, Layout* ld,
                   const void* algorithm, void* workspace, size_t workspaceBytes, void* stream) {
    if (!handle || !stream || !workspace || workspaceBytes != 32u << 20 || c != d || lc != ld || la == nullptr ||
        static_cast<const unsigned char*>(algorithm)[63] != 0x5a) {
        return 7;
    }
    Product p = *product;
    Layout A = *la;
    Layout B = *lb;
    Layout D = *ld;
    float scale = *alpha;
    float keep = *beta;
    queue([=] {
        uint64_t depth = p.transA ? A.rows : A.columns;
        for (int n = 0; n < D.batch; n++) {
            for (uint64_t j = 0; j < D.columns; j++) {
                for (uint64_t i = 0; i < D.rows; i++) {
                    double sum = 0;
                    for (uint64_t k = 0; k < depth; k++) {
                        double x = a[n * A.stride + (p.transA ? k + i * A.ld : i + k * A.ld)];
                        double y = b[n * B.stride + (p.transB ? j + k * B.ld : k + j * B.ld)];
                        sum += x * y;
                    }
                    float* to = d + n * D.stride + i + j * D.ld;
                    double value = scale * sum + (keep == 0 ? 0 : keep * *to) + (p.epilogue & 4 ? p.bias[i] : 0);
                    *to = static_cast<float>(p.epilogue & 2 && value < 0 ? 0 : value);
                }
            }
        }
    });
    return 0;
}

}  // extern "C"
