package ai.lram.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.bench.BenchException;
import ai.lram.bench.Host;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.gpu.GpuStepSettings.Batch;
import ai.lram.bench.gpu.GpuStepSettings.Model;
import ai.lram.bench.gpu.GpuStepSettings.Transformer;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import ai.lram.bench.suite.BenchPage;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class GpuStepBenchTest {
    private static final ModelSize TINY = new ModelSize("TINY", XlstmConfig.mlstm(16, 1, 2));

    private static GpuStepSettings settings(String weights, DType state) {
        Model tiny = new Model(
                TINY,
                40,
                520,
                List.of(
                        new Batch("step-tiny-b3-ctx5", 3, 5, false, false),
                        new Batch("step-tiny-b3-ctx5-apart", 3, 5, false, true),
                        new Batch("steps-tiny-b2", 2, 6, true, false),
                        new Batch("steps-tiny-b2-late", 2, 500, true, false)),
                List.of(new Transformer(4, 0.2), new Transformer(9, Double.NaN)),
                1.5);
        return new GpuStepSettings(List.of(tiny), LramSubject.weights(weights), state, 0, 0, List.of(), 0);
    }

    @Test
    void withoutAGpuNothingIsMeasured() {
        assumeTrue(
                Backends.providers().stream()
                        .noneMatch(p ->
                                p.name().equals("cuda") && p.whyUnavailable().isEmpty()),
                "skipped: this machine has a GPU");
        Run run = new Run(what -> {});
        GpuStepBench bench = new GpuStepBench(settings("fp32", DType.F32), true);
        assertThrows(BenchException.class, bench::require);
        assertThrows(BenchException.class, () -> bench.run(run));
        assertTrue(run.results().isEmpty());
    }

    @Test
    void everyCaseIsCheckedTimedAndReported() {
        Run run = new Run(what -> {});
        GpuStepBench bench = new GpuStepBench(
                settings("bf16", DType.F32).withContexts(List.of(9, 2, 500)).withBytesSteps(30), true);
        try (Backend engine = EmulatedCuda.open()) {
            bench.measure(run, engine, 1e12);
        }
        Map<String, Result> results =
                run.results().stream().collect(Collectors.toMap(Result::caseName, Function.identity()));
        for (String name : List.of(
                "step-tiny-b1",
                "step-tiny-b1-ctx2",
                "step-tiny-b1-ctx9",
                "step-tiny-b1-ctx500",
                "step-tiny-b1-ctx520",
                "step-tiny-b1-ctx520-to-ctx500",
                "step-tiny-b1-first-step",
                "step-tiny-b3-ctx5",
                "step-tiny-b3-ctx5-bandwidth",
                "step-tiny-b3-ctx5-apart",
                "steps-tiny-b2",
                "steps-tiny-b2-ms-max",
                "dt-tiny-ctx4",
                "dt-tiny-ctx9",
                "dt-tiny-ctx9-max")) {
            Result r = results.get(name);
            assertTrue(r != null, name + " in " + results.keySet());
            assertEquals("gpu-step", r.bench());
            assertTrue(r.value() > 0 && (r.floor() > 0 || name.endsWith("first-step")), r.toString());
        }
        assertTrue(results.get("launch").value() > 0, results.toString());
        assertEquals(1.5, results.get("step-tiny-b1").peer());
        assertTrue(results.get("step-tiny-b1").note().contains("from the CPU's"), results.toString());
        assertTrue(results.get("step-tiny-b3-ctx5-apart").note().contains("begun a step apart"), results.toString());
        Result beginning = results.get("steps-tiny-b2-late-beginning");
        assertTrue(beginning.value() > 0 && beginning.floor() > 0, beginning.toString());
        assertTrue(beginning.note().contains("of the first 500, from step "), beginning.note());
        assertEquals(0.2, results.get("dt-tiny-ctx4").peer());
        assertTrue(Double.isNaN(results.get("dt-tiny-ctx9").peer()));
        Result rate = results.get("steps-tiny-b2");
        assertEquals("steps/s", rate.unit());
        assertTrue(rate.value() < rate.floor(), rate.toString());
        Result bytes = results.get("bytes-tiny-b1");
        assertEquals("B", bytes.unit());
        assertEquals(1, bytes.ratio(), 0.02, bytes.toString());
        assertEquals(0, results.get("bytes-tiny-b1-driver").value());
        assertEquals(30, results.get("step-tiny-b1-long").samples());
        String page = BenchPage.of(run, new Host("abc", "25", "cpu", "gpu"), "lram bench gpu-step", List.of(bench))
                .html();
        int plot = page.indexOf("Time of a step over what lies behind it");
        assertTrue(plot > 0, "latency over context");
        String legend = page.substring(plot, page.indexOf("</svg>", plot));
        assertTrue(legend.contains("step-tiny-b1") && legend.contains("dt-tiny"), legend);
    }

    @Test
    void contextsAndStepsThatCannotBeAreRefused() {
        assertThrows(BenchException.class, () -> settings("bf16", DType.F32).withContexts(List.of(5, -1)));
        assertThrows(BenchException.class, () -> settings("bf16", DType.F32).withBytesSteps(-1));
    }

    @Test
    void theSlowestStretchIsNoHiccup() {
        double[] ms = {1, 2, 2, 99, 2, 2, 2, 3, 5, 5, 5, 3, 1, 98, 97, 1};
        assertEquals(6, GpuStepBench.slowest(ms)); // 2 3 5 5 5, and none of three that are large by chance
        assertEquals(5, GpuStepBench.median(ms, 6));
    }

    @Test
    void aStateInBf16MovesFewerBytes() {
        Run run = new Run(what -> {});
        ModelCard card = Shapes.card(Shapes.vector("t", 204, 1, 100));
        try (Backend engine = EmulatedCuda.open();
                LramSubject fp32 = LramSubject.open(engine, TINY, LramSubject.weights("bf16"), card, 1);
                LramSubject bf16 = LramSubject.open(engine, TINY, LramSubject.weights("bf16"), DType.BF16, card, 1)) {
            new GpuStepBench(settings("bf16", DType.BF16), true).measure(run, engine, 1e12);
            double weights = 2 * fp32.stepBytes(1, 500) - fp32.stepBytes(2, 500);
            for (int context : new int[] {1, 500}) { // of which the first has folded nothing yet
                double full = fp32.stepBytes(1, context) - weights;
                assertEquals(full / 2, bf16.stepBytes(1, context) - weights, 1e-9 * full, "context " + context);
            }
        }
        Result step = run.results().stream()
                .filter(r -> r.caseName().equals("step-tiny-b1"))
                .findFirst()
                .orElseThrow();
        assertTrue(step.note().contains("BF16 state"), step.note());
        assertTrue(
                run.notes().getFirst().contains("matrix states in BF16"),
                run.notes().toString());
    }

    /** The CPU's bf16 weights against fp32 ones: more than fp32 may differ. */
    @Test
    void anAnswerThatIsNotTheOtherEnginesIsRefused() {
        ModelCard card = Shapes.card(Shapes.vector("t", 204, 1, 100));
        try (Backend cpu = Backends.open("cpu", BackendOptions.threads(1));
                LramSubject one = LramSubject.open(cpu, TINY, LramSubject.weights("fp32"), card, 3);
                LramSubject same = LramSubject.open(cpu, TINY, LramSubject.weights("fp32"), card, 2);
                LramSubject other = LramSubject.open(cpu, TINY, LramSubject.weights("bf16"), card, 2)) {
            assertTrue(one.check(same.answers(3, 9), 1e-5) < 1e-5);
            assertTrue(one.check(same.answers(1, 9), 1e-5) < 1e-5);
            LramSubject.Answers others = other.answers(3, 9);
            WrongAnswerException e = assertThrows(WrongAnswerException.class, () -> one.check(others, 1e-5));
            assertTrue(e.getMessage().contains("3 sessions"), e.getMessage());
        }
    }

    @Test
    void theUsualCasesAreThoseOfTheDesign() {
        GpuStepSettings usual =
                GpuStepSettings.of(GpuStepSettings.sizes(), LramSubject.weights("bf16"), DType.F32, null, false);
        assertEquals(
                List.of(
                        "steps-16m-b256",
                        "steps-16m-b256-apart",
                        "step-206m-b64-ctx50",
                        "step-206m-b64-ctx500-fp32state",
                        "step-206m-b64-ctx500-fp32state-apart"),
                usual.models().stream()
                        .flatMap(m -> m.batches().stream())
                        .map(Batch::name)
                        .toList());
        assertEquals(
                "step-206m-b64-ctx500-bf16state-apart",
                GpuStepSettings.of(List.of("206M"), LramSubject.weights("bf16"), DType.BF16, null, false)
                        .models()
                        .getFirst()
                        .batches()
                        .getLast()
                        .name());
        assertEquals(100_000, usual.models().getFirst().steps());
        assertEquals(25_600, usual.models().getFirst().longContext());
        assertEquals(64, usual.models().getLast().sessions());
        assertThrows(
                BenchException.class,
                () -> GpuStepSettings.of(List.of("48M"), LramSubject.weights("bf16"), DType.F32, null, false));
    }
}
