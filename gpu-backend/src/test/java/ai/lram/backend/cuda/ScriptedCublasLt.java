package ai.lram.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;

/**
 * cuBLASLt over host memory: fp32, bf16 and fp16 products with the attributes the engine sets, in plain loops over doubles. It checks that what it is
 * handed is alive and consistent.
 */
@SuppressWarnings("restricted")
class ScriptedCublasLt implements CublasLt {
    private static final int TRANS_A = 3;
    private static final int TRANS_B = 4;
    private static final int EPILOGUE = 7;
    private static final int BIAS_POINTER = 8;
    private static final int BATCH_COUNT = 5;
    private static final int BATCH_STRIDE = 6;
    private static final int F16 = 2;
    private static final int BF16 = 14;

    long version = 130100;

    /** Live handles, descriptions, layouts and preferences. */
    final Map<Long, Object> live = new HashMap<>();

    private final Map<Long, Product> copies = new HashMap<>();

    /** Answers of {@link #heuristic}: how many algorithms are found, and its status. */
    int algorithms = 1;

    int heuristicStatus = SUCCESS;
    int heuristics;
    int products;
    private long next = 1;

    private static final class Product {
        int transA;
        int transB;
        int epilogue = 1;
        long bias;
    }

    private static final class Layout {
        int elementType;
        long rows;
        long columns;
        long ld;
        int batch = 1;
        long stride;
    }

    /** A description with the same attributes, which later changes of the first do not reach. */
    final long copyOf(long product) {
        Product from = (Product) live.get(product);
        Product to = new Product();
        to.transA = from.transA;
        to.transB = from.transB;
        to.epilogue = from.epilogue;
        to.bias = from.bias;
        copies.put(next, to);
        return next++;
    }

    private int add(long[] to, Object o) {
        to[0] = next++;
        live.put(to[0], o);
        return SUCCESS;
    }

    private int remove(long handle) {
        return live.remove(handle) == null ? 7 : SUCCESS;
    }

    @Override
    public long version() {
        return version;
    }

    @Override
    public int create(long[] handle) {
        return add(handle, "handle");
    }

    @Override
    public int destroy(long handle) {
        return remove(handle);
    }

    @Override
    public int createProduct(long[] product, int computeType, int scaleType) {
        return add(product, new Product());
    }

    @Override
    public int setProduct(long product, int attribute, MemorySegment value) {
        Product p = (Product) live.get(product);
        switch (attribute) {
            case TRANS_A -> p.transA = value.get(ValueLayout.JAVA_INT, 0);
            case TRANS_B -> p.transB = value.get(ValueLayout.JAVA_INT, 0);
            case EPILOGUE -> p.epilogue = value.get(ValueLayout.JAVA_INT, 0);
            case BIAS_POINTER -> p.bias = value.get(ValueLayout.JAVA_LONG, 0);
            default -> {
                return 7;
            }
        }
        return SUCCESS;
    }

    @Override
    public int destroyProduct(long product) {
        return remove(product);
    }

    @Override
    public int createLayout(long[] layout, int elementType, long rows, long columns, long leadingDimension) {
        Layout l = new Layout();
        l.elementType = elementType;
        l.rows = rows;
        l.columns = columns;
        l.ld = leadingDimension;
        return rows < 1 || columns < 1 || leadingDimension < rows ? 7 : add(layout, l);
    }

    final boolean inFp16(long layout) {
        return ((Layout) live.get(layout)).elementType == F16;
    }

    @Override
    public int setLayout(long layout, int attribute, MemorySegment value) {
        Layout l = (Layout) live.get(layout);
        switch (attribute) {
            case BATCH_COUNT -> l.batch = value.get(ValueLayout.JAVA_INT, 0);
            case BATCH_STRIDE -> l.stride = value.get(ValueLayout.JAVA_LONG, 0);
            default -> {
                return 7;
            }
        }
        return SUCCESS;
    }

    @Override
    public int destroyLayout(long layout) {
        return remove(layout);
    }

    @Override
    public int createPreference(long[] preference) {
        return add(preference, "preference");
    }

    @Override
    public int setPreference(long preference, int attribute, MemorySegment value) {
        return live.containsKey(preference) ? SUCCESS : 7;
    }

    @Override
    public int destroyPreference(long preference) {
        return remove(preference);
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
        heuristics++;
        result.fill((byte) 0);
        result.set(ValueLayout.JAVA_LONG, 0, 4711);
        found[0] = algorithms;
        return live.containsKey(handle) && live.containsKey(preference) ? heuristicStatus : 7;
    }

    private static float get(Layout layout, long address, long index) {
        return switch (layout.elementType) {
            case F16 -> Float.float16ToFloat(getBits(address, index));
            case BF16 -> Float.intBitsToFloat(getBits(address, index) << 16);
            default -> get(address, index);
        };
    }

    private static short getBits(long address, long index) {
        return MemorySegment.ofAddress(address)
                .reinterpret(2 * (index + 1))
                .get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * index);
    }

    private static void set(Layout layout, long address, long index, float value) {
        if (layout.elementType == F16) {
            throw new IllegalStateException("no product has results in fp16");
        }
        if (layout.elementType == BF16) {
            int bits = Float.floatToRawIntBits(value);
            MemorySegment.ofAddress(address)
                    .reinterpret(2 * (index + 1))
                    .set(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * index, (short)
                            ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16));
        } else {
            MemorySegment.ofAddress(address)
                    .reinterpret(4 * (index + 1))
                    .set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * index, value);
        }
    }

    private static float get(long address, long index) {
        return MemorySegment.ofAddress(address)
                .reinterpret(4 * (index + 1))
                .get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * index);
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
        products++;
        Product p = copies.containsKey(product) ? copies.get(product) : (Product) live.get(product);
        Layout la = (Layout) live.get(layoutA);
        Layout lb = (Layout) live.get(layoutB);
        Layout ld = (Layout) live.get(layoutD);
        if (algorithm.get(ValueLayout.JAVA_LONG, 0) != 4711) {
            return 7;
        }
        long depth = p.transA == 0 ? la.columns : la.rows;
        if ((p.transA == 0 ? la.rows : la.columns) != ld.rows
                || (p.transB == 0 ? lb.columns : lb.rows) != ld.columns
                || (p.transB == 0 ? lb.rows : lb.columns) != depth) {
            return 7;
        }
        float scale = alpha.get(ValueLayout.JAVA_FLOAT, 0);
        float keep = beta.get(ValueLayout.JAVA_FLOAT, 0);
        for (int n = 0; n < ld.batch; n++) {
            for (long j = 0; j < ld.columns; j++) {
                for (long i = 0; i < ld.rows; i++) {
                    double sum = 0;
                    for (long k = 0; k < depth; k++) {
                        double x = get(la, a, n * la.stride + (p.transA == 0 ? i + k * la.ld : k + i * la.ld));
                        double y = get(lb, b, n * lb.stride + (p.transB == 0 ? k + j * lb.ld : j + k * lb.ld));
                        sum += x * y;
                    }
                    long at = n * ld.stride + i + j * ld.ld;
                    double value = scale * sum + (keep == 0 ? 0 : keep * get(ld, c, at));
                    if ((p.epilogue & 4) != 0) {
                        value += get(p.bias, i);
                    }
                    if ((p.epilogue & 2) != 0) {
                        value = value < 0 ? 0 : value;
                    }
                    set(ld, d, at, (float) value);
                }
            }
        }
        return SUCCESS;
    }
}
