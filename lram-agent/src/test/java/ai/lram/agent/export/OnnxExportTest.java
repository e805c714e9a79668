package ai.lram.agent.export;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.export.OnnxOptions.Form;
import ai.lram.agent.export.OnnxOptions.Weights;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.testing.Cards;
import ai.lram.agent.testing.LiveModels;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.onnxruntime.OrtException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The exported graph, run by ONNX Runtime, against the policy. */
class OnnxExportTest {
    private static final int STEPS = 200;
    private static final int BINS = 32;
    private static final int DISCRETE = 4;
    private static final int VOCABULARY = BINS + DISCRETE;
    /** One action relative to an observation, and returns that leave the range. */
    private static final TaskCard MOVE = move();

    private static final TaskCard CHOICE = Cards.discrete("choose", 3, 3);
    private static final TaskCard COPY = imitation(Cards.continuous("copy", 4, 1));
    private static final ModelCard CARD = Cards.model(MOVE, CHOICE, COPY);

    private static Backend backend;

    @TempDir
    Path folder;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    private static TaskCard move() {
        TaskCard t = Cards.continuous("move", 5, 2);
        ActionFeature a = t.action().getFirst();
        ActionFeature relative =
                new ActionFeature("a0", "", a.low(), a.high(), Double.POSITIVE_INFINITY, -0.3, 0.2, "o2");
        return new TaskCard(
                t.id(),
                t.domain(),
                t.rateHz(),
                t.observation(),
                List.of(),
                List.of(relative, t.action().get(1)),
                0,
                10,
                false,
                20,
                0,
                t.fallback(),
                t.safeAction(),
                List.of(-5.0, 15.0));
    }

    private static TaskCard imitation(TaskCard t) {
        return new TaskCard(
                t.id(),
                t.domain(),
                t.rateHz(),
                t.observation(),
                List.of(),
                t.action(),
                0,
                1,
                true,
                0,
                0,
                t.fallback(),
                t.safeAction());
    }

    private static Lram model(boolean mixed) {
        XlstmConfig backbone = new XlstmConfig(32, 3, 2, mixed ? List.of(1) : List.of());
        return LiveModels.of(backend, new LramConfig(6, 2, DISCRETE, BINS, false, false, backbone));
    }

    /** A robot: one row of both, the policy's batch and the exported graph's call. */
    private static final class Robot {
        final int row;
        final TaskCard task;
        final EpisodeReturn returns;
        final Random random;

        Robot(LramPolicy policy, int row, TaskCard task, long seed) {
            this.row = row;
            this.task = task;
            returns = new EpisodeReturn(task);
            random = new Random(seed);
            begin(policy);
        }

        void begin(LramPolicy policy) {
            policy.reset(row, task);
            returns.begin(task.targetReturn());
        }

        void fill(PolicyBatch batch) {
            if (returns.steps() > 0) {
                returns.rewarded((float) (task.rewardScale() * 0.3 * random.nextGaussian()));
            }
            batch.slot[row] = row;
            Arrays.fill(batch.observation[row], 0);
            for (int i = 0; i < task.observationSize(); i++) {
                batch.observation[row][i] = (float) random.nextGaussian();
            }
            returns.fill(batch, row);
        }
    }

    /** The same inputs for the graph; what it must ignore is made to stand out. */
    private static Map<String, Object> feeds(PolicyBatch batch, List<Robot> robots) {
        int n = robots.size();
        float[] observation = new float[n * batch.observation[0].length];
        float[] togo = new float[n];
        float[] reward = new float[n];
        boolean[] first = new boolean[n];
        long[] task = new long[n];
        for (Robot r : robots) {
            System.arraycopy(
                    batch.observation[r.row], 0, observation, r.row * observation.length / n, observation.length / n);
            togo[r.row] = (float) (r.task.imitation() ? 123 : r.returns.returnToGo());
            first[r.row] = batch.first[r.row];
            reward[r.row] = first[r.row] || r.task.imitation() ? 77 : batch.reward[r.row];
            task[r.row] = CARD.tasks().indexOf(r.task);
        }
        Map<String, Object> all = new HashMap<>();
        all.put("observation", observation);
        all.put("return_to_go", togo);
        all.put("reward", reward);
        all.put("first", first);
        all.put("task", task);
        return all;
    }

