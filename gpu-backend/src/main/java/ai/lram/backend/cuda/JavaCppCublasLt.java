package ai.lram.backend.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.bytedeco.cuda.global.cublas;

/** cuBLASLt through the JavaCPP bindings. Loading this class loads the bindings: ask {@link Discovery} first. */
final class JavaCppCublasLt implements CublasLt {
    @FunctionalInterface
    private interface Create {
        int into(Handles.Addresses out);
    }

    private static int create(long[] result, Create create) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
            int status = create.into(new Handles.Addresses(out));
            result[0] = out.get(ValueLayout.JAVA_LONG, 0);
            return status;
        }
    }

    private static Handles.Memory memory(long address) {
        return new Handles.Memory().at(address);
    }

    private static Handles.Layout layout(long address) {
        return new Handles.Layout().at(address);
    }

    @Override
    public long version() {
        return cublas.cublasLtGetVersion();
    }

    @Override
    public int create(long[] handle) {
        Handles.Lt out = new Handles.Lt();
        int status = cublas.cublasLtCreate(out);
        handle[0] = out.address();
        return status;
    }

    @Override
    public int destroy(long handle) {
        return cublas.cublasLtDestroy(new Handles.Lt().at(handle));
    }

    @Override
    public int createProduct(long[] product, int computeType, int scaleType) {
        return create(product, out -> cublas.cublasLtMatmulDescCreate(out, computeType, scaleType));
    }

    @Override
    public int setProduct(long product, int attribute, MemorySegment value) {
        return cublas.cublasLtMatmulDescSetAttribute(
                new Handles.Product().at(product), attribute, Handles.Memory.of(value), value.byteSize());
    }

    @Override
    public int destroyProduct(long product) {
        return cublas.cublasLtMatmulDescDestroy(new Handles.Product().at(product));
    }

    @Override
    public int createLayout(long[] layout, int elementType, long rows, long columns, long leadingDimension) {
        return create(
                layout, out -> cublas.cublasLtMatrixLayoutCreate(out, elementType, rows, columns, leadingDimension));
    }

    @Override
    public int setLayout(long layout, int attribute, MemorySegment value) {
        return cublas.cublasLtMatrixLayoutSetAttribute(
                layout(layout), attribute, Handles.Memory.of(value), value.byteSize());
    }

    @Override
    public int destroyLayout(long layout) {
        return cublas.cublasLtMatrixLayoutDestroy(layout(layout));
    }

    @Override
    public int createPreference(long[] preference) {
        return create(preference, cublas::cublasLtMatmulPreferenceCreate);
    }

    @Override
    public int setPreference(long preference, int attribute, MemorySegment value) {
        return cublas.cublasLtMatmulPreferenceSetAttribute(
                new Handles.Preference().at(preference), attribute, Handles.Memory.of(value), value.byteSize());
    }

    @Override
    public int destroyPreference(long preference) {
        return cublas.cublasLtMatmulPreferenceDestroy(new Handles.Preference().at(preference));
    }

    @Override
    public int heuristic(
            int[] found,
            long handle,
            long product,
            long layoutA,
            long layoutB,
            long layoutC,
            long layoutD,
            long preference,
            MemorySegment result) {
        return cublas.cublasLtMatmulAlgoGetHeuristic(
                new Handles.Lt().at(handle),
                new Handles.Product().at(product),
                layout(layoutA),
                layout(layoutB),
                layout(layoutC),
                layout(layoutD),
                new Handles.Preference().at(preference),
                1,
                new Handles.Result().at(result.address()),
                found);
    }

    @Override
    public int matmul(
            long handle,
            long product,
            MemorySegment alpha,
            long a,
            long layoutA,
            long b,
            long layoutB,
            MemorySegment beta,
            long c,
            long layoutC,
            long d,
            long layoutD,
            MemorySegment algorithm,
            long workspace,
            long workspaceBytes,
            long stream) {
        return cublas.cublasLtMatmul(
                new Handles.Lt().at(handle),
                new Handles.Product().at(product),
                Handles.Memory.of(alpha),
                memory(a),
                layout(layoutA),
                memory(b),
                layout(layoutB),
                Handles.Memory.of(beta),
                memory(c),
                layout(layoutC),
                memory(d),
                layout(layoutD),
                new Handles.Algorithm().at(algorithm.address()),
                memory(workspace),
                workspaceBytes,
                new Handles.Stream().at(stream));
    }
}
