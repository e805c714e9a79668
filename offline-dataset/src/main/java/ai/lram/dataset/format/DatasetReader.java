package ai.lram.dataset.format;

import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import java.util.List;

/**
 * Streams the episodes of a data set on disk, one after the other. Single-threaded; one pass per reader. Errors are
 * {@link ai.lram.dataset.DatasetException}s: missing files, contradictions, unsupported parts.
 */
public interface DatasetReader extends AutoCloseable {
    /** Name and version of the format, for example {@code LeRobot v2.1}. */
    String format();

    /** The tasks episodes will belong to. */
    List<TaskInfo> tasks();

    /** Number of episodes still and already delivered together. */
    long episodeCount();

    /** Number of rows of all episodes, -1 if the source does not say before it is read. */
    long rowCount();

    /** The next episode, or null after the last. */
    Episode next();

    /** What was left out or looked odd so far, in sentences; complete after the last episode. */
    List<String> warnings();

    /** Releases files. Idempotent. */
    @Override
    void close();
}
