package ai.lram.bench.train;

import ai.lram.backend.cpu.BlasCore;
import ai.lram.backend.cpu.BlasGemm;
import ai.lram.bench.WrongAnswerException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;

/** OpenBLAS's fastest fp32 product on this machine, over sizes of layers and square ones; measured when first asked for. Single thread. */
final class BestProduct {
    private static final int[][] SIZES = {
        {1200, 2048, 512}, {1200, 512, 1024}, {4096, 2048, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}
    };
    private static final int LARGEST = 2048 * 4096;
    private static final float A = 0.5f;
    private static final float B = 0.25f;

    private final int repetitions;
    private final Map<Integer, Double> known = new HashMap<>();
    private String why = "";

    BestProduct(boolean quick) {
        repetitions = quick ? 2 : 15;
    }

    int repetitions() {
        return repetitions * SIZES.length;
    }

    /** Kernels OpenBLAS chose. */
    String core() {
        return BlasCore.name();
    }

    /** Why {@link #gflops} is NaN. */
    String whyNot() {
        return why;
    }

    /** GFLOP/s with that many threads of the library; NaN where there is no OpenBLAS. */
    double gflops(int threads) {
        return known.computeIfAbsent(threads, this::measure);
    }

    private double measure(int threads) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment a = filled(arena, A);
            MemorySegment b = filled(arena, B);
            MemorySegment c = filled(arena, 0);
            double best = 0;
            for (int[] s : SIZES) {
                BlasGemm.multiply(threads, s[0], s[1], s[2], a, b, c);
                check(c, s);
                for (int r = 0; r < repetitions; r++) {
                    long begin = System.nanoTime();
                    BlasGemm.multiply(threads, s[0], s[1], s[2], a, b, c);
                    long ns = System.nanoTime() - begin;
                    best = Math.max(best, 2.0 * s[0] * s[1] * s[2] / ns);
                }
            }
            return best;
        } catch (LinkageError e) {
            why = e.toString();
            return Double.NaN;
        }
    }

    private static MemorySegment filled(Arena arena, float value) {
        MemorySegment m = arena.allocate(4L * LARGEST, 64);
        for (long i = 0; i < LARGEST; i++) {
            m.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
        }
        return m;
    }

    private static void check(MemorySegment c, int[] size) {
        float expected = size[2] * A * B;
        float got = c.getAtIndex(ValueLayout.JAVA_FLOAT, (long) size[0] * size[1] - 1);
        if (got != expected) {
            throw new WrongAnswerException(
                    "OpenBLAS multiplies wrongly", got + " in place of " + expected, "see lram doctor");
        }
    }
}
