package ai.lram.backend.cuda;

/**
 * Every function of NVIDIA's libraries that the engine may call. The bindings hold more functions than the libraries of CUDA 13.0; a call
 * of one that is missing ends the process without an exception. So this list is the only gate: a test holds the classes of this package to
 * it, and {@link Discovery} looks every symbol up in the libraries found before the first call.
 *
 * <p>The symbol differs from the name where the header maps a name to its newest version.
 */
enum EntryPoint {
    INIT(Library.DRIVER, "cuInit"),
    DRIVER_GET_VERSION(Library.DRIVER, "cuDriverGetVersion"),
    GET_ERROR_NAME(Library.DRIVER, "cuGetErrorName"),
    DEVICE_GET_COUNT(Library.DRIVER, "cuDeviceGetCount"),
    DEVICE_GET(Library.DRIVER, "cuDeviceGet"),
    DEVICE_GET_NAME(Library.DRIVER, "cuDeviceGetName"),
    DEVICE_GET_ATTRIBUTE(Library.DRIVER, "cuDeviceGetAttribute"),
    DEVICE_TOTAL_MEM(Library.DRIVER, "cuDeviceTotalMem", "cuDeviceTotalMem_v2"),
    PRIMARY_CTX_RETAIN(Library.DRIVER, "cuDevicePrimaryCtxRetain"),
    PRIMARY_CTX_RELEASE(Library.DRIVER, "cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2"),
    CTX_SET_CURRENT(Library.DRIVER, "cuCtxSetCurrent"),
    MEM_GET_INFO(Library.DRIVER, "cuMemGetInfo", "cuMemGetInfo_v2"),
    MEM_ALLOC(Library.DRIVER, "cuMemAlloc", "cuMemAlloc_v2"),
    MEM_FREE(Library.DRIVER, "cuMemFree", "cuMemFree_v2"),
    MEM_HOST_ALLOC(Library.DRIVER, "cuMemHostAlloc"),
    MEM_FREE_HOST(Library.DRIVER, "cuMemFreeHost"),
    MEM_HOST_GET_DEVICE_POINTER(Library.DRIVER, "cuMemHostGetDevicePointer", "cuMemHostGetDevicePointer_v2"),
    MEMCPY_HTOD_ASYNC(Library.DRIVER, "cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2"),
    MEMCPY_DTOH_ASYNC(Library.DRIVER, "cuMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2"),
    MEMCPY_DTOD_ASYNC(Library.DRIVER, "cuMemcpyDtoDAsync", "cuMemcpyDtoDAsync_v2"),
    MEMSET_D8_ASYNC(Library.DRIVER, "cuMemsetD8Async"),
    STREAM_CREATE(Library.DRIVER, "cuStreamCreate"),
    STREAM_SYNCHRONIZE(Library.DRIVER, "cuStreamSynchronize"),
    STREAM_QUERY(Library.DRIVER, "cuStreamQuery"),
    STREAM_DESTROY(Library.DRIVER, "cuStreamDestroy", "cuStreamDestroy_v2"),
    EVENT_CREATE(Library.DRIVER, "cuEventCreate"),
    EVENT_RECORD(Library.DRIVER, "cuEventRecord"),
    EVENT_SYNCHRONIZE(Library.DRIVER, "cuEventSynchronize"),
    EVENT_ELAPSED_TIME(Library.DRIVER, "cuEventElapsedTime", "cuEventElapsedTime_v2"),
    EVENT_DESTROY(Library.DRIVER, "cuEventDestroy", "cuEventDestroy_v2"),
    MODULE_LOAD_DATA(Library.DRIVER, "cuModuleLoadData"),
    MODULE_UNLOAD(Library.DRIVER, "cuModuleUnload"),
    MODULE_GET_FUNCTION(Library.DRIVER, "cuModuleGetFunction"),
    FUNC_SET_ATTRIBUTE(Library.DRIVER, "cuFuncSetAttribute"),
    LAUNCH_KERNEL(Library.DRIVER, "cuLaunchKernel"),
    LAUNCH_KERNEL_EX(Library.DRIVER, "cuLaunchKernelEx"),
    LAUNCH_COOPERATIVE_KERNEL(Library.DRIVER, "cuLaunchCooperativeKernel"),
    STREAM_BEGIN_CAPTURE(Library.DRIVER, "cuStreamBeginCapture", "cuStreamBeginCapture_v2"),
    STREAM_END_CAPTURE(Library.DRIVER, "cuStreamEndCapture"),
    GRAPH_INSTANTIATE(Library.DRIVER, "cuGraphInstantiate", "cuGraphInstantiateWithFlags"),
    GRAPH_LAUNCH(Library.DRIVER, "cuGraphLaunch"),
    GRAPH_EXEC_DESTROY(Library.DRIVER, "cuGraphExecDestroy"),
    GRAPH_DESTROY(Library.DRIVER, "cuGraphDestroy"),

