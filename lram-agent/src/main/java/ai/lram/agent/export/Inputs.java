package ai.lram.agent.export;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.Lram;
import java.util.List;

/** From raw observations, returns and rewards to embedded tokens, as {@code LramPolicy} makes them. */
final class Inputs {
    /** Values of the input {@code token} of {@link OnnxOptions.Form#TOKEN}. */
    static final List<String> TOKEN_KINDS = List.of("reward", "state", "return_to_go");

    private final GraphBuilder g;
    private final Linear linear;
    private final Lram model;
    private final Tasks tasks;

    Inputs(GraphBuilder g, Linear linear, Lram model, Tasks tasks) {
        this.g = g;
        this.linear = linear;
        this.model = model;
        this.tasks = tasks;
    }

    /** Tokens r, s, g: (B, 3, D). */
    String step(String observation, String returnToGo, String reward, String first) {
        return normed(all(observation, returnToGo, g.where(first, g.scalar(0), reward)));
    }

    /** The one token whose kind {@code token}, int64 (B), names: (B, 1, D). */
    String token(String observation, String returnToGo, String reward, String token) {
        int kinds = TOKEN_KINDS.size();
        long[] kind = new long[kinds];
        for (int i = 0; i < kinds; i++) {
            kind[i] = i;
        }
        String chosen = g.toFloat(g.op("Equal", g.unsqueeze(token, 1), g.vector(kind)));
        String one = g.sum(g.mul(all(observation, returnToGo, reward), g.unsqueeze(chosen, 2)), 1, true);
        return normed(one);
    }

    private String all(String observation, String returnToGo, String reward) {
        String s = g.add(
                g.matMul(standardised(observation), linear.matrix(model.stateWeight, tasks.observations())),
                linear.vector(model.stateBias));
        String scale = tasks.number(t -> t.imitation() ? 0 : 1 / t.rewardScale());
        String r = number(g.mul(reward, scale), model.rewardWeight, model.rewardBias);
        String togo = number(g.mul(limited(returnToGo), scale), model.returnWeight, model.returnBias);
        return g.concat(1, g.unsqueeze(r, 1), g.unsqueeze(s, 1), g.unsqueeze(togo, 1));
    }

    private String standardised(String observation) {
        String mean = tasks.perObservation(f -> (float) f.mean());
        return g.mul(g.sub(observation, mean), tasks.perObservation(f -> (float) (1 / f.std())));
    }

    /** Within the tasks' return ranges. */
    private String limited(String returnToGo) {
        if (tasks.all().stream().allMatch(t -> t.returnRange().isEmpty())) {
            return returnToGo;
        }
        String high = tasks.number(t -> limit(t, 1, Float.MAX_VALUE));
        return g.max(g.min(returnToGo, high), tasks.number(t -> limit(t, 0, -Float.MAX_VALUE)));
    }

    private static double limit(TaskCard t, int end, float none) {
        return t.returnRange().isEmpty() ? none : t.returnRange().get(end);
    }

    /** A linear layer of one number (B): (B, D). */
    private String number(String x, Parameter weight, Parameter bias) {
        return g.add(g.mul(g.unsqueeze(x, 1), linear.vector(weight)), linear.vector(bias));
    }

    private String normed(String tokens) {
        return g.layerNorm(
                tokens, linear.vector(model.embedNorm), linear.vector(model.embedNormBias), Lram.EMBED_NORM.eps());
    }
}
