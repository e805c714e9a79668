package ai.lram.backend;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Shape, dtype and a slice of a {@link TensorArena}: dense, row-major, 64-byte aligned at the start of its allocation.
 *
 * <p>A tensor owns nothing; its arena does. Views share memory. On a host engine {@link #segment()} is the memory itself; on a
 * device engine only {@link #address()} is meaningful and data moves through {@link Backend#upload} and {@link Backend#download}, except
 * for what {@link TensorArena#hostVisible} gives, which has both.
 * Immutable, safe to share; the elements are as thread-safe as plain memory.
 */
public final class Tensor {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;

    private static final long MAX_SIZE = Long.MAX_VALUE >> 4;

    /** Tells whether the arena that owns a device tensor's memory is still open. */
    @FunctionalInterface
    public interface Owner {
        boolean isAlive();
    }

    private final DType dtype;
    private final int[] shape;
    private final long size;
    private final long address;
    private final MemorySegment segment;
    private final Owner owner;

    private Tensor(DType dtype, int[] shape, long size, long address, MemorySegment segment, Owner owner) {
        this.dtype = dtype;
        this.shape = shape;
        this.size = size;
        this.address = address;
        this.segment = segment;
        this.owner = owner;
    }

    /** A tensor over host memory: {@code segment} is native and exactly as long as the shape needs. */
    public static Tensor host(DType dtype, MemorySegment segment, int... shape) {
        long size = sizeOf(shape);
        if (!segment.isNative() || segment.byteSize() != size * dtype.bytes()) {
            throw new ShapeMismatchException(
                    "host tensor of shape " + Arrays.toString(shape) + " " + dtype,
                    "the segment is " + (segment.isNative() ? "native" : "on the heap") + " and holds "
                            + segment.byteSize() + " bytes, " + size * dtype.bytes() + " are needed",
                    "pass native memory of that size; heap arrays enter by copy");
        }
        return new Tensor(dtype, shape.clone(), size, segment.address(), segment, null);
    }

    /** A tensor over device memory at {@code address}, usable as long as its owner is alive. */
    public static Tensor device(DType dtype, long address, Owner owner, int... shape) {
        return new Tensor(dtype, shape.clone(), sizeOf(shape), address, null, owner);
    }

    /**
     * A tensor over host memory that a device addresses, too: {@code segment} as the host sees it, exactly as long as the shape needs, and
     * {@code address} as the device does. Usable as long as its owner is alive.
     */
    public static Tensor mapped(DType dtype, MemorySegment segment, long address, Owner owner, int... shape) {
        Tensor host = host(dtype, segment, shape);
        return new Tensor(dtype, host.shape, host.size, address, segment, owner);
    }

    /** Number of elements of a shape; every dimension must be >= 0 and the bytes must be countable. */
    public static long sizeOf(int... shape) {
        long n = 1;
        for (int d : shape) {
            if (d < 0) {
                throw new ShapeMismatchException(
                        "shape " + Arrays.toString(shape), "a dimension is negative", "use sizes >= 0");
            }
            if (d > 0 && n > MAX_SIZE / d) {
                throw new ShapeMismatchException(
                        "shape " + Arrays.toString(shape),
                        "it has more elements than memory has addresses",
                        "use smaller sizes");
            }
            n *= d;
        }
        return n;
    }

    public DType dtype() {
        return dtype;
    }

    public int rank() {
        return shape.length;
    }

    /** Size of dimension {@code i}; negative counts from the end. */
    public int dim(int i) {
        return shape[i < 0 ? shape.length + i : i];
    }

    public int[] shape() {
        return shape.clone();
    }

    /** Number of elements. */
    public long size() {
        return size;
    }

    public long bytes() {
        return size * dtype.bytes();
    }

    /** Product of all dimensions but the last: the number of rows when seen as a matrix. */
    public int rows() {
        return shape.length == 0 ? 1 : (int) (size / Math.max(1, shape[shape.length - 1]));
    }

    /** Address of the first element in its engine's memory. */
    public long address() {
        return address;
    }

    /** Whether it is a host engine's. */
    public boolean isHost() {
        return owner == null;
    }

    /** Whether {@link #segment} can be asked for: a host engine's tensor, or a device engine's from {@link TensorArena#hostVisible}. */
    public boolean isHostVisible() {
        return segment != null;
    }

    /** The memory itself; host-visible tensors only. @throws ArenaClosedException if its arena has ended */
    public MemorySegment segment() {
        if (segment == null) {
            throw new ShapeMismatchException(
                    "segment() of a device tensor " + this,
                    "its memory is not addressable from the host",
                    "use Backend.download, or take the tensor from TensorArena.hostVisible");
        }
        requireAlive();
        return segment;
    }

    /** @throws ArenaClosedException if its arena has ended */
    public void requireAlive() {
        if (owner != null ? !owner.isAlive() : !segment.scope().isAlive()) {
            throw new ArenaClosedException(
                    "use of tensor " + this,
                    "the arena that owned its memory was closed",
                    "keep the arena open as long as its tensors");
        }
    }

    /** The same memory under another shape of equal size. */
    public Tensor reshape(int... newShape) {
        if (sizeOf(newShape) != size) {
            throw new ShapeMismatchException(
                    "reshape of " + this,
                    Arrays.toString(newShape) + " has another number of elements",
                    "keep the product of the sizes");
        }
        return new Tensor(dtype, newShape.clone(), size, address, segment, owner);
    }

    /** Rows {@code start .. start+count-1} of the first dimension, as a view. */
    public Tensor slice(int start, int count) {
        if (shape.length == 0 || start < 0 || count < 0 || (long) start + count > shape[0]) {
            throw new ShapeMismatchException(
                    "slice of " + this,
                    "rows " + start + ".." + ((long) start + count) + " do not exist",
                    "stay within the first dimension");
        }
        int[] s = shape.clone();
        s[0] = count;
        long stride = shape[0] == 0 ? 0 : size / shape[0];
        return view(start * stride, s);
    }

    /** {@code sizeOf(shape)} consecutive elements from element {@code offset} on, as a view. */
    public Tensor view(long offset, int... newShape) {
        long n = sizeOf(newShape);
        if (offset < 0 || offset + n > size) {
            throw new ShapeMismatchException(
                    "view of " + this,
                    "elements " + offset + ".." + (offset + n) + " do not exist",
                    "stay within the tensor");
        }
        long at = offset * dtype.bytes();
        return new Tensor(
                dtype,
                newShape.clone(),
                n,
                address + at,
                segment == null ? null : segment.asSlice(at, n * dtype.bytes()),
                owner);
    }

    /** A tensor of any dtype laid over this one's bytes from {@code byteOffset} on: how a plan cuts its slab. */
    public Tensor carve(DType as, long byteOffset, int... newShape) {
        long n = sizeOf(newShape);
        if (byteOffset < 0 || byteOffset + n * as.bytes() > bytes()) {
            throw new ShapeMismatchException(
                    "carving " + as + Arrays.toString(newShape) + " out of " + this,
                    "bytes " + byteOffset + ".." + (byteOffset + n * as.bytes()) + " do not exist",
                    "stay within the slab");
        }
        return new Tensor(
                as,
                newShape.clone(),
                n,
                address + byteOffset,
                segment == null ? null : segment.asSlice(byteOffset, n * as.bytes()),
                owner);
    }

    /** Host-visible tensors of F32 only. */
    public float get(long i) {
        return segment().get(FLOAT, i * 4);
    }

    public void set(long i, float v) {
        segment().set(FLOAT, i * 4, v);
    }

    /** Host-visible tensors of I32 only. */
    public int getInt(long i) {
        return segment().get(INT, i * 4);
    }

    public void setInt(long i, int v) {
        segment().set(INT, i * 4, v);
    }

    /** Copies {@code src} in; host-visible F32 tensors of that many elements. */
    public Tensor copyFrom(float[] src) {
        if (src.length != size || dtype != DType.F32) {
            throw new ShapeMismatchException(
                    "copy of " + src.length + " floats into " + this, "size or dtype differs", "match both");
        }
        MemorySegment.copy(src, 0, segment(), FLOAT, 0, src.length);
        return this;
    }

    public Tensor copyFrom(int[] src) {
        if (src.length != size || dtype != DType.I32) {
            throw new ShapeMismatchException(
                    "copy of " + src.length + " ints into " + this, "size or dtype differs", "match both");
        }
        MemorySegment.copy(src, 0, segment(), INT, 0, src.length);
        return this;
    }

    /** A copy of the elements; host-visible F32 tensors only. */
    public float[] toFloatArray() {
        if (dtype != DType.F32) {
            throw new ShapeMismatchException("toFloatArray of " + this, "dtype is not F32", "convert first");
        }
        float[] a = new float[Math.toIntExact(size)];
        MemorySegment.copy(segment(), FLOAT, 0, a, 0, a.length);
        return a;
    }

    @Override
    public String toString() {
        return dtype + Arrays.toString(shape);
    }
}
