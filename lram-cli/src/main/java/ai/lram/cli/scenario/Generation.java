package ai.lram.cli.scenario;

import ai.lram.bridge.env.expert.Quality;
import ai.lram.bridge.rollout.EpisodeResult;
import ai.lram.bridge.rollout.LeRobotEpisodeSink;
import ai.lram.bridge.rollout.TrajectoryGenerator;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.io.DurableFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Writes LeRobot v3 data sets of scripted behaviour, one folder per task. */
public final class Generation {
    private static final int EPISODES_PER_REPORT = 10;

    private Generation() {}

    /**
     * @param task environment id
     * @param folder of the data set
     * @param episodes outcomes in the order of their seeds
     */
    public record Result(String task, Path folder, List<EpisodeResult> episodes) {
        public Result {
            episodes = List.copyOf(episodes);
        }

        public long steps() {
            return episodes.stream().mapToLong(EpisodeResult::length).sum();
        }
    }

    /**
     * Generates per task at least {@code episodes} episodes and {@code steps} steps with seeds from {@code firstSeed} on. The folder
     * {@code out} appears when all is written.
     *
     * @throws InputException if {@code out} exists or cannot be written
     */
    public static List<Result> generate(
            List<String> tasks,
            Quality quality,
            int episodes,
            long steps,
            long firstSeed,
            Path out,
            Progress progress) {
        Path target = out.toAbsolutePath().normalize();
        if (Files.exists(target)) {
            throw new InputException(
                    "cannot generate data in " + out, "it exists already", "choose another --out or remove it");
        }
        Path working = DurableFiles.temporary(target);
        try {
            DurableFiles.createFolders(target.getParent());
            DurableFiles.deleteTree(working);
            List<Result> results = new ArrayList<>();
            try {
                for (String task : tasks) {
                    results.add(task(
                            task,
                            quality,
                            episodes,
                            steps,
                            firstSeed,
                            working,
                            target,
                            (double) results.size() / tasks.size(),
                            1.0 / tasks.size(),
                            progress));
                }
                DurableFiles.publish(working, target);
            } finally {
                DurableFiles.deleteTree(working);
            }
            progress.update(1, "");
            return results;
        } catch (IOException e) {
            throw new InputException(
                    "cannot generate data in " + out, e.toString(), "choose a writable place on a disk with room", e);
        }
    }

    private static Result task(
            String task,
            Quality quality,
            int episodes,
            long steps,
            long firstSeed,
            Path working,
            Path target,
            double done,
            double share,
            Progress progress) {
        TrajectoryGenerator generator = new TrajectoryGenerator(task, quality);
        List<EpisodeResult> results = new ArrayList<>();
        try (LeRobotEpisodeSink sink = LeRobotEpisodeSink.open(working, generator.spec())) {
            long rows = 0;
            while (results.size() < episodes || rows < steps) {
                int left = rows < steps ? EPISODES_PER_REPORT : episodes - results.size();
                for (EpisodeResult r :
                        generator.generate(firstSeed + results.size(), Math.min(EPISODES_PER_REPORT, left), sink)) {
                    results.add(r);
                    rows += r.length();
                }
                double reached = Math.min((double) results.size() / episodes, steps == 0 ? 1 : (double) rows / steps);
                progress.update(done + share * Math.min(1, reached), task);
            }
            return new Result(task, target.resolve(working.relativize(sink.root())), results);
        }
    }
}
