package ai.lram.agent.checkpoint;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * Numbers with a type and a shape, row-major and little-endian.
 *
 * @param type element type
 * @param shape sizes, each >= 0; empty for a scalar
 * @param data native memory, exactly as many bytes as type and shape need; not copied, so it must not change afterwards
 */
public record HostTensor(ElementType type, int[] shape, MemorySegment data) {
    static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    public HostTensor {
        shape = shape.clone();
        long bytes = elements(shape) * type.bytes();
        if (data.byteSize() != bytes) {
            throw new IllegalArgumentException(
                    "a tensor " + type + Arrays.toString(shape) + " needs " + bytes + " bytes, got " + data.byteSize());
        }
    }

    public static HostTensor of(float[] values, int... shape) {
        MemorySegment m = allocate(4L * values.length);
        MemorySegment.copy(values, 0, m, FLOAT, 0, values.length);
        return new HostTensor(ElementType.F32, shape, m);
    }

    public static HostTensor of(int[] values, int... shape) {
        MemorySegment m = allocate(4L * values.length);
        MemorySegment.copy(values, 0, m, INT, 0, values.length);
        return new HostTensor(ElementType.I32, shape, m);
    }

    public static HostTensor of(long[] values, int... shape) {
        MemorySegment m = allocate(8L * values.length);
        MemorySegment.copy(values, 0, m, LONG, 0, values.length);
        return new HostTensor(ElementType.I64, shape, m);
    }

    public static HostTensor of(byte[] values, int... shape) {
        MemorySegment m = allocate(values.length);
        MemorySegment.copy(values, 0, m, ValueLayout.JAVA_BYTE, 0, values.length);
        return new HostTensor(ElementType.U8, shape, m);
    }

    /** Native: heap segments would spoil the kernels' profiles. */
    private static MemorySegment allocate(long bytes) {
        return Arena.ofAuto().allocate(bytes, 8);
    }

    static long elements(int[] shape) {
        long n = 1;
        for (int d : shape) {
            if (d < 0) {
                throw new IllegalArgumentException("negative size in shape " + Arrays.toString(shape));
            }
            n = Math.multiplyExact(n, (long) d);
        }
        return n;
    }

    @Override
    public int[] shape() {
        return shape.clone();
    }

    /** Number of elements. */
    public long size() {
        return elements(shape);
    }

    /** A copy as floats; F64 is rounded. @throws IncompatibleCheckpointException for integer types */
    public float[] floats() {
        float[] a = new float[Math.toIntExact(size())];
        switch (type) {
            case F32 -> MemorySegment.copy(data, FLOAT, 0, a, 0, a.length);
            case F64 -> {
                for (int i = 0; i < a.length; i++) {
                    a[i] = (float) data.get(DOUBLE, 8L * i);
                }
            }
            case BF16 -> {
                for (int i = 0; i < a.length; i++) {
                    a[i] = Float.intBitsToFloat(data.get(SHORT, 2L * i) << 16);
                }
            }
            case F16 -> {
                for (int i = 0; i < a.length; i++) {
                    a[i] = Float.float16ToFloat(data.get(SHORT, 2L * i));
                }
            }
            default -> throw wrongType("floating-point numbers");
        }
        return a;
    }

    /** A copy as ints. @throws IncompatibleCheckpointException for types other than I32, I16, I8, U8 and BOOL */
    public int[] ints() {
        int[] a = new int[Math.toIntExact(size())];
        for (int i = 0; i < a.length; i++) {
            a[i] = switch (type) {
                case I32 -> data.get(INT, 4L * i);
                case I16 -> data.get(SHORT, 2L * i);
                case I8 -> data.get(ValueLayout.JAVA_BYTE, i);
                case U8, BOOL -> data.get(ValueLayout.JAVA_BYTE, i) & 0xFF;
                default -> throw wrongType("integers of at most 32 bits");
            };
        }
        return a;
    }

    /** A copy as longs. @throws IncompatibleCheckpointException for types other than I64 */
    public long[] longs() {
        if (type != ElementType.I64) {
            throw wrongType("64-bit integers");
        }
        long[] a = new long[Math.toIntExact(size())];
        MemorySegment.copy(data, LONG, 0, a, 0, a.length);
        return a;
    }

    private IncompatibleCheckpointException wrongType(String wanted) {
        return new IncompatibleCheckpointException(
                "a tensor cannot be read as " + wanted,
                "its type is " + type,
                "store it with the type its reader expects");
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof HostTensor t
                && type == t.type
                && Arrays.equals(shape, t.shape)
                && data.mismatch(t.data) < 0;
    }

    @Override
    public int hashCode() {
        return 31 * type.hashCode() + Arrays.hashCode(shape);
    }

    @Override
    public String toString() {
        return type + Arrays.toString(shape);
    }
}
