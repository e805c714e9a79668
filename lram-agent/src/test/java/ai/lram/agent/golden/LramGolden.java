package ai.lram.agent.golden;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.train.LearningRate;
import ai.lram.agent.train.Optimizer;
import ai.lram.agent.xlstm.CarriedState;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.golden.GoldenReport;
import ai.lram.backend.golden.Safetensors;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The published agent as a whole, its quirks switched on: tokens, blocks, logits, loss, gradients, cached steps, evaluation loops,
 * optimiser steps.
 */
@Tag("golden")
abstract class LramGolden {
    protected abstract Backend openBackend();

    private static LramConfig config(Safetensors model, boolean images) {
        int width = model.shape("embed_ln.weight")[0];
        int blocks = 0;
        List<Integer> slstm = new ArrayList<>();
        while (model.has("encoder.layers.blocks." + blocks + ".xlstm_norm.weight")) {
            if (model.has("encoder.layers.blocks." + blocks + ".ffn_norm.weight")) {
                slstm.add(blocks);
            }
            blocks++;
        }
        int heads = model.shape("encoder.layers.blocks.0.xlstm.mlstm_cell.igate.weight")[0];
        int vocabulary = LramConfig.DISCRETE_ACTIONS + LramConfig.BINS;
        return new LramConfig(
                model.shape("embed_state.weight")[1],
                model.shape("action_net.0.weight")[0] / vocabulary,
                LramConfig.DISCRETE_ACTIONS,
                LramConfig.BINS,
                images,
                false,
                new XlstmConfig(width, blocks, heads, slstm));
    }

    private static Lram load(Safetensors file, boolean images, Backend backend, boolean training) {
        Lram model = new Lram(config(file, images)).allocate(backend, training);
        GoldenParameters.load(file, "", model.parameters(), "");
        return model;
    }

