package ai.lram.agent.testing;

import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.util.List;
import java.util.Map;

/** Small training runs. */
public final class TrainConfigs {
    /** One mLSTM and one sLSTM block of width 32. */
    public static final XlstmConfig MIXED = new XlstmConfig(32, 2, 2, List.of(1));

    private TrainConfigs() {}

    /** Soft targets, no noise, 1e-3 after 5 updates of warm-up. */
    public static TrainConfig of(XlstmConfig backbone, int batch, int steps, boolean carry, long updates) {
        return new TrainConfig(
                backbone, batch, steps, 1, carry, updates, 0, 2e-3, 5, 0.01, 0.99, 1, 1.5, 0, 0, false, 0.02, 0, 1, 7,
                1, 0.5, 0, 0);
    }

    public static TrainConfig withNoise(TrainConfig c, double observation, double returns) {
        return changed(c, Map.of("observationNoise", observation, "returnNoise", returns));
    }

    public static TrainConfig withRate(TrainConfig c, double rate) {
        return changed(c, Map.of("peakLearningRate", rate));
    }

    public static TrainConfig withEvery(TrainConfig c, long validate, long checkpoint) {
        return changed(c, Map.of("validateEvery", validate, "checkpointEvery", checkpoint));
    }

    public static TrainConfig withAccumulate(TrainConfig c, int accumulate) {
        return changed(c, Map.of("accumulate", accumulate));
    }

    public static TrainConfig withTargets(
            TrainConfig c, double binSigma, boolean relative, double binMargin, double quantile) {
        return changed(
                c,
                Map.of(
                        "binSigma", binSigma,
                        "relativeActions", relative,
                        "binMargin", binMargin,
                        "targetQuantile", quantile));
    }

    /** {@code c} but for components by name. */
    private static TrainConfig changed(TrainConfig c, Map<String, Object> values) {
        RecordComponent[] components = TrainConfig.class.getRecordComponents();
        Class<?>[] types = new Class<?>[components.length];
        Object[] all = new Object[components.length];
        int used = 0;
        try {
            for (int i = 0; i < components.length; i++) {
                types[i] = components[i].getType();
                Object value = values.get(components[i].getName());
                used += value == null ? 0 : 1;
                all[i] = value == null ? components[i].getAccessor().invoke(c) : value;
            }
            if (used != values.size()) {
                throw new AssertionError("not all of " + values.keySet() + " are components of TrainConfig");
            }
            return TrainConfig.class.getDeclaredConstructor(types).newInstance(all);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof RuntimeException refusal) {
                throw refusal;
            }
            throw new AssertionError("no copy of a training configuration", e);
        } catch (ReflectiveOperationException e) {
            throw new AssertionError("no copy of a training configuration", e);
        }
    }
}