    /** Largest difference of logits over the largest logit, for a row; actions are held to the same. */
    private static double compare(LramPolicy policy, PolicyBatch batch, Map<String, float[]> got, Robot r) {
        int per = policy.logitsPerRow();
        int dims = r.task.actionSize();
        double largest = 0;
        double worst = 0;
        for (int i = 0; i < per; i++) {
            float want = policy.logits()[r.row * per + i];
            largest = Math.max(largest, Math.abs(want));
            worst = Math.max(worst, Math.abs(want - got.get("logits")[r.row * per + i]));
        }
        assertTrue(largest > 0.5, "the logits are alive: " + largest);
        int width = per / VOCABULARY;
        for (int i = 0; i < width; i++) {
            float want = i < dims ? batch.action[r.row][i] : 0;
            float action = got.get("action")[r.row * width + i];
            if (r.task.discrete()) {
                assertEquals(want, action, 0, "discrete action");
            } else {
                assertEquals(want, action, 2e-4, "action " + i + " of " + r.task.id());
            }
        }
        return worst / largest;
    }

    @ParameterizedTest(name = "sLSTM at 1: {0}")
    @ValueSource(booleans = {false, true})
    void twoHundredStepsGiveThePolicysLogitsAndActions(boolean mixed) throws OrtException {
        try (Lram model = model(mixed);
                LramPolicy policy = new LramPolicy(model, CARD, LramPolicy.Options.of(4, 4))) {
            Path file = folder.resolve("step.onnx");
            OnnxExport.write(file, model, CARD, OnnxOptions.defaults());
            PolicyBatch batch = new PolicyBatch(CARD, 4);
            List<Robot> robots = List.of(
                    new Robot(policy, 0, MOVE, 1),
                    new Robot(policy, 1, CHOICE, 2),
                    new Robot(policy, 2, COPY, 3),
                    new Robot(policy, 3, MOVE, 4));
            double worst = 0;
            try (ExportedSession exported = new ExportedSession(file, 4)) {
                exported.setState(1, 3);
                for (int t = 0; t < STEPS; t++) {
                    if (t == 70) {
                        robots.get(3).begin(policy);
                    }
                    batch.count = 4;
                    robots.forEach(r -> r.fill(batch));
                    policy.step(batch);
                    Map<String, float[]> got = exported.run(feeds(batch, robots));
                    for (Robot r : robots) {
                        worst = Math.max(worst, compare(policy, batch, got, r));
                    }
                    assertTrue(worst <= 1e-4, "step " + t + " deviates by " + worst);
                }
            }
            System.out.printf("exported step against the policy, mixed %b: %.1e of the largest logit%n", mixed, worst);
        }
    }

    @ParameterizedTest(name = "sLSTM at 1: {0}")
    @ValueSource(booleans = {false, true})
    void tokenByTokenIsTheSameFunction(boolean mixed) throws OrtException {
        try (Lram model = model(mixed);
                LramPolicy policy = new LramPolicy(model, CARD, LramPolicy.Options.of(2, 2))) {
            Path file = folder.resolve("token.onnx");
            OnnxExport.write(file, model, CARD, OnnxOptions.defaults().withForm(Form.TOKEN));
            PolicyBatch batch = new PolicyBatch(CARD, 2);
            List<Robot> robots = List.of(new Robot(policy, 0, MOVE, 1), new Robot(policy, 1, CHOICE, 2));
            double worst = 0;
            try (ExportedSession exported = new ExportedSession(file, 2)) {
                for (int t = 0; t < STEPS; t++) {
                    batch.count = 2;
                    robots.forEach(r -> r.fill(batch));
                    policy.step(batch);
                    Map<String, Object> feeds = feeds(batch, robots);
                    feeds.remove("first");
                    Map<String, float[]> got = null;
                    for (long token = t == 0 ? 1 : 0; token < 3; token++) {
                        feeds.put("token", new long[] {token, token});
                        got = exported.run(feeds);
                    }
                    for (Robot r : robots) {
                        worst = Math.max(worst, compare(policy, batch, got, r));
                    }
                    assertTrue(worst <= 1e-4, "step " + t + " deviates by " + worst);
                }
            }
            System.out.printf(
                    "exported tokens against the policy, mixed %b: %.1e of the largest logit%n", mixed, worst);
        }
    }

