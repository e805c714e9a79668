package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.Comparison.Verdict;
import java.util.List;
import org.junit.jupiter.api.Test;

class ComparisonTest {
    private static Result ms(String name, double value, double low, double high) {
        return Result.of("b", name, value, "ms", Better.LOWER, 5).withSpread(low, high);
    }

    private static Comparison.Row one(Result a, Result b) {
        List<Comparison.Row> rows = Comparison.of(List.of(a), List.of(b));
        assertEquals(1, rows.size());
        return rows.getFirst();
    }

    @Test
    void aChangeBeyondTheNoiseHasADirection() {
        Comparison.Row faster = one(ms("x", 10, 9, 11), ms("x", 5, 4.5, 5.5));
        assertEquals(Verdict.BETTER, faster.verdict());
        assertEquals(-0.5, faster.change(), 1e-12);
        assertEquals(0.15, faster.noise(), 1e-12, "what the run saw, and what runs differ by");
        assertEquals(
                Verdict.WORSE, one(ms("x", 5, 4.5, 5.5), ms("x", 10, 9, 11)).verdict());
        Result slowRate = Result.of("b", "x", 100, "GB/s", Better.HIGHER, 5).withSpread(99, 101);
        Result fastRate = Result.of("b", "x", 200, "GB/s", Better.HIGHER, 5).withSpread(199, 201);
        assertEquals(Verdict.BETTER, one(slowRate, fastRate).verdict());
        assertEquals(Verdict.WORSE, one(fastRate, slowRate).verdict());
    }

    @Test
    void intervalsThatTouchAreNoChange() {
        assertEquals(
                Verdict.WITHIN_NOISE,
                one(ms("x", 10, 8, 12), ms("x", 14, 12, 16)).verdict());
    }

    @Test
    void aSingleRunDoesNotKnowHowRunsDiffer() {
        assertEquals(
                Verdict.WITHIN_NOISE,
                one(ms("x", 3.24, 3.2, 3.3), ms("x", 3.5, 3.45, 3.55)).verdict());
        List<Result> runs = List.of(ms("x", 3.24, 3.2, 3.3), ms("x", 3.25, 3.2, 3.3));
        List<Result> slower = List.of(ms("x", 3.5, 3.45, 3.55), ms("x", 3.5, 3.45, 3.55));
        assertEquals(Verdict.WORSE, Comparison.of(runs, slower).getFirst().verdict(), "two runs of each do");
    }

    @Test
    void aValueMeasuredOnceGetsAnAssumedNoise() {
        Result once = Result.of("b", "x", 100, "ms", Better.LOWER, 1);
        assertEquals(
                Verdict.WITHIN_NOISE,
                one(once, Result.of("b", "x", 115, "ms", Better.LOWER, 1)).verdict());
        assertEquals(
                Verdict.WORSE,
                one(once, Result.of("b", "x", 125, "ms", Better.LOWER, 1)).verdict());
    }

    @Test
    void runsAppendedToOneFileAreRepetitions() {
        List<Result> before = List.of(ms("x", 10, 9.9, 10.1), ms("x", 20, 19.9, 20.1), ms("x", 12, 11.9, 12.1));
        Comparison.Row row =
                Comparison.of(before, List.of(ms("x", 15, 14.9, 15.1))).getFirst();
        assertEquals(12, row.before(), 1e-12, "the median");
        assertEquals(Verdict.WITHIN_NOISE, row.verdict());
        assertTrue(row.noise() > 0.4, "half of 9.9 to 20.1 over 12: " + row.noise());
    }

    @Test
    void casesOfOneSideAndOtherUnitsAreNamed() {
        List<Comparison.Row> rows = Comparison.of(
                List.of(ms("gone", 1, 1, 1), ms("odd", 1, 1, 1)),
                List.of(Result.of("b", "odd", 1000, "us", Better.LOWER, 1), ms("new", 2, 2, 2)));
        assertEquals(
                List.of(Verdict.ONLY_BEFORE, Verdict.NOT_COMPARABLE, Verdict.ONLY_AFTER),
                rows.stream().map(Comparison.Row::verdict).toList());
        assertEquals(2, Comparison.count(rows, Verdict.ONLY_BEFORE, Verdict.ONLY_AFTER));
    }

    @Test
    void oneSideInSeveralUnitsIsRefused() {
        List<Result> mixed = List.of(ms("x", 1, 1, 1), Result.of("b", "x", 1000, "us", Better.LOWER, 1));
        for (List<List<Result>> sides : List.of(List.of(mixed, mixed), List.of(List.<Result>of(), mixed))) {
            BenchException e =
                    assertThrows(BenchException.class, () -> Comparison.of(sides.getFirst(), sides.getLast()));
            assertTrue(e.getMessage().contains("b x") && e.getMessage().contains("in us"), e.getMessage());
        }
        List<Result> directions = List.of(ms("x", 1, 1, 1), Result.of("b", "x", 1, "ms", Better.HIGHER, 1));
        assertThrows(BenchException.class, () -> Comparison.of(directions, List.of()));
    }

    @Test
    void nothingStaysNothing() {
        Result zero = Result.of("b", "alloc", 0, "B", Better.LOWER, 10);
        assertEquals(Verdict.WITHIN_NOISE, one(zero, zero).verdict());
        assertEquals(
                Verdict.WORSE,
                one(zero, Result.of("b", "alloc", 32, "B", Better.LOWER, 10)).verdict());
    }
}
