package ai.lram.agent.export;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import java.util.Arrays;
import java.util.stream.IntStream;

/** From logits to actions in raw units, as {@code TaskCodec} decodes: the expected bin centre, or the most likely discrete action. */
final class Actions {
    private static final float NEVER = -1e30f;

    private final GraphBuilder g;
    private final Tasks tasks;
    private final ActionCodec bins;

    Actions(GraphBuilder g, Tasks tasks, ActionCodec bins) {
        this.g = g;
        this.tasks = tasks;
        this.bins = bins;
    }

    /** logits (B, actions, vocabulary), observation (B, observations): (B, actions), zero beyond a task's own. */
    String decode(String logits, String observation) {
        boolean anyDiscrete = tasks.all().stream().anyMatch(TaskCard::discrete);
        boolean allDiscrete = tasks.all().stream().allMatch(TaskCard::discrete);
        if (allDiscrete) {
            return chosen(logits);
        }
        String continuous = continuous(logits, observation);
        if (!anyDiscrete) {
            return continuous;
        }
        String first = tasks.row(tasks.actions(), t -> t.discrete() ? new float[] {1} : new float[0]);
        return g.where(g.op("Greater", first, g.scalar(0.5)), chosen(logits), continuous);
    }

    /** (B, 1). */
    private String chosen(String logits) {
        int most = bins.discrete();
        String ids = g.slice(g.pick(logits, 1, 0), 1, 0, most);
        String allowed = tasks.row(most, t -> {
            float[] a = new float[most];
            Arrays.fill(a, t.discreteActions(), most, NEVER);
            return a;
        });
        return g.unsqueeze(g.toFloat(g.argMax(g.add(ids, allowed))), 1);
    }

    /** (B, actions). */
    private String continuous(String logits, String observation) {
        float[] centres = new float[bins.bins()];
        for (int i = 0; i < centres.length; i++) {
            centres[i] = bins.centre(bins.discrete() + i);
        }
        String p = g.softmax(g.slice(logits, 2, bins.discrete(), (long) bins.discrete() + bins.bins()));
        String normalised = g.matMul(p, g.floats(centres, centres.length));
        String low = tasks.row(tasks.actions(), t -> ends(t, false));
        String half = tasks.row(tasks.actions(), t -> ends(t, true));
        String raw = g.add(low, g.mul(g.add(normalised, g.scalar(1)), half));
        return relative(raw, observation);
    }

    /** Lower ends of the bin ranges of a continuous task, or halves of their widths. */
    private static float[] ends(TaskCard t, boolean halfWidth) {
        float[] a = new float[t.discrete() ? 0 : t.actionSize()];
        for (int i = 0; i < a.length; i++) {
            ActionFeature f = t.action().get(i);
            float low = (float) f.encodeLow();
            a[i] = halfWidth ? 0.5f * ((float) f.encodeHigh() - low) : low;
        }
        return a;
    }

    private String relative(String raw, String observation) {
        if (tasks.all().stream().flatMap(t -> t.action().stream()).allMatch(f -> f.relativeTo() == null)) {
            return raw;
        }
        String base = tasks.observed(observation, t -> IntStream.range(0, t.actionSize())
                .mapToLong(i -> Math.max(0, position(t, i)))
                .toArray());
        String counts = tasks.row(tasks.actions(), t -> {
            float[] a = new float[t.actionSize()];
            for (int i = 0; i < a.length; i++) {
                a[i] = position(t, i) < 0 ? 0 : 1;
            }
            return a;
        });
        return g.add(raw, g.mul(base, counts));
    }

    /** Position of the observation an action is relative to, or -1. */
    private static int position(TaskCard t, int action) {
        String name = t.action().get(action).relativeTo();
        return name == null ? -1 : t.observationIndex(name);
    }
}
