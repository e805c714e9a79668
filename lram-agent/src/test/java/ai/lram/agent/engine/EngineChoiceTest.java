package ai.lram.agent.engine;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.testing.Cards;
import ai.lram.agent.testing.LiveModels;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendProvider;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.Backends;
import ai.lram.backend.KernelLaunchException;
import ai.lram.backend.cuda.EmulatedCuda;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class EngineChoiceTest {
    private static final EngineChoice.Effort EFFORT = new EngineChoice.Effort(1_000_000, 20, 1_000_000_000);
    private static final EngineChoice.Sessions THREE = new EngineChoice.Sessions(3, "all slots");
    private static final String NO_DRIVER = "no NVIDIA driver; fix: install one";

    private final ScriptedPolicy.Clock clock = new ScriptedPolicy.Clock();
    private final ScriptedPolicy cuda = new ScriptedPolicy(clock, 2000);
    private final ScriptedPolicy cpu = new ScriptedPolicy(clock, 3000);
    private final Map<String, RuntimeException> refusing = new HashMap<>();
    private final List<String> opened = new ArrayList<>();

    private record Known(String name, int rank, Optional<String> whyUnavailable) implements BackendProvider {
        @Override
        public Backend open(BackendOptions options) {
            throw new AssertionError("the policy opens its engine");
        }
    }

    private EngineChoice choice(String whyNoCuda) {
        return new EngineChoice(
                List.of(new Known("cuda", 10, Optional.ofNullable(whyNoCuda)), new Known("cpu", 0, Optional.empty())),
                EFFORT,
                clock::now);
    }

    private Policy open(String engine) {
        opened.add(engine);
        if (refusing.containsKey(engine)) {
            throw refusing.get(engine);
        }
        return engine.equals("cuda") ? cuda : cpu;
    }

    private EngineChoice.Chosen auto() {
        return choice(null).open("auto", this::open, THREE);
    }

    @ParameterizedTest
    @CsvSource({"2000, 3000, cuda", "3000, 2000, cpu", "2000, 2000, cuda"})
    void theFasterEngineIsKeptAndTheOtherClosed(long cudaNs, long cpuNs, String faster) {
        ScriptedPolicy one = new ScriptedPolicy(clock, cudaNs);
        ScriptedPolicy other = new ScriptedPolicy(clock, cpuNs);
        EngineChoice.Chosen chosen = choice(null).open("auto", e -> e.equals("cuda") ? one : other, THREE);
        ScriptedPolicy kept = faster.equals("cuda") ? one : other;
        assertSame(kept, chosen.policy());
        assertFalse(kept.closed());
        assertTrue((kept == one ? other : one).closed());
        assertEquals(
                String.format(
                        "engine %s: the fastest for this model with 3 sessions in a step (all slots): cuda %.3f ms, cpu %.3f"
                                + " ms, medians of 20 and 20 steps",
                        faster, 3 * cudaNs / 1e6, 3 * cpuNs / 1e6),
                chosen.reason());
        for (ScriptedPolicy p : List.of(one, other)) {
            assertEquals(List.of("warm-up", "step of 1", "step of 2", "step of 3"), p.asked.subList(0, 4));
        }
    }

    @Test
    void aSlowEngineEndsTheMeasurementEarly() {
        ScriptedPolicy slow = new ScriptedPolicy(clock, 400_000_000);
        EngineChoice.Chosen chosen = choice(null).open("auto", e -> e.equals("cuda") ? cuda : slow, THREE);
        assertSame(cuda, chosen.policy());
        assertTrue(chosen.reason().contains("cpu 1200.000 ms, medians of 20 and 2 steps"), chosen.reason());
        assertTrue(slow.steps < 8, slow.steps + " steps");
    }

    @Test
    void whereOneEngineCanBeUsedNothingIsMeasured() {
        EngineChoice.Chosen chosen = choice(NO_DRIVER).open("auto", this::open, THREE);
        assertSame(cpu, chosen.policy());
        assertEquals("engine cpu: the only one here (refused: cuda: " + NO_DRIVER + ")", chosen.reason());
        assertEquals(List.of("auto"), opened, "opening tells the refusal as ever");
        assertEquals("warm-up", cpu.asked.getFirst());
        assertFalse(cpu.closed());
    }

    @Test
    void anEngineThatIsAskedForIsNotMeasured() {
        EngineChoice.Chosen chosen = choice(null).open("cpu", this::open, THREE);
        assertSame(cpu, chosen.policy());
        assertEquals(List.of("cpu"), opened);
        assertEquals("warm-up", cpu.asked.getFirst());
        refusing.put("cuda", new BackendUnavailableException("no engine for device=cuda", NO_DRIVER, "fix"));
        assertThrows(BackendUnavailableException.class, () -> choice(NO_DRIVER).open("cuda", this::open, THREE));
    }

    @ParameterizedTest
    @ValueSource(strings = {"warm-up", "step of 1", "step of 3"})
    void anEngineThatFailsIsLeftOutAndClosed(String failing) {
        cuda.failing = failing;
        EngineChoice.Chosen chosen = auto();
        assertSame(cpu, chosen.policy());
        assertEquals("engine cpu: the only one left (cuda failed: cannot do: " + failing + ")", chosen.reason());
        assertTrue(cuda.closed());
        assertFalse(cpu.closed());
    }

    @Test
    void anEngineThatCannotBeOpenedIsLeftOut() {
        refusing.put("cuda", new KernelLaunchException("kernel", "it does not compile", "report it"));
        EngineChoice.Chosen chosen = auto();
        assertSame(cpu, chosen.policy());
        assertTrue(chosen.reason().contains("cuda failed: kernel; why: it does not compile"), chosen.reason());
        assertTrue(cpu.asked.contains("warm-up"));
    }

    @Test
    void anEngineWithoutFiniteAnswersIsLeftOut() {
        cuda.finite = false;
        EngineChoice.Chosen chosen = auto();
        assertSame(cpu, chosen.policy());
        assertTrue(chosen.reason().contains("not finite"), chosen.reason());
        assertTrue(cuda.closed());
    }

    @Test
    void anEngineThatDoesNotCloseChangesNothing() {
        cpu.failing = "close";
        assertSame(cuda, auto().policy());
        assertTrue(cpu.closed());
    }

    @Test
    void whereAllFailTheFirstFailureIsThrownAndNothingStaysOpen() {
        refusing.put("cuda", new KernelLaunchException("kernel", "it does not compile", "report it"));
        cpu.failing = "step of 2";
        KernelLaunchException e = assertThrows(KernelLaunchException.class, this::auto);
        assertEquals("cannot do: step of 2", e.getSuppressed()[0].getMessage());
        assertTrue(cpu.closed());
    }

    @Test
    void anErrorOfTheMachineLeavesNothingOpen() {
        refusing.clear();
        OutOfMemoryError full = new OutOfMemoryError("heap");
        assertSame(full, assertThrows(OutOfMemoryError.class, () -> choice(null)
                .open(
                        "auto",
                        e -> {
                            if (e.equals("cpu")) {
                                throw full;
                            }
                            return cuda;
                        },
                        THREE)));
        assertTrue(cuda.closed());
    }

    /** Kernels run on the host are slower than those made for it. */
    @Test
    void theEmulatedEngineIsMeasuredAndGivenBack() {
        List<String> ended = new ArrayList<>();
        EngineChoice.Effort little = new EngineChoice.Effort(20_000_000, 10, 100_000_000);
        EngineChoice measuring = new EngineChoice(
                List.of(new Known("cuda", 10, Optional.empty()), new Known("cpu", 0, Optional.empty())),
                little,
                System::nanoTime);
        EngineChoice.Chosen chosen = measuring.open(
                "auto",
                e -> {
                    Backend backend =
                            e.equals("cuda") ? EmulatedCuda.open() : Backends.open("cpu", BackendOptions.threads(1));
                    Lram model = LiveModels.of(
                            backend, new LramConfig(6, 2, 4, 32, false, false, new XlstmConfig(32, 2, 2, List.of())));
                    LramPolicy policy = new LramPolicy(
                            model, Cards.model(Cards.continuous("a", 5, 2)), LramPolicy.Options.of(2, 2));
                    return new OwningPolicy(
                            policy, List.of(model::close, () -> ended.add(backend.name()), backend::close));
                },
                new EngineChoice.Sessions(2, "all slots"));
        try (Policy kept = chosen.policy()) {
            assertTrue(
                    chosen.reason().startsWith("engine cpu: the fastest for this model with 2 sessions"),
                    chosen.reason());
            assertEquals(List.of("cuda:0"), ended);
            assertEquals(2, kept.maxBatch());
        }
        assertEquals(List.of("cuda:0", "cpu"), ended);
    }
}
