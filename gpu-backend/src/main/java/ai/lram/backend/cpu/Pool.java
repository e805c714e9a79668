package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.I;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * Max pooling of planes. Windows that lie wholly inside their columns are compared a vector of input columns at a time,
 * and the lanes that start a window are compressed; the others pixel by pixel. NaN counts as the largest, the first one
 * of a window wins.
 */
record Pool(int height, int width, int outHeight, int outWidth, int kernel, int stride, int pad) {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    void forward(MemorySegment x, MemorySegment y, MemorySegment index, int from, int to) {
        // Windows of columns left .. right-1 touch no padding.
        int left = Math.min(outWidth, (pad + stride - 1) / stride);
        int right =
                width + pad < kernel ? left : Math.max(left, Math.min(outWidth, (width + pad - kernel) / stride + 1));
        int windows = Math.max(1, LANES / stride);
        VectorMask<Float> starts = starts(stride, windows);
        VectorMask<Integer> startsOfIndex = starts.cast(I);
        for (int p = from; p < to; p++) {
            long plane = 4L * p * height * width;
            for (int oh = 0; oh < outHeight; oh++) {
                long out = 4L * ((long) p * outHeight + oh) * outWidth;
                int top = Math.max(0, oh * stride - pad);
                int bottom = Math.min(height, oh * stride - pad + kernel);
                for (int ow = 0; ow < left; ow++) {
                    window(x, plane, top, bottom, ow, y, index, out);
                }
                int ow = left;
                while (ow < right) {
                    int column = ow * stride - pad;
                    if (plane + 4L * ((long) (bottom - 1) * width + column + kernel - 1 + LANES) > x.byteSize()) {
                        window(x, plane, top, bottom, ow++, y, index, out);
                        continue;
                    }
                    int count = Math.min(windows, right - ow);
                    if (!windows(
                            x,
                            plane,
                            top,
                            bottom,
                            width,
                            kernel,
                            column,
                            starts,
                            startsOfIndex,
                            y,
                            index,
                            out + 4L * ow,
                            count)) {
                        for (int i = 0; i < count; i++) {
                            window(x, plane, top, bottom, ow + i, y, index, out);
                        }
                    }
                    ow += count;
                }
                for (; ow < outWidth; ow++) {
                    window(x, plane, top, bottom, ow, y, index, out);
                }
            }
        }
    }

    private static VectorMask<Float> starts(int stride, int windows) {
        boolean[] lanes = new boolean[LANES];
        for (int i = 0; i < windows; i++) {
            lanes[i * stride] = true;
        }
        return VectorMask.fromArray(F, lanes, 0);
    }

    /** False, and nothing written, if there may be NaN among the pixels. */
    private static boolean windows(
            MemorySegment x,
            long plane,
            int top,
            int bottom,
            int width,
            int kernel,
            int column,
            VectorMask<Float> starts,
            VectorMask<Integer> startsOfIndex,
            MemorySegment y,
            MemorySegment index,
            long out,
            int count) {
        IntVector lane = IntVector.broadcast(I, 0).addIndex(1);
        IntVector best = lane.add(top * width + column);
        FloatVector max = FloatVector.fromMemorySegment(F, x, plane + 4L * ((long) top * width + column), LE);
        FloatVector sum = FloatVector.zero(F);
        for (int row = top; row < bottom; row++) {
            for (int j = 0; j < kernel; j++) {
                int at = row * width + column + j;
                FloatVector v = FloatVector.fromMemorySegment(F, x, plane + 4L * at, LE);
                VectorMask<Float> larger = v.compare(VectorOperators.GT, max);
                max = max.blend(v, larger);
                best = best.blend(lane.add(at), larger.cast(I));
                sum = sum.add(v);
            }
        }
        if (sum.compare(VectorOperators.NE, sum).anyTrue()) {
            return false;
        }
        max = max.compress(starts);
        best = best.compress(startsOfIndex);
        if (count == LANES) {
            max.intoMemorySegment(y, out, LE);
            best.intoMemorySegment(index, out, LE);
        } else {
            max.intoMemorySegment(y, out, LE, F.indexInRange(0, count));
            best.intoMemorySegment(index, out, LE, I.indexInRange(0, count));
        }
        return true;
    }

    private void window(
            MemorySegment x, long plane, int top, int bottom, int ow, MemorySegment y, MemorySegment index, long out) {
        int left = Math.max(0, ow * stride - pad);
        int right = Math.min(width, ow * stride - pad + kernel);
        int best = top * width + left;
        float max = x.get(FLOAT, plane + 4L * best);
        for (int row = top; row < bottom; row++) {
            for (int column = left; column < right; column++) {
                int at = row * width + column;
                float v = x.get(FLOAT, plane + 4L * at);
                if (v > max || (Float.isNaN(v) && !Float.isNaN(max))) {
                    max = v;
                    best = at;
                }
            }
        }
        y.set(FLOAT, out + 4L * ow, max);
        index.set(INT, out + 4L * ow, best);
    }

    /** The first index outside 0..{@code limit}-1 among {@code n}, or -1. */
    static long firstOutside(MemorySegment index, long n, int limit) {
        for (long i = 0; i < n; i++) {
            int at = index.get(INT, 4 * i);
            if (at < 0 || at >= limit) {
                return i;
            }
        }
        return -1;
    }

    /** dx of planes {@code from .. to-1}, of {@code in} pixels each, from {@code out} windows each. */
    static void backward(MemorySegment dy, MemorySegment index, MemorySegment dx, int in, int out, int from, int to) {
        dx.asSlice(4L * from * in, 4L * (to - from) * in).fill((byte) 0);
        for (int p = from; p < to; p++) {
            long plane = 4L * p * in;
            for (long i = (long) p * out; i < (long) (p + 1) * out; i++) {
                long at = plane + 4L * index.get(INT, 4 * i);
                dx.set(FLOAT, at, dx.get(FLOAT, at) + dy.get(FLOAT, 4 * i));
            }
        }
    }
}
