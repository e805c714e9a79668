package ai.lram.bench.subject;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.export.OnnxOptions.Weights;
import ai.lram.agent.export.OnnxPort;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.bench.BenchException;
import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.OrtSession.SessionOptions.OptLevel;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The same model with the same weights and inputs as {@link LramSubject}, stepped by ONNX Runtime: one environment step a call, all graph
 * optimisations, its own defaults otherwise (its threads spin). It gets what makes it fast: tensors over native memory made once, outputs
 * pinned to them, two sets of state that swap roles from step to step. One session.
 */
public final class OrtSubject implements Subject {
    private static final String STATE_IN = "state.";
    private static final String STATE_OUT = "next.";
    private static final String OBSERVATION = "observation";
    private static final String RETURN_TO_GO = "return_to_go";
    private static final String REWARD = "reward";
    private static final String FIRST = "first";
    private static final String LOGITS = "logits";
    private static final String ACTION = "action";
    /** As far as 8-bit weights and activations may lie from fp32, of the largest logit. */
    private static final double INT8_TOLERANCE = 0.1;

    private static final int SETS = 2;

    private final ExportedModel exported;
    private final Weights format;
    private final String what;
    private final TaskCard task;
    private final Inputs inputs;
    private final PolicyBatch batch;
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final Arena arena = Arena.ofShared();
    private final List<OnnxTensor> tensors = new ArrayList<>();
    private final Map<String, MemorySegment> memory = new HashMap<>();
    private final List<Map<String, OnnxTensor>> in = new ArrayList<>();
    private final List<Map<String, OnnxTensor>> out = new ArrayList<>();
    private final float[] logits;
    private OrtSession session;
    private long at;

    private OrtSubject(ExportedModel exported, Weights format) {
        this.exported = exported;
        this.format = format;
        what = "ONNX Runtime " + OrtLibrary.version() + " with " + ExportedModel.key(format) + " weights";
        task = exported.card().tasks().getFirst();
        inputs = new Inputs(task, LramSubject.INPUT_SEED);
        batch = new PolicyBatch(exported.card(), 1);
        batch.count = 1;
        logits = new float[exported.answers()[0].length];
    }

    /**
     * Loads an exported file.
     *
     * @param exported stays the caller's, open
     * @param threads that work on one call
     * @throws BenchException if ONNX Runtime refuses it
     */
    public static OrtSubject open(ExportedModel exported, Weights format, int threads) {
        OrtSubject subject = new OrtSubject(exported, format);
        try {
            subject.load(threads);
            return subject;
        } catch (OrtException e) {
            throw subject.abandon(failed("load " + exported.file(format), e));
        } catch (RuntimeException e) {
            throw subject.abandon(e);
        }
    }

    private RuntimeException abandon(RuntimeException e) {
        try {
            close();
        } catch (RuntimeException left) {
            e.addSuppressed(left);
        }
        return e;
    }

    private static BenchException failed(String doing, OrtException e) {
        return new BenchException(
                "ONNX Runtime could not " + doing, e.toString(), "run with --no-onnx-runtime to leave it out", e);
    }

