package ai.lram.bench.step;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import ai.lram.bench.subject.Subject;
import ai.lram.bench.subject.TransformerSubject;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class StepBenchTest {
    private static final ModelSize SMALL = ModelSize.of("1m");
    private static final ModelCard CARD = Shapes.card(Shapes.vector("t", 204, 1, 100));

    private static StepSettings settings(List<Integer> threads) {
        return new StepSettings(
                List.of(SMALL),
                LramSubject.WEIGHTS,
                List.of(30, 5),
                threads,
                3,
                20,
                100,
                new StepSettings.Peers(List.of(30, 5), true),
                List.of(),
                0.05);
    }

    /** One size, one storage, no alternatives. */
    private static StepSettings plain(int context, int samples, List<StepSettings.Single> singles) {
        return new StepSettings(
                List.of(SMALL),
                List.of(LramSubject.weights("fp32")),
                List.of(5, context),
                List.of(1),
                1,
                samples,
                0,
                StepSettings.Peers.NONE,
                singles,
                0);
    }

    private static Map<String, Result> byName(Run run) {
        return run.results().stream().collect(Collectors.toMap(Result::caseName, r -> r));
    }

    @Test
    void everyCaseIsReportedWithItsFloor() {
        Run run = new Run(what -> {});
        new StepBench(settings(List.of(1, 2)), true).run(run);
        List<String> names = run.results().stream().map(Result::caseName).toList();
        for (String t : List.of("1t", "2t")) {
            String base = "step-1m-fp32-" + t;
            for (String suffix : List.of("", "-max", "-ctx5", "-ctx30", "-alloc", "-bytes", "-flop")) {
                assertTrue(names.contains(base + suffix), base + suffix + " in " + names);
            }
            assertTrue(names.contains("noise-" + base), names.toString());
            assertTrue(names.contains("step-1m-bf16-3sessions-" + t), names.toString());
            assertTrue(names.contains("ort-1m-fp32-" + t) && names.contains("ort-1m-int8-" + t), names.toString());
            assertTrue(names.contains("dt-1m-ctx5-" + t) && names.contains("dt-1m-ctx30-" + t), names.toString());
        }
        for (Result r : run.results()) {
            assertFalse(Double.isNaN(r.floor()), r.toString());
            assertTrue(r.value() >= 0 && Double.isFinite(r.value()), r.toString());
        }
        Map<String, Result> byName = byName(run);
        assertEquals(
                byName.get("dt-1m-ctx30-1t").value(),
                byName.get("step-1m-fp32-1t-ctx30").peer(),
                "the transformer at the same context is the peer");
        for (String ours : List.of("fp32", "bf16", "int8")) {
            assertEquals(
                    byName.get("ort-1m-" + (ours.equals("int8") ? "int8" : "fp32") + "-2t")
                            .value(),
                    byName.get("step-1m-" + ours + "-2t").peer(),
                    "ONNX Runtime's form of the same type is the peer of " + ours);
        }
        assertTrue(byName.get("ort-1m-fp32-1t").note().contains("differ from our fp32 step's by at most"));
        assertTrue(byName.get("step-1m-fp32-1t-alloc").samples() >= 100, "as many steps as were asked for");
        assertTrue(run.notes().getFirst().contains("drawn weights"), run.notes().toString());
    }

    @Test
    void tailsStandBesideTheMachinesNoiseAndLongContextsBesideShortOnes() {
        Run run = new Run(what -> {});
        new StepBench(plain(600, 1000, List.of()), true).run(run);
        Map<String, Result> byName = byName(run);
        assertEquals(
                byName.get("step-1m-fp32-1t-p999").value()
                        / byName.get("noise-step-1m-fp32-1t-p999").value(),
                byName.get("step-1m-fp32-1t-p999-to-noise").value(),
                1e-9);
        assertFalse(byName.containsKey("step-1m-fp32-1t-ctx600-to-ctx600"), "one steady context has nothing beside it");
        Run two = new Run(what -> {});
        StepSettings s = plain(600, 20, List.of());
        new StepBench(
                        new StepSettings(
                                s.sizes(),
                                s.weights(),
                                List.of(50, 500, 700),
                                s.threads(),
                                1,
                                20,
                                0,
                                StepSettings.Peers.NONE,
                                List.of(),
                                0),
                        true)
                .run(two);
        Map<String, Result> flat = byName(two);
        Result ratio = flat.get("step-1m-fp32-1t-ctx700-to-ctx500");
        Matcher early = Pattern.compile("\\((.*) ms\\)").matcher(ratio.note());
        assertTrue(early.find(), ratio.note());
        assertEquals(
                flat.get("step-1m-fp32-1t-ctx700").value() / Double.parseDouble(early.group(1)),
                ratio.value(),
                0.02 * ratio.value());
        assertFalse(flat.containsKey("step-1m-fp32-1t-p999-to-noise"), "20 samples say nothing about p99.9");
    }

    @Test
    void aFurtherCaseIsMeasuredAloneOnceAndLeftOutWhereItDoesNotFit() {
        LramSubject.Weights bf16 = LramSubject.weights("bf16");
        ModelSize endless = new ModelSize("ENDLESS", XlstmConfig.mlstm(8192, 400, 4));
        Run run = new Run(what -> {});
        new StepBench(
                        plain(
                                5,
                                10,
                                List.of(
                                        new StepSettings.Single(SMALL, LramSubject.weights("fp32"), 1, "twice"),
                                        new StepSettings.Single(SMALL, bf16, 1, "goal: 1 ms"),
                                        new StepSettings.Single(endless, bf16, 1, ""))),
                        true)
                .run(run);
        Map<String, Result> byName = byName(run);
        assertFalse(byName.get("step-1m-fp32-1t").note().contains("twice"), "measured anyway");
        assertTrue(byName.get("step-1m-bf16-1t").note().startsWith("goal: 1 ms; "));
        assertFalse(byName.containsKey("step-endless-bf16-1t"));
        assertTrue(
                run.notes().stream().anyMatch(n -> n.startsWith("step-endless-bf16-1t: not measured: it needs ")),
                run.notes().toString());
    }

    @Test
    void withoutItsLibraryOnnxRuntimeIsLeftOutAndThatIsSaid() {
        Run run = new Run(what -> {});
        StepSettings s = plain(5, 10, List.of());
        StepSettings withPeer = new StepSettings(
                s.sizes(),
                s.weights(),
                s.contexts(),
                s.threads(),
                1,
                10,
                0,
                new StepSettings.Peers(List.of(), true),
                List.of(),
                0);
        new StepBench(withPeer, true, () -> Optional.of("no such file")).run(run);
        assertTrue(
                run.notes().contains("ort-1m-fp32-1t, ort-1m-int8-1t: not measured: no such file"),
                run.notes().toString());
        assertTrue(Double.isNaN(byName(run).get("step-1m-fp32-1t").peer()));
    }

    @Test
    void theCheckAcceptsTheStepAndRefusesAnotherOne() {
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1))) {
            try (Subject good = LramSubject.open(backend, SMALL, LramSubject.WEIGHTS.getFirst(), CARD, 2)) {
                double difference = good.check();
                assertTrue(difference > 0 && difference < 1e-4, "difference " + difference);
                good.begin(2, 3);
                good.fill();
                good.step();
                assertTrue(good.usable());
            }
            LramSubject.Weights forgetful = new LramSubject.Weights(
                    "no rewards",
                    DType.F32,
                    1e-4,
                    (model, card, options) -> new LramPolicy(
                            model,
                            card,
                            new LramPolicy.Options(
                                    options.slots(),
                                    options.maxBatch(),
                                    ActionCodec.Decoding.EXPECTATION,
                                    options.schedule(),
                                    true,
                                    DType.F32,
                                    DType.F32)));
            try (Subject wrong = LramSubject.open(backend, SMALL, forgetful, CARD, 1)) {
                WrongAnswerException e = assertThrows(WrongAnswerException.class, wrong::check);
                assertTrue(e.getMessage().contains("no rewards gives wrong answers"), e.getMessage());
            }
        }
    }

    @Test
    void theTransformerIsCheckedAndStaysAtItsContext() {
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Subject dt = TransformerSubject.open(backend, SMALL, CARD, 200)) {
            double difference = dt.check();
            assertTrue(difference > 0 && difference < 1e-4, "difference " + difference);
            dt.begin(1, 200);
            for (int i = 0; i < 100; i++) {
                dt.fill();
                dt.step();
                assertTrue(dt.usable(), "step " + i + " would overflow the cache if it were not put back");
            }
            assertTrue(dt.stepBytes(1, 200) > dt.stepBytes(1, 50), "the cache is read as a whole");
            assertThrows(IllegalArgumentException.class, () -> dt.begin(1, 500));
            dt.begin(1, 0);
            dt.fill();
            dt.step();
            assertTrue(dt.usable());
        }
    }

    @Test
    void stateTrafficGrowsUntilTheFirstFoldAndIsConstantAfterwards() {
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Subject s = LramSubject.open(backend, SMALL, LramSubject.WEIGHTS.getFirst(), CARD, 1)) {
            assertTrue(s.stepBytes(1, 10) > s.stepBytes(1, 1));
            assertEquals(s.stepBytes(1, 5000), s.stepBytes(1, 500));
            double state = s.stepBytes(2, 500) - s.stepBytes(1, 500);
            assertEquals(state, s.stepBytes(3, 500) - s.stepBytes(2, 500), 1, "weights are read once");
            assertEquals(2 * s.stepFlop(1), s.stepFlop(2));
        }
    }

    @Test
    void settingsThatCannotBeUsedAreRefused() {
        for (Runnable bad : List.<Runnable>of(
                () -> ModelSize.of("17M"),
                () -> StepSettings.weightsNamed(List.of("fp7")),
                () -> settings(List.of(0)),
                () -> settings(List.of()),
                () -> plain(0, 1, List.of()),
                () -> plain(1, 0, List.of()),
                () -> new StepSettings.Peers(List.of(0), false),
                () -> sessions(0))) {
            BenchException e = assertThrows(BenchException.class, bad::run);
            assertTrue(e.getMessage().contains("; why: ") && e.getMessage().contains("; fix: "), e.getMessage());
        }
        assertEquals(List.of(5, 30), settings(List.of(1)).contexts(), "ascending");
        StepSettings twice = new StepSettings(
                List.of(SMALL, SMALL),
                LramSubject.WEIGHTS,
                List.of(1),
                List.of(1),
                1,
                1,
                0,
                StepSettings.Peers.NONE,
                List.of(),
                0);
        assertEquals(List.of(SMALL), twice.sizes(), "a size named twice is measured once");
    }

    private static StepSettings sessions(int n) {
        return new StepSettings(
                List.of(SMALL),
                LramSubject.WEIGHTS,
                List.of(1),
                List.of(1),
                n,
                1,
                0,
                StepSettings.Peers.NONE,
                List.of(),
                0);
    }

    @Test
    void theDefaultsNeedLessThanTwoGibibytesAndLeaveOutNothingSmall() {
        StepSettings d = StepSettings.defaults(false);
        int longest = d.peers().transformerContexts().getLast();
        for (ModelSize size : d.sizes()) {
            assertTrue(TransformerSubject.bytes(size, CARD, longest) < 1L << 30, "the transformer after " + longest);
            for (LramSubject.Weights w : d.weights()) {
                assertTrue(LramSubject.bytes(size, w, CARD, d.sessions()) < 1L << 30, w.name());
            }
        }
        for (StepSettings.Single s : d.singles()) {
            assertTrue(LramSubject.bytes(s.size(), s.weights(), CARD, 1) < 2L << 30, s.toString());
        }
        assertEquals(25_600, d.contexts().getLast());
        assertTrue(d.contexts().containsAll(d.peers().transformerContexts()));
        assertEquals(20_000, d.garbageSteps());
    }

    @Test
    void sizesHaveThePromisedParameters() {
        for (String name : List.of("1M", "2M")) {
            long parameters = LramSubject.parameters(ModelSize.of(name), CARD);
            assertTrue(parameters <= 2_000_000, name + " has " + parameters + " parameters");
        }
        long published = LramSubject.parameters(ModelSize.of("16M"), CARD);
        assertTrue(published > 12_000_000 && published < 16_000_000, "without images and with one head: " + published);
    }
}
