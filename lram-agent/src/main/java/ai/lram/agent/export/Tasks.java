package ai.lram.agent.export;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.ObservationFeature;
import ai.lram.agent.card.TaskCard;
import java.util.List;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;

/**
 * Numbers of the exported tasks, as constants where there is one task, else looked up by the input {@code task}. Values have the float
 * arithmetic of {@link ai.lram.agent.policy.TaskCodec}.
 */
final class Tasks {
    private final GraphBuilder g;
    private final List<TaskCard> tasks;
    private final String index;
    private final int observations;
    private final int actions;

    /** @param index int64 (B), or null where there is one task */
    Tasks(GraphBuilder g, List<TaskCard> tasks, String index) {
        this.g = g;
        this.tasks = tasks;
        this.index = index;
        observations = tasks.stream().mapToInt(TaskCard::observationSize).max().orElseThrow();
        actions = tasks.stream().mapToInt(TaskCard::actionSize).max().orElseThrow();
    }

    List<TaskCard> all() {
        return tasks;
    }

    /** Width of the observation input. */
    int observations() {
        return observations;
    }

    /** Width of the action output. */
    int actions() {
        return actions;
    }

    /** One number per task: (B), or a scalar. */
    String number(ToDoubleFunction<TaskCard> value) {
        float[] a = new float[tasks.size()];
        for (int i = 0; i < a.length; i++) {
            a[i] = (float) value.applyAsDouble(tasks.get(i));
        }
        return index == null ? g.scalar(a[0]) : g.gather(g.floats(a, a.length), index, 0);
    }

    /** One number per observation feature: (B, observations) or (observations); zero beyond a task's own. */
    String perObservation(ToDoubleFunction<ObservationFeature> value) {
        return row(observations, t -> numbers(t.observation(), value));
    }

    /** Likewise per action feature. */
    String perAction(ToDoubleFunction<ActionFeature> value) {
        return row(actions, t -> numbers(t.action(), value));
    }

    private static <F> float[] numbers(List<F> features, ToDoubleFunction<F> value) {
        float[] a = new float[features.size()];
        for (int i = 0; i < a.length; i++) {
            a[i] = (float) value.applyAsDouble(features.get(i));
        }
        return a;
    }

    /** (B, width) or (width). */
    String row(int width, Function<TaskCard, float[]> values) {
        float[] a = new float[tasks.size() * width];
        for (int i = 0; i < tasks.size(); i++) {
            float[] v = values.apply(tasks.get(i));
            System.arraycopy(v, 0, a, i * width, v.length);
        }
        return index == null ? g.floats(a, width) : g.gather(g.floats(a, tasks.size(), width), index, 0);
    }

    /** Entries of the observation (B, observations), one per action feature: (B, actions). */
    String observed(String observation, Function<TaskCard, long[]> positions) {
        long[] a = new long[tasks.size() * actions];
        for (int i = 0; i < tasks.size(); i++) {
            long[] p = positions.apply(tasks.get(i));
            System.arraycopy(p, 0, a, i * actions, p.length);
        }
        return index == null
                ? g.gather(observation, g.longs(a, actions), 1)
                : g.gatherElements(observation, g.gather(g.longs(a, tasks.size(), actions), index, 0), 1);
    }
}
