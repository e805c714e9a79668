package ai.lram.backend.cuda;

import java.lang.foreign.MemorySegment;
import org.bytedeco.cuda.cublas.cublasLtContext;
import org.bytedeco.cuda.cublas.cublasLtMatmulAlgo_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulDescOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulHeuristicResult_t;
import org.bytedeco.cuda.cublas.cublasLtMatmulPreferenceOpaque_t;
import org.bytedeco.cuda.cublas.cublasLtMatrixLayoutOpaque_t;
import org.bytedeco.cuda.cudart.CUctx_st;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.cudart.CUgraphExec_st;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.cudart.CUlaunchConfig;
import org.bytedeco.cuda.cudart.CUmod_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.nvrtc._nvrtcProgram;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;

/** JavaCPP's pointer types over a given address: they own nothing. */
final class Handles {
    private Handles() {}

    static final class Memory extends Pointer {
        Memory at(long where) {
            address = where;
            return this;
        }

        static Memory of(MemorySegment segment) {
            return new Memory().at(segment.address());
        }
    }

    static final class Bytes extends BytePointer {
        Bytes(MemorySegment segment) {
            super((Pointer) null);
            address = segment.address();
            capacity = segment.byteSize();
            limit = capacity;
        }
    }

    /** An array of addresses. */
    static final class Addresses extends PointerPointer<Pointer> {
        Addresses(MemorySegment segment) {
            super((Pointer) null);
            address = segment.address();
            capacity = segment.byteSize() / Long.BYTES;
            limit = capacity;
        }
    }

    static final class LaunchConfig extends CUlaunchConfig {
        LaunchConfig(MemorySegment segment) {
            super((Pointer) null);
            address = segment.address();
        }
    }

    static final class Context extends CUctx_st {
        Context at(long where) {
            address = where;
            return this;
        }
    }

    static final class Stream extends CUstream_st {
        Stream at(long where) {
            address = where;
            return this;
        }
    }

    static final class Event extends CUevent_st {
        Event at(long where) {
            address = where;
            return this;
        }
    }

    static final class Module extends CUmod_st {
        Module at(long where) {
            address = where;
            return this;
        }
    }

    static final class Function extends CUfunc_st {
        Function at(long where) {
            address = where;
            return this;
        }
    }

    static final class Graph extends CUgraph_st {
        Graph at(long where) {
            address = where;
            return this;
        }
    }

    static final class Executable extends CUgraphExec_st {
        Executable at(long where) {
            address = where;
            return this;
        }
    }

    static final class Program extends _nvrtcProgram {
        Program at(long where) {
            address = where;
            return this;
        }
    }

    static final class Lt extends cublasLtContext {
        Lt at(long where) {
            address = where;
            return this;
        }
    }

    static final class Product extends cublasLtMatmulDescOpaque_t {
        Product() {
            super((Pointer) null);
        }

        Product at(long where) {
            address = where;
            return this;
        }
    }

    static final class Layout extends cublasLtMatrixLayoutOpaque_t {
        Layout() {
            super((Pointer) null);
        }

        Layout at(long where) {
            address = where;
            return this;
        }
    }

    static final class Preference extends cublasLtMatmulPreferenceOpaque_t {
        Preference() {
            super((Pointer) null);
        }

        Preference at(long where) {
            address = where;
            return this;
        }
    }

    static final class Algorithm extends cublasLtMatmulAlgo_t {
        Algorithm() {
            super((Pointer) null);
        }

        Algorithm at(long where) {
            address = where;
            return this;
        }
    }

    static final class Result extends cublasLtMatmulHeuristicResult_t {
        Result() {
            super((Pointer) null);
        }

        Result at(long where) {
            address = where;
            return this;
        }
    }
}
