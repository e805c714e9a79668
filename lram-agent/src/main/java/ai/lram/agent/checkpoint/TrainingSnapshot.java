package ai.lram.agent.checkpoint;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What a training run needs besides weights and card to go on as if it had never stopped. The optimiser's moments are not part of it: they
 * are saved from and restored into the model's {@link ai.lram.agent.autodiff.ParameterSet}.
 *
 * @param step optimiser steps done; >= 0
 * @param arrays state of samplers, generators and carried recurrence, by names of the trainer's choice
 * @param values short values, by names of the trainer's choice
 */
public record TrainingSnapshot(long step, Map<String, HostTensor> arrays, Map<String, String> values) {
    public TrainingSnapshot {
        if (step < 0) {
            throw new IllegalArgumentException("step must be >= 0, got " + step);
        }
        arrays = new LinkedHashMap<>(arrays);
        values = new LinkedHashMap<>(values);
    }

    /** @throws IncompatibleCheckpointException if there is no such array */
    public HostTensor array(String name) {
        HostTensor t = arrays.get(name);
        if (t == null) {
            throw missing("array", name);
        }
        return t;
    }

    /** @throws IncompatibleCheckpointException if there is no such value */
    public String value(String name) {
        String v = values.get(name);
        if (v == null) {
            throw missing("value", name);
        }
        return v;
    }

    private IncompatibleCheckpointException missing(String kind, String name) {
        return new IncompatibleCheckpointException("the saved training state has no " + kind + " " + name,
                "it holds " + arrays.keySet() + " and " + values.keySet(), "resume with the build that wrote it, or start a new run");
    }
}
