package ai.lram.agent.baseline;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.baseline.DecisionTransformer.Context;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import ai.lram.agent.policy.TaskCodec;
import ai.lram.agent.testing.Cards;
import ai.lram.agent.testing.ScarceMemory;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DecisionTransformerTest {
    private static final int OBS = 5;
    private static final TaskCard TASK = Cards.continuous("move", OBS, 2);
    private static final TaskCard CHOICE = Cards.discrete("choose", 3, 3);
    private static final ModelCard CARD = Cards.model(TASK, CHOICE);
    private static final LramConfig SHAPE =
            new LramConfig(OBS + 1, 2, 4, 32, false, false, XlstmConfig.mlstm(32, 2, 2));

    private static Backend backend;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    /** A model whose attention and logits are alive: every weight is drawn wide enough to matter. */
    private static DecisionTransformer model(int layers) {
        return model(backend, layers);
    }

    private static DecisionTransformer model(Backend on, int layers) {
        DecisionTransformer m = new DecisionTransformer(SHAPE, new DecisionTransformer.Config(32, layers, 4, 64));
        m.allocate(on, false);
        m.parameters().initialize(3);
        for (Parameter p : m.parameters().all()) {
            Random r = new Random(p.name().hashCode());
            float[] a = m.parameters().read(p.value());
            for (int i = 0; i < a.length; i++) {
                a[i] += (float) (0.25 * r.nextGaussian());
            }
            m.parameters().write(p.value(), a);
        }
        return m;
    }

    /** One session's inputs in raw units; from step {@code fork} on they do not depend on {@code seed}. */
    private record Play(TaskCard task, float[][] observations, float[] rewards) {
        static Play of(TaskCard task, int steps, long seed, int fork) {
            float[][] obs = new float[steps][task.observationSize()];
            float[] rewards = new float[steps];
            for (int t = 0; t < steps; t++) {
                Random r = new Random(t < fork ? seed * 1000 + t : t);
                for (int i = 0; i < obs[t].length; i++) {
                    obs[t][i] = (float) r.nextGaussian();
                }
                rewards[t] = (float) r.nextGaussian();
            }
            return new Play(task, obs, rewards);
        }

        void fill(PolicyBatch batch, int row, int slot, int t) {
            batch.slot[row] = slot;
            batch.first[row] = t == 0;
            batch.reward[row] = t == 0 ? 0 : rewards[t - 1];
            batch.returnToGo[row] = returnToGo(t);
            System.arraycopy(observations[t], 0, batch.observation[row], 0, observations[t].length);
        }

        float returnToGo(int t) {
            return 20 - 0.1f * t;
        }
    }

    private static float[][] trainingPass(DecisionTransformer model, Play play, int steps) {
        Tape tape = new Tape(backend, false);
        DecisionTransformer.Pass pass = model.forward(tape, 1, steps);
        tape.keep(pass.logits());
        TaskCodec codec = new TaskCodec(play.task(), new ActionCodec(SHAPE.discreteActions(), SHAPE.bins()));
        float[] states = new float[steps * SHAPE.stateDim()];
        float[] returns = new float[steps];
        float[] rewards = new float[steps];
        for (int t = 0; t < steps; t++) {
            for (int i = 0; i < codec.observationSize(); i++) {
                states[t * SHAPE.stateDim() + i] = codec.observation(i, play.observations()[t][i]);
            }
            returns[t] = codec.reward(play.returnToGo(t));
            rewards[t] = codec.reward(play.rewards()[t]);
        }
        try (Plan plan = tape.plan("training pass")) {
            pass.states().tensor().copyFrom(states);
            pass.returnsToGo().tensor().copyFrom(returns);
            pass.rewards().tensor().copyFrom(rewards);
            plan.run();
            float[] all = pass.logits().tensor().toFloatArray();
            int n = SHAPE.actionDims() * SHAPE.vocabulary();
            float[][] out = new float[steps][];
            for (int t = 0; t < steps; t++) {
                out[t] = Arrays.copyOfRange(all, t * n, (t + 1) * n);
            }
            return out;
        }
    }

    private static float[] row(DecisionTransformerPolicy policy, int row) {
        int n = policy.logitsPerRow();
        return Arrays.copyOfRange(policy.logits(), row * n, (row + 1) * n);
    }

    private static void assertClose(float[] expected, float[] got, String what) {
        double largest = 0;
        for (float v : expected) {
            largest = Math.max(largest, Math.abs(v));
        }
        assertTrue(largest > 0.3, "the logits are alive: " + largest);
        for (int i = 0; i < expected.length; i++) {
            assertEquals(expected[i], got[i], 1e-4 * largest, what + ", logit " + i);
        }
    }

    @ParameterizedTest(name = "{0} layers, {1}")
    @CsvSource({"1, GROWING", "3, GROWING", "2, WINDOW"})
    void controlStepsGiveTheTrainingPassesLogits(int layers, Context context) {
        int steps = 120;
        Play play = Play.of(TASK, steps, 5, steps);
        try (DecisionTransformer model = model(layers);
                DecisionTransformerPolicy policy = model.policy(CARD, 2, 1, context, steps)) {
            float[][] expected = trainingPass(model, play, steps);
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            batch.count = 1;
            policy.reset(1, TASK);
            for (int t = 0; t < steps; t++) {
                play.fill(batch, 0, 1, t);
                policy.step(batch);
                assertClose(expected[t], row(policy, 0), "step " + t);
                assertEquals(PolicyBatch.OK, batch.status[0]);
            }
        }
    }

    @Test
    void sessionsOfDifferentAgeAndTaskShareAStep() {
        Play[] plays = {Play.of(TASK, 40, 1, 40), Play.of(CHOICE, 40, 2, 40), Play.of(TASK, 40, 3, 40)};
        int[] slots = {2, 0, 1};
        int[] from = {0, 7, 15};
        try (DecisionTransformer model = model(2);
                DecisionTransformerPolicy policy = model.policy(CARD, 3, 3, Context.GROWING, 40)) {
            PolicyBatch batch = new PolicyBatch(CARD, 3);
            float[][][] expected = new float[3][][];
            for (int i = 0; i < 3; i++) {
                expected[i] = trainingPass(model, plays[i], 40);
                policy.reset(slots[i], plays[i].task());
            }
            for (int t = 0; t < 40; t++) {
                int rows = 0;
                int[] who = new int[3];
                for (int i = 0; i < 3; i++) {
                    if (t >= from[i]) {
                        plays[i].fill(batch, rows, slots[i], t - from[i]);
                        who[rows++] = i;
                    }
                }
                batch.count = rows;
                policy.step(batch);
                for (int r = 0; r < rows; r++) {
                    assertClose(expected[who[r]][t - from[who[r]]], row(policy, r), "play " + who[r] + " step " + t);
                }
            }
        }
    }

    @Test
    void aFullCacheRefusesAndChangesNothing() {
        Play play = Play.of(TASK, 12, 1, 12);
        try (DecisionTransformer model = model(2);
                DecisionTransformerPolicy policy = model.policy(CARD, 2, 2, Context.GROWING, 10)) {
            PolicyBatch batch = new PolicyBatch(CARD, 2);
            policy.reset(0, TASK);
            policy.reset(1, TASK);
            batch.count = 1;
            for (int t = 0; t < 10; t++) {
                play.fill(batch, 0, 0, t);
                policy.step(batch);
            }
            float[] before = state(policy, 0);
            batch.count = 2;
            play.fill(batch, 0, 1, 0);
            play.fill(batch, 1, 0, 10);
            PolicyException e = assertThrows(PolicyException.class, () -> policy.step(batch));
            assertTrue(e.getMessage().contains("slot 0") && e.getMessage().contains("10 steps"), e.getMessage());
            assertArrayEquals(before, state(policy, 0));
            batch.count = 1;
            policy.step(batch);
            float[] fresh = row(policy, 0);
            assertClose(trainingPass(model, play, 1)[0], fresh, "the other slot was not touched");
        }
    }

    @Test
    void aWindowForgetsWhatIsOlder() {
        int window = 6;
        Play a = Play.of(TASK, 30, 1, 15);
        Play b = Play.of(TASK, 30, 2, 15);
        try (DecisionTransformer model = model(1);
                DecisionTransformerPolicy policy = model.policy(CARD, 2, 2, Context.WINDOW, window)) {
            PolicyBatch batch = new PolicyBatch(CARD, 2);
            batch.count = 2;
            policy.reset(0, TASK);
            policy.reset(1, TASK);
            for (int t = 0; t < 30; t++) {
                a.fill(batch, 0, 0, t);
                b.fill(batch, 1, 1, t);
                policy.step(batch);
                float[] first = row(policy, 0);
                float[] second = row(policy, 1);
                if (t == 16) {
                    assertFalse(Arrays.equals(first, second), "different pasts are still remembered");
                } else if (t >= 15 + window) {
                    // In one layer a key depends on its own token only, so nothing older than the window is left.
                    assertArrayEquals(first, second, 1e-5f, "step " + t);
                }
                assertEquals(PolicyBatch.OK, batch.status[0]);
            }
        }
    }

    private static float[] state(DecisionTransformerPolicy policy, int slot) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment m = arena.allocate(policy.stateBytes(), 64);
            policy.saveState(slot, m);
            return m.toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    @Test
    void aSavedSessionGoesOnElsewhere() {
        Play play = Play.of(TASK, 30, 1, 30);
        try (DecisionTransformer model = model(2);
                DecisionTransformerPolicy policy = model.policy(CARD, 2, 1, Context.GROWING, 30);
                Arena arena = Arena.ofConfined()) {
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            batch.count = 1;
            policy.reset(0, TASK);
            policy.reset(1, TASK);
            MemorySegment saved = arena.allocate(policy.stateBytes(), 64);
            float[][] expected = new float[30][];
            for (int t = 0; t < 30; t++) {
                if (t == 12) {
                    policy.saveState(0, saved);
                }
                play.fill(batch, 0, 0, t);
                policy.step(batch);
                expected[t] = row(policy, 0);
            }
            policy.restoreState(1, saved);
            for (int t = 12; t < 30; t++) {
                play.fill(batch, 0, 1, t);
                policy.step(batch);
                assertArrayEquals(expected[t], row(policy, 0), "step " + t);
            }
            assertThrows(PolicyException.class, () -> policy.restoreState(1, saved.asSlice(0, 8)));
            MemorySegment longer = arena.allocate(policy.stateBytes() + 4, 64);
            assertThrows(PolicyException.class, () -> policy.restoreState(1, longer), "of a longer context");
            long perLayer = policy.stateBytes() / 2;
            saved.set(ValueLayout.JAVA_INT_UNALIGNED, perLayer - 4, 1000);
            assertThrows(PolicyException.class, () -> policy.restoreState(1, saved), "layers of different length");
            saved.set(ValueLayout.JAVA_INT_UNALIGNED, 2 * perLayer - 4, 1000);
            assertThrows(PolicyException.class, () -> policy.restoreState(1, saved), "longer than the cache");
        }
    }

    @Test
    void aRewoundSessionGoesOnFromThere() {
        Play play = Play.of(TASK, 20, 1, 20);
        try (DecisionTransformer model = model(2);
                DecisionTransformerPolicy policy = model.policy(CARD, 1, 1, Context.GROWING, 20)) {
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            batch.count = 1;
            assertThrows(PolicyException.class, () -> policy.rewind(0, 0), "no episode");
            policy.reset(0, TASK);
            float[][] expected = new float[20][];
            for (int t = 0; t < 20; t++) {
                play.fill(batch, 0, 0, t);
                policy.step(batch);
                expected[t] = row(policy, 0);
            }
            policy.rewind(0, 2 + 3 * 11);
            for (int t = 12; t < 20; t++) {
                play.fill(batch, 0, 0, t);
                policy.step(batch);
                assertArrayEquals(expected[t], row(policy, 0), "step " + t);
            }
            assertThrows(PolicyException.class, () -> policy.rewind(0, 3 * 20), "never so long");
            assertThrows(PolicyException.class, () -> policy.rewind(0, -1));
        }
        try (DecisionTransformer model = model(1);
                DecisionTransformerPolicy policy = model.policy(CARD, 1, 1, Context.WINDOW, 2)) {
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            batch.count = 1;
            policy.reset(0, TASK);
            for (int t = 0; t < 3; t++) {
                play.fill(batch, 0, 0, t);
                policy.step(batch);
            }
            assertThrows(PolicyException.class, () -> policy.rewind(0, 2), "those tokens are forgotten");
        }
    }

    @ParameterizedTest
    @CsvSource({"BF16, 0.02", "I8, 0.08"})
    void narrowWeightsStayCloseToTheFullOnes(DType weights, double closeness) {
        Play play = Play.of(TASK, 30, 1, 30);
        try (DecisionTransformer model = model(2);
                DecisionTransformerPolicy full = model.policy(CARD, 1, 1, Context.GROWING, 30);
                DecisionTransformerPolicy narrow = model.policy(CARD, 1, 1, Context.GROWING, 30, weights)) {
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            batch.count = 1;
            full.reset(0, TASK);
            narrow.reset(0, TASK);
            double worst = 0;
            double largest = 0;
            for (int t = 0; t < 30; t++) {
                play.fill(batch, 0, 0, t);
                full.step(batch);
                narrow.step(batch);
                for (int i = 0; i < full.logitsPerRow(); i++) {
                    worst = Math.max(worst, Math.abs(full.logits()[i] - narrow.logits()[i]));
                    largest = Math.max(largest, Math.abs(full.logits()[i]));
                }
            }
            double off = worst / largest;
            assertTrue(off > 0 && off <= closeness, () -> "logits differ by " + off + " of the largest");
            assertThrows(PolicyException.class, () -> model.policy(CARD, 1, 1, Context.GROWING, 30, DType.I32));
        }
    }

    @Test
    void oneRowsNaNStaysItsOwn() {
        Play play = Play.of(TASK, 3, 1, 3);
        try (DecisionTransformer model = model(2);
                DecisionTransformerPolicy policy = model.policy(CARD, 2, 2, Context.GROWING, 3)) {
            PolicyBatch batch = new PolicyBatch(CARD, 2);
            batch.count = 2;
            policy.reset(0, TASK);
            policy.reset(1, TASK);
            play.fill(batch, 0, 0, 0);
            play.fill(batch, 1, 1, 0);
            batch.observation[0][0] = Float.NaN;
            policy.step(batch);
            assertEquals(PolicyBatch.NOT_FINITE, batch.status[0]);
            assertEquals(PolicyBatch.OK, batch.status[1]);
            assertClose(trainingPass(model, play, 1)[0], row(policy, 1), "the other row");
        }
    }

    @Test
    void theCounterpartOfAPublishedSizeIsAboutAsLarge() {
        DecisionTransformer.Config c = DecisionTransformer.Config.like(
                LramConfig.published("16M", false).backbone());
        assertEquals(new DecisionTransformer.Config(512, 4, 8, 2048), c);
        LramConfig shape = LramConfig.of(LramConfig.published("16M", false).backbone());
        try (DecisionTransformer dt = new DecisionTransformer(shape, c);
                Lram lram = new Lram(shape)) {
            double ratio = dt.parameters().count() / (double) lram.parameters().count();
            assertTrue(ratio > 0.9 && ratio < 1.1, "ratio " + ratio);
        }
    }

    @Test
    void keepsNoMemoryWhereThePolicyCannotBeMade() {
        ScarceMemory scarce = new ScarceMemory(backend);
        try (DecisionTransformer model = model(scarce, 2)) {
            List<String> before = scarce.open();
            int modelOnly = scarce.allocations();
            model.policy(CARD, 2, 2, Context.WINDOW, 5).close();
            assertEquals(before, scarce.open());
            int needed = scarce.allocations() - modelOnly;
            assertTrue(needed > 20, "allocations of a policy: " + needed);
            for (int fail = 0; fail < needed; fail++) {
                scarce.failAfter(fail);
                assertThrows(DeviceOutOfMemoryException.class, () -> model.policy(CARD, 2, 2, Context.WINDOW, 5));
                assertEquals(before, scarce.open(), "open after allocation " + fail + " failed");
            }
        }
    }

    @Test
    void whatCannotBeMadeIsRefused() {
        assertThrows(ConfigException.class, () -> new DecisionTransformer.Config(30, 1, 4, 8));
        assertThrows(ConfigException.class, () -> new DecisionTransformer.Config(32, 0, 4, 8));
        assertThrows(
                ConfigException.class,
                () -> new DecisionTransformer(SHAPE.withImages(true), new DecisionTransformer.Config(32, 1, 4, 64)));
        try (DecisionTransformer model = model(1)) {
            ModelCard pixels = Cards.model(Cards.image("see", 3));
            assertThrows(PolicyException.class, () -> model.policy(pixels, 1, 1, Context.WINDOW, 5));
            ModelCard wide = Cards.model(Cards.continuous("wide", 50, 2));
            assertThrows(PolicyException.class, () -> model.policy(wide, 1, 1, Context.WINDOW, 5));
            ModelCard many = Cards.model(Cards.continuous("many", 2, 9));
            assertThrows(PolicyException.class, () -> model.policy(many, 1, 1, Context.WINDOW, 5));
            assertThrows(PolicyException.class, () -> model.policy(CARD, 1, 1, Context.WINDOW, 0));
            assertThrows(PolicyException.class, () -> model.policy(CARD, 1, 2, Context.WINDOW, 5));
        }
    }
}