    @Test
    void bothFormsLeaveTheSameState() throws OrtException {
        ModelCard one = Cards.model(MOVE);
        OnnxOptions options = OnnxOptions.defaults();
        try (Lram model = model(true);
                LramPolicy policy = new LramPolicy(model, one, LramPolicy.Options.of(1, 1))) {
            Path steps = folder.resolve("step.onnx");
            Path tokens = folder.resolve("token.onnx");
            OnnxExport.write(steps, model, one, options);
            OnnxExport.write(tokens, model, one, options.withForm(Form.TOKEN));
            PolicyBatch batch = new PolicyBatch(one, 1);
            List<Robot> robots = List.of(new Robot(policy, 0, MOVE, 9));
            try (ExportedSession byStep = new ExportedSession(steps, 1);
                    ExportedSession byToken = new ExportedSession(tokens, 1)) {
                byStep.setState(0, -2);
                for (int t = 0; t < 5; t++) {
                    robots.forEach(r -> r.fill(batch));
                    Map<String, Object> feeds = feeds(batch, robots);
                    feeds.remove("task");
                    byStep.run(feeds);
                    feeds.remove("first");
                    for (long token = t == 0 ? 1 : 0; token < 3; token++) {
                        feeds.put("token", new long[] {token});
                        byToken.run(feeds);
                    }
                    for (Map.Entry<String, float[]> s : byToken.state().entrySet()) {
                        float[] got = byStep.state().get(s.getKey());
                        float largest = 0;
                        for (float v : s.getValue()) {
                            largest = Math.max(largest, Math.abs(v));
                        }
                        assertTrue(largest > 0, s.getKey());
                        assertArrayEquals(s.getValue(), got, 1e-5f * largest, s.getKey() + " after step " + t);
                    }
                }
            }
        }
    }

    @ParameterizedTest(name = "{0}, batch {1}")
    @CsvSource({"move, 1", "choose, 0", "copy, 1"})
    void oneTaskNeedsNoTaskInput(String id, int fixed) throws OrtException {
        ModelCard one = Cards.model(CARD.task(id));
        try (Lram model = model(false);
                LramPolicy policy = new LramPolicy(model, one, LramPolicy.Options.of(1, 1))) {
            Path file = folder.resolve("one.onnx");
            OnnxExport.Summary summary = OnnxExport.write(
                    file,
                    model,
                    CARD,
                    OnnxOptions.defaults().withTasks(List.of(id)).withBatch(fixed));
            assertEquals(List.of(id), summary.tasks());
            assertFalse(summary.inputs().stream().anyMatch(p -> p.name().equals("task")));
            PolicyBatch batch = new PolicyBatch(one, 1);
            List<Robot> robots = List.of(new Robot(policy, 0, CARD.task(id), 5));
            double worst = 0;
            try (ExportedSession exported = new ExportedSession(file, 1)) {
                for (int t = 0; t < 40; t++) {
                    batch.count = 1;
                    robots.forEach(r -> r.fill(batch));
                    policy.step(batch);
                    Map<String, Object> feeds = feeds(batch, robots);
                    feeds.remove("task");
                    worst = Math.max(worst, compare(policy, batch, exported.run(feeds), robots.getFirst()));
                }
            }
            assertTrue(worst <= 1e-4, "deviates by " + worst);
        }
    }

    @Test
    void eightBitWeightsStayNear() throws OrtException {
        try (Lram model = model(true);
                LramPolicy policy = new LramPolicy(model, CARD, LramPolicy.Options.of(1, 1))) {
            Path exact = folder.resolve("fp32.onnx");
            Path small = folder.resolve("int8.onnx");
            long bytes =
                    OnnxExport.write(exact, model, CARD, OnnxOptions.defaults()).bytes();
            long smaller = OnnxExport.write(
                            small, model, CARD, OnnxOptions.defaults().withWeights(Weights.INT8))
                    .bytes();
            assertTrue(smaller < bytes, smaller + " of " + bytes);
            PolicyBatch batch = new PolicyBatch(CARD, 1);
            List<Robot> robots = List.of(new Robot(policy, 0, MOVE, 7));
            double sum = 0;
            try (ExportedSession exported = new ExportedSession(small, 1)) {
                for (int t = 0; t < STEPS; t++) {
                    batch.count = 1;
                    robots.forEach(r -> r.fill(batch));
                    policy.step(batch);
                    sum += deviation(policy, exported.run(feeds(batch, robots)).get("logits"));
                }
            }
            System.out.printf("int8 export against the policy: %.1e of the largest logit on average%n", sum / STEPS);
            assertTrue(sum / STEPS < 0.05, "deviates by " + sum / STEPS);
            assertTrue(sum / STEPS > 1e-6, "it is not the fp32 graph");
        }
    }

    private static double deviation(LramPolicy policy, float[] got) {
        double largest = 0;
        double worst = 0;
        for (int i = 0; i < got.length; i++) {
            largest = Math.max(largest, Math.abs(policy.logits()[i]));
            worst = Math.max(worst, Math.abs(policy.logits()[i] - got[i]));
        }
        return worst / largest;
    }
}
