package ai.lram.bench.step;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.policy.LramPolicy;
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
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class StepBenchTest {
    private static final ModelSize SMALL = ModelSize.of("1m");
    private static final ModelCard CARD = Shapes.card(Shapes.vector("t", 204, 1, 100));

    private static StepSettings settings(List<Integer> threads) {
        return new StepSettings(List.of(SMALL), LramSubject.WEIGHTS, List.of(30, 5), threads, 3, 20, true, 0.05);
    }

    @Test
    void everyCaseIsReportedWithItsFloor() {
        Run run = new Run(what -> {});
        new StepBench(settings(List.of(1, 2)), true).run(run);
        List<String> names = run.results().stream().map(Result::caseName).toList();
        for (String t : List.of("1t", "2t")) {
            String base = "step-1m-fp32-" + t;
            for (String suffix : List.of("", "-max", "-ctx5", "-ctx30", "-3s", "-alloc", "-bytes", "-flop")) {
                assertTrue(names.contains(base + suffix), base + suffix + " in " + names);
            }
            assertTrue(names.contains("control-" + base), names.toString());
            assertTrue(names.contains("dt-1m-ctx5-" + t) && names.contains("dt-1m-ctx30-" + t), names.toString());
        }
        for (Result r : run.results()) {
            assertFalse(Double.isNaN(r.floor()), r.toString());
            assertTrue(r.value() >= 0 && Double.isFinite(r.value()), r.toString());
        }
        Map<String, Result> byName = run.results().stream().collect(Collectors.toMap(Result::caseName, r -> r));
        assertEquals(
                byName.get("dt-1m-ctx30-1t").value(),
                byName.get("step-1m-fp32-1t-ctx30").peer(),
                "the transformer at the same context is the peer");
        assertTrue(run.notes().getFirst().contains("drawn weights"), run.notes().toString());
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
                    4,
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
                () -> new StepSettings(List.of(SMALL), LramSubject.WEIGHTS, List.of(0), List.of(1), 1, 1, true, 0),
                () -> new StepSettings(List.of(SMALL), LramSubject.WEIGHTS, List.of(1), List.of(1), 0, 1, true, 0),
                () -> new StepSettings(List.of(SMALL), LramSubject.WEIGHTS, List.of(1), List.of(1), 1, 0, true, 0))) {
            BenchException e = assertThrows(BenchException.class, bad::run);
            assertTrue(e.getMessage().contains("; why: ") && e.getMessage().contains("; fix: "), e.getMessage());
        }
        assertEquals(List.of(5, 30), settings(List.of(1)).contexts(), "ascending");
        StepSettings twice =
                new StepSettings(List.of(SMALL, SMALL), LramSubject.WEIGHTS, List.of(1), List.of(1), 1, 1, true, 0);
        assertEquals(List.of(SMALL), twice.sizes(), "a size named twice is measured once");
    }

    @Test
    void sizesHaveThePromisedParameters() {
        for (String name : List.of("1M", "2M")) {
            long parameters = LramSubject.bytes(ModelSize.of(name), LramSubject.WEIGHTS.getFirst(), CARD, 0) / 4;
            assertTrue(parameters <= 2_000_000, name + " has " + parameters + " parameters");
        }
        long published = LramSubject.bytes(ModelSize.of("16M"), LramSubject.WEIGHTS.getFirst(), CARD, 0) / 4;
        assertTrue(published > 12_000_000 && published < 16_000_000, "without images and with one head: " + published);
    }
}
