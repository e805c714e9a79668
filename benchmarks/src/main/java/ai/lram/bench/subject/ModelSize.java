package ai.lram.bench.subject;

import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.bench.BenchException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * A model size by name: the published ones in their all-mLSTM layout, and small ones for tests and slow machines.
 *
 * @param name e.g. {@code 16M}: rounded number of parameters
 * @param backbone the xLSTM stack
 */
public record ModelSize(String name, XlstmConfig backbone) {
    private static final List<String> PUBLISHED = List.of("16M", "48M", "110M", "206M", "408M");
    private static final Map<String, XlstmConfig> SMALL =
            new TreeMap<>(Map.of("1M", XlstmConfig.mlstm(160, 4, 4), "2M", XlstmConfig.mlstm(192, 6, 4)));

    /** All names, small ones first. */
    public static List<String> names() {
        List<String> all = new ArrayList<>(SMALL.keySet());
        all.addAll(PUBLISHED);
        return all;
    }

    /** @throws BenchException if there is no such size; the message lists those there are */
    public static ModelSize of(String name) {
        String wanted = name.toUpperCase(Locale.ROOT);
        if (SMALL.containsKey(wanted)) {
            return new ModelSize(wanted, SMALL.get(wanted));
        }
        if (PUBLISHED.contains(wanted)) {
            return new ModelSize(wanted, LramConfig.published(wanted, false).backbone());
        }
        throw new BenchException("there is no model size " + name, "sizes are " + names(), "name one of them");
    }

    /** As case names have it, e.g. {@code 16m}. */
    public String key() {
        return name.toLowerCase(Locale.ROOT);
    }

    /** A model of this size for one task of that many action dimensions, 204 observations wide, with or without images. */
    public LramConfig config(int actionDims, boolean images) {
        return LramConfig.of(backbone).withActionDims(actionDims).withImages(images);
    }
}
