package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ChunkGemmTest {
    private static final double TOLERANCE = 1e-6;

    private final Random random = new Random(3);

    private MemorySegment random(Arena arena, long floats) {
        MemorySegment m = arena.allocate(4 * floats, 64);
        for (long i = 0; i < floats; i++) {
            m.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) random.nextGaussian());
        }
        return m;
    }

    private static double at(MemorySegment m, long i) {
        return m.getAtIndex(ValueLayout.JAVA_FLOAT, i);
    }

    /** One sum's allowed error: the terms are N(0,1) products times a factor. */
    private static void assertSum(double want, double got, int terms, String where) {
        assertEquals(want, got, TOLERANCE * (10 + terms), where);
    }

    @ParameterizedTest(name = "rows={0} columns={1} depth={2}")
    @CsvSource({"1,1,1", "12,32,16", "13,33,17", "72,64,64", "50,40,300", "150,160,256", "30,70,600"})
    void productsOfStoredAndTransposedFactors(int rows, int columns, int depth) {
        try (Arena arena = Arena.ofConfined()) {
            int ld = Math.max(Math.max(rows, columns), depth) + 5;
            MemorySegment a = random(arena, (long) ld * (Math.max(rows, depth) + 1));
            MemorySegment b = random(arena, (long) ld * (Math.max(columns, depth) + 1));
            MemorySegment byRow = random(arena, rows);
            MemorySegment byDepth = random(arena, depth);
            MemorySegment c = random(arena, (long) ld * rows + 7);
            MemorySegment before = arena.allocate(c.byteSize(), 64).copyFrom(c);
            ChunkGemm gemm = new ChunkGemm();
            gemm.left(a, 3, ld, rows, depth);
            gemm.rightTransposed(b, 2, ld, columns, depth);
            gemm.multiply(true, byRow, 0, c, 7, ld);
            for (int i = 0; i < rows; i++) {
                for (int j = 0; j < columns; j++) {
                    double sum = 0;
                    for (int d = 0; d < depth; d++) {
                        sum += at(a, 3 + (long) i * ld + d) * at(b, 2 + (long) j * ld + d);
                    }
                    long o = 7 + (long) i * ld + j;
                    assertSum(at(before, o) + at(byRow, i) * sum, at(c, o), depth, "a b^T at " + i + ", " + j);
                }
            }
            gemm.leftTransposed(a, 3, ld, depth, rows, byDepth, 0);
            gemm.right(b, 2, ld, depth, columns);
            gemm.multiply(false, byRow, 0, c, 7, ld);
            for (int i = 0; i < rows; i++) {
                for (int j = 0; j < columns; j++) {
                    double sum = 0;
                    for (int d = 0; d < depth; d++) {
                        sum += at(a, 3 + (long) d * ld + i) * at(byDepth, d) * at(b, 2 + (long) d * ld + j);
                    }
                    assertSum(at(byRow, i) * sum, at(c, 7 + (long) i * ld + j), depth, "a^T b at " + i + ", " + j);
                }
            }
        }
    }

    @ParameterizedTest(name = "tokens={0} width={1}")
    @CsvSource({"1,1", "12,16", "17,33", "72,64", "150,40", "300,35", "530,8"})
    void trianglesAreReadAndWrittenNoFurtherThanTheyReach(int tokens, int width) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment x = random(arena, (long) tokens * width);
            MemorySegment y = random(arena, (long) tokens * width);
            MemorySegment ones = arena.allocate(4L * tokens, 64);
            for (int t = 0; t < tokens; t++) {
                ones.setAtIndex(ValueLayout.JAVA_FLOAT, t, 1);
            }
            int ld = ChunkGemm.square(tokens);
            MemorySegment p = arena.allocate(4L * tokens * ld, 64);
            for (long i = 0; i < (long) tokens * ld; i++) {
                p.setAtIndex(ValueLayout.JAVA_FLOAT, i, Float.NaN);
            }
            ChunkGemm gemm = new ChunkGemm();
            gemm.left(x, 0, width, tokens, width);
            gemm.rightTransposed(y, 0, width, tokens, width);
            gemm.multiplyLower(ones, 0, p, 0, ld);
            for (int t = 0; t < tokens; t++) {
                for (int s = 0; s <= t; s++) {
                    double sum = 0;
                    for (int d = 0; d < width; d++) {
                        sum += at(x, (long) t * width + d) * at(y, (long) s * width + d);
                    }
                    assertSum(sum, at(p, (long) t * ld + s), width, "x y^T at " + t + ", " + s);
                }
                for (int s = t + 1; s < ChunkGemm.filled(t, tokens); s++) {
                    p.setAtIndex(ValueLayout.JAVA_FLOAT, (long) t * ld + s, 0);
                }
            }
            MemorySegment c = arena.allocate(4L * tokens * width, 64);
            gemm.leftLower(p, 0, ld, tokens);
            gemm.right(y, 0, width, tokens, width);
            gemm.multiply(false, ones, 0, c, 0, width);
            assertTriangle(p, ld, y, c, tokens, width, false);
            gemm.leftUpper(p, 0, ld, tokens);
            gemm.multiply(false, ones, 0, c, 0, width);
            assertTriangle(p, ld, y, c, tokens, width, true);
        }
    }

    private static void assertTriangle(
            MemorySegment p, int ld, MemorySegment y, MemorySegment c, int tokens, int width, boolean transposed) {
        for (int t = 0; t < tokens; t++) {
            for (int d = 0; d < width; d++) {
                double sum = 0;
                double size = 0;
                for (int s = transposed ? t : 0; s < (transposed ? tokens : t + 1); s++) {
                    double term =
                            at(p, transposed ? (long) s * ld + t : (long) t * ld + s) * at(y, (long) s * width + d);
                    sum += term;
                    size += Math.abs(term);
                }
                assertEquals(sum, at(c, (long) t * width + d), TOLERANCE * (1 + size), transposed + " " + t + ", " + d);
            }
        }
    }
}
