package ai.lram.agent.train;

import java.util.Map;

/**
 * What a run needs besides its parameters to go on as if it had not stopped.
 *
 * @param update updates done
 * @param elapsedSeconds training time so far
 * @param streams generator and cursor states of the batch stream
 * @param tensors optimiser moments ({@code first}, {@code second}) and carried states ({@code carried.N}), as flat arrays
 */
public record TrainingSnapshot(long update, double elapsedSeconds, long[] streams, Map<String, float[]> tensors) {
    public TrainingSnapshot {
        tensors = Map.copyOf(tensors);
    }
}
