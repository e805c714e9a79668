package ai.lram.agent.export;

import ai.onnxruntime.NodeInfo;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OnnxValue;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.OrtSession.SessionOptions.OptLevel;
import ai.onnxruntime.TensorInfo;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** An exported file in ONNX Runtime with all graph optimisations; carries the state from call to call. */
final class ExportedSession implements AutoCloseable {
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final int batch;
    private final Map<String, float[]> state = new HashMap<>();
    private final Map<String, long[]> shapes = new HashMap<>();

    ExportedSession(Path file, int batch) throws OrtException {
        this.batch = batch;
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setOptimizationLevel(OptLevel.ALL_OPT);
            options.setIntraOpNumThreads(1);
            session = environment.createSession(file.toString(), options);
        }
        for (Map.Entry<String, NodeInfo> in : session.getInputInfo().entrySet()) {
            if (in.getKey().startsWith(BlockState.IN)) {
                long[] shape = ((TensorInfo) in.getValue().getInfo()).getShape();
                shape[0] = batch;
                shapes.put(in.getKey(), shape);
                state.put(in.getKey(), new float[(int) Arrays.stream(shape).reduce(1, (a, b) -> a * b)]);
            }
        }
    }

    OrtSession session() {
        return session;
    }

    /** The state by input name. */
    Map<String, float[]> state() {
        return state;
    }

    /** Fills one row's state with {@code value}. */
    void setState(int row, float value) {
        state.values().forEach(a -> Arrays.fill(a, row * a.length / batch, (row + 1) * a.length / batch, value));
    }

    /**
     * One call.
     *
     * @param feeds float[] of (batch) or (batch, n), long[] or boolean[] of (batch)
     * @return the outputs that are no state
     */
    Map<String, float[]> run(Map<String, Object> feeds) throws OrtException {
        Map<String, OnnxTensor> in = new HashMap<>();
        try {
            for (Map.Entry<String, Object> f : feeds.entrySet()) {
                in.put(f.getKey(), tensor(f.getValue()));
            }
            for (Map.Entry<String, float[]> s : state.entrySet()) {
                in.put(
                        s.getKey(),
                        OnnxTensor.createTensor(environment, FloatBuffer.wrap(s.getValue()), shapes.get(s.getKey())));
            }
            Map<String, float[]> out = new HashMap<>();
            try (OrtSession.Result result = session.run(in)) {
                for (Map.Entry<String, OnnxValue> e : result) {
                    float[] values = new float
                            [((OnnxTensor) e.getValue()).getFloatBuffer().remaining()];
                    ((OnnxTensor) e.getValue()).getFloatBuffer().get(values);
                    if (e.getKey().startsWith(BlockState.OUT)) {
                        state.put(BlockState.IN + e.getKey().substring(BlockState.OUT.length()), values);
                    } else {
                        out.put(e.getKey(), values);
                    }
                }
            }
            return out;
        } finally {
            in.values().forEach(OnnxTensor::close);
        }
    }

    private OnnxTensor tensor(Object value) throws OrtException {
        return switch (value) {
            case float[] a
            when a.length == batch -> OnnxTensor.createTensor(environment, FloatBuffer.wrap(a), new long[] {batch});
            case float[] a ->
                OnnxTensor.createTensor(environment, FloatBuffer.wrap(a), new long[] {batch, a.length / batch});
            case long[] a -> OnnxTensor.createTensor(environment, LongBuffer.wrap(a), new long[] {batch});
            default -> OnnxTensor.createTensor(environment, value);
        };
    }

    @Override
    public void close() throws OrtException {
        session.close();
    }
}
