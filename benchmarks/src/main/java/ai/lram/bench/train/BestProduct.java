package ai.lram.bench.train;

import ai.lram.backend.cpu.BlasCore;
import ai.lram.backend.cpu.BlasGemm;
import ai.lram.backend.cpu.OwnGemm;
import ai.lram.bench.WrongAnswerException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.Map;

/**
 * The fastest fp32 products of this machine, OpenBLAS's and the engine's own; measured when first asked for. The product's answers are
 * checked. Single caller.
 */
final class BestProduct {
    private static final int[][] SIZES = {
        {1200, 2048, 512}, {1200, 512, 1024}, {4096, 2048, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}
    };
    private static final int LARGEST = 2048 * 4096;
    /** For about so long at 100 GFLOP/s a product of a model is repeated. */
    private static final double SECONDS = 0.6;

    private static final float A = 0.5f;
    private static final float B = 0.25f;

    private final int repetitions;
    private final double seconds;
    private final Map<Integer, Double> known = new HashMap<>();
    private final Map<Key, Rates> byShape = new HashMap<>();
    private String why = "";

    BestProduct(boolean quick) {
        repetitions = quick ? 2 : 15;
        seconds = quick ? 0.05 : SECONDS;
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
            MemorySegment a = filled(arena, A, LARGEST);
            MemorySegment b = filled(arena, B, LARGEST);
            MemorySegment c = filled(arena, 0, LARGEST);
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

    /**
     * A product's size.
     *
     * @param m rows of the result
     * @param n its columns
     * @param k terms of each sum
     */
    record Shape(BlasGemm.Form form, int m, int n, int k) {
        double flop() {
            return 2.0 * m * n * k;
        }
    }

    private record Key(int threads, Shape shape) {}

    /** GFLOP/s; {@code blas} is NaN where there is no OpenBLAS. */
    record Rates(double blas, double own) {
        double best() {
            return Double.isNaN(blas) ? own : Math.max(blas, own);
        }
    }

    /** Both libraries' best at one shape. */
    Rates rates(int threads, Shape shape) {
        return byShape.computeIfAbsent(new Key(threads, shape), this::measure);
    }

    private Rates measure(Key key) {
        Shape s = key.shape;
        try (Arena arena = Arena.ofShared();
                OwnGemm own = new OwnGemm(key.threads)) {
            MemorySegment a = filled(arena, A, (long) s.m * s.k);
            MemorySegment b = filled(arena, B, (long) s.n * s.k);
            MemorySegment c = filled(arena, 0, (long) s.m * s.n);
            double ownBest = best(s, () -> own.multiply(s.form, s.m, s.n, s.k, a, b, c), c);
            double blasBest = Double.NaN;
            if (!Double.isNaN(gflops(key.threads))) {
                blasBest = best(s, () -> BlasGemm.multiply(key.threads, s.form, s.m, s.n, s.k, a, b, c), c);
            }
            return new Rates(blasBest, ownBest);
        }
    }

    private double best(Shape s, Runnable product, MemorySegment c) {
        c.fill((byte) 0);
        product.run();
        check(c, new int[] {s.m, s.n, s.k});
        double best = 0;
        int times = (int) Math.clamp(seconds * 1e11 / s.flop(), repetitions, 2000);
        for (int r = 0; r < times; r++) {
            long begin = System.nanoTime();
            product.run();
            best = Math.max(best, s.flop() / (System.nanoTime() - begin));
        }
        return best;
    }

    private static MemorySegment filled(Arena arena, float value, long floats) {
        MemorySegment m = arena.allocate(4L * floats, 64);
        for (long i = 0; i < floats; i++) {
            m.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
        }
        return m;
    }

    private static void check(MemorySegment c, int[] size) {
        float expected = size[2] * A * B;
        float got = c.getAtIndex(ValueLayout.JAVA_FLOAT, (long) size[0] * size[1] - 1);
        if (got != expected) {
            throw new WrongAnswerException(
                    "a matrix product is wrong", got + " in place of " + expected, "see lram doctor");
        }
    }
}
