package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/**
 * One head's new tokens against its cached keys and values. The cache is read in storage order: softmax does not care
 * where the ring begins.
 */
final class CachedAttention {
    /** Keys whose rows stay in the first-level cache while all new tokens use them. */
    private static final int BLOCK = 64;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    private CachedAttention() {}

    /**
     * Appends {@code count} tokens after {@code length} others and attends.
     *
     * @param q byte offset of the head in the first new token of q, k, v and y, whose tokens are {@code pitch} bytes apart
     * @param cache byte offset of the head in the slot's first row of keys and values, whose rows are {@code pitch} bytes apart too
     */
    static void step(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            MemorySegment y,
            long at,
            MemorySegment keys,
            MemorySegment values,
            long cache,
            long pitch,
            int dim,
            int length,
            int count,
            int capacity) {
        if (length <= capacity - count) {
            group(q, k, v, y, at, keys, values, cache, pitch, dim, length, count, capacity);
        } else {
            for (int i = 0; i < count; i++) {
                group(q, k, v, y, at + i * pitch, keys, values, cache, pitch, dim, length + i, 1, capacity);
            }
        }
    }

    /** Tokens that evict none that another of them still sees. */
    private static void group(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            MemorySegment y,
            long at,
            MemorySegment keys,
            MemorySegment values,
            long cache,
            long pitch,
            int dim,
            int length,
            int count,
            int capacity) {
        for (int i = 0; i < count; i++) {
            long row = cache + (length + i) % capacity * pitch;
            MemorySegment.copy(k, at + i * pitch, keys, row, 4L * dim);
            MemorySegment.copy(v, at + i * pitch, values, row, 4L * dim);
        }
        int seen = Math.min(length + count, capacity);
        int padded = (seen + LANES - 1) / LANES * LANES;
        float[] weights = ThreadFloats.get(ThreadFloats.BODY, count * padded);
        float scale = (float) (1 / Math.sqrt(dim));
        for (int j0 = 0; j0 < seen; j0 += BLOCK) {
            for (int i = 0; i < count; i++) {
                int end = Math.min(j0 + BLOCK, seen - count + 1 + i);
                scores(q, at + i * pitch, keys, cache, pitch, dim, j0, end, scale, weights, i * padded);
            }
        }
        for (int i = 0; i < count; i++) {
            softmax(weights, i * padded, seen - count + 1 + i, padded);
            y.asSlice(at + i * pitch, 4L * dim).fill((byte) 0);
        }
        for (int j0 = 0; j0 < seen; j0 += BLOCK) {
            for (int i = 0; i < count; i++) {
                int end = Math.min(j0 + BLOCK, seen - count + 1 + i);
                weigh(values, cache, pitch, dim, j0, end, weights, i * padded, y, at + i * pitch);
            }
        }
    }

    private static void scores(
            MemorySegment q,
            long qAt,
            MemorySegment keys,
            long cache,
            long pitch,
            int dim,
            int from,
            int to,
            float scale,
            float[] weights,
            int at) {
        int j = from;
        for (; j <= to - 4; j += 4) {
            long row = cache + j * pitch;
            FloatVector a = FloatVector.zero(F);
            FloatVector b = FloatVector.zero(F);
            FloatVector c = FloatVector.zero(F);
            FloatVector d = FloatVector.zero(F);
            int i = 0;
            for (; i <= dim - LANES; i += LANES) {
                FloatVector x = FloatVector.fromMemorySegment(F, q, qAt + 4L * i, LE);
                a = x.fma(FloatVector.fromMemorySegment(F, keys, row + 4L * i, LE), a);
                b = x.fma(FloatVector.fromMemorySegment(F, keys, row + pitch + 4L * i, LE), b);
                c = x.fma(FloatVector.fromMemorySegment(F, keys, row + 2 * pitch + 4L * i, LE), c);
                d = x.fma(FloatVector.fromMemorySegment(F, keys, row + 3 * pitch + 4L * i, LE), d);
            }
            float s0 = VectorMath.sum(a);
            float s1 = VectorMath.sum(b);
            float s2 = VectorMath.sum(c);
            float s3 = VectorMath.sum(d);
            for (; i < dim; i++) {
                float x = q.get(FLOAT, qAt + 4L * i);
                s0 = Math.fma(x, keys.get(FLOAT, row + 4L * i), s0);
                s1 = Math.fma(x, keys.get(FLOAT, row + pitch + 4L * i), s1);
                s2 = Math.fma(x, keys.get(FLOAT, row + 2 * pitch + 4L * i), s2);
                s3 = Math.fma(x, keys.get(FLOAT, row + 3 * pitch + 4L * i), s3);
            }
            weights[at + j] = scale * s0;
            weights[at + j + 1] = scale * s1;
            weights[at + j + 2] = scale * s2;
            weights[at + j + 3] = scale * s3;
        }
        for (; j < to; j++) {
            weights[at + j] = scale * dot(q, qAt, keys, cache + j * pitch, dim);
        }
    }

