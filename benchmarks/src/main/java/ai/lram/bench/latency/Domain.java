package ai.lram.bench.latency;

import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.BenchException;
import ai.lram.bench.subject.DrawnPolicy;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * A domain by the shapes of its widest task, or an environment of this build.
 *
 * @param name in case names and options
 * @param task with those shapes
 * @param environment id of the environment, empty for shapes
 */
public record Domain(String name, TaskCard task, Optional<String> environment) {
    /** The six published domains, the humanoid's data set, then the environments of this build. */
    public static List<Domain> all() {
        List<Domain> all = new ArrayList<>();
        all.add(vector("metaworld", 39, 4, 80));
        all.add(vector("dmcontrol", 204, 6, 50));
        all.add(vector("composuite", 93, 8, 20));
        all.add(vector("mimicgen", 95, 7, 20));
        all.add(new Domain("atari", Shapes.image("atari", 18, 15), Optional.empty()));
        all.add(new Domain("procgen", Shapes.image("procgen", 15, 15), Optional.empty()));
        all.add(vector("unitree-g1", 26, 26, 30));
        for (String id : EnvironmentRegistry.ids()) {
            all.add(new Domain(id, card(EnvironmentRegistry.spec(id)), Optional.of(id)));
        }
        return all;
    }

    /** @throws BenchException if there is none of a name; the message lists those there are */
    public static List<Domain> named(List<String> names) {
        List<Domain> all = all();
        List<String> known = all.stream().map(Domain::name).toList();
        List<Domain> found = new ArrayList<>();
        for (String name : names) {
            int at = known.indexOf(name);
            if (at < 0) {
                throw new BenchException("there is no domain " + name, "there are " + known, "name some of them");
            }
            found.add(all.get(at));
        }
        return found;
    }

    private static Domain vector(String name, int observations, int actions, double rateHz) {
        return new Domain(name, Shapes.vector(name, observations, actions, rateHz), Optional.empty());
    }

    private static TaskCard card(EnvironmentSpec spec) {
        double[] mean = new double[spec.observationSize()];
        double[] std = new double[spec.observationSize()];
        Arrays.fill(std, 1);
        return spec.toTaskCard(mean, std, 1, 100, Fallback.HOLD);
    }

    /** This domain under a policy with drawn weights on {@code engine}, as {@link Engines} names it. */
    public Target target(ModelSize size, LramSubject.Weights weights, int threads, String engine) {
        ModelCard card = Shapes.card(task);
        return new Target(
                name + "-" + size.key() + (weights.name().equals("fp32") ? "" : "-" + weights.name()),
                engine,
                task,
                environment,
                (on, sessions) -> DrawnPolicy.open(
                        Backends.open(on, BackendOptions.threads(threads)), size, weights, card, sessions),
                sessions -> LramSubject.bytes(size, weights, card, sessions));
    }

    /** The same on each of several engines. */
    public List<Target> targets(ModelSize size, LramSubject.Weights weights, int threads, Engines engines) {
        return engines.names().stream()
                .map(engine -> target(size, weights, threads, engine))
                .toList();
    }
}
