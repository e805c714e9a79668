package ai.lram.dataset.convert;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.TaskInfo;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Observations with how much every number changed since the row before, behind the numbers themselves: {@code NAME.change}, zero in an
 * episode's first row. How fast a joint moves lies in the last digits of its positions, where a model that sees positions alone has to look
 * for it.
 */
final class ObservedChanges {
    private static final String SUFFIX = ".change";

    private ObservedChanges() {}

    /** The task with twice as many observations; one without observations as it is. */
    static TaskInfo of(TaskInfo t) {
        return new TaskInfo(
                t.taskId(),
                t.domain(),
                t.instruction(),
                t.observation().map(ObservedChanges::of),
                t.action(),
                t.image(),
                t.discreteActions(),
                t.rateHz(),
                t.hasRewards(),
                t.hasDone(),
                t.hasTimestamps());
    }

    private static FeatureSpec of(FeatureSpec f) {
        int width = f.width();
        List<String> names = f.names().isEmpty()
                ? IntStream.range(0, width)
                        .mapToObj(i -> f.name() + "[" + i + "]")
                        .toList()
                : f.names();
        return new FeatureSpec(
                f.name(),
                f.type(),
                List.of(2 * width),
                twice(names, names.stream().map(n -> n + SUFFIX).toList()),
                twice(f.units(), f.units()),
                bounds(f, f.lower(), -1),
                bounds(f, f.upper(), 1));
    }

    private static <T> List<T> twice(List<T> values, List<T> changes) {
        return Stream.concat(values.stream(), changes.stream()).toList();
    }

    /** A number changes by no more than its range; where one end is not known, bounds are left out. */
    private static List<Double> bounds(FeatureSpec f, List<Double> own, int sign) {
        if (f.lower().isEmpty() || f.upper().isEmpty()) {
            return List.of();
        }
        return twice(
                own,
                IntStream.range(0, f.width())
                        .mapToObj(i -> sign * (f.upper().get(i) - f.lower().get(i)))
                        .toList());
    }

    /** The episode with twice as many observations; one without observations as it is. */
    static Episode of(Episode e) {
        if (!e.has(Column.OBSERVATION)) {
            return e;
        }
        Episode.Builder b = Episode.builder(e.taskId(), e.length())
                .instruction(e.instruction())
                .sourceEpisode(e.sourceEpisode());
        for (String name : e.columnNames()) {
            float[] values = e.column(name);
            b.column(name, name.equals(Column.OBSERVATION.key()) ? changes(values, e.width(name)) : values);
        }
        if (e.has(Column.IMAGE)) {
            b.image(e.image());
        }
        return b.build();
    }

    private static float[] changes(float[] x, int width) {
        float[] out = new float[2 * x.length];
        for (int row = 0; row < x.length / width; row++) {
            for (int i = 0; i < width; i++) {
                int at = row * width + i;
                out[2 * row * width + i] = x[at];
                out[(2 * row + 1) * width + i] = row == 0 ? 0f : x[at] - x[at - width];
            }
        }
        return out;
    }
}