    private static float dot(MemorySegment q, long qAt, MemorySegment keys, long row, int dim) {
        FloatVector a = FloatVector.zero(F);
        int i = 0;
        for (; i <= dim - LANES; i += LANES) {
            a = FloatVector.fromMemorySegment(F, q, qAt + 4L * i, LE)
                    .fma(FloatVector.fromMemorySegment(F, keys, row + 4L * i, LE), a);
        }
        float s = VectorMath.sum(a);
        for (; i < dim; i++) {
            s = Math.fma(q.get(FLOAT, qAt + 4L * i), keys.get(FLOAT, row + 4L * i), s);
        }
        return s;
    }

    /** Normalised weights from {@code n} scores; {@code padded} >= n elements may be overwritten. */
    private static void softmax(float[] w, int at, int n, int padded) {
        float max = Attention.largest(w, at, n);
        Arrays.fill(w, at + n, at + padded, Float.NEGATIVE_INFINITY);
        FloatVector sum = FloatVector.zero(F);
        for (int j = 0; j < padded; j += LANES) {
            FloatVector e = VectorMath.exp(FloatVector.fromArray(F, w, at + j).sub(max));
            e.intoArray(w, at + j);
            sum = sum.add(e);
        }
        float factor = 1 / VectorMath.sum(sum);
        for (int j = 0; j < padded; j += LANES) {
            FloatVector.fromArray(F, w, at + j).mul(factor).intoArray(w, at + j);
        }
    }

    private static void weigh(
            MemorySegment values,
            long cache,
            long pitch,
            int dim,
            int from,
            int to,
            float[] weights,
            int at,
            MemorySegment y,
            long yAt) {
        int i = 0;
        for (; i <= dim - 4 * LANES; i += 4 * LANES) {
            weighFour(values, cache + 4L * i, pitch, from, to, weights, at, y, yAt + 4L * i);
        }
        for (; i <= dim - LANES; i += LANES) {
            FloatVector a = FloatVector.fromMemorySegment(F, y, yAt + 4L * i, LE);
            for (int j = from; j < to; j++) {
                a = FloatVector.fromMemorySegment(F, values, cache + j * pitch + 4L * i, LE)
                        .fma(FloatVector.broadcast(F, weights[at + j]), a);
            }
            a.intoMemorySegment(y, yAt + 4L * i, LE);
        }
        for (; i < dim; i++) {
            float a = y.get(FLOAT, yAt + 4L * i);
            for (int j = from; j < to; j++) {
                a = Math.fma(weights[at + j], values.get(FLOAT, cache + j * pitch + 4L * i), a);
            }
            y.set(FLOAT, yAt + 4L * i, a);
        }
    }

    private static void weighFour(
            MemorySegment values,
            long cache,
            long pitch,
            int from,
            int to,
            float[] weights,
            int at,
            MemorySegment y,
            long yAt) {
        FloatVector a = FloatVector.fromMemorySegment(F, y, yAt, LE);
        FloatVector b = FloatVector.fromMemorySegment(F, y, yAt + 4L * LANES, LE);
        FloatVector c = FloatVector.fromMemorySegment(F, y, yAt + 8L * LANES, LE);
        FloatVector d = FloatVector.fromMemorySegment(F, y, yAt + 12L * LANES, LE);
        for (int j = from; j < to; j++) {
            long row = cache + j * pitch;
            FloatVector w = FloatVector.broadcast(F, weights[at + j]);
            a = w.fma(FloatVector.fromMemorySegment(F, values, row, LE), a);
            b = w.fma(FloatVector.fromMemorySegment(F, values, row + 4L * LANES, LE), b);
            c = w.fma(FloatVector.fromMemorySegment(F, values, row + 8L * LANES, LE), c);
            d = w.fma(FloatVector.fromMemorySegment(F, values, row + 12L * LANES, LE), d);
        }
        a.intoMemorySegment(y, yAt, LE);
        b.intoMemorySegment(y, yAt + 4L * LANES, LE);
        c.intoMemorySegment(y, yAt + 8L * LANES, LE);
        d.intoMemorySegment(y, yAt + 12L * LANES, LE);
    }
}
