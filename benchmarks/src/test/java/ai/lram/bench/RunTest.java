package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Optional;
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
    void aFailedBenchmarkLeavesNothing() {
        Run run = new Run(what -> {});
        run.note("kept");
        run.result(Result.of("good", "x", 1, "ms", Better.LOWER, 1));
        Benchmark bad = new Benchmark() {
            @Override
            public String name() {
                return "b";
            }

            @Override
            public String measures() {
                return "nothing";
            }

            @Override
            public void run(Run r) {
                r.distribution(distribution(100), 1, Double.NaN, "");
                r.table(new Run.Table("b", "t", List.of("h"), List.of()));
                r.note("taken back");
                throw new WrongAnswerException("what", "why", "fix");
            }
        };
        assertThrows(WrongAnswerException.class, () -> run.attempt(bad));
        assertEquals(List.of("x"), run.results().stream().map(Result::caseName).toList());
        assertEquals(List.of("kept"), run.notes());
        assertTrue(run.distributions().isEmpty() && run.tables().isEmpty());
        assertThrows(WrongAnswerException.class, () -> run.attempt(bad), "its cases may be reported again");
    }

    @Test
    void anAlternativeStandsBesideEveryPercentileItHasSamplesFor() {
        Run run = new Run(what -> {});
        run.distribution(distribution(1000), 0.1, Optional.of(distribution(200).latencies()), "");
        assertEquals(0.1, run.results().get(0).peer(), 0.001, "the median");
        assertEquals("x-p99", run.results().get(2).caseName());
        assertEquals(0.198, run.results().get(2).peer(), 0.001);
        assertEquals("x-p999", run.results().get(3).caseName());
        assertTrue(Double.isNaN(run.results().get(3).peer()), "200 samples say nothing about p99.9");
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
