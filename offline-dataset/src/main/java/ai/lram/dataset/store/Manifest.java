package ai.lram.dataset.store;

import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.FeatureType;
import ai.lram.dataset.TaskInfo;
import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The store's manifest as it stands in {@code manifest.json}. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Manifest(
        String format,
        int version,
        int episodes,
        List<StoreSource> sources,
        Map<String, String> provenance,
        List<Task> tasks) {
    private static final ObjectMapper JSON = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonInclude(JsonInclude.Include.NON_NULL)
    record Task(
            String id,
            String domain,
            String instruction,
            double rateHz,
            int discreteActions,
            boolean rewards,
            boolean done,
            boolean timestamps,
            long rows,
            Feature observation,
            Feature action,
            Feature image) {
        static Task of(TaskInfo info, long rows) {
            return new Task(
                    info.taskId(),
                    info.domain(),
                    info.instruction(),
                    info.rateHz(),
                    info.discreteActions(),
                    info.hasRewards(),
                    info.hasDone(),
                    info.hasTimestamps(),
                    rows,
                    info.observation().map(Feature::of).orElse(null),
                    Feature.of(info.action()),
                    info.image().map(Feature::of).orElse(null));
        }

        TaskInfo info() {
            return new TaskInfo(
                    id,
                    domain,
                    instruction,
                    Optional.ofNullable(observation).map(Feature::spec),
                    action.spec(),
                    Optional.ofNullable(image).map(Feature::spec),
                    discreteActions,
                    rateHz,
                    rewards,
                    done,
                    timestamps);
        }
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Feature(
            String name,
            FeatureType type,
            List<Integer> shape,
            List<String> names,
            List<String> units,
            List<Double> lower,
            List<Double> upper) {
        static Feature of(FeatureSpec spec) {
            return new Feature(
                    spec.name(), spec.type(), spec.shape(), spec.names(), spec.units(), spec.lower(), spec.upper());
        }

        FeatureSpec spec() {
            return new FeatureSpec(name, type, shape, names, units, lower, upper);
        }
    }

    byte[] toJson() throws JsonProcessingException {
        return JSON.writeValueAsBytes(this);
    }

    static Manifest parse(byte[] json) throws IOException {
        return JSON.readValue(json, Manifest.class);
    }
}
