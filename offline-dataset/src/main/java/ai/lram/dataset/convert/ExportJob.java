package ai.lram.dataset.convert;

import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.StoreWriteException;
import ai.lram.dataset.format.LeRobotSchema;
import ai.lram.dataset.format.LeRobotWriter;
import ai.lram.dataset.io.DurableFiles;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.UUID;

/** Writes one task of a store as a LeRobot v3.0 data set. */
public final class ExportJob {
    private ExportJob() {}

    /**
     * Exports all episodes of {@code taskId}; returns-to-go and images are left out.
     *
     * @return number of episodes written
     * @throws IllegalArgumentException if the task has no state vector or a rate that LeRobot cannot express
     * @throws ai.lram.dataset.DatasetException if {@code target} exists or cannot be written; nothing is published then
     */
    public static long toLeRobot(TrajectoryStore store, String taskId, Path target, ProgressListener listener) {
        LeRobotSchema schema = LeRobotSchema.of(store.taskInfo(taskId));
        Path finished = target.toAbsolutePath().normalize();
        if (Files.exists(finished, LinkOption.NOFOLLOW_LINKS)) {
            throw new StoreWriteException(
                    "data set " + target + " was not written",
                    "something of that name exists already",
                    "choose another name or remove it first");
        }
        Path working = finished.resolveSibling("." + finished.getFileName() + ".writing-" + UUID.randomUUID());
        try {
            try {
                int[] episodes = write(store, taskId, schema, working, listener);
                Files.deleteIfExists(working.resolve(LeRobotWriter.LOCK_FILE));
                DurableFiles.publish(working, finished);
                return episodes.length;
            } finally {
                DurableFiles.deleteTree(working);
            }
        } catch (IOException e) {
            throw new StoreWriteException(
                    "data set " + target + " was not written",
                    e.getClass().getSimpleName() + ": " + e.getMessage(),
                    "check free space and permissions, then export again; nothing was published",
                    e);
        }
    }

    private static int[] write(
            TrajectoryStore store, String taskId, LeRobotSchema schema, Path folder, ProgressListener listener) {
        long total = store.rowCount(taskId);
        long done = 0;
        int[] episodes = store.episodesOf(taskId);
        try (LeRobotWriter writer = LeRobotWriter.open(folder, schema)) {
            for (int episode : episodes) {
                writer.append(store.readEpisode(episode));
                done += store.length(episode);
                listener.onProgress(done, total);
            }
        }
        return episodes;
    }
}
