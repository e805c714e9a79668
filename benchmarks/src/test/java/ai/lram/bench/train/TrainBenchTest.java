package ai.lram.bench.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.subject.ModelSize;
import java.util.List;
import org.junit.jupiter.api.Test;

class TrainBenchTest {
    @Test
    void tokensKernelsAndTheBestProductAreReported() {
        Run run = new Run(what -> {});
        new TrainBench(TrainBench.Settings.defaults(true, List.of(1, 2))).run(run);
        List<String> names = run.results().stream().map(Result::caseName).toList();
        for (String t : List.of("1t", "2t")) {
            for (String name : List.of(
                    "train-1m-" + t,
                    "train-1m-" + t + "-flop",
                    "train-1m-" + t + "-products",
                    "train-1m-" + t + "-matmul-of-best",
                    "train-1m-" + t + "-matmul-share",
                    "train-1m-" + t + "-other-share",
                    "train-1m-" + t + "-share-linear-dw",
                    "train-1m-" + t + "-share-mlstm")) {
                assertTrue(names.contains(name), name + " in " + names);
            }
        }
        assertTrue(names.contains("train-1m-2t-over-1t"), names.toString());
        for (Result r : run.results()) {
            assertTrue(r.value() >= 0 && Double.isFinite(r.value()), r.toString());
        }
        double shares = run.results().stream()
                .filter(r -> r.caseName().startsWith("train-1m-1t-share-"))
                .mapToDouble(Result::value)
                .sum();
        assertEquals(100, shares, 1e-6);
        assertEquals(2, run.tables().size());
    }

    @Test
    void theHumanoidIsASizeOfItsOwn() {
        assertEquals("train-g1", "train-" + TrainBench.size("g1").key());
        assertEquals(ModelSize.of("16M"), TrainBench.size("16m"));
        assertEquals(
                List.of("16M", TrainBench.G1),
                TrainBench.Settings.defaults(false, List.of(1)).sizes().stream()
                        .map(ModelSize::name)
                        .toList());
        assertThrows(BenchException.class, () -> TrainBench.size("G2"));
    }

    @Test
    void settingsThatCannotBeUsedAreRefused() {
        List<ModelSize> sizes = List.of(ModelSize.of("1M"));
        for (Runnable bad : List.<Runnable>of(
                () -> new TrainBench.Settings(List.of(), 1, 1, List.of(1), 1, 1, true),
                () -> new TrainBench.Settings(sizes, 0, 1, List.of(1), 1, 1, true),
                () -> new TrainBench.Settings(sizes, 1, 0, List.of(1), 1, 1, true),
                () -> new TrainBench.Settings(sizes, 1, 1, List.of(0), 1, 1, true),
                () -> new TrainBench.Settings(sizes, 1, 1, List.of(1), 1, 0, true))) {
            BenchException e = assertThrows(BenchException.class, bad::run);
            assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
        }
    }
}
