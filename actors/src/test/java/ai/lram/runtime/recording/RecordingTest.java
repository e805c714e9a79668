package ai.lram.runtime.recording;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.format.DatasetFormats;
import ai.lram.dataset.format.DatasetReader;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.EpisodeReport.Recording;
import ai.lram.runtime.protocol.Observation;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.protocol.RobotSession;
import ai.lram.runtime.protocol.SessionSpec;
import ai.lram.runtime.scripted.LinearFeedbackPolicy;
import ai.lram.runtime.testing.Cards;
import ai.lram.runtime.testing.ManualTime;
import ai.lram.runtime.testing.RecordingListener;
import com.typesafe.config.ConfigFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RecordingTest {
    private static final TaskCard REACHER = Cards.reacher();
    private static final ModelCard MODEL = Cards.model(REACHER, Cards.discrete(5), Cards.camera());

    private final ManualTime time = new ManualTime();
    private LramRuntime runtime;

    @AfterEach
    void closeRuntime() {
        if (runtime != null) {
            runtime.close();
        }
    }

    private void start(EpisodeSinkFactory sinks, int chunks) {
        RuntimeSettings settings = RuntimeSettings.from(
                ConfigFactory.parseString("lram.runtime.recording { chunks = " + chunks + ", chunk-frames = 4 }")
                        .withFallback(ConfigFactory.load()));
        runtime = LramRuntime.start(
                () -> new LinearFeedbackPolicy(MODEL, 4, 4, 1), settings, Optional.of(sinks), time.environment());
    }

    private final class Robot {
        final TaskCard task;
        final RecordingListener listener = new RecordingListener();
        final RobotSession session;
        final List<float[]> observations = new ArrayList<>();
        final List<float[]> actions = new ArrayList<>();
        long sequence;

        Robot(TaskCard task) {
            this.task = task;
            runtime.openSession(
                    new SessionSpec("r", task.id(), RobotDescription.of(task), OptionalDouble.empty(), true), listener);
            session = listener.next(RobotSession.class);
        }

        void step(float reward, boolean reset) {
            float[] vector = {(float) Math.sin(sequence), (float) Math.cos(sequence)};
            session.observe(new Observation(
                    sequence,
                    5_000_000_000L + sequence * 11_000_000,
                    time.nowNs(),
                    Observation.ONE_PERIOD,
                    vector,
                    new byte[0],
                    reward,
                    reset));
            sequence++;
            ActionReply reply = listener.reply();
            observations.add(vector);
            actions.add(reply.action());
        }

        EpisodeReport report() {
            return listener.next(EpisodeReport.class);
        }
    }

    private static float[] flat(List<float[]> rows, int from, int to) {
        int width = rows.getFirst().length;
        float[] all = new float[(to - from) * width];
        for (int i = from; i < to; i++) {
            System.arraycopy(rows.get(i), 0, all, (i - from) * width, width);
        }
        return all;
    }

    @Test
    void recordedEpisodesAreReadBackAsLeRobotDataSets(@TempDir Path folder) {
        LeRobotSinks sinks = new LeRobotSinks(folder);
        start(sinks, 64);
        Robot robot = new Robot(REACHER);
        for (int i = 0; i < 10; i++) {
            robot.step(i, false);
        }
        robot.session.endEpisode(10, true);
        EpisodeReport first = robot.report();
        assertEquals(new EpisodeReport(0, 10, 55, Recording.STORED, ""), first);
        for (int i = 0; i < 6; i++) {
            robot.step(-1, i == 0);
        }
        robot.session.close();
        robot.listener.next(RecordingListener.Closed.class);
        Robot discrete = new Robot(Cards.discrete(5));
        discrete.step(0, false);
        discrete.step(1, false);
        discrete.session.endEpisode(2, false);
        assertEquals(Recording.STORED, discrete.report().recording());
        runtime.close();
        assertEquals(3, runtime.stats().recording().episodes());

        try (DatasetReader reader = DatasetFormats.open(sinks.folder(REACHER))) {
            assertEquals(2, reader.episodeCount());
            Episode episode = reader.next();
            assertEquals(10, episode.length());
            assertArrayEquals(flat(robot.observations, 0, 10), episode.column(Column.OBSERVATION));
            assertArrayEquals(flat(robot.actions, 0, 10), episode.column(Column.ACTION));
            assertArrayEquals(new float[] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, episode.column(Column.REWARD));
            if (episode.has(Column.DONE)) {
                assertArrayEquals(new float[] {0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, episode.column(Column.DONE));
            }
            Episode cut = reader.next();
            assertEquals(5, cut.length(), "the last step's reward never came");
            assertArrayEquals(flat(robot.actions, 10, 15), cut.column(Column.ACTION));
            assertNull(reader.next());
        }
        try (DatasetReader reader = DatasetFormats.open(sinks.folder(Cards.discrete(5)))) {
            Episode episode = reader.next();
            assertArrayEquals(flat(discrete.actions, 0, 2), episode.column(Column.ACTION));
            assertArrayEquals(new float[] {1, 2}, episode.column(Column.REWARD));
        }
    }

    @Test
    void theRewardOfAResettingObservationBelongsToTheEpisodeBefore() throws InterruptedException {
        LinkedBlockingQueue<Episode> stored = new LinkedBlockingQueue<>();
        start(task -> sink(stored::add), 64);
        Robot robot = new Robot(REACHER);
        robot.step(0, false);
        robot.step(1, false);
        robot.step(7, true);
        assertEquals(8, robot.report().rewardSum());
        Episode episode = stored.poll(20, TimeUnit.SECONDS);
        assertArrayEquals(new float[] {1, 7}, episode.column(Column.REWARD));
        assertArrayEquals(new float[] {0, 0}, episode.column(Column.DONE));
        assertArrayEquals(new float[] {0, 0.011f}, episode.column(Column.TIMESTAMP), 1e-6f);
    }

    private static EpisodeSink sink(java.util.function.Consumer<Episode> store) {
        return new EpisodeSink() {
            @Override
            public void store(Episode episode) {
                store.accept(episode);
            }

            @Override
            public void close() {}
        };
    }

    @Test
    void dropsWholeEpisodesWhenTheDiskIsTooSlowAndGoesOnAfterwards() {
        Semaphore disk = new Semaphore(0);
        LinkedBlockingQueue<Episode> stored = new LinkedBlockingQueue<>();
        start(
                task -> sink(episode -> {
                    disk.acquireUninterruptibly();
                    stored.add(episode);
                }),
                3);
        Robot robot = new Robot(REACHER);
        for (int i = 0; i < 8; i++) {
            robot.step(1, false);
        }
        robot.session.endEpisode(1, true);
        for (int i = 0; i < 6; i++) {
            robot.step(1, i == 0);
        }
        robot.session.endEpisode(1, true);
        EpisodeReport dropped = robot.report();
        assertEquals(1, dropped.episode());
        assertEquals(Recording.DROPPED, dropped.recording());
        assertTrue(dropped.detail().contains("recording.chunks"), dropped.detail());
        disk.release(100);
        assertEquals(new EpisodeReport(0, 8, 8, Recording.STORED, ""), robot.report());
        robot.step(1, true);
        robot.session.endEpisode(1, true);
        assertEquals(Recording.STORED, robot.report().recording());
        assertEquals(
                Map.of(DropReason.OVERLOAD, 1L), runtime.stats().recording().dropped());
        assertEquals(2, stored.size());
    }

    @Test
    void aFailingDiskIsReportedAndTheNextEpisodeTriesAgain() {
        List<EpisodeSink> opened = new ArrayList<>();
        start(
                task -> {
                    EpisodeSink sink = sink(episode -> {
                        if (opened.size() == 1) {
                            throw new IllegalStateException("disk full");
                        }
                    });
                    opened.add(sink);
                    return sink;
                },
                8);
        Robot robot = new Robot(REACHER);
        robot.step(0, false);
        robot.session.endEpisode(1, true);
        EpisodeReport failed = robot.report();
        assertEquals(Recording.DROPPED, failed.recording());
        assertTrue(failed.detail().contains("disk full"), failed.detail());
        robot.step(0, true);
        robot.session.endEpisode(1, true);
        assertEquals(Recording.STORED, robot.report().recording());
        assertEquals(2, opened.size());
        assertEquals(
                Map.of(DropReason.SINK_FAILED, 1L), runtime.stats().recording().dropped());
    }

    @Test
    void anEpisodeWithoutACompleteStepIsNotRecorded() {
        LinkedBlockingQueue<Episode> stored = new LinkedBlockingQueue<>();
        start(task -> sink(stored::add), 8);
        Robot robot = new Robot(REACHER);
        robot.step(0, false);
        robot.session.close();
        robot.listener.next(RecordingListener.Closed.class);
        assertEquals(Map.of(DropReason.EMPTY, 1L), runtime.stats().recording().dropped());
        assertTrue(stored.isEmpty());
    }

    @Test
    void refusesToRecordWhatItCannot(@TempDir Path folder) {
        start(new LeRobotSinks(folder), 8);
        RecordingListener listener = new RecordingListener();
        TaskCard camera = Cards.camera();
        runtime.openSession(
                new SessionSpec("r", "camera", RobotDescription.of(camera), OptionalDouble.empty(), true), listener);
        RecordingListener.Refused refused = listener.next(RecordingListener.Refused.class);
        assertEquals(OpenRefusal.RECORDING_UNAVAILABLE, refused.reason());
        assertTrue(refused.message().contains("images"), refused.message());
    }
}
