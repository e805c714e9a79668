package ai.lram.cli.scenario;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.train.TaskCards;
import ai.lram.cli.config.InputException;
import ai.lram.dataset.sample.EpisodeSplit;
import ai.lram.dataset.store.EpisodeInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;

/** Notes that tie a model to the data it was trained on. */
final class Provenance {
    private static final String STORE = "store";
    private static final String FINGERPRINT = "storeFingerprint";
    private static final String HELD_OUT = "heldOutEpisodes";
    private static final String QUANTILES = "returnQuantiles.";
    /** Return quantiles are noted in steps of 1/QUANTILE_STEPS. */
    private static final int QUANTILE_STEPS = 20;

    private Provenance() {}

    /** @param trainEpisodes those trained on, per task of the store */
    static Map<String, String> of(TrajectoryStore store, EpisodeSplit split, int[][] trainEpisodes) {
        Map<String, String> notes = new LinkedHashMap<>();
        notes.put(STORE, store.folder().toString());
        notes.put(FINGERPRINT, fingerprint(store));
        notes.put(
                HELD_OUT,
                Arrays.stream(split.heldOut()).mapToObj(Integer::toString).collect(Collectors.joining(",")));
        for (int i = 0; i < store.taskIds().size(); i++) {
            String task = store.taskIds().get(i);
            if (store.taskInfo(task).hasRewards()) {
                double[] returns = Arrays.stream(trainEpisodes[i])
                        .mapToDouble(e -> store.episode(e).episodeReturn())
                        .sorted()
                        .toArray();
                StringBuilder s = new StringBuilder();
                for (int q = 0; q <= QUANTILE_STEPS; q++) {
                    s.append(q == 0 ? "" : ",").append(TaskCards.quantile(returns, (double) q / QUANTILE_STEPS));
                }
                notes.put(QUANTILES + task, s.toString());
            }
        }
        return notes;
    }

    /** Identifies a store's episodes: their tasks, lengths and returns in order. */
    static String fingerprint(TrajectoryStore store) {
        try {
            MessageDigest sha = MessageDigest.getInstance("SHA-256");
            for (EpisodeInfo e : store.episodes()) {
                sha.update((e.taskId() + " " + e.length() + " " + e.episodeReturn() + "\n")
                        .getBytes(StandardCharsets.UTF_8));
            }
            return HexFormat.of().formatHex(sha.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /** The split a model was trained with. @throws InputException if the store is not the one it was trained on */
    static EpisodeSplit split(ModelCard card, TrajectoryStore store) {
        String noted = card.provenance().get(HELD_OUT);
        if (noted == null || !fingerprint(store).equals(card.provenance().get(FINGERPRINT))) {
            throw new InputException(
                    store.folder() + " is not the store of this model",
                    "the model was trained on " + card.provenance().getOrDefault(STORE, "data it has no note of")
                            + ", whose episodes differ, so which were held out is not known",
                    "use that store, or --split all");
        }
        return EpisodeSplit.explicit(
                store,
                noted.isEmpty()
                        ? new int[0]
                        : Arrays.stream(noted.split(","))
                                .mapToInt(Integer::parseInt)
                                .toArray());
    }

    /** Quantile of the training returns of a task. @throws InputException if the card does not know them */
    static double returnQuantile(ModelCard card, String task, double q) {
        String noted = card.provenance().get(QUANTILES + task);
        if (noted == null) {
            throw new InputException(
                    "the model's card has no returns of task " + task,
                    "its data has no rewards, or another program wrote it",
                    "give --target-return instead");
        }
        if (!(q >= 0 && q <= 1)) {
            throw new InputException(
                    "--target-quantile " + q,
                    "a quantile lies in 0..1",
                    "0.9 asks for what one episode in ten reached");
        }
        return TaskCards.quantile(
                Arrays.stream(noted.split(",")).mapToDouble(Double::parseDouble).toArray(), q);
    }
}
