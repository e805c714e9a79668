package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class RunTest {
    private static Distribution distribution(int samples) {
        Latencies l = new Latencies(samples, 2);
        for (int i = 1; i <= samples; i++) {
            l.record(i * 1000L);
        }
        return new Distribution("b", "x", l);
    }

    private static List<String> names(int samples) {
        Run run = new Run(what -> {});
        run.distribution(distribution(samples), 0.001, Double.NaN, "");
        return run.results().stream().map(Result::caseName).toList();
    }

    @Test
    void percentilesThatSamplesCannotTellApartAreLeftOut() {
        assertEquals(List.of("x", "x-max"), names(20));
        assertEquals(List.of("x", "x-p90", "x-p99", "x-max"), names(100));
        assertEquals(List.of("x", "x-p90", "x-p99", "x-p999", "x-p9999", "x-max"), names(10_000));
    }

    @Test
    void tablesShowTheMedianAndLinesEverything() {
        Run run = new Run(what -> {});
        run.distribution(distribution(1000), 0.1, 1, "a note");
        assertEquals(
                List.of("x"), run.headlines().stream().map(Result::caseName).toList());
        Result median = run.headlines().getFirst();
        assertEquals(0.5, median.value(), 0.001);
        assertEquals(5, median.ratio(), 0.01);
        assertEquals(2, median.advantage(), 0.01);
        assertEquals(0.25, median.low(), 0.001);
        assertEquals(0.75, median.high(), 0.001);
        assertTrue(run.results().size() > 3);
    }

    @Test
    void aCaseIsReportedOnce() {
        Run run = new Run(what -> {});
        run.result(Result.of("b", "x", 1, "ms", Better.LOWER, 1));
        run.result(Result.of("c", "x", 1, "ms", Better.LOWER, 1));
        assertThrows(IllegalArgumentException.class, () -> run.result(Result.of("b", "x", 2, "ms", Better.LOWER, 1)));
        run.note("n");
        run.note("n");
        assertEquals(List.of("n"), run.notes());
    }

    @Test
    void benchmarksOfARunShareWhatTheyMeasured() {
        Run run = new Run(what -> {});
        Object made = run.shared(Object.class, Object::new);
        assertSame(made, run.shared(Object.class, Object::new));
    }

    @Test
    void resultsThatMakeNoSenseAreRefused() {
        assertThrows(IllegalArgumentException.class, () -> Result.of("b", " ", 1, "ms", Better.LOWER, 1));
        assertThrows(IllegalArgumentException.class, () -> Result.of("b", "x", 1, "ms", Better.LOWER, 0));
        assertThrows(IllegalArgumentException.class, () -> Result.of("b", "x", 1, "ms", Better.LOWER, 1)
                .withSpread(2, 1));
    }
}
