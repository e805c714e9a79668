package ai.lram.cli.config;

import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import com.typesafe.config.Config;
import com.typesafe.config.ConfigException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;

/** Between the section {@code lram.train} and a {@link TrainConfig}. */
public final class TrainSettings {
    /** The section. */
    public static final String SECTION = "lram.train";

    private TrainSettings() {}

    /**
     * @param name of the settings in messages
     * @throws InputException if a value is missing or of the wrong type
     * @throws ai.lram.agent.ConfigException if a value is out of range
     */
    public static TrainConfig read(Config root, String name) {
        try {
            Config c = root.getConfig(SECTION);
            Config b = c.getConfig("backbone");
            return new TrainConfig(
                    new XlstmConfig(b.getInt("width"), b.getInt("blocks"), b.getInt("heads"), b.getIntList("slstm-at")),
                    c.getInt("batch"),
                    c.getInt("steps"),
                    c.getInt("accumulate"),
                    c.getBoolean("carry-state"),
                    c.getLong("updates"),
                    c.getDouble("max-minutes"),
                    c.getDouble("learning-rate"),
                    c.getLong("warmup-updates"),
                    c.getDouble("weight-decay"),
                    c.getDouble("beta2"),
                    c.getDouble("clip-norm"),
                    c.getDouble("bin-sigma"),
                    c.getDouble("observation-noise"),
                    c.getDouble("return-noise"),
                    c.getBoolean("relative-actions"),
                    c.getDouble("bin-margin"),
                    c.getDouble("held-out-fraction"),
                    c.getLong("split-seed"),
                    c.getLong("seed"),
                    c.getDouble("top-return-fraction"),
                    c.getDouble("target-quantile"),
                    c.getLong("validate-every"),
                    c.getLong("checkpoint-every"));
        } catch (ConfigException e) {
            throw Settings.unusable(name, e);
        }
    }

    /** Every key below {@link #SECTION} with its value as HOCON text. */
    public static Map<String, String> values(TrainConfig c) {
        Map<String, String> v = new LinkedHashMap<>();
        v.put("backbone.width", String.valueOf(c.backbone().width()));
        v.put("backbone.blocks", String.valueOf(c.backbone().blocks()));
        v.put("backbone.heads", String.valueOf(c.backbone().heads()));
        v.put("backbone.slstm-at", c.backbone().slstmAt().toString());
        v.put("batch", String.valueOf(c.batch()));
        v.put("steps", String.valueOf(c.steps()));
        v.put("accumulate", String.valueOf(c.accumulate()));
        v.put("carry-state", String.valueOf(c.carryState()));
        v.put("updates", String.valueOf(c.updates()));
        v.put("max-minutes", String.valueOf(c.maxMinutes()));
        v.put("learning-rate", String.valueOf(c.peakLearningRate()));
        v.put("warmup-updates", String.valueOf(c.warmupUpdates()));
        v.put("weight-decay", String.valueOf(c.weightDecay()));
        v.put("beta2", String.valueOf(c.beta2()));
        v.put("clip-norm", String.valueOf(c.clipNorm()));
        v.put("bin-sigma", String.valueOf(c.binSigma()));
        v.put("observation-noise", String.valueOf(c.observationNoise()));
        v.put("return-noise", String.valueOf(c.returnNoise()));
        v.put("relative-actions", String.valueOf(c.relativeActions()));
        v.put("bin-margin", String.valueOf(c.binMargin()));
        v.put("held-out-fraction", String.valueOf(c.heldOutFraction()));
        v.put("split-seed", String.valueOf(c.splitSeed()));
        v.put("seed", String.valueOf(c.seed()));
        v.put("top-return-fraction", String.valueOf(c.topReturnFraction()));
        v.put("target-quantile", String.valueOf(c.targetQuantile()));
        v.put("validate-every", String.valueOf(c.validateEvery()));
        v.put("checkpoint-every", String.valueOf(c.checkpointEvery()));
        return v;
    }

    /** A settings file that {@link Settings} reads back to the same configuration. */
    public static String hocon(TrainConfig c) {
        StringBuilder s = new StringBuilder(SECTION + " {\n");
        values(c)
                .forEach((key, value) ->
                        s.append("  ").append(key).append(" = ").append(value).append('\n'));
        return s.append("}\n").toString();
    }

    /** Keys in which two configurations differ, with both values. */
    public static Map<String, String> differences(TrainConfig a, TrainConfig b) {
        Map<String, String> of = values(b);
        Map<String, String> out = new TreeMap<>();
        values(a).forEach((key, value) -> {
            if (!value.equals(of.get(key))) {
                out.put(key, value + " and " + of.get(key));
            }
        });
        return out;
    }
}
