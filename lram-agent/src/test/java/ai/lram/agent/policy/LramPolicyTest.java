package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.testing.Cards;
import ai.lram.agent.testing.Launches;
import ai.lram.agent.testing.LiveModels;
import ai.lram.agent.testing.ScarceMemory;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.NonFiniteException;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.FoldSchedule;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class LramPolicyTest {
    private static final int OBS = 5;
    private static final int BINS = 32;
    private static final int DISCRETE = 4;
    static final TaskCard TASK = Cards.continuous("move", OBS, 2);
    static final TaskCard CHOICE = Cards.discrete("choose", 3, 3);
    static final ModelCard CARD = Cards.model(TASK, CHOICE);
    static final TaskCard LOOK = Cards.image("look", 3);

    private static Backend backend;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    private static Lram model(int width, boolean mixed, boolean images) {
        return model(backend, width, mixed, images);
    }

    static Lram model(Backend on, int width, boolean mixed, boolean images) {
        XlstmConfig backbone = new XlstmConfig(width, 2, 2, mixed ? List.of(1) : List.of());
        return LiveModels.of(on, new LramConfig(OBS + 1, 2, DISCRETE, BINS, images, false, backbone));
    }

    /** One session's inputs in raw units. */
    private record Play(
            TaskCard task, int steps, float[][] observations, byte[][] images, float[] rewards, double target) {
        static Play random(TaskCard task, int steps, long seed) {
            Random r = new Random(seed);
            float[][] obs = new float[steps][task.observationSize()];
            float[] rewards = new float[steps];
            for (int t = 0; t < steps; t++) {
                for (int i = 0; i < obs[t].length; i++) {
                    obs[t][i] = (float) r.nextGaussian();
                }
                rewards[t] = (float) (task.rewardScale() * 0.3 * r.nextGaussian());
            }
            byte[][] images = new byte[steps][new TaskCodec(task, new ActionCodec(DISCRETE, BINS)).imageBytes()];
            for (byte[] image : images) {
                r.nextBytes(image);
            }
            return new Play(task, steps, obs, images, rewards, 2 * task.rewardScale());
        }
    }

    /** Logits [step][actionDims * vocabulary] of the training pass over the whole token sequence. */
    private static float[][] trainingPass(Lram model, Play play) {
        LramConfig c = model.config();
        Tape tape = new Tape(backend, false);
        boolean images = play.task().hasImage();
        Lram.Pass pass = model.forward(tape, 1, play.steps(), images, null);
        tape.keep(pass.logits());
        TaskCodec codec = new TaskCodec(play.task(), new ActionCodec(c.discreteActions(), c.bins()));
        float[] states = new float[play.steps() * c.stateDim()];
        float[] returns = new float[play.steps()];
        float[] rewards = new float[play.steps()];
        double togo = play.target();
        for (int t = 0; t < play.steps(); t++) {
            for (int i = 0; i < codec.observationSize(); i++) {
                states[t * c.stateDim() + i] = codec.observation(i, play.observations()[t][i]);
            }
            returns[t] = codec.reward((float) togo);
            rewards[t] = codec.reward(play.rewards()[t]);
            togo -= play.rewards()[t];
        }
        try (Plan plan = tape.plan("training pass")) {
            if (images) {
                MemorySegment all = pass.states().tensor().segment();
                for (int t = 0; t < play.steps(); t++) {
                    byte[] image = play.images()[t];
                    MemorySegment.copy(image, 0, all, ValueLayout.JAVA_BYTE, (long) t * image.length, image.length);
                }
            } else {
                pass.states().tensor().copyFrom(states);
            }
            pass.returnsToGo().tensor().copyFrom(returns);
            pass.rewards().tensor().copyFrom(rewards);
            plan.run();
            float[] all = pass.logits().tensor().toFloatArray();
            int n = c.actionDims() * c.vocabulary();
            float[][] out = new float[play.steps()][];
            for (int t = 0; t < play.steps(); t++) {
                out[t] = Arrays.copyOfRange(all, t * n, (t + 1) * n);
            }
            return out;
        }
    }

    /** A slot that plays episodes one after the other. */
    private static final class Session {
        final int slot;
        final EpisodeReturn returns;
        final Play play;
        int t;

        Session(LramPolicy policy, int slot, Play play) {
            this.slot = slot;
            this.play = play;
            returns = new EpisodeReturn(play.task());
            returns.begin(play.target());
            policy.reset(slot, play.task());
        }

        void fill(PolicyBatch batch, int row) {
            if (t > 0) {
                returns.rewarded(play.rewards()[t - 1]);
            }
            batch.slot[row] = slot;
            System.arraycopy(play.observations()[t], 0, batch.observation[row], 0, play.observations()[t].length);
            if (play.task().hasImage()) {
                System.arraycopy(play.images()[t], 0, batch.image[row], 0, play.images()[t].length);
            }
            returns.fill(batch, row);
            t++;
        }
    }

    private static void step(LramPolicy policy, PolicyBatch batch, Session... rows) {
        batch.count = rows.length;
        for (int i = 0; i < rows.length; i++) {
            rows[i].fill(batch, i);
        }
        policy.step(batch);
    }

    private static float[] logits(LramPolicy policy, int row) {
        int n = policy.logitsPerRow();
        return Arrays.copyOfRange(policy.logits(), row * n, (row + 1) * n);
    }

    private static double largest(float[][] logits) {
        double max = 0;
        for (float[] row : logits) {
            for (float v : row) {
                max = Math.max(max, Math.abs(v));
            }
        }
        return max;
    }

    private static void assertSameDecision(float[] expected, float[] got, double closeness) {
        int vocabulary = DISCRETE + BINS;
        for (int dim = 0; dim < 2; dim++) {
            int a = argmax(expected, dim * vocabulary, vocabulary);
            int b = argmax(got, dim * vocabulary, vocabulary);
            if (a != b) {
                assertTrue(
                        expected[a] - expected[b] < 2 * closeness,
                        "argmax " + a + " became " + b + " though " + expected[a] + " and " + expected[b]
                                + " are apart");
            }
        }
    }

    private static int argmax(float[] x, int from, int n) {
        int best = from;
        for (int i = from; i < from + n; i++) {
            best = x[i] > x[best] ? i : best;
        }
        return best;
    }

    /** The actions of a step are what the host reads out of its logits: but for fp64 sums in another order, to the bit. */
    static void assertDecidedAsByTheHost(
            ActionCodec.Decoding how, float[] logits, int perRow, PolicyBatch batch, List<TaskCard> tasks) {
        for (int row = 0; row < batch.count; row++) {
            TaskCard task = tasks.get(row);
            TaskCodec codec = new TaskCodec(task, new ActionCodec(DISCRETE, BINS));
            float[] want = new float[task.actionSize()];
            codec.decode(how, logits, row * perRow, batch.observation[row], want);
            for (int i = 0; i < want.length; i++) {
                double span =
                        task.action().get(i).encodeHigh() - task.action().get(i).encodeLow();
                boolean summed = how == ActionCodec.Decoding.EXPECTATION && !task.discrete();
                assertEquals(want[i], batch.action[row][i], summed ? 2e-7 * span : 0, "row " + row + " dimension " + i);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void theEngineDecidesAsTheHostWould(ActionCodec.Decoding how) {
        Play[] plays = {Play.random(TASK, 30, 1), Play.random(CHOICE, 30, 2), Play.random(TASK, 30, 3)};
        LramPolicy.Options options = LramPolicy.Options.of(4, 3).withDecoding(how);
        try (Lram model = model(32, false, false);
                LramPolicy policy = new LramPolicy(model, CARD, options)) {
            PolicyBatch batch = new PolicyBatch(CARD, 3);
            // A slot that has played the other task.
            policy.reset(2, TASK);
            Session[] s = {
                new Session(policy, 3, plays[0]), new Session(policy, 2, plays[1]), new Session(policy, 0, plays[2])
            };
            Set<Float> seen = new HashSet<>();
            for (int t = 0; t < 30; t++) {
                step(policy, batch, s[0], s[1], s[2]);
                assertDecidedAsByTheHost(
                        how, policy.logits(), policy.logitsPerRow(), batch, List.of(TASK, CHOICE, TASK));
                seen.add(batch.action[1][0]);
            }
            assertTrue(seen.size() > 1, "choices differ: " + seen);
        }
    }

    @ParameterizedTest(name = "width {0} mixed {1} fold at {2} then {3}, {4} phases")
    @CsvSource({
        "32, false, 3, 3, 1",
        "32, true, 3, 3, 1",
        "64, false, 40, 13, 4",
        "64, true, 7, 30, 2",
        "64, false, 0, 0, 0",
    })
    void aThousandControlStepsGiveTheTrainingPassesLogits(
            int width, boolean mixed, int first, int period, int stagger) {
        FoldSchedule schedule = first == 0 ? null : new FoldSchedule(first, period, stagger);
        Play play = Play.random(TASK, 1000, 5);
        try (Lram model = model(width, mixed, false);
                LramPolicy policy =
                        new LramPolicy(model, CARD, LramPolicy.Options.of(2, 2).withSchedule(schedule))) {
            float[][] expected = trainingPass(model, play);
            double scale = largest(expected);
            assertTrue(scale > 0.5, "the logits are alive: " + scale);
            PolicyBatch batch = new PolicyBatch(CARD, 2);
            Session session = new Session(policy, 1, play);
            double worst = 0;
            for (int t = 0; t < play.steps(); t++) {
                step(policy, batch, session);
                float[] got = logits(policy, 0);
                for (int i = 0; i < got.length; i++) {
                    worst = Math.max(worst, Math.abs(got[i] - expected[t][i]) / scale);
                }
                assertTrue(worst <= 1e-4, "step " + t + " deviates by " + worst);
                assertSameDecision(expected[t], got, 1e-4 * scale);
                assertEquals(PolicyBatch.OK, batch.status[0]);
            }
            System.out.printf(
                    "control step against training pass, width %d, mixed %b, %s: %.1e of the largest logit%n",
                    width, mixed, schedule, worst);
        }
    }

    @ParameterizedTest(name = "mixed {0}")
    @ValueSource(booleans = {false, true})
    void sessionsOfDifferentAgeAndTaskShareAStepAndCanBeReset(boolean mixed) {
        Play[] plays = {
            Play.random(TASK, 60, 1), Play.random(CHOICE, 45, 2), Play.random(TASK, 80, 3), Play.random(CHOICE, 50, 4)
        };
        try (Lram model = model(32, mixed, false);
                LramPolicy policy = new LramPolicy(
                        model, CARD, LramPolicy.Options.of(5, 3).withSchedule(new FoldSchedule(10, 6, 2)))) {
            float[][][] expected = new float[plays.length][][];
            for (int i = 0; i < plays.length; i++) {
                expected[i] = trainingPass(model, plays[i]);
            }
            PolicyBatch batch = new PolicyBatch(CARD, 3);
            int[] playing = {0, 1, 2};
            Session[] sessions = {
                new Session(policy, 4, plays[0]), new Session(policy, 0, plays[1]), new Session(policy, 2, plays[2])
            };
            for (int t = 0; t < 80; t++) {
                if (t == 20) {
                    playing[1] = 3;
                    sessions[1] = new Session(policy, 0, plays[3]);
                }
                Session[] rows = Arrays.stream(sessions)
                        .filter(s -> s.t < s.play.steps())
                        .toArray(Session[]::new);
                step(policy, batch, rows);
                for (int row = 0; row < rows.length; row++) {
                    int which = playing[Arrays.asList(sessions).indexOf(rows[row])];
                    float[] want = expected[which][rows[row].t - 1];
                    float[] got = logits(policy, row);
                    double scale = largest(expected[which]);
                    for (int i = 0; i < got.length; i++) {
                        assertEquals(want[i], got[i], 1e-4 * scale, "play " + which + " step " + (rows[row].t - 1));
                    }
                }
            }
        }
    }

    @Test
    void theOrderOfRowsMakesNoDifference() {
        Play[] plays = {Play.random(TASK, 40, 1), Play.random(CHOICE, 40, 2), Play.random(TASK, 40, 3)};
        try (Lram model = model(32, true, false);
                LramPolicy policy = new LramPolicy(model, CARD, LramPolicy.Options.of(6, 3))) {
            PolicyBatch a = new PolicyBatch(CARD, 3);
            PolicyBatch b = new PolicyBatch(CARD, 3);
            Session[] forward = new Session[3];
            Session[] turned = new Session[3];
            for (int i = 0; i < 3; i++) {
                forward[i] = new Session(policy, i, plays[i]);
                turned[i] = new Session(policy, 3 + i, plays[i]);
            }
            for (int t = 0; t < 40; t++) {
                step(policy, a, forward);
                float[][] first = {logits(policy, 0), logits(policy, 1), logits(policy, 2)};
                step(policy, b, turned[2], turned[0], turned[1]);
                assertArrayEquals(first[2], logits(policy, 0), 1e-5f);
                assertArrayEquals(first[0], logits(policy, 1), 1e-5f);
                assertArrayEquals(first[1], logits(policy, 2), 1e-5f);
            }
        }
    }

    @ParameterizedTest(name = "mixed {0}")
    @ValueSource(booleans = {false, true})
    void aNotFiniteObservationMarksItsRowAndLeavesTheOthersAsTheyAre(boolean mixed) {
        Play[] plays = {Play.random(TASK, 30, 1), Play.random(TASK, 30, 2), Play.random(CHOICE, 30, 3)};
        try (Lram model = model(32, mixed, false)) {
            float[][][] clean = new float[30][][];
            for (boolean poison : new boolean[] {false, true}) {
                try (LramPolicy policy = new LramPolicy(
                        model, CARD, LramPolicy.Options.of(3, 3).withSchedule(new FoldSchedule(9, 6, 1)))) {
                    PolicyBatch batch = new PolicyBatch(CARD, 3);
                    Session[] s = new Session[3];
                    for (int i = 0; i < 3; i++) {
                        s[i] = new Session(policy, i, plays[i]);
                    }
                    for (int t = 0; t < 30; t++) {
                        batch.count = 3;
                        for (int i = 0; i < 3; i++) {
                            s[i].fill(batch, i);
                        }
                        if (poison && t == 12) {
                            batch.observation[1][2] = Float.NaN;
                        }
                        policy.step(batch);
                        if (!poison) {
                            clean[t] = new float[][] {logits(policy, 0), logits(policy, 2)};
                            continue;
                        }
                        assertArrayEquals(clean[t][0], logits(policy, 0), "step " + t);
                        assertArrayEquals(clean[t][1], logits(policy, 2), "step " + t);
                        assertEquals(PolicyBatch.OK, batch.status[0]);
                        assertEquals(PolicyBatch.OK, batch.status[2]);
                        assertEquals(t < 12 ? PolicyBatch.OK : PolicyBatch.NOT_FINITE, batch.status[1], "step " + t);
                    }
                    if (poison) {
                        Session again = new Session(policy, 1, plays[1]);
                        step(policy, batch, again);
                        assertEquals(PolicyBatch.OK, batch.status[0], "a reset slot is usable again");
                    }
                }
            }
        }
    }

    @ParameterizedTest(name = "mixed {0}, saved after {1} steps")
    @CsvSource({"false,31", "true,31", "false,3"}) // the last before any head has folded
    void aSavedSessionGoesOnBitForBitInAnotherSlotAndPolicy(boolean mixed, int before) {
        Play play = Play.random(TASK, 60, 9);
        LramPolicy.Options options = LramPolicy.Options.of(3, 1).withSchedule(new FoldSchedule(20, 9, 3));
        try (Lram model = model(32, mixed, false);
                LramPolicy policy = new LramPolicy(model, CARD, options);
                LramPolicy other = new LramPolicy(model, CARD, options);
                Arena arena = Arena.ofConfined()) {
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            MemorySegment saved = arena.allocate(policy.stateBytes());
            Session session = new Session(policy, 0, play);
            for (int t = 0; t < before; t++) {
                step(policy, batch, session);
            }
            policy.saveState(0, saved);
            float[][] expected = new float[60][];
            for (int t = before; t < 60; t++) {
                step(policy, batch, session);
                expected[t] = logits(policy, 0);
            }
            Session replay = new Session(other, 2, play);
            for (int t = 0; t < before; t++) {
                replay.fill(batch, 0);
            }
            other.restoreState(2, saved);
            for (int t = before; t < 60; t++) {
                step(other, batch, replay);
                assertArrayEquals(expected[t], logits(other, 0), "step " + t);
            }
        }
    }

    @Test
    void savedStatesAreTheWholeState() {
        try (Lram model = model(32, true, false);
                LramPolicy policy = new LramPolicy(model, CARD, LramPolicy.Options.of(2, 2));
                Arena arena = Arena.ofConfined()) {
            MemorySegment empty = arena.allocate(policy.stateBytes());
            MemorySegment played = arena.allocate(policy.stateBytes());
            policy.reset(0, TASK);
            policy.saveState(0, empty);
            PolicyBatch batch = new PolicyBatch(CARD, 2);
            step(policy, batch, new Session(policy, 0, Play.random(TASK, 1, 1)));
            policy.saveState(0, played);
            assertTrue(empty.mismatch(played) >= 0, "a step changes the state");
            policy.reset(0, TASK);
            policy.saveState(0, played);
            assertEquals(0, ringAndStateDifference(policy, empty, played), "a reset empties it");
        }
    }

    @Test
    void aStateOfAnotherScheduleOrWithALengthThatNoRingHasIsRefused() {
        LramPolicy.Options options = LramPolicy.Options.of(2, 1);
        try (Lram model = model(32, false, false);
                LramPolicy policy = new LramPolicy(model, CARD, options.withSchedule(new FoldSchedule(20, 9, 3)));
                LramPolicy longer = new LramPolicy(model, CARD, options.withSchedule(new FoldSchedule(40, 9, 3)));
                Arena arena = Arena.ofConfined()) {
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            Session session = new Session(policy, 0, Play.random(TASK, 5, 3));
            for (int t = 0; t < 5; t++) {
                step(policy, batch, session);
            }
            policy.reset(1, TASK);
            longer.reset(0, TASK);
            MemorySegment before = arena.allocate(policy.stateBytes());
            policy.saveState(0, before);
            MemorySegment other = arena.allocate(longer.stateBytes());
            longer.saveState(0, other);
            message("this policy's state has", () -> policy.restoreState(0, other));
            message("this policy's state has", () -> longer.restoreState(0, before));

            XlstmConfig c = model.config().backbone();
            long history = (XlstmConfig.CONV - 1L) * c.inner() * Float.BYTES;
            long heads = (long) c.heads() * Integer.BYTES;
            long folded = policy.stateBytes() - history - heads; // of the last layer
            MemorySegment torn = arena.allocate(policy.stateBytes());
            for (int wrong : new int[] {-1, 1000, Integer.MAX_VALUE}) {
                torn.copyFrom(before);
                torn.set(ValueLayout.JAVA_INT_UNALIGNED, folded - heads, wrong);
                message("a session state with " + wrong, () -> policy.restoreState(0, torn));
            }
            torn.copyFrom(before);
            torn.set(ValueLayout.JAVA_INT_UNALIGNED, folded, 2);
            message("a session state with 2", () -> policy.restoreState(0, torn));
            policy.saveState(0, torn);
            assertEquals(-1, before.mismatch(torn), "nothing has changed");
            policy.restoreState(1, before);
        }
    }

    /** A reset need not clear ring entries beyond the ring's length, so an emptied slot is compared by what it answers. */
    private static double ringAndStateDifference(LramPolicy policy, MemorySegment a, MemorySegment b) {
        PolicyBatch batch = new PolicyBatch(CARD, 2);
        Play play = Play.random(TASK, 1, 77);
        float[][] answers = new float[2][];
        MemorySegment[] states = {a, b};
        for (int i = 0; i < 2; i++) {
            Session s = new Session(policy, 1, play);
            policy.restoreState(1, states[i]);
            step(policy, batch, s);
            answers[i] = logits(policy, 0);
        }
        double worst = 0;
        for (int i = 0; i < answers[0].length; i++) {
            worst = Math.max(worst, Math.abs(answers[0][i] - answers[1][i]));
        }
        return worst;
    }

    @Test
    void imagesReplaceTheStateTokenOfTheirRows() {
        ModelCard card = Cards.model(TASK, LOOK);
        try (Lram model = model(32, false, true);
                LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(2, 2))) {
            PolicyBatch batch = new PolicyBatch(card, 2);
            float[][] vector = new float[2][];
            float[][] image = new float[2][];
            for (int k = 0; k < 2; k++) {
                policy.reset(0, TASK);
                policy.reset(1, LOOK);
                batch.count = 2;
                batch.slot[0] = 0;
                batch.slot[1] = 1;
                batch.first[0] = batch.first[1] = true;
                Arrays.fill(batch.image[1], (byte) (k == 0 ? 10 : 200));
                policy.step(batch);
                assertEquals(PolicyBatch.OK, batch.status[1]);
                assertTrue(batch.action[1][0] >= 0 && batch.action[1][0] < 3);
                vector[k] = logits(policy, 0);
                image[k] = logits(policy, 1);
            }
            assertArrayEquals(vector[0], vector[1], "the image belongs to row 1");
            assertFalse(Arrays.equals(image[0], image[1]), "the image is seen");
        }
    }

    @ParameterizedTest(name = "mixed {0}")
    @ValueSource(booleans = {false, true})
    void rowsWithAndWithoutImagesAnswerAsEachAloneAndAsTheTrainingPass(boolean mixed) {
        ModelCard card = Cards.model(TASK, LOOK);
        Play[] plays = {
            Play.random(LOOK, 15, 1), Play.random(TASK, 24, 2), Play.random(LOOK, 20, 3), Play.random(TASK, 24, 4)
        };
        LramPolicy.Options options = LramPolicy.Options.of(4, 4).withSchedule(new FoldSchedule(10, 6, 2));
        try (Lram model = model(32, mixed, true);
                LramPolicy together = new LramPolicy(model, card, options);
                LramPolicy alone = new LramPolicy(model, card, options)) {
            float[][][] expected = new float[plays.length][][];
            Session[] rows = new Session[plays.length];
            Session[] single = new Session[plays.length];
            for (int i = 0; i < plays.length; i++) {
                expected[i] = trainingPass(model, plays[i]);
                rows[i] = new Session(together, i, plays[i]);
                single[i] = new Session(alone, i, plays[i]);
            }
            PolicyBatch batch = new PolicyBatch(card, 4);
            double worst = 0;
            for (int t = 0; t < 24; t++) {
                Session[] playing =
                        Arrays.stream(rows).filter(s -> s.t < s.play.steps()).toArray(Session[]::new);
                step(together, batch, playing);
                float[][] got = new float[playing.length][];
                for (int row = 0; row < playing.length; row++) {
                    got[row] = logits(together, row);
                }
                for (int row = 0; row < playing.length; row++) {
                    int which = playing[row].slot;
                    double scale = largest(expected[which]);
                    step(alone, batch, single[which]);
                    float[] own = logits(alone, 0);
                    for (int i = 0; i < own.length; i++) {
                        worst = Math.max(worst, Math.abs(own[i] - got[row][i]) / scale);
                        assertEquals(expected[which][t][i], own[i], 1e-4 * scale, "play " + which + " step " + t);
                    }
                }
            }
            System.out.printf("a mixed batch against single rows, mixed %b: %.1e of the largest logit%n", mixed, worst);
            assertTrue(worst <= 2e-6, "rows depend on each other: " + worst);
        }
    }

    @ParameterizedTest
    @CsvSource({"BF16,false,0.02", "BF16,true,0.02", "I8,false,0.08", "I8,true,0.08"})
    void narrowWeightsStayCloseToTheFullOnesOverAnEpisode(DType weights, boolean mixed, double closeness) {
        Play play = Play.random(TASK, 300, 11);
        try (Lram model = model(32, mixed, false);
                LramPolicy full = new LramPolicy(model, CARD, LramPolicy.Options.of(1, 1));
                LramPolicy narrow =
                        new LramPolicy(model, CARD, LramPolicy.Options.of(1, 1).withWeights(weights))) {
            Session a = new Session(full, 0, play);
            Session b = new Session(narrow, 0, play);
            PolicyBatch batchA = new PolicyBatch(CARD, 1);
            PolicyBatch batchB = new PolicyBatch(CARD, 1);
            double worst = 0;
            double scale = 0;
            for (int t = 0; t < 300; t++) {
                step(full, batchA, a);
                step(narrow, batchB, b);
                float[] want = logits(full, 0);
                float[] got = logits(narrow, 0);
                for (int i = 0; i < want.length; i++) {
                    worst = Math.max(worst, Math.abs(want[i] - got[i]));
                    scale = Math.max(scale, Math.abs(want[i]));
                }
            }
            System.out.printf(
                    "%s weights, mixed %s: logits within %.1e of the largest%n", weights, mixed, worst / scale);
            assertTrue(worst > 0, "the weights are the full ones");
            assertTrue(worst <= closeness * scale, () -> "logits differ by more than " + closeness + " of the largest");
        }
    }

    @Test
    void aModelThatHoldsNoNumbersIsRefused() {
        try (Lram model = model(32, false, false)) {
            float[] head = model.parameters().read(model.head.value());
            head[3] = Float.NaN;
            model.parameters().write(model.head.value(), head);
            for (DType type : List.of(DType.F32, DType.BF16, DType.I8)) {
                LramPolicy.Options options = LramPolicy.Options.of(1, 1).withWeights(type);
                assertThrows(NonFiniteException.class, () -> new LramPolicy(model, CARD, options));
            }
        }
    }

    @Test
    void keepsNoMemoryWhereItCannotBeMade() {
        ScarceMemory scarce = new ScarceMemory(backend);
        try (Lram model = model(scarce, 32, true, true)) {
            List<String> before = scarce.open();
            LramPolicy.Options options = LramPolicy.Options.of(2, 2).withWeights(DType.I8);
            ModelCard card = Cards.model(TASK, CHOICE, LOOK);
            int modelOnly = scarce.allocations();
            new LramPolicy(model, card, options).close();
            assertEquals(before, scarce.open());
            int needed = scarce.allocations() - modelOnly;
            assertTrue(needed > 30, "allocations of a policy: " + needed);
            for (int fail = 0; fail < needed; fail++) {
                scarce.failAfter(fail);
                assertThrows(DeviceOutOfMemoryException.class, () -> new LramPolicy(model, card, options));
                assertEquals(before, scarce.open(), "open after allocation " + fail + " failed");
            }
            scarce.failAfter(needed);
            TaskCard tooWide = Cards.continuous("wide", 100, 2);
            assertThrows(PolicyException.class, () -> new LramPolicy(model, Cards.model(tooWide), options));
            float[] head = model.parameters().read(model.head.value());
            head[7] = Float.NaN;
            model.parameters().write(model.head.value(), head);
            assertThrows(NonFiniteException.class, () -> new LramPolicy(model, card, options));
            assertEquals(before, scarce.open());
        }
    }

    @Test
    void zeroRewardsAreAQuirkThatChangesTheAnswer() {
        Play play = Play.random(TASK, 5, 3);
        try (Lram model = model(32, false, false)) {
            float[][] last = new float[2][];
            for (int k = 0; k < 2; k++) {
                LramPolicy.Options o =
                        new LramPolicy.Options(1, 1, ActionCodec.Decoding.CENTRE, null, k == 1, DType.F32, DType.F32);
                try (LramPolicy policy = new LramPolicy(model, CARD, o)) {
                    PolicyBatch batch = new PolicyBatch(CARD, 1);
                    Session s = new Session(policy, 0, play);
                    for (int t = 0; t < 5; t++) {
                        step(policy, batch, s);
                    }
                    last[k] = logits(policy, 0);
                }
            }
            assertFalse(Arrays.equals(last[0], last[1]));
        }
    }

    @Test
    void impossibleCallsAreRefusedAndChangeNoState() {
        Play play = Play.random(TASK, 20, 9);
        try (Lram model = model(32, true, false);
                LramPolicy policy = new LramPolicy(model, CARD, LramPolicy.Options.of(4, 2));
                Arena arena = Arena.ofConfined()) {
            PolicyBatch batch = new PolicyBatch(CARD, 3);
            Session s = new Session(policy, 0, play);
            policy.reset(1, TASK);
            for (int t = 0; t < 10; t++) {
                step(policy, batch, s);
            }
            MemorySegment[] before = states(policy, arena);
            refuses("batch of 3", policy, batch, 3, 0, 1);
            refuses("batch of -1", policy, batch, -1, 0, 1);
            refuses("names slot 4", policy, batch, 2, 0, 4);
            refuses("names slot -1", policy, batch, 2, 0, -1);
            refuses("names slot 2", policy, batch, 2, 0, 2);
            refuses("names slot 0", policy, batch, 2, 0, 0);
            refuses("batch holds 1", policy, new PolicyBatch(CARD, 1), 2, 0, 0);
            ModelCard narrow = Cards.model(Cards.continuous("narrow", 1, 1));
            refuses("room for 1 observations", policy, new PolicyBatch(narrow, 1), 1, 0, 0);
            TaskCard unknown = Cards.continuous("unknown", 2, 1);
            message("not on this model's card", () -> policy.reset(0, unknown));
            message("slots 0..3", () -> policy.reset(4, TASK));
            message("preparing steps of 0 rows", () -> policy.warmUp(0));
            message("preparing steps of 3 rows", () -> policy.warmUp(3));
            message("slots 0..3", () -> policy.saveState(-1, before[0]));
            message("slots 0..3", () -> policy.restoreState(9, before[0]));
            message("not bound", () -> policy.restoreState(3, before[0]));
            message("this policy's state has", () -> policy.restoreState(0, arena.allocate(16)));
            message("this policy's state has", () -> policy.saveState(0, arena.allocate(16)));
            MemorySegment[] after = states(policy, arena);
            for (int i = 0; i < 2; i++) {
                assertEquals(-1, before[i].mismatch(after[i]), "slot " + i);
            }
            batch.count = 0;
            policy.step(batch);
            step(policy, batch, s);
            assertEquals(PolicyBatch.OK, batch.status[0]);
        }
    }

    @Test
    void aPreparedStepIsOneLaunchWithAndWithoutImages() {
        assertOneLaunch(backend);
    }

    /** Whatever mixture of tasks a batch brings, on an engine that records or is taken for one. */
    static void assertOneLaunch(Backend on) {
        Launches engine = new Launches(on);
        List<TaskCard> tasks = List.of(TASK, LOOK, TASK);
        ModelCard card = Cards.model(TASK, LOOK);
        try (Lram model = model(engine, 32, true, true);
                LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(3, 3))) {
            PolicyBatch batch = new PolicyBatch(card, 3);
            policy.warmUp();
            for (int slot = 0; slot < 3; slot++) {
                policy.reset(slot, tasks.get(slot));
            }
            for (int[] slots : new int[][] {{0}, {1}, {0, 2}, {2, 1}, {1, 0, 2}}) {
                batch.count = slots.length;
                System.arraycopy(slots, 0, batch.slot, 0, slots.length);
                engine.events().clear();
                policy.step(batch);
                assertEquals(List.of("launch and wait"), engine.events(), Arrays.toString(slots));
                for (int row = 0; row < slots.length; row++) {
                    assertEquals(PolicyBatch.OK, batch.status[row]);
                }
            }
        }
    }

    @Test
    void aBatchWithoutRoomForAnImageIsRefused() {
        ModelCard card = Cards.model(TASK, LOOK);
        try (Lram model = model(32, false, true);
                LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(2, 2))) {
            policy.reset(0, TASK);
            policy.reset(1, LOOK);
            PolicyBatch blind = new PolicyBatch(Cards.model(TASK), 2);
            refuses("row 1 has room for an image of 0 bytes", policy, blind, 2, 0, 1);
            refuses("named twice", policy, blind, 2, 0, 0);
            PolicyBatch batch = new PolicyBatch(card, 2);
            batch.image[0] = new byte[100];
            refuses("row 0 has room for an image of 100 bytes", policy, batch, 2, 1, 0);
            batch.count = 1;
            batch.slot[0] = 0;
            policy.step(batch);
            assertEquals(PolicyBatch.OK, batch.status[0], "a row without an image needs no room for one");
        }
    }

    private static MemorySegment[] states(LramPolicy policy, Arena arena) {
        MemorySegment[] all = new MemorySegment[2];
        for (int i = 0; i < 2; i++) {
            all[i] = arena.allocate(policy.stateBytes());
            policy.saveState(i, all[i]);
        }
        return all;
    }

    private static void refuses(String part, LramPolicy policy, PolicyBatch batch, int count, int slot0, int slot1) {
        batch.count = count;
        batch.slot[0] = slot0;
        if (batch.capacity() > 1) {
            batch.slot[1] = slot1;
        }
        message(part, () -> policy.step(batch));
    }

    private static void message(String part, Runnable call) {
        PolicyException e = assertThrows(PolicyException.class, call::run);
        assertTrue(e.getMessage().contains(part) && e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void modelsThatCannotHoldACardsTasksAreRefused() {
        try (Lram model = model(32, false, false)) {
            LramPolicy.Options one = LramPolicy.Options.of(1, 1);
            message("observes 9", () -> new LramPolicy(model, Cards.model(Cards.continuous("wide", 9, 1)), one));
            message(
                    "3 action dimensions",
                    () -> new LramPolicy(model, Cards.model(Cards.continuous("many", 2, 3)), one));
            message("5 discrete", () -> new LramPolicy(model, Cards.model(Cards.discrete("choices", 2, 5)), one));
            message("images", () -> new LramPolicy(model, Cards.model(LOOK), one));
            message("0 slots", () -> LramPolicy.Options.of(0, 1));
            message("batches of 3", () -> LramPolicy.Options.of(2, 3));
        }
        try (Lram model = model(32, false, true)) {
            TaskCard small = Cards.image("small", 3, List.of(1, 32, 32));
            message(
                    "images of [1, 32, 32]",
                    () -> new LramPolicy(model, Cards.model(small), LramPolicy.Options.of(1, 1)));
        }
    }

    /** The CPU's steps know fp32 states alone, and say so before a robot moves. */
    @Test
    void aStateThatTheEngineDoesNotKeepIsRefused() {
        ScarceMemory memory = new ScarceMemory(backend);
        try (Lram model = model(memory, 32, true, false)) {
            List<String> before = memory.open();
            LramPolicy.Options narrow = LramPolicy.Options.of(1, 1).withState(DType.BF16);
            UnsupportedKernelException e =
                    assertThrows(UnsupportedKernelException.class, () -> new LramPolicy(model, CARD, narrow));
            assertTrue(e.getMessage().contains("device=cuda"), e.getMessage());
            assertEquals(before, memory.open());
            message("a recurrent state in I8", () -> LramPolicy.Options.of(1, 1).withState(DType.I8));
        }
    }

    @Test
    void aStateKeepsItsRingAsFloats() {
        try (Lram model = model(32, false, false);
                LramPolicy policy = new LramPolicy(
                        model, CARD, LramPolicy.Options.of(1, 1).withSchedule(new FoldSchedule(6, 6, 1)))) {
            int heads = 2;
            int d = 32;
            long perLayer = heads * (d * d + d + 1L + 2L * 6 * d + 2L * 6 + 2) + 3L * 64;
            assertEquals(2 * 4 * perLayer, policy.stateBytes());
            assertEquals(0, policy.stateBytes() % ValueLayout.JAVA_FLOAT.byteSize());
        }
    }
}
