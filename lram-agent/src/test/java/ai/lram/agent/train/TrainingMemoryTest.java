package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Precision;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TrainingMemoryTest {
    private static final double WITHIN = 0.02;

    @ParameterizedTest
    @CsvSource({"128, 4, 4, 8, 30", "256, 3, 4, 4, 48", "64, 8, 2, 16, 24"})
    void isWhatArenasTake(int width, int blocks, int heads, int batch, int tokens) {
        XlstmConfig config = XlstmConfig.mlstm(width, blocks, heads);
        MlstmSpec spec = MlstmSpec.exponential();
        try (Backend engine = EmulatedCuda.open();
                ParameterSet set = new ParameterSet()) {
            XlstmStack stack = new XlstmStack(config, spec, set, "");
            set.allocate(engine, true, Precision.BF16);
            TrainingMemory formula = TrainingMemory.of(engine, config, spec, batch, tokens, set.count());
            long parameters = 4 * set.values().bytes() + set.narrow().bytes();
            assertTrue(parameters >= formula.parameters(), parameters + " bytes, reckoned " + formula);
            assertEquals(1, (double) parameters / formula.parameters(), WITHIN, "parameters, reckoned " + formula);
            try (Plan plan = plan(engine, stack, batch, tokens)) {
                assertTrue(plan.slabBytes() >= formula.plan(), plan.slabBytes() + " bytes, reckoned " + formula);
                assertEquals(
                        1,
                        (double) plan.slabBytes() / formula.plan(),
                        WITHIN,
                        plan.slabBytes() + ", reckoned " + formula);
            }
        }
    }

    /** Forward, mean square, backward. */
    private static Plan plan(Backend engine, XlstmStack stack, int batch, int tokens) {
        Tape tape = new Tape(engine, true, Precision.BF16);
        Value x = tape.input("x", DType.F32, batch, tokens, stack.config().width());
        Value y = tape.keep(tape.f32(stack.forward(tape, x, null).normed()));
        Value dy = tape.buffer("dy", DType.F32, y.shape());
        tape.record("loss", (o, s) -> o.elementwise().scale(s, 1f, y.tensor(), dy.tensor()), y, dy);
        tape.backward(y, dy);
        return tape.plan("training");
    }

    @Test
    void slstmIsNotReckoned() {
        try (Backend engine = EmulatedCuda.open()) {
            XlstmConfig config = new XlstmConfig(32, 2, 2, List.of(1));
            assertThrows(
                    IllegalArgumentException.class,
                    () -> TrainingMemory.of(engine, config, MlstmSpec.exponential(), 1, 1, 1));
        }
    }
}
