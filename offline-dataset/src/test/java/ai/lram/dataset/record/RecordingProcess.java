package ai.lram.dataset.record;

import ai.lram.dataset.FeatureSpec;
import ai.lram.dataset.format.LeRobotSchema;
import java.nio.file.Path;

/** A process that records episode after episode and prints each acknowledged number; made to be killed. */
final class RecordingProcess {
    static final LeRobotSchema SCHEMA =
            LeRobotSchema.of("test", 100, FeatureSpec.vector("o", 4), FeatureSpec.vector("a", 2), true, true);

    private RecordingProcess() {}

    public static void main(String[] arguments) {
        EpisodeRecorder recorder = EpisodeRecorder.open(Path.of(arguments[0]), SCHEMA, 1000);
        while (true) {
            EpisodeRecorder.RunningEpisode episode = recorder.begin("task");
            int number = (int) recorder.episodeCount();
            fill(episode, number);
            System.out.println("ACK " + episode.finish());
            System.out.flush();
        }
    }

    /** The content of episode {@code number} is known, so that a reader can check it. */
    static void fill(EpisodeRecorder.RunningEpisode episode, int number) {
        int steps = length(number);
        for (int t = 0; t < steps; t++) {
            episode.append(
                    new float[] {number, t, number * 1000f + t, -t},
                    new float[] {t, number},
                    t,
                    t == steps - 1,
                    10_000_000L * t + 5);
        }
    }

    static int length(int number) {
        return 20 + number % 50;
    }
}
