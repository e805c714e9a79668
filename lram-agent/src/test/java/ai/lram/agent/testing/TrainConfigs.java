package ai.lram.agent.testing;

import ai.lram.agent.train.TrainConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import java.util.List;

/** Small training runs. */
public final class TrainConfigs {
    /** One mLSTM and one sLSTM block of width 32. */
    public static final XlstmConfig MIXED = new XlstmConfig(32, 2, 2, List.of(1));

    private TrainConfigs() {}

    /** Soft targets, no noise, 1e-3 after 5 updates of warm-up. */
    public static TrainConfig of(XlstmConfig backbone, int batch, int steps, boolean carry, long updates) {
        return new TrainConfig(
                backbone, batch, steps, 1, carry, updates, 0, 2e-3, 5, 0.01, 0.99, 1, 1.5, 0, 0, false, 0.02, 0, 1, 7,
                1, 0.5, 0, 0);
    }

    public static TrainConfig withNoise(TrainConfig c, double observation, double returns) {
        return new TrainConfig(
                c.backbone(),
                c.batch(),
                c.steps(),
                c.accumulate(),
                c.carryState(),
                c.updates(),
                c.maxMinutes(),
                c.peakLearningRate(),
                c.warmupUpdates(),
                c.weightDecay(),
                c.beta2(),
                c.clipNorm(),
                c.binSigma(),
                observation,
                returns,
                c.relativeActions(),
                c.binMargin(),
                c.heldOutFraction(),
                c.splitSeed(),
                c.seed(),
                c.topReturnFraction(),
                c.targetQuantile(),
                c.validateEvery(),
                c.checkpointEvery());
    }

    public static TrainConfig withRate(TrainConfig c, double rate) {
        return new TrainConfig(
                c.backbone(),
                c.batch(),
                c.steps(),
                c.accumulate(),
                c.carryState(),
                c.updates(),
                c.maxMinutes(),
                rate,
                c.warmupUpdates(),
                c.weightDecay(),
                c.beta2(),
                c.clipNorm(),
                c.binSigma(),
                c.observationNoise(),
                c.returnNoise(),
                c.relativeActions(),
                c.binMargin(),
                c.heldOutFraction(),
                c.splitSeed(),
                c.seed(),
                c.topReturnFraction(),
                c.targetQuantile(),
                c.validateEvery(),
                c.checkpointEvery());
    }

    public static TrainConfig withEvery(TrainConfig c, long validate, long checkpoint) {
        return new TrainConfig(
                c.backbone(),
                c.batch(),
                c.steps(),
                c.accumulate(),
                c.carryState(),
                c.updates(),
                c.maxMinutes(),
                c.peakLearningRate(),
                c.warmupUpdates(),
                c.weightDecay(),
                c.beta2(),
                c.clipNorm(),
                c.binSigma(),
                c.observationNoise(),
                c.returnNoise(),
                c.relativeActions(),
                c.binMargin(),
                c.heldOutFraction(),
                c.splitSeed(),
                c.seed(),
                c.topReturnFraction(),
                c.targetQuantile(),
                validate,
                checkpoint);
    }

    public static TrainConfig withAccumulate(TrainConfig c, int accumulate) {
        return new TrainConfig(
                c.backbone(),
                c.batch(),
                c.steps(),
                accumulate,
                c.carryState(),
                c.updates(),
                c.maxMinutes(),
                c.peakLearningRate(),
                c.warmupUpdates(),
                c.weightDecay(),
                c.beta2(),
                c.clipNorm(),
                c.binSigma(),
                c.observationNoise(),
                c.returnNoise(),
                c.relativeActions(),
                c.binMargin(),
                c.heldOutFraction(),
                c.splitSeed(),
                c.seed(),
                c.topReturnFraction(),
                c.targetQuantile(),
                c.validateEvery(),
                c.checkpointEvery());
    }

    public static TrainConfig withTargets(
            TrainConfig c, double binSigma, boolean relative, double binMargin, double quantile) {
        return new TrainConfig(
                c.backbone(),
                c.batch(),
                c.steps(),
                c.accumulate(),
                c.carryState(),
                c.updates(),
                c.maxMinutes(),
                c.peakLearningRate(),
                c.warmupUpdates(),
                c.weightDecay(),
                c.beta2(),
                c.clipNorm(),
                binSigma,
                c.observationNoise(),
                c.returnNoise(),
                relative,
                binMargin,
                c.heldOutFraction(),
                c.splitSeed(),
                c.seed(),
                c.topReturnFraction(),
                quantile,
                c.validateEvery(),
                c.checkpointEvery());
    }
}
