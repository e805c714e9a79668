package ai.lram.runtime.recording;

import ai.lram.dataset.Episode;

/** Where the episodes of one task go. Used by the recorder's thread only; may block. */
public interface EpisodeSink extends AutoCloseable {
    /**
     * Stores a whole episode; on return it survives a killed process.
     *
     * @throws RuntimeException if it could not be stored; nothing of it is left behind
     */
    void store(Episode episode);

    @Override
    void close();
}