    private static void upload(Backend backend, Value v, float[] a) {
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(v.tensor().bytes(), 64);
            switch (v.dtype()) {
                case F32 -> MemorySegment.copy(a, 0, m, ValueLayout.JAVA_FLOAT, 0, a.length);
                case I32 -> {
                    for (int i = 0; i < a.length; i++) {
                        m.setAtIndex(ValueLayout.JAVA_INT, i, (int) a[i]);
                    }
                }
                case U8 -> {
                    for (int i = 0; i < a.length; i++) {
                        m.set(ValueLayout.JAVA_BYTE, i, (byte) (int) a[i]);
                    }
                }
                default -> throw new AssertionError(v);
            }
            backend.upload(backend.stream(), v.tensor(), m);
            backend.stream().synchronize();
        }
    }

    /** Masks of the loss: attention mask times the mask of action dimensions, spread over the model's dimensions. */
    private static float[] lossMask(Safetensors file, int dims) {
        float[] attention = file.f32("in.attention_mask");
        float[] action = file.f32("in.action_mask");
        int entries = attention.length;
        int given = action.length / entries;
        float[] mask = new float[entries * dims];
        for (int i = 0; i < entries; i++) {
            for (int j = 0; j < given; j++) {
                mask[i * dims + j] = attention[i] * action[i * given + j];
            }
        }
        return mask;
    }

    private static float[] spread(float[] given, int entries, int dims) {
        int n = given.length / entries;
        float[] out = new float[entries * dims];
        for (int i = 0; i < entries; i++) {
            System.arraycopy(given, i * n, out, i * dims, n);
        }
        return out;
    }

    private static float[] firstDims(float[] logits, int entries, int dims, int keep, int vocabulary) {
        float[] out = new float[entries * keep * vocabulary];
        for (int i = 0; i < entries; i++) {
            System.arraycopy(logits, i * dims * vocabulary, out, i * keep * vocabulary, keep * vocabulary);
        }
        return out;
    }

    @ParameterizedTest
    @CsvSource({
        "m, vector", "m, image", "m, padded_vector", "m, padded_image",
        "ms, vector", "ms, image", "ms, padded_vector", "ms, padded_image"
    })
    void aTrainingWindowAgrees(String kind, String window) {
        boolean images = window.endsWith("image");
        Safetensors weights = Safetensors.open("lram/lram_" + kind + "_model");
        Safetensors file = Safetensors.open("lram/lram_" + kind + "_" + window);
        int[] shape = file.shape("in.states");
        int b = shape[0];
        int t = shape[1];
        try (Backend backend = openBackend();
                Lram model = load(weights, images, backend, true);
                GoldenReport report = new GoldenReport(file, backend.name())) {
            LramConfig c = model.config();
            ParameterSet set = model.parameters();
            int entries = b * t;
            int dims = c.actionDims();
            Tape tape = new Tape(backend, true);
            Lram.Pass pass = model.forward(tape, b, t, images, null);
            tape.keep(pass.tokens());
            pass.blocks().forEach(tape::keep);
            tape.keep(pass.backbone());
            tape.keep(pass.logits());
            Value target = tape.input("target", DType.I32, entries * dims);
            Value mask = tape.input("mask", DType.F32, entries * dims);
            Value stats = tape.keep(tape.buffer("stats", DType.F32, 3));
            Value d = tape.buffer("d logits", DType.F32, entries * dims, c.vocabulary());
            tape.record(
                    "loss",
                    (o, s) -> o.loss()
                            .crossEntropy(
                                    s,
                                    pass.logits().tensor().reshape(entries * dims, c.vocabulary()),
                                    target.tensor(),
                                    mask.tensor(),
                                    1f,
                                    d.tensor(),
                                    stats.tensor()),
                    pass.logits(),
                    target,
                    mask,
                    stats,
                    d);
            tape.backward(pass.logits(), d);
            try (Plan plan = tape.plan("window")) {
                upload(backend, pass.states(), file.f32("in.states"));
                upload(backend, pass.returnsToGo(), file.f32("in.returns_to_go"));
                upload(backend, pass.rewards(), file.f32("in.rewards"));
                upload(backend, target, spread(file.f32("target_tokens"), entries, dims));
                upload(backend, mask, lossMask(file, dims));
                backend.ops().elementwise().fill(backend.stream(), 0f, set.grads());
                plan.run();
                report.compare("tokens", set.read(pass.tokens().tensor()));
                for (int i = 0; i < pass.blocks().size(); i++) {
                    report.compare("block" + i, set.read(pass.blocks().get(i).tensor()));
                }
                report.compare("backbone", set.read(pass.backbone().tensor()));
                int keep = file.shape("action_logits")[2];
                float[] logits = firstDims(set.read(pass.logits().tensor()), entries, dims, keep, c.vocabulary());
                report.compare("action_logits", logits);
                report.compare("loss", new float[] {set.read(stats.tensor())[0]});
                GoldenParameters.compareGradients(file, report, set, "");
                report.compare("gradnorm", gradientNorms(file, set));
                assertDecodesTheSame(file, logits, entries, keep, images);
            }
        }
    }

    private static void assertDecodesTheSame(Safetensors file, float[] logits, int entries, int dims, boolean images) {
        ActionCodec codec = new ActionCodec(LramConfig.DISCRETE_ACTIONS, LramConfig.BINS);
        int vocabulary = codec.discrete() + codec.bins();
        float[] want = file.f32("action_preds");
        for (int i = 0; i < entries * dims; i++) {
            float got = images
                    ? codec.decodeDiscrete(logits, i * vocabulary, codec.discrete())
                    : codec.decode(ActionCodec.Decoding.LOWER_EDGE, logits, i * vocabulary);
            assertEquals(want[i], got, "action " + i);
        }
    }

    /** Norm of every parameter's gradient in the order the file names them. */
    private static float[] gradientNorms(Safetensors file, ParameterSet set) {
        List<String> order = strings(file.metadata("gradnorm_order"));
        float[] norms = new float[order.size()];
        for (int i = 0; i < norms.length; i++) {
            Parameter p = set.get(order.get(i));
            double sum = 0;
            for (float v : set.read(p.grad())) {
                sum += (double) v * v;
            }
            norms[i] = (float) Math.sqrt(sum);
        }
        return norms;
    }

    private static List<String> strings(String jsonArray) {
        List<String> out = new ArrayList<>();
        java.util.regex.Matcher m =
                java.util.regex.Pattern.compile("\"([^\"]+)\"").matcher(jsonArray);
        while (m.find()) {
            out.add(m.group(1));
        }
        return out;
    }

    @ParameterizedTest
    @CsvSource({
        "m, vector, cached",
        "m, vector, deferred",
        "m, image, cached",
        "m, image, deferred",
        "ms, vector, cached",
        "ms, vector, deferred",
        "ms, image, cached",
        "ms, image, deferred"
    })
    void recurrentStepsAndStatesAgree(String kind, String input, String mode) {
        boolean images = input.equals("image");
        boolean deferred = mode.equals("deferred");
        Safetensors weights = Safetensors.open("lram/lram_" + kind + "_model");
        Safetensors file = Safetensors.open("lram/lram_" + kind + "_recurrent_" + input);
        int b = file.shape("in.returns_to_go")[0];
        int t = file.shape("in.returns_to_go")[1];
        float[] states = file.f32("in.states");
        float[] returns = file.f32("in.returns_to_go");
        float[] rewards = file.f32("in.rewards");
        try (Backend backend = openBackend();
                Lram model = load(weights, images, backend, false);
                CarriedState carried = new CarriedState(backend, model.config().backbone(), b);
                GoldenReport report = new GoldenReport(file, backend.name());
                StepGraph three = new StepGraph(backend, model, carried, b, images, deferred ? "rsg" : "sgr");
                StepGraph two = deferred ? new StepGraph(backend, model, carried, b, images, "sg") : null) {
            LramConfig c = model.config();
            ParameterSet set = model.parameters();
            int keep = file.shape(mode + ".action_logits")[2];
            int d = c.backbone().width();
            float[] logits = new float[b * t * keep * c.vocabulary()];
            float[] hidden = new float[b * t * (deferred ? d : 3 * d)];
            for (int step = 0; step < t; step++) {
                StepGraph g = deferred && step == 0 ? two : three;
                g.run(
                        column(states, b, t, step),
                        column(returns, b, t, step),
                        deferred ? step == 0 ? null : column(rewards, b, t, step - 1) : new float[b]);
                put(
                        logits,
                        firstDims(set.read(g.logits.tensor()), b, c.actionDims(), keep, c.vocabulary()),
                        b,
                        t,
                        step);
                put(hidden, set.read(deferred ? g.atReturn.tensor() : g.hidden.tensor()), b, t, step);
                for (int block = 0; block < c.backbone().blocks(); block++) {
                    compareState(
                            file,
                            report,
                            mode + ".state" + step + ".block" + block + ".",
                            set,
                            carried,
                            c.backbone(),
                            block,
                            b);
                }
            }
            report.compare(mode + ".action_logits", logits);
            report.compare(deferred ? "deferred.hidden_g" : "cached.hidden", hidden);
        }
    }

    private static void compareState(
            Safetensors file,
            GoldenReport report,
            String name,
            ParameterSet set,
            CarriedState carried,
            XlstmConfig c,
            int block,
            int b) {
        if (!file.has(name + "conv")) {
            return;
        }
        int at = 0;
        for (int i = 0; i < block; i++) {
            at += c.isSlstm(i) ? 2 : 4;
        }
        List<Tensor> s = carried.tensors();
        report.compare(name + "conv", XlstmGolden.withOldest(set.read(s.get(at)), file.f32(name + "conv"), b));
        if (c.isSlstm(block)) {
            report.compare(name + "slstm", set.read(s.get(at + 1)));
        } else {
            double scale = 1 / Math.sqrt(c.headDim());
            report.compare(name + "C", XlstmGolden.scaled(set.read(s.get(at + 1)), scale));
            report.compare(name + "n", XlstmGolden.scaled(set.read(s.get(at + 2)), scale));
            report.compare(name + "m", set.read(s.get(at + 3)));
        }
    }

    private static float[] column(float[] a, int b, int t, int step) {
        int n = a.length / (b * t);
        float[] out = new float[b * n];
        for (int row = 0; row < b; row++) {
            System.arraycopy(a, (row * t + step) * n, out, row * n, n);
        }
        return out;
    }

    private static void put(float[] all, float[] part, int b, int t, int step) {
        int n = part.length / b;
        for (int row = 0; row < b; row++) {
            System.arraycopy(part, row * n, all, (row * t + step) * n, n);
        }
    }

    /** One environment step of the embedded tokens named by {@code order} through the stack with a carried state. */
    private static final class StepGraph implements AutoCloseable {
        private final Backend backend;
        private final Value state;
        private final Value returns;
        private final Value reward;
        final Value hidden;
        final Value atReturn;
        final Value logits;
        private final Plan plan;

        StepGraph(Backend backend, Lram model, CarriedState carried, int b, boolean images, String order) {
            this.backend = backend;
            int d = model.config().backbone().width();
            Tape tape = new Tape(backend, false);
            Value s;
            if (images) {
                state = tape.input("images", DType.U8, b, 3, 64, 64);
                s = tape.reshape(model.imageEncoder().forward(tape, state), b, 1, d);
            } else {
                state = tape.input("states", DType.F32, b, 1, model.config().stateDim());
                s = tape.linear(state, model.stateWeight, model.stateBias);
            }
            returns = tape.input("returns", DType.F32, b, 1, 1);
            reward = tape.input("reward", DType.F32, b, 1, 1);
            Value g = tape.linear(returns, model.returnWeight, model.returnBias);
            Value r = tape.linear(reward, model.rewardWeight, model.rewardBias);
            Value[] parts = new Value[order.length()];
            for (int i = 0; i < parts.length; i++) {
                parts[i] = order.charAt(i) == 's' ? s : order.charAt(i) == 'g' ? g : r;
            }
            Value tokens = tape.norm(Lram.EMBED_NORM, tape.interleave(parts), model.embedNorm, model.embedNormBias);
            hidden = tape.keep(model.stack().forward(tape, tokens, carried).normed());
            atReturn = tape.keep(tape.everyToken(hidden, parts.length, order.indexOf('g')));
            logits = tape.keep(tape.linear(atReturn, model.head, model.headBias));
            plan = tape.plan("step " + order);
        }

        void run(float[] s, float[] g, float[] r) {
            upload(backend, state, s);
            upload(backend, returns, g);
            upload(backend, reward, r == null ? new float[g.length] : r);
            plan.run();
        }

        @Override
        public void close() {
            plan.close();
        }
    }

    /** A card with raw states, scale 1 and bins over [-1, 1]: the published agent has no other normalisation. */
    private static ModelCard rawCard(int observations, int actions, boolean images) {
        List<ObservationFeature> obs = new ArrayList<>();
        for (int i = 0; i < observations; i++) {
            obs.add(new ObservationFeature("o" + i, "", Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY, 0, 1));
        }
        List<ActionFeature> acts = new ArrayList<>();
        List<Double> safe = new ArrayList<>();
        for (int i = 0; i < actions; i++) {
            acts.add(ActionFeature.bounded("a" + i, "", images ? 0 : -1, images ? 17 : 1));
            safe.add(0.0);
        }
        TaskCard task = new TaskCard(
                "golden",
                "golden",
                1,
                obs,
                images ? List.of(3, 64, 64) : List.of(),
                acts,
                images ? 18 : 0,
                1,
                false,
                0,
                0,
                Fallback.HOLD,
                safe);
        return new ModelCard(ModelCard.FORMAT_VERSION, "golden", List.of(task), Map.of());
    }

    @ParameterizedTest
    @CsvSource({"m, vector", "m, image", "ms, vector", "ms, image"})
    void theControlStepAgreesWithTheDeferredSchedule(String kind, String input) {
        boolean images = input.equals("image");
        Safetensors weights = Safetensors.open("lram/lram_" + kind + "_model");
        Safetensors file = Safetensors.open("lram/lram_" + kind + "_recurrent_" + input);
        int b = file.shape("in.returns_to_go")[0];
        int t = file.shape("in.returns_to_go")[1];
        float[] states = file.f32("in.states");
        float[] returns = file.f32("in.returns_to_go");
        float[] rewards = file.f32("in.rewards");
        for (boolean cached : new boolean[] {false, true}) {
            String mode = cached ? "cached" : "deferred";
            try (Backend backend = openBackend();
                    Lram model = load(weights, images, backend, false);
                    GoldenReport report = new GoldenReport(file, backend.name() + " control step")) {
                int keep = file.shape(mode + ".action_logits")[2];
                int stateDim = images ? 0 : states.length / (b * t);
                ModelCard card = rawCard(stateDim, keep, images);
                LramPolicy.Options options = new LramPolicy.Options(
                        b, b, ActionCodec.Decoding.LOWER_EDGE, null, cached, DType.F32, DType.F32);
                float[] all = new float[b * t * keep * model.config().vocabulary()];
                try (LramPolicy policy = new LramPolicy(model, card, options)) {
                    PolicyBatch batch = new PolicyBatch(card, b);
                    for (int row = 0; row < b; row++) {
                        policy.reset(row, card.tasks().getFirst());
                    }
                    for (int step = 0; step < t; step++) {
                        batch.count = b;
                        for (int row = 0; row < b; row++) {
                            batch.slot[row] = row;
                            batch.first[row] = step == 0;
                            batch.returnToGo[row] = returns[row * t + step];
                            batch.reward[row] = step == 0 ? 0 : rewards[row * t + step - 1];
                            int n = states.length / (b * t);
                            for (int i = 0; i < n; i++) {
                                float v = states[(row * t + step) * n + i];
                                if (images) {
                                    batch.image[row][i] = (byte) (int) v;
                                } else {
                                    batch.observation[row][i] = v;
                                }
                            }
                        }
                        policy.step(batch);
                        float[] logits = new float[b * policy.logitsPerRow()];
                        System.arraycopy(policy.logits(), 0, logits, 0, logits.length);
                        put(all, logits, b, t, step);
                        float[] want = file.f32(mode + ".action_preds");
                        for (int row = 0; row < b; row++) {
                            assertEquals(PolicyBatch.OK, batch.status[row]);
                            for (int i = 0; i < keep; i++) {
                                assertEquals(
                                        want[(row * t + step) * keep + i], batch.action[row][i], 0f, mode + " action");
                            }
                        }
                    }
                }
                report.compare(mode + ".action_logits", all);
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"m, vector", "m, image", "ms, vector", "ms, image"})
    void thePublishedEvaluationLoopsAgree(String kind, String input) {
        boolean images = input.equals("image");
        Safetensors weights = Safetensors.open("lram/lram_" + kind + "_model");
        Safetensors file = Safetensors.open("lram/lram_" + kind + "_eval_" + input);
        try (Backend backend = openBackend();
                Lram model = load(weights, images, backend, false);
                GoldenReport report = new GoldenReport(file, backend.name())) {
            windowedLoop(file, report, backend, model, images);
            cachedLoop(file, report, model, images);
        }
    }

    /** Every step re-runs the last T steps, left padded with zeros, the reward of the step being decided still zero. */
    private static void windowedLoop(
            Safetensors file, GoldenReport report, Backend backend, Lram model, boolean images) {
        LramConfig c = model.config();
        int steps = file.shape("window.actions")[0];
        int t = file.shape("window.reward_tokens")[1];
        int keep = file.shape("window.action_logits")[1];
        float[] observations = file.f32("window.observations");
        float[] returns = file.f32("window.returns_to_go");
        float[] rewardTokens = file.f32("window.reward_tokens");
        float[] valid = file.f32("window.valid_steps");
        float[] actions = file.f32("window.actions");
        int n = observations.length / steps;
        int stateSize = images ? n : c.stateDim();
        float[] logits = new float[steps * keep * c.vocabulary()];
        ActionCodec codec = new ActionCodec(c.discreteActions(), c.bins());
        int given = actions.length / steps;
        Tape tape = new Tape(backend, false);
        Lram.Pass pass = model.forward(tape, 1, t, images, null);
        tape.keep(pass.logits());
        try (Plan plan = tape.plan("window")) {
            for (int step = 0; step < steps; step++) {
                float[] s = new float[t * stateSize];
                float[] g = new float[t];
                float[] r = new float[t];
                int count = (int) valid[step];
                for (int j = 0; j < count; j++) {
                    int from = step - count + 1 + j;
                    int at = t - count + j;
                    System.arraycopy(observations, from * n, s, at * stateSize, n);
                    g[at] = returns[from];
                }
                System.arraycopy(rewardTokens, step * t, r, 0, t);
                upload(backend, pass.states(), s);
                upload(backend, pass.returnsToGo(), g);
                upload(backend, pass.rewards(), r);
                plan.run();
                float[] out = model.parameters().read(pass.logits().tensor());
                int perStep = c.actionDims() * c.vocabulary();
                System.arraycopy(out, (t - 1) * perStep, logits, step * keep * c.vocabulary(), keep * c.vocabulary());
                for (int i = 0; i < given; i++) {
                    int at = (t - 1) * perStep + i * c.vocabulary();
                    float got = images
                            ? codec.decodeDiscrete(out, at, codec.discrete())
                            : codec.decode(ActionCodec.Decoding.LOWER_EDGE, out, at);
                    assertEquals(actions[step * given + i], got, "windowed action of step " + step);
                }
            }
        }
        report.compare("window.action_logits", logits);
    }

    private static void cachedLoop(Safetensors file, GoldenReport report, Lram model, boolean images) {
        int steps = file.shape("cached.actions")[0];
        int keep = file.shape("cached.action_logits")[1];
        float[] observations = file.f32("cached.observations");
        float[] returns = file.f32("cached.returns_to_go");
        float[] done = file.f32("cached.done");
        float[] actions = file.f32("cached.actions");
        int given = actions.length / steps;
        int n = observations.length / steps;
        ModelCard card = rawCard(images ? 0 : n, keep, images);
        float[] logits = new float[steps * keep * model.config().vocabulary()];
        LramPolicy.Options options =
                new LramPolicy.Options(1, 1, ActionCodec.Decoding.LOWER_EDGE, null, true, DType.F32, DType.F32);
        try (LramPolicy policy = new LramPolicy(model, card, options)) {
            PolicyBatch batch = new PolicyBatch(card, 1);
            boolean first = true;
            for (int step = 0; step < steps; step++) {
                if (first) {
                    policy.reset(0, card.tasks().getFirst());
                }
                batch.count = 1;
                batch.first[0] = first;
                batch.returnToGo[0] = returns[step];
                for (int i = 0; i < n; i++) {
                    if (images) {
                        batch.image[0][i] = (byte) (int) observations[step * n + i];
                    } else {
                        batch.observation[0][i] = observations[step * n + i];
                    }
                }
                policy.step(batch);
                System.arraycopy(policy.logits(), 0, logits, step * policy.logitsPerRow(), policy.logitsPerRow());
                for (int i = 0; i < given; i++) {
                    assertEquals(actions[step * given + i], batch.action[0][i], "cached action of step " + step);
                }
                first = done[step] != 0;
            }
        }
        report.compare("cached.action_logits", logits);
    }

    @Test
    void optimiserStepsAgree() {
        Safetensors weights = Safetensors.open("lram/lram_m_model");
        Safetensors window = Safetensors.open("lram/lram_m_vector");
        Safetensors file = Safetensors.open("lram/lram_m_train");
        int[] shape = window.shape("in.states");
        int b = shape[0];
        int t = shape[1];
        int warmup = Integer.parseInt(file.metadata("warmup"));
        int accumulation = Integer.parseInt(file.metadata("accumulation"));
        int steps = Integer.parseInt(file.metadata("steps"));
        int tMax = Integer.parseInt(file.metadata("t_max"));
        LearningRate schedule = new LearningRate(1e-2, 1e-6, warmup, tMax);
        try (Backend backend = openBackend();
                Lram model = load(weights, true, backend, true);
                GoldenReport report = new GoldenReport(file, backend.name())) {
            LramConfig c = model.config();
            ParameterSet set = model.parameters();
            int entries = b * t * c.actionDims();
            Tape tape = new Tape(backend, true);
            Lram.Pass pass = model.forward(tape, b, t, false, null);
            Value target = tape.input("target", DType.I32, entries);
            Value mask = tape.input("mask", DType.F32, entries);
            Value stats = tape.keep(tape.buffer("stats", DType.F32, 3));
            Value d = tape.buffer("d logits", DType.F32, entries, c.vocabulary());
            tape.record(
                    "loss",
                    (o, s) -> o.loss()
                            .crossEntropy(
                                    s,
                                    pass.logits().tensor().reshape(entries, c.vocabulary()),
                                    target.tensor(),
                                    mask.tensor(),
                                    1f / accumulation,
                                    d.tensor(),
                                    stats.tensor()),
                    pass.logits(),
                    target,
                    mask,
                    stats,
                    d);
            tape.backward(pass.logits(), d);
            Map<String, float[]> before = new java.util.HashMap<>();
            for (Parameter p : set.all()) {
                before.put(p.name(), set.read(p.value()));
            }
            float[] losses = new float[steps];
            List<Float> norms = new ArrayList<>();
            try (Plan plan = tape.plan("train");
                    Optimizer optimizer = new Optimizer(set, 0.9, 0.999, 0.01, 0.25, true)) {
                upload(backend, pass.states(), window.f32("in.states"));
                upload(backend, pass.returnsToGo(), window.f32("in.returns_to_go"));
                upload(backend, pass.rewards(), window.f32("in.rewards"));
                upload(backend, target, spread(window.f32("target_tokens"), b * t, c.actionDims()));
                upload(backend, mask, lossMask(window, c.actionDims()));
                optimizer.zeroGrad();
                for (int micro = 0; micro < steps; micro++) {
                    plan.run();
                    losses[micro] = set.read(stats.tensor())[0];
                    if (micro % accumulation == 0) {
                        norms.add((float) optimizer.gradientNorm());
                        optimizer.step(schedule.at(micro));
                        optimizer.zeroGrad();
                    }
                }
            }
            report.compare("loss", losses);
            float[] gn = new float[norms.size()];
            for (int i = 0; i < gn.length; i++) {
                gn[i] = norms.get(i);
            }
            report.compare("grad_norm_before_clip", gn);
            float[] rates = new float[file.shape("lr")[0]];
            for (int i = 0; i < rates.length; i++) {
                rates[i] = (float) schedule.at(i);
            }
            report.compare("lr", rates);
            for (Parameter p : set.all()) {
                float[] now = set.read(p.value());
                float[] old = before.get(p.name());
                String name = "delta." + p.name();
                if (file.has(name)) {
                    float[] delta = new float[now.length];
                    for (int i = 0; i < now.length; i++) {
                        delta[i] = now[i] - old[i];
                    }
                    report.compare(name, delta);
                } else {
                    org.junit.jupiter.api.Assertions.assertArrayEquals(
                            old, now, p.name() + " has no gradient and must not move");
                }
            }
        }
    }

    @Test
    void theActionTokenizerAgrees() {
        Safetensors file = Safetensors.open("lram/lram_tokenizer");
        ActionCodec codec = new ActionCodec(LramConfig.DISCRETE_ACTIONS, LramConfig.BINS);
        float[] x = file.f32("x");
        float[] ids = file.f32("ids");
        float[] decoded = file.f32("decoded");
        for (int i = 0; i < x.length; i++) {
            assertEquals((int) ids[i], codec.encode(x[i]), "encode " + x[i]);
            assertEquals(decoded[i], codec.lowerEdge((int) ids[i]), "decode of " + ids[i]);
        }
        float[] all = file.f32("all_decoded");
        float[] allIds = file.f32("all_ids");
        for (int i = 0; i < all.length; i++) {
            assertEquals(all[i], codec.lowerEdge((int) allIds[i]));
        }
        assertTrue(x.length > 0 && all.length == codec.discrete() + codec.bins());
    }
}