    private void load(int threads) throws OrtException {
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setOptimizationLevel(OptLevel.ALL_OPT);
            options.setIntraOpNumThreads(threads);
            session = environment.createSession(exported.file(format).toString(), options);
        }
        for (int set = 0; set < SETS; set++) {
            in.add(new HashMap<>());
            out.add(new HashMap<>());
        }
        shared(in, FIRST, OnnxJavaType.BOOL, 1);
        shared(in, OBSERVATION, OnnxJavaType.FLOAT, 1, task.observationSize());
        shared(in, RETURN_TO_GO, OnnxJavaType.FLOAT, 1);
        shared(in, REWARD, OnnxJavaType.FLOAT, 1);
        for (OnnxPort port : exported.outputs(format)) {
            long[] shape = port.shape().stream().mapToLong(Integer::longValue).toArray();
            if (port.name().startsWith(STATE_OUT)) {
                String name = STATE_IN + port.name().substring(STATE_OUT.length());
                for (int set = 0; set < SETS; set++) {
                    OnnxTensor state = tensor(name + "/" + set, OnnxJavaType.FLOAT, shape);
                    in.get(set).put(name, state);
                    out.get(1 - set).put(port.name(), state);
                }
            } else {
                shared(out, port.name(), OnnxJavaType.FLOAT, shape);
            }
        }
    }

    /** One tensor for both sets. */
    private void shared(List<Map<String, OnnxTensor>> sets, String name, OnnxJavaType type, long... shape)
            throws OrtException {
        OnnxTensor tensor = tensor(name, type, shape);
        sets.forEach(set -> set.put(name, tensor));
    }

    private OnnxTensor tensor(String name, OnnxJavaType type, long... shape) throws OrtException {
        long bytes = type.size;
        for (long n : shape) {
            bytes *= n;
        }
        MemorySegment segment = arena.allocate(bytes, 64);
        memory.put(name, segment);
        ByteBuffer buffer = segment.asByteBuffer().order(ByteOrder.nativeOrder());
        OnnxTensor tensor = OnnxTensor.createTensor(environment, buffer, shape, type);
        tensors.add(tensor);
        return tensor;
    }

    @Override
    public double check() {
        return Agreement.require(
                this,
                exported.answers(),
                "our own step",
                this::logits,
                what,
                format == Weights.INT8 ? INT8_TOLERANCE : Agreement.ROUNDING);
    }

    private float[] logits() {
        MemorySegment.copy(memory.get(LOGITS), ValueLayout.JAVA_FLOAT, 0, logits, 0, logits.length);
        return logits;
    }

    @Override
    public void begin(int sessions, int context) {
        if (sessions != 1) {
            throw new IllegalArgumentException(sessions + " sessions; this subject has one");
        }
        memory.values().forEach(m -> m.fill((byte) 0));
        at = 0;
        for (int i = 0; i < context; i++) {
            fill();
            step();
        }
    }

    @Override
    public void fill() {
        inputs.fill(batch, 0, 0, at);
        memory.get(FIRST).set(ValueLayout.JAVA_BOOLEAN, 0, batch.first[0]);
        memory.get(REWARD).set(ValueLayout.JAVA_FLOAT, 0, batch.reward[0]);
        memory.get(RETURN_TO_GO).set(ValueLayout.JAVA_FLOAT, 0, batch.returnToGo[0]);
        MemorySegment.copy(
                batch.observation[0], 0, memory.get(OBSERVATION), ValueLayout.JAVA_FLOAT, 0, task.observationSize());
    }

    @Override
    public void step() {
        int set = (int) (at % SETS);
        try {
            // The result owns nothing: every output is pinned.
            session.run(in.get(set), Set.of(), out.get(set)).close();
            at++;
        } catch (OrtException e) {
            throw failed("run a step", e);
        }
    }

    @Override
    public boolean usable() {
        return Float.isFinite(memory.get(LOGITS).get(ValueLayout.JAVA_FLOAT, 0))
                && Float.isFinite(memory.get(ACTION).get(ValueLayout.JAVA_FLOAT, 0));
    }

    /** Weights once, the whole state read and written once. */
    @Override
    public double stepBytes(int sessions, int context) {
        XlstmConfig b = exported.size().backbone();
        double d = b.headDim();
        return ExportedModel.bytes(format) * (double) exported.parameters()
                + 2.0 * Float.BYTES * b.blocks() * b.heads() * d * d;
    }

    @Override
    public double stepFlop(int sessions) {
        double width = exported.size().backbone().width();
        double oncePerStep = width * (logits.length + task.observationSize());
        return 2.0 * (Lram.TOKENS * (exported.parameters() - oncePerStep) + oncePerStep);
    }

    /** All of it, whatever fails. */
    @Override
    public void close() {
        BenchException first = null;
        tensors.forEach(OnnxTensor::close);
        tensors.clear();
        if (session != null) {
            try {
                session.close();
            } catch (OrtException e) {
                first = failed("close a session", e);
            }
            session = null;
        }
        if (arena.scope().isAlive()) {
            arena.close();
        }
        if (first != null) {
            throw first;
        }
    }
}
