package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.baseline.DecisionTransformer;
import ai.lram.agent.baseline.DecisionTransformerPolicy;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.testing.Cards;
import ai.lram.agent.testing.Unrecorded;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.ops.FoldSchedule;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Control steps as recordings of an engine that records: the same as kernel by kernel, and as on the CPU. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
abstract class StepRecordings {
    private static final int SESSIONS = 3;
    private static final int STEPS = 34;

    /** In fp32, of the largest logit. */
    private static final double ROUNDING = 1e-4;

    private static final LramPolicy.Options OPTIONS =
            LramPolicy.Options.of(SESSIONS + 1, SESSIONS).withSchedule(new FoldSchedule(10, 6, 2));

    private Backend engine;
    private Backend cpu;

    abstract Backend openBackend();

    final Backend engine() {
        return engine;
    }

    @BeforeAll
    void open() {
        engine = openBackend();
        cpu = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    void close() {
        if (engine != null) {
            engine.close();
        }
        if (cpu != null) {
            cpu.close();
        }
    }

    /** What a policy is asked before step {@code t}. */
    private interface Before {
        void step(int t);
    }

    /** One row of a session of that slot after so many steps. */
    private static void fill(PolicyBatch batch, int row, int slot, TaskCard task, int age, int t) {
        Random r = new Random(31L * slot + t);
        batch.slot[row] = slot;
        batch.first[row] = age == 0;
        batch.reward[row] = age == 0 ? 0 : (float) r.nextGaussian();
        batch.returnToGo[row] = 20 - 0.1f * age;
        for (int i = 0; i < task.observationSize(); i++) {
            batch.observation[row][i] = (float) r.nextGaussian();
        }
        if (task.hasImage()) {
            r.nextBytes(batch.image[row]);
        }
    }

    /** Sessions that begin one after the other, one of which begins anew; every fifth step is the first one's alone. Logits by step. */
    private static List<float[]> play(
            Policy policy, Supplier<float[]> logits, int perRow, List<TaskCard> tasks, int steps, Before before) {
        PolicyBatch batch = new PolicyBatch(policy.card(), SESSIONS);
        int[] age = new int[SESSIONS];
        List<float[]> all = new ArrayList<>();
        for (int t = 0; t < steps; t++) {
            before.step(t);
            int rows = t % 5 == 4 ? 1 : Math.min(SESSIONS, 1 + t / 3);
            for (int s = 0; s < rows; s++) {
                if (s == 1 && t == 20) {
                    age[s] = 0;
                }
                TaskCard task = tasks.get(s % tasks.size());
                if (age[s] == 0) {
                    policy.reset(SESSIONS - s, task);
                }
                fill(batch, s, SESSIONS - s, task, age[s]++, t);
            }
            batch.count = rows;
            policy.step(batch);
            for (int row = 0; row < rows; row++) {
                assertEquals(PolicyBatch.OK, batch.status[row], "step " + t);
            }
            all.add(Arrays.copyOf(logits.get(), rows * perRow));
            LramPolicyTest.assertDecidedAsByTheHost(
                    ActionCodec.Decoding.EXPECTATION,
                    all.getLast(),
                    perRow,
                    batch,
                    IntStream.range(0, rows)
                            .mapToObj(s -> tasks.get(s % tasks.size()))
                            .toList());
        }
        return all;
    }

    private static List<float[]> play(LramPolicy policy, int steps, Before before) {
        return play(policy, policy::logits, policy.logitsPerRow(), policy.card().tasks(), steps, before);
    }

    private static List<float[]> lram(Backend on, boolean mixed, DType weights) {
        return lram(on, mixed, OPTIONS.withWeights(weights));
    }

    private static List<float[]> lram(Backend on, boolean mixed, LramPolicy.Options options) {
        try (Lram model = LramPolicyTest.model(on, 32, mixed, false);
                LramPolicy policy = new LramPolicy(model, LramPolicyTest.CARD, options)) {
            return play(policy, STEPS, t -> {});
        }
    }

    private static void assertSame(List<float[]> want, List<float[]> got) {
        for (int t = 0; t < want.size(); t++) {
            assertArrayEquals(want.get(t), got.get(t), "step " + t);
        }
    }

    private static double difference(List<float[]> want, List<float[]> got) {
        double largest = 0;
        double worst = 0;
        for (int t = 0; t < want.size(); t++) {
            for (int i = 0; i < want.get(t).length; i++) {
                largest = Math.max(largest, Math.abs(want.get(t)[i]));
                worst = Math.max(worst, Math.abs(want.get(t)[i] - got.get(t)[i]));
            }
        }
        assertTrue(largest > 0.3, "the logits are alive: " + largest);
        return worst / largest;
    }

    @ParameterizedTest(name = "mixed {0}, weights {1}")
    @CsvSource({"false, F32", "true, F32", "false, BF16", "true, BF16"})
    void aReplayedStepIsTheQueuedOneBitForBitAndTheCpusButForRounding(boolean mixed, DType weights) {
        assertTrue(engine.stream().records());
        List<float[]> replayed = lram(engine, mixed, weights);
        assertSame(lram(new Unrecorded(engine), mixed, weights), replayed);
        double off = difference(lram(cpu, mixed, weights), replayed);
        System.out.printf(
                "replayed step against the CPU's, mixed %b, %s: %.1e of the largest logit%n", mixed, weights, off);
        assertTrue(off <= tolerance(weights), () -> "logits differ from the CPU's by " + off + " of the largest");
    }

    /** Engines may round what narrow weights are multiplied with. */
    private static double tolerance(DType weights) {
        return weights == DType.F32 ? ROUNDING : 0.02;
    }

    @ParameterizedTest(name = "mixed {0}, weights {1}")
    @CsvSource({"false, F32", "true, BF16"})
    void aStateInBf16IsReplayedBitForBitAndStaysCloseToFp32(boolean mixed, DType weights) {
        LramPolicy.Options options = OPTIONS.withWeights(weights);
        List<float[]> replayed = lram(engine, mixed, options.withState(DType.BF16));
        assertSame(lram(new Unrecorded(engine), mixed, options.withState(DType.BF16)), replayed);
        double off = difference(lram(engine, mixed, options), replayed);
        System.out.printf("state in bf16, mixed %b, %s weights: %.1e of the largest logit%n", mixed, weights, off);
        assertTrue(off > 0, "the state is fp32");
        assertTrue(off <= 0.02, () -> "logits differ from those of an fp32 state by " + off + " of the largest");
    }

    private static byte[] saved(LramPolicy policy, int slot) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment state = arena.allocate(policy.stateBytes(), 64);
            policy.saveState(slot, state);
            return state.toArray(ValueLayout.JAVA_BYTE);
        }
    }

    private static void restore(LramPolicy policy, int slot, byte[] saved) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment state = arena.allocate(saved.length, 64);
            state.copyFrom(MemorySegment.ofArray(saved));
            policy.reset(slot, LramPolicyTest.TASK);
            policy.restoreState(slot, state);
        }
    }

    /** Rings shorter and longer than a head is wide. */
    @ParameterizedTest(name = "rings of {0} tokens")
    @ValueSource(ints = {10, 40})
    void aSavedStateIsFp32WhateverItIsKeptIn(int ring) {
        LramPolicy.Options options = OPTIONS.withSchedule(new FoldSchedule(ring, 6, 2));
        try (Lram model = LramPolicyTest.model(engine, 32, true, false);
                LramPolicy full = new LramPolicy(model, LramPolicyTest.CARD, options);
                LramPolicy narrow = new LramPolicy(model, LramPolicyTest.CARD, options.withState(DType.BF16))) {
            assertEquals(full.stateBytes(), narrow.stateBytes());
            play(narrow, STEPS, t -> {});
            byte[] state = saved(narrow, 2);
            restore(narrow, 0, state);
            assertArrayEquals(state, saved(narrow, 0));
            restore(full, 1, state);
            assertArrayEquals(state, saved(full, 1));
            play(full, STEPS, t -> {});
            byte[] exact = saved(full, 2);
            restore(narrow, 0, exact);
            byte[] rounded = saved(narrow, 0);
            assertFalse(Arrays.equals(exact, rounded));
            FloatBuffer a = floats(exact);
            FloatBuffer b = floats(rounded);
            for (int i = 0; i < a.capacity(); i++) {
                assertTrue(Math.abs(a.get(i) - b.get(i)) <= Math.abs(a.get(i)) / 256, "float " + i + " of the state");
            }
        }
    }

    private static FloatBuffer floats(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    @ParameterizedTest
    @CsvSource({"false", "true"})
    void preparingStepsChangesNoSession(boolean mixed) {
        List<float[]> plain = lram(engine, mixed, DType.F32);
        try (Lram model = LramPolicyTest.model(engine, 32, mixed, false);
                LramPolicy policy = new LramPolicy(model, LramPolicyTest.CARD, OPTIONS)) {
            List<float[]> warmed = play(policy, STEPS, t -> {
                if (t == 0) {
                    policy.warmUp(2);
                }
                if (t == 13) {
                    policy.warmUp();
                }
            });
            assertSame(plain, warmed);
        }
    }

    private static List<float[]> seeing(Backend on, List<TaskCard> tasks) {
        ModelCard card = Cards.model(LramPolicyTest.TASK, LramPolicyTest.LOOK);
        try (Lram model = LramPolicyTest.model(on, 32, true, true);
                LramPolicy policy = new LramPolicy(model, card, OPTIONS)) {
            return play(policy, policy::logits, policy.logitsPerRow(), tasks, 7, t -> {
                if (t == 4) {
                    policy.warmUp(2);
                }
            });
        }
    }

    /** The first session is alone in some steps, and the third joins last. */
    static List<List<TaskCard>> tasksOfTheSessions() {
        TaskCard vector = LramPolicyTest.TASK;
        TaskCard image = LramPolicyTest.LOOK;
        return List.of(List.of(vector, image), List.of(image, vector), List.of(vector, vector, image));
    }

    @ParameterizedTest
    @MethodSource("tasksOfTheSessions")
    void imagesAreEncodedInTheRecording(List<TaskCard> tasks) {
        List<float[]> replayed = seeing(engine, tasks);
        if (tasks.getFirst().hasImage()) {
            assertSame(seeing(new Unrecorded(engine), tasks), replayed);
        }
        double off = difference(seeing(cpu, tasks), replayed);
        System.out.printf("images in the recording against the CPU's: %.1e of the largest logit%n", off);
        assertTrue(off <= ROUNDING, () -> "logits differ from the CPU's by " + off + " of the largest");
    }

    private static List<float[]> transformer(Backend on, DecisionTransformer.Context context, boolean warm) {
        DecisionTransformer.Config config = new DecisionTransformer.Config(32, 2, 4, 64);
        try (Lram shape = LramPolicyTest.model(on, 32, false, false);
                DecisionTransformer model = new DecisionTransformer(shape.config(), config)) {
            model.allocate(on, false);
            model.parameters().initialize(3);
            for (Parameter p : model.parameters().all()) {
                Random r = new Random(p.name().hashCode());
                float[] values = model.parameters().read(p.value());
                for (int i = 0; i < values.length; i++) {
                    values[i] += (float) (0.25 * r.nextGaussian());
                }
                model.parameters().write(p.value(), values);
            }
            int capacity = context == DecisionTransformer.Context.GROWING ? STEPS : 7;
            try (DecisionTransformerPolicy policy =
                    model.policy(LramPolicyTest.CARD, SESSIONS + 1, SESSIONS, context, capacity)) {
                if (warm) {
                    policy.warmUp();
                }
                return play(policy, policy::logits, policy.logitsPerRow(), LramPolicyTest.CARD.tasks(), STEPS, t -> {});
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"GROWING", "WINDOW"})
    void oneRecordingOfTheTransformerServesEveryContext(DecisionTransformer.Context context) {
        List<float[]> replayed = transformer(engine, context, false);
        assertSame(transformer(new Unrecorded(engine), context, false), replayed);
        assertSame(transformer(engine, context, true), replayed);
        double off = difference(transformer(cpu, context, false), replayed);
        assertTrue(off <= ROUNDING, () -> "logits differ from the CPU's by " + off + " of the largest");
    }
}
