package ai.lram.bench.subject;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.cuda.EmulatedCuda;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

class PolicyMemoryTest {
    private static final Pattern LIVE = Pattern.compile("policy (\\d+) bytes");
    private static final int ACTIONS = 3;
    private static final ModelCard CARD = Shapes.card(Shapes.vector("t", 204, ACTIONS, 100));

    /** Bytes that a policy of so many slots holds, by its own account, and its model's parameters. */
    private static long actual(Backend backend, LramConfig config, DType weights, DType state, int slots) {
        try (Lram model = new Lram(config)) {
            model.allocate(backend, false);
            model.parameters().initialize(1);
            try (LramPolicy policy = new LramPolicy(
                    model,
                    CARD,
                    LramPolicy.Options.of(slots, slots).withWeights(weights).withState(state))) {
                Matcher live = LIVE.matcher(policy.memory());
                assertTrue(live.find(), policy.memory());
                return Long.parseLong(live.group(1)) + 4 * model.parameters().count();
            }
        }
    }

    @Test
    void aPolicyTakesWhatIsToldAndHardlyLess() {
        try (Backend cpu = Backends.open("cpu", BackendOptions.threads(1))) {
            told(cpu, DType.F32, DType.F32, DType.BF16, DType.I8);
        }
    }

    @Test
    void aPolicyWithANarrowStateTakesWhatIsTold() {
        try (Backend cuda = EmulatedCuda.open()) {
            told(cuda, DType.BF16, DType.BF16, DType.I8); // copies no fp32 weights, which the formula counts
        }
    }

    @Test
    void weightsInFp16AreTold() {
        try (Backend cuda = EmulatedCuda.open()) {
            assertTrue(cuda.ops().session().readsFp16(DType.F32, 9));
            assertFalse(cuda.ops().session().readsFp16(DType.F32, 1), "one session has a form of its own");
            told(cuda, DType.BF16, DType.BF16);
        }
    }

    private static void told(Backend backend, DType state, DType... stored) {
        for (XlstmConfig backbone : List.of(ModelSize.of("1M").backbone(), new XlstmConfig(160, 4, 4, List.of(1, 3)))) {
            LramConfig config = LramConfig.of(backbone).withActionDims(ACTIONS);
            for (int slots : List.of(1, 9)) {
                boolean fp16 = backend.ops().session().readsFp16(state, slots);
                for (DType weights : stored) {
                    int bytes = weights == DType.F32 ? 4 : weights == DType.BF16 ? 2 : 1;
                    long told = PolicyMemory.bytes(config, bytes, fp16, state, slots);
                    long taken = actual(backend, config, weights, state, slots);
                    assertTrue(
                            taken <= told && told <= 1.05 * taken,
                            backbone + " " + weights + " " + state + " " + slots + ": " + taken + " taken, " + told
                                    + " told");
                }
            }
        }
    }

    @Test
    void aPassTakesWhatIsTold() {
        LramConfig config = ModelSize.of("1M").config(1, false);
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Lram model = new Lram(config)) {
            model.allocate(backend, false);
            for (int steps : List.of(30, 100)) {
                Tape tape = new Tape(backend, false);
                tape.keep(model.forward(tape, 1, steps, false, null).logits());
                try (Plan plan = tape.plan("pass")) {
                    long told = PolicyMemory.passBytes(config, steps);
                    assertTrue(
                            plan.slabBytes() <= told && told <= 2 * plan.slabBytes(),
                            steps + " steps: " + plan.slabBytes() + " taken, " + told + " told");
                }
            }
        }
    }
}
