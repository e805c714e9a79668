package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;

/** Numbers that are about N(0,1), made once on the host and laid over tensors again and again: element j is {@code at(j)}. */
public final class Noise implements AutoCloseable {
    /** A prime, so that rows of a tensor do not repeat each other. */
    private static final int LENGTH = 4_194_301;

    private static final double UNIT = 1 << 16;

    private final Arena arena = Arena.ofShared();
    private final DType type;
    private final MemorySegment block;

    /** @param type F32 or BF16 */
    public Noise(DType type, long seed) {
        this.type = type;
        block = arena.allocate((long) LENGTH * type.bytes(), 64);
        SplittableRandom random = new SplittableRandom(seed);
        for (int j = 0; j < LENGTH; j++) {
            long bits = random.nextLong();
            double sum = 0;
            for (int part = 0; part < 4; part++) {
                sum += (bits >>> (16 * part) & 0xffff) / UNIT - 0.5;
            }
            float x = (float) (sum * Math.sqrt(3)); // four uniform numbers have a variance of a third
            if (type == DType.BF16) {
                int raw = Float.floatToRawIntBits(x);
                block.setAtIndex(ValueLayout.JAVA_SHORT, j, (short) (raw + 0x7fff + (raw >>> 16 & 1) >>> 16));
            } else {
                block.setAtIndex(ValueLayout.JAVA_FLOAT, j, x);
            }
        }
    }

    /** Element {@code j} of a tensor that was filled. */
    public double at(long j) {
        long i = j % LENGTH;
        return type == DType.BF16
                ? Float.intBitsToFloat(block.getAtIndex(ValueLayout.JAVA_SHORT, i) << 16)
                : block.getAtIndex(ValueLayout.JAVA_FLOAT, i);
    }

    /** Fills a tensor of this type; waits for it. */
    public Tensor fill(Backend engine, Tensor t) {
        for (long done = 0; done < t.size(); ) {
            int n = (int) Math.min(LENGTH, t.size() - done);
            engine.upload(engine.stream(), t.view(done, n), block.asSlice(0, (long) n * type.bytes()));
            done += n;
        }
        engine.stream().synchronize();
        return t;
    }

    @Override
    public void close() {
        arena.close();
    }
}
