package ai.lram.runtime.inference;

import ai.lram.runtime.stats.LatencySummary;

/**
 * What an inference thread did.
 *
 * @param batches policy steps
 * @param rows session steps in them
 * @param largestBatch rows of the largest batch
 * @param failures batches that failed
 * @param queue from receipt of an observation until its batch started
 * @param encode copying a batch's inputs
 * @param step the policy's step of a batch
 */
public record InferenceStats(
        long batches,
        long rows,
        long largestBatch,
        long failures,
        LatencySummary queue,
        LatencySummary encode,
        LatencySummary step) {}
