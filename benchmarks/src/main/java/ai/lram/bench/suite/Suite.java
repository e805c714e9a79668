package ai.lram.bench.suite;

import ai.lram.bench.Benchmark;
import ai.lram.bench.data.DataBench;
import ai.lram.bench.latency.BridgeBench;
import ai.lram.bench.latency.LatencyBench;
import ai.lram.bench.latency.LatencySettings;
import ai.lram.bench.machine.MachineBench;
import ai.lram.bench.step.StepBench;
import ai.lram.bench.step.StepSettings;
import ai.lram.bench.train.TrainBench;
import java.util.List;

/** Every benchmark of this build. */
public final class Suite {
    private Suite() {}

    /** All of them with their usual settings, in the order in which they are run. */
    public static List<Benchmark> all(boolean quick) {
        return List.of(
                new MachineBench(StepSettings.usualThreads(), quick),
                new StepBench(StepSettings.defaults(quick), quick),
                new LatencyBench(LatencySettings.defaults(quick)),
                new BridgeBench(quick),
                new DataBench(quick),
                new TrainBench(TrainBench.Settings.defaults(quick, StepSettings.usualThreads())));
    }

    /** Their names. */
    public static List<String> names() {
        return all(true).stream().map(Benchmark::name).toList();
    }
}
