package ai.lram.backend.cuda;

/** A shared library of NVIDIA's that the engine needs, in the order in which they can be opened. */
enum Library {
    DRIVER("libcuda.so.1", "the NVIDIA driver"),
    RUNTIME("libcudart.so.13", "the CUDA 13 toolkit"),
    NVRTC("libnvrtc.so.13", "the CUDA 13 toolkit"),
    CUBLAS_LT("libcublasLt.so.13", "the CUDA 13 toolkit"),
    CUBLAS("libcublas.so.13", "the CUDA 13 toolkit");

    private final String file;
    private final String origin;

    Library(String file, String origin) {
        this.file = file;
        this.origin = origin;
    }

    String file() {
        return file;
    }

    /** What a user installs to get it. */
    String origin() {
        return origin;
    }

    /** The same library of another major version; the driver's library has none. */
    String file(int major) {
        return file.substring(0, file.lastIndexOf('.') + 1) + major;
    }
}