    NVRTC_VERSION(Library.NVRTC, "nvrtcVersion"),
    NVRTC_GET_ERROR_STRING(Library.NVRTC, "nvrtcGetErrorString"),
    NVRTC_GET_NUM_SUPPORTED_ARCHS(Library.NVRTC, "nvrtcGetNumSupportedArchs"),
    NVRTC_GET_SUPPORTED_ARCHS(Library.NVRTC, "nvrtcGetSupportedArchs"),
    NVRTC_CREATE_PROGRAM(Library.NVRTC, "nvrtcCreateProgram"),
    NVRTC_COMPILE_PROGRAM(Library.NVRTC, "nvrtcCompileProgram"),
    NVRTC_GET_PROGRAM_LOG_SIZE(Library.NVRTC, "nvrtcGetProgramLogSize"),
    NVRTC_GET_PROGRAM_LOG(Library.NVRTC, "nvrtcGetProgramLog"),
    NVRTC_GET_CUBIN_SIZE(Library.NVRTC, "nvrtcGetCUBINSize"),
    NVRTC_GET_CUBIN(Library.NVRTC, "nvrtcGetCUBIN"),
    NVRTC_DESTROY_PROGRAM(Library.NVRTC, "nvrtcDestroyProgram"),

    LT_GET_VERSION(Library.CUBLAS_LT, "cublasLtGetVersion"),
    LT_CREATE(Library.CUBLAS_LT, "cublasLtCreate"),
    LT_DESTROY(Library.CUBLAS_LT, "cublasLtDestroy"),
    LT_MATMUL_DESC_CREATE(Library.CUBLAS_LT, "cublasLtMatmulDescCreate"),
    LT_MATMUL_DESC_SET_ATTRIBUTE(Library.CUBLAS_LT, "cublasLtMatmulDescSetAttribute"),
    LT_MATMUL_DESC_DESTROY(Library.CUBLAS_LT, "cublasLtMatmulDescDestroy"),
    LT_MATRIX_LAYOUT_CREATE(Library.CUBLAS_LT, "cublasLtMatrixLayoutCreate"),
    LT_MATRIX_LAYOUT_SET_ATTRIBUTE(Library.CUBLAS_LT, "cublasLtMatrixLayoutSetAttribute"),
    LT_MATRIX_LAYOUT_DESTROY(Library.CUBLAS_LT, "cublasLtMatrixLayoutDestroy"),
    LT_MATMUL_PREFERENCE_CREATE(Library.CUBLAS_LT, "cublasLtMatmulPreferenceCreate"),
    LT_MATMUL_PREFERENCE_SET_ATTRIBUTE(Library.CUBLAS_LT, "cublasLtMatmulPreferenceSetAttribute"),
    LT_MATMUL_PREFERENCE_DESTROY(Library.CUBLAS_LT, "cublasLtMatmulPreferenceDestroy"),
    LT_MATMUL_ALGO_GET_HEURISTIC(Library.CUBLAS_LT, "cublasLtMatmulAlgoGetHeuristic"),
    LT_MATMUL(Library.CUBLAS_LT, "cublasLtMatmul");

    private final Library library;
    private final String function;
    private final String symbol;

    EntryPoint(Library library, String function) {
        this(library, function, function);
    }

    EntryPoint(Library library, String function, String symbol) {
        this.library = library;
        this.function = function;
        this.symbol = symbol;
    }

    Library library() {
        return library;
    }

    /** As the bindings and the documentation call it. */
    String function() {
        return function;
    }

    /** As the shared library exports it. */
    String symbol() {
        return symbol;
    }
}
