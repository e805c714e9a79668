package ai.lram.agent.train;

import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.LramConfig;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;

/**
 * The loss over action tokens: cross-entropy against a soft or one-hot bin for continuous tasks, one-hot ids for discrete ones, both
 * weighted by their share of tasks. Recorded on a tape, fed from a {@link BatchStream}.
 */
public final class ActionLoss {
    private static final int STATS = 3;

    private final Value targets;
    private final Value positions;
    private final Value continuousMask;
    private final Value discreteMask;
    private final Value continuousStats;
    private final Value discreteStats;
    private final double continuousShare;
    private final Value gradient;
    private final Value wholeTargets;
    private final Value wholePositions;
    private final Value wholeContinuousMask;
    private final Value wholeDiscreteMask;
    private final Value wholeContinuousStats;
    private final Value wholeDiscreteStats;

    /** Mean cross-entropy and share of entries whose most likely id is the target, weighted by the share of tasks. */
    public record Result(double loss, double accuracy) {}

    /**
     * Records the loss.
     *
     * @param logits any shape of {@code entries * vocabulary} elements, action dimensions innermost before the vocabulary
     * @param entries rows of logits: windows times steps times action dimensions
     * @param binSigma deviation of the soft target in bins, 0 for one-hot
     * @param differentiate record the gradient of the logits too
     */
    public ActionLoss(
            Tape tape,
            LramConfig config,
            ModelCard card,
            Value logits,
            int entries,
            double binSigma,
            boolean differentiate) {
        this(tape, config, card, logits, entries, binSigma, differentiate, BatchParts.ONE);
    }

    /**
     * Records the loss of part of a batch.
     *
     * @param entries rows of logits in the part
     * @param parts of the batch, of which the logits are one
     */
    ActionLoss(
            Tape tape,
            LramConfig config,
            ModelCard card,
            Value logits,
            int entries,
            double binSigma,
            boolean differentiate,
            BatchParts parts) {
        long discreteTasks = card.tasks().stream().filter(TaskCard::discrete).count();
        continuousShare = 1 - (double) discreteTasks / card.tasks().size();
        targets = tape.input("targets", DType.I32, entries);
        positions = tape.input("positions", DType.F32, entries);
        continuousMask = tape.input("continuous mask", DType.F32, entries);
        discreteMask = tape.input("discrete mask", DType.F32, entries);
        continuousStats = tape.keep(tape.buffer("continuous stats", DType.F32, STATS));
        discreteStats = tape.keep(tape.buffer("discrete stats", DType.F32, STATS));
        wholeTargets = parts.input(targets);
        wholePositions = parts.input(positions);
        wholeContinuousMask = parts.input(continuousMask);
        wholeDiscreteMask = parts.input(discreteMask);
        wholeContinuousStats = parts.output(continuousStats);
        wholeDiscreteStats = parts.output(discreteStats);
        Value d1 = continuousShare > 0 ? record(tape, config, logits, entries, binSigma, true, differentiate) : null;
        Value d2 = discreteTasks > 0 ? record(tape, config, logits, entries, 0, false, differentiate) : null;
        gradient = d1 == null ? d2 : d2 == null ? d1 : sum(tape, d1, d2);
    }

    private Value record(
            Tape tape,
            LramConfig c,
            Value logits,
            int entries,
            double sigma,
            boolean continuous,
            boolean differentiate) {
        int vocabulary = c.vocabulary();
        Value d = differentiate ? tape.buffer("d logits", DType.F32, entries, vocabulary) : null;
        float share = (float) (continuous ? continuousShare : 1 - continuousShare);
        Value mask = continuous ? continuousMask : discreteMask;
        Value stats = continuous ? continuousStats : discreteStats;
        Value whole = continuous ? wholeContinuousMask : wholeDiscreteMask;
        tape.record(
                "loss",
                (o, s) -> {
                    Tensor l = logits.tensor().reshape(entries, vocabulary);
                    Tensor dl = d == null ? null : d.tensor();
                    if (sigma > 0) {
                        o.loss()
                                .crossEntropySoftBins(
                                        s,
                                        l,
                                        positions.tensor(),
                                        mask.tensor(),
                                        whole.tensor(),
                                        c.discreteActions(),
                                        c.bins(),
                                        (float) sigma,
                                        share,
                                        dl,
                                        stats.tensor());
                    } else {
                        o.loss()
                                .crossEntropy(
                                        s,
                                        l,
                                        targets.tensor(),
                                        mask.tensor(),
                                        whole.tensor(),
                                        share,
                                        dl,
                                        stats.tensor());
                    }
                },
                logits,
                targets,
                positions,
                mask,
                stats,
                d);
        return d;
    }

    private static Value sum(Tape tape, Value a, Value b) {
        Value sum = tape.buffer("d logits", DType.F32, a.shape());
        tape.record("add", (o, s) -> o.elementwise().add(s, a.tensor(), b.tensor(), sum.tensor()), a, b, sum);
        return sum;
    }

    /** Gradient of the logits, to start {@link Tape#backward} with; null where none was asked for. */
    public Value gradient() {
        return gradient;
    }

    /** Queues a batch's targets. */
    public void send(Exchange exchange, BatchStream from) {
        exchange.send(wholePositions, from.positions);
        exchange.send(wholeContinuousMask, from.continuousMask);
        exchange.send(wholeDiscreteMask, from.discreteMask);
        exchange.send(wholeTargets, from.targets);
    }

    /** Queues the download of the last replay's result. */
    public void fetch(Exchange exchange) {
        if (continuousShare > 0) {
            exchange.fetch(wholeContinuousStats);
        }
        if (continuousShare < 1) {
            exchange.fetch(wholeDiscreteStats);
        }
    }

    /** What was fetched, once the stream has been waited for. */
    public Result result(Exchange exchange) {
        double loss = 0;
        double accuracy = 0;
        if (continuousShare > 0) {
            loss += continuousShare * sum(exchange, wholeContinuousStats, 0);
            accuracy += continuousShare * sum(exchange, wholeContinuousStats, 2);
        }
        if (continuousShare < 1) {
            loss += (1 - continuousShare) * sum(exchange, wholeDiscreteStats, 0);
            accuracy += (1 - continuousShare) * sum(exchange, wholeDiscreteStats, 2);
        }
        return new Result(loss, accuracy);
    }

    /** Of one entry of the stats over all parts. */
    private static double sum(Exchange exchange, Value stats, int entry) {
        double sum = 0;
        for (int i = entry; i < stats.size(); i += STATS) {
            sum += exchange.fetched(stats, i);
        }
        return sum;
    }
}
