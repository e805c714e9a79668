package ai.lram.bench.step;

import ai.lram.agent.export.OnnxOptions;
import ai.lram.bench.Latencies;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/** What the alternatives to a size took on a number of threads. */
final class PeerTimes {
    private final Map<Integer, Latencies> transformer = new HashMap<>();
    private final Map<OnnxOptions.Weights, Latencies> onnxRuntime = new EnumMap<>(OnnxOptions.Weights.class);

    void transformer(int context, Latencies latencies) {
        transformer.put(context, latencies);
    }

    Optional<Latencies> transformer(int context) {
        return Optional.ofNullable(transformer.get(context));
    }

    void onnxRuntime(OnnxOptions.Weights format, Latencies latencies) {
        onnxRuntime.put(format, latencies);
    }

    /**
     * Its best form beside weights of ours: int8 beside int8, fp32 beside fp32 and bf16, for its CPU kernels know no bf16 products.
     *
     * @param ours name of a storage of weights
     */
    Optional<Latencies> onnxRuntime(String ours) {
        return Optional.ofNullable(
                onnxRuntime.get(ours.equals("int8") ? OnnxOptions.Weights.INT8 : OnnxOptions.Weights.FP32));
    }
}
