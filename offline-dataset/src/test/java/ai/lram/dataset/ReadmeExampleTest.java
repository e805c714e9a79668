package ai.lram.dataset;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportSource;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.record.EpisodeRecorder;
import ai.lram.dataset.sample.EpisodeSplit;
import ai.lram.dataset.sample.FeatureStatistics;
import ai.lram.dataset.sample.Window;
import ai.lram.dataset.sample.WindowSampler;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The example of the README, run. */
class ReadmeExampleTest {
    @TempDir
    Path folder;

    @Test
    void recordImportSplitAndSample() {
        LeRobotSchema schema =
                LeRobotSchema.of("arm", 50, FeatureSpec.vector("q", 3), FeatureSpec.vector("dq", 2), true, false);
        try (EpisodeRecorder recorder = EpisodeRecorder.open(folder.resolve("recorded"), schema, 10_000)) {
            for (int e = 0; e < 4; e++) {
                EpisodeRecorder.RunningEpisode episode = recorder.begin("reach the cup");
                for (int t = 0; t < 100; t++) {
                    episode.append(new float[] {t, e, 1}, new float[] {0, t}, 1, false, 20_000_000L * t);
                }
                episode.finish(); // on the device when this returns
            }
        }
        ImportJob.importDatasets(
                List.of(ImportSource.of(folder.resolve("recorded"), "arm/reach", "arm")),
                folder.resolve("store"),
                ImportOptions.defaults(),
                ProgressListener.NONE);
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("store"))) {
            EpisodeSplit split = EpisodeSplit.random(store, 0.25, 42);
            FeatureStatistics state = FeatureStatistics.of(store, "arm/reach", Column.OBSERVATION, split.training());
            WindowSampler sampler = WindowSampler.builder(store, split.training())
                    .windowLength(50)
                    .seed(1)
                    .build();
            Window window = new Window();
            float[] observations = new float[50 * 3];
            sampler.next(window);
            store.readWindow(window.episode(), window.start(), window.length(), Column.OBSERVATION, observations, 0);
            assertEquals(49.5, state.mean()[0]);
            assertEquals(window.start(), observations[0]);
        }
    }
}
