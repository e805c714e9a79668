package ai.lram.runtime.recording;

import ai.lram.agent.card.TaskCard;

/** Some consecutive steps of one episode. Filled by the session's {@link EpisodeTape}, then owned by the recorder. */
final class EpisodeChunk {
    final float[] observation;
    final float[] action;
    final float[] reward;
    final long[] captureNs;
    int frames;

    EpisodeChunk(TaskCard task, int capacity) {
        observation = new float[capacity * task.observationSize()];
        action = new float[capacity * task.actionSize()];
        reward = new float[capacity];
        captureNs = new long[capacity];
    }

    boolean full() {
        return frames == reward.length;
    }
}
